//! A port from the moment it is taken.

mod common;

use common::*;
use sluice_remoting::{Listener, ServerOptions};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_port_that_is_taken_refuses_connections_and_other_servers() {
    let listener = Listener::bind(loopback()).unwrap();
    let address = listener.address();
    let connected = TcpStream::connect(address).await;
    assert_eq!(
        connected.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    let refused = Listener::bind(address).unwrap_err().to_string();
    assert!(refused.contains(&address.to_string()), "{refused}");
    assert!(std::net::TcpListener::bind(address).is_err());
    let (server, _script, _events) = serve_at(listener, ServerOptions::default());
    Peer::connect(server.address()).await.nothing_is_due().await;
    assert!(Listener::bind(address).is_err());
}

/// A server that ends first leaves its connections behind for a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_is_taken_again_at_once() {
    let mut address = loopback();
    for _ in 0..3 {
        let listener = Listener::bind(address).unwrap();
        assert!(Listener::bind(listener.address()).is_err());
        let (server, _script, mut events) = serve_at(listener, ServerOptions::default());
        address = server.address();
        let mut peer = Peer::connect(address).await;
        peer.nothing_is_due().await;
        server.shutdown(PATIENCE).await;
        events.ended().await;
        assert!(peer.receive().await.is_none());
    }
}
