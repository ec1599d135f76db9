//! Text in columns, and numbers as people read them.

use std::time::{Duration, UNIX_EPOCH};

use sluice_plugins::World;

use crate::visible::in_line;

/// Rows under headings; each column as wide as its widest cell.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// A heading that begins with `>` has its column set to the right.
    pub(crate) fn of(headings: &[&str]) -> Table {
        let plain = |heading: &&str| heading.trim_start_matches('>').to_owned();
        Table {
            rows: vec![headings.iter().map(plain).collect()],
            right: headings.iter().map(|h| h.starts_with('>')).collect(),
        }
    }

    /// One cell for each heading; empty ones are shown as `-`.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| match cell.is_empty() {
            true => "-".to_owned(),
            false => in_line(&cell.replace(['\n', '\r', '\t'], " ")),
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.fitted(None))
    }
}

impl Table {
    /// As text whose lines have at most so many characters: the widest columns of texts are cut, each
    /// cut cell ends with `…`. Numbers are never cut.
    pub(crate) fn fitted(&self, width: Option<usize>) -> String {
        let widths = self.widths(width);
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).zip(&self.right);
            let cells = cells.map(|((cell, width), right)| {
                let cell = cut(cell, *width);
                match right {
                    true => format!("{cell:>width$}"),
                    false => format!("{cell:<width$}"),
                }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn widths(&self, limit: Option<usize>) -> Vec<usize> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        let between = 2 * widths.len().saturating_sub(1);
        let limit = limit.unwrap_or(usize::MAX);
        while widths.iter().sum::<usize>() + between > limit {
            let texts = widths.iter_mut().zip(&self.right);
            let texts = texts.filter(|(width, right)| !**right && **width > COLUMN_MIN);
            match texts.map(|(width, _)| width).max() {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
        widths
    }
}

/// A column of texts is not made narrower.
const COLUMN_MIN: usize = 8;

fn cut(cell: &str, width: usize) -> String {
    match cell.chars().count() > width {
        true => cell
            .chars()
            .take(width.saturating_sub(1))
            .chain(['…'])
            .collect(),
        false => cell.to_owned(),
    }
}

/// A kind of plugin in a sentence.
pub(crate) fn one(world: World) -> String {
    match world {
        World::AllocateStrategy => format!("an {world}"),
        _ => format!("a {world}"),
    }
}

/// A time in the unit that suits it.
pub(crate) fn time(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        _ if ns < 1e3 => format!("{ns} ns"),
        _ if ns < 1e6 => format!("{:.1} µs", ns / 1e3),
        _ if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        _ => format!("{:.1} s", ns / 1e9),
    }
}

/// Bytes in the unit that suits them.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1024 => format!("{count} B"),
        1024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}

/// Unix milliseconds as date and time, UTC.
pub(crate) fn date(ms: u64) -> String {
    // Beyond the year 9999 there is no text.
    let at = UNIX_EPOCH + Duration::from_millis(ms.min(253_402_300_799_000));
    humantime::format_rfc3339_seconds(at).to_string()
}

/// The same of a time that a broker tells; before 1970 there is none.
pub(crate) fn date_of(ms: i64) -> String {
    date(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_their_headings() {
        let mut table = Table::of(&["NAME", ">ROWS", "WHY"]);
        table.row(["müller".to_owned(), "7".to_owned(), String::new()]);
        table.row(["x".to_owned(), "12345".to_owned(), "a\nb\x1b".to_owned()]);
        let expected = "NAME     ROWS  WHY\nmüller      7  -\nx       12345  a b\\u{1b}\n";
        assert_eq!(table.to_string(), expected);
    }

    #[test]
    fn a_table_fits_the_terminal_and_no_number_is_cut() {
        let mut table = Table::of(&["NAME", ">ROWS", "WHY"]);
        table.row([
            "abcdefghijklmnop".to_owned(),
            "1234567".to_owned(),
            "x".to_owned(),
        ]);
        let expected = "NAME           ROWS  WHY\nabcdefghi…  1234567  x\n";
        assert_eq!(table.fitted(Some(24)), expected);
        assert!(table.fitted(Some(5)).contains("1234567"));
    }

    #[test]
    fn numbers_have_units() {
        assert_eq!(time(999), "999 ns");
        assert_eq!(time(1_500), "1.5 µs");
        assert_eq!(time(2_000_000), "2.0 ms");
        assert_eq!(bytes(65_536), "64.0 KiB");
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(u64::MAX), "9999-12-31T23:59:59Z");
    }
}
