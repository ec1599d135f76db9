//! Ends in order, also when nobody waits for them.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Cluster, TEMPLATE, queue, until, within};
use sluice_client::{ConsumeResult, LitePullConsumer, Producer, StartAt};
use sluice_protocol::code::request;
use tokio::sync::Semaphore;

/// Waits a little and gives up, as a caller with a time-out of its own does.
async fn give_up_on(ending: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(Duration::from_millis(100), ending).await;
    assert!(ended.is_err(), "it ended though something holds it up");
}

#[tokio::test]
async fn a_consumers_end_goes_on_when_its_caller_gives_up() {
    let cluster = Cluster::start(&[("T", 1)]).await;
    cluster.put("T", 0, "x");
    let (begun, may_end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let listener = {
        let (begun, may_end) = (begun.clone(), may_end.clone());
        move |_| {
            let (begun, may_end) = (begun.clone(), may_end.clone());
            async move {
                begun.add_permits(1);
                let _permit = may_end.acquire().await;
                ConsumeResult::Success
            }
        }
    };
    let consumer = cluster.consumer("T").on_message(listener).build().await;
    let consumer = consumer.expect("a consumer");
    let _ = within(begun.acquire()).await;
    give_up_on(consumer.shutdown()).await;
    // Later calls wait for the same end, and dropping the consumer does not spoil it.
    give_up_on(consumer.shutdown()).await;
    drop(consumer);
    may_end.add_permits(1);
    until("leave is taken", || {
        !cluster.seen(request::UNREGISTER_CLIENT).is_empty()
    })
    .await;
    assert_eq!(cluster.committed(&queue("T", 0)), Some(1));
}

#[tokio::test]
async fn the_last_offsets_are_committed_at_once_and_together() {
    let cluster = Cluster::start(&[("T", 8)]).await;
    let consumer = LitePullConsumer::builder("g")
        .name_server(cluster.address())
        .subscribe("T", "*")
        .start_at(StartAt::First)
        .build()
        .await
        .expect("a consumer");
    for queue_id in 0..8 {
        cluster.put("T", queue_id, "x");
    }
    for _ in 0..8 {
        let polled = consumer.poll(common::PATIENCE).await.expect("a poll");
        assert_eq!(polled.len(), 1);
    }
    cluster.hold(request::UPDATE_CONSUMER_OFFSET, None);
    give_up_on(consumer.shutdown()).await;
    until("no commit waits for another", || {
        let commits = cluster.seen(request::UPDATE_CONSUMER_OFFSET);
        commits.iter().filter(|commit| !commit.is_one_way()).count() == 8
    })
    .await;
    cluster.release();
    within(consumer.shutdown()).await;
    assert_eq!(cluster.seen(request::UNREGISTER_CLIENT).len(), 1);
}

#[tokio::test]
async fn a_producers_end_goes_on_when_its_caller_gives_up() {
    let cluster = Cluster::start(&[(TEMPLATE, 1)]).await;
    let producer = Producer::builder("p").name_server(cluster.address());
    let producer = producer.build().await.expect("a producer");
    cluster.hold(request::UNREGISTER_CLIENT, None);
    give_up_on(producer.shutdown()).await;
    give_up_on(producer.shutdown()).await;
    cluster.release();
    within(producer.shutdown()).await;
    assert_eq!(cluster.seen(request::UNREGISTER_CLIENT).len(), 1);
}
