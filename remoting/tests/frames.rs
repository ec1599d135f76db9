//! Frames in and out: every request is answered once, in kind, however its bytes arrive.

mod common;

use common::*;
use sluice_protocol::frame::FrameError;
use sluice_protocol::{RemotingCommand, Serialization};
use sluice_remoting::{CloseReason, ServerOptions};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn frames_sent_in_one_go_are_all_answered_in_order() {
    let (server, _, _events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    let bytes: Vec<u8> = (0..500)
        .flat_map(|n| {
            request(ECHO, n)
                .with_body(vec![b'b'; n as usize * 3])
                .encode()
        })
        .collect();
    peer.send_bytes(&bytes).await;
    for n in 0..500 {
        let answer = peer.receive().await.expect("an answer");
        assert_eq!(
            (answer.opaque, answer.body.len()),
            (n, n as usize * 3),
            "answer {n}"
        );
        assert!(answer.is_response());
    }
    peer.nothing_is_due().await;
}

#[tokio::test]
async fn answers_take_the_header_form_of_their_request() {
    let (server, _, _events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    for (n, code) in [ECHO, DROP, PANIC, ECHO, LARGE].into_iter().enumerate() {
        let opaque = n as i32;
        let json = peer.answer_of(&request(code, opaque)).await;
        assert_eq!(
            (json.serialization, json.opaque),
            (Serialization::Json, opaque)
        );
        let binary = peer.answer_of(&binary(code, opaque)).await;
        assert_eq!(
            (binary.serialization, binary.opaque),
            (Serialization::RocketMq, opaque)
        );
    }
}

#[tokio::test]
async fn a_frame_may_come_byte_by_byte() {
    let (server, _, _events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    peer.stream.set_nodelay(true).expect("nodelay");
    for sent in [
        request(ECHO, 1).with_body("json"),
        binary(ECHO, 2).with_body("binary"),
    ] {
        for byte in sent.encode() {
            peer.send_bytes(&[byte]).await;
            tokio::task::yield_now().await;
        }
        let answer = peer.receive().await.expect("an answer");
        assert_eq!((answer.opaque, &answer.body), (sent.opaque, &sent.body));
    }
}

#[tokio::test]
async fn a_frame_as_large_as_the_limit_passes_and_one_byte_more_closes_only_that_connection() {
    let options = ServerOptions {
        frame_size_max: 1 << 20,
        ..ServerOptions::default()
    };
    let (server, _, mut events) = serve(options).await;
    let mut other = Peer::connect(server.address()).await;
    other.nothing_is_due().await;
    let mut peer = Peer::connect(server.address()).await;
    let head = request(ECHO, 5).encode().len();
    let largest = request(ECHO, 5).with_body(vec![0; (1 << 20) - head]);
    assert_eq!(peer.answer_of(&largest).await.body, largest.body);

    // The length word is enough: the server does not wait for bytes it will not take.
    peer.send_bytes(&(1u32 << 20).to_be_bytes()).await;
    assert!(peer.receive().await.is_none());
    let reason = events.ended().await;
    assert!(
        matches!(reason, CloseReason::Frame(FrameError::TooLarge { max, .. }) if max == 1 << 20),
        "{reason}"
    );
    other.nothing_is_due().await;
}

#[tokio::test]
async fn garbage_closes_its_connection_with_the_reason() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut other = Peer::connect(server.address()).await;
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let header = |word: u32, header: &[u8]| {
        let mut bytes = (4 + header.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&word.to_be_bytes());
        bytes.extend_from_slice(header);
        bytes
    };
    let garbage = [
        (http, "exceeds the limit"),
        ((-1i32).to_be_bytes().to_vec(), "-1"),
        (3i32.to_be_bytes().to_vec(), "frame length 3"),
        (header(100, b"{}"), "header length 100"),
        (header(0x0700_0002, b"{}"), "unknown header form 7"),
        (header(2, b"{]"), "header does not decode"),
        (header(2, b"[]"), "header does not decode"),
        (header(14, b"{\"code\":\"ten\"}"), "code"),
        (header(0x0100_0003, b"abc"), "header does not decode"),
    ];
    for (bytes, expected) in garbage {
        let mut peer = Peer::connect(server.address()).await;
        peer.send_bytes(&bytes).await;
        assert!(peer.receive().await.is_none(), "{expected}");
        let reason = events.ended().await.to_string();
        assert!(reason.contains(expected), "{reason:?} lacks {expected:?}");
        other.nothing_is_due().await;
    }
}

#[tokio::test]
async fn what_came_before_garbage_is_still_handled() {
    let (server, script, mut events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    let mut bytes = one_way(ECHO, 1).encode().to_vec();
    bytes.extend_from_slice(&[0xFF; 8]);
    peer.send_bytes(&bytes).await;
    assert!(matches!(events.ended().await, CloseReason::Frame(_)));
    assert_eq!(script.requests.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_was_answered_before_garbage_still_leaves() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    let mut bytes = request(ECHO, 1)
        .with_body(vec![7; 100_000])
        .encode()
        .to_vec();
    bytes.extend_from_slice(&[0xFF; 8]);
    peer.send_bytes(&bytes).await;
    let answer = peer.receive().await.expect("the answer");
    assert_eq!((answer.opaque, answer.body.len()), (1, 100_000));
    assert!(peer.receive().await.is_none());
    assert!(matches!(events.ended().await, CloseReason::Frame(_)));
}

/// Who is not told that his message is kept sends it again.
#[tokio::test]
async fn of_what_came_together_and_is_not_kept_nothing_is_answered() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    peer.nothing_is_due().await;
    let together = [request(ECHO, 1), request(LOST, 2), request(ECHO, 3)];
    peer.send_bytes(&together.map(|request| request.encode()).concat())
        .await;
    assert!(peer.receive().await.is_none());
    assert!(matches!(events.ended().await, CloseReason::Withheld(_)));
    let mut other = Peer::connect(server.address()).await;
    other.nothing_is_due().await;
}

#[tokio::test]
async fn a_panic_costs_one_request() {
    let (server, script, _events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    let bytes: Vec<u8> = [request(ECHO, 1), request(PANIC, 2), request(ECHO, 3)]
        .iter()
        .flat_map(RemotingCommand::encode)
        .collect();
    peer.send_bytes(&bytes).await;
    for (opaque, code) in [(1, 0), (2, 1), (3, 0)] {
        let answer = peer.receive().await.expect("an answer");
        assert_eq!((answer.opaque, answer.code), (opaque, code));
        assert_eq!(answer.remark().is_empty(), code == 0);
    }
    peer.send(&one_way(PANIC, 4)).await;
    peer.nothing_is_due().await;
    let connections = script.connections.lock().clone();
    assert!(
        connections.iter().all(|id| *id == connections[0]),
        "one connection served all"
    );
}

#[tokio::test]
async fn a_dropped_responder_answers_once_and_a_silent_one_never() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    let answer = peer.answer_of(&request(DROP, 8)).await;
    assert_eq!((answer.opaque, answer.code), (8, 1));
    peer.send(&request(SILENT, 9)).await;
    peer.nothing_is_due().await;

    peer.send(&request(HOLD, 10)).await;
    let held = events.held().await;
    peer.nothing_is_due().await;
    std::thread::spawn(move || drop(held))
        .join()
        .expect("dropping does not panic");
    assert_eq!(peer.receive().await.expect("an answer").opaque, 10);
    peer.nothing_is_due().await;
}

#[tokio::test]
async fn one_way_requests_are_handled_and_not_answered() {
    let (server, script, mut events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    for code in [ECHO, DROP, LARGE] {
        peer.send(&one_way(code, 1)).await;
    }
    peer.send(&one_way(HOLD, 1)).await;
    let held = events.held().await;
    assert!(held.is_one_way());
    held.refuse(1, "nobody hears it");
    peer.nothing_is_due().await;
    assert_eq!(script.requests.load(std::sync::atomic::Ordering::SeqCst), 5);
}

#[tokio::test]
async fn held_answers_leave_in_the_order_they_are_given() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    peer.send(&request(HOLD, 1)).await;
    peer.send(&binary(HOLD, 2)).await;
    let (first, second) = (events.held().await, events.held().await);
    second.refuse(17, "no such topic");
    let answer = peer.receive().await.expect("an answer");
    assert_eq!((answer.opaque, answer.code), (2, 17));
    assert_eq!(answer.remark(), "no such topic");
    assert_eq!(answer.serialization, Serialization::RocketMq);
    let response = first.response(0);
    first.answer_with(response, &["sl".into(), "ices".into()]);
    let answer = peer.receive().await.expect("an answer");
    assert_eq!((answer.opaque, &answer.body[..]), (1, &b"slices"[..]));
}

#[tokio::test]
async fn a_responder_held_beyond_its_connection_is_harmless() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut responders = Vec::new();
    for opaque in 0..3 {
        let mut peer = Peer::connect(server.address()).await;
        peer.send(&request(HOLD, opaque)).await;
        responders.push(events.held().await);
        drop(peer);
        events.ended().await;
    }
    until("the server forgets them", || {
        server.connections().is_empty()
    })
    .await;
    assert!(
        responders
            .iter()
            .all(|responder| responder.connection().is_closed())
    );
    responders.pop().expect("three").refuse(1, "too late");
    let last = responders.pop().expect("two");
    let response = last.response(0);
    last.answer_with(response, &[vec![0; 1 << 20].into()]);
    drop(responders);
    Peer::connect(server.address()).await.nothing_is_due().await;
}

#[tokio::test]
async fn a_remark_of_any_length_leaves_a_frame_that_decodes() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    for (n, request) in [request(HOLD, 1), binary(HOLD, 2)].iter().enumerate() {
        peer.send(request).await;
        // Control characters grow sixfold in JSON: beyond what a header word can say.
        events
            .held()
            .await
            .refuse(1, format!("topic {}é", "\u{1}".repeat(3 << 20)));
        let answer = peer.receive().await.expect("an answer");
        assert_eq!(answer.opaque, n as i32 + 1);
        assert!(answer.remark().starts_with("topic \u{1}"));
        peer.nothing_is_due().await;
    }
}

#[tokio::test]
async fn an_answer_larger_than_a_frame_is_refused_with_its_size() {
    let options = ServerOptions {
        frame_size_max: 1 << 20,
        ..ServerOptions::default()
    };
    let (server, _, _events) = serve(options).await;
    let mut peer = Peer::connect(server.address()).await;
    let answer = peer.answer_of(&large(1 << 20, 1)).await;
    assert_eq!((answer.opaque, answer.code), (1, 1));
    assert!(answer.remark().contains("1048"), "{}", answer.remark());
    assert_eq!(peer.answer_of(&large(1000, 2)).await.body.len(), 1000);
}

#[tokio::test]
async fn a_header_larger_than_its_length_can_say_is_refused_with_its_size() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    for request in [request(HOLD, 1), binary(HOLD, 2)] {
        peer.send(&request).await;
        let held = events.held().await;
        let mut response = held.response(0);
        response.ext.put("x", "y".repeat(1 << 24));
        held.answer(response);
        let answer = peer.receive().await.expect("an answer");
        assert_eq!((answer.opaque, answer.code), (request.opaque, 1));
        assert!(answer.remark().contains("16777"), "{}", answer.remark());
        peer.nothing_is_due().await;
    }
}

#[tokio::test]
async fn a_peer_that_hangs_up_ends_its_connection() {
    let (server, _, mut events) = serve(ServerOptions::default()).await;
    let mut peer = Peer::connect(server.address()).await;
    peer.nothing_is_due().await;
    // In the middle of a frame.
    peer.send_bytes(&request(ECHO, 1).encode()[..9]).await;
    drop(peer);
    let reason = events.ended().await;
    assert!(
        matches!(reason, CloseReason::Peer | CloseReason::Io(_)),
        "{reason}"
    );
    // And without ever having said anything.
    drop(Peer::connect(server.address()).await);
    let mut other = Peer::connect(server.address()).await;
    other.nothing_is_due().await;
    let mut rest = [0; 1];
    drop(server);
    assert_eq!(
        within(other.stream.read(&mut rest)).await.unwrap_or(0),
        0,
        "a dropped server hangs up"
    );
}
