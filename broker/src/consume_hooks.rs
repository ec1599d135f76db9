//! Consume hooks: what plugins redact, annotate or keep back of messages on their way to a group.

use std::sync::Arc;

use bytes::Bytes;
use sluice_plugins::filter::BLOCK_ROWS_MAX;
use sluice_plugins::hooks::{Edit, Edits, NoAnswer};
use sluice_plugins::{Bound, Policy, Row, World};
use sluice_protocol::message::record::assign;
use sluice_protocol::message::{
    Record, RecordError, RecordFields, compression, properties, sys_flag,
};
use sluice_protocol::topic;

use crate::Broker;
use crate::pop::names;

/// What the hooks leave of an answer.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    /// Records, changed or as they lie in the log.
    pub(crate) records: Vec<Bytes>,
    /// Where the group waits, if a hook makes it: the offset of the first record not given.
    pub(crate) held_at: Option<i64>,
    /// Records for the dead letters, and why.
    pub(crate) dead: Vec<(Bytes, String)>,
}

/// Whether any hook is bound to what a group pulls.
pub(crate) fn has_any(broker: &Broker, pulled: &str) -> bool {
    // A retry topic holds messages of any topic of the group.
    broker.plugins.has(World::ConsumeHook, pulled)
        || (pulled.starts_with(topic::RETRY_PREFIX) && broker.plugins.has_any(World::ConsumeHook))
}

/// Whether any hook that a group's read of a topic may call has lately been slow.
pub(crate) fn is_slow(broker: &Broker, pulled: &str, group: &str) -> bool {
    let slow = |bound: &Arc<Bound>| bound.is_slow();
    if pulled.starts_with(topic::RETRY_PREFIX) {
        // Its messages are of any topic.
        let all = broker.plugins.chain_of_group(World::ConsumeHook, group);
        return all.iter().any(slow);
    }
    let chain = broker.plugins.chain(World::ConsumeHook, pulled, group);
    chain.iter().any(slow)
}

/// Lets the hooks bound to each message's topic have their say.
pub(crate) fn before(broker: &Broker, group: &str, records: Vec<Bytes>) -> Delivered {
    let mut delivered = Delivered::default();
    let mut rest = records.into_iter().peekable();
    while let Some(first) = rest.next() {
        let topic = topic_of(&first);
        let mut run = vec![first];
        while run.len() < BLOCK_ROWS_MAX
            && let Some(next) = rest.next_if(|next| topic_of(next) == topic)
        {
            run.push(next);
        }
        let chain = broker.plugins.chain(World::ConsumeHook, &topic, group);
        pass(&chain, run, &mut delivered);
        if delivered.held_at.is_some() {
            break;
        }
    }
    delivered
}

/// Tells the hooks bound to a message's topic that the group has consumed it or sent it back.
pub(crate) fn after(broker: &Broker, group: &str, record: &Record<'_>) {
    let topic = names::normal_topic(record.topic(), group);
    let topic = record.property(properties::RETRY_TOPIC).unwrap_or(topic);
    for bound in broker.plugins.chain(World::ConsumeHook, topic, group) {
        bound.after(&[record.into()], record.store_timestamp());
    }
}

/// The topic a message was sent to; a retried one lies in another.
fn topic_of(bytes: &Bytes) -> String {
    let Ok(record) = Record::parse(bytes) else {
        return String::new();
    };
    let origin = record.property(properties::RETRY_TOPIC);
    origin.unwrap_or(record.topic()).to_owned()
}

fn pass(chain: &[Arc<Bound>], mut run: Vec<Bytes>, delivered: &mut Delivered) {
    for bound in chain {
        if run.is_empty() {
            return;
        }
        run = pass_one(bound, run, delivered);
    }
    delivered.records.append(&mut run);
}

/// What one hook leaves of a run, up to the message that it holds, if it holds one. When it has no answer,
/// each message is asked about alone, so that a bad one costs itself; a hook that fails again and again
/// is out of the path before long.
fn pass_one(bound: &Bound, run: Vec<Bytes>, delivered: &mut Delivered) -> Vec<Bytes> {
    let mut left = Vec::with_capacity(run.len());
    let mut settle_all = |settled: &mut dyn Iterator<Item = Settled>| {
        for one in settled {
            match one {
                Settled::Given(record) => left.push(record),
                Settled::Kept => {}
                Settled::Dead(record, cause) => delivered.dead.push((record, cause)),
                Settled::Held(offset) => {
                    delivered.held_at = Some(offset);
                    return;
                }
            }
        }
    };
    match ask(bound, &run) {
        Ok(edits) => settle_all(&mut edited(bound, run, edits)),
        Err(_) => settle_all(&mut run.into_iter().map(|record| alone(bound, record))),
    }
    left
}

/// What becomes of a message.
enum Settled {
    /// The group gets it.
    Given(Bytes),
    /// The group does not get it.
    Kept,
    /// It goes to the dead letters, and why.
    Dead(Bytes, String),
    /// The group waits before it, at this offset.
    Held(i64),
}

fn alone(bound: &Bound, record: Bytes) -> Settled {
    let run = [record];
    let asked = ask(bound, &run);
    let [record] = run;
    match asked {
        Ok(edits) => {
            let edits = edits.into_iter().map(|(_, edit)| edit).collect();
            with_edits(bound, record, edits)
        }
        Err(NoAnswer { policy, cause }) => by_policy(policy, &cause, record),
    }
}

/// What the policy makes of a message that a hook has no say about.
fn by_policy(policy: Policy, cause: &str, record: Bytes) -> Settled {
    match policy {
        Policy::Accept => Settled::Given(record),
        Policy::Reject => Settled::Kept,
        Policy::DeadLetter => Settled::Dead(record, cause.to_owned()),
        Policy::Suspend => match Record::parse(&record) {
            Ok(parsed) => Settled::Held(parsed.queue_offset()),
            Err(_) => Settled::Kept,
        },
    }
}

fn ask(bound: &Bound, run: &[Bytes]) -> Result<Edits, NoAnswer> {
    let parsed: Vec<Record<'_>> = run.iter().flat_map(|bytes| Record::parse(bytes)).collect();
    let rows: Vec<Row<'_>> = parsed.iter().map(Row::from).collect();
    let newest = rows.iter().map(|row| row.store_time_ms).max();
    bound.before(&rows, newest.unwrap_or(0))
}

fn edited(bound: &Bound, run: Vec<Bytes>, edits: Edits) -> impl Iterator<Item = Settled> {
    let mut of_rows: Vec<Vec<Edit>> = vec![Vec::new(); run.len()];
    for (row, edit) in edits {
        of_rows[row].push(edit);
    }
    let pairs = run.into_iter().zip(of_rows);
    pairs.map(|(record, edits)| with_edits(bound, record, edits))
}

/// A change that can't be written is no answer: the policy decides, not the message's sender.
fn with_edits(bound: &Bound, record: Bytes, edits: Vec<Edit>) -> Settled {
    match rewritten(&record, edits) {
        Ok(Some(written)) => Settled::Given(written),
        Ok(None) => Settled::Kept,
        Err(error) => {
            let spec = bound.spec();
            tracing::warn!(plugin = spec.plugin, %error, "a consume hook's change can't be written");
            let cause = format!("{}'s change can't be written: {error}", spec.plugin);
            by_policy(spec.policy, &cause, record)
        }
    }
}

/// The record with its edits; `None` when the group is not to have it.
///
/// # Errors
/// With its edits it is no record: its properties are beyond their limit.
fn rewritten(bytes: &Bytes, edits: Vec<Edit>) -> Result<Option<Bytes>, RecordError> {
    if edits.is_empty() {
        return Ok(Some(bytes.clone()));
    }
    let record = Record::parse(bytes)?;
    let mut text = record.properties().to_vec();
    let mut body = None;
    let mut flags = record.sys_flag();
    for edit in edits {
        match edit {
            Edit::Drop => return Ok(None),
            Edit::SetProperty(name, value) => {
                text = properties::without(&text, &[&name]);
                properties::put(&mut text, &name, &value);
            }
            Edit::DeleteProperty(name) => text = properties::without(&text, &[&name]),
            Edit::SetBody(new) if flags & sys_flag::COMPRESSED != 0 => {
                flags = (flags & !sys_flag::COMPRESSION_MASK) | compression::ZLIB_FLAGS;
                body = Some(compression::deflate(&new));
            }
            Edit::SetBody(new) => body = Some(new),
            // Of send hooks alone: nothing to a message that is stored already.
            Edit::Reject(..) | Edit::SetTopic(_) | Edit::SetQueue(_) | Edit::SetDelay(_) => {}
        }
    }
    let fields = RecordFields {
        topic: record.topic(),
        queue_id: record.queue_id(),
        flag: record.flag(),
        sys_flag: flags,
        born_timestamp: record.born_timestamp(),
        born_host: record.born_host(),
        store_host: record.store_host(),
        reconsume_times: record.reconsume_times(),
        prepared_transaction_offset: record.prepared_transaction_offset(),
        body: body.as_deref().unwrap_or(record.body()),
        properties: &text,
    };
    let mut out = Vec::with_capacity(fields.encoded_size());
    fields.encode(&mut out)?;
    assign(
        &mut out,
        record.queue_offset(),
        record.physical_offset(),
        record.store_timestamp(),
    );
    Ok(Some(out.into()))
}
