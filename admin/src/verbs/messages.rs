//! `sluice message find`, `print`, `send`.

use std::fmt::Write;

use serde_json::{Value, json};
use sluice_client::{Message, Producer, ReceivedMessage, SendResult, SendStatus};
use sluice_protocol::message::MessageId;

use super::some;
use crate::args::{FindMessages, OneMessage, PrintMessages, SendMessage};
use crate::cluster::messages::{EVERYTHING, Lookup, Wanted};
use crate::cluster::offsets::{narrowed, of_queue, queue};
use crate::cluster::topics::servers_of;
use crate::cluster::{Cluster, Server};
use crate::error::AdminError;
use crate::page::Page;
use crate::table::{Table, date_of};
use crate::visible::in_line;

/// Messages of one pull.
const AT_ONCE: u32 = 32;
/// Bytes of a body that are shown.
const BODY_SHOWN: usize = 4096;

/// A message, as JSON has it.
pub(crate) fn json_of(message: &ReceivedMessage) -> Value {
    let properties: serde_json::Map<String, Value> = message
        .properties()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let (body, is_hex) = body_text(message);
    json!({
        "id": message.offset_message_id().to_string(), "uniqueKey": message.property("UNIQ_KEY"),
        "topic": message.topic(), "broker": message.broker_name(), "queueId": message.queue_id(),
        "queueOffset": message.queue_offset(), "storedMs": message.store_timestamp(),
        "bornMs": message.born_timestamp(), "bornHost": message.born_host().to_string(),
        "reconsumeTimes": message.reconsume_times(), "tag": message.tag(),
        "keys": message.keys().collect::<Vec<_>>(), "properties": properties,
        "bodySize": message.body().len(), "body": body, "bodyIsHex": is_hex,
    })
}

/// The beginning of a body, as text if it is one.
fn body_text(message: &ReceivedMessage) -> (String, bool) {
    let shown = &message.body()[..message.body().len().min(BODY_SHOWN)];
    let text = match std::str::from_utf8(shown) {
        Ok(text) => Some(text),
        // Cut within a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&shown[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) => (text.to_owned(), false),
        None => {
            let hex = shown.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            (hex, true)
        }
    }
}

/// All of a message, for people.
fn described(message: &ReceivedMessage) -> String {
    let mut text = String::new();
    let unique = message.property("UNIQ_KEY").unwrap_or("-");
    let _ = writeln!(
        text,
        "message {}, unique key {unique}",
        message.offset_message_id()
    );
    let _ = writeln!(
        text,
        "in {} of {} queue {} offset {}",
        message.topic(),
        message.broker_name(),
        message.queue_id(),
        message.queue_offset()
    );
    let _ = writeln!(
        text,
        "sent by {} at {}, stored at {}, delivered again {} times",
        message.born_host(),
        date_of(message.born_timestamp()),
        date_of(message.store_timestamp()),
        message.reconsume_times()
    );
    text.push_str("properties:\n");
    for (name, value) in message.properties() {
        let _ = writeln!(text, "  {} = {}", in_line(name), in_line(value));
    }
    let (body, is_hex) = body_text(message);
    let form = if is_hex { ", no text" } else { "" };
    let _ = writeln!(text, "body ({} bytes{form}):\n{body}", message.body().len());
    text
}

/// One message in full, several as a table.
pub(crate) fn page(messages: &[ReceivedMessage]) -> Page {
    let json: Vec<Value> = messages.iter().map(json_of).collect();
    let page = Page::of(&json!({ "messages": json }));
    match messages {
        [] => page.line("No message is found.").wrong(),
        [one] => page.line(described(one)),
        many => page.table(table(many)),
    }
}

fn table(messages: &[ReceivedMessage]) -> Table {
    let headings = [
        "ID", "STORED", "BROKER", ">QUEUE", ">OFFSET", "TAG", "KEYS", ">SIZE", "BODY",
    ];
    let mut table = Table::of(&headings);
    for message in messages {
        table.row([
            message.message_id(),
            date_of(message.store_timestamp()),
            message.broker_name().to_owned(),
            message.queue_id().to_string(),
            message.queue_offset().to_string(),
            some(message.tag()),
            message.keys().collect::<Vec<_>>().join(" "),
            message.body().len().to_string(),
            body_text(message).0.chars().take(60).collect(),
        ]);
    }
    table
}

fn topic_of(wanted: Option<&str>, option: &str) -> Result<String, AdminError> {
    wanted.map(str::to_owned).ok_or_else(|| {
        AdminError::Command(format!(
            "{option} finds messages of one topic: name it with --topic"
        ))
    })
}

/// The message that a broker's id or a producer's names. A producer's is looked up in a topic.
pub(crate) async fn by_id(
    cluster: &Cluster,
    id: &str,
    topic: Option<&str>,
) -> Result<Vec<ReceivedMessage>, AdminError> {
    if let Ok(of_broker) = id.parse::<MessageId>() {
        let members = cluster.members().await.unwrap_or_default();
        // Both kinds have 32 digits and look alike: a producer's names no broker.
        let address = of_broker.store_host.to_string();
        let is_broker = members.iter().any(|it| it.server.address == address);
        if is_broker || topic.is_none() {
            let found = cluster.view(&members, &of_broker).await;
            let found = found.map_err(|error| match is_broker {
                true => error,
                false => AdminError::Command(format!(
                    "{id} names the broker {address}, which is not registered: {error}\nThe id of a producer needs --topic"
                )),
            })?;
            return Ok(found.into_iter().collect());
        }
    }
    let topic = topic_of(topic, "the id of a producer")?;
    let servers = servers_of(&cluster.route(&topic).await?);
    let lookup = Lookup {
        topic: &topic,
        key: id,
        is_id: true,
        from_ms: 0,
        to_ms: i64::MAX,
        count: 32,
    };
    Ok(cluster.look_up(&servers, &lookup).await)
}

/// The message at a place of a queue.
pub(crate) async fn at(
    cluster: &Cluster,
    servers: &[Server],
    queue: &sluice_protocol::body::MessageQueue,
    offset: i64,
) -> Result<Vec<ReceivedMessage>, AdminError> {
    let server = of_queue(servers, queue).ok_or_else(|| {
        AdminError::Command(format!(
            "broker {} does not serve {}",
            queue.broker_name, queue.topic
        ))
    })?;
    let pulled = cluster.pull(&server, queue, offset, 1, &EVERYTHING).await?;
    let found = pulled.messages.into_iter();
    Ok(found.filter(|it| it.queue_offset() == offset).collect())
}

pub(crate) async fn find(cluster: &Cluster, wanted: &FindMessages) -> Result<Page, AdminError> {
    let topic = wanted.topic.as_deref();
    if let Some(id) = &wanted.by.id {
        return Ok(page(&by_id(cluster, id, topic).await?));
    }
    if let Some(key) = &wanted.by.key {
        let topic = topic_of(topic, "--key")?;
        let servers = servers_of(&cluster.route(&topic).await?);
        let lookup = Lookup {
            topic: &topic,
            key,
            is_id: false,
            from_ms: wanted.from.unwrap_or(0),
            to_ms: wanted.to.unwrap_or(i64::MAX),
            count: wanted.count.into(),
        };
        return Ok(page(&cluster.look_up(&servers, &lookup).await));
    }
    if let Some(place) = &wanted.by.at {
        let topic = topic_of(topic, "--at")?;
        let servers = servers_of(&cluster.route(&topic).await?);
        let wrong = || AdminError::Command(format!("{place:?}: broker-a:0:17 is expected"));
        let (of, offset) = place.rsplit_once(':').ok_or_else(wrong)?;
        let offset = offset.parse().map_err(|_| wrong())?;
        return Ok(page(
            &at(cluster, &servers, &queue(&topic, of)?, offset).await?,
        ));
    }
    let time = wanted.by.stored.unwrap_or(0);
    let topic = topic_of(topic, "--stored")?;
    let servers = servers_of(&cluster.route(&topic).await?);
    let queues: Vec<_> = cluster
        .bounds(&servers, &topic)
        .await?
        .into_keys()
        .collect();
    let mut found = Vec::new();
    for (queue, offset) in cluster.offsets_at(&servers, &queues, time).await {
        found.extend(at(cluster, &servers, &queue, offset).await?);
    }
    found.sort_by_key(ReceivedMessage::store_timestamp);
    Ok(page(&found))
}

/// What the cluster says of a message that a broker is not asked about.
pub(crate) async fn show(cluster: &Cluster, wanted: &OneMessage) -> Result<Page, AdminError> {
    let mut found = by_id(cluster, &wanted.id, wanted.topic.as_deref()).await?;
    if let (true, Some(topic)) = (found.is_empty(), &wanted.topic) {
        let servers = servers_of(&cluster.route(topic).await?);
        let lookup = Lookup {
            topic,
            key: &wanted.id,
            is_id: false,
            from_ms: 0,
            to_ms: i64::MAX,
            count: 64,
        };
        found = cluster.look_up(&servers, &lookup).await;
    }
    Ok(page(&found))
}

/// What is read of a topic.
pub(crate) struct Reading<'a> {
    pub(crate) topic: &'a str,
    pub(crate) wanted: Wanted<'a>,
    pub(crate) from_ms: Option<i64>,
    pub(crate) to_ms: Option<i64>,
    pub(crate) queues: &'a [String],
    /// Of each queue.
    pub(crate) count: u32,
}

/// Reads queue after queue, and hands on each message, until that says no.
pub(crate) async fn read(
    cluster: &Cluster,
    of: &Reading<'_>,
    mut each: impl FnMut(ReceivedMessage) -> Result<bool, AdminError>,
) -> Result<(), AdminError> {
    let servers = servers_of(&cluster.route(of.topic).await?);
    let bounds = cluster.bounds(&servers, of.topic).await?;
    let queues = narrowed(of.topic, bounds.keys().cloned().collect(), of.queues)?;
    let begin = match of.from_ms {
        Some(time) => cluster.offsets_at(&servers, &queues, time).await,
        None => bounds
            .iter()
            .map(|(queue, (min, _))| (queue.clone(), *min))
            .collect(),
    };
    let end = of.to_ms.unwrap_or(i64::MAX);
    'queues: for queue in queues {
        let (Some(server), Some(begin)) = (of_queue(&servers, &queue), begin.get(&queue)) else {
            continue;
        };
        let (mut next, mut left) = (*begin, of.count);
        while left > 0 {
            let pulled = cluster
                .pull(&server, &queue, next, left.min(AT_ONCE), &of.wanted)
                .await?;
            for message in pulled.messages {
                if message.store_timestamp() > end {
                    continue 'queues;
                }
                if message.store_timestamp() >= of.from_ms.unwrap_or(0) && left > 0 {
                    left -= 1;
                    if !each(message)? {
                        return Ok(());
                    }
                }
            }
            next = pulled.next;
            if pulled.ended {
                break;
            }
        }
    }
    Ok(())
}

pub(crate) async fn print(cluster: &Cluster, wanted: &PrintMessages) -> Result<Page, AdminError> {
    let reading = Reading {
        topic: &wanted.topic,
        wanted: Wanted {
            expression: &wanted.filter,
            language: &wanted.filter_type,
        },
        from_ms: wanted.from,
        to_ms: wanted.to,
        queues: &wanted.queues,
        count: wanted.count,
    };
    let mut messages = Vec::new();
    read(cluster, &reading, |message| {
        messages.push(message);
        Ok(true)
    })
    .await?;
    messages.sort_by_key(ReceivedMessage::store_timestamp);
    let json: Vec<Value> = messages.iter().map(json_of).collect();
    let page = Page::of(&json!({ "messages": json }));
    Ok(match messages.is_empty() {
        true => page.line("No messages."),
        false => page.table(table(&messages)),
    })
}

/// Sends one message.
pub(crate) async fn sent(
    cluster: &Cluster,
    wanted: &SendMessage,
) -> Result<SendResult, AdminError> {
    let producer = Producer::builder("sluice-send")
        .name_server(cluster.addresses())
        .connect_timeout(cluster.timeout())
        .send_timeout(cluster.timeout())
        .build()
        .await?;
    let mut message = Message::new(wanted.topic.clone(), wanted.body.clone());
    if let Some(tag) = &wanted.tag {
        message = message.tag(tag.clone());
    }
    for key in &wanted.keys {
        message = message.key(key);
    }
    for (name, value) in &wanted.set {
        message = message.property(name.clone(), value.clone());
    }
    let sent = match &wanted.queue {
        Some(text) => {
            let queue = queue(&wanted.topic, text)?;
            producer.publish_queues(&wanted.topic).await?;
            producer.send_to(&queue, message).await
        }
        None => producer.send(message).await,
    };
    producer.shutdown().await;
    Ok(sent?)
}

pub(crate) async fn send(cluster: &Cluster, wanted: &SendMessage) -> Result<Page, AdminError> {
    let sent = sent(cluster, wanted).await?;
    let json = json!({
        "uniqueKey": sent.message_id, "status": status(sent.status), "topic": sent.queue.topic,
        "broker": sent.queue.broker_name, "queueId": sent.queue.queue_id, "queueOffset": sent.queue_offset,
    });
    Ok(Page::of(&json).line(format!(
        "{} stored in {} at offset {}",
        sent.message_id, sent.queue, sent.queue_offset
    )))
}

/// Java's name of what a broker did with a message.
pub(crate) fn status(status: SendStatus) -> &'static str {
    match status {
        SendStatus::Ok => "SEND_OK",
        SendStatus::FlushDiskTimeout => "FLUSH_DISK_TIMEOUT",
        SendStatus::FlushSlaveTimeout => "FLUSH_SLAVE_TIMEOUT",
        SendStatus::SlaveNotAvailable => "SLAVE_NOT_AVAILABLE",
    }
}
