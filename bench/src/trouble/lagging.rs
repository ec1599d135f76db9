//! A group that is far behind: it reads what lies on the disk alone, as fast as it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sluice_protocol::RemotingCommand;
use sluice_tests::wire::{Wire, pull};

use super::Trouble;
use super::kinds::Lasting;
use crate::flight::number;
use crate::load::{self, Load};
use crate::meter::Meter;
use crate::page_cache;
use crate::subjects::Subject;

const TOPIC: &str = "bench-backlog";
/// Bytes of a body of the backlog.
const BODY: usize = 1024;
const MIB: u64 = 1 << 20;

/// Reads until it is ended, from the beginning again when it has read all.
struct Lagging {
    meter: Meter,
    over: Arc<AtomicBool>,
    reading: JoinHandle<Result<Read>>,
}

/// Makes a backlog, and starts the broker again with nothing of it in memory.
pub fn begin(wanted: &Trouble, subject: &mut Subject) -> Result<Box<dyn Lasting>> {
    let load = Load {
        topic: TOPIC.to_owned(),
        queues: 1,
        body: BODY,
        ..Load::default()
    };
    let count = (wanted.backlog * MIB).div_ceil(BODY as u64);
    load::send_all(&subject.load(&load), count)?;
    // A start may read what was stored since the one before, and the kernel keeps what a process has mapped:
    // the second one finds nothing new.
    subject.restart()?;
    subject.restart()?;
    page_cache::forget(&subject.cluster()?.broker.store().join("commitlog"))?;
    let wire = Wire::connect(&subject.address)?;
    let over = Arc::new(AtomicBool::new(false));
    let mut group = Group {
        wire,
        end: i64::try_from(count)?,
        over: over.clone(),
    };
    let warm_up = Duration::from_secs(wanted.warm_up(subject.which));
    Ok(Box::new(Lagging {
        meter: Meter::start(subject.pid)?,
        over,
        reading: thread::spawn(move || {
            // All of the disk's work falls into the time that counts.
            thread::sleep(warm_up);
            group.read()
        }),
    }))
}

/// What a group has read.
#[derive(Default)]
struct Read {
    bytes: u64,
    /// How long it took to read all for the first time, if it did.
    first: Option<Duration>,
}

struct Group {
    wire: Wire,
    /// Offset behind the last message.
    end: i64,
    over: Arc<AtomicBool>,
}

impl Group {
    fn read(&mut self) -> Result<Read> {
        let (began, mut read) = (Instant::now(), Read::default());
        let mut offset = 0;
        while !self.over.load(Ordering::Relaxed) {
            let answer = self.wire.ask(&pull("lagging", TOPIC, 0, offset))?;
            read.bytes += answer.body.len() as u64;
            let next = next(&answer)?;
            ensure!(next > offset, "{} {}", answer.code, answer.remark());
            offset = if next < self.end { next } else { 0 };
            if offset == 0 {
                read.first.get_or_insert(began.elapsed());
            }
        }
        Ok(read)
    }
}

fn next(answer: &RemotingCommand) -> Result<i64> {
    number(answer, "nextBeginOffset").with_context(|| answer.remark().to_owned())
}

impl Lasting for Lagging {
    fn end(self: Box<Self>) -> Result<String> {
        self.over.store(true, Ordering::Relaxed);
        let from_disk = self.meter.read_from_disk()?;
        let Ok(read) = self.reading.join() else {
            bail!("the reading thread panicked")
        };
        let read = read.context("the lagging group")?;
        ensure!(from_disk > 0, "nothing was read from the disk");
        let first = read.first.map_or_else(String::new, |first| {
            format!(", all of it once within {:.1} s", first.as_secs_f64())
        });
        Ok(format!(
            "{} MiB pulled, {} MiB read from the disk{first}",
            read.bytes / MIB,
            from_disk / MIB
        ))
    }
}
