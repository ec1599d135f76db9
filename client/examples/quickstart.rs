//! The example of docs/getting-started.md, word for word.

use sluice_client::{
    ClientError, ConsumeResult, Message, Producer, PushConsumer, ReceivedMessage, StartAt,
};

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let consumer = PushConsumer::builder("stock")
        .name_server("127.0.0.1:9876")
        .subscribe("Orders", "*")
        .start_at(StartAt::First)
        .on_message(|message: ReceivedMessage| async move {
            println!("received {}", String::from_utf8_lossy(message.body()));
            ConsumeResult::Success
        })
        .build()
        .await?;

    let producer = Producer::builder("shop")
        .name_server("127.0.0.1:9876")
        .build()
        .await?;
    let sent = producer
        .send(Message::new("Orders", "hello from Rust").tag("eu"))
        .await?;
    println!("stored as {} in {}", sent.message_id, sent.queue);

    tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    producer.shutdown().await;
    consumer.shutdown().await; // commits offsets and tells the other members
    Ok(())
}
