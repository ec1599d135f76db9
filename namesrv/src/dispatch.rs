//! What the name server answers: one arm per request.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use parking_lot::RwLock;
use serde::Serialize;
use sluice_protocol::body::{
    BrokerData, DataVersion, GetBrokerMemberGroupResponseBody, KvTable, RegisterBrokerBody,
    RegistrationError, TopicList, TopicRouteData,
};
use sluice_protocol::code::{left_out, request, response};
use sluice_protocol::header::{
    BrokerHeartbeatRequestHeader, BrokerNameRequestHeader, DeleteTopicFromNamesrvRequestHeader,
    GetBrokerMemberGroupRequestHeader, GetKvListByNamespaceRequestHeader,
    GetRouteInfoRequestHeader, GetTopicsByClusterRequestHeader, HeaderError, KvConfigRequestHeader,
    PutKvConfigRequestHeader, RegisterBrokerRequestHeader, UnregisterBrokerRequestHeader,
};
use sluice_protocol::message::crc32;
use sluice_protocol::topic::{SYS_FLAG_UNIT, SYS_FLAG_UNIT_SUB};
use sluice_protocol::{ExtFields, RemotingCommand, fastjson, version};
use sluice_remoting::{CloseReason, Connection, Handler, Responder};

use crate::config::UpdateError;
use crate::kv::{KvConfig, ORDER_TOPIC_CONFIG};
use crate::routes::{BrokerIdentity, Registration, Routes};
use crate::{NamesrvConfig, NamesrvError, now_ms};

/// Hands requests to whoever knows the answers.
pub struct Dispatch(pub(crate) Arc<Answers>);

/// Answers requests from the route table, the key-value settings and the server's own.
pub(crate) struct Answers {
    pub(crate) config: RwLock<NamesrvConfig>,
    pub(crate) routes: Routes,
    pub(crate) kv: KvConfig,
    /// Address under which the broker of this process registers, if there is one.
    pub(crate) broker_beside: OnceLock<SocketAddr>,
}

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("the request body can't be read: {0}")]
    Body(#[from] fastjson::JsonError),
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    #[error("{0}")]
    System(String),
    #[error(
        "No topic route info in name server for the topic: {0}\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    )]
    NoRoute(String),
    #[error("No config item, {0}")]
    NoConfig(String),
    #[error(transparent)]
    Update(#[from] UpdateError),
    #[error(transparent)]
    Kv(#[from] NamesrvError),
    #[error(" request type {0} not supported")]
    Unknown(i32),
    #[error("{request} belongs to {feature}, which Sluice does not have")]
    LeftOut {
        request: &'static str,
        feature: &'static str,
    },
    #[error("{0} is not served by this name server yet")]
    NotServed(&'static str),
}

impl Refusal {
    /// Of a request that no arm is for.
    fn not_served(code: i32) -> Refusal {
        match (request::name(code), left_out(code)) {
            (Some(request), Some(feature)) => Refusal::LeftOut { request, feature },
            (Some(request), None) => Refusal::NotServed(request),
            (None, _) => Refusal::Unknown(code),
        }
    }

    fn code(&self) -> i32 {
        match self {
            Refusal::Header(_)
            | Refusal::Body(_)
            | Refusal::Registration(_)
            | Refusal::System(_)
            | Refusal::Kv(_) => response::SYSTEM_ERROR,
            Refusal::NoRoute(_) => response::TOPIC_NOT_EXIST,
            Refusal::NoConfig(_) => response::QUERY_NOT_FOUND,
            Refusal::Update(_) => response::NO_PERMISSION,
            Refusal::LeftOut { .. } | Refusal::Unknown(_) | Refusal::NotServed(_) => {
                response::REQUEST_CODE_NOT_SUPPORTED
            }
        }
    }
}

/// Fields and body of a successful answer.
#[derive(Default)]
struct Answer {
    ext: ExtFields,
    body: Bytes,
}

impl Answer {
    fn json(body: &impl Serialize) -> Result<Answer, Refusal> {
        let body = fastjson::to_vec(body).map_err(|error| Refusal::System(error.to_string()))?;
        Ok(Answer {
            body: body.into(),
            ..Answer::default()
        })
    }

    fn field(name: &'static str, value: impl ToString) -> Answer {
        Answer {
            ext: [(name, value.to_string())].into_iter().collect(),
            ..Answer::default()
        }
    }

    fn topics(topic_list: BTreeSet<String>) -> Result<Answer, Refusal> {
        Answer::json(&TopicList {
            broker_addr: None,
            topic_list,
        })
    }
}

impl Handler for Dispatch {
    fn handle(&self, connection: &Arc<Connection>, request: RemotingCommand, responder: Responder) {
        let writes_a_file = matches!(
            request.code,
            request::PUT_KV_CONFIG | request::DELETE_KV_CONFIG
        );
        if !writes_a_file {
            return self.0.respond(connection, &request, responder);
        }
        let (answers, connection) = (self.0.clone(), connection.clone());
        tokio::task::spawn_blocking(move || answers.respond(&connection, &request, responder));
    }

    fn closed(&self, connection: &Arc<Connection>, _: &CloseReason) {
        self.0.routes.connection_closed(connection.id());
    }
}

impl Answers {
    fn respond(&self, connection: &Connection, request: &RemotingCommand, responder: Responder) {
        match self.answer(connection, request) {
            Ok(answer) => {
                let mut success = responder.response(response::SUCCESS);
                success.ext = answer.ext;
                responder.answer(success.with_body(answer.body));
            }
            Err(refusal) => responder.refuse(refusal.code(), refusal.to_string()),
        }
    }

    fn answer(
        &self,
        connection: &Connection,
        request: &RemotingCommand,
    ) -> Result<Answer, Refusal> {
        let ext = &request.ext;
        match request.code {
            request::GET_ROUTEINFO_BY_TOPIC => self.route(connection, request),
            request::REGISTER_BROKER => self.register_broker(connection, request),
            request::UNREGISTER_BROKER => self.unregister_broker(ext),
            request::QUERY_DATA_VERSION => self.query_data_version(request),
            request::BROKER_HEARTBEAT => self.broker_heartbeat(ext),
            request::GET_BROKER_MEMBER_GROUP => {
                let header = GetBrokerMemberGroupRequestHeader::decode(ext)?;
                let broker_member_group = self.routes.member_group(&header.broker_name);
                Answer::json(&GetBrokerMemberGroupResponseBody {
                    broker_member_group,
                })
            }
            request::GET_BROKER_CLUSTER_INFO => {
                let mut info = self.routes.cluster_info();
                self.make_reachable(connection, info.broker_addr_table.values_mut());
                Answer::json(&info)
            }
            request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER => Answer::topics(self.routes.topics()),
            request::GET_TOPICS_BY_CLUSTER => Answer::topics(
                self.routes
                    .topics_of_cluster(&GetTopicsByClusterRequestHeader::decode(ext)?.cluster),
            ),
            request::GET_SYSTEM_TOPIC_LIST_FROM_NS => {
                let (topic_list, broker_addr) = self.routes.system_topics();
                Answer::json(&TopicList {
                    broker_addr,
                    topic_list,
                })
            }
            request::GET_UNIT_TOPIC_LIST => Answer::topics(
                self.routes
                    .topics_by_sys_flag(|flag| flag & SYS_FLAG_UNIT != 0),
            ),
            request::GET_HAS_UNIT_SUB_TOPIC_LIST => Answer::topics(
                self.routes
                    .topics_by_sys_flag(|flag| flag & SYS_FLAG_UNIT_SUB != 0),
            ),
            request::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST => {
                Answer::topics(self.routes.topics_by_sys_flag(|flag| {
                    flag & (SYS_FLAG_UNIT | SYS_FLAG_UNIT_SUB) == SYS_FLAG_UNIT_SUB
                }))
            }
            request::DELETE_TOPIC_IN_NAMESRV => {
                let header = DeleteTopicFromNamesrvRequestHeader::decode(ext)?;
                self.routes
                    .delete_topic(&header.topic, header.cluster_name.as_deref());
                Ok(Answer::default())
            }
            request::WIPE_WRITE_PERM_OF_BROKER => {
                let touched = self
                    .routes
                    .set_writable(&BrokerNameRequestHeader::decode(ext)?.broker_name, false);
                Ok(Answer::field("wipeTopicCount", touched))
            }
            request::ADD_WRITE_PERM_OF_BROKER => {
                let touched = self
                    .routes
                    .set_writable(&BrokerNameRequestHeader::decode(ext)?.broker_name, true);
                Ok(Answer::field("addTopicCount", touched))
            }
            request::PUT_KV_CONFIG => {
                let header = PutKvConfigRequestHeader::decode(ext)?;
                self.kv.put(&header.namespace, &header.key, &header.value)?;
                Ok(Answer::default())
            }
            request::GET_KV_CONFIG => {
                let header = KvConfigRequestHeader::decode(ext)?;
                let missing = || {
                    Refusal::NoConfig(format!(
                        "Namespace: {} Key: {}",
                        header.namespace, header.key
                    ))
                };
                Ok(Answer::field(
                    "value",
                    self.kv
                        .get(&header.namespace, &header.key)
                        .ok_or_else(missing)?,
                ))
            }
            request::DELETE_KV_CONFIG => {
                let header = KvConfigRequestHeader::decode(ext)?;
                self.kv.remove(&header.namespace, &header.key)?;
                Ok(Answer::default())
            }
            request::GET_KVLIST_BY_NAMESPACE => {
                let header = GetKvListByNamespaceRequestHeader::decode(ext)?;
                let missing = || Refusal::NoConfig(format!("Namespace: {}", header.namespace));
                Answer::json(&KvTable {
                    table: self.kv.namespace(&header.namespace).ok_or_else(missing)?,
                })
            }
            request::GET_NAMESRV_CONFIG => Ok(Answer {
                body: self.config.read().to_properties().into(),
                ..Answer::default()
            }),
            request::UPDATE_NAMESRV_CONFIG => {
                let text = std::str::from_utf8(&request.body)
                    .map_err(|_| Refusal::System("string2Properties error".to_owned()))?;
                let mut config = self.config.write();
                *config = config.updated(text)?;
                Ok(Answer::default())
            }
            other => Err(Refusal::not_served(other)),
        }
    }

    /// The table's keys must be the addresses in the route, to the letter.
    fn make_filter_servers_reachable(&self, connection: &Connection, route: &mut TopicRouteData) {
        let Some((known, reachable)) = self.addresses(connection) else {
            return;
        };
        if let Some(mut servers) = route.filter_server_table.remove(&known) {
            servers
                .iter_mut()
                .filter(|server| **server == known)
                .for_each(|server| server.clone_from(&reachable));
            route.filter_server_table.insert(reachable, servers);
        }
    }

    /// How the broker of this process is known, and how this client reaches it.
    fn addresses(&self, connection: &Connection) -> Option<(String, String)> {
        let beside = self.broker_beside.get()?;
        let reachable = SocketAddr::new(connection.local().ip(), beside.port());
        Some((beside.to_string(), reachable.to_string()))
    }

    /// Gives the asking client the broker of this process at the address by which it reached us:
    /// that one works, whatever network lies between.
    fn make_reachable<'a>(
        &self,
        connection: &Connection,
        brokers: impl Iterator<Item = &'a mut BrokerData>,
    ) {
        let Some((known, reachable)) = self.addresses(connection) else {
            return;
        };
        brokers
            .flat_map(|broker| broker.broker_addrs.values_mut())
            .filter(|address| **address == known)
            .for_each(|address| address.clone_from(&reachable));
    }

    fn route(&self, connection: &Connection, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let header = GetRouteInfoRequestHeader::decode(&request.ext)?;
        let mut route = self
            .routes
            .route(&header.topic)
            .ok_or_else(|| Refusal::NoRoute(header.topic.to_string()))?;
        self.make_reachable(connection, route.broker_datas.iter_mut());
        self.make_filter_servers_reachable(connection, &mut route);
        if self.config.read().order_message_enable {
            route.order_topic_conf = self.kv.get(ORDER_TOPIC_CONFIG, &header.topic);
        }
        let standard = header.accept_standard_json_only || request.version >= version::V4_9_4;
        let body = if standard {
            fastjson::to_vec_quoted(&route)
        } else {
            fastjson::to_vec(&route)
        };
        Ok(Answer {
            body: body
                .map_err(|error| Refusal::System(error.to_string()))?
                .into(),
            ..Answer::default()
        })
    }

    fn register_broker(
        &self,
        connection: &Connection,
        request: &RemotingCommand,
    ) -> Result<Answer, Refusal> {
        let header = RegisterBrokerRequestHeader::decode(&request.ext)?;
        if header.body_crc32 != 0 && header.body_crc32 != crc32(&request.body) {
            return Err(Refusal::System("crc32 not match".to_owned()));
        }
        let body = registration_body(header.compressed, &request.body)?;
        let registration = Registration {
            broker: BrokerIdentity {
                cluster: header.cluster_name.to_string(),
                name: header.broker_name.to_string(),
                id: header.broker_id,
                address: header.broker_addr.to_string(),
            },
            ha_address: header.ha_server_addr.to_string(),
            enable_acting_master: header.enable_acting_master,
            timeout_ms: header.heartbeat_timeout_millis,
            topics: body.topic_config_serialize_wrapper,
            filter_servers: body.filter_server_list,
            connection: connection.id(),
        };
        let registered = self
            .routes
            .register(registration, now_ms())
            .map_err(|error| Refusal::System(error.to_string()))?;
        let mut answer = match self.kv.namespace(ORDER_TOPIC_CONFIG) {
            Some(table) if !table.is_empty() => Answer::json(&KvTable { table })?,
            _ => Answer::default(),
        };
        if let Some((master, ha)) = registered.master {
            answer.ext.put("masterAddr", master);
            answer.ext.put("haServerAddr", ha);
        }
        Ok(answer)
    }

    fn unregister_broker(&self, ext: &ExtFields) -> Result<Answer, Refusal> {
        let header = UnregisterBrokerRequestHeader::decode(ext)?;
        self.routes.unregister(&BrokerIdentity {
            cluster: header.cluster_name.to_string(),
            name: header.broker_name.to_string(),
            id: header.broker_id,
            address: header.broker_addr.to_string(),
        });
        Ok(Answer::default())
    }

    fn query_data_version(&self, request: &RemotingCommand) -> Result<Answer, Refusal> {
        let header = UnregisterBrokerRequestHeader::decode(&request.ext)?;
        let asked: DataVersion = fastjson::from_slice(&request.body)?;
        let known = self
            .routes
            .version(&header.cluster_name, &header.broker_addr);
        self.routes
            .refresh(&header.cluster_name, &header.broker_addr, now_ms());
        let mut answer = known
            .as_ref()
            .map_or_else(|| Ok(Answer::default()), Answer::json)?;
        answer
            .ext
            .put("changed", (known.as_ref() != Some(&asked)).to_string());
        Ok(answer)
    }

    fn broker_heartbeat(&self, ext: &ExtFields) -> Result<Answer, Refusal> {
        let header = BrokerHeartbeatRequestHeader::decode(ext)?;
        self.routes
            .refresh(&header.cluster_name, &header.broker_addr, now_ms());
        Ok(Answer::default())
    }
}

/// 5.3.3 says `compressed=false` of what it has compressed; JSON never begins like a zlib stream.
fn registration_body(compressed: bool, body: &[u8]) -> Result<RegisterBrokerBody, Refusal> {
    /// First byte of every zlib stream that Java writes: deflate, window of 32 KiB.
    const ZLIB: u8 = 0x78;
    match body.first() {
        None => Ok(RegisterBrokerBody::default()),
        Some(first) if compressed || *first == ZLIB => {
            Ok(RegisterBrokerBody::decode_compressed(body)?)
        }
        Some(_) => Ok(fastjson::from_slice(body)?),
    }
}
