//! The topics of this broker (`topics.json`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use sluice_protocol::body::{DataVersion, TopicConfig};
use sluice_protocol::topic::{self, perm};
use sluice_store::QueueType;

use crate::config::BrokerConfig;
use crate::config_file::ConfigFile;
use crate::error::BrokerError;
use crate::stats::TopicCounts;

/// `topicFilterType` of most topics: a message has one tag.
pub const SINGLE_TAG: &str = "SINGLE_TAG";
/// `topicFilterType` of topics whose messages are marked as having several tags.
pub const MULTI_TAG: &str = "MULTI_TAG";
/// Most queues one topic may have: each costs a directory.
pub const QUEUES_MAX: i32 = 65_536;

/// A topic, and what is counted of it as long as it is there.
#[derive(Debug, Clone)]
pub struct Topic {
    config: TopicConfig,
    /// The same after each change of the topic.
    pub counts: Arc<TopicCounts>,
}

impl Topic {
    /// Whether its queues are batch consume queues (`queue.type=BatchCQ`).
    pub fn is_batch(&self) -> bool {
        QueueType::of(&self.config) == QueueType::Batch
    }
}

impl Deref for Topic {
    type Target = TopicConfig;

    fn deref(&self) -> &TopicConfig {
        &self.config
    }
}

/// Topics by name. A change is in force at once; whoever made it then waits until it is on disk
/// and registered, see [`crate::changes`].
#[derive(Debug)]
pub struct Topics {
    table: RwLock<HashMap<String, Arc<Topic>>>,
    version: Mutex<DataVersion>,
    /// Names of the topics that this broker made for itself.
    own: HashSet<String>,
    /// Held by whoever writes the file, one at a time.
    saving: Mutex<()>,
    file: ConfigFile,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    data_version: DataVersion,
    #[serde(default)]
    topic_config_table: BTreeMap<String, TopicConfig>,
}

impl Topics {
    /// Reads the file and adds the system topics this broker must have.
    ///
    /// # Errors
    /// The file is there but can't be read.
    pub fn load(
        file: ConfigFile,
        config: &BrokerConfig,
        now_ms: i64,
    ) -> Result<Topics, BrokerError> {
        let loaded: Option<File> = file.load()?;
        let (version, table) = loaded.map_or_else(Default::default, |file| {
            (file.data_version, file.topic_config_table)
        });
        let mut table: HashMap<_, _> = table.into_iter().collect();
        let mut own = HashSet::new();
        for system in system_topics(config) {
            own.insert(system.topic_name.clone());
            // What the file says wins: an operator may have changed it.
            table.entry(system.topic_name.clone()).or_insert(system);
        }
        set_inheritable(&mut table, config.auto_create_topic_enable);
        let counted = |(name, config): (String, TopicConfig)| {
            let counts = Arc::new(TopicCounts::new(is_system(&own, &name)));
            (name, Arc::new(Topic { config, counts }))
        };
        let table = table.into_iter().map(counted).collect();
        let topics = Topics {
            table: RwLock::new(table),
            version: Mutex::new(version),
            own,
            saving: Mutex::default(),
            file,
        };
        topics.bump(now_ms);
        Ok(topics)
    }

    /// The topic, if there is one.
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.table.read().get(name).cloned()
    }

    /// Whether the topic is the system's own: it can't be created, changed or deleted from outside.
    pub fn is_system(&self, name: &str) -> bool {
        is_system(&self.own, name)
    }

    /// All topics, by name.
    pub fn all(&self) -> BTreeMap<String, Arc<Topic>> {
        self.table
            .read()
            .iter()
            .map(|(name, topic)| (name.clone(), topic.clone()))
            .collect()
    }

    /// Creates or replaces a topic.
    pub fn put(&self, topic: TopicConfig, now_ms: i64) {
        let mut table = self.table.write();
        let counts = match table.get(&topic.topic_name) {
            Some(known) => known.counts.clone(),
            None => self.new_counts(&topic),
        };
        insert(&mut table, topic, counts);
        drop(table);
        self.bump(now_ms);
    }

    fn new_counts(&self, topic: &TopicConfig) -> Arc<TopicCounts> {
        Arc::new(TopicCounts::new(self.is_system(&topic.topic_name)))
    }

    /// What is counted of each topic.
    pub fn counts(&self) -> Vec<Arc<TopicCounts>> {
        let table = self.table.read();
        table.values().map(|topic| topic.counts.clone()).collect()
    }

    /// Creates a topic unless somebody was faster; true if it is new.
    pub fn create(&self, topic: TopicConfig, now_ms: i64) -> bool {
        let mut table = self.table.write();
        if table.contains_key(&topic.topic_name) {
            return false;
        }
        let counts = self.new_counts(&topic);
        insert(&mut table, topic, counts);
        drop(table);
        self.bump(now_ms);
        true
    }

    /// Forgets a topic; true if it was there.
    pub fn remove(&self, name: &str, now_ms: i64) -> bool {
        let removed = self.table.write().remove(name).is_some();
        if removed {
            self.bump(now_ms);
        }
        removed
    }

    /// Which of the topics are ordered, as the name server knows (`ORDER_TOPIC_CONFIG`). True if
    /// that changed anything.
    pub fn set_ordered(&self, ordered: &BTreeMap<String, String>, now_ms: i64) -> bool {
        let mut changed = false;
        for (name, topic) in self.table.write().iter_mut() {
            let order = ordered.contains_key(name);
            if order && !topic.order {
                Arc::make_mut(topic).config.order = order;
                changed = true;
            }
        }
        if changed {
            self.bump(now_ms);
        }
        changed
    }

    /// Version of the table: it changes with every change.
    pub fn version(&self) -> DataVersion {
        self.version.lock().clone()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`BrokerError::Persist`].
    pub fn save(&self) -> Result<(), BrokerError> {
        let _one = self.saving.lock();
        let data_version = self.version();
        let topic_config_table = self
            .table
            .read()
            .iter()
            .map(|(name, topic)| (name.clone(), TopicConfig::clone(topic)))
            .collect();
        self.file.save(&File {
            data_version,
            topic_config_table,
        })
    }

    /// Changes the version though no topic has changed: name servers take over anew what is
    /// registered with it.
    pub fn bump(&self, now_ms: i64) {
        self.version.lock().next(now_ms);
    }
}

fn insert(table: &mut HashMap<String, Arc<Topic>>, config: TopicConfig, counts: Arc<TopicCounts>) {
    let name = config.topic_name.clone();
    table.insert(name, Arc::new(Topic { config, counts }));
}

/// What the file has: the store wants to know some of it before it is open.
///
/// # Errors
/// The file is there but can't be read.
pub fn table_of(file: &ConfigFile) -> Result<BTreeMap<String, TopicConfig>, BrokerError> {
    let loaded: Option<File> = file.load()?;
    Ok(loaded.map_or_else(BTreeMap::new, |file| file.topic_config_table))
}

fn is_system(own: &HashSet<String>, name: &str) -> bool {
    topic::is_system_topic(name) || own.contains(name)
}

/// The template may be in the file from a time when `autoCreateTopicEnable` was another.
fn set_inheritable(table: &mut HashMap<String, TopicConfig>, inheritable: bool) {
    if let Some(template) = table.get_mut(topic::AUTO_CREATE_TOPIC) {
        template.perm &= !perm::INHERIT;
        if inheritable {
            template.perm |= perm::INHERIT;
        }
    }
}

/// What auto-creation makes of a producer's wish, after the template it names; `None` when the
/// template is missing or not inheritable (as when `autoCreateTopicEnable` is off).
///
/// Source: `TopicConfigManager.createTopicInSendMessageMethod`.
pub fn from_template(
    topics: &Topics,
    name: &str,
    template: &str,
    wished_queues: i32,
    sys_flag: i32,
) -> Option<TopicConfig> {
    let template = topics.get(template)?;
    if template.perm & perm::INHERIT == 0 {
        return None;
    }
    let queues = wished_queues.min(template.write_queue_nums).max(0);
    Some(TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm: template.perm & !perm::INHERIT,
        topic_sys_flag: sys_flag,
        topic_filter_type: template.topic_filter_type.clone(),
        ..TopicConfig::default()
    })
}

/// A plain topic.
pub fn plain(name: &str, queues: i32, perm: i32) -> TopicConfig {
    TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: queues,
        write_queue_nums: queues,
        perm,
        ..TopicConfig::default()
    }
}

/// Topics that RocketMQ 5.3.3 creates at every start (`TopicConfigManager`).
fn system_topics(config: &BrokerConfig) -> Vec<TopicConfig> {
    const READ_WRITE: i32 = perm::READ | perm::WRITE;
    let named = |enabled: bool| perm::INHERIT | if enabled { READ_WRITE } else { 0 };
    let cluster = &config.broker_cluster_name;
    let mut topics = vec![
        plain(topic::SELF_TEST_TOPIC, 1, READ_WRITE),
        plain(topic::BENCHMARK_TOPIC, 1024, READ_WRITE),
        plain(cluster, 16, named(config.cluster_topic_enable)),
        plain(&config.broker_name, 1, named(config.broker_topic_enable)),
        plain(topic::OFFSET_MOVED_EVENT, 1, READ_WRITE),
        plain(topic::SCHEDULE_TOPIC, 18, READ_WRITE),
        plain(&format!("{cluster}_REPLY_TOPIC"), 1, READ_WRITE),
        plain(
            &crate::pop::names::revive_topic(cluster),
            config.revive_queue_num,
            READ_WRITE,
        ),
        plain(
            &format!("rmq_sys_SYNC_BROKER_MEMBER_{}", config.broker_name),
            1,
            perm::INHERIT,
        ),
        plain(topic::TRANS_HALF_TOPIC, 1, READ_WRITE),
        plain(topic::TRANS_OP_HALF_TOPIC, 1, READ_WRITE),
        plain(topic::TIMER_TOPIC, 1, READ_WRITE),
    ];
    if config.auto_create_topic_enable {
        topics.push(plain(
            topic::AUTO_CREATE_TOPIC,
            config.default_topic_queue_nums,
            READ_WRITE | perm::INHERIT,
        ));
    }
    if config.trace_topic_enable {
        topics.push(plain(&config.msg_trace_topic_name, 1, READ_WRITE));
    }
    topics
}
