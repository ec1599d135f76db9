//! Work off the connections' tasks: what may wait for a disk (key queries, cold reads, listings), and
//! calls of slow plugins, uploads.
//!
//! Each kind is bounded twice: so many threads work at a time, and so many requests wait for one. What comes
//! beyond is refused by name, so that one client's queries can't take the machine.

use std::sync::Arc;

use sluice_remoting::Responder;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Broker;
use crate::error::Refusal;

/// Threads that wait for a disk at a time.
const DISK_THREADS: usize = 16;
/// Requests that work or wait, of clients, of each kind.
const PLACES: usize = 2_048;
/// Threads that answer operators at a time.
const OPERATORS_THREADS: usize = 4;
/// Requests of operators that work or wait.
const OPERATORS: usize = 128;
/// Uploads that are compiled or wait, each with its module in memory.
const UPLOADS: usize = 16;

/// Who may work aside.
#[derive(Debug)]
pub(crate) struct Aside {
    threads: Arc<Semaphore>,
    places: Arc<Semaphore>,
    places_max: usize,
    /// What the work waits for, to be told when there is no place.
    waits_for: &'static str,
}

impl Aside {
    /// For work that reads a disk.
    pub(crate) fn for_disks() -> Self {
        Aside::new(DISK_THREADS, PLACES, "that read from disk")
    }

    /// For calls of slow plugins: as many at a time as there are cores, and two at least, so that
    /// one endless one leaves a place.
    pub(crate) fn for_plugins() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Aside::new(cores.max(2), PLACES, "whose plugins are slow")
    }

    /// For what operators ask for over HTTP: lists go through much, and must leave threads to clients.
    pub(crate) fn for_operators() -> Self {
        Aside::new(OPERATORS_THREADS, OPERATORS, "of operators")
    }

    /// For uploads of plugins: one compiler works at a time.
    pub(crate) fn for_uploads() -> Self {
        Aside::new(1, UPLOADS, "that upload a plugin")
    }

    fn new(threads: usize, places_max: usize, waits_for: &'static str) -> Self {
        Aside {
            threads: Arc::new(Semaphore::new(threads)),
            places: Arc::new(Semaphore::new(places_max)),
            places_max,
            waits_for,
        }
    }

    fn take_place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.places.clone().try_acquire_owned().map_err(|_| {
            Refusal::Busy(format!(
                "{} requests {} are waiting already, try again later",
                self.places_max, self.waits_for
            ))
        })
    }

    /// Does `work` on a thread that may wait, when one is free.
    ///
    /// # Errors
    /// All places are taken, or the work panicked.
    pub(crate) async fn done<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = self.take_place()?;
        let thread = self.threads.clone().acquire_owned().await;
        // Whoever asked may be gone before the work ends: the places are the work's.
        let work = move || {
            let _held = (place, thread);
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|cause| {
            tracing::error!(%cause, "work aside panicked");
            Refusal::System("it failed for a reason that the broker's log tells".to_owned())
        })
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

    /// As [`Broker::aside`], among the places of uploads.
    pub(crate) fn aside_for_uploads<T: Into<Responder> + Send + 'static>(
        self: &Arc<Self>,
        request: T,
        work: impl FnOnce(&Arc<Broker>, T) + Send + 'static,
    ) {
        self.on(&self.aside_for_uploads, request, work);
    }

    fn on<T: Into<Responder> + Send + 'static>(
        self: &Arc<Self>,
        aside: &Aside,
        request: T,
        work: impl FnOnce(&Arc<Broker>, T) + Send + 'static,
    ) {
        let place = match aside.take_place() {
            Ok(place) => place,
            Err(busy) => return self.refuse(request.into(), busy),
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
