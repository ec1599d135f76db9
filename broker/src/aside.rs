//! Work off the connections' tasks: what may wait for a disk (key queries, cold reads, listings), and
//! calls of slow plugins.
//!
//! Each kind is bounded twice: so many threads work at a time, and so many requests wait for one. What comes
//! beyond is refused by name, so that one client's queries can't take the machine.

use std::sync::Arc;

use sluice_remoting::Responder;
use tokio::sync::Semaphore;

use crate::Broker;
use crate::error::Refusal;

/// Threads that wait for a disk at a time.
const DISK_THREADS: usize = 16;
/// Requests that work or wait, of each kind.
const PLACES: usize = 2_048;

/// Who may work aside.
#[derive(Debug)]
pub(crate) struct Aside {
    threads: Arc<Semaphore>,
    places: Arc<Semaphore>,
    /// What the work waits for, to be told when there is no place.
    waits_for: &'static str,
}

impl Aside {
    /// For work that reads a disk.
    pub(crate) fn for_disks() -> Self {
        Aside::new(DISK_THREADS, "that read from disk")
    }

    /// For calls of slow plugins: as many at a time as there are cores, and two at least, so that
    /// one endless one leaves a place.
    pub(crate) fn for_plugins() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Aside::new(cores.max(2), "whose plugins are slow")
    }

    fn new(threads: usize, waits_for: &'static str) -> Self {
        Aside {
            threads: Arc::new(Semaphore::new(threads)),
            places: Arc::new(Semaphore::new(PLACES)),
            waits_for,
        }
    }
}

impl Broker {
    /// Does `work` for a request on a thread that may wait for a disk. A panic costs the one request.
    pub(crate) fn aside<T: Into<Responder> + Send + 'static>(
        self: &Arc<Self>,
        request: T,
        work: impl FnOnce(&Arc<Broker>, T) + Send + 'static,
    ) {
        self.on(&self.aside, request, work);
    }

    /// As [`Broker::aside`], among the threads that slow plugins may take.
    pub(crate) fn aside_for_plugins<T: Into<Responder> + Send + 'static>(
        self: &Arc<Self>,
        request: T,
        work: impl FnOnce(&Arc<Broker>, T) + Send + 'static,
    ) {
        self.on(&self.aside_for_plugins, request, work);
    }

    fn on<T: Into<Responder> + Send + 'static>(
        self: &Arc<Self>,
        aside: &Aside,
        request: T,
        work: impl FnOnce(&Arc<Broker>, T) + Send + 'static,
    ) {
        let Ok(place) = aside.places.clone().try_acquire_owned() else {
            return self.refuse(
                request.into(),
                Refusal::Busy(format!(
                    "{PLACES} requests {} are waiting already, try again later",
                    aside.waits_for
                )),
            );
        };
        let (broker, threads) = (self.clone(), aside.threads.clone());
        tokio::spawn(async move {
            let Ok(_thread) = threads.acquire_owned().await else {
                return;
            };
            let done = tokio::task::spawn_blocking(move || work(&broker, request)).await;
            drop(place);
            if let Err(cause) = done {
                tracing::error!(%cause, "work aside panicked");
            }
        });
    }
}
