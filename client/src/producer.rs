//! Sending.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluice_allocation::MessageQueue;
use sluice_protocol::RemotingCommand;
use sluice_protocol::body::{HeartbeatData, ProducerData};
use sluice_protocol::code::response;
use sluice_remoting::tls::TlsClientOptions;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::ending::Ending;
use crate::error::ClientError;
use crate::fault::Faults;
use crate::instance::{Connect, Instance, KnownRoute, Member};
use crate::message::{Message, SendResult, SendStatus};
use crate::outgoing::{Outgoing, encode_batch, send_request, send_result};
use crate::route::DEFAULT_TOPIC;
use crate::validate;
use sluice_protocol::message::compression;

/// Before the second attempt; four times as long before each further one. A broker that restarts
/// refuses connections at once: without a pause all attempts would be spent in a millisecond.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// Settings of a [`Producer`]; see [`Producer::builder`].
#[derive(Debug, Clone)]
pub struct ProducerBuilder {
    group: String,
    connect: Connect,
    send_timeout: Duration,
    retries: u32,
    retry_when_not_stored_safely: bool,
    compress_from: usize,
    message_size_max: usize,
    avoid_slow_brokers: bool,
}

impl ProducerBuilder {
    /// Name servers, `host:port`, several separated by `;`, or the `http://` address of a page that tells
    /// them. Without it the environment's `NAMESRV_ADDR` is used, or the address service at
    /// `ROCKETMQ_NAMESRV_DOMAIN`.
    pub fn name_server(mut self, addresses: impl Into<String>) -> Self {
        self.connect.name_servers = Some(addresses.into());
        self
    }

    /// Second half of the client id; unique in each producer unless set.
    pub fn instance_name(mut self, name: impl Into<String>) -> Self {
        self.connect.instance_name = Some(name.into());
        self
    }

    /// Connects encrypted.
    pub fn tls(mut self, options: TlsClientOptions) -> Self {
        self.connect.tls = Some(options);
        self
    }

    /// Most time to connect to one peer; 3 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect.connect_timeout = timeout;
        self
    }

    /// Time for one whole send call with all its attempts, the search for the topic's route and
    /// connecting included; 3 s.
    pub fn send_timeout(mut self, timeout: Duration) -> Self {
        self.send_timeout = timeout;
        self
    }

    /// Attempts after the first; 2. A retried message can be stored twice, with the same id.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Whether a message that was stored, but not as safely as the broker's mode promises, is sent
    /// again; false.
    pub fn retry_when_not_stored_safely(mut self, retry: bool) -> Self {
        self.retry_when_not_stored_safely = retry;
        self
    }

    /// Bodies of this many bytes or more are compressed; 4096. `usize::MAX` switches it off.
    pub fn compress_from(mut self, size: usize) -> Self {
        self.compress_from = size;
        self
    }

    /// Largest body, bytes, before compression; 4 MiB. Brokers have a limit of their own.
    pub fn message_size_max(mut self, size: usize) -> Self {
        self.message_size_max = size;
        self
    }

    /// Whether brokers that were slow or failed rest for a while (`sendLatencyFaultEnable`);
    /// false. A broker that failed is avoided within the same call in any case.
    pub fn avoid_slow_brokers(mut self, avoid: bool) -> Self {
        self.avoid_slow_brokers = avoid;
        self
    }

    /// Connects to the cluster.
    ///
    /// # Errors
    /// A setting is out of bounds, TLS can't be set up, or no name server answers.
    pub async fn build(self) -> Result<Producer, ClientError> {
        validate::group(&self.group)?;
        validate::setting(
            "send_timeout",
            self.send_timeout,
            Duration::from_millis(1)..=Duration::from_secs(3600),
        )?;
        validate::setting(
            "message_size_max",
            self.message_size_max,
            1..=compression::INFLATED_SIZE_MAX as usize,
        )?;
        let instance = Instance::new(&self.connect, None)?;
        match instance.route(DEFAULT_TOPIC).await {
            Ok(_) | Err(ClientError::NoRoute { .. }) => {}
            Err(error) => return Err(error),
        }
        let core = Arc::new(Core {
            faults: Faults::new(self.avoid_slow_brokers),
            settings: self,
            instance: instance.clone(),
            ending: Ending::default(),
        });
        let member: Arc<dyn Member> = core.clone();
        instance.serve(Arc::downgrade(&member));
        instance.heartbeat().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(instance.keep());
        tracing::info!(
            group = core.settings.group,
            client_id = core.instance.client_id,
            "producer started"
        );
        Ok(Producer {
            core,
            tasks: Arc::new(Mutex::new(tasks)),
        })
    }
}

/// Sends messages. Clones share connections and settings.
///
/// All futures may be dropped at any time: a message whose send was given up may or may not be
/// stored. [`Producer::shutdown`] takes leave of the brokers; dropping the last clone closes the
/// connections just so.
#[derive(Clone)]
pub struct Producer {
    core: Arc<Core>,
    /// Aborted when the last clone goes.
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer")
            .field("settings", &self.core.settings)
            .field("client_id", &self.core.instance.client_id)
            .finish_non_exhaustive()
    }
}

impl Producer {
    /// Begins with Java's default settings. Brokers show the producer under its group.
    pub fn builder(group: impl Into<String>) -> ProducerBuilder {
        ProducerBuilder {
            group: group.into(),
            connect: Connect::default(),
            send_timeout: Duration::from_secs(3),
            retries: 2,
            retry_when_not_stored_safely: false,
            compress_from: 4096,
            message_size_max: 4 * 1024 * 1024,
            avoid_slow_brokers: false,
        }
    }

    /// Sends a message to the next queue in turn and waits until the broker has stored it; retries
    /// on other brokers, if there are any.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] before anything is sent; [`ClientError::Refused`] when the broker
    /// will not take the message anywhere; else [`ClientError::Exhausted`].
    pub async fn send(&self, message: Message) -> Result<SendResult, ClientError> {
        let outgoing = self.core.outgoing(message)?;
        self.core.send_retrying(&outgoing).await
    }

    /// Sends a message without waiting for an answer: it may be lost without notice.
    ///
    /// # Errors
    /// No route, no connection, or an illegal message.
    pub async fn send_one_way(&self, message: Message) -> Result<(), ClientError> {
        let outgoing = self.core.outgoing(message)?;
        let budget = self.core.budget();
        budget.within(self.core.send_one_way(&outgoing)).await
    }

    /// Sends several messages of one topic to one queue, in order; they are stored together or not
    /// at all. Bodies are not compressed; all together they must fit `message_size_max`.
    ///
    /// # Errors
    /// As [`Producer::send`]; also for messages of several topics, of a retry topic, or with delay.
    pub async fn send_batch(&self, messages: Vec<Message>) -> Result<SendResult, ClientError> {
        let outgoing = self.core.outgoing_batch(messages)?;
        self.core.send_retrying(&outgoing).await
    }

    /// Sends a message to one queue; one attempt.
    ///
    /// # Errors
    /// As [`Producer::send`]; the queue must be of the message's topic.
    pub async fn send_to(
        &self,
        queue: &MessageQueue,
        message: Message,
    ) -> Result<SendResult, ClientError> {
        self.send_to_within(self.core.budget(), queue, message)
            .await
    }

    async fn send_to_within(
        &self,
        budget: Budget,
        queue: &MessageQueue,
        message: Message,
    ) -> Result<SendResult, ClientError> {
        if queue.topic != message.topic {
            return Err(ClientError::invalid(
                format!("queue of topic {:?}", queue.topic),
                format!("does not fit a message of topic {:?}", message.topic),
            ));
        }
        let outgoing = self.core.outgoing(message)?;
        let route = self.core.instance.publish_route(&outgoing.topic);
        budget.within(route).await?;
        self.core.send_once(&outgoing, queue, budget).await
    }

    /// Sends a message to the queue that `select` chooses among all writable ones, which are sorted
    /// by broker name and queue id; one attempt. Messages that must stay in order choose by what
    /// they have in common:
    ///
    /// ```no_run
    /// # async fn f(producer: sluice_client::Producer, order_id: usize) -> Result<(), sluice_client::ClientError> {
    /// # let message = sluice_client::Message::new("orders", "x");
    /// producer.send_with(message, |queues| &queues[order_id % queues.len()]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Producer::send`].
    pub async fn send_with<F>(&self, message: Message, select: F) -> Result<SendResult, ClientError>
    where
        F: for<'a> FnOnce(&'a [MessageQueue]) -> &'a MessageQueue,
    {
        let budget = self.core.budget();
        let queues = budget.within(self.publish_queues(&message.topic)).await?;
        self.send_to_within(budget, select(&queues), message).await
    }

    /// The queues of a topic that can be written, sorted by broker name and queue id; never empty.
    ///
    /// # Errors
    /// The topic has no route and can't be created by sending, or no queue is writable.
    pub async fn publish_queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        validate::topic(topic)?;
        let route = self.core.instance.publish_route(topic).await?;
        if route.publish.is_empty() {
            return Err(ClientError::NotWritable {
                topic: topic.to_owned(),
            });
        }
        Ok(route.publish.clone())
    }

    /// This producer's id, as brokers know it.
    pub fn client_id(&self) -> &str {
        &self.core.instance.client_id
    }

    /// Takes leave of the brokers. Sends that are under way may still succeed; later ones fail with
    /// [`ClientError::ShutDown`].
    ///
    /// It goes on when the future is dropped, as long as the runtime lives; a second call waits for
    /// the same end.
    pub async fn shutdown(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        self.core.ending.run(end(self.core.clone(), tasks)).await;
    }
}

async fn end(core: Arc<Core>, mut tasks: JoinSet<()>) {
    // No heartbeat makes us known again.
    tasks.shutdown().await;
    let group = &core.settings.group;
    core.instance.unregister("producerGroup", group).await;
    tracing::info!(group, "producer shut down");
}

struct Core {
    settings: ProducerBuilder,
    instance: Arc<Instance>,
    faults: Faults,
    ending: Ending,
}

impl Member for Core {
    fn heartbeat(&self, client_id: &str) -> Option<HeartbeatData> {
        Some(HeartbeatData {
            client_id: client_id.to_owned(),
            consumer_data_set: Vec::new(),
            heartbeat_fingerprint: 0,
            producer_data_set: vec![ProducerData {
                group_name: self.settings.group.clone(),
            }],
            without_sub: false,
        })
    }

    fn topics(&self) -> Vec<String> {
        self.instance.topics()
    }
}

/// The time of one send call; all that it does draws on it.
#[derive(Debug, Clone, Copy)]
struct Budget {
    start: Instant,
    timeout: Duration,
}

impl Budget {
    fn left(self) -> Duration {
        self.timeout.saturating_sub(self.start.elapsed())
    }

    async fn within<T>(
        self,
        step: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        let timeout = self.timeout;
        let done = timeout_at(self.start + timeout, step).await;
        done.unwrap_or(Err(ClientError::Timeout { timeout }))
    }
}

impl Core {
    fn budget(&self) -> Budget {
        Budget {
            start: Instant::now(),
            timeout: self.settings.send_timeout,
        }
    }

    fn outgoing(&self, message: Message) -> Result<Outgoing, ClientError> {
        self.check_running()?;
        validate::message(&message, self.settings.message_size_max)?;
        Outgoing::encode(message, self.settings.compress_from)
    }

    fn outgoing_batch(&self, messages: Vec<Message>) -> Result<Outgoing, ClientError> {
        self.check_running()?;
        encode_batch(messages, self.settings.message_size_max)
    }

    fn check_running(&self) -> Result<(), ClientError> {
        if self.ending.has_begun() {
            return Err(ClientError::ShutDown);
        }
        Ok(())
    }

    async fn send_retrying(&self, outgoing: &Outgoing) -> Result<SendResult, ClientError> {
        let budget = self.budget();
        let timeout = budget.timeout;
        let mut failed_broker = None;
        let mut last: Option<ClientError> = None;
        for attempt in 0..=self.settings.retries {
            if budget.left().is_zero() {
                let last = last.unwrap_or(ClientError::Timeout { timeout });
                return Err(exhausted(attempt, budget, last));
            }
            let attempted = self.attempt(outgoing, failed_broker.as_deref(), budget);
            let (broker_name, error) = match attempted.await {
                Ok(result) if !self.is_to_be_repeated(&result, attempt) => return Ok(result),
                Ok(result) => {
                    failed_broker = Some(result.queue.broker_name);
                    continue;
                }
                Err(failure) => failure,
            };
            if !is_worth_retrying(&error) {
                return Err(error);
            }
            tracing::warn!(topic = outgoing.topic, attempt, %error, "send attempt failed");
            failed_broker = broker_name.or(failed_broker);
            last = Some(error);
            if attempt < self.settings.retries {
                let pause = RETRY_PAUSE * 4u32.saturating_pow(attempt);
                tokio::time::sleep(pause.min(budget.left())).await;
            }
        }
        let last = last.unwrap_or(ClientError::Timeout { timeout });
        Err(exhausted(self.settings.retries + 1, budget, last))
    }

    fn is_to_be_repeated(&self, result: &SendResult, attempt: u32) -> bool {
        self.settings.retry_when_not_stored_safely
            && result.status != SendStatus::Ok
            && attempt < self.settings.retries
    }

    /// One attempt; a failure tells the broker, if one was chosen.
    async fn attempt(
        &self,
        outgoing: &Outgoing,
        failed_broker: Option<&str>,
        budget: Budget,
    ) -> Result<SendResult, (Option<String>, ClientError)> {
        let route = budget.within(self.instance.publish_route(&outgoing.topic));
        let route = route.await.map_err(|error| (None, error))?;
        let queue = self
            .choose(&outgoing.topic, &route, failed_broker)
            .map_err(|error| (None, error))?;
        let sent = self.send_once(outgoing, queue, budget).await;
        sent.map_err(|error| (Some(queue.broker_name.clone()), error))
    }

    fn choose<'a>(
        &self,
        topic: &str,
        route: &'a KnownRoute,
        failed_broker: Option<&str>,
    ) -> Result<&'a MessageQueue, ClientError> {
        let (queues, turn) = (&route.publish, route.take_turn());
        let now = Instant::now();
        let chosen = self.faults.choose(queues, turn, failed_broker, now);
        chosen.ok_or_else(|| ClientError::NotWritable {
            topic: topic.to_owned(),
        })
    }

    async fn send_one_way(&self, outgoing: &Outgoing) -> Result<(), ClientError> {
        let route = self.instance.publish_route(&outgoing.topic).await?;
        let queue = self.choose(&outgoing.topic, &route, None)?;
        let address = self.instance.master(&queue.broker_name)?;
        let request = self.request(outgoing, queue);
        Ok(self.instance.remoting.one_way(&address, request).await?)
    }

    async fn send_once(
        &self,
        outgoing: &Outgoing,
        queue: &MessageQueue,
        budget: Budget,
    ) -> Result<SendResult, ClientError> {
        let address = self.instance.master(&queue.broker_name)?;
        let request = self.request(outgoing, queue);
        let code = request.code;
        let start = Instant::now();
        // The call itself keeps the time: a second clock beside it would decide by chance which
        // error there is.
        let answered = self.instance.call_any(&address, request, budget.left());
        let result = match answered.await {
            Ok(response) => send_result(&address, code, outgoing, queue, &response),
            Err(error) => Err(error),
        };
        self.faults.note(
            &queue.broker_name,
            start.elapsed(),
            result.is_err(),
            Instant::now(),
        );
        match &result {
            Ok(_) if self.instance.has_template_route(&outgoing.topic) => {
                // Not waited for: the message is stored, whatever the name server does.
                let (instance, topic) = (self.instance.clone(), outgoing.topic.clone());
                tokio::spawn(async move { instance.confirm_route(&topic).await });
            }
            Ok(_) => {}
            Err(error) if error.is_timeout() => self.instance.want_heartbeat(),
            Err(ClientError::Refused {
                code: response::TOPIC_NOT_EXIST,
                ..
            }) => self.instance.forget_route(&outgoing.topic),
            Err(_) => {}
        }
        result
    }

    fn request(&self, outgoing: &Outgoing, queue: &MessageQueue) -> RemotingCommand {
        send_request(&self.settings.group, outgoing, queue)
    }
}

/// Java's `retryResponseCodes`, and everything that went wrong on the way.
fn is_worth_retrying(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { code, .. } => matches!(
            *code,
            response::TOPIC_NOT_EXIST
                | response::SERVICE_NOT_AVAILABLE
                | response::SYSTEM_ERROR
                | response::SYSTEM_BUSY
                | response::NO_PERMISSION
                | response::NO_BUYER_ID
                | response::NOT_IN_CURRENT_UNIT
                | response::GO_AWAY
        ),
        ClientError::Remoting(_) | ClientError::BrokerUnknown { .. } => true,
        _ => false,
    }
}

fn exhausted(attempts: u32, budget: Budget, last: ClientError) -> ClientError {
    ClientError::Exhausted {
        attempts,
        elapsed: budget.start.elapsed(),
        last: Box::new(last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_retried_as_java_does() {
        let refused = |code| ClientError::Refused {
            address: String::new(),
            code,
            remark: String::new(),
        };
        for code in [17, 14, 1, 2, 16, 204, 205, 1500] {
            assert!(is_worth_retrying(&refused(code)), "{code}");
        }
        for code in [13, 29, 26] {
            assert!(!is_worth_retrying(&refused(code)), "{code}");
        }
        assert!(!is_worth_retrying(&ClientError::NoRoute {
            topic: "T".to_owned()
        }));
    }
}
