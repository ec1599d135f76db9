//! Hooks: before and after a message is stored, before it leaves, when it is consumed.

pub use crate::edits::{Edit, Edits};

use crate::binding::{Bound, Policy};
use crate::edits;
use crate::error::CallError;
use crate::filter::note_shadow;
use crate::guest::Guest;
use crate::instance::AtHand;
use crate::row::Row;

/// A hook that has no say about a message, and what its policy is then.
#[derive(Debug, Clone)]
pub struct NoAnswer {
    /// What to do with the messages.
    pub policy: Policy,
    /// Plugin and cause.
    pub cause: String,
}

impl Bound {
    /// Asks what is to be changed about these messages, before they are stored or before they leave.
    ///
    /// # Errors
    /// It failed, or is not called for now because it failed too often.
    pub fn before(&self, rows: &[Row<'_>], now_ms: i64) -> Result<Edits, NoAnswer> {
        let versions = self.versions();
        let no_answer = |cause: String| NoAnswer {
            policy: self.policy(),
            cause,
        };
        let Some(current) = &versions.current else {
            return Err(no_answer("the plugin could not be started".to_owned()));
        };
        if !self.admit() {
            current.stats().by_policy(rows.len() as u64);
            return Err(no_answer(format!(
                "{} failed too often and is not asked for now",
                current.label
            )));
        }
        let canary = versions
            .canary
            .as_ref()
            .filter(|(_, percent)| self.turn() < *percent);
        let guest = canary.map_or(current, |(canary, _)| canary);
        let answer = ask(guest, rows, now_ms);
        let failure = failure(&answer);
        self.note(failure.or_else(|| guest.take_late()).as_deref());
        if let Some(shadow) = &versions.shadow {
            compare(shadow, rows, now_ms, answer.as_ref().ok());
        }
        answer.map_err(|error| no_answer(format!("{}: {error}", guest.label)))
    }

    /// Tells what is done; what a hook does about it changes nothing any more.
    pub fn after(&self, rows: &[Row<'_>], now_ms: i64) {
        let versions = self.versions();
        let Some(current) = versions.current.as_ref().filter(|_| self.admit()) else {
            return;
        };
        let failure = failure(&tell(current, rows, now_ms));
        self.note(failure.or_else(|| current.take_late()).as_deref());
    }
}

/// What speaks against the plugin.
fn failure<T>(result: &Result<T, CallError>) -> Option<String> {
    let error = result.as_ref().err()?;
    error.is_failure().then(|| error.to_string())
}

fn at_hand<'a>(rows: &'a [Row<'a>], now_ms: i64) -> AtHand<'a> {
    AtHand {
        now_ms: now_ms.max(0) as u64,
        rows,
    }
}

fn tell(guest: &Guest, rows: &[Row<'_>], now_ms: i64) -> Result<(), CallError> {
    let told = guest.call_after(at_hand(rows, now_ms));
    if let Err(CallError::Bodies(_)) = told {
        let (first, second) = rows.split_at(rows.len() / 2);
        tell(guest, first, now_ms)?;
        return tell(guest, second, now_ms);
    }
    told
}

fn ask(guest: &Guest, rows: &[Row<'_>], now_ms: i64) -> Result<Edits, CallError> {
    let called = guest.call(at_hand(rows, now_ms), &[]);
    if let Err(CallError::Bodies(_)) = called {
        let (first, second) = rows.split_at(rows.len() / 2);
        let mut edits = ask(guest, first, now_ms)?;
        let of_second = ask(guest, second, now_ms)?;
        edits.extend(
            of_second
                .into_iter()
                .map(|(row, edit)| (first.len() + row, edit)),
        );
        return Ok(edits);
    }
    let answer = called?;
    let edits = edits::read(&answer, rows.len()).map_err(|why| {
        guest.stats().trapped();
        CallError::Answer(why)
    })?;
    note(guest, rows.len(), &edits);
    Ok(edits)
}

fn note(guest: &Guest, rows: usize, edits: &Edits) {
    let stopped = |(_, edit): &&(usize, Edit)| matches!(edit, Edit::Reject(..) | Edit::Drop);
    let dropped = edits.iter().filter(stopped).count();
    let changed = edits.len() - dropped;
    guest
        .stats()
        .judged(rows.saturating_sub(dropped) as u64, dropped as u64, 0);
    guest.stats().changed(changed as u64);
}

fn compare(shadow: &Guest, rows: &[Row<'_>], now_ms: i64, served: Option<&Edits>) {
    if shadow.is_given_up() {
        return shadow.stats().by_policy(rows.len() as u64);
    }
    let asked = ask(shadow, rows, now_ms);
    note_shadow(shadow, asked.as_ref().err());
    if asked.ok().as_ref() != served {
        shadow.stats().differed(rows.len() as u64);
    }
}
