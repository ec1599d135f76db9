//! Accepts connections and drives each on a task of its own.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::Handler;
use crate::connection::Connection;
use crate::driver;
use crate::error::{CloseReason, RemotingError};
use crate::log_limit::LogLimit;
use crate::open_files::OpenFiles;
use crate::stream::Stream;
use crate::tls::{self, TlsMode, TlsServerOptions};

/// Most time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests of ours count their opaques from here, far from where clients begin: one of them (.NET)
/// takes our request for an answer when the two meet.
const FIRST_OPAQUE: i32 = 0x4000_0000;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;
/// After a failed accept, as when there are no more files or no more memory.
const AGAIN: Duration = Duration::from_millis(100);
const SHUTTING_DOWN: &str = "the server is shutting down";

/// Limits and settings of a listener.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Most connections at a time; one more is closed at once. So is one that would leave too few of the
    /// files that this process may open.
    pub connections_max: usize,
    /// Largest frame, its length word included, bytes.
    pub frame_size_max: usize,
    /// A connection without any traffic for this long is closed, also one that never said anything.
    pub idle: Duration,
    /// A peer that takes nothing of what waits for it for this long is closed. So is one that needs
    /// this and more than a second for every 64 KiB to take what waits or to finish a frame.
    pub stall: Duration,
    /// TLS.
    pub tls: TlsServerOptions,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            connections_max: 65_535,
            frame_size_max: sluice_protocol::frame::FRAME_SIZE_MAX,
            idle: Duration::from_secs(120),
            stall: Duration::from_secs(60),
            tls: TlsServerOptions::default(),
        }
    }
}

/// A listener and its connections. Dropped, it stops accepting and closes them.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

struct Shared {
    handler: Arc<dyn Handler>,
    options: ServerOptions,
    acceptor: Option<TlsAcceptor>,
    permits: Arc<Semaphore>,
    open_files: OpenFiles,
    connections: Mutex<HashMap<u64, Weak<Connection>>>,
    refused: LogLimit,
    dropped: LogLimit,
    failed: LogLimit,
}

impl Shared {
    fn connections(&self) -> Vec<Arc<Connection>> {
        let connections = self.connections.lock();
        connections.values().filter_map(Weak::upgrade).collect()
    }

    fn note_refused(&self, peer: SocketAddr, reason: &str) {
        if self.refused.admits() {
            tracing::warn!(%peer, reason, "connection refused");
        }
    }

    fn note_ended(&self, peer: SocketAddr, reason: &CloseReason) {
        if reason.is_reproach() && self.dropped.admits() {
            tracing::warn!(%peer, %reason, "connection dropped");
        } else {
            tracing::debug!(%peer, %reason, "connection ended");
        }
    }

    fn note_failed(&self, error: &io::Error) {
        if self.failed.admits() {
            tracing::warn!(%error, open_files_max = %self.open_files, "accepting a connection failed");
        }
    }

    /// Says how many lines the limits have held back.
    fn note_held_back(&self) {
        if let Some(count) = self.refused.held_back() {
            tracing::warn!(count, "more connections refused within a minute");
        }
        if let Some(count) = self.dropped.held_back() {
            tracing::warn!(count, "more connections dropped within a minute");
        }
        if let Some(count) = self.failed.held_back() {
            tracing::warn!(count, "accepting failed more often within a minute");
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A port that is taken, but not listened on yet: who connects is refused, and can try another server at
/// once, where one that is accepted would wait for an answer.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: SocketAddr,
}

impl Listener {
    /// Takes `address`.
    ///
    /// # Errors
    /// It is taken, or none of this machine's.
    pub fn bind(address: SocketAddr) -> Result<Listener, RemotingError> {
        let bound = bind(address).and_then(|socket| {
            let bound = socket.local_addr()?.as_socket();
            let address = bound.ok_or(io::ErrorKind::AddrNotAvailable)?;
            Ok(Listener { socket, address })
        });
        bound.map_err(|source| listen_failed(address, source))
    }

    /// Where it will listen; the port is the real one if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn listen(self) -> Result<TcpListener, RemotingError> {
        let Listener { socket, address } = self;
        let listening = || {
            // For connections of who listened here before.
            socket.set_reuse_address(true)?;
            socket.listen(BACKLOG)?;
            TcpListener::from_std(socket.into())
        };
        listening().map_err(|source| listen_failed(address, source))
    }
}

fn listen_failed(address: SocketAddr, source: io::Error) -> RemotingError {
    RemotingError::Listen {
        address: address.to_string(),
        source,
    }
}

impl Server {
    /// Listens on `address` and serves whoever connects.
    ///
    /// # Errors
    /// The address can't be listened on, or TLS can't be set up.
    pub async fn start(
        address: SocketAddr,
        options: ServerOptions,
        handler: Arc<dyn Handler>,
    ) -> Result<Server, RemotingError> {
        Server::serve(Listener::bind(address)?, options, handler)
    }

    /// Listens, and serves whoever connects.
    ///
    /// # Errors
    /// TLS can't be set up, or the port can't be listened on.
    pub fn serve(
        listener: Listener,
        options: ServerOptions,
        handler: Arc<dyn Handler>,
    ) -> Result<Server, RemotingError> {
        let acceptor = tls::acceptor(&options.tls)?;
        let address = listener.address();
        let listener = listener.listen()?;
        let permits = Arc::new(Semaphore::new(options.connections_max));
        let shared = Arc::new(Shared {
            handler,
            options,
            acceptor,
            permits,
            open_files: OpenFiles::allowed(),
            connections: Mutex::default(),
            refused: LogLimit::default(),
            dropped: LogLimit::default(),
            failed: LogLimit::default(),
        });
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(accept_all(listener, shared.clone(), stopped.clone()));
        tokio::spawn(close_unused(shared.clone(), stopped));
        Ok(Server {
            address,
            shared,
            stop,
        })
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections at this moment.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.shared.connections()
    }

    /// Stops accepting and reading, gives requests in flight up to `patience` to be answered and
    /// their answers to leave, closes everything.
    pub async fn shutdown(&self, patience: Duration) {
        let _ = self.stop.send(true);
        self.connections().iter().for_each(|one| one.drain());
        let answered = || !self.connections().iter().any(|one| one.owes_answers());
        let _ = tokio::time::timeout(patience, until(answered)).await;
        self.close_all();
        // The drivers say goodbye, each within its time.
        let gone = until(|| self.shared.connections.lock().is_empty());
        let _ = tokio::time::timeout(2 * driver::FAREWELL, gone).await;
    }

    fn close_all(&self) {
        for connection in self.connections() {
            connection.close(CloseReason::Local(SHUTTING_DOWN));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        self.close_all();
    }
}

async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        // One listener on [::] serves IPv4 as well.
        socket.set_only_v6(false)?;
    }
    match socket.bind(&address.into()) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => take_over(&socket, address)?,
        bound => bound?,
    }
    Ok(socket)
}

/// Takes a port that only has connections left, of who listened there before. A port that is bound with this
/// option can be bound by others with it, so it is not for the first try, and not kept.
fn take_over(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.set_reuse_address(false)
}

async fn accept_all(
    listener: TcpListener,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.changed() => return,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer, &shared, stopped.clone()),
            Err(error) => {
                // Connections end all the time, so try again, but not at once.
                shared.note_failed(&error);
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

fn admit(
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Arc<Shared>,
    stopped: watch::Receiver<bool>,
) {
    if let Some(reason) = shared.open_files.refusal(&stream) {
        shared.note_refused(peer, &reason);
        return;
    }
    let Ok(permit) = shared.permits.clone().try_acquire_owned() else {
        let limit = shared.options.connections_max;
        shared.note_refused(
            peer,
            &format!("the limit of {limit} connections is reached"),
        );
        return;
    };
    let shared = shared.clone();
    tokio::spawn(async move {
        match serve(stream, peer, &shared, permit, stopped).await {
            Ok(Some(reason)) => shared.note_ended(peer, &reason),
            Ok(None) => {}
            Err(reason) => shared.note_refused(peer, &reason),
        }
    });
}

/// Serves a peer to its end and says why that came; `None` if it never said anything.
async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    shared: &Shared,
    _permit: OwnedSemaphorePermit,
    mut stopped: watch::Receiver<bool>,
) -> Result<Option<CloseReason>, String> {
    let _ = stream.set_nodelay(true);
    let local = stream.local_addr().map_err(|error| error.to_string())?;
    let negotiated = tokio::select! {
        negotiated = negotiate(stream, shared) => negotiated?,
        _ = stopped.wait_for(|stopped| *stopped) => None,
    };
    let Some(stream) = negotiated else {
        return Ok(None);
    };
    let tls = !matches!(stream, Stream::Plain(_));
    let connection = Connection::new(
        NEXT_ID.fetch_add(1, Ordering::Relaxed),
        peer,
        local,
        tls,
        FIRST_OPAQUE,
        shared.options.frame_size_max,
    );
    shared
        .connections
        .lock()
        .insert(connection.id(), Arc::downgrade(&connection));
    if *stopped.borrow() {
        // The shutdown may have gone through the connections before this one was among them.
        connection.close(CloseReason::Local(SHUTTING_DOWN));
    }
    let reason = driver::drive(
        stream,
        connection.clone(),
        shared.handler.clone(),
        shared.options.frame_size_max,
    )
    .await;
    shared.connections.lock().remove(&connection.id());
    Ok(Some(reason))
}

/// Tells TLS from plain text by the first byte; `None` when the peer left before it said anything.
async fn negotiate(stream: TcpStream, shared: &Shared) -> Result<Option<Stream>, String> {
    let mut first = [0];
    let peeked = tokio::time::timeout(shared.options.idle, stream.peek(&mut first)).await;
    match peeked {
        Err(_) | Ok(Err(_) | Ok(0)) => return Ok(None),
        Ok(Ok(_)) => {}
    }
    let encrypted = first[0] == tls::HANDSHAKE_BYTE;
    match (&shared.acceptor, encrypted) {
        (Some(acceptor), true) => {
            let accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
            let stream = accepted.map_err(|_| "TLS handshake took too long".to_owned())?;
            Ok(Some(Stream::TlsServer(Box::new(stream.map_err(
                |error| format!("TLS handshake failed: {error}"),
            )?))))
        }
        (None, true) => Err("TLS is off (tls.server.mode, tls.server.certPath)".to_owned()),
        (_, false) if shared.options.tls.mode == TlsMode::Enforcing => {
            Err("plain text, but tls.server.mode is enforcing".to_owned())
        }
        (_, false) => Ok(Some(Stream::Plain(stream))),
    }
}

async fn close_unused(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut interval = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            _ = interval.tick() => {}
            _ = stopped.changed() => return,
        }
        for connection in shared.connections() {
            connection.close_if_unused(shared.options.idle, shared.options.stall);
        }
        shared.note_held_back();
    }
}
