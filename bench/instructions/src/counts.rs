//! The file of counts, and what has become of them since.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Error, Result};

/// A function that grew by more than this share fails.
const TOLERANCE: f64 = 0.05;
const MADE_BY: &str = "# Made by: ";
const HEAD: &str = "# Instructions of one call of each hot function, by name. docs/performance.md tells how to read and
# renew them: cargo run --profile counted -p sluice-instructions -- --write
";

/// Instructions of one call of each function.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Counts {
    /// What counted: a change of it changes counts, too.
    pub maker: String,
    /// By name.
    pub functions: BTreeMap<String, f64>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HEAD}{MADE_BY}{}\n\n", self.maker)?;
        for (name, count) in &self.functions {
            writeln!(f, "{name:28}{:>12}", Count(*count))?;
        }
        Ok(())
    }
}

impl FromStr for Counts {
    type Err = Error;

    fn from_str(text: &str) -> Result<Counts> {
        let mut counts = Counts::default();
        for line in text.lines() {
            if let Some(maker) = line.strip_prefix(MADE_BY) {
                counts.maker = maker.to_owned();
            }
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (name, count) = line
                .split_once(char::is_whitespace)
                .with_context(|| format!("name and count are expected: {line}"))?;
            let count = count.trim().parse();
            let count = count.with_context(|| format!("a count is expected: {line}"))?;
            counts.functions.insert(name.to_owned(), count);
        }
        Ok(counts)
    }
}

/// Small ones have a decimal place, so that 5 % of them show.
struct Count(f64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = if self.0 < 1000.0 { 1 } else { 0 };
        f.pad(&format!("{:.places$}", self.0))
    }
}

/// Two counts of the same functions.
#[derive(Debug)]
pub struct Comparison<'a> {
    was: &'a Counts,
    is: &'a Counts,
}

/// Of what the file says with what was counted now.
pub fn comparison<'a>(was: &'a Counts, is: &'a Counts) -> Comparison<'a> {
    Comparison { was, is }
}

impl Comparison<'_> {
    /// Whether the file lists what there is and nothing grew. Growth is told, not judged, when another maker
    /// counted.
    pub fn passes(&self) -> bool {
        let lists_all = self.unlisted().is_empty() && self.gone().is_empty();
        lists_all && (self.was.maker != self.is.maker || self.grown().is_empty())
    }

    /// By how much, as a share of what it was, each that is in both has changed.
    fn changes(&self) -> impl Iterator<Item = (&str, f64)> {
        let was = self.was.functions.iter();
        was.filter_map(|(name, was)| {
            let is = self.is.functions.get(name)?;
            Some((&**name, is / was - 1.0))
        })
    }

    fn grown(&self) -> Vec<&str> {
        let grown = self.changes().filter(|(_, change)| *change > TOLERANCE);
        grown.map(|(name, _)| name).collect()
    }

    fn fallen(&self) -> Vec<&str> {
        let fallen = self.changes().filter(|(_, change)| *change < -TOLERANCE);
        fallen.map(|(name, _)| name).collect()
    }

    fn unlisted(&self) -> Vec<&str> {
        missing(&self.is.functions, &self.was.functions)
    }

    fn gone(&self) -> Vec<&str> {
        missing(&self.was.functions, &self.is.functions)
    }

    fn rows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| function | was | is | change |\n|---|---:|---:|---:|")?;
        for (name, change) in self.changes() {
            let was = Count(self.was.functions[name]);
            let is = Count(self.is.functions[name]);
            writeln!(f, "| {name} | {was} | {is} | {:+.1} % |", 100.0 * change)?;
        }
        for name in self.unlisted() {
            let is = Count(self.is.functions[name]);
            writeln!(f, "| {name} | | {is} | |")?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows(f)?;
        let tolerance = format!("more than {:.0} %", 100.0 * TOLERANCE);
        for (what, names) in [
            (format!("grew by {tolerance}"), self.grown()),
            (
                format!("fell by {tolerance}, to be written down"),
                self.fallen(),
            ),
            ("not in the file".to_owned(), self.unlisted()),
            ("in the file alone".to_owned(), self.gone()),
        ] {
            if !names.is_empty() {
                writeln!(f, "{what}: {}", names.join(", "))?;
            }
        }
        if self.was.maker != self.is.maker {
            writeln!(
                f,
                "growth is not judged, as the file is of another maker: {}",
                self.was.maker
            )?;
            writeln!(f, "here it is: {}", self.is.maker)?;
        }
        Ok(())
    }
}

fn missing<'a>(all: &'a BTreeMap<String, f64>, listed: &BTreeMap<String, f64>) -> Vec<&'a str> {
    let missing = all.keys().filter(|name| !listed.contains_key(*name));
    missing.map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(maker: &str, functions: &[(&str, f64)]) -> Counts {
        let functions = functions.iter();
        Counts {
            maker: maker.to_owned(),
            functions: functions
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let written = counts("rustc 1, avx", &[("append", 2000.0), ("crc", 15.5)]);
        assert_eq!(
            written.to_string().parse::<Counts>().expect("a file"),
            written
        );
        assert!("append".parse::<Counts>().is_err());
        assert!("append many".parse::<Counts>().is_err());
    }

    #[test]
    fn growth_beyond_the_tolerance_fails_and_is_named() {
        let was = counts("a", &[("append", 1000.0), ("crc", 100.0)]);
        let within = counts("a", &[("append", 1049.0), ("crc", 80.0)]);
        assert!(comparison(&was, &within).passes());
        let told = comparison(&was, &within).to_string();
        assert!(
            told.contains("fell by more than 5 %, to be written down: crc\n"),
            "{told}"
        );
        assert!(!told.contains("grew"), "{told}");
        let beyond = counts("a", &[("append", 1051.0), ("crc", 100.0)]);
        assert!(!comparison(&was, &beyond).passes());
        let told = comparison(&was, &beyond).to_string();
        assert!(told.contains("grew by more than 5 %: append\n"), "{told}");
        assert!(
            told.contains("| append | 1000 | 1051 | +5.1 % |\n"),
            "{told}"
        );
    }

    #[test]
    fn the_file_lists_all_there_is_and_nothing_else() {
        let (one, other) = (
            counts("a", &[("append", 1.0)]),
            counts("a", &[("crc", 1.0)]),
        );
        assert!(!comparison(&one, &counts("a", &[])).passes());
        assert!(!comparison(&counts("a", &[]), &one).passes());
        let told = comparison(&one, &other).to_string();
        assert!(
            told.contains("not in the file: crc\nin the file alone: append\n"),
            "{told}"
        );
    }

    #[test]
    fn counts_of_another_maker_are_told_and_not_judged() {
        let was = counts("rustc 1", &[("append", 1000.0)]);
        let is = counts("rustc 2", &[("append", 2000.0)]);
        let comparison = comparison(&was, &is);
        assert!(comparison.passes());
        let told = comparison.to_string();
        assert!(told.contains("grew by more than 5 %: append\n"), "{told}");
        assert!(told.contains("growth is not judged"), "{told}");
    }
}
