//! The dialling side: one connection per address, made on demand and kept.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sluice_protocol::RemotingCommand;
use sluice_protocol::code::response;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::Handler;
use crate::connection::Connection;
use crate::driver;
use crate::error::{CloseReason, RemotingError};
use crate::stream::Stream;
use crate::tls::{self, TlsClientOptions};

/// A peer that is silent for less is not taken for dead, however little time a call has.
const SILENCE_MIN: Duration = Duration::from_millis(50);
const CLOSED_BY_OWNER: CloseReason = CloseReason::Local("closed by its owner");

/// Settings of the dialling side.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Most time to connect, TLS handshake included.
    pub connect_timeout: Duration,
    /// Largest frame, its length word included, bytes.
    pub frame_size_max: usize,
    /// A connection without any traffic for this long is closed.
    pub idle: Duration,
    /// As [`crate::ServerOptions::stall`].
    pub stall: Duration,
    /// `tls.enable`: connect encrypted.
    pub tls: Option<TlsClientOptions>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            connect_timeout: Duration::from_secs(3),
            frame_size_max: sluice_protocol::frame::FRAME_SIZE_MAX,
            idle: Duration::from_secs(120),
            stall: Duration::from_secs(60),
            tls: None,
        }
    }
}

/// What there is for one address.
#[derive(Default)]
struct Slot {
    connection: Option<Arc<Connection>>,
    /// Held while the address is being dialled, so that it is dialled once.
    dialling: Arc<tokio::sync::Mutex<()>>,
}

/// Calls peers by address. Dropped, it closes its connections.
pub struct Client {
    handler: Arc<dyn Handler>,
    options: ClientOptions,
    connector: Option<TlsConnector>,
    slots: Mutex<HashMap<String, Slot>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1 << 63);

impl Client {
    /// A client whose peers' own requests go to `handler`.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(options: ClientOptions, handler: Arc<dyn Handler>) -> Result<Client, RemotingError> {
        let connector = options.tls.as_ref().map(tls::connector).transpose()?;
        Ok(Client {
            handler,
            options,
            connector,
            slots: Mutex::default(),
        })
    }

    /// Sends a request to `address` (`host:port`) and waits for its response, connecting if need be.
    ///
    /// A peer that answers GO_AWAY is leaving: the request is sent once more over a new connection.
    /// One from which nothing at all comes within `timeout` is taken for dead, its connection closed.
    ///
    /// # Errors
    /// No connection, or no response, within `timeout`, connecting included.
    pub async fn call(
        &self,
        address: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, RemotingError> {
        let start = Instant::now();
        let (connection, response) = self.call_once(address, request.clone(), timeout).await?;
        if response.code != response::GO_AWAY {
            return Ok(response);
        }
        connection.close(CloseReason::Local("the peer said that it goes away"));
        let left = timeout.saturating_sub(start.elapsed());
        let (_, response) = self.call_once(address, request, left).await?;
        Ok(response)
    }

    async fn call_once(
        &self,
        address: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<(Arc<Connection>, RemotingCommand), RemotingError> {
        let start = Instant::now();
        let connected = tokio::time::timeout(timeout, self.connection(address)).await;
        let connection = connected.map_err(|_| RemotingError::ConnectTimeout {
            address: address.to_owned(),
            timeout,
        })??;
        let left = timeout.saturating_sub(start.elapsed());
        let response = call_living(&connection, request, left).await?;
        Ok((connection, response))
    }

    /// Sends a request to `address` and forgets it.
    ///
    /// # Errors
    /// No connection.
    pub async fn one_way(
        &self,
        address: &str,
        request: RemotingCommand,
    ) -> Result<(), RemotingError> {
        let connection = self.connection(address).await?;
        connection.room().await;
        connection.one_way(request);
        Ok(())
    }

    /// The living connection to `address`, made if there is none.
    ///
    /// # Errors
    /// [`RemotingError::Connect`] or [`RemotingError::ConnectTimeout`].
    pub async fn connection(&self, address: &str) -> Result<Arc<Connection>, RemotingError> {
        if let Some(connection) = self.existing(address) {
            return Ok(connection);
        }
        let dialling = self
            .slots
            .lock()
            .entry(address.to_owned())
            .or_default()
            .dialling
            .clone();
        let _one_at_a_time = dialling.lock().await;
        if let Some(connection) = self.existing(address) {
            return Ok(connection);
        }
        let connection = self.dial(address).await?;
        match self.slots.lock().get_mut(address) {
            Some(slot) if Arc::ptr_eq(&slot.dialling, &dialling) => {
                slot.connection = Some(connection.clone());
            }
            // The slot was taken away meanwhile: nobody would find this connection to close it.
            _ => connection.close(CLOSED_BY_OWNER),
        }
        Ok(connection)
    }

    /// The living connection to `address`, if there is one.
    pub fn existing(&self, address: &str) -> Option<Arc<Connection>> {
        let slots = self.slots.lock();
        let connection = slots.get(address)?.connection.as_ref()?;
        (!connection.is_closed()).then(|| connection.clone())
    }

    /// Closes the connection to `address`, if there is one, or as soon as it is made if it is being
    /// dialled.
    pub fn close(&self, address: &str) {
        let slot = self.slots.lock().remove(address);
        if let Some(connection) = slot.and_then(|slot| slot.connection) {
            connection.close(CLOSED_BY_OWNER);
        }
    }

    async fn dial(&self, address: &str) -> Result<Arc<Connection>, RemotingError> {
        let timeout = self.options.connect_timeout;
        let dialled = tokio::time::timeout(timeout, self.open(address)).await;
        let (stream, connection) = dialled
            .map_err(|_| RemotingError::ConnectTimeout {
                address: address.to_owned(),
                timeout,
            })?
            .map_err(|source| RemotingError::Connect {
                address: address.to_owned(),
                source,
            })?;
        let driven = driver::drive(
            stream,
            connection.clone(),
            self.handler.clone(),
            self.options.frame_size_max,
        );
        let (peer, watched) = (connection.peer(), connection.clone());
        let (idle, stall) = (self.options.idle, self.options.stall);
        tokio::spawn(async move {
            let reason = tokio::select! {
                reason = driven => reason,
                never = watch(&watched, idle, stall) => match never {},
            };
            if reason.is_reproach() {
                tracing::warn!(%peer, %reason, "connection dropped");
            } else {
                tracing::debug!(%peer, %reason, "connection ended");
            }
        });
        Ok(connection)
    }

    async fn open(&self, address: &str) -> std::io::Result<(Stream, Arc<Connection>)> {
        let tcp = TcpStream::connect(address).await?;
        let _ = tcp.set_nodelay(true);
        let (peer, local) = (tcp.peer_addr()?, tcp.local_addr()?);
        let stream = match &self.connector {
            Some(connector) => Stream::TlsClient(Box::new(
                connector.connect(tls::server_name(address), tcp).await?,
            )),
            None => Stream::Plain(tcp),
        };
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok((
            stream,
            Connection::new(
                id,
                peer,
                local,
                self.connector.is_some(),
                0,
                self.options.frame_size_max,
            ),
        ))
    }
}

/// Calls, and ends the connection when nothing came while the call waited.
async fn call_living(
    connection: &Connection,
    request: RemotingCommand,
    timeout: Duration,
) -> Result<RemotingCommand, RemotingError> {
    let before = connection.bytes_read();
    let outcome = connection.call(request, timeout).await;
    let is_late = matches!(outcome, Err(RemotingError::Timeout { .. }));
    if is_late && timeout >= SILENCE_MIN && connection.bytes_read() == before {
        connection.close(CloseReason::Silent(timeout));
    }
    outcome
}

/// Looks once a second whether the connection is still worth keeping.
async fn watch(connection: &Connection, idle: Duration, stall: Duration) -> Infallible {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        interval.tick().await;
        connection.close_if_unused(idle, stall);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for slot in self.slots.get_mut().values() {
            if let Some(connection) = &slot.connection {
                connection.close(CloseReason::Local("the client is shut down"));
            }
        }
    }
}
