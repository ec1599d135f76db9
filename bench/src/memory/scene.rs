//! A broker that is filled with things, and the connections over which that is done.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::{request, response};
use sluice_tests::cluster::{Broker, Kind, NameServer};
use sluice_tests::wire::{Wire, command};
use tempfile::TempDir;

use super::held::Held;
use super::registration::Relay;
use crate::flight::fly;
use crate::peer::Peer;

/// Requests in flight while many are made.
const IN_FLIGHT: i32 = 64;
/// How long a registration may be on its way.
const REGISTERED: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);
/// As a broker has them that nobody has tuned.
const SETTINGS: &str = "flushDiskType=ASYNC_FLUSH\nmappedFileSizeCommitLog=1073741824\n";

/// A fresh broker. What it is made of goes in this order.
pub struct Scene {
    /// Over which all is asked that needs no connection of its own.
    pub wire: Wire,
    /// Connections that are things themselves.
    pub peers: Vec<Peer>,
    /// Things made so far.
    pub made: usize,
    /// `host:port` of the broker.
    pub address: String,
    kind: Kind,
    broker: Broker,
    relay: Relay,
    namesrv: NameServer,
    _dir: TempDir,
}

impl Scene {
    /// With nothing in it.
    ///
    /// # Errors
    /// It does not answer.
    pub fn of(kind: Kind) -> Result<Scene> {
        let dir = tempfile::tempdir()?;
        let namesrv = NameServer::start(kind, dir.path(), "");
        let relay = Relay::to(namesrv.address())?;
        let broker = Broker::start(kind, dir.path(), relay.address(), SETTINGS);
        let address = broker.address();
        Ok(Scene {
            wire: Wire::connect(&address)?,
            peers: Vec::new(),
            made: 0,
            address,
            kind,
            broker,
            relay,
            namesrv,
            _dir: dir,
        })
    }

    /// What it holds now.
    ///
    /// # Errors
    /// The broker is gone.
    pub fn held(&self) -> Result<Held> {
        Held::by(self.kind, self.broker.id())
    }

    /// Process id of the broker.
    pub fn pid(&self) -> u32 {
        self.broker.id()
    }

    /// Bytes of the registration that tells the name server of a topic; waits for it.
    ///
    /// # Errors
    /// The name server does not hear of the topic.
    pub fn registration(&self, topic: &str) -> Result<usize> {
        let mut wire = Wire::connect(self.namesrv.address())?;
        let began = Instant::now();
        let route = command(request::GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)], b"");
        while wire.ask(&route)?.code != response::SUCCESS {
            ensure!(began.elapsed() < REGISTERED, "{topic} is not registered");
            thread::sleep(LOOK);
        }
        Ok(self.relay.largest())
    }

    /// Numbers of the next things.
    pub fn next(&mut self, count: usize) -> std::ops::Range<usize> {
        let first = self.made;
        self.made += count;
        first..self.made
    }

    /// Sends all of them, and waits for the success of each.
    ///
    /// # Errors
    /// One is refused.
    pub fn ask_all(
        &mut self,
        requests: impl ExactSizeIterator<Item = RemotingCommand>,
    ) -> Result<()> {
        let count = i32::try_from(requests.len())?;
        let mut requests = requests.fuse();
        let next = || requests.next().expect("as many as there are");
        fly(&mut self.wire, count, IN_FLIGHT, next, |_, _| Ok(()))
    }
}
