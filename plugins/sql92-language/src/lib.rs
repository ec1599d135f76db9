//! Expression language: SQL92 as it is built in, through the plugin interface.
//!
//! Built from the very code of the broker's SQL92; the conformance suite holds both to the same
//! answers. It calls no functions, and as a guest has no threads, its parentheses nest no deeper than
//! one stack allows.

#![forbid(unsafe_code)]

use sluice_filters::Sql92;
use sluice_filters::sql92::{NoFunctions, Outcome};
use sluice_plugin::{
    Binding, Column, Language, Message, Messages, Needs, Verdict, export_language,
};

struct Expression {
    sql92: Sql92,
    /// One for each of [`Sql92::properties`].
    columns: Vec<Column<[u8]>>,
}

impl Language for Expression {
    fn compile(expression: &str, _: &Binding, needs: &mut Needs) -> Result<Self, String> {
        needs.pure();
        let sql92 = Sql92::compile(expression, &NoFunctions).map_err(|error| error.to_string())?;
        let columns = sql92
            .properties()
            .map(|name| needs.property(name))
            .collect();
        Ok(Expression { sql92, columns })
    }

    fn filter(&mut self, message: &Message<'_>) -> Verdict {
        let mut verdicts = [Verdict::Failed];
        self.judge(std::slice::from_ref(message), &mut verdicts);
        verdicts[0]
    }

    fn filter_batch(&mut self, messages: Messages<'_>, verdicts: &mut [Verdict]) {
        let messages: Vec<Message<'_>> = messages.iter().collect();
        self.judge(&messages, verdicts);
    }
}

impl Expression {
    fn judge(&self, messages: &[Message<'_>], verdicts: &mut [Verdict]) {
        let value = |row: usize, at: usize| messages[row].get(self.columns[at]);
        self.sql92
            .evaluate_columns(messages.len(), value, |row, outcome| {
                verdicts[row] = (outcome == Outcome::True).into();
            });
    }
}

export_language!(Expression);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::testing::{self, Sample};

    #[test]
    fn an_expression_is_compiled_and_judges() {
        let expression = "region = 'eu-west' AND amount > 100";
        let mut plugin = testing::language::<Expression>(expression, &[]).unwrap();
        assert_eq!(plugin.needs().properties(), ["region", "amount"]);
        let sample = |amount: &str| {
            Sample::new()
                .property("region", "eu-west")
                .property("amount", amount)
        };
        assert_eq!(
            plugin.judge(&[sample("101"), sample("100"), Sample::new()]),
            [Verdict::Pass, Verdict::Drop, Verdict::Drop]
        );
    }

    #[test]
    fn a_refusal_says_where() {
        assert_eq!(
            testing::language::<Expression>("a = ", &[])
                .err()
                .as_deref(),
            Some("column 5: found the end, expected a value")
        );
    }
}
