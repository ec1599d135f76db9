//! Ends once, whoever asks and whoever stops waiting.

use parking_lot::Mutex;
use tokio::sync::watch;

/// The end of a client: a task of its own, so that a caller who stops waiting does not stop it.
#[derive(Debug)]
pub(crate) struct Ending {
    /// Taken when the end begins; dropped when it is over.
    begin: Mutex<Option<watch::Sender<()>>>,
    over: watch::Receiver<()>,
}

impl Default for Ending {
    fn default() -> Self {
        let (begin, over) = watch::channel(());
        Ending {
            begin: Mutex::new(Some(begin)),
            over,
        }
    }
}

impl Ending {
    pub fn has_begun(&self) -> bool {
        self.begin.lock().is_none()
    }

    /// Does `work` if nobody has begun to, and waits until it is done.
    pub async fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(begun) = self.begin.lock().take() {
            tokio::spawn(async move {
                work.await;
                drop(begun);
            });
        }
        // Nothing is ever sent: this fails when the sender is gone, be it by a panic.
        let _ = self.over.clone().changed().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::Ending;

    #[tokio::test(start_paused = true)]
    async fn goes_on_without_its_caller_and_is_done_once() {
        let (ending, may_end) = (Ending::default(), Arc::new(Notify::new()));
        let done = Arc::new(parking_lot::Mutex::new(0));
        let work = || {
            let (may_end, done) = (may_end.clone(), done.clone());
            async move {
                may_end.notified().await;
                *done.lock() += 1;
            }
        };
        assert!(!ending.has_begun());
        let waited = tokio::time::timeout(Duration::from_secs(1), ending.run(work())).await;
        assert!(waited.is_err(), "the end waits for its work");
        assert!(ending.has_begun());
        may_end.notify_one();
        ending.run(work()).await;
        ending.run(work()).await;
        assert_eq!(*done.lock(), 1);
    }

    #[tokio::test]
    async fn a_panic_is_an_end_too() {
        let ending = Ending::default();
        ending.run(async { panic!("on purpose") }).await;
    }
}
