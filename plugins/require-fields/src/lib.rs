//! Send hook: refuses messages without the properties they must have, and says which.
//!
//! Settings: one for each property, its name and what its value must be: `text` (not empty),
//! `integer`, `number`, `boolean`, or values between bars, as in `eu|us|cn`.

#![forbid(unsafe_code)]

use sluice_plugin::{Binding, Column, Edits, Message, Needs, SendHook, export_send_hook};

/// What a value must be.
enum Kind {
    Text(Column<str>),
    Integer(Column<i64>),
    Number(Column<f64>),
    Boolean(Column<bool>),
    OneOf(Column<str>, Vec<String>),
}

impl Kind {
    fn new(name: &str, kind: &str, needs: &mut Needs) -> Result<Self, String> {
        Ok(match kind {
            "text" => Kind::Text(needs.property(name)),
            "integer" => Kind::Integer(needs.property(name)),
            "number" => Kind::Number(needs.property(name)),
            "boolean" => Kind::Boolean(needs.property(name)),
            values if values.contains('|') => {
                let values = values.split('|').map(|value| value.trim().to_owned());
                Kind::OneOf(needs.property(name), values.collect())
            }
            _ => {
                let expected = "text, integer, number, boolean or values between bars (a|b)";
                return Err(format!("{name}: {expected} are expected, not {kind}"));
            }
        })
    }

    /// Whether the message has it.
    fn holds(&self, message: &Message<'_>) -> bool {
        match self {
            Kind::Text(column) => message.get(*column).is_some_and(|text| !text.is_empty()),
            Kind::Integer(column) => message.get(*column).is_some(),
            Kind::Number(column) => message.get(*column).is_some_and(f64::is_finite),
            Kind::Boolean(column) => message.get(*column).is_some(),
            Kind::OneOf(column, values) => {
                let is_one = |text| values.iter().any(|value| value == text);
                message.get(*column).is_some_and(is_one)
            }
        }
    }
}

struct RequireFields(Vec<(String, Kind)>);

impl SendHook for RequireFields {
    fn configure(binding: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.pure();
        if binding.params.is_empty() {
            return Err(
                "a setting for each property is expected, such as orderId = integer".into(),
            );
        }
        let mut fields = Vec::new();
        for (name, kind) in &binding.params {
            let reason = match kind.as_str() {
                "text" => format!("the property {name} is missing"),
                kind => format!("the property {name} must be {kind}"),
            };
            fields.push((reason, Kind::new(name, kind, needs)?));
        }
        Ok(RequireFields(fields))
    }

    fn before_send(&mut self, message: &Message<'_>, edits: &mut Edits<'_>) {
        let mut missing = self.0.iter().filter(|(_, kind)| !kind.holds(message));
        if let Some((reason, _)) = missing.next() {
            edits.reject(reason);
        }
    }
}

export_send_hook!(RequireFields);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::Edit;
    use sluice_plugin::testing::{self, Sample};

    const SETTINGS: [(&str, &str); 5] = [
        ("id", "integer"),
        ("price", "number"),
        ("name", "text"),
        ("paid", "boolean"),
        ("region", "eu | us"),
    ];

    fn whole() -> Sample {
        let properties = [
            ("id", "7"),
            ("price", "1.5"),
            ("name", "n"),
            ("paid", "true"),
        ];
        let sample = Sample::new().property("region", "us");
        properties
            .iter()
            .fold(sample, |sample, (name, value)| sample.property(name, value))
    }

    #[test]
    fn a_whole_message_is_stored_and_a_reason_names_what_is_wrong() {
        let mut plugin = testing::send_hook::<RequireFields>(&SETTINGS).unwrap();
        let samples = [
            whole(),
            whole().property("id", "7.5"),
            whole().property("price", "inf"),
            whole().property("name", ""),
            whole().property("paid", "yes"),
            whole().property("region", "cn"),
            Sample::new(),
        ];
        let expected = [
            (1, "the property id must be integer"),
            (2, "the property price must be number"),
            (3, "the property name is missing"),
            (4, "the property paid must be boolean"),
            (5, "the property region must be eu | us"),
            (6, "the property id must be integer"),
        ];
        plugin.before_send(&samples, |edits| {
            assert_eq!(
                edits,
                expected.map(|(row, reason)| (row, Edit::Reject { code: None, reason }))
            );
        });
    }

    #[test]
    fn unknown_kinds_and_no_settings_are_refused() {
        assert!(testing::send_hook::<RequireFields>(&[("id", "int")]).is_err());
        assert!(testing::send_hook::<RequireFields>(&[]).is_err());
    }
}
