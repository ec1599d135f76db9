//! `sluice dev --demo`: a producer and a consumer of the native client, so that messages are seen
//! flowing; and `sluice send` and `sluice recv`, for a first try by hand.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sluice_broker::Broker;
use sluice_client::{
    ConsumeResult, Filter, Message, Producer, PushConsumer, ReceivedMessage, StartAt,
};
use sluice_plugins::Bind;
use tokio::sync::Semaphore;

use crate::args::Recv;

const TOPIC: &str = "Demo";
const FILTERED: &str = "demo-filtered";
/// Passes messages whose property `SequenceId` is over 10 and a multiple of 3; its source lies beside it.
const FILTER: &[u8] = include_bytes!("../../plugins/sequence/sequence.wasm");
const SEQUENCE: std::ops::RangeInclusive<u32> = 10..=15;
const PASSING: [u32; 2] = [12, 15];
/// Longest wait for the demo's own messages.
const PATIENCE: Duration = Duration::from_secs(30);

/// Uploads a WASM filter for one consumer group, sends a few messages, and shows which group gets what.
pub async fn show_messages_flowing(name_server: &str, broker: &Arc<Broker>) -> Result<()> {
    let plugins = broker.clone();
    tokio::task::spawn_blocking(move || upload(&plugins)).await??;
    let (all, some) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let plain = consumer(
        name_server,
        "demo-plain",
        (TOPIC, Filter::All),
        all.clone(),
        "  by demo-plain",
    )
    .await?;
    let filtered = consumer(
        name_server,
        FILTERED,
        (TOPIC, Filter::All),
        some.clone(),
        "  by demo-filtered",
    )
    .await?;
    let producer = Producer::builder("demo-producer")
        .name_server(name_server)
        .build()
        .await
        .context("the demo's producer")?;
    for number in SEQUENCE {
        let message = Message::new(TOPIC, format!("message {number}"))
            .tag("demo")
            .property("SequenceId", number.to_string());
        let sent = producer.send(message).await.context("the demo's send")?;
        println!("sent      message {number} to {}", sent.queue);
        arrived(&all, 1).await?;
    }
    arrived(&some, PASSING.len() as u32).await?;
    println!(
        "The filter let messages 12 and 15 through to group {FILTERED}; group demo-plain got all."
    );
    producer.shutdown().await;
    plain.shutdown().await;
    filtered.shutdown().await;
    Ok(())
}

/// As `sluice plugin put` and `bind` do it.
fn upload(broker: &Broker) -> Result<()> {
    let put = broker
        .plugins()
        .put("sequence", FILTER, broker.now_ms())
        .context("the demo's filter")?;
    broker.plugins().bind(Bind {
        plugin: put.name,
        topic: TOPIC.to_owned(),
        group: FILTERED.to_owned(),
        ..Bind::default()
    })?;
    println!(
        "uploaded  WASM filter `sequence` ({} KiB), bound to topic {TOPIC} for group {FILTERED}",
        FILTER.len() / 1024
    );
    Ok(())
}

async fn arrived(messages: &Semaphore, count: u32) -> Result<()> {
    let permits = tokio::time::timeout(PATIENCE, messages.acquire_many(count)).await;
    permits
        .context("the demo's message did not come")??
        .forget();
    Ok(())
}

/// Sends one message.
pub async fn send(name_server: &str, topic: &str, body: String, tag: Option<String>) -> Result<()> {
    let producer = Producer::builder("sluice-send")
        .name_server(name_server)
        .build()
        .await?;
    let mut message = Message::new(topic, body);
    if let Some(tag) = tag {
        message = message.tag(tag);
    }
    let sent = producer.send(message).await;
    producer.shutdown().await;
    let sent = sent?;
    println!(
        "{} stored in {} at offset {}",
        sent.message_id, sent.queue, sent.queue_offset
    );
    Ok(())
}

/// Shows messages of a topic until it is told to stop.
pub async fn receive(recv: Recv) -> Result<()> {
    let stop = crate::run::Stop::catch()?;
    let filter = match &*recv.filter_type {
        "TAG" => Filter::tags(recv.filter),
        "SQL92" => Filter::sql(recv.filter),
        _ => Filter::language(recv.filter_type, recv.filter),
    };
    let arrived = Arc::new(Semaphore::new(0));
    let wanted = (&*recv.topic, filter);
    let consumer = consumer(&recv.namesrv_addr, &recv.group, wanted, arrived, "").await?;
    stop.told().await;
    consumer.shutdown().await;
    Ok(())
}

async fn consumer(
    name_server: &str,
    group: &str,
    (topic, filter): (&str, Filter),
    arrived: Arc<Semaphore>,
    by: &'static str,
) -> Result<PushConsumer> {
    let show = move |message: ReceivedMessage| {
        let line = format!(
            "received  {} {}{by}",
            message.message_id(),
            String::from_utf8_lossy(message.body())
        );
        // Programs get it as it is.
        match std::io::stdout().is_terminal() {
            true => println!("{}", sluice_admin::visible(&line)),
            false => println!("{line}"),
        }
        arrived.add_permits(1);
        async { ConsumeResult::Success }
    };
    let consumer = PushConsumer::builder(group)
        .name_server(name_server)
        .subscribe(topic, filter)
        .start_at(StartAt::First)
        .on_message(show);
    Ok(consumer.build().await?)
}
