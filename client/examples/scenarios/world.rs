//! What scenarios stand on: names of their own, and messages that are waited for.

use std::collections::BTreeSet;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sluice_client::{
    Admin, ClientError, ConsumeResult, Message, Producer, PushConsumer, PushConsumerBuilder,
    ReceivedMessage, StartAt, TopicSettings,
};
use tokio::sync::mpsc;

pub type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// How long a message may take; a deadline, not a measure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Fails a scenario with a reason.
#[macro_export]
macro_rules! ensure {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err(format!($($reason)+).into());
        }
    };
}

/// One cluster, and names that no earlier run has used.
pub struct World {
    pub name_server: String,
    pub admin: Admin,
    run: String,
    next: AtomicU32,
}

impl World {
    pub fn new(name_server: String) -> Result<Self, ClientError> {
        let admin = Admin::builder().name_server(&name_server).build()?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(World {
            name_server,
            admin,
            run: format!("{:x}", now.as_millis()),
            next: AtomicU32::new(0),
        })
    }

    pub fn name(&self, kind: &str) -> String {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{kind}-{}-{count}", self.run)
    }

    /// A new topic whose route is known to the name server.
    pub async fn topic(&self, queues: u16) -> Result<String, Box<dyn Error + Send + Sync>> {
        let topic = self.name("T");
        self.admin
            .create_topic(&TopicSettings::new(&topic, queues))
            .await?;
        let route = async || match self.admin.route(&topic).await {
            Ok(_) => Ok(Some(())),
            Err(ClientError::NoRoute { .. }) => Ok(None),
            Err(error) => Err(error),
        };
        until("the topic's route", route).await?;
        Ok(topic)
    }

    pub async fn producer(&self) -> Result<Producer, ClientError> {
        Producer::builder(self.name("P"))
            .name_server(&self.name_server)
            .build()
            .await
    }

    /// A consumer that takes everything from the beginning.
    pub fn consumer(&self, group: &str, topic: &str) -> PushConsumerBuilder {
        PushConsumer::builder(group)
            .name_server(&self.name_server)
            .subscribe(topic, "*")
            .start_at(StartAt::First)
    }
}

/// Asks again until there is an answer, with a pause that the cluster needs to change.
pub async fn until<T, E: Into<Box<dyn Error + Send + Sync>>>(
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<Option<T>, E>,
) -> Result<T, Box<dyn Error + Send + Sync>> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await.map_err(Into::into)? {
            return Ok(answer);
        }
        if tokio::time::Instant::now() > deadline {
            return Err(format!("{what} did not come within {PATIENCE:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Messages that a listener got, with a name for who got them.
pub struct Inbox {
    sender: mpsc::UnboundedSender<(Arc<str>, ReceivedMessage)>,
    receiver: mpsc::UnboundedReceiver<(Arc<str>, ReceivedMessage)>,
}

impl Inbox {
    pub fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Inbox { sender, receiver }
    }

    /// A listener that puts everything here.
    pub fn listener(
        &self,
        name: &str,
    ) -> impl Fn(ReceivedMessage) -> std::future::Ready<ConsumeResult> + Send + Sync + 'static {
        let (sender, name): (_, Arc<str>) = (self.sender.clone(), name.into());
        move |message| {
            let _ = sender.send((name.clone(), message));
            std::future::ready(ConsumeResult::Success)
        }
    }

    pub fn put(&self) -> mpsc::UnboundedSender<(Arc<str>, ReceivedMessage)> {
        self.sender.clone()
    }

    /// The next message and who got it.
    pub async fn next(
        &mut self,
    ) -> Result<(Arc<str>, ReceivedMessage), Box<dyn Error + Send + Sync>> {
        let next = tokio::time::timeout(PATIENCE, self.receiver.recv()).await;
        let next = next.map_err(|_| format!("no message came within {PATIENCE:?}"))?;
        next.ok_or_else(|| "the inbox is closed".into())
    }

    /// The bodies of the next messages, until all of `wanted` have come; repeats are left out.
    pub async fn collect(&mut self, wanted: &BTreeSet<String>) -> Outcome {
        let mut missing = wanted.clone();
        while !missing.is_empty() {
            let (_, message) = self.next().await.map_err(|error| {
                format!("{error}, {} of {} are missing", missing.len(), wanted.len())
            })?;
            let body = text(&message);
            ensure!(wanted.contains(&body), "unexpected message {body:?}");
            missing.remove(&body);
        }
        Ok(())
    }
}

pub fn text(message: &ReceivedMessage) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// Sends `count` messages with bodies `<prefix>0`, `<prefix>1`…, and returns these.
pub async fn send_numbered(
    producer: &Producer,
    topic: &str,
    prefix: &str,
    count: usize,
) -> Result<BTreeSet<String>, ClientError> {
    let mut bodies = BTreeSet::new();
    for number in 0..count {
        let body = format!("{prefix}{number}");
        producer.send(Message::new(topic, body.clone())).await?;
        bodies.insert(body);
    }
    Ok(bodies)
}
