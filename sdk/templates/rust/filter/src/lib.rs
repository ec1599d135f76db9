//! Passes orders whose amount is above the setting `min`.

#![forbid(unsafe_code)]

use sluice_plugin::{Binding, Column, Filter, Message, Needs, Verdict, export_filter};

struct BigOrders {
    amount: Column<i64>,
    min: i64,
}

impl Filter for BigOrders {
    fn configure(binding: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.pure();
        let min = binding.parse("min")?.unwrap_or(100);
        Ok(BigOrders {
            amount: needs.property("amount"),
            min,
        })
    }

    fn filter(&mut self, message: &Message<'_>) -> Verdict {
        message
            .get(self.amount)
            .is_some_and(|amount| amount > self.min)
            .into()
    }
}

export_filter!(BigOrders);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::testing::{self, Sample};

    #[test]
    fn only_amounts_above_the_minimum_pass() {
        let mut plugin = testing::filter::<BigOrders>(&[("min", "10")]).unwrap();
        let samples = ["10", "11", "many"].map(|amount| Sample::new().property("amount", amount));
        assert_eq!(
            plugin.filter(&samples),
            [Verdict::Drop, Verdict::Pass, Verdict::Drop]
        );
        assert_eq!(plugin.filter(&[Sample::new()]), [Verdict::Drop]);
    }

    #[test]
    fn a_minimum_that_is_no_number_is_refused() {
        assert!(testing::filter::<BigOrders>(&[("min", "ten")]).is_err());
    }
}
