//! One suite for every implementation of a built-in language, native or a plugin: what RocketMQ 5.3.3
//! makes of expressions, found out by running it.

use std::collections::BTreeMap;

use sluice_protocol::message::{Record, RecordFields, java_hash, properties};

use crate::{BLOCK_ROWS_MAX, Language, MessageFilter, Verdict};

/// Rows of expression, result and properties; the head of the file explains them.
const SQL92_ROWS: &str = include_str!("../tests/sql92.tsv");
/// The same for tag expressions.
const TAG_ROWS: &str = include_str!("../tests/tag.tsv");

/// One expression with one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its row in the table.
    pub number: String,
    /// The expression.
    pub expression: String,
    /// `T` true, `F` false, `N` unknown, `E` the evaluation raises, `X` the expression is refused,
    /// with the properties in a map.
    pub mapped: char,
    /// The same with the properties of a stored message, of which an empty one is none.
    pub stored: char,
    /// Names and values.
    pub properties: Vec<(String, String)>,
}

impl Case {
    fn read(line: &str) -> Self {
        let mut fields = line.split('\t').map(unescaped);
        let mut field = || fields.next().expect("number, expression, result");
        let (number, expression, results) = (field(), field(), field());
        let mut results = results.chars();
        let mapped = results.next().expect("a result");
        Case {
            number,
            expression,
            mapped,
            stored: results.next().unwrap_or(mapped),
            properties: fields
                .map(|property| {
                    let (name, value) = property.split_once('=').expect("name=value");
                    (name.to_owned(), value.to_owned())
                })
                .collect(),
        }
    }

    /// The stored message, without a body.
    pub fn record(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (name, value) in &self.properties {
            properties::put(&mut text, name, value);
        }
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
            properties: &text,
        };
        let mut record = Vec::new();
        fields
            .encode(&mut record)
            .expect("a record within the limits");
        record
    }

    fn tags_code(&self) -> i64 {
        let tag = self
            .properties
            .iter()
            .find(|(name, _)| name == properties::TAGS);
        tag.map_or(0, |(_, tag)| i64::from(java_hash(tag)))
    }
}

/// The cases of SQL92.
pub fn sql92_cases() -> Vec<Case> {
    cases(SQL92_ROWS)
}

/// The cases of tag expressions.
pub fn tag_cases() -> Vec<Case> {
    cases(TAG_ROWS)
}

fn cases(rows: &str) -> Vec<Case> {
    rows.lines()
        .filter(|line| !line.starts_with('#'))
        .map(Case::read)
        .collect()
}

/// The escapes `\n \t \f \\ \uXXXX`.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            out.push(character);
            continue;
        }
        out.push(match characters.next().expect("an escape") {
            'n' => '\n',
            't' => '\t',
            'f' => '\x0C',
            '\\' => '\\',
            'u' => {
                let code: String = characters.by_ref().take(4).collect();
                let code = u32::from_str_radix(&code, 16).expect("four hexadecimal digits");
                char::from_u32(code).expect("a character")
            }
            other => panic!("unknown escape {other}"),
        });
    }
    out
}

/// Runs `cases` against `language`, each case alone and all cases of an expression in blocks, as a
/// read of the store does it. Returns what is not as it should be.
pub fn differences(language: &dyn Language, cases: &[Case]) -> Vec<String> {
    let mut by_expression: BTreeMap<&str, Vec<&Case>> = BTreeMap::new();
    for case in cases {
        by_expression
            .entry(&case.expression)
            .or_default()
            .push(case);
    }
    let mut found = Vec::new();
    for (expression, cases) in by_expression {
        let filter = language.compile(expression);
        for case in &cases {
            if filter.is_err() != (case.stored == 'X') {
                let answer = filter.as_ref().err().map(ToString::to_string);
                found.push(format!("{case:?}: compiling answers {answer:?}"));
            }
        }
        let Ok(filter) = filter else { continue };
        for size in [1, BLOCK_ROWS_MAX] {
            for block in cases.chunks(size) {
                judge_block(&*filter, block, &mut found);
            }
        }
    }
    found
}

fn judge_block(filter: &dyn MessageFilter, cases: &[&Case], found: &mut Vec<String>) {
    let stored: Vec<Vec<u8>> = cases.iter().map(|case| case.record()).collect();
    let records: Vec<Record<'_>> = stored
        .iter()
        .map(|bytes| Record::parse(bytes).expect("a record"))
        .collect();
    let mut verdicts = vec![Verdict::Hold; records.len()];
    if filter.needs_record() {
        filter.judge(&records, &mut verdicts);
    } else {
        verdicts.fill(Verdict::Pass);
    }
    for ((case, verdict), record) in cases.iter().zip(verdicts).zip(&records) {
        let may = filter.may_match_tags_code(case.tags_code());
        let passes = may && verdict == Verdict::Pass;
        if passes != (case.stored == 'T') || (may && verdict == Verdict::Hold) {
            found.push(format!("{case:?}: {verdict:?}, tags code {may}"));
        }
        if passes && !filter.may_wake(case.tags_code(), record.properties()) {
            found.push(format!("{case:?}: passes but would not wake a pull"));
        }
    }
}
