//! What plugins say, kept for `sluice plugin logs`: the last lines, and not more of them a second
//! than allowed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

/// Bytes of one line; the rest is cut off.
pub const LINE_MAX: usize = 1024;
/// Lines that are kept.
const KEPT: usize = 500;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Place in the sequence of all lines of this plugin, from 0.
    pub number: u64,
    /// Store time of the newest message of the block at hand, Unix milliseconds.
    pub time_ms: u64,
    /// `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// What it said.
    pub text: String,
}

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Line>,
    next: u64,
    dropped: u64,
    second: Option<Instant>,
    in_second: u32,
}

/// The lines of one binding.
#[derive(Debug, Default)]
pub struct Logs(Mutex<Kept>);

impl Logs {
    /// Keeps a line, unless this second has had its `per_second`.
    pub(crate) fn say(&self, now: Instant, per_second: u32, line: (&'static str, u64, &str)) {
        let (level, time_ms, text) = line;
        let mut kept = self.0.lock();
        let fresh = kept
            .second
            .is_none_or(|began| now.saturating_duration_since(began) >= Duration::from_secs(1));
        if fresh {
            (kept.second, kept.in_second) = (Some(now), 0);
        }
        if kept.in_second >= per_second {
            kept.dropped += 1;
            return;
        }
        kept.in_second += 1;
        let end = text.floor_char_boundary(LINE_MAX);
        let number = kept.next;
        kept.next += 1;
        kept.lines.push_back(Line {
            number,
            time_ms,
            level,
            text: text[..end].to_owned(),
        });
        if kept.lines.len() > KEPT {
            kept.lines.pop_front();
        }
    }

    /// The lines from number `from` on that are still kept.
    pub fn since(&self, from: u64) -> Vec<Line> {
        let kept = self.0.lock();
        let wanted = |line: &&Line| line.number >= from;
        kept.lines.iter().filter(wanted).cloned().collect()
    }

    /// Lines that were said too fast to be kept.
    pub fn dropped(&self) -> u64 {
        self.0.lock().dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_long_lines_are_cut() {
        let (logs, now) = (Logs::default(), Instant::now());
        for _ in 0..1000 {
            logs.say(now, 100, ("info", 0, &"ü".repeat(LINE_MAX)));
        }
        logs.say(now + Duration::from_secs(1), 100, ("info", 7, "later"));
        assert_eq!(logs.dropped(), 900);
        let lines = logs.since(0);
        assert_eq!(lines.len(), 101);
        assert_eq!(lines[0].text.len(), LINE_MAX);
        assert_eq!(logs.since(100)[0].text, "later");
    }
}
