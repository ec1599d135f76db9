//! Our SQL92 against the filter classes of the Java broker, on generated expressions and messages.
//!
//! `SLUICE_SQL92_SEED=n` makes another set, `SLUICE_SQL92_EXPRESSIONS=n` a larger one.

mod generate;
mod numbers;
mod words;

use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::process::Stdio;

use generate::{Case, Generator, Message};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sluice_filters::sql92::{NoFunctions, Outcome, Sql92};
use sluice_tests::java::JavaPeer;

#[test]
fn sql92_comes_to_what_java_comes_to() {
    let seed = setting("SLUICE_SQL92_SEED", 1);
    let mut random = StdRng::seed_from_u64(seed);
    let mut generator = Generator {
        random: &mut random,
    };
    let cases: Vec<Case> = (0..setting("SLUICE_SQL92_EXPRESSIONS", 40_000))
        .map(|_| generator.case())
        .collect();
    let java = java_letters(&cases);
    let ours: Vec<u8> = cases.iter().flat_map(letters).collect();
    assert_eq!(java.len(), ours.len(), "one letter for each message");

    let (decided, mut different): (Vec<Difference<'_>>, Vec<_>) = cases
        .iter()
        .flat_map(|case| case.messages.iter().map(move |message| (case, message)))
        .zip(java.iter().zip(&ours))
        .filter(|(_, (java, ours))| java != ours)
        .map(|((case, message), (&java, &ours))| Difference {
            case,
            message,
            java: char::from(java),
            ours: char::from(ours),
        })
        .partition(Difference::is_decided);
    println!("{} messages differ as decided", decided.len());
    different.sort_by_key(Difference::size);
    let smallest: Vec<String> = different.iter().take(5).map(Difference::told).collect();
    assert!(
        different.is_empty(),
        "seed {seed}: {} of {} messages come to something else, the smallest:\n{}",
        different.len(),
        ours.len(),
        smallest.join("\n")
    );
    assert_generator_reaches_everything(&java);
}

/// A set in which most cases are refused, or in which one result hardly occurs, shows nothing.
fn assert_generator_reaches_everything(letters: &[u8]) {
    let mut counts: BTreeMap<char, usize> = BTreeMap::new();
    for &letter in letters {
        *counts.entry(char::from(letter)).or_default() += 1;
    }
    println!("{} messages: {counts:?}", letters.len());
    for letter in ['T', 'F', 'N', 'E', 'X'] {
        let count = counts.get(&letter).copied().unwrap_or_default();
        assert!(
            count * 50 > letters.len(),
            "{letter} is too rare: {counts:?}"
        );
        assert!(
            count * 2 < letters.len(),
            "{letter} is too common: {counts:?}"
        );
    }
}

struct Difference<'c> {
    case: &'c Case,
    message: &'c Message,
    java: char,
    ours: char,
}

impl Difference<'_> {
    fn size(&self) -> usize {
        self.case.expression.len() + self.message.properties.len()
    }

    /// Whether it is as we want it: decision 5.
    fn is_decided(&self) -> bool {
        self.ours == 'X' && may_call(&self.case.expression)
    }

    fn told(&self) -> String {
        format!(
            "{:?} with {:?} (mapped: {}): Java {}, ours {} {}",
            self.case.expression,
            String::from_utf8_lossy(&self.message.properties),
            self.message.mapped,
            self.java,
            self.ours,
            Sql92::compile(&self.case.expression, &NoFunctions)
                .map_or_else(|error| error.to_string(), |_| String::new()),
        )
    }
}

/// Whether an identifier stands in front of a parenthesis. In doubt, with a comment between, it does.
fn may_call(expression: &str) -> bool {
    expression.match_indices('(').any(|(at, _)| {
        let before = expression[..at].trim_end_matches([' ', '\t', '\n', '\r', '\x0C']);
        let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
        let word = before.rsplit(|c| !is_letter(c)).next().unwrap_or_default();
        let keywords = [
            "NOT", "AND", "OR", "BETWEEN", "IN", "TRUE", "FALSE", "NULL", "IS",
        ];
        let is_keyword = keywords
            .iter()
            .any(|keyword| keyword.eq_ignore_ascii_case(word));
        before.ends_with("*/") || before.contains("--") || !word.is_empty() && !is_keyword
    })
}

/// What Java comes to, one letter for each message of each case.
fn java_letters(cases: &[Case]) -> Vec<u8> {
    let home = tempfile::tempdir().expect("a directory");
    let mut java = JavaPeer::server_classes()
        .program("sluice.interop.Sql92Cases", home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("java starts");
    let mut input = java.stdin.take().expect("a pipe");
    let mut output = java.stdout.take().expect("a pipe");
    let bytes = encoded(cases);
    let letters = std::thread::scope(|scope| {
        scope.spawn(move || input.write_all(&bytes).expect("java reads"));
        let mut letters = Vec::new();
        output.read_to_end(&mut letters).expect("java writes");
        letters
    });
    assert!(java.wait().expect("java ends").success());
    letters
}

fn encoded(cases: &[Case]) -> Vec<u8> {
    let mut out = Vec::new();
    let text = |out: &mut Vec<u8>, text: &[u8]| {
        out.extend_from_slice(&(text.len() as u32).to_be_bytes());
        out.extend_from_slice(text);
    };
    for case in cases {
        text(&mut out, case.expression.as_bytes());
        out.extend_from_slice(&(case.messages.len() as u32).to_be_bytes());
        for message in &case.messages {
            out.push(u8::from(message.mapped));
            text(&mut out, &message.properties);
        }
    }
    out
}

/// What we come to.
fn letters(case: &Case) -> Vec<u8> {
    let Ok(filter) = Sql92::compile(&case.expression, &NoFunctions) else {
        return vec![b'X'; case.messages.len()];
    };
    let letter = |message: &Message| match outcome(&filter, message) {
        Outcome::True => b'T',
        Outcome::False => b'F',
        Outcome::Unknown => b'N',
        Outcome::Raised(_) => b'E',
    };
    case.messages.iter().map(letter).collect()
}

fn outcome(filter: &Sql92, message: &Message) -> Outcome {
    if !message.mapped {
        return filter.evaluate(&message.properties);
    }
    let text = std::str::from_utf8(&message.properties).expect("mapped properties are UTF-8");
    let map: HashMap<&str, &str> = text
        .split('\u{2}')
        .filter_map(|piece| piece.split_once('\u{1}'))
        .collect();
    filter.evaluate_with(|name| map.get(name).copied())
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}
