//! The topics of a load: made, and how much has been stored in them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{CreateTopicListRequestBody, TopicConfig};
use sluice_protocol::code::request;
use sluice_protocol::header::GetMaxOffsetRequestHeader;
use sluice_tests::wire::Wire;

use super::Load;
use super::frames::Frames;
use crate::flight::{answer, ask, number, succeeded};
use crate::patched::OPAQUE_BASE;
use crate::sends::now_ms;

/// What is stored is looked at again after this long.
const LOOK: Duration = Duration::from_millis(10);
/// It stands still when nothing has come for so long.
const STILL: Duration = Duration::from_millis(500);
/// Longest that a broker may go on with what was sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes them: one alone by its first message, several by one request.
///
/// # Errors
/// The broker can't be reached, or refuses.
pub fn make(load: &Load) -> Result<()> {
    let mut wire =
        Wire::connect(&load.broker).with_context(|| format!("no connection to {}", load.broker))?;
    if load.topics > 1 {
        create(&mut wire, load)?;
        return Ok(());
    }
    let first = Load {
        one_way: false,
        ..load.clone()
    };
    Frames::new(&first, u64::MAX).put(OPAQUE_BASE, now_ms(), &mut wire.out);
    wire.flush()?;
    succeeded(&answer(&mut wire)?).context("the first message")?;
    Ok(())
}

fn create(wire: &mut Wire, load: &Load) -> Result<()> {
    let topic = |number| TopicConfig {
        topic_name: load.topic_name(number),
        read_queue_nums: load.queues,
        write_queue_nums: load.queues,
        ..TopicConfig::default()
    };
    let list = CreateTopicListRequestBody {
        topic_config_list: (0..load.topics).map(topic).collect(),
    };
    let create = RemotingCommand::request(request::UPDATE_AND_CREATE_TOPIC_LIST, 0)
        .with_body(serde_json::to_vec(&list)?);
    ask(wire, &create).with_context(|| format!("{} topics", load.topics))?;
    Ok(())
}

/// How many messages the topics of a load have had.
///
/// # Errors
/// The broker does not say.
pub fn stored(wire: &mut Wire, load: &Load) -> Result<u64> {
    let mut sum = 0;
    for topic in 0..load.topics {
        let ends = ends(wire, &load.topic_name(topic), load.queues)?;
        sum += u64::try_from(ends.iter().sum::<i64>())?;
    }
    Ok(sum)
}

/// How many messages each queue of a topic has had.
///
/// # Errors
/// The broker does not say.
fn ends(wire: &mut Wire, topic: &str, queues: i32) -> Result<Vec<i64>> {
    (0..queues).map(|queue| end(wire, topic, queue)).collect()
}

/// How many messages a queue has had; none if there is no such queue.
///
/// # Errors
/// The broker does not say.
pub fn end(wire: &mut Wire, topic: &str, queue_id: i32) -> Result<i64> {
    let topic = topic.into();
    let mut look = RemotingCommand::request(request::GET_MAX_OFFSET, 0);
    GetMaxOffsetRequestHeader { topic, queue_id }.encode(&mut look.ext);
    number(&ask(wire, &look)?, "offset")
}

/// Waits until a look at what is stored shows no more for [`STILL`]: what it showed, and when the last came.
///
/// # Errors
/// The broker does not say, or it goes on for longer than [`PATIENCE`].
fn in_the_end<T: PartialEq>(mut look: impl FnMut() -> Result<T>) -> Result<(T, Instant)> {
    let began = Instant::now();
    let (mut seen, mut since) = (look()?, Instant::now());
    while since.elapsed() < STILL {
        ensure!(began.elapsed() < PATIENCE, "messages come without end");
        thread::sleep(LOOK);
        let now = look()?;
        if now != seen {
            (seen, since) = (now, Instant::now());
        }
    }
    Ok((seen, since))
}

/// How many messages the topics of a load have had when no more come, and when the last came.
///
/// # Errors
/// The broker does not say, or they come without end.
pub fn stored_in_the_end(wire: &mut Wire, load: &Load) -> Result<(u64, Instant)> {
    in_the_end(|| stored(wire, load))
}

/// How many messages each queue of a topic has had when no more come.
///
/// # Errors
/// The broker does not say, or they come without end.
pub fn ends_in_the_end(wire: &mut Wire, topic: &str, queues: i32) -> Result<Vec<i64>> {
    Ok(in_the_end(|| ends(wire, topic, queues))?.0)
}
