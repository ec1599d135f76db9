//! The closed set of the broker's background tasks: changes of topics, groups and request modes,
//! registration, name servers, routes, consumer offsets, delayed messages, the timer, pops that come back, woken pulls,
//! transactions, sampling, silent clients, gone shares of groups. The store has its own threads.
//!
//! A round that panics is logged and costs that round: the task goes on.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use sluice_remoting::{CloseReason, panic_text};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::changes::Burst;
use crate::clients::share;
use crate::delay_levels;
use crate::handlers::{pull_message, sessions};
use crate::long_poll::Woken;
use crate::{Broker, BrokerError, timer, transactions};

/// A client that has sent no heartbeat for this long is gone (`channelExpiredTimeout`).
const CLIENT_SILENCE_MAX_MS: i64 = 120_000;
/// Before changes that could not be written are tried again.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

/// Starts them all; none keeps the broker alive.
pub(crate) fn start(broker: &Arc<Broker>, woken: UnboundedReceiver<Woken>) -> Vec<JoinHandle<()>> {
    let config = broker.config();
    let registration = config.register_name_server_period.clamp(10_000, 60_000);
    let name_servers = config.fetch_namesrv_addr_interval.max(1_000);
    let routes = config.load_balance_poll_name_server_interval.max(100);
    let delay_offsets = config.flush_delay_offset_interval.max(100);
    let offsets = config.flush_consumer_offset_interval.max(100);
    vec![
        tokio::spawn(pull_message::wake_parked(Arc::downgrade(broker), woken)),
        tokio::spawn(delay_levels::run(Arc::downgrade(broker))),
        tokio::spawn(timer::run(Arc::downgrade(broker))),
        settle_changes(broker),
        every(broker, "registration", registration, |broker| async move {
            broker.register().await
        }),
        every(broker, "name servers", name_servers, |broker| async move {
            if broker.find_name_servers().await {
                broker.register().await;
            }
        }),
        every(broker, "routes", routes, |broker| async move {
            broker.routes.refresh(&broker.registration).await
        }),
        every(broker, "consumer offsets", offsets, save_offsets),
        every(broker, "delay levels", delay_offsets, save_delay_levels),
        every(broker, "pops", config.revive_interval.max(10), revive),
        every(broker, "state of pops", offsets, save_pops),
        every(broker, "sampling", 1_000, sample_stats),
        every(broker, "counts of days", 60_000, save_stats),
        every(
            broker,
            "transactions",
            transactions::ROUND_MS,
            check_transactions,
        ),
        every(broker, "state of plugins", 5_000, save_plugin_state),
        every(broker, "idle plugins", 60_000, rest_idle_plugins),
        every(broker, "gone shares", 60_000, forget_gone_shares),
        every(broker, "silent clients", 10_000, |broker| async move {
            drop_silent_clients(&broker)
        }),
    ]
}

async fn check_transactions(broker: Arc<Broker>) {
    let checked = tokio::task::spawn_blocking(move || broker.check_transactions()).await;
    if let Err(cause) = checked {
        tracing::error!(%cause, "the check of transactions panicked");
    }
}

async fn save_plugin_state(broker: Arc<Broker>) {
    let saved = tokio::task::spawn_blocking(move || broker.plugins.save_state()).await;
    if let Ok(Err(error)) = saved {
        tracing::error!(%error, "the state of plugins can't be written");
    }
}

/// Freeing an instance returns its memory to the system, which takes its time.
async fn rest_idle_plugins(broker: Arc<Broker>) {
    let rested = tokio::task::spawn_blocking(move || broker.plugins.rest_idle()).await;
    if let Err(cause) = rested {
        tracing::error!(%cause, "freeing idle plugins panicked");
    }
}

/// Does something again and again, first after one period of milliseconds, until the broker is gone.
///
/// What is due at the same moment is done in one waking: an idle broker lets its machine sleep.
fn every<F: Future<Output = ()> + Send + 'static>(
    broker: &Arc<Broker>,
    name: &'static str,
    period_ms: u64,
    work: impl Fn(Arc<Broker>) -> F + Send + 'static,
) -> JoinHandle<()> {
    let broker = Arc::downgrade(broker);
    let period = Duration::from_millis(period_ms);
    let mut rounds = interval_at(Instant::now() + period, period);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Skip);
    tokio::spawn(async move {
        loop {
            rounds.tick().await;
            let Some(broker) = broker.upgrade() else {
                return;
            };
            guarded(name, work(broker)).await;
        }
    })
}

/// Does one round of a task, and logs it if it panics.
async fn guarded(name: &'static str, round: impl Future<Output = ()>) {
    let mut round = pin!(round);
    let caught = poll_fn(|cx| {
        let polled = catch_unwind(AssertUnwindSafe(|| round.as_mut().poll(cx)));
        polled.map_or_else(|cause| Poll::Ready(Err(cause)), |polled| polled.map(Ok))
    });
    if let Err(cause) = caught.await {
        let cause = panic_text(&*cause);
        tracing::error!(task = name, cause, "a background task panicked and goes on");
    }
}

fn settle_changes(broker: &Arc<Broker>) -> JoinHandle<()> {
    let (changes, broker) = (broker.changes.clone(), Arc::downgrade(broker));
    tokio::spawn(async move {
        loop {
            let burst = changes.next().await;
            let Some(broker) = broker.upgrade() else {
                return;
            };
            guarded("changes", async move { broker.settle(burst).await }).await;
        }
    })
}

async fn save_offsets(broker: Arc<Broker>) {
    let saving = broker.clone();
    let saved = tokio::task::spawn_blocking(move || saving.offsets.save(saving.now_ms())).await;
    match saved {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "consumer offsets can't be saved"),
        Err(cause) => tracing::error!(%cause, "saving consumer offsets panicked"),
    }
}

async fn save_delay_levels(broker: Arc<Broker>) {
    let saved = tokio::task::spawn_blocking(move || broker.save_delay_levels()).await;
    match saved {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "progress of delay levels can't be saved"),
        Err(cause) => tracing::error!(%cause, "saving progress of delay levels panicked"),
    }
}

async fn revive(broker: Arc<Broker>) {
    let done = tokio::task::spawn_blocking(move || broker.revive_once()).await;
    if let Err(cause) = done {
        tracing::error!(%cause, "letting messages come back panicked");
    }
}

async fn save_pops(broker: Arc<Broker>) {
    match tokio::task::spawn_blocking(move || broker.save_pops()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the state of pops can't be saved"),
        Err(cause) => tracing::error!(%cause, "saving the state of pops panicked"),
    }
}

/// Every tenth time it goes through all topics and their groups.
async fn save_stats(broker: Arc<Broker>) {
    let saved = tokio::task::spawn_blocking(move || broker.stats.save(broker.now_ms())).await;
    if let Ok(Err(error)) = saved {
        tracing::warn!(%error, "counts of days can't be written");
    }
}

async fn sample_stats(broker: Arc<Broker>) {
    let sampled = tokio::task::spawn_blocking(move || broker.sample_stats()).await;
    if let Err(cause) = sampled {
        tracing::error!(%cause, "sampling panicked");
    }
}

async fn forget_gone_shares(broker: Arc<Broker>) {
    if !broker.serves_each {
        return;
    }
    let done = tokio::task::spawn_blocking(move || broker.forget_gone_shares()).await;
    if let Err(cause) = done {
        tracing::error!(%cause, "forgetting shares panicked");
    }
}

fn drop_silent_clients(broker: &Broker) {
    let now = broker.now_ms();
    for (reader, refused) in broker.locks.forget_expired(now) {
        sessions::tell_clients(broker, share::group_of(&reader), &refused);
    }
    broker.pullers.retain(
        |reader| {
            let group = share::group_of(reader);
            broker.groups.get(group).is_some()
                && (group == reader
                    || broker
                        .offsets
                        .shares_of(group)
                        .iter()
                        .any(|one| one == reader))
        },
        |topic| broker.topics.get(topic).is_some(),
    );
    let since = now - CLIENT_SILENCE_MAX_MS;
    for connection in broker
        .consumers
        .silent_since(since)
        .into_iter()
        .chain(broker.producers.silent_since(since))
    {
        connection.close(CloseReason::Local("no heartbeat for 120 s"));
    }
}

impl Broker {
    /// Asks the address service, if there is one to ask; answers whether others are name servers now.
    pub(crate) async fn find_name_servers(&self) -> bool {
        match self.config().address_service() {
            Some(service) => self.registration.ask_for_name_servers(&service).await,
            None => false,
        }
    }

    /// Registers at all name servers, and takes over which topics are ordered.
    pub(crate) async fn register(&self) {
        let ordered: BTreeMap<String, String> = self
            .registration
            .register(&self.config(), &self.topics)
            .await;
        if self.topics.set_ordered(&ordered, self.now_ms()) {
            self.changes.note_topic();
        }
    }

    /// Writes and registers what a burst has changed. What can't be written stays in force in
    /// memory, is noted again, and nobody is told that it is kept.
    async fn settle(self: &Arc<Self>, burst: Burst) {
        let broker = self.clone();
        let saved = tokio::task::spawn_blocking(move || broker.save_changes(burst)).await;
        let failure = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(cause) => Some(cause.to_string()),
        };
        if burst.topics {
            self.register().await;
        }
        match failure {
            None => self.changes.finish(burst),
            Some(error) => {
                tracing::error!(error, "changes can't be saved, trying again");
                tokio::time::sleep(SAVE_AGAIN).await;
                self.changes.take_back(burst);
            }
        }
    }

    fn save_changes(&self, burst: Burst) -> Result<(), BrokerError> {
        if burst.topics {
            self.topics.save()?;
        }
        if burst.groups {
            self.groups.save()?;
        }
        if burst.request_modes {
            self.request_modes.save()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_round_that_panics_costs_that_round_alone() {
        let mut rounds = 0;
        for _ in 0..2 {
            guarded("on purpose", async {
                rounds += 1;
                tokio::task::yield_now().await;
                panic!("on purpose");
            })
            .await;
        }
        assert_eq!(rounds, 2);
    }
}
