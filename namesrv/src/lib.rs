//! Knows which broker serves which topic and tells whoever asks.
//!
//! [`NameServer::start`] serves the route table of [`routes`] and the key-value settings of [`kv`]
//! over one listener; [`dispatch`] is the list of what it answers.

pub mod config;
pub mod dispatch;
pub mod kv;
pub mod routes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use config::NamesrvConfig;
use sluice_remoting::{RemotingError, Server};

use crate::dispatch::Dispatch;
use crate::kv::KvConfig;
use crate::routes::Routes;

/// How often brokers that have fallen silent are looked for (`scanNotActiveBrokerInterval`).
const SCAN_INTERVAL: Duration = Duration::from_secs(5);

/// The name server can't be started.
#[derive(Debug, thiserror::Error)]
pub enum NamesrvError {
    /// The port can't be listened on, or TLS can't be set up.
    #[error(transparent)]
    Remoting(#[from] RemotingError),
    /// The key-value file can't be read or written.
    #[error("{path:?}: {what}")]
    KvFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A running name server. Dropped, it stops.
#[derive(Debug)]
pub struct NameServer {
    server: Server,
    scan: tokio::task::JoinHandle<()>,
}

impl NameServer {
    /// Starts serving.
    ///
    /// # Errors
    /// The port can't be listened on, or the key-value file can't be read.
    pub async fn start(config: NamesrvConfig) -> Result<NameServer, NamesrvError> {
        let routes = Arc::new(Routes::default());
        let kv = KvConfig::load(config.kv_config_path.clone())?;
        let dispatch = Arc::new(Dispatch::new(config.clone(), routes.clone(), kv));
        let server = Server::start(config.listen, config.server, dispatch).await?;
        let scan = tokio::spawn(async move {
            let mut interval = tokio::time::interval(SCAN_INTERVAL);
            loop {
                interval.tick().await;
                routes.drop_silent(now_ms());
            }
        });
        Ok(NameServer { server, scan })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Stops accepting, lets answers leave, closes everything.
    pub async fn shutdown(&self) {
        self.scan.abort();
        self.server.shutdown(Duration::from_secs(1)).await;
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.scan.abort();
    }
}

pub(crate) fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}
