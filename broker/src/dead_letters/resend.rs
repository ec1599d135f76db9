//! Dead letters that an operator sends again or drops.
//!
//! A letter goes back to its group alone, by the group's retry topic: other groups have had the message.
//! It comes with no retries behind it, so it may be tried as often as at first.
//!
//! What must hold: a letter is marked as resent before the message that it becomes is stored, and the
//! mark names that message only when the log is synced past it. So a second resend is noticed, also when
//! the broker ended during the first; it is then told that nobody knows.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::Serialize;
use sluice_protocol::message::{MessageId, Record, properties, sys_flag};
use sluice_protocol::topic::{self, perm};

use super::look::{group_of, origin_topic};
use super::marks::{MARKS_MAX, Mark, Resent, Table, entry};
use super::{ORIGIN_MESSAGE_ID, ORIGIN_OFFSET, ORIGIN_QUEUE_ID, ORIGIN_TOPIC, REASON};
use crate::Broker;
use crate::copies::Copy;
use crate::error::Refusal;
use crate::handlers::send_back;
use crate::pop::names;

/// Most letters that are sent again or dropped at once.
pub(crate) const AT_ONCE_MAX: usize = 1000;

/// Properties that are the broker's: they say what it did with the letter.
const OF_LETTERS: [&str; 13] = [
    ORIGIN_TOPIC,
    ORIGIN_MESSAGE_ID,
    ORIGIN_QUEUE_ID,
    ORIGIN_OFFSET,
    REASON,
    properties::RETRY_TOPIC,
    properties::ORIGIN_MESSAGE_ID,
    properties::REAL_TOPIC,
    properties::REAL_QID,
    properties::DELAY,
    properties::WAIT,
    properties::FIRST_POP_TIME,
    properties::POP_CK,
];
/// And those that say what a message is; it would not be that.
const OF_KIND: [&str; 7] = [
    properties::UNIQ_KEY,
    properties::TRAN_MSG,
    properties::PGROUP,
    properties::INNER_NUM,
    properties::TIMER_DELAY_SEC,
    properties::TIMER_DELAY_MS,
    properties::TIMER_DELIVER_MS,
];

/// How letters are sent again.
#[derive(Debug, Default)]
pub(crate) struct Resending {
    /// To the topic where they were first, so to all groups.
    pub(crate) to_topic: bool,
    /// Properties to set.
    pub(crate) set: BTreeMap<String, String>,
    /// Properties to take away.
    pub(crate) unset: Vec<String>,
    /// Also those that were resent before.
    pub(crate) again: bool,
    /// Also those that are dropped.
    pub(crate) all: bool,
}

/// What became of letters.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    pub(crate) resent: Vec<Sent>,
    pub(crate) left: Vec<Left>,
}

/// A letter that was sent again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sent {
    /// The letter.
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) queue_id: i32,
    /// The message that it became.
    pub(crate) new_id: String,
}

/// A letter that was not.
#[derive(Debug, Serialize)]
pub(crate) struct Left {
    pub(crate) id: String,
    pub(crate) why: String,
}

/// Where a letter goes.
struct Place {
    topic: String,
    queue_id: i32,
    /// Properties that its receivers need.
    given: Vec<(&'static str, String)>,
}

/// A letter that can be sent.
struct Sendable<'a> {
    letter: Record<'a>,
    place: Place,
    /// How it was sent before.
    before: Option<Resent>,
}

impl Resending {
    /// Whether the properties can be edited so.
    ///
    /// # Errors
    /// Names of the broker's own, or texts that are none of a property.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        for name in self.set.keys().chain(&self.unset) {
            let reserved = || OF_LETTERS.iter().chain(&OF_KIND);
            if reserved().any(|reserved| reserved == name) {
                let text = format!("the property {name} is the broker's and can't be changed");
                return Err(Refusal::InvalidParameter(text));
            }
            let separators = ['\u{1}', '\u{2}', '\0'];
            let value = self.set.get(name).map_or("", String::as_str);
            if name.is_empty() || name.contains(separators) || value.contains(separators) {
                let text = format!("{name:?} = {value:?} can't be a property");
                return Err(Refusal::InvalidParameter(text));
            }
        }
        Ok(())
    }

    fn properties(&self, letter: &Record<'_>, place: &Place) -> Vec<u8> {
        let edited = self.set.keys().chain(&self.unset).map(String::as_str);
        let dropped: Vec<&str> = OF_LETTERS.into_iter().chain(edited).collect();
        let mut text = properties::without(letter.properties(), &dropped);
        for (name, value) in &self.set {
            properties::put(&mut text, name, value);
        }
        for (name, value) in &place.given {
            properties::put(&mut text, name, value);
        }
        text
    }
}

impl Broker {
    /// Sends letters again; what was sent is synced when this returns.
    ///
    /// # Errors
    /// Nothing was sent: an edit is refused, or marks can't be written.
    pub(crate) fn resend(&self, letters: &[Bytes], wanted: &Resending) -> Result<Outcome, Refusal> {
        wanted.check()?;
        let _one = self.dead_letters.resending.lock();
        let mut outcome = Outcome::default();
        let mut sendable = Vec::new();
        // One id can be written in several ways; the letter is still one.
        let mut seen = HashSet::new();
        let letters = letters.iter().filter_map(|bytes| Record::parse(bytes).ok());
        for letter in letters.filter(|letter| seen.insert(letter.physical_offset())) {
            match self.sendable(letter, wanted) {
                Ok(one) => sendable.push(one),
                Err(why) => outcome.left.push(left(&letter, why)),
            }
        }
        if sendable.is_empty() {
            return Ok(outcome);
        }
        let now = self.now_ms();
        self.change_marks(sendable.len(), |marks| {
            sendable.iter().for_each(|one| one.begin(marks, now));
        })?;
        let send = |one| (one, self.send_again(one, wanted));
        let sent: Vec<_> = sendable.iter().map(send).collect();
        let synced = self.store.flush_once();
        let marked = self.change_marks(0, |marks| {
            for (one, sent) in &sent {
                match sent {
                    Ok(sent) if synced => one.end(marks, sent),
                    // Nobody knows until the next start, and then only who looks.
                    Ok(_) => {}
                    Err(_) => one.take_back(marks),
                }
            }
        });
        if let Err(error) = marked {
            // They are sent: who asked has to hear which. The marks say that they may have been.
            tracing::error!(%error, "what became of dead letters that were sent again can't be marked");
        }
        for (one, sent) in sent {
            match sent {
                Ok(sent) if synced => outcome.resent.push(sent),
                Ok(_) => {
                    let why = "the log can't be synced: it may be lost at the next start";
                    outcome.left.push(left(&one.letter, why));
                }
                Err(why) => outcome.left.push(left(&one.letter, why)),
            }
        }
        let (resent, left) = (outcome.resent.len(), outcome.left.len());
        tracing::info!(resent, left, "an operator sent dead letters again");
        Ok(outcome)
    }

    /// Marks letters as dropped, or takes that back; how many that changed.
    ///
    /// # Errors
    /// The marks can't be written.
    pub(crate) fn drop_letters(
        &self,
        letters: &[Bytes],
        undo: bool,
    ) -> Result<Vec<String>, Refusal> {
        let letters = letters.iter().filter_map(|bytes| Record::parse(bytes).ok());
        let changed: Vec<Record<'_>> = letters
            .filter(|letter| self.is_dropped(letter) == undo)
            .collect();
        let at = (!undo).then(|| self.now_ms());
        self.change_marks(if undo { 0 } else { changed.len() }, |marks| {
            for letter in &changed {
                let group = group_of(letter).unwrap_or_default();
                entry(marks, group, letter).dropped_ms = at;
            }
        })?;
        tracing::info!(
            letters = changed.len(),
            undo,
            "an operator dropped dead letters"
        );
        Ok(changed
            .iter()
            .map(|letter| letter.message_id().to_string())
            .collect())
    }

    fn change_marks(&self, more: usize, change: impl FnOnce(&mut Table)) -> Result<(), Refusal> {
        let marks = &self.dead_letters.marks;
        if more > 0 && marks.len() + more > MARKS_MAX {
            return Err(Refusal::Busy(format!(
                "{} dead letters are marked already, {MARKS_MAX} can be; marks go with their letters (fileReservedTime)",
                marks.len()
            )));
        }
        let log_start = self.store.log_start();
        marks
            .change(log_start, change)
            .map_err(|error| Refusal::System(error.to_string()))
    }

    fn sendable<'a>(
        &self,
        letter: Record<'a>,
        wanted: &Resending,
    ) -> Result<Sendable<'a>, Refusal> {
        let refuse = |why: String| Err(Refusal::InvalidParameter(why));
        let mark = self.dead_letters.marks.of(&letter).unwrap_or_default();
        if mark.dropped_ms.is_some() && !wanted.all {
            return refuse("it is dropped".to_owned());
        }
        if let Some(resent) = mark.resent.as_ref().filter(|_| !wanted.again) {
            return refuse(match &resent.id {
                Some(id) => format!("it was sent again to {} as {id}", resent.topic),
                None => format!(
                    "it may have been sent again to {}: the broker ended meanwhile",
                    resent.topic
                ),
            });
        }
        let Some(topic) = origin_topic(&letter) else {
            return refuse("it does not say which topic it comes from".to_owned());
        };
        let place = match wanted.to_topic {
            true => self.place_for_all(&letter, topic),
            false => self.place_for_group(&letter, topic),
        }?;
        Ok(Sendable {
            letter,
            place,
            before: mark.resent,
        })
    }

    /// The topic where it was first, for all who read that.
    fn place_for_all(&self, letter: &Record<'_>, topic: &str) -> Result<Place, Refusal> {
        let known = self.topics.get(topic);
        let known = known.ok_or_else(|| Refusal::TopicNotExist(topic.to_owned()))?;
        if known.perm & perm::WRITE == 0 || topic::is_send_forbidden(topic) {
            let text = format!("the topic[{topic}] sending message is forbidden");
            return Err(Refusal::NoPermission(text));
        }
        let queues = known.write_queue_nums.max(1);
        let first = letter.property(ORIGIN_QUEUE_ID);
        let first = first.and_then(|id| id.parse().ok());
        Ok(Place {
            topic: topic.to_owned(),
            queue_id: first
                .filter(|id| (0..queues).contains(id))
                .unwrap_or_else(|| rand::random_range(0..queues)),
            given: Vec::new(),
        })
    }

    /// The group's retry topic: of its pops, if it was popped, else the one that all its consumers read.
    fn place_for_group(&self, letter: &Record<'_>, topic: &str) -> Result<Place, Refusal> {
        let name = group_of(letter).unwrap_or_default();
        let group = self
            .groups
            .get(name)
            .ok_or_else(|| Refusal::GroupNotExist(name.to_owned()))?;
        let mut given = vec![
            (properties::RETRY_TOPIC, topic.to_owned()),
            (properties::WAIT, "false".to_owned()),
        ];
        if let Some(id) = letter.property(properties::ORIGIN_MESSAGE_ID) {
            given.push((properties::ORIGIN_MESSAGE_ID, id.to_owned()));
        }
        if letter.property(properties::FIRST_POP_TIME).is_some() {
            let topic = names::retry_topic(topic, name, self.config().enable_retry_topic_v2);
            if names::is_possible(&topic) {
                self.ensure_topic(&topic, 1, perm::READ | perm::WRITE);
                if self.offsets.get(name, &topic, 0).is_none() {
                    self.offsets.commit(name, &topic, 0, 0);
                }
                return Ok(Place {
                    topic,
                    queue_id: 0,
                    given,
                });
            }
        }
        if group.retry_queue_nums <= 0 {
            let text = format!("the group {name} wants no retries (retryQueueNums)");
            return Err(Refusal::InvalidParameter(text));
        }
        let retries = send_back::writable_retry_topic(self, &group, false)?;
        Ok(Place {
            queue_id: rand::random_range(0..retries.queues),
            topic: retries.name,
            given,
        })
    }

    fn send_again(&self, one: &Sendable<'_>, wanted: &Resending) -> Result<Sent, Refusal> {
        let Sendable { letter, place, .. } = one;
        let copy = Copy {
            topic: &place.topic,
            queue_id: place.queue_id,
            sys_flag: letter.sys_flag() & !sys_flag::TRANSACTION_MASK,
            reconsume_times: 0,
            properties: &wanted.properties(letter, place),
        };
        let appended = self.append_copy(letter, copy)?;
        self.stats.stored(&place.topic, 1, letter.size());
        let new_id = MessageId {
            store_host: self.store_host(),
            physical_offset: appended.physical_offsets[0],
        };
        Ok(Sent {
            id: letter.message_id().to_string(),
            topic: place.topic.clone(),
            queue_id: place.queue_id,
            new_id: new_id.to_string(),
        })
    }
}

fn left(letter: &Record<'_>, why: impl std::fmt::Display) -> Left {
    Left {
        id: letter.message_id().to_string(),
        why: why.to_string(),
    }
}

impl Sendable<'_> {
    fn mark<'t>(&self, marks: &'t mut Table) -> &'t mut Mark {
        entry(
            marks,
            group_of(&self.letter).unwrap_or_default(),
            &self.letter,
        )
    }

    fn begin(&self, marks: &mut Table, now_ms: i64) {
        let times = self.before.as_ref().map_or(0, |before| before.times);
        self.mark(marks).resent = Some(Resent {
            times: times.saturating_add(1),
            at_ms: now_ms,
            topic: self.place.topic.clone(),
            id: None,
        });
    }

    fn end(&self, marks: &mut Table, sent: &Sent) {
        if let Some(resent) = &mut self.mark(marks).resent {
            resent.id = Some(sent.new_id.clone());
        }
    }

    fn take_back(&self, marks: &mut Table) {
        self.mark(marks).resent = self.before.clone();
    }
}
