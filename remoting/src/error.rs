//! What can go wrong between two peers.

use std::io;
use std::time::Duration;

use sluice_protocol::frame::FrameError;

/// Why a connection ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CloseReason {
    /// The peer closed it.
    #[error("closed by the peer")]
    Peer,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(String),
    /// The peer sent bytes that are no command.
    #[error("undecodable frame: {0}")]
    Frame(#[from] FrameError),
    /// Neither read nor written for too long.
    #[error("idle for {0:?}")]
    Idle(Duration),
    /// The peer asks but does not read the answers.
    #[error("the peer does not read: {pending} bytes wait to be sent, the limit is {limit}")]
    NotReading {
        /// Bytes waiting.
        pending: usize,
        /// Most that may wait.
        limit: usize,
    },
    /// The peer has taken nothing of what waits for it for too long.
    #[error("the peer has not read anything for {0:?}")]
    Stalled(Duration),
    /// The peer takes what waits for it, but slower than it may.
    #[error("the peer reads too slowly: {pending} bytes wait to be sent")]
    SlowReader {
        /// Bytes waiting.
        pending: u64,
    },
    /// The peer has begun a frame and does not come to its end.
    #[error("a frame comes too slowly: {missing} bytes of it are missing")]
    SlowFrame {
        /// Bytes to come.
        missing: u64,
    },
    /// A response was due and nothing came at all.
    #[error("silent for {0:?} while a response was due")]
    Silent(Duration),
    /// Answers had been given that are not true.
    #[error("answers are withheld: {0}")]
    Withheld(String),
    /// We closed it.
    #[error("{0}")]
    Local(&'static str),
}

impl CloseReason {
    /// Whether the peer was dropped for what it did, and not by agreement.
    pub(crate) fn is_reproach(&self) -> bool {
        match self {
            CloseReason::Peer | CloseReason::Io(_) | CloseReason::Idle(_) => false,
            CloseReason::Silent(_) | CloseReason::Local(_) | CloseReason::Withheld(_) => false,
            CloseReason::Frame(_)
            | CloseReason::NotReading { .. }
            | CloseReason::Stalled(_)
            | CloseReason::SlowReader { .. }
            | CloseReason::SlowFrame { .. } => true,
        }
    }
}

/// Why a call has no response, or a server can't be started.
#[derive(Debug, thiserror::Error)]
pub enum RemotingError {
    /// The address does not answer.
    #[error("connect to {address} failed: {source}")]
    Connect {
        /// Whom we dialled.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
    /// No connection within the time.
    #[error("connect to {address} took longer than {timeout:?}")]
    ConnectTimeout {
        /// Whom we dialled.
        address: String,
        /// Time allowed.
        timeout: Duration,
    },
    /// The connection ended before the response came.
    #[error("connection to {address} ended: {reason}")]
    Closed {
        /// The peer.
        address: String,
        /// Why it ended.
        reason: CloseReason,
    },
    /// No response within the time.
    #[error("no response from {address} to request {code} within {timeout:?}")]
    Timeout {
        /// The peer.
        address: String,
        /// Request code.
        code: i32,
        /// Time allowed.
        timeout: Duration,
    },
    /// The request does not fit into a frame.
    #[error("request to {address} can't be sent: {source}")]
    Unsendable {
        /// The peer.
        address: String,
        /// What is too large.
        source: FrameError,
    },
    /// The address can't be listened on.
    #[error("listen on {address} failed: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why it failed.
        source: io::Error,
    },
    /// TLS can't be set up.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
}
