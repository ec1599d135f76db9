//! Refusals in words, bounds, and calls of functions.

mod calls;

use super::*;

fn refusal(expression: &str) -> String {
    match Sql92::compile(expression, &NoFunctions) {
        Ok(_) => format!("`{expression}` compiles"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn syntax_is_refused_by_place_find_and_expectation() {
    let trailing = "expected an operator or the end";
    for (expression, refused) in [
        ("", "column 1: found the end, expected a value".to_owned()),
        ("a = ", "column 5: found the end, expected a value".into()),
        (
            "a = 'x' AND",
            "column 12: found the end, expected a value".into(),
        ),
        ("a == 1", "column 4: found `=`, expected a value".into()),
        (
            "a != 1",
            format!("column 3: found `!`, which starts nothing, {trailing}"),
        ),
        (
            "(a = 1",
            "column 7: found the end, expected `)` or an operator".into(),
        ),
        (
            "a IN (1)",
            "column 7: found `1`, expected a text in quotes".into(),
        ),
        ("a IN 'x'", "column 6: found `'x'`, expected `(`".into()),
        (
            "a IN ('x',)",
            "column 11: found `)`, expected a text in quotes".into(),
        ),
        (
            "a IN ('x' 'y')",
            "column 11: found `'y'`, expected `)` or `,`".into(),
        ),
        ("a IS 5", "column 6: found `5`, expected NOT or NULL".into()),
        (
            "a NOT 5",
            "column 7: found `5`, expected BETWEEN, CONTAINS, ENDSWITH, IN or STARTSWITH".into(),
        ),
        (
            "a BETWEEN 1 OR 2",
            "column 13: found `OR`, expected AND".into(),
        ),
        (
            "a CONTAINS b",
            "column 12: found `b`, expected a text in quotes".into(),
        ),
        (
            "a = 'x",
            "column 5: found a text without its closing quote, expected a value".into(),
        ),
        (
            "a = 1 /* b",
            format!("column 7: found a comment without its end, {trailing}"),
        ),
        (
            "between = 1",
            "column 1: found `between`, expected a value".into(),
        ),
        (
            "a =\n  é",
            "line 2, column 3: found `é`, which starts nothing, expected a value".into(),
        ),
        (
            "a = 1 --é\n\u{3000}",
            format!("line 2, column 1: found `\\u{{3000}}`, which starts nothing, {trailing}"),
        ),
        ("f(a b)", "column 5: found `b`, expected `)` or `,`".into()),
        (
            "f(",
            "column 3: found the end, expected `)` or a value".into(),
        ),
    ] {
        assert_eq!(refusal(expression), refused, "{expression}");
    }
}

#[test]
fn broken_rules_name_the_operand() {
    for (expression, refused) in [
        ("a > '5'", "column 5: `'5'` is text; `>` compares numbers"),
        (
            "TRUE <= a",
            "column 1: `TRUE` is a boolean; `<=` compares numbers",
        ),
        (
            "NOT a > 5",
            "column 1: `NOT a` is a condition; `>` compares numbers",
        ),
        (
            "a BETWEEN 1 AND NULL",
            "column 17: `NULL` is NULL; `BETWEEN` compares numbers",
        ),
        (
            "a BETWEEN 5 AND 3",
            "column 17: `3` is below the lower bound",
        ),
        (
            "a = NULL",
            "column 5: `NULL` is compared with `=`; use IS NULL or IS NOT NULL",
        ),
        (
            "TRUE = 1",
            "column 8: `1` is a number; TRUE and FALSE are compared with TRUE and FALSE",
        ),
        ("a = 1 OR 'x'", "column 10: `'x'` is text, not a condition"),
        ("-a", "column 1: `-a` is a negated value, not a condition"),
        (
            "NOT ( 5 )",
            "column 5: `( 5 )` is a number, not a condition",
        ),
        (
            "'x' IN ('x')",
            "column 1: `'x'` is text; IN needs a property before it",
        ),
        (
            "a > -9223372036854775808",
            "column 6: `9223372036854775808` is above 9223372036854775807",
        ),
        (
            "a = 0.0",
            "column 5: `0.0` is not between 4.9E-324 and 1.7976931348623157E308",
        ),
        (
            "a = 1 AND f(a)",
            "column 11: function f: there is no function of this name",
        ),
    ] {
        assert_eq!(refusal(expression), refused, "{expression}");
    }
}

#[test]
fn failures_of_an_evaluation_say_where_and_why() {
    for (expression, properties, offset, reason) in [
        ("a = 5", "a\u{1}x", 2, Reason::NoInt),
        ("a > 4000000000", "a\u{1}1.5", 2, Reason::NoLong),
        (
            "b IS NULL AND a BETWEEN 1.5 AND 2",
            "a\u{1}x",
            16,
            Reason::NoDouble,
        ),
        ("a < b", "a\u{1}x\u{2}b\u{1}1", 2, Reason::NotTwoNumbers),
        ("TRUE = a", "a\u{1}true", 5, Reason::BooleanBeforeText),
    ] {
        let filter = Sql92::compile(expression, &NoFunctions).expect(expression);
        assert_eq!(
            filter.evaluate(properties.as_bytes()),
            Outcome::Raised(Raised { offset, reason }),
            "{expression}"
        );
    }
}

/// On a thread's smallest stack: neither depth nor length nor a chain of signs uses it up.
#[test]
fn the_largest_expressions_compile_and_evaluate_on_a_small_stack() {
    let nested = |open: &str| format!("{}a{}", open.repeat(NESTING_MAX), ")".repeat(NESTING_MAX));
    let filled = |piece: &str| {
        format!(
            "a = 1{}",
            piece.repeat((EXPRESSION_SIZE_MAX - 5) / piece.len())
        )
    };
    let expressions = [
        nested("("),
        filled(" OR a = 1"),
        filled(" AND b = 1"),
        filled(" = TRUE"),
        filled(" IS NULL"),
        filled(" CONTAINS 'x'"),
        format!("{}a", "NOT ".repeat(4_000)),
        format!("a = {}1", "-".repeat(16_000)),
        format!("a = {}1", "- + ".repeat(4_000)),
        format!(
            "{}a = 1{}",
            "a = 1 OR (".repeat(NESTING_MAX),
            ")".repeat(NESTING_MAX)
        ),
        format!(
            "{}a{} = 1",
            "-(".repeat(NESTING_MAX),
            ") BETWEEN 1 AND 2".repeat(NESTING_MAX)
        ),
    ];
    let run = move || {
        for expression in expressions {
            let filter = Sql92::compile(&expression, &NoFunctions).expect("it compiles");
            filter.evaluate(b"a\x011\x02");
        }
        let calls = nested("f(");
        assert!(
            refusal(&calls).contains("function f"),
            "{}",
            refusal(&calls)
        );
    };
    let thread = std::thread::Builder::new().stack_size(512 * 1024);
    thread
        .spawn(run)
        .expect("a thread")
        .join()
        .expect("no expression fails");
}

/// What makes a grammar look far ahead, or back again and again.
#[test]
fn hostile_texts_are_refused_at_once() {
    let fill = |piece: &str| piece.repeat(EXPRESSION_SIZE_MAX / piece.len());
    for text in [
        fill("("),
        fill("a("),
        fill("((("),
        fill("--"),
        fill("-- "),
        fill("/*"),
        fill("/**"),
        fill("'"),
        fill("NOT "),
        fill("0"),
        fill("1e"),
        fill("+"),
        fill("f(--"),
        fill("a NOT "),
        format!("f({}", fill("--a,").get(..16_000).unwrap_or_default()),
        format!("f({}@", fill("(a),").get(..16_000).unwrap_or_default()),
        format!("a IN ({}", fill("'',").get(..16_000).unwrap_or_default()),
        format!("{}@", "(a OR ".repeat(NESTING_MAX)),
        format!("{}@", "f(a,+".repeat(NESTING_MAX)),
    ] {
        let start = std::time::Instant::now();
        assert!(Sql92::compile(&text, &NoFunctions).is_err(), "{text:.20}");
        assert!(start.elapsed().as_secs() < 5, "{text:.20}");
    }
}

/// What takes long to evaluate: many properties, long numbers, and searches that nearly succeed.
#[test]
fn hostile_messages_are_judged_in_bounded_time() {
    let size = i16::MAX as usize;
    let named: Vec<String> = (0..PROPERTIES_MAX)
        .map(|name| format!("n{name} = 1"))
        .collect();
    let many = "ab\u{1}1\u{2}".repeat(size / 5);
    let digits = format!("a\u{1}{}\u{2}", "7".repeat(NUMBER_SIZE_MAX));
    let same = format!("a\u{1}{}b\u{2}", "x".repeat(size - 4));
    let or = |piece: &str| vec![piece; EXPRESSION_SIZE_MAX / (piece.len() + 4)].join(" OR ");
    for (expression, properties) in [
        (named.join(" OR "), many),
        (or("a < 1.5"), digits.clone()),
        (or("a <= 9223372036854775807.5 AND a > b"), digits),
        (or("a CONTAINS 'xxxxxxxxxy'"), same),
    ] {
        let filter = Sql92::compile(&expression, &NoFunctions).expect("it compiles");
        let start = std::time::Instant::now();
        filter.evaluate(properties.as_bytes());
        assert!(start.elapsed().as_secs() < 5, "{expression:.20}");
        assert!(filter.may_wake(0, properties.as_bytes()), "not evaluated");
    }
    let one_more = format!("{} OR m = 1", named.join(" OR "));
    assert!(refusal(&one_more).ends_with("more than 256 different properties"));
}
