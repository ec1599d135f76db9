//! Server-side queue allocation: who works on which queue, and how.

use serde::{Deserialize, Serialize};

use super::tolerant::{self, java_enum};
use super::{MessageModel, MessageQueue};

java_enum! {
    /// How a client fetches from a queue that it was assigned.
    MessageRequestMode { #[default] Pull = "PULL", Pop = "POP" }
}

/// QUERY_ASSIGNMENT (400): which queues of the topic are this client's?
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct QueryAssignmentRequestBody {
    #[serde(deserialize_with = "tolerant::or_default")]
    pub client_id: String,
    #[serde(deserialize_with = "tolerant::or_default")]
    pub consumer_group: String,
    pub message_model: MessageModel,
    #[serde(deserialize_with = "tolerant::or_default")]
    pub strategy_name: String,
    #[serde(deserialize_with = "tolerant::or_default")]
    pub topic: String,
}

/// The answer to 400. `None` is no answer: the client keeps what it has and asks again; an empty
/// list takes everything from it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct QueryAssignmentResponseBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_queue_assignments: Option<Vec<MessageQueueAssignment>>,
}

/// One queue of a client. With POP, queue id -1 stands for all queues of the broker.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct MessageQueueAssignment {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_queue: Option<MessageQueue>,
    pub mode: MessageRequestMode,
}

/// SET_MESSAGE_REQUEST_MODE (401): how a group fetches a topic.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)]
pub struct SetMessageRequestModeRequestBody {
    #[serde(deserialize_with = "tolerant::or_default")]
    pub consumer_group: String,
    pub mode: MessageRequestMode,
    /// With POP: how many of the next members' shares each member pops too.
    #[serde(deserialize_with = "tolerant::number")]
    pub pop_share_queue_num: i32,
    #[serde(deserialize_with = "tolerant::or_default")]
    pub topic: String,
}
