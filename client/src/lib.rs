//! A native RocketMQ client: producer, push and lite pull consumers, admin calls.
//!
//! It speaks the remoting protocol of RocketMQ 5.3.3 and works with Sluice and with Java brokers
//! from 4.x on; Java, Go and Rust members can share a consumer group.
//!
//! ```no_run
//! use sluice_client::{ConsumeResult, Message, Producer, PushConsumer, ReceivedMessage, StartAt};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), sluice_client::ClientError> {
//!     let consumer = PushConsumer::builder("billing")
//!         .name_server("127.0.0.1:9876")
//!         .subscribe("orders", "created || paid")
//!         .start_at(StartAt::First)
//!         .on_message(|message: ReceivedMessage| async move {
//!             println!("{} {:?}", message.message_id(), message.body());
//!             ConsumeResult::Success
//!         })
//!         .build()
//!         .await?;
//!
//!     let producer = Producer::builder("shop").name_server("127.0.0.1:9876").build().await?;
//!     let order = Message::new("orders", r#"{"id": 7}"#).tag("created").key("order-7");
//!     let sent = producer.send(order).await?;
//!     println!("stored as {} in {}", sent.message_id, sent.queue);
//!
//!     producer.shutdown().await;
//!     consumer.shutdown().await; // commits offsets and tells the other members
//!     Ok(())
//! }
//! ```
//!
//! # What it promises
//!
//! - [`Producer::send`] returns when the broker has stored the message as safely as its mode
//!   promises; [`SendResult::status`] says when it is stored but less safely. Every attempt of one
//!   send carries the same id, so that a message stored twice can be told.
//! - A consumer gets each message at least once. Offsets are kept every five seconds, when a queue
//!   is given up, and at shutdown; the offset of a queue never passes a message that is still being
//!   worked on.
//! - Every future may be dropped at any point: nothing is left locked or half-sent. What a dropped
//!   call had asked for may still happen.
//! - A listener that panics costs its message one more delivery.
//!
//! # Tasks
//!
//! A producer has one background task (routes and heartbeats). A push consumer has three, one per
//! queue it works on, and as many as its `concurrency` for listeners (ordered: one per queue).
//! Nothing polls: pulls are held by the broker, and full queues are woken by what makes room.
//!
//! All of it needs a tokio runtime with time and network enabled. It logs through `tracing`.

mod admin;
mod body;
mod calls;
mod consumer;
mod ending;
mod error;
mod fault;
mod instance;
mod message;
mod name_servers;
mod outgoing;
mod producer;
mod route;
mod subscription;
mod unique_id;
mod validate;

pub use admin::{Admin, AdminBuilder, TopicSettings};
pub use consumer::{
    ConsumeResult, LitePullConsumer, LitePullConsumerBuilder, PushConsumer, PushConsumerBuilder,
    StartAt,
};
pub use error::ClientError;
pub use message::{Message, ReceivedMessage, SendResult, SendStatus};
pub use producer::{Producer, ProducerBuilder};
pub use sluice_allocation as allocation;
pub use sluice_allocation::MessageQueue;
pub use sluice_protocol::body::{
    BrokerData, ClusterInfo, OffsetWrapper, QueueData, SubscriptionGroupConfig, TopicOffset,
    TopicRouteData,
};
pub use sluice_remoting::RemotingError;
pub use sluice_remoting::tls::TlsClientOptions;
pub use subscription::Filter;
