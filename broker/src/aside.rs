//! Work that may wait for a disk, off the connections' tasks: key queries, cold reads, listings.
//!
//! Bounded twice: so many threads work at a time, and so many requests wait for one. What comes
//! beyond is refused by name, so that one client's queries can't take the machine.

use std::sync::Arc;

use sluice_remoting::Responder;
use tokio::sync::Semaphore;

use crate::Broker;
use crate::error::Refusal;

/// Threads that work at a time.
const THREADS: usize = 16;
/// Requests that work or wait.
const PLACES: usize = 2_048;

/// Who may work aside.
#[derive(Debug)]
pub(crate) struct Aside {
    threads: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

impl Default for Aside {
    fn default() -> Self {
        Aside {
            threads: Arc::new(Semaphore::new(THREADS)),
            places: Arc::new(Semaphore::new(PLACES)),
        }
    }
}

impl Broker {
    /// Does `work` for a request on a thread that may wait. A panic costs the one request.
    pub(crate) fn aside<T: Into<Responder> + Send + 'static>(
        self: &Arc<Self>,
        request: T,
        work: impl FnOnce(&Arc<Broker>, T) + Send + 'static,
    ) {
        let Ok(place) = self.aside.places.clone().try_acquire_owned() else {
            return self.refuse(
                request.into(),
                Refusal::Busy(format!(
                    "{PLACES} requests that read from disk are waiting already, try again later"
                )),
            );
        };
        let broker = self.clone();
        tokio::spawn(async move {
            let Ok(_thread) = broker.aside.threads.clone().acquire_owned().await else {
                return;
            };
            let worker = broker.clone();
            let done = tokio::task::spawn_blocking(move || work(&worker, request)).await;
            drop(place);
            if let Err(cause) = done {
                tracing::error!(%cause, "work aside panicked");
            }
        });
    }
}
