//! The built-in languages against what RocketMQ 5.3.3 does.

use sluice_filters::Sql92;
use sluice_filters::conformance::{differences, sql92_cases, tag_cases};
use sluice_filters::language::{Sql92Language, TagLanguage};
use sluice_filters::sql92::{NoFunctions, Outcome};

fn letter(outcome: Outcome) -> char {
    match outcome {
        Outcome::True => 'T',
        Outcome::False => 'F',
        Outcome::Unknown => 'N',
        Outcome::Raised(_) => 'E',
    }
}

#[test]
fn every_row_of_sql92_comes_to_what_java_says() {
    let mut wrong = Vec::new();
    let cases = sql92_cases();
    assert_eq!(cases.len(), 302);
    for case in cases {
        let filter = Sql92::compile(&case.expression, &NoFunctions);
        let mapped = filter.as_ref().map_or('X', |filter| {
            let find = |name: &str| case.properties.iter().rfind(|(known, _)| known == name);
            letter(filter.evaluate_with(|name| find(name).map(|(_, value)| value.as_str())))
        });
        let stored = filter.as_ref().map_or('X', |filter| {
            let record = case.record();
            let record = sluice_protocol::message::Record::parse(&record).expect("a record");
            letter(filter.evaluate(record.properties()))
        });
        if (mapped, stored) != (case.mapped, case.stored) {
            wrong.push(format!("{case:?}: {mapped} {stored} {:?}", filter.err()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn sql92_judges_as_java_does() {
    let wrong = differences(&Sql92Language(NoFunctions), &sql92_cases());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn tags_judge_as_java_does() {
    let wrong = differences(&TagLanguage, &tag_cases());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
