//! Filters and languages: blocks of messages on their way to a group.

use std::time::Instant;

use serde::Serialize;
use sluice_plugin_block::{Verdict, Verdicts};

use crate::binding::{Bound, Policy, Versions};
use crate::error::CallError;
use crate::guest::Guest;
use crate::instance::AtHand;
use crate::row::Row;

/// Rows of one call.
pub const BLOCK_ROWS_MAX: usize = sluice_filters::BLOCK_ROWS_MAX;

/// What a binding says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// It passes.
    Pass,
    /// It is dropped.
    Drop,
    /// The group waits before it.
    Hold,
    /// To be asked again off the threads that serve connections.
    Defer,
    /// No verdict, and the policy says dead letters.
    DeadLetter,
}

/// Deadlines that the search for a row that does not end may take: to find one of 64 takes six.
const SEARCH_DEADLINES: u32 = 8;

/// Where a block is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thread {
    /// On a thread that serves connections: no second try after a time-out.
    Serving,
    /// On one for what may take long.
    Aside,
}

/// A guest's byte for a row.
const DROP: u8 = Verdict::Drop as u8;
const PASS: u8 = Verdict::Pass as u8;
const HOLD: u8 = Verdict::Hold as u8;
const FAILED: u8 = Verdict::Failed as u8;

impl Bound {
    /// Judges at most [`BLOCK_ROWS_MAX`] messages of one queue, in offset order.
    pub fn judge(&self, rows: &[Row<'_>], thread: Thread, judgements: &mut [Judgement]) {
        let versions = self.versions();
        let Some(current) = versions.current.as_ref().filter(|_| self.admit()) else {
            if let Some(current) = &versions.current {
                current.stats().by_policy(rows.len() as u64);
            }
            return judgements.fill(self.policy().judgement());
        };
        let mut asking = Asking {
            bound: self,
            thread,
            failure: None,
            deferred: false,
            until: None,
        };
        match canary_rows(&versions, rows) {
            None => asking.judge(current, rows, judgements),
            Some((canary, chosen)) => {
                asking.judge_split(current, canary, &chosen, rows, judgements)
            }
        }
        if asking.deferred {
            return self.note_deferred();
        }
        self.note(asking.failure.as_deref());
        if let Some(shadow) = &versions.shadow {
            compare(shadow, rows, judgements);
        }
    }

    /// What the current version says of one message, and why, if it can't say anything.
    pub fn explain(&self, row: &Row<'_>) -> Explanation {
        let Some(current) = self.versions().current.clone() else {
            return Explanation {
                version: None,
                verdict: self.policy().judgement(),
                failure: Some("the plugin could not be started".to_owned()),
            };
        };
        let asked = ask(&current, std::slice::from_ref(row));
        let (verdict, failure) = match asked {
            Ok(bytes) if bytes[0] == FAILED => (
                self.policy().judgement(),
                Some("it failed on this message".to_owned()),
            ),
            Ok(bytes) => (judgement(bytes[0]), None),
            Err(error) => (self.policy().judgement(), Some(error.to_string())),
        };
        Explanation {
            version: Some(current.version),
            verdict,
            failure,
        }
    }
}

/// What [`Bound::explain`] found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The version asked.
    pub version: Option<u32>,
    /// What becomes of the message.
    pub verdict: Judgement,
    /// Why the policy and not the plugin decided.
    pub failure: Option<String>,
}

impl Policy {
    fn judgement(self) -> Judgement {
        match self {
            Policy::Accept => Judgement::Pass,
            Policy::Reject => Judgement::Drop,
            Policy::Suspend => Judgement::Hold,
            Policy::DeadLetter => Judgement::DeadLetter,
        }
    }
}

fn judgement(byte: u8) -> Judgement {
    match byte {
        PASS => Judgement::Pass,
        HOLD => Judgement::Hold,
        _ => Judgement::Drop,
    }
}

/// Of a hundred messages, which one this is: the same whenever it is asked for.
fn of_hundred(row: &Row<'_>) -> u8 {
    let mut hash = (row.queue_offset as u64) ^ ((row.queue_id as u64) << 48);
    // Neighbours must not be chosen together: the finalizer of MurmurHash3.
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    ((hash ^ (hash >> 33)) % 100) as u8
}

fn canary_rows<'a>(versions: &'a Versions, rows: &[Row<'_>]) -> Option<(&'a Guest, Vec<bool>)> {
    let (canary, percent) = versions.canary.as_ref()?;
    let chosen = rows.iter().map(|row| of_hundred(row) < *percent).collect();
    Some((canary, chosen))
}

/// One byte for each row, as the guest gave them.
fn ask(guest: &Guest, rows: &[Row<'_>]) -> Result<Vec<u8>, CallError> {
    let now_ms = rows.iter().map(|row| row.store_time_ms).max().unwrap_or(0);
    let at_hand = AtHand {
        now_ms: now_ms.max(0) as u64,
        rows,
    };
    let answer = guest.call(at_hand, &[])?;
    match Verdicts::parse(&answer, rows.len()) {
        Ok(_) => Ok(answer),
        Err(error) => {
            guest.stats().trapped();
            Err(CallError::Answer(error.to_string()))
        }
    }
}

/// One judging of a block: its failures are those of one block, however often parts are retried.
struct Asking<'a> {
    bound: &'a Bound,
    thread: Thread,
    failure: Option<String>,
    deferred: bool,
    /// When the search for rows that do not end is given up.
    until: Option<Instant>,
}

impl Asking<'_> {
    fn judge_split(
        &mut self,
        current: &Guest,
        canary: &Guest,
        chosen: &[bool],
        rows: &[Row<'_>],
        judgements: &mut [Judgement],
    ) {
        for (guest, canary) in [(current, false), (canary, true)] {
            let places: Vec<usize> = (0..rows.len()).filter(|at| chosen[*at] == canary).collect();
            let mine: Vec<Row<'_>> = places.iter().map(|at| rows[*at]).collect();
            let mut found = vec![Judgement::Drop; mine.len()];
            self.judge(guest, &mine, &mut found);
            for (place, found) in places.into_iter().zip(found) {
                judgements[place] = found;
            }
        }
    }

    fn judge(&mut self, guest: &Guest, rows: &[Row<'_>], judgements: &mut [Judgement]) {
        if rows.is_empty() {
            return;
        }
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return self.settle(guest, &vec![FAILED; rows.len()], judgements);
        }
        match ask(guest, rows) {
            Ok(bytes) => {
                if let Some(late) = guest.take_late() {
                    self.failure = Some(late);
                }
                self.settle(guest, &bytes, judgements);
            }
            // Nothing has failed: the parts are asked about as if they had come alone.
            Err(CallError::Bodies(_)) if rows.len() > 1 => self.bisect(guest, rows, judgements),
            Err(CallError::Timeout(_)) if self.thread == Thread::Serving => {
                self.deferred = true;
                judgements.fill(Judgement::Defer);
            }
            Err(error @ CallError::Timeout(_)) if rows.len() > 1 => {
                self.failure = Some(error.to_string());
                let most = guest.limits().deadline() * SEARCH_DEADLINES;
                self.until.get_or_insert_with(|| Instant::now() + most);
                self.bisect(guest, rows, judgements);
            }
            // Nothing has failed, and there is no verdict: the group waits.
            Err(CallError::NoRoom) => judgements.fill(Judgement::Hold),
            Err(error) if rows.len() > 1 => {
                self.failure = Some(error.to_string());
                self.one_by_one(guest, rows, judgements);
            }
            Err(error) => {
                self.failure = Some(error.to_string());
                self.settle(guest, &[FAILED], judgements);
            }
        }
    }

    /// The row that does not end costs itself: its block is halved until it stands alone.
    fn bisect(&mut self, guest: &Guest, rows: &[Row<'_>], judgements: &mut [Judgement]) {
        let (first, second) = rows.split_at(rows.len() / 2);
        let (of_first, of_second) = judgements.split_at_mut(first.len());
        self.judge(guest, first, of_first);
        self.judge(guest, second, of_second);
    }

    /// After a trap each row is asked about alone, all within one more deadline.
    fn one_by_one(&mut self, guest: &Guest, rows: &[Row<'_>], judgements: &mut [Judgement]) {
        let (began, deadline) = (Instant::now(), guest.limits().deadline());
        for (row, judgement) in rows.iter().zip(judgements) {
            let asked = if began.elapsed() < deadline {
                ask(guest, std::slice::from_ref(row))
            } else {
                Ok(vec![FAILED])
            };
            let bytes = asked.unwrap_or_else(|error| {
                self.failure = Some(error.to_string());
                vec![FAILED]
            });
            self.settle(guest, &bytes, std::slice::from_mut(judgement));
        }
    }

    fn settle(&mut self, guest: &Guest, bytes: &[u8], judgements: &mut [Judgement]) {
        let (mut passed, mut dropped, mut failed) = (0, 0, 0);
        for (byte, to) in bytes.iter().zip(judgements) {
            *to = match *byte {
                FAILED => {
                    failed += 1;
                    self.bound.policy().judgement()
                }
                byte => {
                    passed += u64::from(byte == PASS);
                    dropped += u64::from(byte == DROP);
                    judgement(byte)
                }
            };
        }
        guest.stats().judged(passed, dropped, failed);
    }
}

/// Runs a shadow on the same block; only its numbers change.
fn compare(shadow: &Guest, rows: &[Row<'_>], judgements: &[Judgement]) {
    if shadow.is_given_up() {
        return shadow.stats().by_policy(rows.len() as u64);
    }
    let asked = ask(shadow, rows);
    note_shadow(shadow, asked.as_ref().err());
    let Ok(bytes) = asked else {
        shadow.stats().differed(rows.len() as u64);
        return;
    };
    let (mut passed, mut dropped, mut failed, mut differing) = (0, 0, 0, 0);
    for (byte, judged) in bytes.iter().zip(judgements) {
        passed += u64::from(*byte == PASS);
        dropped += u64::from(*byte == DROP);
        failed += u64::from(*byte == FAILED);
        differing += u64::from(*byte == FAILED || judgement(*byte) != *judged);
    }
    shadow.stats().judged(passed, dropped, failed);
    shadow.stats().differed(differing);
}

/// Counts how a shadow's block went, and says when it is the last.
pub(crate) fn note_shadow(shadow: &Guest, failure: Option<&CallError>) {
    let failure = failure.filter(|error| error.is_failure());
    if shadow.note_as_shadow(failure.is_some()) {
        tracing::warn!(plugin = shadow.label, cause = ?failure, "a shadow fails again and again and is not asked any more");
    }
}
