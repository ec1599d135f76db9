//! Whose connections the HTTP side serves, and who asks.

use std::io;
use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use sluice_remoting::{BoundedListener, BoundedStream};

/// So many connections at a time, none of them silent for long.
pub(super) struct HttpListener(pub(super) BoundedListener);

impl Listener for HttpListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker(pub(crate) SocketAddr);

impl Connected<IncomingStream<'_, HttpListener>> for Asker {
    fn connect_info(stream: IncomingStream<'_, HttpListener>) -> Self {
        Asker(*stream.remote_addr())
    }
}
