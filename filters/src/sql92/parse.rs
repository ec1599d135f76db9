//! The grammar, and what its refusals mean to the person who wrote the expression.

use std::collections::BTreeSet;

use pest::Parser;
use pest::error::{ErrorVariant, InputLocation};
use pest::iterators::Pair;

use crate::{ExpressionError, Position};

#[derive(pest_derive::Parser)]
#[grammar = "sql92/grammar.pest"]
struct Grammar;

/// The grammar's rules.
pub(super) type Symbol = Rule;

/// The `or` that a whole expression is. `scanned` is `text` without its comments.
pub(super) fn parse<'a>(text: &str, scanned: &'a str) -> Result<Pair<'a, Symbol>, ExpressionError> {
    let refused = match Grammar::parse(Rule::selector, scanned) {
        Ok(pairs) => {
            let whole = pairs.flatten().find(|pair| pair.as_rule() == Rule::or);
            return whole.ok_or_else(|| syntax(text, scanned, 0, "a condition".to_owned()));
        }
        Err(refused) => refused,
    };
    let at = match refused.location {
        InputLocation::Pos(at) | InputLocation::Span((at, _)) => at,
    };
    let expected = match &refused.variant {
        ErrorVariant::ParsingError { positives, .. } => expectation(positives),
        ErrorVariant::CustomError { message } => message.clone(),
    };
    Err(syntax(text, scanned, at, expected))
}

fn syntax(text: &str, scanned: &str, at: usize, expected: String) -> ExpressionError {
    // The grammar stops where the last token ended.
    let blank = |character: char| matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0C');
    let rest = scanned[at..].trim_start_matches(blank);
    ExpressionError::Syntax {
        position: Position::of(text, scanned.len() - rest.len()),
        found: found(rest),
        expected,
    }
}

/// What stands at the beginning of `rest`, named or quoted.
fn found(rest: &str) -> String {
    const QUOTED_MAX: usize = 20;
    if rest.starts_with('\'') && Grammar::parse(Rule::string, rest).is_err() {
        return "a text without its closing quote".to_owned();
    }
    if rest.starts_with("/*") {
        return "a comment without its end".to_owned();
    }
    let token = Grammar::parse(Rule::token, rest).map_or("", |token| token.as_str());
    match (token, rest.chars().next()) {
        (_, None) => "the end".to_owned(),
        ("", Some(character)) => {
            format!("`{}`, which starts nothing", character.escape_debug())
        }
        (token, _) if token.chars().count() > QUOTED_MAX => {
            let cut: String = token.chars().take(QUOTED_MAX).collect();
            format!("`{cut}...`")
        }
        (token, _) => format!("`{token}`"),
    }
}

fn expectation(wanted: &[Rule]) -> String {
    let mut names: BTreeSet<&str> = wanted.iter().filter_map(|&symbol| name(symbol)).collect();
    if names.contains("the end") {
        // Anything that is a token would do.
        names = BTreeSet::from(["an operator", "the end"]);
    }
    if names.contains("a value") {
        names.remove("NOT");
    }
    if names.contains("an operator") {
        names.retain(|name| !name.starts_with(char::is_uppercase));
    }
    if names.len() > 1 {
        names.remove("`(`");
    }
    let names: Vec<&str> = names.into_iter().collect();
    match names.split_last() {
        None => "something else".to_owned(),
        Some((only, [])) => (*only).to_owned(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
    }
}

/// What a rule is called outside the grammar; `None` when another one that is wanted at the same
/// place says it better.
fn name(symbol: Rule) -> Option<&'static str> {
    Some(match symbol {
        Rule::selector | Rule::or | Rule::and | Rule::equality | Rule::comparison | Rule::unary => {
            "a value"
        }
        Rule::plus | Rule::minus | Rule::float | Rule::integer | Rule::true_ | Rule::false_ => {
            "a value"
        }
        Rule::property | Rule::call | Rule::group | Rule::identifier | Rule::arguments => "a value",
        Rule::equal | Rule::differ | Rule::order | Rule::equal_sign | Rule::differ_sign => {
            "an operator"
        }
        Rule::greater_equal | Rule::greater | Rule::less_equal | Rule::less => "an operator",
        Rule::is_null | Rule::is_not_null | Rule::is => "an operator",
        Rule::search | Rule::between | Rule::membership => "an operator",
        Rule::between_keyword => "BETWEEN",
        Rule::in_ => "IN",
        Rule::contains => "CONTAINS",
        Rule::starts_with => "STARTSWITH",
        Rule::ends_with => "ENDSWITH",
        Rule::string => "a text in quotes",
        Rule::null => "NULL",
        Rule::not => "NOT",
        Rule::and_keyword => "AND",
        Rule::or_keyword => "OR",
        Rule::open => "`(`",
        Rule::close => "`)`",
        Rule::comma => "`,`",
        Rule::EOI => "the end",
        _ => return None,
    })
}
