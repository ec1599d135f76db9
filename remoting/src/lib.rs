//! Moves framed commands over TCP and TLS and matches responses to requests by opaque.
//!
//! One task drives one connection, in both directions: it reads what has come, hands every whole
//! frame to the [`Handler`], and writes all answers in one vectored write. There is no task, queue
//! or timer per request. A [`Connection`] can be used from anywhere to answer later, or to send
//! requests of our own: server and client side are the same thing but for who dialled.

mod address_service;
mod bounded_listener;
mod client;
mod connection;
mod driver;
mod error;
mod log_limit;
mod open_files;
mod outbox;
mod read_buffer;
mod responder;
mod server;
mod stream;
pub mod tls;
mod watch;

pub use address_service::{AddressService, NoAddresses, are_addresses};
pub use bounded_listener::{BoundedListener, BoundedStream};
pub use client::{Client, ClientOptions};
pub use connection::Connection;
pub use driver::panic_text;
pub use error::{CloseReason, RemotingError};
pub use responder::Responder;
pub use server::{Listener, Server, ServerOptions};

use std::sync::Arc;

use sluice_protocol::RemotingCommand;

/// What answers the requests of a connection.
///
/// `handle` runs on the connection's own task, in the order in which requests came, and must not
/// block: it answers at once, or keeps the [`Responder`] and answers later from elsewhere. A panic
/// costs the one request.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(&self, connection: &Arc<Connection>, request: RemotingCommand, responder: Responder);

    /// Does `handle`, which hands over the requests that have come together: one after the other, and
    /// nothing of theirs has been read behind them. Their answers leave when this has returned.
    ///
    /// # Errors
    /// Why answers that were given meanwhile must not leave: the connection ends instead.
    fn together(&self, handle: &mut dyn FnMut()) -> Result<(), String> {
        handle();
        Ok(())
    }

    /// The connection is gone; nothing will reach its peer any more.
    fn closed(&self, connection: &Arc<Connection>, reason: &CloseReason) {
        let _ = (connection, reason);
    }
}
