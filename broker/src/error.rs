//! What can go wrong in the broker, and the one place where it becomes a response code.

use std::io;
use std::path::PathBuf;

use sluice_protocol::code::{left_out, request, response};
use sluice_protocol::header::HeaderError;
use sluice_store::{AppendError, StoreError};

/// The broker can't be started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The store can't be opened or closed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The port can't be listened on, TLS can't be set up.
    #[error(transparent)]
    Remoting(#[from] sluice_remoting::RemotingError),
    /// A file under `config/` can't be read.
    #[error("{path:?} can't be read: {what}")]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file under `config/` can't be written.
    #[error("{path:?} can't be written: {source}")]
    Persist {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The plugins' files can't be read or written.
    #[error(transparent)]
    Plugins(#[from] sluice_plugins::PluginError),
    /// Settings that contradict each other or this machine.
    #[error("{0}")]
    Config(String),
}

/// Why a request is refused. [`Refusal::code`] is the only place that knows response codes.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A header field is missing or unreadable.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// The body can't be read.
    #[error("the request body can't be read: {0}")]
    Body(String),
    /// A parameter has an impossible value; the text says which.
    #[error("{0}")]
    InvalidParameter(String),
    /// Forbidden by a permission, on broker, topic or group.
    #[error("{0}")]
    NoPermission(String),
    /// No such topic.
    #[error(
        "topic[{0}] not exist, apply first please!\nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    )]
    TopicNotExist(String),
    /// No such topic, in the words of administrative requests.
    #[error("{0}")]
    NoSuchTopic(String),
    /// No such group.
    #[error(
        "subscription group [{0}] does not exist, \nSee https://rocketmq.apache.org/docs/bestPractice/06FAQ for further details."
    )]
    GroupNotExist(String),
    /// No such group, in the words of administrative requests.
    #[error("{0}")]
    NoSuchGroup(String),
    /// No member of the group is connected, or its subscription is missing.
    #[error("{0}")]
    SubscriptionNotExist(String),
    /// The subscription known here is older than the asking client's.
    #[error("the consumer's subscription not latest")]
    SubscriptionNotLatest,
    /// The expression does not parse.
    #[error("parse the consumer's subscription failed: {0}")]
    SubscriptionParse(String),
    /// The message can't be stored as it is; sending it again is in vain.
    #[error("{0}")]
    MessageIllegal(String),
    /// A send hook does not let the message in.
    #[error("{reason}")]
    Rejected {
        /// Its response code; producers retry 1, 2, 14, 16, 17, 204 and 205.
        code: i32,
        /// What the producer is told.
        reason: String,
    },
    /// A decision on a transaction that is no longer its producer's to make unasked.
    #[error(
        "the transaction's CHECK_IMMUNITY_TIME_IN_SECONDS is over, its producer is asked instead"
    )]
    TooLateToDecide,
    /// What was asked for can't be done, or no longer; the text says why.
    #[error("{0}")]
    IllegalOperation(String),
    /// Not now; the text says what is not.
    #[error("{0}")]
    Unavailable(String),
    /// Too much of the same is under way; the text names it.
    #[error("{0}")]
    Busy(String),
    /// What was asked for is done, but not kept yet.
    #[error(transparent)]
    Unsettled(#[from] crate::changes::Unsettled),
    /// The store does not take it.
    #[error("{0}")]
    Append(#[from] AppendError),
    /// Nothing stored under what was asked for.
    #[error("{0}")]
    NotFound(String),
    /// No message lies where an ack says.
    #[error("{0}")]
    NoMessage(String),
    /// The time that a pop would wait is over already.
    #[error("{0}")]
    PollingTimeout(String),
    /// The group's consumers are not connected.
    #[error("{0}")]
    ConsumerNotOnline(String),
    /// The consumer did not answer in time.
    #[error("{0}")]
    ConsumerTimeout(String),
    /// The request belongs to a part of RocketMQ that is left out here.
    #[error("{request} belongs to {feature}, which Sluice does not have")]
    LeftOut {
        /// RocketMQ's name of the request.
        request: &'static str,
        /// The part.
        feature: &'static str,
    },
    /// RocketMQ knows the request, this broker does not serve it yet.
    #[error("{0} is not served by this broker yet")]
    NotServed(&'static str),
    /// Nobody knows the request.
    #[error(" request type {0} not supported")]
    Unknown(i32),
    /// Anything else; the text says what.
    #[error("{0}")]
    System(String),
}

impl Refusal {
    /// Of a request that no handler is for.
    pub(crate) fn not_served(code: i32) -> Refusal {
        match (request::name(code), left_out(code)) {
            (Some(request), Some(feature)) => Refusal::LeftOut { request, feature },
            (Some(request), None) => Refusal::NotServed(request),
            (None, _) => Refusal::Unknown(code),
        }
    }

    /// The response code of RocketMQ 5.3.3 for this refusal.
    pub fn code(&self) -> i32 {
        match self {
            Refusal::Header(_) | Refusal::Body(_) | Refusal::System(_) | Refusal::Unsettled(_) => {
                response::SYSTEM_ERROR
            }
            Refusal::TooLateToDecide | Refusal::IllegalOperation(_) => response::ILLEGAL_OPERATION,
            Refusal::Busy(_) => response::SYSTEM_BUSY,
            Refusal::Rejected { code, .. } => *code,
            Refusal::InvalidParameter(_) => response::INVALID_PARAMETER,
            Refusal::NoPermission(_) => response::NO_PERMISSION,
            Refusal::TopicNotExist(_) | Refusal::NoSuchTopic(_) => response::TOPIC_NOT_EXIST,
            Refusal::GroupNotExist(_) | Refusal::NoSuchGroup(_) => {
                response::SUBSCRIPTION_GROUP_NOT_EXIST
            }
            Refusal::SubscriptionNotExist(_) => response::SUBSCRIPTION_NOT_EXIST,
            Refusal::SubscriptionNotLatest => response::SUBSCRIPTION_NOT_LATEST,
            Refusal::SubscriptionParse(_) => response::SUBSCRIPTION_PARSE_FAILED,
            Refusal::MessageIllegal(_) => response::MESSAGE_ILLEGAL,
            Refusal::Append(
                AppendError::TooLarge { .. }
                | AppendError::Malformed(_)
                | AppendError::Place { .. },
            ) => response::MESSAGE_ILLEGAL,
            Refusal::Append(AppendError::CreateFile { .. }) => response::SYSTEM_ERROR,
            Refusal::Append(_) | Refusal::Unavailable(_) => response::SERVICE_NOT_AVAILABLE,
            Refusal::NotFound(_) => response::QUERY_NOT_FOUND,
            Refusal::NoMessage(_) => response::NO_MESSAGE,
            Refusal::PollingTimeout(_) => response::POLLING_TIMEOUT,
            Refusal::ConsumerNotOnline(_) => response::CONSUMER_NOT_ONLINE,
            Refusal::ConsumerTimeout(_) => response::CONSUME_MSG_TIMEOUT,
            Refusal::LeftOut { .. } | Refusal::NotServed(_) | Refusal::Unknown(_) => {
                response::REQUEST_CODE_NOT_SUPPORTED
            }
        }
    }
}
