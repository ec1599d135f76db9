//! Conditions `name=value` joined by `&`, all of which must hold.

#![forbid(unsafe_code)]

use sluice_plugin::{Binding, Column, Language, Message, Needs, Verdict, export_language};

struct Conditions(Vec<(Column<str>, String)>);

impl Language for Conditions {
    fn compile(expression: &str, _: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.pure();
        let mut conditions = Vec::new();
        let mut position = 1;
        for condition in expression.split('&') {
            match condition.split_once('=') {
                Some((name, value)) if !name.trim().is_empty() => {
                    conditions.push((needs.property(name.trim()), value.trim().to_owned()));
                }
                _ => return Err(format!("name=value is expected at position {position}")),
            }
            position += condition.chars().count() + 1;
        }
        Ok(Conditions(conditions))
    }

    fn filter(&mut self, message: &Message<'_>) -> Verdict {
        let holds = |(column, value): &(Column<str>, String)| message.get(*column) == Some(value);
        self.0.iter().all(holds).into()
    }
}

export_language!(Conditions);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::testing::{self, Sample};

    #[test]
    fn all_conditions_must_hold() {
        let mut plugin =
            testing::language::<Conditions>("region = eu-west & size=large", &[]).unwrap();
        let eu = Sample::new().property("region", "eu-west");
        let samples = [eu.clone(), eu.property("size", "large")];
        assert_eq!(plugin.judge(&samples), [Verdict::Drop, Verdict::Pass]);
    }

    #[test]
    fn an_error_names_the_position() {
        let error = testing::language::<Conditions>("a=1&b", &[]).unwrap_err();
        assert_eq!(error, "name=value is expected at position 5");
    }
}
