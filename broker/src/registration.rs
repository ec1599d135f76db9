//! What this broker has with name servers: each is kept informed who we are and which topics we serve,
//! and asked where a topic is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    KvTable, RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper, TopicRouteData,
};
use sluice_protocol::code::{request, response};
use sluice_protocol::fastjson;
use sluice_protocol::header::{RegisterBrokerRequestHeader, UnregisterBrokerRequestHeader};
use sluice_protocol::message::crc32;
use sluice_remoting::{AddressService, Client, ClientOptions, Connection, Handler, Responder};
use tokio::task::JoinSet;

use crate::config::BrokerConfig;
use crate::error::BrokerError;
use crate::topics::Topics;

/// Most time one name server gets to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);
/// Once one name server knows, the others get this long to be waited for: a dead one must not hold
/// up the sends and heartbeats that wait for a new topic to be known.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// Most time a name server gets to tell a topic's route: clients wait for what comes of it.
const ROUTE_TIMEOUT: Duration = Duration::from_secs(2);

/// Most time one name server gets to take note that this broker goes.
const SIGN_OFF_TIMEOUT: Duration = Duration::from_secs(2);

/// Calls the name servers. An unreachable one is tried again at the next round.
#[derive(Debug)]
pub struct Registration {
    client: Arc<Client>,
    name_servers: Mutex<Vec<String>>,
    broker_address: String,
    ha_address: String,
}

/// No name server answers, or there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unanswered;

/// Name servers ask a broker for nothing that this one serves.
struct NoRequests;

impl Handler for NoRequests {
    fn handle(&self, _: &Arc<Connection>, request: RemotingCommand, responder: Responder) {
        responder.refuse(
            response::REQUEST_CODE_NOT_SUPPORTED,
            format!(" request type {} not supported", request.code),
        );
    }
}

impl Registration {
    /// For the name servers in `namesrvAddr`; with none, the broker registers nowhere.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(config: &BrokerConfig, port: u16) -> Result<Registration, BrokerError> {
        let options = ClientOptions {
            tls: config.tls_client(),
            ..ClientOptions::default()
        };
        let client = Arc::new(Client::new(options, Arc::new(NoRequests))?);
        let name_servers = Mutex::new(split_addresses(
            config.namesrv_addr.as_deref().unwrap_or_default(),
        ));
        let broker_address = format!("{}:{port}", bracketed(&config.broker_ip1));
        let ha_address = format!("{}:{}", bracketed(&config.broker_ip2), port.wrapping_add(1));
        Ok(Registration {
            client,
            name_servers,
            broker_address,
            ha_address,
        })
    }

    /// The address clients reach the broker at: `brokerIP1` and the port.
    pub fn broker_address(&self) -> &str {
        &self.broker_address
    }

    /// Changes the name servers (`updateBrokerConfig -k namesrvAddr`).
    pub fn set_name_servers(&self, addresses: &str) {
        *self.name_servers.lock() = split_addresses(addresses);
    }

    /// Takes over what the address service tells; answers whether that is something new.
    pub async fn ask_for_name_servers(&self, service: &AddressService) -> bool {
        match service.ask().await {
            Ok(addresses) => {
                let found = split_addresses(&addresses);
                let mut known = self.name_servers.lock();
                if *known == found {
                    return false;
                }
                tracing::info!(url = service.url(), addresses, "name servers were found");
                *known = found;
                true
            }
            Err(error) => {
                tracing::warn!(%error, "those known before are kept");
                false
            }
        }
    }

    /// Registers everywhere; answers which topics are ordered, as far as a name server says so.
    /// Name servers that are slow when another knows already are not waited for.
    pub async fn register(
        &self,
        config: &BrokerConfig,
        topics: &Topics,
    ) -> BTreeMap<String, String> {
        let name_servers = self.name_servers.lock().clone();
        let mut ordered = BTreeMap::new();
        if name_servers.is_empty() {
            return ordered;
        }
        let request = self.request(config, topics);
        let mut calls = JoinSet::new();
        for address in name_servers {
            calls.spawn(register_at(self.client.clone(), address, request.clone()));
        }
        let mut patience = CALL_TIMEOUT * 2;
        while let Ok(Some(answer)) = tokio::time::timeout(patience, calls.join_next()).await {
            if let Ok(Some(known)) = answer {
                ordered.extend(known);
                patience = STRAGGLERS;
            }
        }
        calls.detach_all();
        ordered
    }

    /// Signs off everywhere, so that clients learn at once that this broker is gone.
    pub async fn unregister(&self, config: &BrokerConfig) {
        let header = UnregisterBrokerRequestHeader {
            broker_name: config.broker_name.clone().into(),
            broker_addr: self.broker_address.clone().into(),
            cluster_name: config.broker_cluster_name.clone().into(),
            broker_id: config.broker_id,
        };
        let mut request = RemotingCommand::request(request::UNREGISTER_BROKER, 0);
        header.encode(&mut request.ext);
        let mut calls = JoinSet::new();
        for address in self.name_servers.lock().clone() {
            let (client, request) = (self.client.clone(), request.clone());
            calls.spawn(async move {
                if let Err(error) = client.call(&address, request, SIGN_OFF_TIMEOUT).await {
                    tracing::warn!(name_server = address, %error, "signing off failed; the name server will notice by itself");
                }
            });
        }
        calls.join_all().await;
    }

    /// Whether there are any.
    pub fn has_name_servers(&self) -> bool {
        !self.name_servers.lock().is_empty()
    }

    /// Where the topic is; `None` if nobody knows it. All name servers are asked at once, the first
    /// that knows wins.
    ///
    /// # Errors
    /// No name server answers.
    pub async fn route(&self, topic: &str) -> Result<Option<TopicRouteData>, Unanswered> {
        let mut calls = JoinSet::new();
        for address in self.name_servers.lock().clone() {
            calls.spawn(route_at(self.client.clone(), address, topic.to_owned()));
        }
        let mut unknown = Err(Unanswered);
        while let Some(answer) = calls.join_next().await {
            match answer.unwrap_or(Err(Unanswered)) {
                Ok(None) => unknown = Ok(None),
                Ok(found) => return Ok(found),
                Err(Unanswered) => {}
            }
        }
        unknown
    }

    fn request(&self, config: &BrokerConfig, topics: &Topics) -> RemotingCommand {
        let limit = config.broker_permission;
        let topic_config_table = topics.all().into_iter().map(|(name, topic)| {
            (
                name,
                TopicConfig {
                    perm: topic.perm & (limit | 1),
                    ..TopicConfig::clone(&topic)
                },
            )
        });
        let wrapper = TopicConfigSerializeWrapper {
            data_version: topics.version(),
            topic_config_table: topic_config_table.collect(),
            ..Default::default()
        };
        let body = RegisterBrokerBody {
            topic_config_serialize_wrapper: wrapper,
            // Class filters run here: the broker is its own filter server.
            filter_server_list: match config.filter_server_nums {
                0 => Vec::new(),
                _ => vec![self.broker_address.clone()],
            },
        };
        let body = fastjson::to_vec(&body).expect("plain tables always encode");
        let header = RegisterBrokerRequestHeader {
            broker_name: config.broker_name.clone().into(),
            broker_addr: self.broker_address.clone().into(),
            cluster_name: config.broker_cluster_name.clone().into(),
            ha_server_addr: self.ha_address.clone().into(),
            broker_id: config.broker_id,
            heartbeat_timeout_millis: None,
            enable_acting_master: Some(false),
            compressed: false,
            body_crc32: crc32(&body),
        };
        let mut request = RemotingCommand::request(request::REGISTER_BROKER, 0).with_body(body);
        header.encode(&mut request.ext);
        request
    }
}

/// Registers at one name server; answers which topics are ordered, or `None` if it does not know
/// this broker now.
async fn register_at(
    client: Arc<Client>,
    address: String,
    request: RemotingCommand,
) -> Option<BTreeMap<String, String>> {
    match client.call(&address, request, CALL_TIMEOUT).await {
        Ok(answer) if answer.code == response::SUCCESS => Some(
            fastjson::from_slice::<KvTable>(&answer.body)
                .map(|kv| kv.table)
                .unwrap_or_default(),
        ),
        Ok(answer) => {
            tracing::warn!(
                name_server = address,
                code = answer.code,
                remark = answer.remark(),
                "registration was refused"
            );
            None
        }
        Err(error) => {
            tracing::warn!(name_server = address, %error, "registration failed, the next round tries again");
            None
        }
    }
}

/// Asks one name server for a route.
async fn route_at(
    client: Arc<Client>,
    address: String,
    topic: String,
) -> Result<Option<TopicRouteData>, Unanswered> {
    let mut request = RemotingCommand::request(request::GET_ROUTEINFO_BY_TOPIC, 0);
    request.ext.put("topic", topic);
    request.ext.put("acceptStandardJsonOnly", "true");
    let failure = match client.call(&address, request, ROUTE_TIMEOUT).await {
        Ok(answer) if answer.code == response::SUCCESS => {
            match fastjson::from_slice(&answer.body) {
                Ok(route) => return Ok(Some(route)),
                Err(error) => error.to_string(),
            }
        }
        Ok(answer) if answer.code == response::TOPIC_NOT_EXIST => return Ok(None),
        Ok(answer) => format!("code {}: {}", answer.code, answer.remark()),
        Err(error) => error.to_string(),
    };
    tracing::warn!(
        name_server = address,
        error = failure,
        "a route was not told"
    );
    Err(Unanswered)
}

/// `a:1; b:2` as a list; blanks around an address are dropped.
fn split_addresses(addresses: &str) -> Vec<String> {
    addresses
        .split(';')
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .map(str::to_owned)
        .collect()
}

fn bracketed(ip: &str) -> String {
    if ip.contains(':') && !ip.starts_with('[') {
        format!("[{ip}]")
    } else {
        ip.to_owned()
    }
}
