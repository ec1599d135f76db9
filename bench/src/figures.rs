//! What one load on one broker showed, and how it is printed: absolute, and as ratios.

use std::fmt::Write;

use anyhow::{Context, Result};

use crate::latency::Latencies;
use crate::load::Outcome;

/// Names of the columns of [`row`] and [`ratios`], behind those of the labels.
const COLUMNS: &str =
    "messages/s | failed | CPU us/message | p50 us | p99 us | p99.9 us | anonymous MiB |";

/// Figures of one load on one broker; what is not known is not printed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    /// Messages a second.
    pub per_second: f64,
    /// Messages that were refused or lost.
    pub failed: f64,
    /// CPU time of the broker per message, microseconds.
    pub cpu_micros: Option<f64>,
    /// Latency of half of the sends at most, microseconds; as are the next two.
    pub p50: Option<f64>,
    /// Of 99 %.
    pub p99: Option<f64>,
    /// Of 99.9 %.
    pub p999: Option<f64>,
    /// Resident anonymous memory of the broker, bytes.
    pub resident: Option<f64>,
}

impl Figures {
    /// Of a load that had the broker's process.
    ///
    /// # Errors
    /// It had not.
    pub fn of(outcome: &Outcome) -> Result<Figures> {
        let figures = Figures {
            per_second: outcome.per_second(),
            failed: outcome.failed as f64,
            cpu_micros: Some(outcome.cpu_micros().context("CPU time of the broker")?),
            ..Figures::default()
        };
        Ok(figures.with(&outcome.latencies))
    }

    /// With these latencies, if there are any.
    pub fn with(self, latencies: &Latencies) -> Figures {
        let at = |quantile| (latencies.count() > 0).then(|| latencies.at(quantile) as f64);
        Figures {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            ..self
        }
    }

    /// The middle of each figure over all rounds.
    pub fn middle(rounds: &[Figures]) -> Figures {
        let known = |figure: fn(&Figures) -> Option<f64>| {
            let values: Vec<f64> = rounds.iter().filter_map(figure).collect();
            (!values.is_empty()).then(|| median(values.into_iter()))
        };
        Figures {
            per_second: median(rounds.iter().map(|f| f.per_second)),
            failed: median(rounds.iter().map(|f| f.failed)),
            cpu_micros: known(|f| f.cpu_micros),
            p50: known(|f| f.p50),
            p99: known(|f| f.p99),
            p999: known(|f| f.p999),
            resident: known(|f| f.resident),
        }
    }
}

/// The middle one; there is one at least.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints the head of a table: names of the labels, then [`COLUMNS`].
pub fn print_head(labels: &[&str]) {
    println!("| {} | {COLUMNS}", labels.join(" | "));
    let numbers = "---:|".repeat(COLUMNS.matches('|').count());
    println!("|{}{numbers}", "---|".repeat(labels.len()));
}

/// Prints one row: the labels, then each figure.
pub fn print_row(labels: &[&str], figures: Figures) {
    println!("{}", row(labels, figures));
}

/// Prints one row of ratios of `one` to `other`.
pub fn print_ratios(labels: &[&str], one: Figures, other: Figures) {
    println!("{}", ratios(labels, one, other));
}

/// Prints a row for each broker, Sluice's first and each followed by Sluice's ratio to it.
pub fn print_beside(
    labels: &[&str],
    sluice: Figures,
    java: Option<Figures>,
    floor: Option<Figures>,
) {
    print_row(&[labels, &["Sluice"]].concat(), sluice);
    let others = [("Java", java), ("floor", floor)];
    for (name, figures) in others {
        let Some(figures) = figures else { continue };
        print_row(&[labels, &[name]].concat(), figures);
        let ratio = format!("Sluice / {name}");
        print_ratios(&[labels, &[&*ratio]].concat(), sluice, figures);
    }
}

fn row(labels: &[&str], f: Figures) -> String {
    let mib = f.resident.map(|bytes| bytes / f64::from(1 << 20));
    let mut row = format!(
        "| {} | {:.0} | {:.0} |",
        labels.join(" | "),
        f.per_second,
        f.failed
    );
    put(&mut row, f.cpu_micros, 1);
    for micros in [f.p50, f.p99, f.p999] {
        put(&mut row, micros, 0);
    }
    put(&mut row, mib, 1);
    row
}

fn ratios(labels: &[&str], one: Figures, other: Figures) -> String {
    let rate = one.per_second / other.per_second;
    let mut row = format!("| {} | {rate:.2} | |", labels.join(" | "));
    let known = |f: Figures| [f.cpu_micros, f.p50, f.p99, f.p999, f.resident];
    for pair in known(one).into_iter().zip(known(other)) {
        let pair = pair.0.zip(pair.1);
        put(&mut row, pair.map(|(one, other)| one / other), 2);
    }
    row
}

fn put(row: &mut String, value: Option<f64>, digits: usize) {
    let value = value.map_or_else(String::new, |value| format!("{value:.digits$} "));
    write!(row, " {value}|").expect("memory takes every write");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(per_second: f64) -> Figures {
        Figures {
            per_second,
            p50: Some(per_second / 2.0),
            ..Figures::default()
        }
    }

    #[test]
    fn the_middle_is_printed_and_what_is_not_known_is_blank() {
        let rounds = [figures(30.0), figures(10.0), figures(20.0)];
        let middle = Figures::middle(&rounds);
        assert_eq!(row(&["a", "b"], middle), "| a | b | 20 | 0 | | 10 | | | |");
        let ratios = ratios(&["r"], middle, figures(10.0));
        assert_eq!(ratios, "| r | 2.00 | | | 2.00 | | | |");
    }
}
