//! What is asked of brokers, one function per request.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use sluice_allocation::MessageQueue;
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{
    CheckClientRequestBody, GetConsumerListByGroupResponseBody, LockBatchRequestBody,
    LockBatchResponseBody, MessageModel, MessageQueueAssignment, QueryAssignmentRequestBody,
    QueryAssignmentResponseBody, SubscriptionData,
};
use sluice_protocol::code::{request, response};

use crate::body;
use crate::error::ClientError;
use crate::instance::{Instance, succeed};

const OFFSET_TIMEOUT: Duration = Duration::from_secs(5);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const SEND_BACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Anything that a header field can hold.
pub(crate) type Value<'a> = &'a (dyn Display + Sync);

/// A request with custom header fields.
pub(crate) fn request(code: i32, fields: &[(&'static str, Value<'_>)]) -> RemotingCommand {
    let mut request = RemotingCommand::request(code, 0);
    for (name, value) in fields {
        request.ext.put(name, value.to_string());
    }
    request
}

/// Reads a field of a response.
pub(crate) fn field<T: FromStr>(
    address: &str,
    code: i32,
    response: &RemotingCommand,
    name: &str,
) -> Result<T, ClientError> {
    let malformed = |what: String| ClientError::Response {
        address: address.to_owned(),
        code,
        what,
    };
    let text = response.ext.get(name);
    let text = text.ok_or_else(|| malformed(format!("it has no field {name}")))?;
    text.parse()
        .map_err(|_| malformed(format!("field {name} is {text:?}")))
}

/// Reads the body of a response.
pub(crate) fn read_body<T: serde::de::DeserializeOwned>(
    address: &str,
    code: i32,
    response: &RemotingCommand,
) -> Result<T, ClientError> {
    body::read(&response.body).map_err(|what| ClientError::Response {
        address: address.to_owned(),
        code,
        what,
    })
}

impl Instance {
    pub async fn unregister_from(
        &self,
        address: &str,
        group_field: &'static str,
        group: &str,
    ) -> Result<(), ClientError> {
        let fields: [(&'static str, Value<'_>); 2] =
            [("clientID", &self.client_id), (group_field, &group)];
        let request = request(request::UNREGISTER_CLIENT, &fields);
        self.call(address, request, LOOKUP_TIMEOUT).await.map(drop)
    }

    /// Ids of the members of a group that this broker knows.
    pub async fn consumer_ids(
        &self,
        address: &str,
        group: &str,
    ) -> Result<Vec<String>, ClientError> {
        let code = request::GET_CONSUMER_LIST_BY_GROUP;
        let response = self
            .call(
                address,
                request(code, &[("consumerGroup", &group)]),
                LOOKUP_TIMEOUT,
            )
            .await?;
        Ok(
            read_body::<GetConsumerListByGroupResponseBody>(address, code, &response)?
                .consumer_id_list,
        )
    }

    /// Our queues of a topic, as the broker shares them out among the group; `None` if it can't say.
    pub async fn assignment(
        &self,
        address: &str,
        group: &str,
        topic: &str,
        strategy_name: String,
    ) -> Result<Option<Vec<MessageQueueAssignment>>, ClientError> {
        let code = request::QUERY_ASSIGNMENT;
        let query = QueryAssignmentRequestBody {
            client_id: self.client_id.clone(),
            consumer_group: group.to_owned(),
            message_model: MessageModel::Clustering,
            strategy_name,
            topic: topic.to_owned(),
        };
        let request = request(code, &[]).with_body(body::write(&query));
        let response = self.call(address, request, LOOKUP_TIMEOUT).await?;
        let answer: QueryAssignmentResponseBody = read_body(address, code, &response)?;
        Ok(answer.message_queue_assignments)
    }

    /// Has the broker compile an expression.
    pub async fn check_subscription(
        &self,
        address: &str,
        group: &str,
        subscription: &SubscriptionData,
    ) -> Result<(), ClientError> {
        let body = CheckClientRequestBody {
            client_id: Some(self.client_id.clone()),
            group: Some(group.to_owned()),
            namespace: Some(String::new()),
            subscription_data: Some(subscription.clone()),
        };
        let request = request(request::CHECK_CLIENT_CONFIG, &[]).with_body(body::write(&body));
        self.call(address, request, LOOKUP_TIMEOUT).await.map(drop)
    }

    /// The offset a group has committed, `None` if it never has.
    pub async fn committed_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
    ) -> Result<Option<i64>, ClientError> {
        let code = request::QUERY_CONSUMER_OFFSET;
        let (_, address) = self.reader(&queue.broker_name, 0)?;
        let request = request(code, &queue_fields(queue, &[("consumerGroup", &group)]));
        let response = self.call_any(&address, request, OFFSET_TIMEOUT).await?;
        if response.code == response::QUERY_NOT_FOUND {
            return Ok(None);
        }
        let response = succeed(&address, response)?;
        field(&address, code, &response, "offset").map(Some)
    }

    /// Commits and waits for the answer.
    pub async fn commit_offset(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        let (address, request) = self.commit_request(group, queue, offset)?;
        self.call(&address, request, OFFSET_TIMEOUT).await.map(drop)
    }

    /// Commits one-way.
    pub async fn commit_offset_one_way(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(), ClientError> {
        let (address, request) = self.commit_request(group, queue, offset)?;
        Ok(self.remoting.one_way(&address, request).await?)
    }

    fn commit_request(
        &self,
        group: &str,
        queue: &MessageQueue,
        offset: i64,
    ) -> Result<(String, RemotingCommand), ClientError> {
        let (_, address) = self.reader(&queue.broker_name, 0)?;
        let fields = queue_fields(
            queue,
            &[("consumerGroup", &group), ("commitOffset", &offset)],
        );
        Ok((address, request(request::UPDATE_CONSUMER_OFFSET, &fields)))
    }

    /// Position behind the newest message.
    pub async fn max_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.offset_call(request::GET_MAX_OFFSET, queue, &[]).await
    }

    /// Position of the oldest message.
    pub async fn min_offset(&self, queue: &MessageQueue) -> Result<i64, ClientError> {
        self.offset_call(request::GET_MIN_OFFSET, queue, &[])
            .await
            .map(|offset| offset.max(0))
    }

    /// Position of the first message stored at or after `timestamp_ms`.
    pub async fn offset_at(
        &self,
        queue: &MessageQueue,
        timestamp_ms: i64,
    ) -> Result<i64, ClientError> {
        let fields: [(&'static str, Value<'_>); 1] = [("timestamp", &timestamp_ms)];
        self.offset_call(request::SEARCH_OFFSET_BY_TIMESTAMP, queue, &fields)
            .await
    }

    async fn offset_call(
        &self,
        code: i32,
        queue: &MessageQueue,
        more: &[(&'static str, Value<'_>)],
    ) -> Result<i64, ClientError> {
        let address = self.master(&queue.broker_name)?;
        let response = self
            .call(
                &address,
                request(code, &queue_fields(queue, more)),
                OFFSET_TIMEOUT,
            )
            .await?;
        field(&address, code, &response, "offset")
    }

    /// Locks queues of one broker for us; tells which we hold now.
    pub async fn lock(
        &self,
        broker_name: &str,
        group: &str,
        queues: &[MessageQueue],
    ) -> Result<Vec<MessageQueue>, ClientError> {
        let address = self.master(broker_name)?;
        let code = request::LOCK_BATCH_MQ;
        let request = request(code, &[]).with_body(self.lock_body(group, queues));
        let response = self.call(&address, request, LOCK_TIMEOUT).await?;
        Ok(read_body::<LockBatchResponseBody>(&address, code, &response)?.lock_ok_mq_set)
    }

    /// Gives queues of one broker up.
    pub async fn unlock(
        &self,
        broker_name: &str,
        group: &str,
        queues: &[MessageQueue],
    ) -> Result<(), ClientError> {
        let address = self.master(broker_name)?;
        let request =
            request(request::UNLOCK_BATCH_MQ, &[]).with_body(self.lock_body(group, queues));
        self.call(&address, request, LOCK_TIMEOUT).await.map(drop)
    }

    fn lock_body(&self, group: &str, queues: &[MessageQueue]) -> Vec<u8> {
        body::write(&LockBatchRequestBody {
            client_id: self.client_id.clone(),
            consumer_group: group.to_owned(),
            mq_set: queues.to_vec(),
            only_this_broker: false,
        })
    }

    /// Puts a message back for a later delivery.
    pub async fn send_back(&self, back: &SendBack<'_>) -> Result<(), ClientError> {
        let address = self.master(back.broker_name)?;
        let fields: [(&'static str, Value<'_>); 8] = [
            ("group", &back.group),
            ("originTopic", &back.topic),
            ("offset", &back.physical_offset),
            ("delayLevel", &back.delay_level),
            ("originMsgId", &back.message_id),
            ("maxReconsumeTimes", &back.max_reconsume_times),
            ("unitMode", &false),
            ("bname", &back.broker_name),
        ];
        let request = request(request::CONSUMER_SEND_MSG_BACK, &fields);
        self.call(&address, request, SEND_BACK_TIMEOUT)
            .await
            .map(drop)
    }
}

/// CONSUMER_SEND_MSG_BACK.
#[derive(Debug)]
pub(crate) struct SendBack<'a> {
    pub broker_name: &'a str,
    pub group: &'a str,
    pub topic: &'a str,
    pub physical_offset: i64,
    /// 0 lets the broker choose by the number of deliveries.
    pub delay_level: i32,
    pub message_id: &'a str,
    pub max_reconsume_times: i32,
}

fn queue_fields<'a>(
    queue: &'a MessageQueue,
    more: &[(&'static str, Value<'a>)],
) -> Vec<(&'static str, Value<'a>)> {
    let own: [(&'static str, Value<'_>); 3] = [
        ("topic", &queue.topic),
        ("queueId", &queue.queue_id),
        ("bname", &queue.broker_name),
    ];
    own.into_iter().chain(more.iter().copied()).collect()
}
