//! Consumers in situations that a running cluster seldom brings about.

mod common;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{Cluster, PATIENCE, let_things_happen, queue, until, within};
use sluice_client::{ConsumeResult, LitePullConsumer, LitePullConsumerBuilder, ReceivedMessage};
use sluice_client::{PushConsumerBuilder, StartAt, allocation::AverageByCircle};
use sluice_protocol::body::{MessageModel, MessageRequestMode, QueryAssignmentRequestBody};
use sluice_protocol::code::request;
use sluice_protocol::fastjson;
use tokio::sync::{Semaphore, mpsc};

fn lite(cluster: &Cluster) -> LitePullConsumerBuilder {
    LitePullConsumer::builder("g")
        .name_server(cluster.address())
        .start_at(StartAt::First)
}

fn text(message: &ReceivedMessage) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// Resets a queue while its listener has a message: the one that comes after must wait.
async fn resets_under_a_listener(cluster: &Cluster, builder: PushConsumerBuilder) {
    let (running, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let may_end = Arc::new(Semaphore::new(0));
    let listener = {
        let (running, calls, may_end) = (running.clone(), calls.clone(), may_end.clone());
        move |_| {
            let (running, calls, may_end) = (running.clone(), calls.clone(), may_end.clone());
            async move {
                running.fetch_add(1, Ordering::SeqCst);
                calls.fetch_add(1, Ordering::SeqCst);
                let _permit = may_end.acquire().await;
                running.fetch_sub(1, Ordering::SeqCst);
                ConsumeResult::Success
            }
        }
    };
    let consumer = builder.ordered().on_message(listener).build().await;
    let consumer = consumer.expect("a consumer");
    until("the listener runs", || calls.load(Ordering::SeqCst) == 1).await;
    let pulls_at_0 = || {
        let pulls = cluster.seen(request::PULL_MESSAGE);
        let at_0 = |pull: &&_| common::field(pull, "queueOffset") == "0";
        pulls.iter().filter(at_0).count()
    };
    let before = pulls_at_0();
    cluster.reset(queue("T", 0), 0);
    until("the queue is taken anew", || pulls_at_0() > before).await;
    let_things_happen().await;
    assert_eq!(running.load(Ordering::SeqCst), 1);
    may_end.close();
    until("the message comes again", || {
        calls.load(Ordering::SeqCst) == 2
    })
    .await;
    within(consumer.shutdown()).await;
}

#[tokio::test]
async fn a_reset_queue_has_one_listener() {
    let cluster = Cluster::start(&[("T", 1)]).await;
    cluster.put("T", 0, "x");
    resets_under_a_listener(&cluster, cluster.consumer("T")).await;
}

#[tokio::test]
async fn a_reset_broadcast_queue_has_one_listener() {
    let cluster = Cluster::start(&[("T", 1)]).await;
    cluster.put("T", 0, "x");
    let offsets = tempfile::tempdir().expect("a directory");
    let builder = cluster.consumer("T").broadcasting();
    resets_under_a_listener(&cluster, builder.offset_directory(offsets.path())).await;
}

#[tokio::test]
async fn an_assignment_is_made_though_its_caller_gives_up() {
    let cluster = Cluster::start(&[("T", 2)]).await;
    let consumer = lite(&cluster).build().await.expect("a consumer");
    let (first, second) = (queue("T", 0), queue("T", 1));
    let assigned = consumer.assign(std::slice::from_ref(&first)).await;
    assigned.expect("assigned");
    cluster.hold(request::QUERY_CONSUMER_OFFSET, None);
    let second_only = consumer.assign(std::slice::from_ref(&second));
    let given_up = tokio::time::timeout(Duration::from_millis(100), second_only).await;
    assert!(
        given_up.is_err(),
        "assigned though the broker does not answer"
    );
    cluster.release();
    until("the assignment is made", || {
        consumer.assigned_queues() == [second.clone()]
    })
    .await;
    cluster.put("T", 1, "x");
    let polled = consumer.poll(PATIENCE).await.expect("a poll");
    assert_eq!(text(&polled[0]), "x");
}

#[tokio::test]
async fn a_reset_by_command_leaves_assigned_queues_alone() {
    let cluster = Cluster::start(&[("T", 1)]).await;
    let consumer = lite(&cluster).build().await.expect("a consumer");
    consumer.assign(&[queue("T", 0)]).await.expect("assigned");
    cluster.put("T", 0, "first");
    let polled = consumer.poll(PATIENCE).await.expect("a poll");
    assert_eq!(text(&polled[0]), "first");
    cluster.reset(queue("T", 0), 0);
    let_things_happen().await;
    cluster.put("T", 0, "second");
    let polled = consumer.poll(PATIENCE).await.expect("a poll");
    assert_eq!(text(&polled[0]), "second");
}

#[tokio::test]
async fn a_pause_holds_for_queues_taken_later() {
    let cluster = Cluster::start(&[("T", 1)]).await;
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let consumer = cluster.consumer("T").on_message(move |message| {
        let _ = sender.send(text(&message));
        std::future::ready(ConsumeResult::Success)
    });
    let consumer = consumer.build().await.expect("a consumer");
    let takes = || cluster.seen(request::QUERY_CONSUMER_OFFSET).len();
    let before = takes();
    consumer.pause();
    cluster.reset(queue("T", 0), 0);
    until("the queue is taken anew", || takes() > before).await;
    cluster.put("T", 0, "x");
    let_things_happen().await;
    assert!(
        receiver.try_recv().is_err(),
        "a paused consumer got a message"
    );
    consumer.resume();
    assert_eq!(within(receiver.recv()).await.as_deref(), Some("x"));
    within(consumer.shutdown()).await;
}

#[tokio::test]
async fn what_is_pulled_ahead_is_bounded_over_all_queues() {
    const QUEUES: i32 = 4;
    const EACH: usize = 50;
    let cluster = Cluster::start(&[("T", QUEUES)]).await;
    for _ in 0..EACH {
        (0..QUEUES).for_each(|queue_id| cluster.put("T", queue_id, "x"));
    }
    let builder = lite(&cluster).subscribe("T", "*").pull_batch_size(5);
    let consumer = builder.cached_messages_total_max(20).build().await;
    let consumer = consumer.expect("a consumer");
    let_things_happen().await;
    let pulls = cluster.seen(request::LITE_PULL_MESSAGE).len();
    // Each queue may go beyond by one pull.
    assert!(
        pulls * 5 <= 20 + 5 * QUEUES as usize + 5,
        "{pulls} pulls of 5 are kept"
    );
    let mut polled = 0;
    while polled < EACH * QUEUES as usize {
        let messages = consumer.poll(PATIENCE).await.expect("a poll");
        assert!(!messages.is_empty(), "only {polled} messages came");
        polled += messages.len();
    }
}

#[tokio::test]
async fn a_body_compressed_by_lz4_is_handed_out_unfolded() {
    const COMPRESSED_BY_LZ4: i32 = 0x101;
    let body = "sluice ".repeat(1000);
    let mut compressed = lz4_flex::frame::FrameEncoder::new(Vec::new());
    compressed.write_all(body.as_bytes()).expect("compressed");
    let compressed = compressed.finish().expect("compressed");
    let cluster = Cluster::start(&[("T", 1)]).await;
    cluster.put_as("T", 0, &compressed, COMPRESSED_BY_LZ4);
    let builder = lite(&cluster).subscribe("T", "*");
    let consumer = builder.build().await.expect("a consumer");
    let polled = consumer.poll(PATIENCE).await.expect("a poll");
    assert_eq!(text(&polled[0]), body);
}

fn ignore(_: ReceivedMessage) -> std::future::Ready<ConsumeResult> {
    std::future::ready(ConsumeResult::Success)
}

#[tokio::test]
async fn a_broker_that_shares_the_queues_out_is_followed() {
    let cluster = Cluster::start(&[("T", 4)]).await;
    let first = [queue("T", 2)];
    cluster.assign(Some(&first), MessageRequestMode::Pull);
    let builder = cluster.consumer("T").strategy(AverageByCircle);
    let consumer = builder.allocated_by_broker().on_message(ignore).build();
    let consumer = consumer.await.expect("a consumer");
    assert_eq!(consumer.assigned_queues(), first);
    let asked = &cluster.seen(request::QUERY_ASSIGNMENT)[0];
    let asked: QueryAssignmentRequestBody = fastjson::from_slice(&asked.body).expect("a body");
    let expected = QueryAssignmentRequestBody {
        client_id: consumer.client_id().to_owned(),
        consumer_group: "g".to_owned(),
        message_model: MessageModel::Clustering,
        strategy_name: "AVG_BY_CIRCLE".to_owned(),
        topic: "T".to_owned(),
    };
    assert_eq!(asked, expected);
    let others = [queue("T", 0), queue("T", 3)];
    cluster.assign(Some(&others), MessageRequestMode::Pull);
    until("other queues are taken", || {
        consumer.assigned_queues() == others
    })
    .await;
    // A broker that knows nothing changes nothing, an empty share does.
    let asked = cluster.seen(request::QUERY_ASSIGNMENT).len();
    cluster.assign(None, MessageRequestMode::Pull);
    until("the broker is asked again", || {
        cluster.seen(request::QUERY_ASSIGNMENT).len() > asked
    })
    .await;
    let_things_happen().await;
    assert_eq!(consumer.assigned_queues(), others);
    cluster.assign(Some(&[]), MessageRequestMode::Pull);
    until("all is given up", || consumer.assigned_queues().is_empty()).await;
    assert!(
        cluster.seen(request::GET_CONSUMER_LIST_BY_GROUP).is_empty(),
        "the queues were computed here"
    );
    within(consumer.shutdown()).await;
}

#[tokio::test]
async fn a_broker_that_does_not_share_queues_out_leaves_it_to_the_client() {
    let cluster = Cluster::start(&[("T", 2)]).await;
    let builder = cluster.consumer("T").allocated_by_broker();
    let consumer = builder.on_message(ignore).build().await;
    let consumer = consumer.expect("a consumer");
    let all = [queue("T", 0), queue("T", 1)];
    assert_eq!(consumer.assigned_queues(), all);
    // We do not pop: what is said about that is passed over.
    let asked = cluster.seen(request::GET_CONSUMER_LIST_BY_GROUP).len();
    cluster.assign(Some(&[queue("T", -1)]), MessageRequestMode::Pop);
    until("the queues are computed again", || {
        cluster.seen(request::GET_CONSUMER_LIST_BY_GROUP).len() > asked
    })
    .await;
    let_things_happen().await;
    assert_eq!(consumer.assigned_queues(), all);
    within(consumer.shutdown()).await;
}
