//! Half messages and their commits.

use anyhow::{Context, Result, ensure};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::request;
use sluice_protocol::command::FLAG_ONE_WAY;
use sluice_protocol::header::EndTransactionRequestHeader;
use sluice_protocol::message::{MessageId, properties, sys_flag};

use super::topics::{QUEUES, create, read_back, wait_for};
use super::{Figures, Meter, Subject, figures};
use crate::flight::{fly, number};
use crate::sends::Sends;

/// Each half message is committed as soon as it is answered; until all can be read.
pub fn committed(subject: &mut Subject<'_>, round: usize) -> Result<Vec<Figures>> {
    let (wanted, wire) = (subject.wanted, &mut subject.wire);
    let count = wanted.messages;
    let topic = format!("transactions-{round}");
    create(wire, &topic)?;
    let half = [
        (properties::TRAN_MSG, "true"),
        (properties::PGROUP, "bench"),
    ];
    let mut sends =
        Sends::new(&topic, QUEUES, wanted.body, 0).with(sys_flag::TRANSACTION_PREPARED, &half);

    let meter = Meter::start(subject.pid)?;
    let next = || sends.next();
    fly(wire, count, wanted.in_flight, next, |answer, out| {
        out.extend_from_slice(&commit(&topic, answer)?.encode());
        Ok(())
    })?;
    wait_for(wire, &topic, count)?;
    let done = figures(&meter, count)?;

    read_back(wire, &topic, &sends, |record| {
        ensure!(
            record.sys_flag() & sys_flag::TRANSACTION_MASK == sys_flag::TRANSACTION_COMMIT,
            "sysFlag {} of a committed message",
            record.sys_flag()
        );
        Ok(())
    })?;
    Ok(vec![done])
}

/// One-way, as clients commit.
fn commit(topic: &str, half: &RemotingCommand) -> Result<RemotingCommand> {
    let text = |name: &str| {
        let text = half.ext.get(name);
        text.with_context(|| format!("{name} of a half message"))
    };
    let stored: MessageId = text("msgId")?.parse()?;
    let unique_key = text("transactionId")?;
    let header = EndTransactionRequestHeader {
        topic: Some(topic.into()),
        producer_group: "bench".into(),
        tran_state_table_offset: number(half, "queueOffset")?,
        commit_log_offset: stored.physical_offset,
        commit_or_rollback: sys_flag::TRANSACTION_COMMIT,
        from_transaction_check: false,
        msg_id: unique_key.into(),
        transaction_id: Some(unique_key.into()),
    };
    let mut commit = RemotingCommand::request(request::END_TRANSACTION, half.opaque);
    commit.flag = FLAG_ONE_WAY;
    header.encode(&mut commit.ext);
    commit.ext.put("bname", "broker-a");
    Ok(commit)
}
