//! Send hooks: what plugins change or refuse of a client's message before it is stored.
//!
//! They run for every way a message comes in from a client, never on internal hops. Each hook of a
//! chain sees what the one before left.

use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use sluice_plugins::hooks::{Edit, Edits, NoAnswer};
use sluice_plugins::{Bound, Policy, Row, World};
use sluice_protocol::code::response;
use sluice_protocol::header::SendMessageRequestHeader;
use sluice_protocol::message::{Record, batch, compression, inner_batch, properties, sys_flag};

use crate::Broker;
use crate::error::Refusal;

/// Codes that tell a producer that its message is stored.
const MEAN_STORED: [i32; 4] = [
    response::SUCCESS,
    response::FLUSH_DISK_TIMEOUT,
    response::SLAVE_NOT_AVAILABLE,
    response::FLUSH_SLAVE_TIMEOUT,
];

/// Each asks for a delivery later than now.
const DELAYS: [&str; 4] = [
    properties::DELAY,
    properties::TIMER_DELAY_SEC,
    properties::TIMER_DELAY_MS,
    properties::TIMER_DELIVER_MS,
];

/// A message on its way in, or all messages of a batch.
pub(crate) struct Incoming {
    pub(crate) header: SendMessageRequestHeader,
    pub(crate) body: Bytes,
}

/// One message of what comes in.
struct Message {
    flag: i32,
    properties: Vec<u8>,
    body: Vec<u8>,
}

/// The hooks that a topic's messages pass, first to last.
pub(crate) fn chain(broker: &Broker, topic: &str) -> Vec<Arc<Bound>> {
    broker.plugins.chain(World::SendHook, topic, "")
}

/// Lets the hooks of a chain have their say.
///
/// # Errors
/// A hook refuses the message (a batch: one of them), or failed and its policy refuses.
pub(crate) fn before(
    broker: &Broker,
    chain: &[Arc<Bound>],
    mut incoming: Incoming,
) -> Result<Incoming, Refusal> {
    let now_ms = broker.now_ms();
    for bound in chain {
        let mut messages = split(&incoming)?;
        match ask(bound, &incoming, &messages, now_ms) {
            Ok(edits) if edits.is_empty() => {}
            Ok(edits) => {
                let name = bound.spec().plugin.clone();
                apply(&name, edits, &mut incoming, &mut messages)?;
                join(&mut incoming, messages)?;
            }
            Err(NoAnswer { policy, cause }) => {
                if policy == Policy::Reject {
                    return Err(Refusal::System(format!(
                        "a send hook has no answer: {cause}"
                    )));
                }
            }
        }
    }
    Ok(incoming)
}

fn ask(
    bound: &Bound,
    incoming: &Incoming,
    messages: &[Message],
    now_ms: i64,
) -> Result<Edits, NoAnswer> {
    let row = |message| row(incoming, message, now_ms);
    let rows: Vec<Row<'_>> = messages.iter().map(row).collect();
    let mut edits = Edits::new();
    for (block, rows) in rows
        .chunks(sluice_plugins::filter::BLOCK_ROWS_MAX)
        .enumerate()
    {
        let first = block * sluice_plugins::filter::BLOCK_ROWS_MAX;
        let found = bound.before(rows, now_ms)?;
        edits.extend(found.into_iter().map(|(row, edit)| (first + row, edit)));
    }
    Ok(edits)
}

fn row<'a>(incoming: &Incoming, message: &'a Message, now_ms: i64) -> Row<'a> {
    Row {
        properties: &message.properties,
        body: &message.body,
        sys_flag: incoming.header.sys_flag,
        queue_id: incoming.header.queue_id,
        queue_offset: -1,
        store_time_ms: now_ms,
        born_time_ms: incoming.header.born_timestamp,
        reconsume_times: incoming.header.reconsume_times,
    }
}

fn split(incoming: &Incoming) -> Result<Vec<Message>, Refusal> {
    if !incoming.header.batch {
        return Ok(vec![Message {
            flag: 0,
            properties: incoming.header.properties.as_bytes().to_vec(),
            body: incoming.body.to_vec(),
        }]);
    }
    let message = |item: Result<batch::BatchItem<'_>, batch::BatchError>| {
        let item = item.map_err(|error| Refusal::MessageIllegal(error.to_string()))?;
        Ok(Message {
            flag: item.flag,
            properties: item.properties.to_vec(),
            body: item.body.to_vec(),
        })
    };
    batch::iter(&incoming.body).map(message).collect()
}

fn join(incoming: &mut Incoming, mut messages: Vec<Message>) -> Result<(), Refusal> {
    if !incoming.header.batch {
        let message = messages.swap_remove(0);
        let properties = ByteString::try_from(message.properties);
        incoming.header.properties = properties
            .map_err(|_| Refusal::MessageIllegal("its properties are not UTF-8".to_owned()))?;
        incoming.body = message.body.into();
        return Ok(());
    }
    let mut body = Vec::with_capacity(incoming.body.len());
    for message in &messages {
        let item = batch::BatchItem {
            flag: message.flag,
            body: &message.body,
            properties: &message.properties,
        };
        batch::put(&mut body, item);
    }
    incoming.body = body.into();
    Ok(())
}

fn apply(
    hook: &str,
    edits: Edits,
    incoming: &mut Incoming,
    messages: &mut [Message],
) -> Result<(), Refusal> {
    // A refusal counts wherever it stands: nothing of a refused batch is stored.
    for (_, edit) in &edits {
        if let Edit::Reject(code, reason) = edit {
            // Producers take some codes for "stored": a refused message never is.
            let code = code.filter(|code| !MEAN_STORED.contains(code));
            return Err(Refusal::Rejected {
                code: code.unwrap_or(response::MESSAGE_ILLEGAL),
                reason: reason.clone(),
            });
        }
    }
    let illegal = |what: &str| Refusal::MessageIllegal(format!("send hook {hook} {what}"));
    for (row, edit) in edits {
        let message = &mut messages[row];
        match edit {
            Edit::SetProperty(name, value) => {
                message.properties = properties::without(&message.properties, &[&name]);
                properties::put(&mut message.properties, &name, &value);
            }
            Edit::DeleteProperty(name) => {
                message.properties = properties::without(&message.properties, &[&name]);
            }
            Edit::SetBody(body) => message.body = packed(body, &mut incoming.header.sys_flag),
            Edit::SetDelay(ms) => {
                // The producer's own wish would win over it.
                message.properties = properties::without(&message.properties, &DELAYS);
                let name = properties::TIMER_DELAY_MS;
                properties::put(&mut message.properties, name, &ms.to_string());
            }
            Edit::SetTopic(_) | Edit::SetQueue(_) if incoming.header.batch => {
                return Err(illegal(
                    "moves one message of a batch, which goes to one queue",
                ));
            }
            Edit::SetTopic(topic) => incoming.header.topic = topic.into(),
            Edit::SetQueue(queue_id) => incoming.header.queue_id = queue_id,
            Edit::Drop => return Err(illegal("drops a message, which only a consume hook can")),
            Edit::Reject(..) => {}
        }
    }
    Ok(())
}

/// A body of a message whose producer compresses is compressed again, as zlib whatever it was.
fn packed(body: Vec<u8>, flags: &mut i32) -> Vec<u8> {
    if *flags & sys_flag::COMPRESSED == 0 {
        return body;
    }
    *flags = (*flags & !sys_flag::COMPRESSION_MASK) | compression::ZLIB_FLAGS;
    compression::deflate(&body)
}

/// Tells the hooks of a chain what has been stored: each record as it lies in the log, and the messages
/// of an inner batch.
pub(crate) fn after(broker: &Broker, chain: &[Arc<Bound>], records: &[u8]) {
    let parsed = sluice_protocol::message::view::records(records);
    let mut parsed: Vec<_> = parsed.flatten().collect();
    let packed = parsed
        .first()
        .filter(|record| inner_batch::is_packed(record));
    let apart = packed.and_then(|record| inner_batch::unwrap(record).ok());
    let apart = apart.unwrap_or_default();
    if !apart.is_empty() {
        parsed = apart
            .iter()
            .flat_map(|bytes| Record::parse(bytes))
            .collect();
    }
    let rows: Vec<Row<'_>> = parsed.iter().map(Row::from).collect();
    for bound in chain {
        for rows in rows.chunks(sluice_plugins::filter::BLOCK_ROWS_MAX) {
            bound.after(rows, broker.now_ms());
        }
    }
}
