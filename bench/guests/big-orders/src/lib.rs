//! The filter whose cost the benchmark of plugins measures: `TAGS` is TagA, `region` is eu-west, and
//! `amount` is above 100. With the setting `all` it needs nothing of a message and passes every one.

#![forbid(unsafe_code)]

use sluice_plugin::{Binding, Column, Filter, Message, Needs, Verdict, export_filter};

/// The filter.
pub enum Orders {
    /// Every message passes.
    All,
    /// Those passes that the filter is about.
    Big {
        /// Column of the tags.
        tags: Column<[u8]>,
        /// Column of the region.
        region: Column<[u8]>,
        /// Column of the amount.
        amount: Column<i64>,
    },
}

impl Filter for Orders {
    fn configure(binding: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.pure();
        if binding.param("all").is_some() {
            return Ok(Orders::All);
        }
        Ok(Orders::Big {
            tags: needs.property("TAGS"),
            region: needs.property("region"),
            amount: needs.property("amount"),
        })
    }

    fn filter(&mut self, message: &Message<'_>) -> Verdict {
        let passes = match *self {
            Orders::All => true,
            Orders::Big {
                tags,
                region,
                amount,
            } => {
                message.get(tags) == Some(b"TagA")
                    && message.get(region) == Some(b"eu-west")
                    && message.get(amount).is_some_and(|amount| amount > 100)
            }
        };
        passes.into()
    }
}

export_filter!(Orders);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::testing::{self, Sample};

    #[test]
    fn big_orders_pass_and_all_if_told_so() {
        let samples = [("TagA", "101"), ("TagA", "100"), ("TagB", "101")].map(|(tag, amount)| {
            let sample = Sample::new().property("TAGS", tag);
            sample
                .property("region", "eu-west")
                .property("amount", amount)
        });
        let mut big = testing::filter::<Orders>(&[]).unwrap();
        assert_eq!(
            big.filter(&samples),
            [Verdict::Pass, Verdict::Drop, Verdict::Drop]
        );
        let mut all = testing::filter::<Orders>(&[("all", "")]).unwrap();
        assert_eq!(all.filter(&samples), [Verdict::Pass; 3]);
    }
}
