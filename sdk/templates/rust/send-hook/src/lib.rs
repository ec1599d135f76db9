//! Refuses messages without an order id, and notes when a message came.

#![forbid(unsafe_code)]

use sluice_plugin::{Binding, Column, Edits, Message, Needs, SendHook, export_send_hook, host};

struct Orders {
    order_id: Column<str>,
}

impl SendHook for Orders {
    fn configure(_: &Binding, needs: &mut Needs) -> Result<Self, String> {
        Ok(Orders {
            order_id: needs.property("orderId"),
        })
    }

    fn before_send(&mut self, message: &Message<'_>, edits: &mut Edits<'_>) {
        match message.get(self.order_id) {
            None | Some("") => edits.reject("the property orderId is missing"),
            Some(_) => edits.set_property("receivedAt", host::now().to_string()),
        }
    }

    fn after_send(&mut self, _: &Message<'_>) {
        host::counter_add("stored", 1);
    }
}

export_send_hook!(Orders);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::Edit;
    use sluice_plugin::testing::{self, Sample};

    #[test]
    fn an_order_is_stamped_and_anything_else_refused() {
        let mut plugin = testing::send_hook::<Orders>(&[]).unwrap();
        plugin.host.set_now(1700000000000);
        let samples = [Sample::new().property("orderId", "7"), Sample::new()];
        plugin.before_send(&samples, |edits| {
            let value = b"1700000000000";
            assert_eq!(
                edits[0],
                (
                    0,
                    Edit::SetProperty {
                        key: "receivedAt",
                        value
                    }
                )
            );
            assert!(matches!(edits[1], (1, Edit::Reject { code: None, .. })));
        });
    }

    #[test]
    fn stored_messages_are_counted() {
        let mut plugin = testing::send_hook::<Orders>(&[]).unwrap();
        plugin.after_send(&[Sample::new(), Sample::new()]);
        assert_eq!(plugin.host.counter("stored"), 2);
    }
}
