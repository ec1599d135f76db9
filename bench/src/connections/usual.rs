//! What a send takes that waits for the one before.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sluice_tests::wire::send;

use crate::flight::succeeded;
use crate::latency::Latencies;
use crate::peer::Peer;

const TOPIC: &str = "DefaultCluster";

/// Latencies of sends of 1 KB, one in flight.
pub struct Usual(Latencies);

impl Usual {
    /// Over one connection, for some time; each has to succeed.
    ///
    /// # Errors
    /// One does not.
    pub fn of(broker: &str, time: Duration) -> Result<Usual> {
        let mut peer = Peer::connect(broker).with_context(|| broker.to_owned())?;
        let request = send(TOPIC, "", &[b'x'; 1024]);
        let mut latencies = Latencies::default();
        let end = Instant::now() + time;
        while Instant::now() < end {
            let began = Instant::now();
            succeeded(&peer.ask(&request).context("no answer")?)?;
            latencies.note(began.elapsed());
        }
        Ok(Usual(latencies))
    }

    /// Microseconds.
    pub fn p99(&self) -> f64 {
        self.0.at(0.99) as f64
    }
}

impl fmt::Display for Usual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} us, {} us", self.0.at(0.5), self.0.at(0.99))
    }
}
