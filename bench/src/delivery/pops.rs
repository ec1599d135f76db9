//! POP, and an ack for each message.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::{request, response};
use sluice_protocol::header::{
    AckMessageRequestHeader, PopMessageRequestHeader, PopMessageResponseHeader,
};
use sluice_protocol::message::{Record, view};
use sluice_tests::wire::Wire;

use super::topics::{Backlog, end, join, number_of};
use super::{Figures, Meter, PATIENCE, Subject, figures};
use crate::flight::{answer, succeeded};
use crate::sends::now_ms;

/// Connections that pop; each sends its acks together with its next pop.
const POPPERS: usize = 4;
/// Clients ask for a minute. With less, brokers are through with a message's acks within the measurement.
const INVISIBLE_MS: i64 = 10_000;
/// How long a pop waits for messages, milliseconds.
const POLL_MS: i64 = 1_000;
/// Within this time after its invisible time is over, a message that was not acked has come back.
const COME_BACK: Duration = Duration::from_secs(5);
/// Opaque of pops; acks have lower ones.
const POP: i32 = i32::MAX;

/// A new group pops the backlog; until all is acked.
pub fn acked(subject: &mut Subject<'_>, round: usize) -> Result<Vec<Figures>> {
    let count = subject.wanted.messages;
    let group = format!("poppers-{round}");
    let mut poppers = Vec::new();
    for id in 0..POPPERS {
        let mut wire = Wire::connect(&subject.address)?;
        join(&mut wire, &group, &format!("bench@{id}"), Backlog::TOPIC)?;
        poppers.push(wire);
    }
    let (done, all_acked) = mpsc::channel();
    let left = Arc::new(AtomicI32::new(count));

    let meter = Meter::start(subject.pid)?;
    let poppers: Vec<_> = poppers
        .into_iter()
        .map(|wire| {
            let popper = Popper {
                wire,
                group: group.clone(),
                left: left.clone(),
                done: done.clone(),
                taken: Vec::new(),
            };
            thread::spawn(move || popper.run())
        })
        .collect();
    drop(done);
    // Without an end, a popper says why.
    let done = all_acked.recv().ok().map(|()| figures(&meter, count));

    let mut taken = Vec::new();
    for popper in poppers {
        let one = popper.join().map_err(|_| anyhow!("a popper panicked"))?;
        taken.extend(one?);
    }
    let different: BTreeSet<i32> = taken.iter().copied().collect();
    ensure!(
        taken.len() == different.len() && Ok(taken.len()) == usize::try_from(count),
        "{} messages popped, {} different ones, of {count}",
        taken.len(),
        different.len()
    );
    subject.popped.push(group);
    Ok(vec![done.context("no end")??])
}

/// When all invisible times are over, nothing of what was popped has come back.
pub fn nothing_comes_back(subject: &mut Subject<'_>) -> Result<()> {
    if subject.popped.is_empty() {
        return Ok(());
    }
    thread::sleep(Duration::from_millis(INVISIBLE_MS as u64) + COME_BACK);
    for group in &subject.popped {
        let retries = format!("%RETRY%{group}_{}", Backlog::TOPIC);
        let back = end(&mut subject.wire, &retries, 0)?;
        ensure!(back == 0, "{back} acked messages in {retries}");
    }
    Ok(())
}

/// One connection that pops and acks.
struct Popper {
    wire: Wire,
    group: String,
    /// Messages that nobody has acked yet.
    left: Arc<AtomicI32>,
    /// Told when there are none.
    done: Sender<()>,
    /// Numbers of the messages it got.
    taken: Vec<i32>,
}

impl Popper {
    fn run(mut self) -> Result<Vec<i32>> {
        let (began, mut acks) = (Instant::now(), Vec::new());
        while self.left.load(Ordering::Relaxed) > 0 {
            ensure!(began.elapsed() < PATIENCE, "not popped in {PATIENCE:?}");
            let popped = self.exchange(&acks)?;
            acks = match popped.code {
                response::POLLING_TIMEOUT | response::PULL_NOT_FOUND => Vec::new(),
                _ => self.take(succeeded(&popped)?)?,
            };
        }
        Ok(self.taken)
    }

    /// Acks and pops; waits for all answers and returns the pop's.
    fn exchange(&mut self, acks: &[RemotingCommand]) -> Result<RemotingCommand> {
        for ack in acks {
            self.wire.out.extend_from_slice(&ack.encode());
        }
        let pop = pop(&self.group).encode();
        self.wire.out.extend_from_slice(&pop);
        self.wire.flush()?;
        let mut popped = None;
        for _ in 0..=acks.len() {
            let answer = answer(&mut self.wire)?;
            if answer.opaque == POP {
                popped = Some(answer);
            } else {
                succeeded(&answer)?;
                self.acked();
            }
        }
        popped.context("no answer to a pop")
    }

    fn acked(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            // Nobody listens only when it all has failed.
            let _ = self.done.send(());
        }
    }

    /// Notes the messages of an answer; their acks.
    fn take(&mut self, popped: &RemotingCommand) -> Result<Vec<RemotingCommand>> {
        let header = PopMessageResponseHeader::decode(&popped.ext)?;
        let starts = header.start_offset_info.as_deref().unwrap_or_default();
        let starts = starts.split(';').map(start).collect::<Result<Vec<_>>>()?;
        let mut acks = Vec::new();
        for record in view::records(&popped.body) {
            let record = record?;
            self.taken.push(number_of(&record)?);
            let queue_id = record.queue_id();
            let start = starts.iter().find(|(queue, _)| *queue == queue_id);
            let (_, start) = start.with_context(|| format!("start of queue {queue_id}"))?;
            let receipt = format!(
                "{start} {} {} {} 0 broker-a {queue_id} {}",
                header.pop_time,
                header.invisible_time,
                header.revive_qid,
                record.queue_offset()
            );
            let opaque = i32::try_from(acks.len())?;
            acks.push(ack(&self.group, opaque, &record, receipt));
        }
        Ok(acks)
    }
}

/// Queue and where the pop began, of one item of `startOffsetInfo`; a retry's is none of ours.
fn start(item: &str) -> Result<(i32, i64)> {
    let parts: Vec<&str> = item.split(' ').collect();
    match parts[..] {
        ["0", queue, start] => Ok((queue.parse()?, start.parse()?)),
        _ => Err(anyhow!("startOffsetInfo {item:?}")),
    }
}

fn pop(group: &str) -> RemotingCommand {
    let header = PopMessageRequestHeader {
        consumer_group: group.into(),
        topic: Backlog::TOPIC.into(),
        queue_id: -1,
        max_msg_nums: 32,
        invisible_time: INVISIBLE_MS,
        poll_time: POLL_MS,
        born_time: now_ms(),
        init_mode: 0,
        exp_type: Some("TAG".into()),
        exp: Some("*".into()),
        order: false,
        attempt_id: None,
    };
    let mut pop = RemotingCommand::request(request::POP_MESSAGE, POP);
    header.encode(&mut pop.ext);
    pop.ext.put("bname", "broker-a");
    pop
}

fn ack(group: &str, opaque: i32, record: &Record<'_>, receipt: String) -> RemotingCommand {
    let header = AckMessageRequestHeader {
        consumer_group: group.into(),
        topic: Backlog::TOPIC.into(),
        queue_id: record.queue_id(),
        extra_info: receipt.into(),
        offset: record.queue_offset(),
    };
    let mut ack = RemotingCommand::request(request::ACK_MESSAGE, opaque);
    header.encode(&mut ack.ext);
    ack.ext.put("bname", "broker-a");
    ack
}
