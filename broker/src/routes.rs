//! Queues of topics in the whole cluster, as name servers know them: what is shared out among the
//! members of a group are the queues of all brokers, not ours alone.
//!
//! Only topics that clients ask about are kept. Once per `loadBalancePollNameServerInterval` they are
//! asked for anew, and those that nobody has asked about since are forgotten.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sluice_protocol::body::MessageQueue;
use sluice_protocol::topic::RETRY_PREFIX;
use tokio::time::timeout;

use crate::registration::{Registration, Unanswered};

/// Longest wait for a topic that is not known yet: who asks waits no longer.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// Readable queues of the topics that clients ask about.
#[derive(Debug, Default)]
pub struct Routes {
    topics: Mutex<HashMap<String, Known>>,
    /// One question at a time: many members of a group ask for the same topic at once.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Known {
    queues: Arc<Vec<MessageQueue>>,
    /// Somebody has asked since the last round.
    wanted: bool,
}

impl Routes {
    /// The topic's readable queues on all brokers, unordered. `None` if no name server knows the
    /// topic or none answers.
    pub async fn queues(
        &self,
        registration: &Registration,
        topic: &str,
    ) -> Option<Arc<Vec<MessageQueue>>> {
        if let Some(known) = self.known(topic) {
            return Some(known);
        }
        let asked = async {
            let _one_at_a_time = self.asking.lock().await;
            if let Some(known) = self.known(topic) {
                return Some(known);
            }
            self.ask(registration, topic).await.ok()?;
            self.known(topic)
        };
        timeout(WAIT_MAX, asked).await.ok().flatten()
    }

    /// One round over all topics.
    pub async fn refresh(&self, registration: &Registration) {
        let topics: Vec<String> = {
            let mut topics = self.topics.lock();
            topics.retain(|_, known| std::mem::take(&mut known.wanted));
            topics.keys().cloned().collect()
        };
        for topic in topics {
            if self.ask(registration, &topic).await.is_err() {
                return; // the others would wait in vain as well
            }
        }
    }

    /// A topic without queues counts as unknown: its queues may appear any moment.
    fn known(&self, topic: &str) -> Option<Arc<Vec<MessageQueue>>> {
        let mut topics = self.topics.lock();
        let known = topics.get_mut(topic)?;
        known.wanted = true;
        (!known.queues.is_empty()).then(|| known.queues.clone())
    }

    /// Takes over what name servers say. While none answers, what is known stays.
    async fn ask(&self, registration: &Registration, topic: &str) -> Result<(), Unanswered> {
        match registration.route(topic).await? {
            Some(route) => {
                let queues = Arc::new(route.readable_queues(topic));
                let mut topics = self.topics.lock();
                let wanted = topics.get(topic).is_some_and(|known| known.wanted);
                topics.insert(topic.to_owned(), Known { queues, wanted });
            }
            // A retry topic appears with its group's first heartbeat, on one broker after the other.
            None if topic.starts_with(RETRY_PREFIX) => {}
            None => {
                self.topics.lock().remove(topic);
            }
        }
        Ok(())
    }
}
