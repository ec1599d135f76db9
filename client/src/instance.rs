//! One client in its cluster: connections, routes, and the heartbeat that keeps it known.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use sluice_allocation::MessageQueue;
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{HeartbeatData, TopicRouteData};
use sluice_protocol::code::{request, response};
use sluice_remoting::tls::TlsClientOptions;
use sluice_remoting::{Client, ClientOptions, CloseReason, Connection, Handler, Responder};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::body;
use crate::error::ClientError;
use crate::name_servers::NameServers;
use crate::route::{Brokers, DEFAULT_TOPIC, as_template, publish_queues};
use crate::{unique_id, validate};

/// Routes are refreshed, and brokers hear of us, this often.
const KEEP_INTERVAL: Duration = Duration::from_secs(30);
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);
/// After a lost connection, before the broker is told again who we are.
const RECONNECT_DELAY: Duration = Duration::from_secs(1);
/// Queues per broker that a topic of ours gets when its first message creates it.
const DEFAULT_TOPIC_QUEUES: i32 = 4;

/// Settings that every kind of client has.
#[derive(Debug, Clone)]
pub(crate) struct Connect {
    pub name_servers: Option<String>,
    pub instance_name: Option<String>,
    pub tls: Option<TlsClientOptions>,
    pub connect_timeout: Duration,
}

impl Default for Connect {
    fn default() -> Self {
        Connect {
            name_servers: None,
            instance_name: None,
            tls: None,
            connect_timeout: Duration::from_secs(3),
        }
    }
}

/// What a producer or consumer does for its instance.
pub(crate) trait Member: Send + Sync + 'static {
    /// What brokers are to know of us; `None` for clients that belong to no group.
    fn heartbeat(&self, client_id: &str) -> Option<HeartbeatData>;
    /// Topics whose routes are kept fresh.
    fn topics(&self) -> Vec<String>;
    /// Whether only masters need to know us.
    fn masters_only(&self) -> bool {
        true
    }
    /// A broker has forgotten and learned us anew, or our group has changed.
    fn group_changed(&self) {}
    /// Answers a broker's request; it runs on the connection's task and must not block.
    fn serve(self: Arc<Self>, request: RemotingCommand, responder: Responder) {
        let _ = request;
        refuse_unknown(responder);
    }
}

pub(crate) fn refuse_unknown(responder: Responder) {
    let code = response::REQUEST_CODE_NOT_SUPPORTED;
    responder.refuse(code, "this client does not serve the request");
}

/// A topic's queues as last heard.
#[derive(Debug)]
pub(crate) struct KnownRoute {
    pub route: TopicRouteData,
    pub publish: Vec<MessageQueue>,
    /// Taken from the template of topics yet to be created.
    is_template: bool,
    /// Whose turn it is among the queues; routes that replace this one go on from here.
    next_turn: AtomicUsize,
}

impl KnownRoute {
    /// Counts up, so that sends take the queues in turn.
    pub fn take_turn(&self) -> usize {
        self.next_turn.fetch_add(1, Ordering::Relaxed)
    }
}

/// One client in its cluster.
pub(crate) struct Instance {
    pub client_id: String,
    pub name_servers: NameServers,
    pub remoting: Client,
    routes: RwLock<HashMap<String, Arc<KnownRoute>>>,
    brokers: RwLock<Brokers>,
    /// Held while a route is being fetched, so that it is fetched once.
    fetching: tokio::sync::Mutex<()>,
    /// Connection over which each broker last heard our heartbeat, by address.
    registered: Mutex<HashMap<String, u64>>,
    registering: tokio::sync::Mutex<()>,
    member: Arc<OnceLock<Weak<dyn Member>>>,
    heartbeat_wanted: Arc<Notify>,
}

/// Serves the brokers' own requests.
struct Callbacks {
    member: Arc<OnceLock<Weak<dyn Member>>>,
    connection_lost: Arc<Notify>,
}

impl Handler for Callbacks {
    fn handle(&self, _: &Arc<Connection>, request: RemotingCommand, responder: Responder) {
        let Some(member) = self.member.get().and_then(Weak::upgrade) else {
            return refuse_unknown(responder);
        };
        if request.code == request::NOTIFY_CONSUMER_IDS_CHANGED {
            member.group_changed();
            return responder.stay_silent();
        }
        member.serve(request, responder);
    }

    fn closed(&self, connection: &Arc<Connection>, reason: &CloseReason) {
        tracing::debug!(peer = %connection.peer(), %reason, "connection closed");
        self.connection_lost.notify_one();
    }
}

impl Instance {
    /// Checks the settings; nothing is dialled yet.
    pub fn new(connect: &Connect, default_name: Option<&str>) -> Result<Arc<Self>, ClientError> {
        validate::setting(
            "connect_timeout",
            connect.connect_timeout,
            Duration::from_millis(1)..=Duration::from_secs(3600),
        )?;
        let name = connect.instance_name.as_deref().or(default_name);
        let name = name.map_or_else(unique_instance_name, str::to_owned);
        let options = ClientOptions {
            connect_timeout: connect.connect_timeout,
            tls: connect.tls.clone(),
            ..ClientOptions::default()
        };
        let (member, heartbeat_wanted) = (Arc::new(OnceLock::new()), Arc::new(Notify::new()));
        let callbacks = Callbacks {
            member: member.clone(),
            connection_lost: heartbeat_wanted.clone(),
        };
        Ok(Arc::new(Instance {
            client_id: format!("{}@{name}", unique_id::local_ip()),
            name_servers: NameServers::find(connect.name_servers.as_deref())?,
            remoting: Client::new(options, Arc::new(callbacks))?,
            routes: RwLock::default(),
            brokers: RwLock::default(),
            fetching: tokio::sync::Mutex::default(),
            registered: Mutex::default(),
            registering: tokio::sync::Mutex::default(),
            member,
            heartbeat_wanted,
        }))
    }

    /// Whose heartbeats are sent and who serves requests; only the first counts.
    pub fn serve(&self, member: Weak<dyn Member>) {
        let _ = self.member.set(member);
    }

    fn member(&self) -> Option<Arc<dyn Member>> {
        self.member.get().and_then(Weak::upgrade)
    }

    // --- routes ---------------------------------------------------------------------------------

    /// The route as last heard; asked for if it was never heard.
    pub async fn route(&self, topic: &str) -> Result<Arc<KnownRoute>, ClientError> {
        if let Some(known) = self.known_route(topic) {
            return Ok(known);
        }
        let _one_at_a_time = self.fetching.lock().await;
        match self.known_route(topic) {
            Some(known) => Ok(known),
            None => self.fetch_route(topic).await,
        }
    }

    /// As [`Instance::route`], but a topic that does not exist yet gets the route it will have.
    pub async fn publish_route(&self, topic: &str) -> Result<Arc<KnownRoute>, ClientError> {
        if let Some(known) = self.known_route(topic) {
            return Ok(known);
        }
        let _one_at_a_time = self.fetching.lock().await;
        if let Some(known) = self.known_route(topic) {
            return Ok(known);
        }
        match self.fetch_route(topic).await {
            Err(ClientError::NoRoute { .. }) => self.fetch_template(topic).await,
            other => other,
        }
    }

    async fn fetch_template(&self, topic: &str) -> Result<Arc<KnownRoute>, ClientError> {
        let template = self.name_servers.route(&self.remoting, DEFAULT_TOPIC).await;
        let template = template.map_err(|error| match error {
            ClientError::NoRoute { .. } => ClientError::NoRoute {
                topic: topic.to_owned(),
            },
            other => other,
        })?;
        Ok(self.remember(topic, as_template(template, DEFAULT_TOPIC_QUEUES), true))
    }

    /// Asks the name servers anew. An error leaves the route that is known as it is.
    pub async fn fetch_route(&self, topic: &str) -> Result<Arc<KnownRoute>, ClientError> {
        let route = self.name_servers.route(&self.remoting, topic).await?;
        Ok(self.remember(topic, route, false))
    }

    pub fn known_route(&self, topic: &str) -> Option<Arc<KnownRoute>> {
        self.routes.read().get(topic).cloned()
    }

    /// Forgets a route that turned out wrong, so that the next use asks for it.
    pub fn forget_route(&self, topic: &str) {
        self.routes.write().remove(topic);
    }

    fn remember(&self, topic: &str, route: TopicRouteData, is_template: bool) -> Arc<KnownRoute> {
        let publish = publish_queues(&route, topic);
        let mut routes = self.routes.write();
        let turn = routes.get(topic).map_or_else(
            || rand::random_range(0..1 << 20),
            |known| known.next_turn.load(Ordering::Relaxed),
        );
        let known = Arc::new(KnownRoute {
            publish,
            route,
            is_template,
            next_turn: AtomicUsize::new(turn),
        });
        routes.insert(topic.to_owned(), known.clone());
        self.brokers
            .write()
            .replace(routes.values().map(|known| &known.route));
        known
    }

    /// Whether messages for the topic go by the template of new topics.
    pub fn has_template_route(&self, topic: &str) -> bool {
        self.known_route(topic)
            .is_some_and(|known| known.is_template)
    }

    /// The topic has its first message: its real route replaces the template. Of many that say so
    /// one asks.
    pub async fn confirm_route(&self, topic: &str) {
        let Ok(_one_at_a_time) = self.fetching.try_lock() else {
            return;
        };
        if self.has_template_route(topic)
            && let Err(error) = self.fetch_route(topic).await
        {
            tracing::debug!(topic, %error, "route of a new topic is not known yet");
        }
    }

    /// Address messages for this broker go to.
    pub fn master(&self, broker_name: &str) -> Result<String, ClientError> {
        let address = self.brokers.read().master(broker_name);
        address.ok_or_else(|| ClientError::BrokerUnknown {
            broker_name: broker_name.to_owned(),
        })
    }

    /// Broker id and address to read from, the asked id if possible.
    pub fn reader(&self, broker_name: &str, id: i64) -> Result<(i64, String), ClientError> {
        let found = self.brokers.read().reader(broker_name, id);
        found.ok_or_else(|| ClientError::BrokerUnknown {
            broker_name: broker_name.to_owned(),
        })
    }

    pub fn broker_addresses(&self, masters_only: bool) -> BTreeSet<String> {
        self.brokers.read().addresses(masters_only)
    }

    // --- heartbeat ------------------------------------------------------------------------------

    /// Tells every known broker who we are. Failures are logged, the next beat repairs them.
    pub async fn heartbeat(self: &Arc<Self>) {
        let Some(member) = self.member() else { return };
        let mut beats = JoinSet::new();
        for address in self.broker_addresses(member.masters_only()) {
            let instance = self.clone();
            beats.spawn(async move {
                if let Err(error) = instance.heartbeat_to(&address).await {
                    tracing::warn!(address, %error, "heartbeat failed");
                }
            });
        }
        while beats.join_next().await.is_some() {}
    }

    async fn heartbeat_to(&self, address: &str) -> Result<(), ClientError> {
        let heartbeat = self
            .member()
            .and_then(|member| member.heartbeat(&self.client_id));
        let Some(heartbeat) = heartbeat else {
            return Ok(());
        };
        let connection = self.remoting.connection(address).await?;
        let request =
            RemotingCommand::request(request::HEART_BEAT, 0).with_body(body::write(&heartbeat));
        let answered = connection.call(request, HEARTBEAT_TIMEOUT).await;
        let response = answered.inspect_err(|_| {
            connection.close(CloseReason::Local("a heartbeat was not answered"));
        })?;
        if response.code == response::GO_AWAY {
            connection.close(CloseReason::Local("the peer said that it goes away"));
        }
        succeed(address, response)?;
        self.registered
            .lock()
            .insert(address.to_owned(), connection.id());
        Ok(())
    }

    /// Sees to it that the broker knows us over the connection there is now: a broker forgets its
    /// clients with their connections.
    pub async fn ensure_registered(&self, address: &str) -> Result<(), ClientError> {
        if self.is_registered(address).await? {
            return Ok(());
        }
        let _one_at_a_time = self.registering.lock().await;
        if self.is_registered(address).await? {
            return Ok(());
        }
        self.heartbeat_to(address).await?;
        if let Some(member) = self.member() {
            member.group_changed();
        }
        Ok(())
    }

    async fn is_registered(&self, address: &str) -> Result<bool, ClientError> {
        let connection = self.remoting.connection(address).await?;
        Ok(self.registered.lock().get(address) == Some(&connection.id()))
    }

    /// Asks for a heartbeat soon: it reaches brokers that came back, and closes dead connections.
    pub fn want_heartbeat(&self) {
        self.heartbeat_wanted.notify_one();
    }

    /// Keeps routes fresh and brokers informed; never ends. A name server that does not answer
    /// holds no heartbeat up.
    pub async fn keep(self: Arc<Self>) {
        tokio::join!(
            self.keep_known(),
            self.keep_routes(),
            self.name_servers.keep_fresh()
        );
    }

    async fn keep_known(self: &Arc<Self>) {
        let mut tick = keep_interval();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.heartbeat_wanted.notified() => tokio::time::sleep(RECONNECT_DELAY).await,
            }
            self.heartbeat().await;
        }
    }

    async fn keep_routes(&self) {
        let mut tick = keep_interval();
        loop {
            tick.tick().await;
            let before = self.broker_addresses(false);
            self.refresh_routes().await;
            if self.broker_addresses(false) != before {
                self.want_heartbeat();
            }
        }
    }

    async fn refresh_routes(&self) {
        let Some(member) = self.member() else { return };
        for topic in member.topics() {
            if let Err(error) = self.fetch_route(&topic).await {
                tracing::debug!(topic, %error, "route not refreshed");
            }
        }
    }

    /// Topics whose routes are known.
    pub fn topics(&self) -> Vec<String> {
        self.routes.read().keys().cloned().collect()
    }

    /// Takes leave of every broker that knows us.
    pub async fn unregister(self: &Arc<Self>, field: &'static str, group: &str) {
        let addresses: Vec<String> = self
            .registered
            .lock()
            .drain()
            .map(|(address, _)| address)
            .collect();
        let mut calls = JoinSet::new();
        for address in addresses {
            let (instance, group) = (self.clone(), group.to_owned());
            calls.spawn(async move {
                if instance.remoting.existing(&address).is_none() {
                    return;
                }
                if let Err(error) = instance.unregister_from(&address, field, &group).await {
                    tracing::debug!(address, %error, "not unregistered");
                }
            });
        }
        while calls.join_next().await.is_some() {}
    }

    // --- calls ----------------------------------------------------------------------------------

    /// Sends a request and expects success. A connection that leaves it unanswered is closed.
    pub async fn call(
        &self,
        address: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, ClientError> {
        let answered = self.call_any(address, request, timeout).await;
        let response = answered.inspect_err(|error| {
            if error.is_timeout() {
                self.remoting.close(address);
            }
        })?;
        succeed(address, response)
    }

    /// Sends a request; the response may be of any code.
    pub async fn call_any(
        &self,
        address: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, ClientError> {
        Ok(self.remoting.call(address, request, timeout).await?)
    }
}

fn keep_interval() -> Interval {
    let mut interval = interval_at(Instant::now() + KEEP_INTERVAL, KEEP_INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// The response, unless it is a refusal.
pub(crate) fn succeed(
    address: &str,
    response: RemotingCommand,
) -> Result<RemotingCommand, ClientError> {
    if response.code == response::SUCCESS {
        return Ok(response);
    }
    Err(ClientError::Refused {
        address: address.to_owned(),
        code: response.code,
        remark: response.remark().to_owned(),
    })
}

/// `<pid>#<n>`, as Java's, but counted and salted instead of timed.
fn unique_instance_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!(
        "{}#{:08x}{count}",
        std::process::id(),
        rand::random::<u32>()
    )
}
