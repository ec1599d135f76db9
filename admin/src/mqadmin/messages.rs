//! Messages in Java's words.

use std::io::Write;

use sluice_client::ReceivedMessage;
use sluice_protocol::body::MessageQueue;

use super::commands::JAVA;
use super::{Work, date, map, time};
use crate::args::SendMessage;
use crate::cluster::messages::{Lookup, Wanted};
use crate::cluster::topics::servers_of;
use crate::error::AdminError;
use crate::verbs::messages::{Reading, at, by_id, read, sent, status};

/// A line of a message's description.
fn line(out: &mut dyn Write, name: &str, value: impl std::fmt::Display) -> Result<(), AdminError> {
    Ok(writeln!(out, "{name:<20} {value}")?)
}

/// A message with its properties, as Java's `MessageExt` prints itself, as far as scripts look.
fn text(message: &ReceivedMessage) -> String {
    format!(
        "MessageExt [brokerName={}, queueId={}, storeSize={}, queueOffset={}, sysFlag={}, bornTimestamp={}, bornHost=/{}, storeTimestamp={}, storeHost=/{}, msgId={}, commitLogOffset={}, reconsumeTimes={}, toString()=Message{{topic='{}', flag={}, properties={}}}]",
        message.broker_name(),
        message.queue_id(),
        message.stored_size(),
        message.queue_offset(),
        message.sys_flag(),
        message.born_timestamp(),
        message.born_host(),
        message.store_timestamp(),
        message.offset_message_id().store_host,
        message.offset_message_id(),
        message.physical_offset(),
        message.reconsume_times(),
        message.topic(),
        message.flag(),
        map(message.properties()),
    )
}

impl Work<'_> {
    fn describe(
        &mut self,
        message: &ReceivedMessage,
        with_offset_id: bool,
    ) -> Result<(), AdminError> {
        let out = &mut *self.out;
        let id = message.offset_message_id();
        if with_offset_id {
            line(out, "OffsetID:", id)?;
        }
        line(out, "Topic:", message.topic())?;
        line(
            out,
            "Tags:",
            format!("[{}]", message.tag().unwrap_or("null")),
        )?;
        let keys = message.property("KEYS").unwrap_or("null");
        line(out, "Keys:", format!("[{keys}]"))?;
        line(out, "Queue ID:", message.queue_id())?;
        line(out, "Queue Offset:", message.queue_offset())?;
        line(out, "CommitLog Offset:", message.physical_offset())?;
        line(out, "Reconsume Times:", message.reconsume_times())?;
        line(out, "Born Timestamp:", date(message.born_timestamp()))?;
        line(out, "Store Timestamp:", date(message.store_timestamp()))?;
        line(out, "Born Host:", message.born_host())?;
        line(out, "Store Host:", id.store_host)?;
        line(out, "System Flag:", message.sys_flag())?;
        line(out, "Properties:", map(message.properties()))?;
        // Java writes the body to a file of /tmp and names that.
        line(
            out,
            "Message Body:",
            String::from_utf8_lossy(message.body()),
        )
    }

    fn describe_all(
        &mut self,
        found: &[ReceivedMessage],
        with_offset_id: bool,
    ) -> Result<(), AdminError> {
        if found.is_empty() {
            write!(self.out, "\nMessage not found!")?;
            return Err(AdminError::Command("no message is found".to_owned()));
        }
        for message in found {
            self.describe(message, with_offset_id)?;
        }
        Ok(())
    }

    pub(super) async fn query_msg_by_id(&mut self) -> Result<(), AdminError> {
        self.given.refuse(&["s", "g", "d"], JAVA)?;
        let topic = self.given.get("t").map(str::to_owned);
        let ids = self.given.need("i");
        for id in ids.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            let found = by_id(&self.cluster, id, topic.as_deref()).await?;
            self.describe_all(&found, true)?;
        }
        Ok(())
    }

    pub(super) async fn query_msg_by_unique_key(&mut self) -> Result<(), AdminError> {
        self.given.refuse(&["g", "d"], JAVA)?;
        let (topic, id) = (self.given.need("t"), self.given.need("i"));
        let mut found = self.look_up(&topic, &id, true, (0, i64::MAX), 32).await?;
        if !self.given.has("a") {
            found.truncate(1);
        }
        self.describe_all(&found, false)
    }

    async fn look_up(
        &mut self,
        topic: &str,
        key: &str,
        is_id: bool,
        (from_ms, to_ms): (i64, i64),
        count: u32,
    ) -> Result<Vec<ReceivedMessage>, AdminError> {
        let servers = servers_of(&self.cluster.route(topic).await?);
        let lookup = Lookup {
            topic,
            key,
            is_id,
            from_ms,
            to_ms,
            count,
        };
        Ok(self.cluster.look_up(&servers, &lookup).await)
    }

    pub(super) async fn query_msg_by_key(&mut self) -> Result<(), AdminError> {
        let (topic, key) = (self.given.need("t"), self.given.need("k"));
        let span = (
            self.given.number("b", 0)?,
            self.given.number("e", i64::MAX)?,
        );
        let count = self.given.number("m", 64)?;
        let found = self.look_up(&topic, &key, false, span, count).await?;
        writeln!(
            self.out,
            "{:<50} {:>4} {:>40}",
            "#Message ID", "#QID", "#Offset"
        )?;
        for message in found {
            writeln!(
                self.out,
                "{:<50} {:>4} {:>40}",
                message.message_id(),
                message.queue_id(),
                message.queue_offset()
            )?;
        }
        Ok(())
    }

    pub(super) async fn query_msg_by_offset(&mut self) -> Result<(), AdminError> {
        let queue = MessageQueue {
            topic: self.given.need("t"),
            broker_name: self.given.need("b"),
            queue_id: self.given.number("i", 0)?,
        };
        let offset = self.given.number("o", 0)?;
        let servers = servers_of(&self.cluster.route(&queue.topic).await?);
        let found = at(&self.cluster, &servers, &queue, offset).await?;
        self.describe_all(&found, true)
    }

    pub(super) async fn print_msg(&mut self) -> Result<(), AdminError> {
        let with_body = self.given.truth("d", true);
        self.print(&[], with_body).await
    }

    pub(super) async fn print_msg_by_queue(&mut self) -> Result<(), AdminError> {
        let queue = format!("{}:{}", self.given.need("a"), self.given.need("i"));
        if self.given.truth("f", false) {
            return self.count_tags(&[queue]).await;
        }
        let with_body = self.given.truth("d", false);
        self.print(&[queue], with_body).await
    }

    /// A time that is an option.
    fn at_time(&self, short: &str) -> Result<Option<i64>, AdminError> {
        self.given.get(short).map(time).transpose()
    }

    async fn print(&mut self, queues: &[String], with_body: bool) -> Result<(), AdminError> {
        let (topic, filter) = (
            self.given.need("t"),
            self.given.get("s").unwrap_or("*").to_owned(),
        );
        let reading = Reading {
            topic: &topic,
            wanted: Wanted {
                expression: &filter,
                language: "TAG",
            },
            from_ms: self.at_time("b")?,
            to_ms: self.at_time("e")?,
            queues,
            count: u32::MAX,
        };
        let out = &mut *self.out;
        read(&self.cluster, &reading, |message| {
            let body = match with_body {
                true => String::from_utf8_lossy(message.body()),
                false => "NOT PRINT BODY".into(),
            };
            writeln!(
                out,
                "MSGID: {} {} BODY: {body}",
                message.message_id(),
                text(&message)
            )?;
            Ok(true)
        })
        .await
    }

    async fn count_tags(&mut self, queues: &[String]) -> Result<(), AdminError> {
        let topic = self.given.need("t");
        let filter = self.given.get("s").unwrap_or("*").to_owned();
        let reading = Reading {
            topic: &topic,
            wanted: Wanted {
                expression: &filter,
                language: "TAG",
            },
            from_ms: self.at_time("b")?,
            to_ms: self.at_time("e")?,
            queues,
            count: u32::MAX,
        };
        let mut counts: std::collections::BTreeMap<String, u64> = Default::default();
        read(&self.cluster, &reading, |message| {
            if let Some(tag) = message.tag() {
                *counts.entry(tag.to_owned()).or_default() += 1;
            }
            Ok(true)
        })
        .await?;
        for (tag, count) in counts {
            writeln!(self.out, "Tag: {tag:<30} Count: {count}")?;
        }
        Ok(())
    }

    pub(super) async fn send_message(&mut self) -> Result<(), AdminError> {
        let given = &self.given;
        if given.has("i") && !given.has("b") {
            let text = "Broker name must be set if the queue is chosen!";
            return Err(AdminError::Command(text.to_owned()));
        }
        let queue = match (given.get("b"), given.get("i")) {
            (Some(broker), Some(queue)) => Some(format!("{broker}:{queue}")),
            (Some(broker), None) => Some(format!("{broker}:0")),
            _ => None,
        };
        let wanted = SendMessage {
            topic: given.need("t"),
            body: given.need("p"),
            tag: given.get("c").map(str::to_owned),
            keys: given.get("k").map(str::to_owned).into_iter().collect(),
            set: Vec::new(),
            queue,
        };
        let done = sent(&self.cluster, &wanted).await;
        writeln!(
            self.out,
            "{:<32}  {:<4}  {:<20}    #MsgId",
            "#Broker Name", "#QID", "#Send Result"
        )?;
        match done {
            Ok(sent) => {
                writeln!(
                    self.out,
                    "{:<32}  {:<4}  {:<20}    {}",
                    sent.queue.broker_name,
                    sent.queue.queue_id,
                    status(sent.status),
                    sent.message_id
                )?;
                Ok(())
            }
            Err(error) => {
                writeln!(
                    self.out,
                    "{:<32}  {:<4}  {:<20}    None",
                    "Unknown", "Unknown", "Failed"
                )?;
                Err(error)
            }
        }
    }

    pub(super) async fn consume_message(&mut self) -> Result<(), AdminError> {
        let (topic, count) = (self.given.need("t"), self.given.number("c", 128)?);
        let queue = match (self.given.get("b"), self.given.get("i")) {
            (Some(broker), Some(queue)) => Some(format!("{broker}:{queue}")),
            (None, Some(_)) => {
                let text = "Please set the brokerName before queueId!";
                return Err(AdminError::Command(text.to_owned()));
            }
            _ => None,
        };
        let from: Option<i64> = match self.given.has("o") {
            true if queue.is_none() => {
                let text = "Please set queueId before offset!";
                return Err(AdminError::Command(text.to_owned()));
            }
            true => Some(self.given.number("o", 0)?),
            false => None,
        };
        let queues: Vec<String> = queue.into_iter().collect();
        let reading = Reading {
            topic: &topic,
            wanted: crate::cluster::messages::EVERYTHING,
            from_ms: self.at_time("s")?,
            to_ms: self.at_time("e")?,
            queues: &queues,
            count: u32::MAX,
        };
        let mut left: u64 = count;
        let out = &mut *self.out;
        writeln!(out, "Consume ok")?;
        read(&self.cluster, &reading, |message| {
            if message.queue_offset() >= from.unwrap_or(0) {
                left = left.saturating_sub(1);
                let body = String::from_utf8_lossy(message.body());
                writeln!(
                    out,
                    "MSGID: {} {} BODY: {body}",
                    message.message_id(),
                    text(&message)
                )?;
            }
            Ok(left > 0)
        })
        .await
    }
}
