//! Expression language: a regular expression on a property, in time linear in its length.
//!
//! `region =~ ^eu-(west|north)$` passes what matches, `region !~ ^test` what does not; conditions are
//! joined by ` && `. A message without the property matches nothing. Without a property's name the
//! whole expression is matched against the tag.

#![forbid(unsafe_code)]

use regex_lite::Regex;
use sluice_plugin::{Binding, Column, Language, Message, Needs, Verdict, export_language};

struct Condition {
    column: Column<str>,
    regex: Regex,
    /// Whether a match passes.
    wanted: bool,
}

struct Conditions(Vec<Condition>);

impl Language for Conditions {
    fn compile(expression: &str, _: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.pure();
        let mut conditions = Vec::new();
        let mut position = 1;
        for part in expression.split(" && ") {
            let condition = condition(part, needs).map_err(|reason| {
                format!(
                    "a regular expression is expected in the part at position {position}: {reason}"
                )
            })?;
            conditions.push(condition);
            position += part.chars().count() + 4;
        }
        Ok(Conditions(conditions))
    }

    fn filter(&mut self, message: &Message<'_>) -> Verdict {
        self.0
            .iter()
            .all(|condition| condition.holds(message))
            .into()
    }
}

impl Condition {
    fn holds(&self, message: &Message<'_>) -> bool {
        let matches = message
            .get(self.column)
            .is_some_and(|text| self.regex.is_match(text));
        matches == self.wanted
    }
}

fn condition(part: &str, needs: &mut Needs) -> Result<Condition, String> {
    let named = |operator: &str| {
        let (name, pattern) = part.split_once(operator)?;
        let name = name.trim();
        let is_name = !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || "_-.$".contains(c));
        is_name.then_some((name, pattern.trim()))
    };
    let (name, pattern, wanted) = match (named("=~"), named("!~")) {
        (Some((name, pattern)), _) => (name, pattern, true),
        (None, Some((name, pattern))) => (name, pattern, false),
        (None, None) => ("TAGS", part.trim(), true),
    };
    if pattern.is_empty() {
        return Err("it is empty".into());
    }
    let regex = Regex::new(pattern).map_err(|error| error.to_string())?;
    Ok(Condition {
        column: needs.property(name),
        regex,
        wanted,
    })
}

export_language!(Conditions);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::testing::{self, Sample};

    fn passes(expression: &str, sample: Sample) -> bool {
        let mut plugin = testing::language::<Conditions>(expression, &[]).unwrap();
        plugin.judge(&[sample]) == [Verdict::Pass]
    }

    #[test]
    fn conditions_on_properties() {
        let eu = || {
            Sample::new()
                .property("region", "eu-west")
                .property("TAGS", "TagA")
        };
        assert!(passes("region =~ ^eu-(west|north)$", eu()));
        assert!(!passes("region =~ ^us", eu()));
        assert!(passes("region !~ ^us && TAGS =~ A$", eu()));
        assert!(!passes("region !~ ^us && TAGS =~ B$", eu()));
        assert!(passes("^Tag[AB]$", eu()));
        assert!(!passes("region =~ .", Sample::new()));
        assert!(passes("region !~ .", Sample::new()));
    }

    #[test]
    fn an_error_names_the_part() {
        let error = testing::language::<Conditions>("a =~ b && c =~ (", &[]).unwrap_err();
        assert!(error.contains("the part at position 11"), "{error}");
        assert!(testing::language::<Conditions>("a =~ ", &[]).is_err());
        assert!(testing::language::<Conditions>("", &[]).is_err());
    }

    #[test]
    fn hostile_patterns_take_linear_time() {
        assert!(!passes(
            "a =~ ^(x+x+)+y$",
            Sample::new().property("a", "x".repeat(10_000))
        ));
    }
}
