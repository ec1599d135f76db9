//! What operators and tests ask of a cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sluice_allocation::MessageQueue;
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    ClusterInfo, ConsumeStats, OffsetWrapper, ResetOffsetBody, SubscriptionGroupConfig, TopicList,
    TopicOffset, TopicRouteData, TopicStatsTable,
};
use sluice_protocol::code::{request, response};
use sluice_protocol::message::MessageId;
use sluice_protocol::topic::{AUTO_CREATE_TOPIC, perm};
use sluice_remoting::tls::TlsClientOptions;

use crate::body;
use crate::calls::{Value, read_body, request};
use crate::consumer::{decode, unix_ms};
use crate::error::ClientError;
use crate::instance::{Connect, Instance, succeed};
use crate::message::ReceivedMessage;
use crate::route::{MASTER, subscribe_queues};
use crate::validate;

const TIMEOUT: Duration = Duration::from_secs(5);

/// Settings of an [`Admin`]; see [`Admin::builder`].
#[derive(Debug, Clone, Default)]
pub struct AdminBuilder {
    connect: Connect,
}

impl AdminBuilder {
    /// Name servers, `host:port`, several separated by `;`, or the `http://` address of a page that tells
    /// them. Without it the environment's `NAMESRV_ADDR` is used, or the address service at
    /// `ROCKETMQ_NAMESRV_DOMAIN`.
    pub fn name_server(mut self, addresses: impl Into<String>) -> Self {
        self.connect.name_servers = Some(addresses.into());
        self
    }

    /// Connects encrypted.
    pub fn tls(mut self, options: TlsClientOptions) -> Self {
        self.connect.tls = Some(options);
        self
    }

    /// Checks the settings; nothing is dialled before the first call.
    ///
    /// # Errors
    /// A setting is out of bounds, or TLS can't be set up.
    pub fn build(self) -> Result<Admin, ClientError> {
        Ok(Admin {
            instance: Instance::new(&self.connect, None)?,
        })
    }
}

/// A topic to create or change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSettings {
    /// Its name.
    pub topic: String,
    /// Queues per broker that can be read.
    pub read_queues: u16,
    /// Queues per broker that can be written.
    pub write_queues: u16,
    /// Permission bits: 4 read, 2 write.
    pub perm: i32,
    /// Whether its messages stay in order though brokers come and go.
    pub ordered: bool,
    /// Attributes by name, without sign.
    pub attributes: BTreeMap<String, String>,
}

impl TopicSettings {
    /// A topic that can be read and written.
    pub fn new(topic: impl Into<String>, queues: u16) -> Self {
        TopicSettings {
            topic: topic.into(),
            read_queues: queues,
            write_queues: queues,
            perm: perm::READ | perm::WRITE,
            ordered: false,
            attributes: BTreeMap::new(),
        }
    }
}

/// Asks name servers and brokers, and changes topics, groups and offsets. Cheap to clone.
#[derive(Clone)]
pub struct Admin {
    instance: Arc<Instance>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("name_servers", &self.instance.name_servers.text())
            .finish()
    }
}

/// All calls fail with [`ClientError::NameServers`] when no name server answers, with
/// [`ClientError::Remoting`] when a broker does not, and with [`ClientError::Refused`] when it
/// refuses.
#[allow(clippy::missing_errors_doc)]
impl Admin {
    /// Begins with defaults.
    pub fn builder() -> AdminBuilder {
        AdminBuilder::default()
    }

    // --- cluster --------------------------------------------------------------------------------

    /// All brokers.
    pub async fn cluster(&self) -> Result<ClusterInfo, ClientError> {
        let code = request::GET_BROKER_CLUSTER_INFO;
        let (address, response) = self.ask_name_server(&request(code, &[])).await?;
        read_body(&address, code, &response)
    }

    /// Which brokers serve a topic.
    pub async fn route(&self, topic: &str) -> Result<TopicRouteData, ClientError> {
        Ok(self.instance.fetch_route(topic).await?.route.clone())
    }

    /// Names of all topics.
    pub async fn topics(&self) -> Result<BTreeSet<String>, ClientError> {
        let code = request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER;
        let (address, response) = self.ask_name_server(&request(code, &[])).await?;
        Ok(read_body::<TopicList>(&address, code, &response)?.topic_list)
    }

    /// The readable queues of a topic.
    pub async fn queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        Ok(subscribe_queues(&self.route(topic).await?, topic))
    }

    /// Sends any request to a broker or name server and returns its response, of whatever code.
    pub async fn call(
        &self,
        address: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, ClientError> {
        self.instance.call_any(address, request, timeout).await
    }

    // --- topics and groups ----------------------------------------------------------------------

    /// Creates a topic on every master, or changes it.
    pub async fn create_topic(&self, settings: &TopicSettings) -> Result<(), ClientError> {
        validate::topic(&settings.topic)?;
        let attributes: Vec<_> = settings
            .attributes
            .iter()
            .map(|(name, value)| format!("+{name}={value}"))
            .collect();
        let attributes = attributes.join(",");
        let fields: [(&'static str, Value<'_>); 9] = [
            ("topic", &settings.topic),
            ("defaultTopic", &AUTO_CREATE_TOPIC),
            ("readQueueNums", &settings.read_queues),
            ("writeQueueNums", &settings.write_queues),
            ("perm", &settings.perm),
            ("topicFilterType", &"SINGLE_TAG"),
            ("topicSysFlag", &0),
            ("order", &settings.ordered),
            ("attributes", &attributes),
        ];
        let request = request(request::UPDATE_AND_CREATE_TOPIC, &fields);
        self.ask_masters(&request).await
    }

    /// Deletes a topic everywhere. One that does not exist is no error.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), ClientError> {
        self.ask_masters(&request(
            request::DELETE_TOPIC_IN_BROKER,
            &[("topic", &topic)],
        ))
        .await?;
        self.ask_name_server(&request(
            request::DELETE_TOPIC_IN_NAMESRV,
            &[("topic", &topic)],
        ))
        .await?;
        self.instance.forget_route(topic);
        Ok(())
    }

    /// Creates a consumer group on every master, or changes it.
    pub async fn create_group(
        &self,
        settings: &SubscriptionGroupConfig,
    ) -> Result<(), ClientError> {
        validate::group(&settings.group_name)?;
        let request = request(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[]);
        self.ask_masters(&request.with_body(body::write(settings)))
            .await
    }

    /// Deletes a consumer group everywhere, with its offsets.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let fields: [(&'static str, Value<'_>); 2] =
            [("groupName", &group), ("cleanOffset", &true)];
        self.ask_masters(&request(request::DELETE_SUBSCRIPTIONGROUP, &fields))
            .await
    }

    // --- offsets --------------------------------------------------------------------------------

    /// Bounds of a topic's queues.
    pub async fn topic_stats(
        &self,
        topic: &str,
    ) -> Result<BTreeMap<MessageQueue, TopicOffset>, ClientError> {
        let code = request::GET_TOPIC_STATS_INFO;
        let mut all = BTreeMap::new();
        for (address, response) in self
            .ask_brokers_of(topic, &request(code, &[("topic", &topic)]))
            .await?
        {
            all.extend(read_body::<TopicStatsTable>(&address, code, &response)?.offset_table);
        }
        Ok(all)
    }

    /// How far a group is on a topic's queues.
    pub async fn consume_stats(
        &self,
        group: &str,
        topic: &str,
    ) -> Result<BTreeMap<MessageQueue, OffsetWrapper>, ClientError> {
        let code = request::GET_CONSUME_STATS;
        let fields: [(&'static str, Value<'_>); 2] = [("consumerGroup", &group), ("topic", &topic)];
        let mut all = BTreeMap::new();
        for (address, response) in self.ask_brokers_of(topic, &request(code, &fields)).await? {
            all.extend(read_body::<ConsumeStats>(&address, code, &response)?.offset_table);
        }
        Ok(all)
    }

    /// Position behind the newest message of a queue.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.instance.route(&queue.topic).await?;
        self.instance.max_offset(queue).await
    }

    /// Position of the oldest message of a queue.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.instance.route(&queue.topic).await?;
        self.instance.min_offset(queue).await
    }

    /// Position of the first message of a queue stored at or after a time.
    pub async fn offset_at(
        &self,
        queue: &MessageQueue,
        time: SystemTime,
    ) -> Result<i64, ClientError> {
        self.instance.route(&queue.topic).await?;
        self.instance.offset_at(queue, unix_ms(time)).await
    }

    /// What a group has committed on a queue, if anything.
    pub async fn committed_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, ClientError> {
        self.instance.route(&queue.topic).await?;
        self.instance.committed_offset(group, queue).await
    }

    /// Commits an offset for a group, which should not be consuming the queue.
    pub async fn commit_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        self.instance.route(&queue.topic).await?;
        self.instance.commit_offset(group, queue, offset).await
    }

    /// Moves a group to the first message stored at or after a time, on every queue of a topic;
    /// tells where it is now. Members that consume go on from there.
    pub async fn reset_offsets(
        &self,
        group: &str,
        topic: &str,
        time: SystemTime,
    ) -> Result<BTreeMap<MessageQueue, i64>, ClientError> {
        let code = request::INVOKE_BROKER_TO_RESET_OFFSET;
        let timestamp = unix_ms(time);
        let fields: [(&'static str, Value<'_>); 4] = [
            ("topic", &topic),
            ("group", &group),
            ("timestamp", &timestamp),
            ("isForce", &true),
        ];
        let mut all = BTreeMap::new();
        for (address, response) in self.ask_brokers_of(topic, &request(code, &fields)).await? {
            all.extend(read_body::<ResetOffsetBody>(&address, code, &response)?.offset_table);
        }
        Ok(all)
    }

    // --- messages -------------------------------------------------------------------------------

    /// The message with a broker-made id, from the broker that the id names.
    pub async fn view_message(
        &self,
        offset_message_id: &str,
    ) -> Result<ReceivedMessage, ClientError> {
        let id: MessageId = offset_message_id.parse().map_err(
            |error: sluice_protocol::message::id::MessageIdError| {
                ClientError::invalid("message id", error.to_string())
            },
        )?;
        let code = request::VIEW_MESSAGE_BY_ID;
        let address = id.store_host.to_string();
        let request = request(code, &[("offset", &id.physical_offset)]);
        let response = self.instance.call(&address, request, TIMEOUT).await?;
        let mut messages = read_messages(&address, "", code, &response)?;
        messages.pop().ok_or_else(|| ClientError::Response {
            address,
            code,
            what: "its body is empty".to_owned(),
        })
    }

    /// Messages of a topic with a key, newest brokers' answers joined; at most `max` of each broker.
    pub async fn query_by_key(
        &self,
        topic: &str,
        key: &str,
        max: u32,
    ) -> Result<Vec<ReceivedMessage>, ClientError> {
        let found = self.query(topic, key, max, false).await?;
        Ok(found
            .into_iter()
            .filter(|message| message.keys().any(|k| k == key))
            .collect())
    }

    /// Messages of a topic with a producer-made id (`UNIQ_KEY`); more than one if a send was
    /// retried.
    pub async fn query_by_id(
        &self,
        topic: &str,
        message_id: &str,
    ) -> Result<Vec<ReceivedMessage>, ClientError> {
        let found = self.query(topic, message_id, 32, true).await?;
        Ok(found
            .into_iter()
            .filter(|message| message.message_id() == message_id)
            .collect())
    }

    async fn query(
        &self,
        topic: &str,
        key: &str,
        max: u32,
        is_id: bool,
    ) -> Result<Vec<ReceivedMessage>, ClientError> {
        let code = request::QUERY_MESSAGE;
        let fields: [(&'static str, Value<'_>); 6] = [
            ("topic", &topic),
            ("key", &key),
            ("maxNum", &max),
            ("beginTimestamp", &0i64),
            ("endTimestamp", &i64::MAX),
            ("_UNIQUE_KEY_QUERY", &is_id),
        ];
        let request = request(code, &fields);
        let mut found = Vec::new();
        for (broker_name, address) in masters(&self.route(topic).await?) {
            let response = self
                .instance
                .call_any(&address, request.clone(), TIMEOUT)
                .await?;
            if response.code != response::QUERY_NOT_FOUND {
                let response = succeed(&address, response)?;
                found.extend(read_messages(&address, &broker_name, code, &response)?);
            }
        }
        Ok(found)
    }

    // --- asking ---------------------------------------------------------------------------------

    async fn ask_name_server(
        &self,
        request: &RemotingCommand,
    ) -> Result<(String, RemotingCommand), ClientError> {
        let (address, response) = self
            .instance
            .name_servers
            .call(&self.instance.remoting, request)
            .await?;
        let response = succeed(&address, response)?;
        Ok((address, response))
    }

    async fn ask_masters(&self, request: &RemotingCommand) -> Result<(), ClientError> {
        let cluster = self.cluster().await?;
        let masters = cluster
            .broker_addr_table
            .values()
            .filter_map(|data| data.broker_addrs.get(&MASTER));
        let masters: Vec<&String> = masters.collect();
        if masters.is_empty() {
            return Err(ClientError::BrokerUnknown {
                broker_name: "any master".to_owned(),
            });
        }
        for address in masters {
            self.instance
                .call(address, request.clone(), TIMEOUT)
                .await?;
        }
        Ok(())
    }

    async fn ask_brokers_of(
        &self,
        topic: &str,
        request: &RemotingCommand,
    ) -> Result<Vec<(String, RemotingCommand)>, ClientError> {
        let mut responses = Vec::new();
        for (_, address) in masters(&self.route(topic).await?) {
            let response = self
                .instance
                .call(&address, request.clone(), TIMEOUT)
                .await?;
            responses.push((address, response));
        }
        Ok(responses)
    }
}

/// Name and address of each broker that serves a topic: its master's, or else a replica's.
fn masters(route: &TopicRouteData) -> Vec<(String, String)> {
    let of = |data: &sluice_protocol::body::BrokerData| {
        let address = data
            .broker_addrs
            .get(&MASTER)
            .or_else(|| data.broker_addrs.values().next());
        Some((data.broker_name.clone(), address?.clone()))
    };
    route.broker_datas.iter().filter_map(of).collect()
}

fn read_messages(
    address: &str,
    broker_name: &str,
    code: i32,
    response: &RemotingCommand,
) -> Result<Vec<ReceivedMessage>, ClientError> {
    decode(&response.body, &broker_name.into(), 0).map_err(|what| ClientError::Response {
        address: address.to_owned(),
        code,
        what,
    })
}
