//! `sluice dev --demo`: a producer and a consumer of the native client, so that messages are seen
//! flowing; and `sluice send` and `sluice recv`, for a first try by hand.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use sluice_client::{ConsumeResult, Message, Producer, PushConsumer, ReceivedMessage, StartAt};
use tokio::sync::Notify;

const TOPIC: &str = "Demo";
const MESSAGES: usize = 5;
/// Longest wait for the demo's own messages.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends a few messages and shows them as they come back.
pub async fn show_messages_flowing(name_server: &str) -> Result<()> {
    let arrived = Arc::new(Notify::new());
    let consumer = consumer(name_server, "demo-consumer", TOPIC, arrived.clone()).await?;
    let producer = Producer::builder("demo-producer")
        .name_server(name_server)
        .build()
        .await
        .context("the demo's producer")?;
    for number in 1..=MESSAGES {
        let message = Message::new(TOPIC, format!("message {number} of {MESSAGES}"))
            .tag("demo")
            .key(format!("demo-{number}"));
        let sent = producer.send(message).await.context("the demo's send")?;
        println!("sent      {} to {}", sent.message_id, sent.queue);
        tokio::time::timeout(PATIENCE, arrived.notified())
            .await
            .context("the demo's message did not come back")?;
    }
    producer.shutdown().await;
    consumer.shutdown().await;
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
pub async fn receive(name_server: &str, topic: &str, group: &str) -> Result<()> {
    let stop = crate::run::Stop::catch()?;
    let consumer = consumer(name_server, group, topic, Arc::new(Notify::new())).await?;
    stop.told().await;
    consumer.shutdown().await;
    Ok(())
}

async fn consumer(
    name_server: &str,
    group: &str,
    topic: &str,
    arrived: Arc<Notify>,
) -> Result<PushConsumer> {
    let show = move |message: ReceivedMessage| {
        println!(
            "received  {} {}",
            message.message_id(),
            String::from_utf8_lossy(message.body())
        );
        arrived.notify_one();
        async { ConsumeResult::Success }
    };
    let consumer = PushConsumer::builder(group)
        .name_server(name_server)
        .subscribe(topic, "*")
        .start_at(StartAt::First)
        .on_message(show);
    Ok(consumer.build().await?)
}
