//! Keeps internal messages from the group, and card numbers out of the others.

#![forbid(unsafe_code)]

use sluice_plugin::{
    Binding, Column, ConsumeHook, Edits, Field, Message, Needs, export_consume_hook, host,
};

struct Outbound {
    internal: Column<bool>,
    card: Column<str>,
}

impl ConsumeHook for Outbound {
    fn configure(_: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.field(Field::ReconsumeTimes);
        Ok(Outbound {
            internal: needs.property("internal"),
            card: needs.property("card"),
        })
    }

    fn before_deliver(&mut self, message: &Message<'_>, edits: &mut Edits<'_>) {
        if message.get(self.internal) == Some(true) {
            edits.drop_message();
        } else if message.has(self.card) {
            edits.delete_property("card");
        }
    }

    fn after_consume(&mut self, message: &Message<'_>) {
        if message.field(Field::ReconsumeTimes) > Some(0) {
            host::counter_add("retried", 1);
        }
    }
}

export_consume_hook!(Outbound);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::Edit;
    use sluice_plugin::testing::{self, Sample};

    #[test]
    fn internal_messages_stay_and_cards_go() {
        let mut plugin = testing::consume_hook::<Outbound>(&[]).unwrap();
        let card = Sample::new().property("card", "4111");
        let samples = [
            card.clone(),
            Sample::new(),
            card.property("internal", "TRUE"),
        ];
        plugin.before_deliver(&samples, |edits| {
            assert_eq!(
                edits,
                [(0, Edit::DeleteProperty { key: "card" }), (2, Edit::Drop)]
            );
        });
    }

    #[test]
    fn retries_are_counted() {
        let mut plugin = testing::consume_hook::<Outbound>(&[]).unwrap();
        plugin.after_consume(&[Sample::new(), Sample::new().field(Field::ReconsumeTimes, 3)]);
        assert_eq!(plugin.host.counter("retried"), 1);
    }
}
