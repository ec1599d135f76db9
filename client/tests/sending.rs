//! Producers in situations that a running cluster seldom brings about.

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{Cluster, TEMPLATE, field, queue, within};
use sluice_client::{ClientError, Message, Producer, ProducerBuilder, RemotingError};
use sluice_protocol::code::request;
use tokio::task::JoinSet;

fn producer(cluster: &Cluster) -> ProducerBuilder {
    Producer::builder("p").name_server(cluster.address())
}

#[tokio::test]
async fn many_large_sends_wait_for_each_other() {
    let cluster = Cluster::start(&[("T", 1)]).await;
    let producer = producer(&cluster).compress_from(usize::MAX).retries(0);
    let producer = producer.send_timeout(common::PATIENCE).build().await;
    let producer = producer.expect("a producer");
    let body = bytes::Bytes::from(vec![7; 4 * 1024 * 1024]);
    let mut sends = JoinSet::new();
    for _ in 0..24 {
        let (producer, message) = (producer.clone(), Message::new("T", body.clone()));
        sends.spawn(async move { producer.send(message).await });
    }
    for sent in within(sends.join_all()).await {
        sent.expect("sent");
    }
}

#[tokio::test]
async fn the_search_for_a_route_is_part_of_a_sends_time() {
    let cluster = Cluster::start(&[(TEMPLATE, 1), ("T", 1)]).await;
    let timeout = Duration::from_millis(200);
    let producer = producer(&cluster).send_timeout(timeout).build().await;
    let producer = producer.expect("a producer");
    cluster.hold(request::GET_ROUTEINFO_BY_TOPIC, Some("T"));
    let message = || Message::new("T", "x");
    let errors = [
        producer.send(message()).await.err(),
        producer.send_batch(vec![message()]).await.err(),
        producer.send_to(&queue("T", 0), message()).await.err(),
        producer
            .send_with(message(), |queues| &queues[0])
            .await
            .err(),
        producer.send_one_way(message()).await.err(),
    ];
    for error in errors {
        assert!(
            matches!(error, Some(ClientError::Timeout { timeout: said }) if said == timeout),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_broker_that_does_not_answer_is_a_timeout_of_the_call() {
    let cluster = Cluster::start(&[("T", 1)]).await;
    let producer = producer(&cluster).send_timeout(Duration::from_millis(200));
    let producer = producer.build().await.expect("a producer");
    cluster.hold(request::SEND_MESSAGE_V2, None);
    for _ in 0..5 {
        let queue = queue("T", 0);
        let one = producer.send_to(&queue, Message::new("T", "x"));
        let one = one.await.expect_err("nobody answers");
        assert!(is_call_timeout(&one), "{one:?}");
        let retried = producer.send(Message::new("T", "x")).await;
        let Err(ClientError::Exhausted { last, .. }) = retried else {
            panic!("{retried:?}");
        };
        assert!(is_call_timeout(&last), "{last:?}");
    }
}

fn is_call_timeout(error: &ClientError) -> bool {
    matches!(error, ClientError::Remoting(RemotingError::Timeout { .. }))
}

#[tokio::test]
async fn a_new_topic_is_asked_for_once_however_many_send_to_it() {
    let cluster = Cluster::start(&[(TEMPLATE, 1)]).await;
    let producer = producer(&cluster).build().await.expect("a producer");
    producer.send(Message::new("T", "x")).await.expect("sent");
    let asked = || {
        let routes = cluster.seen(request::GET_ROUTEINFO_BY_TOPIC);
        routes.iter().filter(|r| field(r, "topic") == "T").count()
    };
    common::until("the route is asked for", || asked() == 2).await;
    cluster.hold(request::GET_ROUTEINFO_BY_TOPIC, Some("T"));
    for _ in 0..20 {
        producer.send(Message::new("T", "x")).await.expect("sent");
    }
    common::let_things_happen().await;
    assert!(asked() <= 3, "asked {} times", asked());
}

#[tokio::test]
async fn each_topics_queues_take_turns() {
    let cluster = Cluster::start(&[("A", 2), ("B", 2)]).await;
    let producer = producer(&cluster).build().await.expect("a producer");
    for _ in 0..4 {
        producer.send(Message::new("A", "x")).await.expect("sent");
        producer.send(Message::new("B", "x")).await.expect("sent");
    }
    let mut counts = BTreeMap::new();
    for sent in cluster.seen(request::SEND_MESSAGE_V2) {
        let queue = (field(&sent, "b").to_owned(), field(&sent, "e").to_owned());
        *counts.entry(queue).or_insert(0) += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [2, 2, 2, 2]);
}
