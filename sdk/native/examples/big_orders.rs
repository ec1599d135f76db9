//! A filter as a native library: passes orders whose amount is above the setting `min` (100).

use sluice_plugin::{Binding, Column, Filter, Message, Needs, Verdict};

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

sluice_plugin_native::export_native!(filter: BigOrders);
