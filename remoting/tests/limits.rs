//! Peers that are slow, silent, too many or asking too much, and the end of a server.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use sluice_remoting::{CloseReason, ServerOptions};
use tokio::io::AsyncWriteExt;

const MIB: usize = 1024 * 1024;

/// Keeps asking for large answers and reads none.
async fn ask_and_never_read(mut peer: Peer) -> Peer {
    let ask = large(4 * MIB, 1).encode();
    while peer.stream.write_all(&ask).await.is_ok() {}
    peer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_never_reads_stalls_and_the_others_do_not() {
    let options = ServerOptions {
        stall: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let (server, _, mut events) = serve(options).await;
    let slow = Peer::connect(server.address()).await;
    let mut peer = Peer::connect(server.address()).await;
    let slow = tokio::spawn(ask_and_never_read(slow));
    for _ in 0..50 {
        peer.nothing_is_due().await;
    }
    let reason = events.ended().await;
    // A whole buffer of requests may be over the limit before the clock is.
    assert!(
        matches!(
            reason,
            CloseReason::Stalled(_) | CloseReason::NotReading { .. }
        ),
        "{reason}"
    );
    peer.nothing_is_due().await;
    drop(within(slow).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_reads_again_has_lost_nothing() {
    let (server, script, _events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    let handled = || script.requests.load(std::sync::atomic::Ordering::SeqCst);
    for opaque in 0..12 {
        peer.send(&large(2 * MIB, opaque)).await;
    }
    until("the first are handled", || handled() > 0).await;
    for opaque in 0..12 {
        let answer = peer.receive().await.expect("an answer");
        assert_eq!((answer.opaque, answer.body.len()), (opaque, 2 * MIB));
    }
    peer.nothing_is_due().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_came_together_wait_while_their_answers_do() {
    let (server, _, _events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    // One read brings them all; their answers together are more than an outbox may hold.
    let bytes: Vec<u8> = (0..30)
        .flat_map(|opaque| large(4 * MIB, opaque).encode())
        .collect();
    peer.send_bytes(&bytes).await;
    for opaque in 0..30 {
        let answer = peer.receive().await.expect("an answer");
        assert_eq!((answer.opaque, answer.body.len()), (opaque, 4 * MIB));
    }
    peer.nothing_is_due().await;
}

#[tokio::test]
async fn more_than_the_outbox_may_hold_ends_the_connection() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut slow = Peer::connect(server.address()).await;
    let mut peer = Peer::connect(server.address()).await;
    let mut held = Vec::new();
    for opaque in 0..24 {
        slow.send(&request(HOLD, opaque)).await;
        held.push(events.held().await);
    }
    // Answers given from elsewhere, as long polls are: no reading of ours is there to be stopped.
    let body = bytes::Bytes::from(vec![0; 8 * MIB]);
    for responder in held {
        let response = responder.response(0);
        responder.answer_with(response, std::slice::from_ref(&body));
    }
    let reason = events.ended().await;
    assert!(
        matches!(reason, CloseReason::NotReading { pending, limit } if pending > limit && limit <= 64 * MIB),
        "{reason}"
    );
    peer.nothing_is_due().await;
}

#[tokio::test]
async fn requests_without_answer_are_limited_and_one_more_is_refused_as_busy() {
    const UNANSWERED_MAX: i32 = 16_384;
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    let mut other = Peer::connect(server.address()).await;
    let bytes: Vec<u8> = (0..=UNANSWERED_MAX)
        .flat_map(|opaque| request(HOLD, opaque).encode())
        .collect();
    peer.send_bytes(&bytes).await;
    let busy = peer.receive().await.expect("an answer");
    assert_eq!((busy.opaque, busy.code), (UNANSWERED_MAX, 2));
    assert!(busy.remark().contains("16384"), "{}", busy.remark());
    other.nothing_is_due().await;
    // An answer makes room for a request.
    events.held().await.refuse(1, "given up");
    assert_eq!(peer.receive().await.expect("an answer").code, 1);
    peer.nothing_is_due().await;
}

#[tokio::test]
async fn one_connection_over_the_limit_is_closed_and_room_is_made_by_leaving() {
    let options = ServerOptions {
        connections_max: 2,
        ..ServerOptions::default()
    };
    let (server, _, mut events) = serve(options).await;
    let mut first = Peer::connect(server.address()).await;
    let mut second = Peer::connect(server.address()).await;
    first.nothing_is_due().await;
    second.nothing_is_due().await;
    let mut third = Peer::connect(server.address()).await;
    assert!(third.receive().await.is_none());
    first.nothing_is_due().await;
    drop(first);
    events.ended().await;
    // The place is free once the driver has returned, just after the event.
    let served = async {
        loop {
            let mut next = Peer::connect(server.address()).await;
            let _ = next.stream.write_all(&request(ECHO, 1).encode()).await;
            if next.receive().await.is_some() {
                return;
            }
        }
    };
    within(served).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let options = ServerOptions {
        idle: Duration::from_secs(2),
        ..ServerOptions::default()
    };
    let (server, script, mut events) = serve(options).await;
    let mut idle = Peer::connect(server.address()).await;
    idle.nothing_is_due().await;
    let mut busy = Peer::connect(server.address()).await;
    busy.nothing_is_due().await;
    let busy_id = script.connections.lock()[1];
    let traffic = tokio::spawn(async move {
        loop {
            busy.nothing_is_due().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(matches!(events.ended().await, CloseReason::Idle(_)));
    assert!(idle.receive().await.is_none());
    until("only the busy one is left", || {
        server.connections().len() == 1
    })
    .await;
    assert_eq!(server.connections()[0].id(), busy_id);
    traffic.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_lets_answers_leave_and_then_closes() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let server = Arc::new(server);
    let mut peer = Peer::connect(server.address()).await;
    peer.send(&request(HOLD, 1)).await;
    let held = events.held().await;
    let response = held.response(0);
    held.answer_with(response, &[vec![b'x'; 16 * MIB - 4096].into()]);
    let stopping = {
        let server = server.clone();
        tokio::spawn(async move { server.shutdown(PATIENCE).await })
    };
    let answer = peer.receive().await.expect("the whole answer");
    assert_eq!(answer.body.len(), 16 * MIB - 4096);
    assert!(peer.receive().await.is_none());
    within(stopping).await.expect("no panic");
    assert!(matches!(events.ended().await, CloseReason::Local(_)));
    let refused = tokio::net::TcpStream::connect(server.address()).await;
    if let Ok(stream) = refused {
        assert!(Peer::over(stream).receive().await.is_none());
    }
}

#[tokio::test]
async fn shutdown_waits_for_requests_in_flight_and_takes_no_more() {
    let (server, script, mut events) = serve(ServerOptions::default()).await;
    let server = Arc::new(server);
    let mut peer = Peer::connect(server.address()).await;
    peer.send(&request(HOLD, 1)).await;
    let held = events.held().await;
    let stopping = {
        let server = server.clone();
        tokio::spawn(async move { server.shutdown(PATIENCE).await })
    };
    // The listener goes first: then the shutdown is on its way.
    while tokio::net::TcpStream::connect(server.address())
        .await
        .is_ok()
    {
        tokio::task::yield_now().await;
    }
    peer.send(&request(ECHO, 2)).await;
    held.refuse(1, "in time");
    assert_eq!(peer.receive().await.expect("an answer").opaque, 1);
    assert!(peer.receive().await.is_none());
    within(stopping).await.expect("no panic");
    assert_eq!(script.requests.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn shutdown_does_not_wait_for_parked_requests() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    peer.send(&request(HOLD, 1)).await;
    let mut held = events.held().await;
    held.park();
    within(server.shutdown(Duration::from_secs(3600))).await;
    assert!(held.connection().is_closed());
}

#[tokio::test]
async fn a_frame_that_trickles_ends_its_connection() {
    let options = ServerOptions {
        stall: Duration::from_millis(100),
        ..ServerOptions::default()
    };
    let (server, _, mut events) = serve(options).await;
    let mut peer = Peer::connect(server.address()).await;
    let frame = request(ECHO, 1).with_body(vec![0; 1000]).encode();
    let trickle = tokio::spawn(async move {
        for byte in frame {
            if peer.stream.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let reason = events.ended().await;
    assert!(matches!(reason, CloseReason::SlowFrame { .. }), "{reason}");
    trickle.abort();
}

#[tokio::test]
async fn a_peer_that_never_says_anything_is_closed_as_idle() {
    let options = ServerOptions {
        idle: Duration::from_millis(100),
        ..ServerOptions::default()
    };
    let (server, _, _events) = serve(options).await;
    let mut silent = Peer::connect(server.address()).await;
    assert!(silent.receive().await.is_none());
}

#[tokio::test]
async fn shutdown_waits_no_longer_than_it_was_told() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut slow = Peer::connect(server.address()).await;
    for opaque in 0..4 {
        slow.send(&large(8 * MIB, opaque)).await;
    }
    until("an answer waits", || server.connections().len() == 1).await;
    within(server.shutdown(Duration::from_millis(50))).await;
    assert!(matches!(events.ended().await, CloseReason::Local(_)));
}

#[tokio::test]
async fn a_connection_that_has_said_nothing_is_closed_by_a_shutdown_too() {
    let (server, _, _events) = serve(ServerOptions::default()).await;
    let mut silent = Peer::connect(server.address()).await;
    Peer::connect(server.address()).await.nothing_is_due().await;
    within(server.shutdown(Duration::ZERO)).await;
    assert!(silent.receive().await.is_none());
}
