//! The round over half messages that nobody has decided: asks their producers, gives up on them,
//! moves them on in the log, and saves how far the queues are done with.

use std::sync::Arc;

use bytes::Bytes;
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::request;
use sluice_protocol::header::CheckTransactionStateRequestHeader;
use sluice_protocol::message::record::assign;
use sluice_protocol::message::{MessageId, Record, RecordFields, properties};
use sluice_protocol::topic::TRANS_HALF_TOPIC;
use sluice_remoting::Connection;
use sluice_store::{AppendError, Appended};

use super::half::{after_checks, destination};
use super::ledger::Half;
use super::{GROUP, QUEUE, count, progress};
use crate::Broker;

/// Milliseconds between rounds: a first check is late by no more than this.
pub(crate) const ROUND_MS: u64 = 500;
/// Checks of one group in a round. A client holds 2000 and works on one after the other.
const CHECKS_MAX: usize = 200;
/// Bytes of what one group is asked in a round, and of what is gathered before it is asked. A question
/// has the whole message, and a producer may be slow to read.
const CHECKS_SIZE_MAX: usize = 8 << 20;
/// Half messages moved on in a round.
const MOVES_MAX: usize = 500;
/// An undecided half message so far behind its queue's end is put there again, so that a start has
/// not to read all that lies between. It grows with what is undecided: moving must not become all
/// that is done.
const BEHIND_MAX: i64 = 100_000;
/// Milliseconds between saves of how far the queues are done with. Longer than the offsets' file
/// takes to be written (`flushConsumerOffsetInterval`).
const SAVE_MS: i64 = 10_000;

/// When progress was saved, and how far the op queue was done with by then.
#[derive(Debug, Default)]
pub(super) struct Saved {
    at_ms: i64,
    op_offset: Option<i64>,
}

/// A question to a producer.
struct Question {
    half_offset: i64,
    to: Arc<Connection>,
    request: RemotingCommand,
}

/// Questions that are not asked yet.
#[derive(Default)]
struct Questions {
    all: Vec<Question>,
    /// Of their messages.
    size_bytes: usize,
}

impl Broker {
    /// One round, on a thread that may wait for a disk.
    pub(crate) fn check_transactions(&self) {
        self.write_op(&mut self.transactions.ledger.lock());
        let now = self.now_ms();
        let groups = self.transactions.ledger.lock().due_groups(now);
        let mut questions = Questions::default();
        for group in groups {
            self.check_group(&group, now, &mut questions);
        }
        self.ask(questions);
        self.move_on(now);
        self.keep_files_of_halves();
        let due = now.saturating_sub(self.transactions.saved.lock().at_ms) >= SAVE_MS;
        if due {
            self.save_transactions();
        }
    }

    fn check_group(&self, group: &str, now: i64, questions: &mut Questions) {
        let mut size_bytes = 0;
        let due = self.transactions.ledger.lock().due(group, now, CHECKS_MAX);
        let producers = self.producers.get(group).unwrap_or_default();
        let mut alive: Vec<Arc<Connection>> = producers
            .into_iter()
            .map(|member| member.connection)
            .filter(|connection| !connection.is_closed())
            .collect();
        alive.sort_by_key(|connection| connection.id());
        for (offset, half) in due {
            let done = match alive.len() {
                0 => self.wait_for_producer(offset, &half, now),
                members => {
                    let to = &alive[offset as usize % members];
                    let asked = self.check(offset, &half, to, now);
                    asked.map(|question| {
                        size_bytes +=
                            question.map_or(0, |question| self.gather(question, questions));
                    })
                }
            };
            let done = match done {
                // With the count of its checks its properties are too long: it must not hold up
                // those behind it for ever.
                Err(AppendError::Malformed(_) | AppendError::TooLarge { .. }) => {
                    self.give_up(offset, &half)
                }
                done => done,
            };
            if let Err(error) = done {
                tracing::warn!(%error, group, "a transaction can't be checked now");
                return;
            }
            if size_bytes >= CHECKS_SIZE_MAX {
                // The rest has its turn in the next round.
                return;
            }
        }
    }

    /// Adds a question to those that are asked together, and asks them when they are many bytes; the
    /// bytes of this one.
    fn gather(&self, question: Question, questions: &mut Questions) -> usize {
        let size_bytes = question.request.body.len();
        questions.size_bytes += size_bytes;
        questions.all.push(question);
        if questions.size_bytes >= CHECKS_SIZE_MAX {
            self.ask(std::mem::take(questions));
        }
        size_bytes
    }

    /// Nobody to ask: no turn is lost, but what has waited longer than messages are kept is given
    /// up. Java counts from when the producer, by its own clock, made the message.
    fn wait_for_producer(&self, offset: i64, half: &Half, now: i64) -> Result<(), AppendError> {
        let kept_ms = i64::try_from(self.store.config().file_reserved_time_ms).unwrap_or(i64::MAX);
        if now.saturating_sub(half.since_ms) > kept_ms {
            return self.give_up(offset, half);
        }
        Ok(())
    }

    /// The half message is put again, counted, and its producer asked about the new place.
    fn check(
        &self,
        offset: i64,
        half: &Half,
        to: &Arc<Connection>,
        now: i64,
    ) -> Result<Option<Question>, AppendError> {
        let config = self.config();
        if half.checks >= config.transaction_check_max {
            self.give_up(offset, half)?;
            return Ok(None);
        }
        let due_ms = now.saturating_add(config.transaction_check_interval);
        let again = self.put_again(offset, half, half.checks + 1, due_ms)?;
        let Some((record, appended)) = again else {
            return Ok(None);
        };
        count(&self.transactions.counts.checks);
        let Ok(record) = Record::parse(&record) else {
            return Ok(None);
        };
        let place = (appended.queue_offset, appended.physical_offsets[0]);
        Ok(Some(Question {
            half_offset: appended.queue_offset,
            to: to.clone(),
            request: self.question(&record, half.checks + 1, place),
        }))
    }

    /// Puts a half message at its queue's end, unless it has been decided meanwhile. Answers the
    /// record it was, and where it lies now.
    pub(super) fn put_again(
        &self,
        offset: i64,
        half: &Half,
        checks: u32,
        due_ms: i64,
    ) -> Result<Option<(Bytes, Appended)>, AppendError> {
        let Some(bytes) = self.readable(offset, half) else {
            return Ok(None);
        };
        let mut ledger = self.transactions.ledger.lock();
        let record = Record::parse(&bytes)?;
        if ledger.get(offset) != Some(half) {
            return Ok(None);
        }
        let appended = self.append_again(&record, checks)?;
        let moved = Half {
            physical: appended.physical_offsets[0],
            due_ms,
            checks,
            ..half.clone()
        };
        ledger.moved(offset, appended.queue_offset, moved);
        drop(ledger);
        Ok(Some((bytes, appended)))
    }

    /// The record of a half message; `None` while it is not visible yet, and when the log has lost
    /// it, which is then awaited no longer.
    fn readable(&self, offset: i64, half: &Half) -> Option<Bytes> {
        let bytes = self.store.record_at(half.physical);
        if bytes.is_none() && half.physical < self.store.log_bounds().0 {
            tracing::error!(offset, "a half message is gone from the log undecided");
            self.transactions.ledger.lock().settle(offset);
        }
        bytes
    }

    pub(super) fn give_up(&self, offset: i64, half: &Half) -> Result<(), AppendError> {
        let Some(bytes) = self.readable(offset, half) else {
            return Ok(());
        };
        let record = Record::parse(&bytes)?;
        let mut ledger = self.transactions.ledger.lock();
        if ledger.get(offset) != Some(half) {
            return Ok(());
        }
        self.append_given_up(&record)?;
        ledger.settle(offset);
        count(&self.transactions.counts.given_up);
        tracing::warn!(
            group = &*half.group,
            topic = destination(&record).0,
            id = record.property(properties::UNIQ_KEY),
            checks = half.checks,
            "nobody decided a transaction, it goes to TRANS_CHECK_MAX_TIME_TOPIC"
        );
        Ok(())
    }

    /// CHECK_TRANSACTION_STATE (39): the message as its consumers would see it, at the place where
    /// its half message lies.
    fn question(&self, half: &Record<'_>, checks: u32, place: (i64, i64)) -> RemotingCommand {
        let (topic, queue_id) = destination(half);
        let (queue_offset, physical_offset) = place;
        let fields = RecordFields {
            topic,
            queue_id,
            flag: half.flag(),
            sys_flag: half.sys_flag(),
            born_timestamp: half.born_timestamp(),
            born_host: half.born_host(),
            store_host: half.store_host(),
            reconsume_times: half.reconsume_times(),
            prepared_transaction_offset: 0,
            body: half.body(),
            properties: &after_checks(half, checks),
        };
        let mut body = Vec::with_capacity(half.size() + 64);
        if fields.encode(&mut body).is_ok() {
            assign(
                &mut body,
                queue_offset,
                physical_offset,
                half.store_timestamp(),
            );
        }
        let id = half.property(properties::UNIQ_KEY).map(Into::into);
        let mut request =
            RemotingCommand::request(request::CHECK_TRANSACTION_STATE, 0).with_body(body);
        CheckTransactionStateRequestHeader {
            topic: Some(TRANS_HALF_TOPIC.into()),
            tran_state_table_offset: queue_offset,
            commit_log_offset: physical_offset,
            msg_id: id.clone(),
            transaction_id: id,
            offset_msg_id: Some(
                MessageId {
                    store_host: half.store_host(),
                    physical_offset,
                }
                .to_string()
                .into(),
            ),
            broker_name: Some(self.config().broker_name.as_str().into()),
        }
        .encode(&mut request.ext);
        request
    }

    /// An answer names the new place, so that must be there to be found before anybody is asked.
    fn ask(&self, questions: Questions) {
        if questions.all.is_empty() || self.flushes_in_sync() && !self.store.flush_once() {
            return;
        }
        for question in questions.all {
            let ledger = self.transactions.ledger.lock();
            if ledger.get(question.half_offset).is_some() {
                question.to.one_way(question.request);
            }
        }
    }

    /// Puts again what lies far behind its queue's end, or in a file that retention wants next.
    fn move_on(&self, now: i64) {
        let lagging: Vec<(i64, Half)> = {
            let ledger = self.transactions.ledger.lock();
            let behind = BEHIND_MAX.saturating_add(4 * ledger.len() as i64);
            let oldest_file_end = self.oldest_file_end();
            let lags = |offset: i64, half: &Half| {
                half.due_ms <= now
                    && (ledger.end() - offset > behind || half.physical < oldest_file_end)
            };
            ledger
                .iter()
                .take(MOVES_MAX)
                .filter(|(offset, half)| lags(*offset, half))
                .map(|(offset, half)| (offset, half.clone()))
                .collect()
        };
        for (offset, half) in lagging {
            if let Err(error) = self.put_again(offset, &half, half.checks, half.due_ms) {
                return tracing::warn!(%error, "a half message can't be moved on now");
            }
        }
    }

    /// Where the log's oldest file ends, if it is not the one being written.
    fn oldest_file_end(&self) -> i64 {
        let (min, max) = self.store.log_bounds();
        let size = self.store.config().commit_log_file_size as i64;
        let end = (min / size + 1) * size;
        if end < max { end } else { 0 }
    }

    /// Saves how far half and op queue are done with, after the log is synced past all they rest
    /// on. The op queue's offset goes one save behind: should a crash keep the one file's newer
    /// offset and lose the other's, no op record is missing.
    pub(crate) fn save_transactions(&self) {
        let [(half_topic, half), (op_topic, op)] = {
            let mut ledger = self.transactions.ledger.lock();
            self.write_op(&mut ledger);
            if !ledger.owed().is_empty() {
                return;
            }
            progress(&mut ledger)
        };
        let mut saved = self.transactions.saved.lock();
        let before = self.offsets.get(GROUP, half_topic, QUEUE);
        if before != Some(half) || saved.op_offset != Some(op) {
            if !self.store.flush_once() {
                return;
            }
            self.offsets.commit(GROUP, half_topic, QUEUE, half);
            if let Some(before) = saved.op_offset {
                self.offsets.commit(GROUP, op_topic, QUEUE, before);
            }
        }
        saved.op_offset = Some(op);
        saved.at_ms = self.now_ms();
    }
}
