//! Messages with a delay or a delivery time of their own.
//!
//! Such a message waits in the topic `rmq_sys_wheel_timer`. Each is filed: an entry in the timer
//! log, chained to the slot of its time in the wheel ([`filing`]). When the time comes, it is copied
//! to its topic ([`delivery`]). One whose time lies beyond the wheel is filed for an earlier time
//! and then put again into the same topic: it rolls. The files are Java's ([`sluice_store::timer`]).
//!
//! What must hold:
//! - Nothing is delivered early: an entry's time is its message's, to the millisecond.
//! - Nothing is delivered twice, whenever the process ends. Slots before `read_ms` are done; what
//!   was delivered of later ones lies in the log behind `copies_from` ([`recovery`]).
//! - What was recalled is not delivered: a round that delivers has filed all recalls before it, and
//!   no slot is delivered before what has rolled in earlier ones is filed again.
//! - Nothing is synced ahead of what it speaks of: messages, timer log, wheel, checkpoint.

mod defer;
mod delivery;
mod filing;
mod look;
mod pending;
mod recall;
mod recovery;
mod set_back;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use sluice_protocol::topic::TIMER_TOPIC;
use sluice_store::timer::{SLOTS, TimerCheckpoint, TimerLog, TimerMarks, Wheel};
use sluice_store::{Arrival, Store, StoreError};
use tokio::sync::Notify;

use self::delivery::OpenSlot;
use self::filing::Filed;
use self::pending::Pending;
use crate::config_file::ConfigFile;
use crate::{Broker, BrokerConfig, BrokerError};

pub(crate) use defer::{check, defer};
pub(crate) use look::Look;
pub(crate) use recall::Handle;

/// When a message of the timer's queue with this `TIMER_OUT_MS` is delivered, Unix milliseconds.
pub(crate) fn due_ms(broker: &Broker, out_ms: i64) -> i64 {
    defer::due_ms(out_ms, broker.config().timer_precision_ms as i64)
}

/// The one queue of [`TIMER_TOPIC`] that is used.
const QUEUE: i32 = 0;
/// Tests turn a smaller wheel, often.
const WHEEL_SLOTS: i64 = if cfg!(test) { 256 } else { SLOTS };
/// The store keeps the log for the timer under this name.
const KEPT_FOR: &str = "timer";
/// Slots changed in memory from which they are written ahead of time.
const CHANGED_MAX: usize = 100_000;
/// Entries that the start of what is needed moves over in one go.
const HEAD_STEPS_MAX: usize = 100_000;
/// Slots that Java leaves free when the roll window is as wide as the wheel (`TIMER_BLANK_SLOTS`).
const BLANK_SLOTS: i64 = 60;
/// Before what has failed is tried again.
const AGAIN_MS: i64 = 500;
/// The longest sleep: a clock that jumps ahead is noticed this soon.
const SLEEP_MAX_MS: i64 = 500;
/// Between writes of `timermetrics`.
const METRICS_MS: i64 = 10_000;
/// Between writes of the checkpoint when nothing but time has passed, at least.
const IDLE_SAVE_MS: i64 = 10_000;

/// The timer.
pub(crate) struct Timer {
    wheel: Wheel,
    /// Who wants to be delivered this much later than now rolls, milliseconds.
    window_ms: i64,
    state: Mutex<State>,
    pending: Pending,
    /// End of the newest recall in the log. Held while one is checked and appended, and while a
    /// round learns what time it is.
    recalled_to: Mutex<i64>,
    /// [`State::read_ms`] after the last round, for who asks while one syncs files.
    reached_ms: AtomicI64,
    /// Until when, Unix milliseconds, what the start has found may hold Java's pops.
    left_until_ms: AtomicI64,
    /// The message that could not be read, and how often.
    unreadable: Mutex<(i64, u32)>,
    wake: Arc<Notify>,
}

struct State {
    log: TimerLog,
    checkpoint: TimerCheckpoint,
    /// The checkpoint is our own word, not Java's.
    trusted: bool,
    /// Slots before this time are done. Never later than now.
    read_ms: i64,
    /// Messages of the queue before this offset are filed.
    queue_offset: i64,
    /// Recalls and rolled messages that end in the log before this physical offset are filed.
    filed_to: i64,
    /// End of the newest rolled message in the log.
    rolled_to: i64,
    /// Copies of what stands in slots from `read_ms` on lie in the log from here on.
    copies_from: i64,
    /// Entries of the timer log before this position are done.
    head: i64,
    /// The slot of `read_ms` while it is delivered.
    open: Option<OpenSlot>,
    /// Sources of copies that were made before the start, in slots up to `done_up_to_ms`.
    done: HashSet<i64>,
    done_up_to_ms: i64,
    saved: TimerMarks,
    saved_ms: i64,
    metrics_saved_ms: i64,
    /// End of the queue at the start.
    started_at: i64,
    /// What keeps the timer from going on, if something does.
    stuck: Option<String>,
    /// A sync failed: nobody knows what of the files is on disk. The next start takes up from the
    /// last checkpoint.
    unsynced: bool,
    closed: bool,
}

impl Timer {
    /// Opens the files; [`Broker::recover_timer`] makes sense of them. `None` when the timer is off.
    ///
    /// # Errors
    /// One can't be read, or is not as the settings say.
    pub(crate) fn open(
        config: &BrokerConfig,
        store: &Store,
        metrics: ConfigFile,
    ) -> Result<Option<Timer>, BrokerError> {
        if !config.timer_wheel_enable {
            return Ok(None);
        }
        let (root, files) = (&config.store_path_root_dir, store.files());
        let precision_ms = config.timer_precision_ms as i64;
        let (checkpoint, saved, trusted) =
            TimerCheckpoint::open(&**files, root.join("config").join("timercheck"))?;
        if trusted && saved.precision_ms != precision_ms {
            return Err(BrokerError::Config(format!(
                "timerPrecisionMs = {precision_ms}: {} holds messages by slots of {} ms",
                root.join("timerwheel").display(),
                saved.precision_ms
            )));
        }
        let wheel = Wheel::open(&**files, root.join("timerwheel"), WHEEL_SLOTS, precision_ms)?;
        let log = TimerLog::open(
            files.clone(),
            root.join("timerlog"),
            config.mapped_file_size_timer_log,
        )?;
        let state = State {
            log,
            checkpoint,
            trusted,
            read_ms: saved.read_ms,
            queue_offset: saved.queue_offset,
            filed_to: 0,
            rolled_to: 0,
            copies_from: saved.copies_from,
            head: saved.head,
            open: None,
            done: HashSet::new(),
            done_up_to_ms: 0,
            saved,
            saved_ms: 0,
            metrics_saved_ms: 0,
            started_at: 0,
            stuck: None,
            unsynced: false,
            closed: false,
        };
        Ok(Some(Timer {
            wheel,
            window_ms: window_ms(config),
            state: Mutex::new(state),
            pending: Pending::new(metrics),
            recalled_to: Mutex::new(0),
            reached_ms: AtomicI64::new(saved.read_ms),
            left_until_ms: AtomicI64::new(0),
            unreadable: Mutex::new((-1, 0)),
            wake: Arc::new(Notify::new()),
        }))
    }
}

/// The roll window; a delay within it fits a timer log entry's `int`.
fn window_ms(config: &BrokerConfig) -> i64 {
    let longest = WHEEL_SLOTS / 2 - BLANK_SLOTS;
    let slots = i64::try_from(config.timer_roll_window_slot)
        .ok()
        .filter(|slots| (2..=longest).contains(slots))
        .unwrap_or(longest);
    let precision_ms = config.timer_precision_ms as i64;
    (slots * precision_ms).min(i64::from(i32::MAX) - precision_ms)
}

/// Does round after round until the broker is gone.
pub(crate) async fn run(broker: Weak<Broker>) {
    loop {
        let Some(broker) = broker.upgrade() else {
            return;
        };
        let Some(wake) = broker.timer.as_ref().map(|timer| timer.wake.clone()) else {
            return;
        };
        let round = tokio::task::spawn_blocking(move || broker.timer_round());
        let sleep_ms = round.await.unwrap_or_else(|cause| {
            tracing::error!(%cause, "a round of the timer panicked");
            AGAIN_MS
        });
        let sleep = Duration::from_millis(sleep_ms.max(0) as u64);
        let _ = tokio::time::timeout(sleep, wake.notified()).await;
    }
}

impl Broker {
    /// Tells the timer of a message that has become visible.
    pub(crate) fn wake_timer(&self, arrival: &Arrival<'_>) {
        if let (TIMER_TOPIC, Some(timer)) = (arrival.topic, &self.timer) {
            timer.wake.notify_one();
        }
    }

    /// Files what has come and delivers what is due. Answers after how many milliseconds there may
    /// be something to do.
    pub(crate) fn timer_round(&self) -> i64 {
        let Some(timer) = &self.timer else {
            return SLEEP_MAX_MS;
        };
        let mut state = timer.state.lock();
        if state.closed {
            return SLEEP_MAX_MS;
        }
        let round = timer.round(self, &mut state);
        timer.reached_ms.store(state.read_ms, Ordering::Relaxed);
        match round {
            Ok(sleep_ms) => {
                // Nothing is written down any more after a failed sync: an operator has to know.
                if !state.unsynced && state.stuck.take().is_some() {
                    tracing::info!("the timer goes on");
                }
                sleep_ms.min(SLEEP_MAX_MS)
            }
            Err(error) => {
                note_stuck(&mut state, &error);
                AGAIN_MS
            }
        }
    }

    /// Whether all that was due up to a time, Unix milliseconds, has been delivered, of what may be Java's
    /// pops: it was there when the broker started. Once that is over, nobody waits for the timer.
    pub(crate) fn has_timer_passed(&self, time_ms: i64) -> bool {
        let Some(timer) = &self.timer else {
            return true;
        };
        if timer.reached_ms.load(Ordering::Relaxed) > timer.left_until_ms.load(Ordering::Relaxed) {
            return true;
        }
        let state = timer.state.lock();
        let filed = state.queue_offset >= state.started_at;
        let next = timer.wheel.next(state.read_ms);
        filed && next.is_ok_and(|next| next.is_none_or(|slot| slot.time_ms > time_ms))
    }

    /// Makes durable what the timer has done, for the last time: no round does anything any more.
    ///
    /// # Errors
    /// A file can't be written; the next start takes up from the last checkpoint.
    pub(crate) fn close_timer(&self) -> Result<(), BrokerError> {
        let Some(timer) = &self.timer else {
            return Ok(());
        };
        let mut state = timer.state.lock();
        if std::mem::replace(&mut state.closed, true) {
            return Ok(());
        }
        timer.shut_slot(self, &mut state)?;
        timer.save(self, &mut state)?;
        timer.pending.save(self.now_ms())
    }
}

fn note_stuck(state: &mut State, error: &BrokerError) {
    let failed_sync = matches!(
        error,
        BrokerError::Store(StoreError::Io { action: "sync", .. })
    );
    state.unsynced |= failed_sync;
    if state.stuck.is_none() {
        tracing::error!(%error, "the timer waits, delayed messages are late");
    }
    state.stuck = Some(error.to_string());
}

impl Timer {
    fn round(&self, broker: &Broker, state: &mut State) -> Result<i64, BrokerError> {
        // Whoever recalls later than this sees a later time, and is refused for what is due now.
        let (now_ms, recalled_to) = {
            let recalled_to = self.recalled_to.lock();
            (broker.now_ms(), *recalled_to)
        };
        if now_ms < state.read_ms {
            self.turn_back(broker, state, now_ms)?;
        }
        let needed = recalled_to.max(state.rolled_to);
        if state.filed_to < needed {
            make_visible(broker)?;
        }
        let filed = self.file_arrivals(broker, state, now_ms)?;
        if filed == Filed::All {
            state.filed_to = state.filed_to.max(needed);
        }
        let next_ms = match state.filed_to >= needed {
            true => self.deliver_due(broker, state, now_ms)?,
            false => now_ms,
        };
        if self.is_save_due(broker, state, now_ms) {
            self.save(broker, state)?;
        }
        if (now_ms - state.metrics_saved_ms).abs() >= METRICS_MS {
            state.metrics_saved_ms = now_ms;
            self.pending.save(now_ms)?;
        }
        let next_ms = match filed {
            Filed::Some => now_ms,
            _ => next_ms,
        };
        Ok(next_ms.saturating_sub(now_ms))
    }

    fn is_save_due(&self, broker: &Broker, state: &State, now_ms: i64) -> bool {
        let changed = self.wheel.changed();
        let marks = self.marks(state);
        let at_that_time = TimerMarks {
            read_ms: state.saved.read_ms,
            ..marks
        };
        // A broker that nobody uses is not to keep its disk busy.
        let idle = at_that_time == state.saved
            && changed == 0
            && broker.store.log_end() == state.saved.copies_from;
        let flush_ms = broker.config().timer_flush_interval_ms as i64;
        let interval_ms = match idle {
            true => flush_ms.max(IDLE_SAVE_MS),
            false => flush_ms,
        };
        let moved = marks != state.saved || changed > 0;
        let waited = (now_ms - state.saved_ms).abs() >= interval_ms;
        moved && waited || changed >= CHANGED_MAX
    }

    fn marks(&self, state: &State) -> TimerMarks {
        TimerMarks {
            read_ms: state.read_ms,
            log_end: state.log.end(),
            queue_offset: state.queue_offset,
            copies_from: state.copies_from,
            head: state.head,
            precision_ms: self.wheel.precision_ms(),
            turned_at: 0,
        }
    }

    fn save(&self, broker: &Broker, state: &mut State) -> Result<(), BrokerError> {
        if state.unsynced {
            return Ok(());
        }
        if state.open.is_none() && state.done.is_empty() {
            state.copies_from = broker.store.log_end();
        }
        let kept_from = self.move_head(broker, state)?;
        let marks = self.marks(state);
        if !broker.store.flush_once() {
            return Err(StoreError::Unflushed("the commit log".to_owned()).into());
        }
        state.log.sync()?;
        self.wheel.flush()?;
        if marks != state.saved {
            state.checkpoint.write(&marks)?;
        }
        self.wheel.flush_finished()?;
        (state.saved, state.saved_ms) = (marks, broker.now_ms());
        broker.store.keep_from(KEPT_FOR, kept_from);
        let log_start = broker.store.log_start();
        Ok(state.log.remove_before(log_start, state.head)?)
    }

    /// Makes entries durable that take the place of others, before a slot leads to them: a start cuts
    /// the timer log where the checkpoint ends it. All that was done before has to be saved.
    fn keep_entries(&self, state: &mut State, turned_at: i64) -> Result<(), BrokerError> {
        if state.unsynced {
            return Ok(());
        }
        state.log.sync()?;
        let marks = TimerMarks {
            log_end: state.log.end(),
            turned_at,
            ..state.saved
        };
        if marks != state.saved {
            state.checkpoint.write(&marks)?;
            state.saved = marks;
        }
        Ok(())
    }

    /// Moves `head` over entries that are done; answers from where on the commit log is needed.
    fn move_head(&self, broker: &Broker, state: &mut State) -> Result<i64, StoreError> {
        state.head = state.head.max(state.log.start());
        for _ in 0..HEAD_STEPS_MAX {
            match state.log.entry(state.head)? {
                Some((entry, _)) if entry.time_ms() >= state.read_ms => return Ok(entry.physical),
                Some((_, next)) => state.head = next,
                None if state.head >= state.log.end() => break,
                None => {
                    tracing::error!(
                        position = state.head,
                        "an entry of the timer log is damaged"
                    );
                    state.head = state.log.after(state.head);
                }
            }
        }
        if state.head < state.log.end() {
            // Not looked at to the end: everything is needed for now.
            return Ok(broker.store.log_start());
        }
        let unit = broker.store.unit_at(TIMER_TOPIC, QUEUE, state.queue_offset);
        Ok(unit.map_or(i64::MAX, |unit| unit.physical_offset))
    }
}

/// Lets be seen all that has been appended.
fn make_visible(broker: &Broker) -> Result<(), StoreError> {
    let flushed = !broker.flushes_in_sync() || broker.store.flush_once();
    match flushed && broker.store.catch_up() {
        true => Ok(()),
        false => Err(StoreError::Unflushed("the end of the log".to_owned())),
    }
}
