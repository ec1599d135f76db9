//! Knows which broker serves which topic and tells whoever asks.
//!
//! [`NameServer::start`] serves the route table of [`routes`] and the key-value settings of [`kv`]
//! over one listener; [`dispatch`] is the list of what it answers.

mod address_page;
pub mod config;
pub mod dispatch;
pub mod kv;
pub mod routes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use config::NamesrvConfig;
use parking_lot::RwLock;
use sluice_remoting::{RemotingError, Server};

use crate::dispatch::{Answers, Dispatch};
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
    /// The page of name servers can't be listened on.
    #[error("{address} can't be listened on for the page of name servers: {source}")]
    AddressPage {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
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
pub struct NameServer {
    server: Server,
    scan: tokio::task::JoinHandle<()>,
    /// The page of name servers: where, and the task.
    page: Option<(SocketAddr, tokio::task::JoinHandle<()>)>,
    answers: Arc<Answers>,
}

impl std::fmt::Debug for NameServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NameServer")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl NameServer {
    /// Starts serving.
    ///
    /// # Errors
    /// The port can't be listened on, or the key-value file can't be read.
    pub async fn start(config: NamesrvConfig) -> Result<NameServer, NamesrvError> {
        let answers = Arc::new(Answers {
            kv: KvConfig::load(config.kv_config_path.clone())?,
            routes: Routes::default(),
            broker_beside: OnceLock::new(),
            config: RwLock::new(config.clone()),
        });
        let dispatch = Arc::new(Dispatch(answers.clone()));
        let server = Server::start(config.listen, config.server, dispatch).await?;
        let page = match config.address_service_port {
            0 => None,
            port => {
                let listen = SocketAddr::new(config.listen.ip(), port);
                let own = server.address().port();
                Some(address_page::serve(listen, config.nsaddr, own).await?)
            }
        };
        let scanned = answers.clone();
        let scan = tokio::spawn(async move {
            let mut interval = tokio::time::interval(SCAN_INTERVAL);
            loop {
                interval.tick().await;
                scanned.routes.drop_silent(now_ms());
            }
        });
        Ok(NameServer {
            server,
            scan,
            page,
            answers,
        })
    }

    /// Names the broker of this process by the address under which it registers. Each client is
    /// given its port at the address by which that client reached the name server.
    pub fn set_broker_beside(&self, address: SocketAddr) {
        // Only the first counts: a process has one broker.
        let _ = self.answers.broker_beside.set(address);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Where it tells over HTTP who is a name server, if it does.
    pub fn page_address(&self) -> Option<SocketAddr> {
        self.page.as_ref().map(|(address, _)| *address)
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
        if let Some((_, serving)) = &self.page {
            serving.abort();
        }
    }
}

pub(crate) fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}
