//! The user's code, and what it says.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::message::ReceivedMessage;

/// What became of the messages a listener got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConsumeResult {
    /// Done; they will not come again.
    Success,
    /// Not now. A concurrent consumer gets each of them again after a delay that grows with each
    /// delivery; an ordered one stops its queue and gets the same messages again.
    Later,
}

/// `Ok` is success; an error is logged and means later.
impl<E: std::fmt::Display> From<Result<(), E>> for ConsumeResult {
    fn from(result: Result<(), E>) -> Self {
        match result {
            Ok(()) => ConsumeResult::Success,
            Err(error) => {
                tracing::warn!(%error, "listener failed");
                ConsumeResult::Later
            }
        }
    }
}

type Outcome = Pin<Box<dyn Future<Output = ConsumeResult> + Send>>;

/// A listener of any kind.
#[derive(Clone)]
pub(crate) struct Listener(Arc<dyn Fn(Vec<ReceivedMessage>) -> Outcome + Send + Sync>);

/// How a call of a listener ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Consumed {
    pub result: ConsumeResult,
    /// It panicked; the result is then `Later`.
    pub panicked: bool,
    pub took: Duration,
}

impl Listener {
    pub fn of_one<F, Fut, R>(listener: F) -> Self
    where
        F: Fn(ReceivedMessage) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: Into<ConsumeResult>,
    {
        let listener = Arc::new(listener);
        Listener(Arc::new(move |messages| {
            let listener = listener.clone();
            Box::pin(async move {
                for message in messages {
                    if listener(message).await.into() == ConsumeResult::Later {
                        return ConsumeResult::Later;
                    }
                }
                ConsumeResult::Success
            })
        }))
    }

    pub fn of_batch<F, Fut, R>(listener: F) -> Self
    where
        F: Fn(Vec<ReceivedMessage>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: Into<ConsumeResult>,
    {
        Listener(Arc::new(move |messages| {
            let outcome = listener(messages);
            Box::pin(async move { outcome.await.into() })
        }))
    }

    /// Runs the listener; a panic is caught and means later.
    pub async fn call(&self, messages: Vec<ReceivedMessage>) -> Consumed {
        let start = Instant::now();
        let result = match catch_unwind(AssertUnwindSafe(|| (self.0)(messages))) {
            Ok(mut outcome) => {
                let polled = poll_fn(move |cx| {
                    match catch_unwind(AssertUnwindSafe(|| outcome.as_mut().poll(cx))) {
                        Ok(poll) => poll.map(Ok),
                        Err(panic) => std::task::Poll::Ready(Err(panic)),
                    }
                });
                polled.await
            }
            Err(panic) => Err(panic),
        };
        if result.is_err() {
            tracing::error!("the listener panicked, its messages will be delivered again");
        }
        Consumed {
            panicked: result.is_err(),
            result: result.unwrap_or(ConsumeResult::Later),
            took: start.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::message::tests::received;

    fn messages() -> Vec<ReceivedMessage> {
        vec![received("T", 0, &Message::new("T", "x"))]
    }

    #[tokio::test]
    async fn results_and_errors_become_consume_results() {
        let ok = Listener::of_one(|_| async { Ok::<(), String>(()) });
        assert_eq!(ok.call(messages()).await.result, ConsumeResult::Success);
        let failed = Listener::of_batch(|_| async { Err::<(), _>("no") });
        assert_eq!(failed.call(messages()).await.result, ConsumeResult::Later);
    }

    #[tokio::test]
    async fn a_panic_means_later() {
        let at_once = Listener::of_batch(|messages| {
            assert!(messages.is_empty(), "a panic on purpose");
            async { ConsumeResult::Success }
        });
        let in_future = Listener::of_one(|message| async move {
            tokio::task::yield_now().await;
            assert!(message.body().is_empty(), "a panic on purpose");
            ConsumeResult::Success
        });
        for listener in [at_once, in_future] {
            let consumed = listener.call(messages()).await;
            assert_eq!(
                (consumed.result, consumed.panicked),
                (ConsumeResult::Later, true)
            );
        }
    }
}
