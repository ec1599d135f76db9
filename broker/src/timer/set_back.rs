//! A clock that is set back: slots from now on have to be waited for again.
//!
//! Those that are done are empty. The one at `read_ms` may hold what was late, whose own slot is to
//! come again; a recall would look for it there. So what is left of that slot is filed anew.

use std::collections::HashSet;

use sluice_protocol::message::Record;

use super::filing::{Wanted, message};
use super::{State, Timer};
use crate::{Broker, BrokerError};

impl Timer {
    /// Goes back to the slot of now.
    pub(super) fn turn_back(
        &self,
        broker: &Broker,
        state: &mut State,
        now_ms: i64,
    ) -> Result<(), BrokerError> {
        if state.read_ms - now_ms > self.wheel.precision_ms() {
            tracing::warn!(
                from = state.read_ms,
                to = now_ms,
                "the clock has been set back, delayed messages wait for it"
            );
        }
        self.save(broker, state)?;
        let from_ms = state.read_ms;
        let left = self.left_at(broker, state, from_ms)?;
        let turned_at = state.log.end();
        state.open = None;
        self.wheel.clear(from_ms);
        state.read_ms = self.wheel.tick(now_ms);
        for wanted in left {
            self.pending.add(&wanted.topic, -wanted.counts());
            if let Err(error) = self.file(state, wanted, now_ms) {
                // What is on disk is whole; the next start takes up from there.
                state.unsynced = true;
                return Err(error);
            }
        }
        if state.log.end() > turned_at {
            self.keep_entries(state, turned_at)?;
        }
        self.save(broker, state)
    }

    /// What waits in a slot, in the order of the timer log.
    fn left_at(
        &self,
        broker: &Broker,
        state: &mut State,
        slot_ms: i64,
    ) -> Result<Vec<Wanted>, BrokerError> {
        let open = state.open.iter();
        let mut over: HashSet<i64> = open
            .flat_map(|open| open.delivered.iter().copied())
            .collect();
        over.extend(&state.done);
        let mut left = Vec::new();
        let slot = self.wheel.slot(slot_ms)?;
        let mut position = slot.map_or(-1, |slot| slot.last);
        while position >= 0 {
            let Some((entry, _)) = state.log.entry(position)? else {
                break;
            };
            if !over.contains(&entry.physical)
                && let Some(bytes) = message(broker, entry.physical)?
            {
                let record = Record::parse(&bytes).ok();
                left.extend(record.and_then(|record| self.wanted_by(&record)));
            }
            position = match entry.previous < position {
                true => entry.previous,
                false => -1,
            };
        }
        left.reverse();
        Ok(left)
    }
}
