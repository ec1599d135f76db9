//! Starting and stopping a broker.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::RwLock;
use sluice_plugins::{Compile, Host};
use sluice_protocol::topic::{RETRY_PREFIX, SCHEDULE_TOPIC};
use sluice_remoting::{Listener, Server};
use sluice_store::{Arrival, ArrivalListener, Environment, QueueType, Store};
use tokio::task::JoinHandle;

use crate::aside::Aside;
use crate::changes::Changes;
use crate::clients::{Consumers, Producers};
use crate::config::SubscriptionConflict;
use crate::config_file::{self, ConfigFile};
use crate::dead_letters::{DeadLetters, Marks};
use crate::delay_levels::DelayLevels;
use crate::dispatch::Dispatch;
use crate::expressions::Expressions;
use crate::groups::Groups;
use crate::http::Http;
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
use crate::topic_attributes::is_compacted;
use crate::topics::{self, Topics};
use crate::transactions::Transactions;
use crate::unique_id::UniqueIds;
use crate::{Broker, BrokerConfig, BrokerError, background};

/// A broker that serves. Call [`RunningBroker::shutdown`] to end it in order.
pub struct RunningBroker {
    broker: Arc<Broker>,
    /// One for each address, the broker's own first.
    servers: Vec<Server>,
    /// Two below each of them, as far as those ports are free.
    fast: Vec<Server>,
    http: Option<Http>,
    exporter: Option<Http>,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for RunningBroker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningBroker")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Opens the store, listens, registers: when this returns, the first send is accepted. Changes
    /// of settings made while it runs are written to `config_file`, if it is a property file.
    /// Uploaded plugins are compiled by `compile`, which should do it in another process.
    ///
    /// # Errors
    /// The store can't be opened (a second broker on the same directory is told who owns it), a
    /// file can't be read, a port can't be listened on.
    pub async fn start(
        config: BrokerConfig,
        config_file: Option<PathBuf>,
        compile: Compile,
    ) -> Result<RunningBroker, BrokerError> {
        Broker::start_in(Environment::system(), config, config_file, compile).await
    }

    /// [`Broker::start`] with the files and the clock of an environment of one's own.
    ///
    /// # Errors
    /// As there.
    pub async fn start_in(
        environment: Environment,
        config: BrokerConfig,
        config_file: Option<PathBuf>,
        compile: Compile,
    ) -> Result<RunningBroker, BrokerError> {
        let mut store_config = config.store();
        let topics = ConfigFile::new(
            &config.store_path_root_dir,
            "topics.json",
            environment.files.clone(),
        );
        let table = topics::table_of(&topics)?;
        let types = table
            .iter()
            .map(|(name, topic)| (name.clone(), QueueType::of(topic)));
        store_config.queue_types = types.collect();
        let compacted = table
            .into_iter()
            .filter(|(_, topic)| is_compacted(&topic.attributes));
        store_config.compacted_topics = Some(compacted.map(|(name, _)| name).collect());
        let opened =
            tokio::task::spawn_blocking(move || Store::open(store_config, environment)).await;
        let store = opened
            .map_err(|error| BrokerError::Config(format!("opening the store failed: {error}")))??;
        // The port is ours from here on, and refuses: asked before offsets are loaded, the broker would have to
        // answer that there are none; and who waited for a slow disk would lose the time of his send.
        let listeners = take_ports(&config)?;
        let addresses: Vec<SocketAddr> = listeners.iter().map(Listener::address).collect();
        let port = addresses[0].port();
        let options = config.server();
        let (broker, woken) = Broker::assemble(config, config_file, store, port, compile)?;
        let watching = broker.clone();
        tokio::task::spawn_blocking(move || watching.watch_arrivals())
            .await
            .map_err(|error| BrokerError::Config(format!("reading queues failed: {error}")))?;
        broker.store.start();
        let recovering = broker.clone();
        let recovered = tokio::task::spawn_blocking(move || {
            recovering.find_delivered()?;
            recovering.recover_pops()?;
            recovering.recover_timer()?;
            // From here on the log tells what the files do not.
            recovering.save_delay_levels()?;
            recovering.save_pops()
        })
        .await;
        recovered.map_err(|error| {
            BrokerError::Config(format!("taking up deliveries again failed: {error}"))
        })??;
        broker.save_all()?;
        let tasks = background::start(&broker, woken);
        let dispatch = Arc::new(Dispatch(Arc::downgrade(&broker)));
        let servers = listeners
            .into_iter()
            .map(|listener| Server::serve(listener, options.clone(), dispatch.clone()))
            .collect::<Result<_, _>>()?;
        let fast = listen_on_fast_ports(&broker, &addresses).await;
        let http = Http::start(&broker).await?;
        let exporter = Http::start_exporter(&broker).await;
        broker.find_name_servers().await;
        broker.register().await;
        Ok(RunningBroker {
            broker,
            servers,
            fast,
            http,
            exporter,
            tasks,
        })
    }

    /// Catches up with what arrived before, and hears of what arrives from now on. Reads a disk.
    pub(crate) fn watch_arrivals(self: &Arc<Self>) {
        self.restore_transactions();
        self.store
            .set_arrival_listener(Arc::new(Arrivals(Arc::downgrade(self))));
    }

    pub(crate) fn assemble(
        config: BrokerConfig,
        config_file: Option<PathBuf>,
        store: Arc<Store>,
        port: u16,
        compile: Compile,
    ) -> Result<
        (
            Arc<Broker>,
            tokio::sync::mpsc::UnboundedReceiver<crate::long_poll::Woken>,
        ),
        BrokerError,
    > {
        config_file::settle(&config.store_path_root_dir, &**store.files())?;
        let file =
            |name: &str| ConfigFile::new(&config.store_path_root_dir, name, store.files().clone());
        let now = store.clock().now_ms();
        let topics = Arc::new(Topics::load(file("topics.json"), &config, now)?);
        let compacted = topics
            .all()
            .into_iter()
            .filter(|(_, topic)| is_compacted(&topic.attributes));
        store.keep_by_key(&compacted.map(|(name, _)| name).collect())?;
        let groups = Groups::load(
            file("subscriptionGroup.json"),
            config.auto_create_subscription_group,
        )?;
        let request_modes = RequestModes::load(file("messageRequestMode.json"))?;
        let offsets = Offsets::load(file("consumerOffset.json"), store.files().clone())?;
        offsets.lower_to(|topic, queue_id| {
            store
                .queue_bounds(topic, queue_id)
                .map_or(0, |bounds| bounds.max)
        });
        let serves_each = config.subscription_conflict == SubscriptionConflict::Each;
        if !serves_each {
            offsets.join_shares();
        }
        let stats = Stats::load(topics.clone(), file("statistics.json"));
        let delay_levels = DelayLevels::new(file("delayOffset.json"));
        let marks = Marks::load(file("deadLetters.json"))?;
        let timer = Timer::open(&config, &store, file("timermetrics"))?;
        let pop = Pop::load(file, store.files().clone())?;
        let host = store_host(&config, port)?;
        let registration = Registration::new(&config, port)?;
        let plugins = Host::open(&config.store_path_root_dir.join("plugins"), compile)?;
        let plugins = Arc::new(plugins);
        let (long_poll, woken) = LongPoll::new();
        let broker = Broker {
            config: RwLock::new(Arc::new(config)),
            config_file: config_file.map(|file| std::path::absolute(&file).unwrap_or(file)),
            store_host: host,
            serves_each,
            store,
            stats,
            scraping: Arc::default(),
            cleaning: parking_lot::Mutex::default(),
            topics,
            groups,
            request_modes,
            offsets,
            consumers: Consumers::default(),
            producers: Producers::default(),
            locks: QueueLocks::default(),
            pullers: Pullers::default(),
            long_poll,
            pop,
            aside: Aside::for_disks(),
            aside_for_plugins: Aside::for_plugins(),
            aside_for_uploads: Aside::for_uploads(),
            aside_for_operators: Aside::for_operators(),
            plugins,
            expressions: Expressions::default(),
            dead_letters: DeadLetters::new(marks),
            delay_levels,
            transactions: Transactions::default(),
            timer,
            changes: Changes::new(),
            registration,
            routes: Routes::default(),
            unique_ids: UniqueIds::new(host, now),
        };
        Ok((Arc::new(broker), woken))
    }

    fn save_all(&self) -> Result<(), BrokerError> {
        self.topics.save()?;
        self.groups.save()?;
        self.offsets.save(self.now_ms())
    }
}

impl RunningBroker {
    /// Where clients reach it.
    pub fn address(&self) -> &str {
        self.broker.registration.broker_address()
    }

    /// Where plugins are administered, if anywhere.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(Http::address)
    }

    /// The broker itself.
    pub fn broker(&self) -> &Arc<Broker> {
        &self.broker
    }

    /// Ends in order: signs off, stops accepting, lets answers leave, writes offsets, flushes and
    /// closes the store.
    ///
    /// # Errors
    /// Something could not be written; the rest was done all the same.
    pub async fn shutdown(self) -> Result<(), BrokerError> {
        let RunningBroker {
            broker,
            servers,
            fast,
            http,
            exporter,
            tasks,
        } = self;
        broker.registration.unregister(&broker.config()).await;
        for server in &servers {
            server.shutdown(Duration::from_secs(1)).await;
        }
        for http in [http, exporter].into_iter().flatten() {
            http.stop().await;
        }
        for server in &fast {
            server.shutdown(Duration::from_secs(1)).await;
        }
        tasks.iter().for_each(JoinHandle::abort);
        let closed = tokio::task::spawn_blocking(move || {
            broker.save_transactions();
            let results = [
                broker.topics.save(),
                broker.groups.save(),
                broker.request_modes.save(),
                broker.save_pops(),
                broker.offsets.close(broker.now_ms()),
                broker.save_delay_levels(),
                broker.stats.save(broker.now_ms()),
                broker.close_timer(),
                broker.plugins.save_state().map_err(BrokerError::from),
                broker.store.shutdown().map_err(BrokerError::from),
            ];
            results.into_iter().collect()
        });
        closed.await.unwrap_or_else(|error| {
            Err(BrokerError::Config(format!(
                "closing the store failed: {error}"
            )))
        })
    }
}

/// Takes every address of `bindAddress`, at one port: where a free one is taken, it is the first's.
fn take_ports(config: &BrokerConfig) -> Result<Vec<Listener>, BrokerError> {
    let mut listeners: Vec<Listener> = Vec::new();
    for mut address in config.bind_addresses() {
        if let Some(first) = listeners.first() {
            address.set_port(first.address().port());
        }
        listeners.push(Listener::bind(address)?);
    }
    if listeners.is_empty() {
        return Err(BrokerError::Config(format!(
            "bindAddress = {:?}: an IP address is expected",
            config.bind_address
        )));
    }
    Ok(listeners)
}

/// `brokerIP1` and the port, as stored in messages and their ids: clients come back to it with an
/// id, so a name is resolved, never replaced by something else.
fn store_host(config: &BrokerConfig, port: u16) -> Result<SocketAddr, BrokerError> {
    let host = config.broker_ip1.trim_matches(['[', ']']);
    let unknown = |why: String| {
        BrokerError::Config(format!(
            "brokerIP1 = {host:?} can't be resolved to an address: {why}"
        ))
    };
    (host, port)
        .to_socket_addrs()
        .map_err(|error| unknown(error.to_string()))?
        .min_by_key(SocketAddr::is_ipv6)
        .ok_or_else(|| unknown("there is none".to_owned()))
}

/// Clients of 4.2.0 age send to two below the port (`listenPort - 2`). It may be taken; nobody else
/// needs it.
async fn listen_on_fast_ports(broker: &Arc<Broker>, addresses: &[SocketAddr]) -> Vec<Server> {
    let mut servers = Vec::new();
    for address in addresses {
        let Some(port) = address.port().checked_sub(2) else {
            continue;
        };
        let handler = Arc::new(Dispatch(Arc::downgrade(broker)));
        let address = SocketAddr::new(address.ip(), port);
        match Server::start(address, broker.config().server(), handler).await {
            Ok(server) => servers.push(server),
            Err(error) => tracing::warn!(%error, "the fast port for old clients is not served"),
        }
    }
    servers
}

/// Tells parked pulls of messages, and transactions of half messages, on the thread that dispatches them.
struct Arrivals(Weak<Broker>);

impl ArrivalListener for Arrivals {
    fn arrived(&self, arrival: &Arrival<'_>) {
        if let Some(broker) = self.0.upgrade() {
            if arrival.topic == SCHEDULE_TOPIC {
                broker.delay_levels.arrived(arrival.tags_code);
            }
            broker.note_half(arrival);
            broker.wake_timer(arrival);
            if arrival.topic.starts_with(RETRY_PREFIX)
                && let Some((topic, group)) = broker.pop.waiting_for(arrival.topic)
            {
                broker.long_poll.wake_pop(&topic, &group);
            }
            broker.long_poll.arrived(
                arrival.topic,
                arrival.queue_id,
                arrival.queue_offset,
                arrival.tags_code,
                arrival.properties,
            );
        }
    }
}
