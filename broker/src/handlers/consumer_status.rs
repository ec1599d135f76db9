//! INVOKE_BROKER_TO_GET_CONSUMER_STATUS (223): how far the consumers of a group say they are.

use std::sync::Arc;
use std::time::Duration;

use sluice_protocol::body::{GetConsumerStatusBody, QueueOffsets};
use sluice_protocol::code::{request, response};
use sluice_protocol::header::GetConsumerStatusRequestHeader;
use sluice_protocol::{RemotingCommand, fastjson, version};
use sluice_remoting::Responder;
use tokio::task::JoinSet;

use crate::Broker;
use crate::clients::Member;
use crate::error::Refusal;

/// A consumer that has not answered by then is left out, as those are that can't answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks one consumer, or all of the group, and tells what each has said.
pub fn get_consumer_status(broker: &Arc<Broker>, request: RemotingCommand, responder: Responder) {
    let (header, members) = match addressees(broker, &request) {
        Ok(found) => found,
        Err(refusal) => return broker.refuse(responder, refusal),
    };
    let broker = broker.clone();
    tokio::spawn(async move {
        let mut asked = JoinSet::new();
        for member in members {
            asked.spawn(ask(member, header.clone()));
        }
        let said = asked.join_all().await.into_iter().flatten();
        let status = GetConsumerStatusBody {
            consumer_table: said.collect(),
            ..GetConsumerStatusBody::default()
        };
        broker.reply(responder, || broker.json(&status));
    });
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

/// A consumer's id and what it says; `None` if it says nothing that can be read.
async fn ask(
    member: Member,
    header: GetConsumerStatusRequestHeader,
) -> Option<(String, QueueOffsets)> {
    let mut command = RemotingCommand::request(request::GET_CONSUMER_STATUS_FROM_CLIENT, 0);
    let header = GetConsumerStatusRequestHeader {
        client_addr: None,
        ..header
    };
    header.encode(&mut command.ext);
    let answer = member.connection.call(command, ANSWER_TIMEOUT).await.ok()?;
    if answer.code != response::SUCCESS {
        return None;
    }
    let said: GetConsumerStatusBody = fastjson::from_slice(&answer.body).ok()?;
    Some((member.client_id.to_string(), said.message_queue_table))
}
