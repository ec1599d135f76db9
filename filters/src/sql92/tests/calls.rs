//! Functions: when they are called, for which rows, with what, and what their answers do.

use std::sync::{Arc, Mutex};

use sluice_protocol::message::{Record, RecordFields};

use super::super::*;

/// What a function was called with: its name, and of each row its record and arguments.
type Calls = Arc<Mutex<Vec<(String, Vec<(usize, String)>)>>>;

/// Functions of text to whatever: `id`, `true`, `false`, `null`, `fail`, `int`, `float`, `join`.
#[derive(Clone, Default)]
struct Fake {
    calls: Calls,
    resolved: Arc<Mutex<Vec<String>>>,
}

struct Named {
    name: String,
    calls: Calls,
}

impl Functions for Fake {
    fn resolve(&self, name: &str, arguments: &[Argument<'_>]) -> Result<Arc<dyn Function>, String> {
        let known = [
            "id", "yes", "no", "nil", "fail", "int", "float", "join", "WASM",
        ];
        if !known.contains(&name) {
            return Err(format!("known are {}", known.join(", ")));
        }
        self.resolved
            .lock()
            .unwrap()
            .push(format!("{name} {arguments:?}"));
        Ok(Arc::new(Named {
            name: name.to_owned(),
            calls: self.calls.clone(),
        }))
    }
}

impl Function for Named {
    fn call(&self, records: &[Record<'_>], rows: &[Row<'_>], results: &mut [Value]) {
        assert_eq!(rows.len(), results.len());
        let mut seen = Vec::new();
        for (row, result) in rows.iter().zip(results) {
            assert!(row.record < records.len());
            let joined: Vec<&str> = row
                .arguments
                .iter()
                .map(|a| a.as_deref().unwrap_or("-"))
                .collect();
            let first = row.arguments.first().cloned().flatten();
            *result = match self.name.as_str() {
                "id" => first.map_or(Value::Null, |text| Value::Text(text.into_owned())),
                "yes" => Value::Boolean(true),
                "no" => Value::Boolean(false),
                "nil" => Value::Null,
                "int" => first
                    .and_then(|text| text.parse().ok())
                    .map_or(Value::Failed, Value::Integer),
                "float" => first
                    .and_then(|text| text.parse().ok())
                    .map_or(Value::Failed, Value::Float),
                "join" => Value::Text(joined.concat()),
                "WASM" => Value::Boolean(first.is_some_and(|name| name == "pass@1")),
                _ => Value::Failed,
            };
            seen.push((row.record, joined.join(",")));
        }
        self.calls.lock().unwrap().push((self.name.clone(), seen));
    }
}

fn stored(properties: &str) -> Vec<u8> {
    let host = ([127, 0, 0, 1], 1).into();
    let fields = RecordFields {
        topic: "t",
        queue_id: 0,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: host,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &[],
        properties: properties.as_bytes(),
    };
    let mut bytes = Vec::new();
    fields.encode(&mut bytes).expect("a record");
    bytes
}

/// Three messages: a = 1, 2, 3; the last has b = x.
const MESSAGES: [&str; 3] = ["a\u{1}1\u{2}", "a\u{1}2\u{2}", "a\u{1}3\u{2}b\u{1}x\u{2}"];

/// Which of the messages pass (`+` or `-`), and the calls as `name row:arguments ...`.
fn judged(expression: &str) -> (String, Vec<String>) {
    let fake = Fake::default();
    let filter = Sql92::compile(expression, &fake).expect(expression);
    assert!(filter.may_wake(0, b""), "a function may say anything");
    let stored = MESSAGES.map(stored);
    let records: Vec<_> = stored
        .iter()
        .map(|bytes| Record::parse(bytes).unwrap())
        .collect();
    let mut verdicts = [Verdict::Hold; 3];
    filter.judge(&records, &mut verdicts);
    let passed = verdicts.map(|verdict| if verdict == Verdict::Pass { '+' } else { '-' });
    let calls = fake.calls.lock().unwrap();
    let line = |(name, rows): &(String, Vec<(usize, String)>)| {
        let rows: Vec<String> = rows
            .iter()
            .map(|(row, cells)| format!("{row}:{cells}"))
            .collect();
        format!("{name} {}", rows.join(" "))
    };
    (passed.iter().collect(), calls.iter().map(line).collect())
}

fn assert_judged(expression: &str, passed: &str, calls: &[&str]) {
    let (actual, called) = judged(expression);
    assert_eq!(
        (actual.as_str(), &called[..]),
        (
            passed,
            &calls.iter().map(ToString::to_string).collect::<Vec<_>>()[..]
        ),
        "{expression}"
    );
}

#[test]
fn a_function_is_called_once_for_the_rows_that_hang_on_it() {
    assert_judged("yes(a)", "+++", &["yes 0:1 1:2 2:3"]);
    assert_judged("yes(a) AND a > 1", "-++", &["yes 1:2 2:3"]);
    assert_judged("a > 1 AND yes(a)", "-++", &["yes 1:2 2:3"]);
    assert_judged("no(a) OR a > 1", "-++", &["no 0:1"]);
    assert_judged("yes(a) OR TRUE", "+++", &[]);
    assert_judged("yes(a) AND FALSE", "---", &[]);
    assert_judged("yes(a) AND c = 1", "---", &[]);
    assert_judged("NOT (yes(a) AND c = 1)", "---", &["yes 0:1 1:2 2:3"]);
    assert_judged("NOT (no(a) AND c = 1)", "+++", &["no 0:1 1:2 2:3"]);
    assert_judged("yes(a) AND TRUE = b", "---", &[]);
    assert_judged("int(a) > c", "---", &[]);
    assert_judged(
        "yes() AND (id(a) = '2' OR id(b) = 'x')",
        "-++",
        &["yes 0: 1: 2:", "id 0:1 1:2 2:3", "id 0:- 2:x"],
    );
}

#[test]
fn functions_settle_rows_for_the_functions_behind_them() {
    assert_judged(
        "id(a) = '2' AND yes(b)",
        "-+-",
        &["id 0:1 1:2 2:3", "yes 1:-"],
    );
    assert_judged(
        "id(a) = '2' OR no(b)",
        "-+-",
        &["id 0:1 1:2 2:3", "no 0:- 2:x"],
    );
    assert_judged("no(a) AND yes(a)", "---", &["no 0:1 1:2 2:3"]);
    assert_judged("nil(a) AND yes(a)", "---", &["nil 0:1 1:2 2:3"]);
}

#[test]
fn calls_nest_and_take_any_unary_expression() {
    assert_judged(
        "id(id(a)) = '2'",
        "-+-",
        &["id 0:1 1:2 2:3", "id 0:1 1:2 2:3"],
    );
    assert_judged(
        "join(a, -5, 2.50, 'it''s', TRUE, NULL, (a = 1), id(b)) = 'x' AND a = 3",
        "---",
        &["id 2:x", "join 2:3,-5,2.5,it's,TRUE,-,FALSE,x"],
    );
    assert_judged(
        "int(a) BETWEEN 2 AND int(join(a, '0'))",
        "-++",
        &["int 0:1 1:2 2:3", "join 1:2,0 2:3,0", "int 1:20 2:30"],
    );
    assert_judged("yes((a = b)) AND a = 3", "--+", &["yes 2:FALSE"]);
}

#[test]
fn answers_stand_for_conditions_properties_and_values() {
    for (expression, passed) in [
        ("int(a) > 1", "-++"),
        ("1 < int(a)", "-++"),
        ("int(a) = a", "+++"),
        ("a = int(a)", "+++"),
        ("-int(a) < -1", "-++"),
        ("float(a) >= 1.5", "-++"),
        ("float(a) = 2", "-+-"),
        ("id(a) IN ('1', '3')", "+-+"),
        ("id(a) NOT IN ('1', '3')", "-+-"),
        ("id(b) IS NULL", "++-"),
        ("id(b) CONTAINS 'x'", "--+"),
        ("id(b) NOT CONTAINS 'y'", "--+"),
        ("id(a) > 1", "-++"),
        ("yes(a) = TRUE", "+++"),
        ("TRUE <> no(a)", "+++"),
        ("NOT no(a)", "+++"),
        ("NOT nil(a)", "---"),
        // No boolean: FALSE, like a property that stands alone.
        ("id(a)", "---"),
        ("NOT int(a)", "+++"),
        ("yes(a) > 0", "---"),
        // A failed row is unknown, and only that row.
        ("fail(a)", "---"),
        ("NOT fail(a)", "---"),
        ("fail(a) OR a = 1", "+--"),
        ("int(b) IS NULL", "+++"),
        ("int(a) = 2 OR int(b) = 1", "-+-"),
        ("WASM('pass@1', 'limit=5') AND a > 1", "-++"),
        ("WASM('drop@1', 'limit=5') OR a > 2", "--+"),
    ] {
        assert_eq!(judged(expression).0, passed, "{expression}");
    }
}

#[test]
fn functions_learn_the_literals_when_they_are_resolved() {
    let fake = Fake::default();
    Sql92::compile(
        "join('a''b', -1, +2.5, TRUE, NULL, a, -a, (3), id(a)) = '' OR yes()",
        &fake,
    )
    .expect("it compiles");
    assert_eq!(
        *fake.resolved.lock().unwrap(),
        [
            "id [Varies]",
            "join [Literal(Some(\"a'b\")), Literal(Some(\"-1\")), Literal(Some(\"2.5\")), \
         Literal(Some(\"TRUE\")), Literal(None), Varies, Varies, Literal(Some(\"3\")), Varies]",
            "yes []",
        ]
    );
}

#[test]
fn unknown_functions_are_refused_by_name_and_place() {
    let error = Sql92::compile("a = 1 AND Yes(a)", &Fake::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column 11: function Yes: known are id, yes, no, nil, fail, int, float, join, WASM"
    );
    let calls = |count| vec!["yes(a)"; count].join(" OR ");
    assert!(Sql92::compile(&calls(CALLS_MAX), &Fake::default()).is_ok());
    let error = Sql92::compile(&calls(CALLS_MAX + 1), &Fake::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "column 641: function yes: more than 64 calls"
    );
    // Java drops what follows an identifier that ends the expression; a parenthesis makes it a call.
    assert!(Sql92::compile("a = 1 AND b (c)", &NoFunctions).is_err());
    assert!(Sql92::compile("a = 1 (c)", &NoFunctions).is_ok());
}

#[test]
fn outcomes_are_told_of_every_row() {
    let fake = Fake::default();
    let filter = Sql92::compile("yes(a) AND (a = 2 OR b = 1)", &fake).expect("it compiles");
    let stored = MESSAGES.map(stored);
    let records: Vec<_> = stored
        .iter()
        .map(|bytes| Record::parse(bytes).unwrap())
        .collect();
    let raised = Raised {
        offset: 23,
        reason: Reason::NoInt,
    };
    assert_eq!(
        filter.outcomes(&records),
        [Outcome::Unknown, Outcome::True, Outcome::Raised(raised)]
    );
    assert_eq!(
        filter.evaluate(b"a\x012"),
        Outcome::Unknown,
        "functions fail without records"
    );
}
