//! The page at which clients and brokers ask for name servers over HTTP (`/rocketmq/nsaddr`), served by a
//! name server itself.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, State};
use axum::routing::get;
use axum::serve::{IncomingStream, Listener};
use sluice_remoting::{BoundedListener, BoundedStream};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::NamesrvError;

/// What the page says.
struct Told {
    /// `nsaddr`, if it is set.
    addresses: Option<String>,
    /// Otherwise: this port, at the address by which the asker came.
    port: u16,
}

/// The address by which somebody came.
#[derive(Debug, Clone, Copy)]
struct Came(Option<SocketAddr>);

impl Connected<IncomingStream<'_, PageListener>> for Came {
    fn connect_info(stream: IncomingStream<'_, PageListener>) -> Self {
        Came(stream.io().local_addr().ok())
    }
}

/// So many connections at a time, none of them silent for long.
struct PageListener(BoundedListener);

impl Listener for PageListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (BoundedStream, SocketAddr) {
        self.0.accept().await
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Serves the page at `listen`, whatever the last part of its path: subgroups and unit names are the
/// asker's.
///
/// # Errors
/// The address can't be listened on.
pub(crate) async fn serve(
    listen: SocketAddr,
    addresses: Option<String>,
    port: u16,
) -> Result<(SocketAddr, JoinHandle<()>), NamesrvError> {
    let failed = |source: std::io::Error| NamesrvError::AddressPage {
        address: listen,
        source,
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let service = Router::new()
        .route("/rocketmq/{subgroup}", get(told))
        .with_state(Arc::new(Told { addresses, port }))
        .into_make_service_with_connect_info::<Came>();
    let listener = PageListener(BoundedListener::new(listener));
    let serving = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, service).await {
            tracing::error!(%error, "the page of name servers is served no more");
        }
    });
    Ok((address, serving))
}

async fn told(State(told): State<Arc<Told>>, ConnectInfo(Came(by)): ConnectInfo<Came>) -> String {
    match (&told.addresses, by) {
        (Some(addresses), _) => format!("{addresses}\n"),
        (None, Some(by)) => format!("{}\n", SocketAddr::new(by.ip().to_canonical(), told.port)),
        (None, None) => String::new(),
    }
}
