//! Receipts, and what pops say of offsets: texts that clients put together and give back
//! (`ExtraInfoUtil`).

use std::fmt::Write;

use super::names;
use crate::error::Refusal;

/// What an ack says of the pop that its message came from (`extraInfo`, the property `POP_CK`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// Where the pop began.
    pub(crate) start_offset: i64,
    /// Unix milliseconds.
    pub(crate) pop_time: i64,
    /// Milliseconds.
    pub(crate) invisible_time: i64,
    /// Queue of the revive topic, or [`names::ORDER_QUEUE`].
    pub(crate) revive_queue: i32,
    pub(crate) broker_name: String,
}

impl Receipt {
    /// Reads a receipt: `start popTime invisibleTime reviveQid kind brokerName queueId [offset]`.
    ///
    /// # Errors
    /// A part is missing or unreadable.
    pub(crate) fn parse(text: &str) -> Result<Receipt, Refusal> {
        let wrong = || {
            let text: String = text.chars().take(200).collect();
            Refusal::System(format!("extraInfo {text:?} is no receipt of a pop"))
        };
        let parts: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| -> Result<i64, Refusal> {
            let part = parts.get(at).ok_or_else(wrong)?;
            part.parse().map_err(|_| wrong())
        };
        let broker_name = *parts.get(5).ok_or_else(wrong)?;
        if !is_broker_name(broker_name) {
            return Err(wrong());
        }
        Ok(Receipt {
            start_offset: number(0)?,
            pop_time: number(1)?,
            invisible_time: number(2)?,
            revive_queue: i32::try_from(number(3)?).map_err(|_| wrong())?,
            broker_name: broker_name.to_owned(),
        })
    }

    /// The receipt of one message.
    pub(crate) fn text(&self, topic: &str, queue_id: i32, offset: i64) -> String {
        format!(
            "{} {} {} {} {} {} {queue_id} {offset}",
            self.start_offset,
            self.pop_time,
            self.invisible_time,
            self.revive_queue,
            names::kind(topic),
            self.broker_name,
        )
    }

    /// Whether the pop was an ordered one.
    pub(crate) fn is_ordered(&self) -> bool {
        self.revive_queue == names::ORDER_QUEUE
    }

    /// When the message comes back unless it is acked, Unix milliseconds.
    pub(crate) fn revive_time(&self) -> i64 {
        self.pop_time.saturating_add(self.invisible_time)
    }
}

/// Whether a text can be stored as a broker's name: separators of properties would say more.
pub(crate) fn is_broker_name(name: &str) -> bool {
    !name.contains(char::is_control)
}

/// Adds `kind queueId what` behind a semicolon.
fn put(out: &mut String, topic: &str, queue: impl std::fmt::Display, what: impl std::fmt::Display) {
    if !out.is_empty() {
        out.push(';');
    }
    // A string takes every write.
    let _ = write!(out, "{} {queue} {what}", names::kind(topic));
}

/// Adds where a queue's pop began (`startOffsetInfo`).
pub(crate) fn put_start(out: &mut String, topic: &str, queue_id: i32, start: i64) {
    put(out, topic, queue_id, start);
}

/// Adds which messages of a queue are in the answer (`msgOffsetInfo`).
pub(crate) fn put_offsets(out: &mut String, topic: &str, queue_id: i32, offsets: &[i64]) {
    let offsets: Vec<String> = offsets.iter().map(i64::to_string).collect();
    put(out, topic, queue_id, offsets.join(","));
}

/// Adds how often a message was consumed before (`orderCountInfo`).
pub(crate) fn put_count(out: &mut String, topic: &str, queue_id: i32, offset: i64, count: i32) {
    put(out, topic, format_args!("qo{queue_id}%{offset}"), count);
}

/// Adds the least of these counts, for old clients that look by queue.
pub(crate) fn put_least_count(out: &mut String, topic: &str, queue_id: i32, count: i32) {
    put(out, topic, queue_id, count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_what_it_has_written_and_old_ones_without_an_offset() {
        let receipt = Receipt {
            start_offset: 120,
            pop_time: 1_750_000_000_000,
            invisible_time: 60_000,
            revive_queue: 3,
            broker_name: "broker-a".to_owned(),
        };
        let text = receipt.text("%RETRY%g_t", 2, 122);
        assert_eq!(text, "120 1750000000000 60000 3 1 broker-a 2 122");
        assert_eq!(Receipt::parse(&text).unwrap(), receipt);
        let short = text.strip_suffix(" 122").unwrap();
        assert_eq!(Receipt::parse(short).unwrap(), receipt);
        for wrong in [
            "",
            "1 2 3",
            "1 2 x 4 0 b",
            "1 2 3 99999999999 0 b 0 0",
            "1 2 3 4 0 b\u{2}a\u{1}x 0",
        ] {
            assert!(Receipt::parse(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn offsets_are_told_by_queue() {
        let mut text = String::new();
        put_start(&mut text, "t", 3, 10);
        put_start(&mut text, "%RETRY%g+t", 0, 7);
        assert_eq!(text, "0 3 10;2 0 7");
        text.clear();
        put_offsets(&mut text, "t", 3, &[10, 12]);
        assert_eq!(text, "0 3 10,12");
        text.clear();
        put_count(&mut text, "t", 3, 10, 2);
        put_least_count(&mut text, "t", 3, 0);
        assert_eq!(text, "0 qo3%10 2;0 3 0");
    }
}
