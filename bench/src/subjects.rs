//! The brokers that are measured: Java's, Sluice, and the floor, each alone on a fresh directory.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};
use sluice_tests::cluster::{Cluster, Kind, More};

use crate::figures::Figures;
use crate::floor::Floor;
use crate::load::{self, Load};
use crate::process::resident;

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The Java broker.
    Java,
    /// Sluice.
    Sluice,
    /// The server that decides nothing.
    Floor,
}

/// A running broker.
pub struct Subject {
    /// Which it is.
    pub which: Which,
    /// `host:port`.
    pub address: String,
    /// Its process.
    pub pid: u32,
    process: Process,
}

enum Process {
    Cluster(Box<Cluster>),
    /// Held for its end.
    Floor(#[expect(dead_code)] Floor),
}

impl Subject {
    /// Starts it; `settings` are lines of a broker's property file. CommitLog files have 1 GiB.
    ///
    /// # Errors
    /// The floor can't be run.
    pub fn start(which: Which, settings: &str) -> Result<Subject> {
        let kind = match which {
            Which::Java => Kind::Java,
            Which::Sluice => Kind::Sluice,
            Which::Floor => return Subject::floor(),
        };
        let more = More {
            broker: &format!("mappedFileSizeCommitLog=1073741824\n{settings}\n"),
            ..More::default()
        };
        let cluster = Cluster::start_with(kind, more);
        Ok(Subject {
            which,
            address: cluster.broker.address(),
            pid: cluster.broker.id(),
            process: Process::Cluster(Box::new(cluster)),
        })
    }

    fn floor() -> Result<Subject> {
        let floor = Floor::start()?;
        Ok(Subject {
            which: Which::Floor,
            address: floor.address().to_owned(),
            pid: floor.id(),
            process: Process::Floor(floor),
        })
    }

    /// Its name server and broker.
    ///
    /// # Errors
    /// It is the floor.
    pub fn cluster(&mut self) -> Result<&mut Cluster> {
        match &mut self.process {
            Process::Cluster(cluster) => Ok(cluster),
            Process::Floor(_) => bail!("the floor is no broker"),
        }
    }

    /// A directory on the disk that it writes to.
    pub fn dir(&self) -> PathBuf {
        match &self.process {
            Process::Cluster(cluster) => cluster.dir().to_owned(),
            Process::Floor(_) => env::temp_dir(),
        }
    }

    /// Stops its broker as an operator does, and starts it again on its store.
    ///
    /// # Errors
    /// It is the floor.
    pub fn restart(&mut self) -> Result<()> {
        let kind = match self.which {
            Which::Java => Kind::Java,
            _ => Kind::Sluice,
        };
        let broker = &mut self.cluster()?.broker;
        broker.terminate();
        broker.start_again(kind);
        self.pid = broker.id();
        Ok(())
    }

    /// A load against it.
    pub fn load(&self, load: &Load) -> Load {
        Load {
            broker: self.address.clone(),
            pid: Some(self.pid),
            ..load.clone()
        }
    }

    /// Sends for so many seconds, of which nothing is counted: a JVM needs some 10.
    ///
    /// # Errors
    /// The load does not run.
    pub fn warm_up(&self, seconds: u64) -> Result<()> {
        load::run(&self.load(&Load {
            topic: "warm-up".to_owned(),
            seconds,
            warm_up: 0,
            ..Load::default()
        }))?;
        Ok(())
    }

    /// What a load shows.
    ///
    /// # Errors
    /// The load does not run.
    pub fn measure(&self, load: &Load) -> Result<Figures> {
        let outcome = load::run(&self.load(load))?;
        let memory = resident(self.pid)?;
        Ok(Figures {
            resident: Some(memory.anonymous as f64),
            ..Figures::of(&outcome)?
        })
    }
}
