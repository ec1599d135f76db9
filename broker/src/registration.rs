//! Keeps every name server informed: who we are and which topics we serve.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    KvTable, RegisterBrokerBody, TopicConfig, TopicConfigSerializeWrapper,
};
use sluice_protocol::code::{request, response};
use sluice_protocol::fastjson;
use sluice_protocol::header::{RegisterBrokerRequestHeader, UnregisterBrokerRequestHeader};
use sluice_protocol::message::crc32;
use sluice_remoting::{Client, ClientOptions, Connection, Handler, Responder};

use crate::config::BrokerConfig;
use crate::error::BrokerError;
use crate::topics::Topics;

/// Most time one name server gets to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(6);

/// Calls the name servers. An unreachable one is tried again at the next round.
#[derive(Debug)]
pub struct Registration {
    client: Client,
    name_servers: Mutex<Vec<String>>,
    broker_address: String,
    ha_address: String,
}

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
        let client = Client::new(ClientOptions::default(), Arc::new(NoRequests))?;
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

    /// Registers everywhere; answers which topics are ordered, as far as a name server says so.
    pub async fn register(
        &self,
        config: &BrokerConfig,
        topics: &Topics,
    ) -> BTreeMap<String, String> {
        let name_servers = self.name_servers.lock().clone();
        if name_servers.is_empty() {
            return BTreeMap::new();
        }
        let request = self.request(config, topics);
        let calls = name_servers
            .into_iter()
            .map(|address| self.register_at(address, request.clone()));
        let mut ordered = BTreeMap::new();
        for answer in join_all(calls).await {
            ordered.extend(answer);
        }
        ordered
    }

    async fn register_at(
        &self,
        address: String,
        request: RemotingCommand,
    ) -> BTreeMap<String, String> {
        match self.client.call(&address, request, CALL_TIMEOUT).await {
            Ok(answer) if answer.code == response::SUCCESS => {
                fastjson::from_slice::<KvTable>(&answer.body)
                    .map(|kv| kv.table)
                    .unwrap_or_default()
            }
            Ok(answer) => {
                tracing::warn!(
                    name_server = address,
                    code = answer.code,
                    remark = answer.remark(),
                    "registration was refused"
                );
                BTreeMap::new()
            }
            Err(error) => {
                tracing::warn!(name_server = address, %error, "registration failed, the next round tries again");
                BTreeMap::new()
            }
        }
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
        let name_servers = self.name_servers.lock().clone();
        let calls = name_servers.into_iter().map(|address| {
            let request = request.clone();
            async move {
                if let Err(error) = self.client.call(&address, request, Duration::from_secs(2)).await {
                    tracing::warn!(name_server = address, %error, "signing off failed; the name server will notice by itself");
                }
            }
        });
        join_all(calls).await;
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
            filter_server_list: Vec::new(),
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

/// Runs all to their ends, side by side.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *output = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    futures
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}
