//! Our own requests: matched by opaque, given up in time, told of the end of their connection.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::*;
use sluice_protocol::{RemotingCommand, Serialization};
use sluice_remoting::{Client, ClientOptions, CloseReason, RemotingError, ServerOptions};
use tokio::net::TcpListener;

/// A client, and a listener whose answers the test writes itself.
async fn client_and_listener() -> (Arc<Client>, TcpListener, SocketAddr) {
    let listener = TcpListener::bind(loopback()).await.expect("a listener");
    let address = listener.local_addr().expect("its address");
    (client(), listener, address)
}

fn client() -> Arc<Client> {
    let (script, _) = script();
    Arc::new(Client::new(ClientOptions::default(), script).expect("a client"))
}

async fn accept(listener: &TcpListener) -> Peer {
    Peer::over(within(listener.accept()).await.expect("a connection").0)
}

type Call = tokio::task::JoinHandle<Result<RemotingCommand, RemotingError>>;

fn call(client: &Arc<Client>, address: SocketAddr, body: &'static str, timeout: Duration) -> Call {
    let client = client.clone();
    let request = request(ECHO, 0).with_body(body);
    tokio::spawn(async move { client.call(&address.to_string(), request, timeout).await })
}

#[tokio::test]
async fn responses_out_of_order_reach_who_asked() {
    let (client, listener, address) = client_and_listener().await;
    let texts = ["a", "b", "c", "d"];
    let calls = texts.map(|text| call(&client, address, text, PATIENCE));
    let mut peer = accept(&listener).await;
    let mut requests = Vec::new();
    for _ in texts {
        requests.push(peer.receive().await.expect("a request"));
    }
    // A response nobody waits for, and one of them twice, disturb nothing.
    peer.send(&request(ECHO, 123_456).response(0)).await;
    for request in requests.iter().rev() {
        let response = request.response(0).with_body(request.body.clone());
        peer.send(&response).await;
        peer.send(&response).await;
    }
    for (call, text) in calls.into_iter().zip(texts) {
        let response = within(call).await.expect("no panic").expect("a response");
        assert_eq!(response.body, text);
    }
}

#[tokio::test]
async fn opaques_of_calls_in_flight_differ() {
    let (client, listener, address) = client_and_listener().await;
    let _calls = ["a", "b", "c"].map(|text| call(&client, address, text, PATIENCE));
    let mut peer = accept(&listener).await;
    let mut opaques = Vec::new();
    for _ in 0..3 {
        opaques.push(peer.receive().await.expect("a request").opaque);
    }
    opaques.sort_unstable();
    opaques.dedup();
    assert_eq!(opaques.len(), 3);
}

#[tokio::test]
async fn a_call_without_a_response_ends_in_time_and_the_connection_lives() {
    let (client, listener, address) = client_and_listener().await;
    let late = call(&client, address, "late", Duration::from_millis(200));
    let mut peer = accept(&listener).await;
    let request = peer.receive().await.expect("a request");
    // The peer is there, only this answer is not: it takes heartbeats, for instance.
    peer.send(&self::request(ECHO, 99).response(0)).await;
    let error = within(late)
        .await
        .expect("no panic")
        .expect_err("no response");
    assert!(
        matches!(error, RemotingError::Timeout { code: ECHO, .. }),
        "{error}"
    );
    assert!(error.to_string().contains(&address.to_string()), "{error}");

    peer.send(&request.response(0).with_body("too late")).await;
    let next = call(&client, address, "next", PATIENCE);
    let request = peer.receive().await.expect("the same connection");
    peer.send(&request.response(0).with_body("in time")).await;
    assert_eq!(
        within(next)
            .await
            .expect("no panic")
            .expect("a response")
            .body,
        "in time"
    );
}

#[tokio::test]
async fn a_peer_from_which_nothing_comes_is_taken_for_dead() {
    let (client, listener, address) = client_and_listener().await;
    let lost = call(&client, address, "lost", Duration::from_millis(100));
    let mut dead = accept(&listener).await;
    let error = within(lost).await.expect("no panic").expect_err("silence");
    assert!(matches!(error, RemotingError::Timeout { .. }), "{error}");
    assert_eq!(dead.receive().await.expect("the request").body, "lost");
    assert!(dead.receive().await.is_none(), "its connection is closed");
    let next = call(&client, address, "next", PATIENCE);
    let mut peer = accept(&listener).await;
    let request = peer.receive().await.expect("a request");
    peer.send(&request.response(0)).await;
    within(next).await.expect("no panic").expect("a response");
}

#[tokio::test]
async fn an_idle_connection_is_closed_by_who_dialled_too() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let options = ClientOptions {
        idle: Duration::from_millis(100),
        ..ClientOptions::default()
    };
    let client = Client::new(options, script().0).expect("a client");
    let address = server.address().to_string();
    let echo = client.call(&address, request(ECHO, 0), PATIENCE);
    within(echo).await.expect("a response");
    let connection = client.connection(&address).await.expect("a connection");
    until("it is closed", || connection.is_closed()).await;
    let reason = events.ended().await;
    assert!(
        matches!(reason, CloseReason::Peer | CloseReason::Io(_)),
        "{reason}"
    );
}

#[tokio::test]
async fn closed_while_it_is_dialled_it_is_closed_once_it_is_there() {
    let listener = TcpListener::bind(loopback()).await.expect("a listener");
    let address = listener.local_addr().expect("its address").to_string();
    let options = ClientOptions {
        connect_timeout: PATIENCE,
        tls: Some(sluice_remoting::tls::TlsClientOptions::default()),
        ..ClientOptions::default()
    };
    let client = Arc::new(Client::new(options, script().0).expect("a client"));
    let dial = {
        let (client, address) = (client.clone(), address.clone());
        tokio::spawn(async move { client.connection(&address).await })
    };
    // The handshake holds the dial up until the test has closed the address.
    let (stream, _) = within(listener.accept()).await.expect("a connection");
    client.close(&address);
    let tls = sluice_remoting::tls::TlsServerOptions {
        test_mode: true,
        ..sluice_remoting::tls::TlsServerOptions::default()
    };
    let acceptor = sluice_remoting::tls::acceptor(&tls)
        .expect("TLS")
        .expect("on");
    let _peer = within(acceptor.accept(stream)).await.expect("a handshake");
    let connection = within(dial).await.expect("no panic").expect("a connection");
    assert!(connection.is_closed());
    assert!(client.existing(&address).is_none());
}

#[tokio::test]
async fn a_peer_closing_in_the_middle_fails_every_call_at_once_and_the_next_dials_again() {
    let (client, listener, address) = client_and_listener().await;
    let hour = Duration::from_secs(3600);
    let calls = ["a", "b"].map(|text| call(&client, address, text, hour));
    let mut peer = accept(&listener).await;
    peer.receive().await.expect("a request");
    peer.receive().await.expect("a request");
    drop(peer);
    for call in calls {
        let error = within(call).await.expect("no panic").expect_err("closed");
        assert!(matches!(error, RemotingError::Closed { .. }), "{error}");
    }
    let again = call(&client, address, "again", PATIENCE);
    let mut peer = accept(&listener).await;
    let request = peer.receive().await.expect("a request");
    peer.send(&request.response(0)).await;
    within(again).await.expect("no panic").expect("a response");
}

#[tokio::test]
async fn nobody_there_is_said_with_the_address() {
    let (client, listener, address) = client_and_listener().await;
    drop(listener);
    let refused = call(&client, address, "x", PATIENCE)
        .await
        .expect("no panic");
    let error = refused.expect_err("nobody listens");
    assert!(matches!(error, RemotingError::Connect { .. }), "{error}");
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    assert!(client.existing(&address.to_string()).is_none());
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let listener = TcpListener::bind(loopback()).await.expect("a listener");
    let address = listener.local_addr().expect("its address").to_string();
    let options = ClientOptions {
        connect_timeout: Duration::from_millis(50),
        tls: Some(sluice_remoting::tls::TlsClientOptions::default()),
        ..ClientOptions::default()
    };
    let client = Client::new(options, script().0).expect("a client");
    let error = within(client.connection(&address))
        .await
        .expect_err("no TLS there");
    assert!(
        matches!(error, RemotingError::ConnectTimeout { .. }),
        "{error}"
    );
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn one_address_is_dialled_once_until_it_is_closed() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let address = server.address().to_string();
    let client = client();
    let dials = (0..20).map(|_| {
        let (client, address) = (client.clone(), address.clone());
        tokio::spawn(async move {
            client
                .connection(&address)
                .await
                .expect("a connection")
                .id()
        })
    });
    let mut ids = Vec::new();
    for dial in dials.collect::<Vec<_>>() {
        ids.push(within(dial).await.expect("no panic"));
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let response = client.call(&address, request(ECHO, 0), PATIENCE).await;
    assert_eq!(response.expect("a response").code, 0);
    client.close(&address);
    assert!(matches!(
        events.ended().await,
        CloseReason::Peer | CloseReason::Io(_)
    ));
    assert!(client.existing(&address).is_none());
    let again = client.connection(&address).await.expect("a connection");
    assert_ne!(again.id(), ids[0]);
    drop(client);
    assert!(again.is_closed());
}

#[tokio::test]
async fn a_server_asks_its_peer_in_the_form_that_the_peer_speaks() {
    let (server, _, _events) = serve(ServerOptions::default()).await;
    for form in [Serialization::Json, Serialization::RocketMq] {
        let mut peer = Peer::connect(server.address()).await;
        // The same opaque both ways would be told apart by the response flag alone.
        let ours = RemotingCommand {
            serialization: form,
            ..request(CALL_BACK, 0x4000_0000)
        };
        peer.send(&ours).await;
        let theirs = peer.receive().await.expect("the server's request");
        assert!(!theirs.is_response() && !theirs.is_one_way());
        assert_eq!((theirs.code, theirs.serialization), (BACK, form));
        assert_eq!(theirs.body, "who is there?");
        peer.send(&theirs.response(0).with_body("me")).await;
        let answer = peer.receive().await.expect("the answer");
        assert_eq!((answer.opaque, answer.body), (ours.opaque, "me".into()));
    }
}

#[tokio::test]
async fn a_client_answers_requests_of_its_server() {
    let (server, _, _events) = serve(ServerOptions::default()).await;
    let client = client();
    let answer = client
        .call(
            &server.address().to_string(),
            request(CALL_BACK, 0),
            PATIENCE,
        )
        .await;
    assert_eq!(answer.expect("a response").body, "who is there?");
}

#[tokio::test]
async fn go_away_is_followed_by_one_more_attempt_over_a_new_connection() {
    let (server, script, _events) = serve(ServerOptions::default()).await;
    let client = client();
    let address = server.address().to_string();
    let leave = async |times| {
        script.leavings.store(times, Ordering::SeqCst);
        let before = script.requests.load(Ordering::SeqCst);
        let response = client.call(&address, request(LEAVING, 0), PATIENCE).await;
        let asked = script.requests.load(Ordering::SeqCst) - before;
        (response.expect("a response").code, asked)
    };
    assert_eq!(leave(0).await, (0, 1));
    assert_eq!(leave(1).await, (0, 2));
    assert_eq!(leave(5).await, (1500, 2));
    let connections = script.connections.lock().clone();
    assert_ne!(
        connections[1], connections[2],
        "the repeat came over another connection"
    );
}

#[tokio::test]
async fn a_call_given_up_takes_its_place_back() {
    let (client, listener, address) = client_and_listener().await;
    let given_up = call(&client, address, "x", Duration::from_secs(3600));
    let mut peer = accept(&listener).await;
    let abandoned = peer.receive().await.expect("a request");
    given_up.abort();
    assert!(within(given_up).await.is_err_and(|e| e.is_cancelled()));
    peer.send(&abandoned.response(0)).await;
    let next = call(&client, address, "y", PATIENCE);
    let request = peer.receive().await.expect("a request");
    assert_ne!(request.opaque, abandoned.opaque);
    peer.send(&request.response(0).with_body("for y")).await;
    let response = within(next).await.expect("no panic").expect("a response");
    assert_eq!(response.body, "for y");
}

#[tokio::test]
async fn one_way_requests_carry_the_flag() {
    let (client, listener, address) = client_and_listener().await;
    client
        .one_way(&address.to_string(), request(ECHO, 0).with_body("gone"))
        .await
        .expect("sent");
    let request = accept(&listener).await.receive().await.expect("a request");
    assert!(request.is_one_way() && !request.is_response());
    assert_eq!(request.body, "gone");
}

/// More than a server would let wait for a peer: senders wait for room, none loses its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_calls_at_once_wait_for_room() {
    const CALLS: usize = 60;
    const SIZE: usize = 4 << 20;
    let (server, _, _events) = serve(ServerOptions::default()).await;
    let (client, address) = (client(), server.address().to_string());
    let body = bytes::Bytes::from(vec![7; SIZE]);
    let calls: Vec<_> = (0..CALLS)
        .map(|at| {
            let (client, address) = (client.clone(), address.clone());
            // Only the requests are large.
            let ask = request(DROP, 0).with_body(body.clone());
            tokio::spawn(async move {
                if at % 10 == 0 {
                    client.one_way(&address, ask).await.map(|()| 1)
                } else {
                    client
                        .call(&address, ask, PATIENCE)
                        .await
                        .map(|answer| answer.code)
                }
            })
        })
        .collect();
    for call in calls {
        let code = within(call).await.expect("no panic");
        assert_eq!(code.expect("a response"), 1);
    }
}
