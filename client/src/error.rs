//! What can go wrong, as users see it.

use std::path::PathBuf;
use std::time::Duration;

use sluice_allocation::MessageQueue;
use sluice_protocol::code;
use sluice_remoting::{NoAddresses, RemotingError};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// An argument or setting is out of its bounds; nothing was sent.
    #[error("{what} {why}")]
    Invalid {
        /// Which argument or setting, with its value where that helps.
        what: String,
        /// What is expected.
        why: String,
    },
    /// No name server answers.
    #[error("none of the name servers {addresses:?} answers; the last one: {last}")]
    NameServers {
        /// All that were tried.
        addresses: Vec<String>,
        /// What the last one said.
        last: Box<ClientError>,
    },
    /// The address service tells no name servers.
    #[error(transparent)]
    AddressService(#[from] NoAddresses),
    /// The name servers know no broker that serves the topic.
    #[error("no route for topic {topic}: no broker that serves it has registered it")]
    NoRoute {
        /// The topic.
        topic: String,
    },
    /// The topic exists, but none of its queues can be written now.
    #[error("no queue of topic {topic} is writable: no master with write permission is registered")]
    NotWritable {
        /// The topic.
        topic: String,
    },
    /// No address of the broker is known.
    #[error("no address of broker {broker_name} is known: it is not in any route that was fetched")]
    BrokerUnknown {
        /// The broker's name.
        broker_name: String,
    },
    /// The peer answered with a code other than success.
    #[error("{address} refused with code {code} {name}: {remark}", name = code_name(*code))]
    Refused {
        /// Who refused.
        address: String,
        /// Response code, see [`sluice_protocol::code::response`].
        code: i32,
        /// The peer's explanation.
        remark: String,
    },
    /// No connection, or no response in time; the request may have been carried out.
    #[error(transparent)]
    Remoting(#[from] RemotingError),
    /// The response lacks something or does not parse.
    #[error("response of {address} to request {code} is malformed: {what}")]
    Response {
        /// Who answered.
        address: String,
        /// Request code.
        code: i32,
        /// What is wrong.
        what: String,
    },
    /// Every attempt to send failed.
    #[error("message not sent after {attempts} attempts in {elapsed:?}; the last one: {last}")]
    Exhausted {
        /// Attempts made.
        attempts: u32,
        /// Time they took together.
        elapsed: Duration,
        /// Why the last one failed.
        last: Box<ClientError>,
    },
    /// The time for the whole call is over.
    #[error("not done within {timeout:?}")]
    Timeout {
        /// Time allowed.
        timeout: Duration,
    },
    /// The queue is not assigned to this consumer.
    #[error("{topic}-{broker}-{id} is not assigned to this consumer", topic = .0.topic, broker = .0.broker_name, id = .0.queue_id)]
    NotAssigned(MessageQueue),
    /// A compressed body does not decompress.
    #[error("body of message {message_id} does not decompress: {what}")]
    Compression {
        /// The message.
        message_id: String,
        /// What is wrong.
        what: String,
    },
    /// The local offset file of a broadcasting consumer.
    #[error("offset file {path:?}: {what}")]
    OffsetFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The client was shut down.
    #[error("the client is shut down")]
    ShutDown,
}

impl ClientError {
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        ClientError::Invalid {
            what: what.into(),
            why: why.into(),
        }
    }

    /// The response code if a peer refused.
    pub fn refusal_code(&self) -> Option<i32> {
        match self {
            ClientError::Refused { code, .. } => Some(*code),
            ClientError::Exhausted { last, .. } | ClientError::NameServers { last, .. } => {
                last.refusal_code()
            }
            _ => None,
        }
    }

    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, ClientError::Remoting(RemotingError::Timeout { .. }))
    }
}

fn code_name(code: i32) -> &'static str {
    code::response::name(code).unwrap_or("UNKNOWN")
}
