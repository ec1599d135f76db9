//! The rows that are printed: what was measured, and whether it is within its goal.

use std::fmt::Display;
use std::time::Duration;

use crate::figures::median;

/// Bytes as they are printed.
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Milliseconds of a duration.
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The columns.
pub fn print_head() {
    println!("| what | measured | goal |");
    println!("|---|---:|---|");
}

/// A row without a goal.
pub fn print(what: impl Display, measured: impl Display) {
    println!("| {what} | {measured} | |");
}

/// A row with a goal, which is `met` or not.
pub fn print_goal(what: impl Display, measured: impl Display, goal: impl Display, met: bool) {
    let missed = if met { "" } else { ": missed" };
    println!("| {what} | {measured} | {goal}{missed} |");
}

/// How long several starts took.
pub struct Times(pub Vec<Duration>);

impl Times {
    /// The middle one, milliseconds.
    pub fn median_ms(&self) -> f64 {
        median(self.0.iter().map(|time| millis(*time)))
    }
}

impl Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let slowest = self.0.iter().max().copied().unwrap_or_default();
        let (median, slowest) = (self.median_ms(), millis(slowest));
        write!(f, "{median:.1} ms, slowest {slowest:.1} ms")
    }
}
