//! INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223): how far the consumers of a group say they are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::body::{GetConsumerStatusBody, QueueOffsets};
use sluice_protocol::code::{request, response};
use sluice_protocol::header::GetConsumerStatusRequestHeader;
use sluice_protocol::{RemotingCommand, fastjson, version};
use sluice_remoting::Responder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::Broker;
use crate::clients::Member;
use crate::error::Refusal;

/// A consumer that has not answered by then is left out, as those are that can't answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Consumers that are asked at a time.
const ASKED_AT_ONCE: usize = 16;
/// Bytes of answers after which nobody else is asked: the whole is one answer, too.
const ANSWERS_MAX: usize = 8 << 20;
/// Requests that are being answered at a time.
static ASKING: Semaphore = Semaphore::const_new(4);

/// Asks one consumer, or all of the group, and tells what each has said.
pub fn get_consumer_status(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let (header, members) = match addressees(broker, &request) {
        Ok(found) => found,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    let Ok(place) = ASKING.try_acquire() else {
        let busy = "consumers are being asked how far they are, try again later";
        return broker.refuse(responder, Refusal::Busy(busy.to_owned()));
    };
    let broker = broker.clone();
    tokio::spawn(async move {
        let _place = place;
        let status = GetConsumerStatusBody {
            consumer_table: ask_all(members, &header).await,
            ..GetConsumerStatusBody::default()
        };
        broker.reply(responder, || broker.json(&status));
    });
}

/// What each has said by its client id.
async fn ask_all(
    members: Vec<Member>,
    header: &GetConsumerStatusRequestHeader,
) -> BTreeMap<String, QueueOffsets> {
    let mut said = BTreeMap::new();
    let mut size = 0;
    for some in members.chunks(ASKED_AT_ONCE) {
        let mut asked = JoinSet::new();
        for member in some {
            asked.spawn(ask(member.clone(), header.clone()));
        }
        for (client_id, bytes, offsets) in asked.join_all().await.into_iter().flatten() {
            size += bytes;
            said.insert(client_id, offsets);
        }
        if size > ANSWERS_MAX {
            break;
        }
    }
    said
}

fn addressees(
    broker: &Broker,
    request: &RemotingCommand,
) -> Result<(GetConsumerStatusRequestHeader, Vec<Member>), Refusal> {
    let header = GetConsumerStatusRequestHeader::decode(&request.ext)?;
    let group = broker.consumers.get(&header.group);
    let mut members = group.map_or(vec![], |group| group.members());
    if members.is_empty() {
        return Err(Refusal::System(format!(
            "No Any Consumer online in the consumer group: [{}]",
            header.group
        )));
    }
    let old = members
        .iter()
        .find(|member| member.version < version::V3_0_7_SNAPSHOT);
    if let Some(old) = old {
        return Err(Refusal::System(format!(
            "the client does not support this feature. version={}",
            version::name(old.version)
        )));
    }
    let only = header.client_addr.as_deref().map(str::trim);
    if let Some(only) = only.filter(|only| !only.is_empty()) {
        members.retain(|member| *member.client_id == *only);
    }
    Ok((header, members))
}

/// A consumer's id, how many bytes it says, and what; `None` if it says nothing that can be read.
async fn ask(
    member: Member,
    header: GetConsumerStatusRequestHeader,
) -> Option<(String, usize, QueueOffsets)> {
    let mut command = RemotingCommand::request(request::GET_CONSUMER_STATUS_FROM_CLIENT, 0);
    let header = GetConsumerStatusRequestHeader {
        client_addr: None,
        ..header
    };
    header.encode(&mut command.ext);
    let answer = member.connection.call(command, ANSWER_TIMEOUT).await.ok()?;
    let size = answer.body.len();
    if answer.code != response::SUCCESS || size > ANSWERS_MAX / ASKED_AT_ONCE {
        return None;
    }
    let said: GetConsumerStatusBody = fastjson::from_slice(&answer.body).ok()?;
    Some((member.client_id, size, said.message_queue_table))
}
