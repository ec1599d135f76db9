//! Answers requests; owns topics, groups, offsets and long polls.
//!
//! A request comes in at [`dispatch`], which is one match on its code, goes to one function of
//! [`handlers`], and from there to the store. Background work is a closed set: see [`start`].

mod aside;
mod background;
pub mod changes;
pub mod clients;
pub mod config;
mod config_file;
mod consume_hooks;
mod copies;
#[cfg(test)]
mod crash_model;
mod dead_letters;
mod deferral;
mod delay_levels;
pub mod dispatch;
pub mod error;
mod expressions;
mod filtering;
mod group_lag;
mod group_view;
pub mod groups;
pub mod handlers;
mod http;
pub mod locks;
pub mod long_poll;
mod message_life;
pub mod offsets;
mod plugin_strategy;
mod pop;
mod pullers;
mod registration;
pub mod request_modes;
mod retries;
mod routes;
mod send_hooks;
mod shares;
pub mod start;
pub mod stats;
mod timer;
mod topic_attributes;
pub mod topics;
mod transactions;
mod unique_id;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sluice_plugins::Host;
use sluice_protocol::body::SubscriptionGroupConfig;
use sluice_protocol::code::response;
use sluice_protocol::{ExtFields, RemotingCommand, fastjson};
use sluice_remoting::Responder;
use sluice_store::{FlushMode, QueueBounds, Store};

pub use config::BrokerConfig;
pub use error::BrokerError;
pub use start::RunningBroker;

use crate::aside::Aside;
use crate::changes::Changes;
use crate::clients::{Consumers, Producers};
use crate::dead_letters::DeadLetters;
use crate::delay_levels::DelayLevels;
use crate::error::Refusal;
use crate::expressions::Expressions;
use crate::groups::Groups;
use crate::locks::QueueLocks;
use crate::long_poll::LongPoll;
use crate::offsets::Offsets;
use crate::pop::Pop;
use crate::pullers::Pullers;
use crate::registration::Registration;
use crate::request_modes::RequestModes;
use crate::routes::Routes;
use crate::stats::Stats;
use crate::timer::Timer;
use crate::topics::Topics;
use crate::transactions::Transactions;
use crate::unique_id::UniqueIds;

/// Everything a handler needs.
pub struct Broker {
    config: RwLock<Arc<BrokerConfig>>,
    /// The file the settings were read from, if they were.
    pub(crate) config_file: Option<PathBuf>,
    store_host: SocketAddr,
    /// `subscriptionConflict=EACH`, which is decided at the start.
    pub(crate) serves_each: bool,
    pub(crate) store: Arc<Store>,
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: Groups,
    pub(crate) request_modes: RequestModes,
    pub(crate) offsets: Offsets,
    pub(crate) consumers: Consumers,
    pub(crate) producers: Producers,
    pub(crate) locks: QueueLocks,
    pub(crate) pullers: Pullers,
    pub(crate) long_poll: LongPoll,
    pub(crate) pop: Pop,
    pub(crate) aside: Aside,
    pub(crate) aside_for_plugins: Aside,
    pub(crate) aside_for_uploads: Aside,
    pub(crate) aside_for_operators: Aside,
    pub(crate) plugins: Arc<Host>,
    pub(crate) expressions: Expressions,
    pub(crate) dead_letters: DeadLetters,
    pub(crate) delay_levels: DelayLevels,
    pub(crate) transactions: Transactions,
    /// `None` when it is off.
    pub(crate) timer: Option<Timer>,
    pub(crate) changes: Arc<Changes>,
    pub(crate) registration: Registration,
    pub(crate) routes: Routes,
    pub(crate) stats: Stats,
    /// Held while a page of metrics is made.
    pub(crate) scraping: Arc<tokio::sync::Mutex<()>>,
    /// Held while an operator has something cleaned.
    pub(crate) cleaning: parking_lot::Mutex<()>,
    pub(crate) unique_ids: UniqueIds,
}

/// Fields, remark and body of a successful answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) ext: ExtFields,
    pub(crate) remark: Option<String>,
    pub(crate) body: Bytes,
    /// Sent behind the body as they lie, uncopied.
    pub(crate) slices: Vec<Bytes>,
}

impl Answer {
    fn field(name: &'static str, value: impl ToString) -> Answer {
        Answer {
            ext: [(name, value.to_string())].into_iter().collect(),
            ..Answer::default()
        }
    }

    fn remark(remark: impl Into<String>) -> Answer {
        Answer {
            remark: Some(remark.into()),
            ..Answer::default()
        }
    }
}

impl Broker {
    /// The settings in force.
    pub fn config(&self) -> Arc<BrokerConfig> {
        self.config.read().clone()
    }

    fn set_config(&self, config: BrokerConfig) {
        *self.config.write() = Arc::new(config);
    }

    /// Unix milliseconds, by the store's clock.
    pub fn now_ms(&self) -> i64 {
        self.store.clock().now_ms()
    }

    /// All plugins.
    pub fn plugins(&self) -> &Arc<Host> {
        &self.plugins
    }

    /// The address in stored messages and their ids.
    pub(crate) fn store_host(&self) -> SocketAddr {
        self.store_host
    }

    /// Bounds of a queue; an unknown one is empty.
    pub(crate) fn bounds(&self, topic: &str, queue_id: i32) -> QueueBounds {
        self.store
            .queue_bounds(topic, queue_id)
            .unwrap_or(QueueBounds { min: 0, max: 0 })
    }

    /// The lowest offset as clients are told it. Of a batch consume queue that never had a message Java
    /// says -1.
    pub(crate) fn told_min(&self, topic: &str, queue_id: i32) -> i64 {
        let is_batch = || self.topics.get(topic).is_some_and(|topic| topic.is_batch());
        match self.store.queue_bounds(topic, queue_id) {
            Some(bounds) => bounds.min,
            None if is_batch() => -1,
            None => 0,
        }
    }

    pub(crate) fn flushes_in_sync(&self) -> bool {
        self.store.config().flush_mode == FlushMode::Sync
    }

    /// The group, created if that is allowed; a new one is written in the background.
    pub(crate) fn group_or_create(&self, name: &str) -> Option<Arc<SubscriptionGroupConfig>> {
        let (group, created) = self.groups.get_or_create(name, self.now_ms())?;
        if created {
            self.changes.note_group();
        }
        Some(group)
    }

    /// Refuses a request; the one place where a refusal becomes a response.
    pub(crate) fn refuse(&self, responder: Responder, refusal: impl Into<Refusal>) {
        let refusal = refusal.into();
        tracing::debug!(peer = %responder.connection().peer(), %refusal, "request refused");
        responder.refuse(refusal.code(), refusal.to_string());
    }

    /// Answers with what `work` says, at once.
    pub(crate) fn reply(
        &self,
        responder: Responder,
        work: impl FnOnce() -> Result<Answer, Refusal>,
    ) {
        match work() {
            Ok(answer) => {
                let mut response = responder.response(response::SUCCESS);
                response.ext = answer.ext;
                response.remark = answer.remark.map(Into::into);
                response.body = answer.body;
                responder.answer_with(response, &answer.slices);
            }
            Err(refusal) => self.refuse(responder, refusal),
        }
    }

    /// Answers with what `work` says, off the connection's task: it may read a disk.
    pub(crate) fn reply_aside(
        self: &Arc<Self>,
        responder: Responder,
        work: impl FnOnce(&Arc<Broker>) -> Result<Answer, Refusal> + Send + 'static,
    ) {
        self.aside(responder, |broker, responder| {
            broker.reply(responder, || work(broker))
        });
    }

    /// Answers with what `work` says, when changes of topics and groups made by it are written and
    /// registered; while they can't be written, says so.
    pub(crate) fn reply_settled(
        self: &Arc<Self>,
        responder: Responder,
        work: impl FnOnce() -> Result<Answer, Refusal>,
    ) {
        let answer = match work() {
            Ok(answer) => answer,
            Err(refusal) => return self.refuse(responder, refusal),
        };
        let broker = self.clone();
        tokio::spawn(async move {
            let settled = broker.changes.settled().await;
            broker.reply(responder, || {
                settled.map(|()| answer).map_err(Refusal::from)
            });
        });
    }

    pub(crate) fn body<T: DeserializeOwned>(
        &self,
        request: &RemotingCommand,
    ) -> Result<T, Refusal> {
        fastjson::from_slice(&request.body).map_err(|error| Refusal::Body(error.to_string()))
    }

    pub(crate) fn json(&self, body: &impl Serialize) -> Result<Answer, Refusal> {
        let body = fastjson::to_vec(body).map_err(|error| Refusal::System(error.to_string()))?;
        Ok(Answer {
            body: body.into(),
            ..Answer::default()
        })
    }
}
