//! What can go wrong.

use std::io;
use std::path::PathBuf;

use sluice_client::ClientError;
use sluice_plugins::PluginError;
use sluice_store::StoreError;

/// A command that can't be carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The broker refuses; in its own words.
    #[error("{0}")]
    Refused(String),
    /// No broker answers.
    #[error("no broker answers at {address}: {cause}")]
    Unreachable {
        /// Its URL.
        address: String,
        /// Why.
        cause: String,
    },
    /// No name server answers.
    #[error(
        "no name server answers at {addresses}: {cause}\nName those of your cluster with -n or NAMESRV_ADDR; `sluice dev` starts one here"
    )]
    NoNameServer {
        /// All that were asked.
        addresses: String,
        /// What came of it.
        cause: String,
    },
    /// A server of the cluster can't be asked, or a message not be sent.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// What answers is no broker of a version that this program knows.
    #[error("{address} answers what is not understood: {cause}")]
    Answer {
        /// Its URL.
        address: String,
        /// What is wrong with the answer.
        cause: String,
    },
    /// The command makes no sense.
    #[error("{0}")]
    Command(String),
    /// A file can't be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file says what can't be.
    #[error("{}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Where and what.
        what: String,
    },
    /// The offline host refuses the plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// A store directory can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Standard output can't be written.
    #[error("standard output can't be written: {0}")]
    Output(#[from] io::Error),
}

impl AdminError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> AdminError {
        let path = path.into();
        move |source| AdminError::File { path, source }
    }
}
