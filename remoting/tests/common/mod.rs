//! A scripted handler and a raw peer, for the tests that need both ends in their hands.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use sluice_protocol::command::FLAG_ONE_WAY;
use sluice_protocol::{RemotingCommand, Serialization, frame};
use sluice_remoting::{
    CloseReason, Connection, Handler, Listener, Responder, Server, ServerOptions,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Answered at once, with the request's body and fields.
pub const ECHO: i32 = 1;
/// The handler panics.
pub const PANIC: i32 = 2;
/// The responder is dropped without an answer.
pub const DROP: i32 = 3;
/// The responder goes to the test.
pub const HOLD: i32 = 4;
/// Answered with as many bytes as the field `size` says.
pub const LARGE: i32 = 5;
/// The server first asks its peer (code [`BACK`]) and answers with what that said.
pub const CALL_BACK: i32 = 6;
/// The server's own request.
pub const BACK: i32 = 7;
/// Answered with GO_AWAY while the server has that left, then like [`ECHO`].
pub const LEAVING: i32 = 8;
/// The responder is told to stay silent.
pub const SILENT: i32 = 9;
/// Answered like [`ECHO`], but what came together with it turns out not to be kept.
pub const LOST: i32 = 10;

/// The longest a test waits for something that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Does what the request code says.
#[derive(Debug)]
pub struct Script {
    held: mpsc::UnboundedSender<Responder>,
    ended: mpsc::UnboundedSender<CloseReason>,
    pub requests: AtomicUsize,
    pub leavings: AtomicUsize,
    lost: AtomicBool,
    pub connections: Mutex<Vec<u64>>,
}

/// What the test receives from a [`Script`].
pub struct Events {
    pub held: mpsc::UnboundedReceiver<Responder>,
    pub ended: mpsc::UnboundedReceiver<CloseReason>,
}

impl Events {
    pub async fn held(&mut self) -> Responder {
        within(self.held.recv()).await.expect("a held responder")
    }
    pub async fn ended(&mut self) -> CloseReason {
        within(self.ended.recv()).await.expect("a close reason")
    }
}

pub fn script() -> (Arc<Script>, Events) {
    let (held, held_here) = mpsc::unbounded_channel();
    let (ended, ended_here) = mpsc::unbounded_channel();
    let script = Script {
        held,
        ended,
        requests: AtomicUsize::new(0),
        leavings: AtomicUsize::new(0),
        lost: AtomicBool::new(false),
        connections: Mutex::default(),
    };
    let events = Events {
        held: held_here,
        ended: ended_here,
    };
    (Arc::new(script), events)
}

impl Handler for Script {
    fn handle(&self, connection: &Arc<Connection>, request: RemotingCommand, responder: Responder) {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.connections.lock().push(connection.id());
        self.lost.fetch_or(request.code == LOST, Ordering::SeqCst);
        match request.code {
            PANIC => panic!("told to panic"),
            DROP => drop(responder),
            SILENT => responder.stay_silent(),
            HOLD => self.held.send(responder).expect("the test listens"),
            LARGE => {
                let size = request.ext.get("size").and_then(|size| size.parse().ok());
                let body = Bytes::from(vec![b'x'; size.unwrap_or(0)]);
                responder.answer_with(request.response(0), &[body]);
            }
            CALL_BACK => call_back(connection.clone(), responder),
            LEAVING if take_one(&self.leavings) => responder.refuse(1500, "leaving"),
            _ => {
                let mut response = responder.response(0).with_body(request.body);
                response.ext = request.ext;
                responder.answer(response);
            }
        }
    }

    fn together(&self, handle: &mut dyn FnMut()) -> Result<(), String> {
        handle();
        match self.lost.swap(false, Ordering::SeqCst) {
            true => Err("told to lose it".to_owned()),
            false => Ok(()),
        }
    }

    fn closed(&self, _: &Arc<Connection>, reason: &CloseReason) {
        let _ = self.ended.send(reason.clone());
    }
}

fn take_one(count: &AtomicUsize) -> bool {
    let less = |left: usize| left.checked_sub(1);
    count
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        .is_ok()
}

fn call_back(connection: Arc<Connection>, responder: Responder) {
    tokio::spawn(async move {
        let ours = RemotingCommand::request(BACK, 0).with_body("who is there?");
        let theirs = connection.call(ours, PATIENCE).await;
        match theirs {
            Ok(theirs) => {
                let answer = responder.response(0).with_body(theirs.body);
                responder.answer(answer);
            }
            Err(error) => responder.refuse(1, error.to_string()),
        }
    });
}

/// A server on a port of its own that follows a script.
pub async fn serve(options: ServerOptions) -> (Server, Arc<Script>, Events) {
    serve_at(Listener::bind(loopback()).expect("a port"), options)
}

pub fn serve_at(port: Listener, options: ServerOptions) -> (Server, Arc<Script>, Events) {
    let (script, events) = script();
    let server = Server::serve(port, options, script.clone()).expect("a listener");
    (server, script, events)
}

pub fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Waits, but not for ever.
pub async fn within<F: Future>(event: F) -> F::Output {
    tokio::time::timeout(PATIENCE, event)
        .await
        .expect("the event comes")
}

/// Looks until `done`, giving others their turn.
pub async fn until(what: &str, done: impl Fn() -> bool) {
    let looked = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let looked = tokio::time::timeout(PATIENCE, looked).await;
    assert!(looked.is_ok(), "did not happen: {what}");
}

pub fn request(code: i32, opaque: i32) -> RemotingCommand {
    RemotingCommand::request(code, opaque)
}

pub fn binary(code: i32, opaque: i32) -> RemotingCommand {
    RemotingCommand {
        serialization: Serialization::RocketMq,
        ..request(code, opaque)
    }
}

pub fn one_way(code: i32, opaque: i32) -> RemotingCommand {
    RemotingCommand {
        flag: FLAG_ONE_WAY,
        ..request(code, opaque)
    }
}

pub fn large(size: usize, opaque: i32) -> RemotingCommand {
    let mut request = request(LARGE, opaque);
    request.ext.put("size", size.to_string());
    request
}

/// The other end of a connection, byte by byte if need be.
pub struct Peer<S = TcpStream> {
    pub stream: S,
    buffer: BytesMut,
}

impl Peer {
    pub async fn connect(address: SocketAddr) -> Peer {
        Peer::over(TcpStream::connect(address).await.expect("a connection"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub fn over(stream: S) -> Self {
        Peer {
            stream,
            buffer: BytesMut::new(),
        }
    }

    pub async fn send(&mut self, command: &RemotingCommand) {
        self.send_bytes(&command.encode()).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.expect("sent");
        within(self.stream.flush()).await.expect("flushed");
    }

    /// The next command, or `None` when the connection ended.
    pub async fn receive(&mut self) -> Option<RemotingCommand> {
        loop {
            let frame = frame::split(&mut self.buffer, usize::MAX).expect("a frame");
            if let Some(frame) = frame {
                return Some(RemotingCommand::decode(&frame).expect("a command"));
            }
            match within(self.stream.read_buf(&mut self.buffer)).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub async fn answer_of(&mut self, request: &RemotingCommand) -> RemotingCommand {
        self.send(request).await;
        self.receive().await.expect("an answer")
    }

    /// Asserts that nothing but the answer to an echo comes: what else was due came before it.
    pub async fn nothing_is_due(&mut self) {
        let echo = self.answer_of(&request(ECHO, -77)).await;
        assert_eq!((echo.opaque, echo.code), (-77, 0));
    }
}
