//! The route table: brokers, their addresses, their topics (`RouteInfoManager`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parking_lot::RwLock;
use sluice_protocol::body::{
    BrokerData, BrokerMemberGroup, ClusterInfo, DataVersion, QueueData,
    TopicConfigSerializeWrapper, TopicRouteData,
};
use sluice_protocol::topic::perm;

/// A broker that has not registered for this long is gone, unless it asked for another time.
const SILENCE_MAX_MS: i64 = 120_000;

/// Who registers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerIdentity {
    /// Cluster.
    pub cluster: String,
    /// Broker name, shared by a master and its slaves.
    pub name: String,
    /// 0 is the master.
    pub id: i64,
    /// Where clients reach it.
    pub address: String,
}

/// One registration.
#[derive(Debug)]
pub struct Registration {
    /// Who registers.
    pub broker: BrokerIdentity,
    /// Where slaves reach it.
    pub ha_address: String,
    /// `None` from brokers too old to know.
    pub enable_acting_master: Option<bool>,
    /// Time of silence after which it is gone, milliseconds; `None` is the default.
    pub timeout_ms: Option<i64>,
    /// Its topics.
    pub topics: TopicConfigSerializeWrapper,
    /// Where clients with class filters upload and pull.
    pub filter_servers: Vec<String>,
    /// The connection it came over.
    pub connection: u64,
}

/// What a broker learns from registering.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// The master's addresses, for a slave: clients', slaves'.
    pub master: Option<(String, String)>,
}

/// The broker's first registration carries a single topic: it is an increment, and what it adds to
/// is not known here (`register broker failed`).
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("register broker failed")]
pub struct Incomplete;

/// Brokers, addresses, topics.
#[derive(Debug, Default)]
pub struct Routes(RwLock<Table>);

#[derive(Debug, Default)]
struct Table {
    clusters: BTreeMap<String, BTreeSet<String>>,
    brokers: BTreeMap<String, BrokerData>,
    /// Topic, broker name, queues.
    topics: HashMap<String, BTreeMap<String, QueueData>>,
    /// By cluster and address.
    live: HashMap<(String, String), Live>,
}

#[derive(Debug)]
struct Live {
    broker: BrokerIdentity,
    last_ms: i64,
    timeout_ms: i64,
    version: DataVersion,
    ha_address: String,
    filter_servers: Vec<String>,
    connection: u64,
}

impl Routes {
    /// Takes a registration over.
    ///
    /// # Errors
    /// [`Incomplete`].
    pub fn register(
        &self,
        registration: Registration,
        now_ms: i64,
    ) -> Result<Registered, Incomplete> {
        self.0.write().register(registration, now_ms)
    }

    /// A broker signs off.
    pub fn unregister(&self, broker: &BrokerIdentity) {
        self.0.write().unregister(broker);
    }

    /// A connection ended: the broker that registered over it is gone.
    pub fn connection_closed(&self, connection: u64) {
        self.0
            .write()
            .drop_where(|live| live.connection == connection);
    }

    /// Drops brokers that have been silent for too long.
    pub fn drop_silent(&self, now_ms: i64) {
        self.0
            .write()
            .drop_where(|live| live.last_ms.saturating_add(live.timeout_ms) < now_ms);
    }

    /// The broker lives; true if it is known.
    pub fn refresh(&self, cluster: &str, address: &str, now_ms: i64) -> bool {
        let mut table = self.0.write();
        let live = table
            .live
            .get_mut(&(cluster.to_owned(), address.to_owned()));
        live.map(|live| live.last_ms = now_ms).is_some()
    }

    /// The version of a broker's topics as last registered.
    pub fn version(&self, cluster: &str, address: &str) -> Option<DataVersion> {
        self.0
            .read()
            .live
            .get(&(cluster.to_owned(), address.to_owned()))
            .map(|live| live.version.clone())
    }

    /// Where a topic is; `None` unless it has queues on a living broker.
    pub fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let table = self.0.read();
        let queues = table.topics.get(topic)?;
        let broker_datas: Vec<_> = queues
            .keys()
            .filter_map(|name| table.brokers.get(name))
            .cloned()
            .collect();
        if broker_datas.is_empty() {
            return None;
        }
        Some(TopicRouteData {
            filter_server_table: table.filter_servers(&broker_datas),
            broker_datas,
            queue_datas: queues.values().cloned().collect(),
            ..TopicRouteData::default()
        })
    }

    /// All brokers.
    pub fn cluster_info(&self) -> ClusterInfo {
        let table = self.0.read();
        ClusterInfo {
            broker_addr_table: table.brokers.clone(),
            cluster_addr_table: table.clusters.clone(),
        }
    }

    /// The addresses of one broker name.
    pub fn member_group(&self, name: &str) -> BrokerMemberGroup {
        let data = self.0.read().brokers.get(name).cloned().unwrap_or_default();
        BrokerMemberGroup {
            broker_addrs: data.broker_addrs,
            broker_name: name.to_owned(),
            cluster: data.cluster,
        }
    }

    /// All topics.
    pub fn topics(&self) -> BTreeSet<String> {
        self.0.read().topics.keys().cloned().collect()
    }

    /// Topics with queues in the cluster.
    pub fn topics_of_cluster(&self, cluster: &str) -> BTreeSet<String> {
        let table = self.0.read();
        let Some(names) = table.clusters.get(cluster) else {
            return BTreeSet::new();
        };
        table
            .topics
            .iter()
            .filter(|(_, queues)| queues.keys().any(|name| names.contains(name)))
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    /// Topics for which `wanted` says so of any of their queues' sysFlag.
    pub fn topics_by_sys_flag(&self, wanted: impl Fn(i32) -> bool) -> BTreeSet<String> {
        let table = self.0.read();
        let any = |queues: &BTreeMap<String, QueueData>| {
            queues.values().any(|queue| wanted(queue.topic_sys_flag))
        };
        table
            .topics
            .iter()
            .filter(|(_, queues)| any(queues))
            .map(|(topic, _)| topic.clone())
            .collect()
    }

    /// Names of clusters and brokers, and some broker's address, for tools that look for system topics.
    pub fn system_topics(&self) -> (BTreeSet<String>, Option<String>) {
        let table = self.0.read();
        let names = table
            .clusters
            .iter()
            .flat_map(|(cluster, brokers)| std::iter::once(cluster).chain(brokers))
            .cloned()
            .collect();
        let address = table
            .brokers
            .values()
            .find_map(|broker| broker.broker_addrs.values().next().cloned());
        (names, address)
    }

    /// Forgets a topic, in one cluster or everywhere.
    pub fn delete_topic(&self, topic: &str, cluster: Option<&str>) {
        let mut table = self.0.write();
        let Table {
            clusters, topics, ..
        } = &mut *table;
        let Some(queues) = topics.get_mut(topic) else {
            return;
        };
        match cluster {
            Some(cluster) => queues.retain(|name, _| {
                !clusters
                    .get(cluster)
                    .is_some_and(|names| names.contains(name))
            }),
            None => queues.clear(),
        }
        if queues.is_empty() {
            topics.remove(topic);
        }
    }

    /// Takes or gives back the write permission of all topics of a broker, until it registers a
    /// changed table; answers how many topics that touched.
    pub fn set_writable(&self, broker: &str, writable: bool) -> i32 {
        let mut touched = 0;
        for queues in self.0.write().topics.values_mut() {
            if let Some(queue) = queues.get_mut(broker) {
                queue.perm = if writable {
                    perm::READ | perm::WRITE
                } else {
                    queue.perm & !perm::WRITE
                };
                touched += 1;
            }
        }
        touched
    }
}

impl Table {
    fn register(
        &mut self,
        registration: Registration,
        now_ms: i64,
    ) -> Result<Registered, Incomplete> {
        let Registration { broker, .. } = &registration;
        if registration.topics.topic_config_table.len() == 1 && !self.has(broker) {
            return Err(Incomplete);
        }
        let first = self.enter(broker);
        let data = self.brokers.entry(broker.name.clone()).or_default();
        data.enable_acting_master = registration.enable_acting_master.unwrap_or(false);
        // The same address under another id: a slave has become the master, or the other way round.
        data.broker_addrs
            .retain(|id, address| *address != broker.address || *id == broker.id);
        if let Some(other) = data
            .broker_addrs
            .get(&broker.id)
            .filter(|other| **other != broker.address)
            .cloned()
            && self.is_newer(&broker.cluster, &other, &registration.topics.data_version)
        {
            self.live
                .remove(&(broker.cluster.clone(), broker.address.clone()));
            return Ok(Registered::default());
        }
        let data = self.brokers.entry(broker.name.clone()).or_default();
        let known = data.broker_addrs.insert(broker.id, broker.address.clone());
        self.take_topics(&registration, first || known.is_none());
        self.revive(&registration, now_ms);
        Ok(Registered {
            master: self.master_of(broker),
        })
    }

    /// Whether some address is known for that name and id.
    fn has(&self, broker: &BrokerIdentity) -> bool {
        let data = self.brokers.get(&broker.name);
        data.is_some_and(|data| data.broker_addrs.contains_key(&broker.id))
    }

    /// Enters cluster and name; true if the name is new.
    fn enter(&mut self, broker: &BrokerIdentity) -> bool {
        self.clusters
            .entry(broker.cluster.clone())
            .or_default()
            .insert(broker.name.clone());
        if self.brokers.contains_key(&broker.name) {
            return false;
        }
        let data = BrokerData {
            broker_name: broker.name.clone(),
            cluster: broker.cluster.clone(),
            ..BrokerData::default()
        };
        self.brokers.insert(broker.name.clone(), data);
        true
    }

    fn is_newer(&self, cluster: &str, address: &str, version: &DataVersion) -> bool {
        let live = self.live.get(&(cluster.to_owned(), address.to_owned()));
        live.is_some_and(|live| live.version.state_version > version.state_version)
    }

    /// Topics come from the master, or from the smallest id when a slave may act as master.
    fn take_topics(&mut self, registration: &Registration, first: bool) {
        let broker = &registration.broker;
        let smallest = self
            .brokers
            .get(&broker.name)
            .and_then(|data| data.broker_addrs.keys().next().copied());
        let acts = registration.enable_acting_master.is_some() && smallest == Some(broker.id);
        if broker.id != 0 && !acts {
            return;
        }
        let key = (broker.cluster.clone(), broker.address.clone());
        let changed = first
            || self
                .live
                .get(&key)
                .is_none_or(|live| live.version != registration.topics.data_version);
        for (name, config) in &registration.topics.topic_config_table {
            let queues = self.topics.entry(name.clone()).or_default();
            if !changed && queues.contains_key(&broker.name) {
                continue;
            }
            let read_only = broker.id != 0 && registration.enable_acting_master == Some(true);
            let perm = if read_only {
                config.perm & !perm::WRITE
            } else {
                config.perm
            };
            let queue = QueueData {
                broker_name: broker.name.clone(),
                perm,
                read_queue_nums: config.read_queue_nums,
                topic_sys_flag: config.topic_sys_flag,
                write_queue_nums: config.write_queue_nums,
            };
            queues.insert(broker.name.clone(), queue);
        }
    }

    fn revive(&mut self, registration: &Registration, now_ms: i64) {
        let broker = registration.broker.clone();
        let live = Live {
            last_ms: now_ms,
            timeout_ms: registration.timeout_ms.unwrap_or(SILENCE_MAX_MS),
            version: registration.topics.data_version.clone(),
            ha_address: registration.ha_address.clone(),
            filter_servers: registration.filter_servers.clone(),
            connection: registration.connection,
            broker: broker.clone(),
        };
        if self
            .live
            .insert((broker.cluster.clone(), broker.address.clone()), live)
            .is_none()
        {
            tracing::info!(
                broker = broker.name,
                id = broker.id,
                address = broker.address,
                "broker registered"
            );
        }
    }

    /// The filter servers of each broker address that has some.
    fn filter_servers(&self, brokers: &[BrokerData]) -> BTreeMap<String, Vec<String>> {
        let of_broker = |data: &BrokerData| -> Vec<(String, Vec<String>)> {
            let addresses = data.broker_addrs.values();
            let servers = addresses.filter_map(|address| {
                let live = self.live.get(&(data.cluster.clone(), address.clone()))?;
                Some((address.clone(), live.filter_servers.clone()))
            });
            servers.filter(|(_, servers)| !servers.is_empty()).collect()
        };
        brokers.iter().flat_map(of_broker).collect()
    }

    fn master_of(&self, broker: &BrokerIdentity) -> Option<(String, String)> {
        if broker.id == 0 {
            return None;
        }
        let address = self.brokers.get(&broker.name)?.broker_addrs.get(&0)?;
        let live = self.live.get(&(broker.cluster.clone(), address.clone()))?;
        Some((address.clone(), live.ha_address.clone()))
    }

    /// What is left of the broker only reads: slaves of which one acts as the master.
    fn take_write_permission(&mut self, broker: &str) {
        for queue in self
            .topics
            .values_mut()
            .filter_map(|queues| queues.get_mut(broker))
        {
            queue.perm &= !perm::WRITE;
        }
    }

    fn drop_where(&mut self, gone: impl Fn(&Live) -> bool) {
        let brokers: Vec<_> = self
            .live
            .values()
            .filter(|live| gone(live))
            .map(|live| live.broker.clone())
            .collect();
        brokers.iter().for_each(|broker| self.unregister(broker));
    }

    fn unregister(&mut self, broker: &BrokerIdentity) {
        self.live
            .remove(&(broker.cluster.clone(), broker.address.clone()));
        let Some(data) = self.brokers.get_mut(&broker.name) else {
            return;
        };
        data.broker_addrs
            .retain(|_, address| *address != broker.address);
        tracing::info!(
            broker = broker.name,
            id = broker.id,
            address = broker.address,
            "broker is gone"
        );
        if !data.broker_addrs.is_empty() {
            if data.enable_acting_master && !data.broker_addrs.contains_key(&0) {
                self.take_write_permission(&broker.name);
            }
            return;
        }
        self.brokers.remove(&broker.name);
        if let Some(names) = self.clusters.get_mut(&broker.cluster) {
            names.remove(&broker.name);
            if names.is_empty() {
                self.clusters.remove(&broker.cluster);
            }
        }
        self.topics.retain(|_, queues| {
            queues.remove(&broker.name);
            !queues.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use sluice_protocol::body::TopicConfig;

    use super::*;

    fn registration(id: i64, address: &str, topics: &[&str], counter: i64) -> Registration {
        let table = topics.iter().map(|name| {
            (
                (*name).to_owned(),
                TopicConfig {
                    topic_name: (*name).to_owned(),
                    ..TopicConfig::default()
                },
            )
        });
        let data_version = DataVersion {
            counter,
            ..DataVersion::default()
        };
        Registration {
            broker: BrokerIdentity {
                cluster: "c".into(),
                name: "b".into(),
                id,
                address: address.into(),
            },
            filter_servers: vec![format!("{address}-filter")],
            ha_address: format!("{address}-ha"),
            enable_acting_master: None,
            timeout_ms: None,
            topics: TopicConfigSerializeWrapper {
                data_version,
                topic_config_table: table.collect(),
                ..Default::default()
            },
            connection: 7,
        }
    }

    #[test]
    fn a_registered_topic_is_found_until_its_broker_falls_silent() {
        let routes = Routes::default();
        routes
            .register(registration(0, "a:1", &["t", "u"], 1), 0)
            .unwrap();
        assert_eq!(
            routes.route("t").unwrap().broker_datas[0].broker_addrs[&0],
            "a:1"
        );
        let servers = routes.route("t").unwrap().filter_server_table;
        assert_eq!(servers["a:1"], ["a:1-filter"]);
        routes.refresh("c", "a:1", 10);
        routes.drop_silent(SILENCE_MAX_MS + 10);
        assert!(routes.route("t").is_some());
        routes.drop_silent(SILENCE_MAX_MS + 11);
        assert_eq!(routes.route("t"), None);
        assert_eq!(routes.cluster_info(), ClusterInfo::default());
    }

    #[test]
    fn a_broker_may_ask_for_more_patience_than_there_is_time() {
        let routes = Routes::default();
        for timeout in [i64::MAX, i64::MIN] {
            let mut patient = registration(0, "a:1", &["t", "u"], 1);
            patient.timeout_ms = Some(timeout);
            routes.register(patient, 1_000).unwrap();
            routes.drop_silent(2_000);
            assert_eq!(routes.route("t").is_some(), timeout > 0, "{timeout}");
        }
    }

    #[test]
    fn slaves_whose_master_has_gone_are_read_only_if_one_acts_for_it() {
        for acting in [Some(true), Some(false), None] {
            let routes = Routes::default();
            for (id, address) in [(0, "a:1"), (1, "b:1")] {
                let mut member = registration(id, address, &["t", "u"], 1);
                member.enable_acting_master = acting;
                routes.register(member, 0).unwrap();
            }
            routes.unregister(&registration(0, "a:1", &[], 0).broker);
            let left = if acting == Some(true) {
                perm::READ
            } else {
                perm::READ | perm::WRITE
            };
            assert_eq!(
                routes.route("t").unwrap().queue_datas[0].perm,
                left,
                "{acting:?}"
            );
            let mut back = registration(0, "a:1", &["t", "u"], 1);
            back.enable_acting_master = acting;
            routes.register(back, 0).unwrap();
            assert_eq!(
                routes.route("t").unwrap().queue_datas[0].perm,
                6,
                "{acting:?}"
            );
        }
    }

    #[test]
    fn a_stale_rival_for_an_id_is_passed_over() {
        let routes = Routes::default();
        let at_state = |address: &str, state| {
            let mut rival = registration(0, address, &["t", "u"], 1);
            rival.topics.data_version.state_version = state;
            rival
        };
        routes.register(at_state("a:1", 5), 0).unwrap();
        assert_eq!(
            routes.register(at_state("b:1", 4), 0),
            Ok(Registered::default())
        );
        assert_eq!(
            routes.route("t").unwrap().broker_datas[0].broker_addrs[&0],
            "a:1"
        );
        routes.register(at_state("b:1", 5), 0).unwrap();
        assert_eq!(
            routes.route("t").unwrap().broker_datas[0].broker_addrs[&0],
            "b:1"
        );
    }

    #[test]
    fn a_closed_connection_takes_its_broker_along() {
        let routes = Routes::default();
        routes
            .register(registration(0, "a:1", &["t", "u"], 1), 0)
            .unwrap();
        routes.connection_closed(8);
        assert!(routes.route("t").is_some());
        routes.connection_closed(7);
        assert!(routes.route("t").is_none());
    }

    #[test]
    fn a_first_registration_of_one_topic_is_refused_and_a_later_one_adds() {
        let routes = Routes::default();
        assert_eq!(
            routes.register(registration(0, "a:1", &["t"], 1), 0),
            Err(Incomplete)
        );
        assert_eq!(routes.cluster_info(), ClusterInfo::default());
        routes
            .register(registration(0, "a:1", &["t", "u"], 1), 0)
            .unwrap();
        routes
            .register(registration(0, "a:1", &["v"], 2), 0)
            .unwrap();
        assert_eq!(
            routes.topics().len(),
            3,
            "topics missing from a registration stay"
        );
    }

    #[test]
    fn a_slave_learns_its_master_and_a_changed_id_moves_the_address() {
        let routes = Routes::default();
        routes
            .register(registration(0, "a:1", &["t", "u"], 1), 0)
            .unwrap();
        let slave = routes
            .register(registration(1, "b:1", &["t", "u"], 1), 0)
            .unwrap();
        assert_eq!(slave.master, Some(("a:1".into(), "a:1-ha".into())));
        routes.unregister(&registration(0, "a:1", &[], 0).broker);
        routes
            .register(registration(0, "b:1", &["t", "u"], 2), 0)
            .unwrap();
        assert_eq!(
            routes.route("t").unwrap().broker_datas[0].broker_addrs,
            BTreeMap::from([(0, "b:1".to_owned())])
        );
    }

    #[test]
    fn wiped_permissions_stay_until_the_table_changes() {
        let routes = Routes::default();
        routes
            .register(registration(0, "a:1", &["t", "u"], 1), 0)
            .unwrap();
        assert_eq!(routes.set_writable("b", false), 2);
        routes
            .register(registration(0, "a:1", &["t", "u"], 1), 0)
            .unwrap();
        assert_eq!(routes.route("t").unwrap().queue_datas[0].perm, 4);
        routes
            .register(registration(0, "a:1", &["t", "u"], 2), 0)
            .unwrap();
        assert_eq!(routes.route("t").unwrap().queue_datas[0].perm, 6);
    }

    #[test]
    fn topics_are_deleted_in_their_cluster_only() {
        let routes = Routes::default();
        routes
            .register(registration(0, "a:1", &["t", "u"], 1), 0)
            .unwrap();
        routes.delete_topic("t", Some("other"));
        assert!(routes.route("t").is_some());
        routes.delete_topic("t", Some("c"));
        assert!(routes.route("t").is_none());
        assert_eq!(
            routes.topics_of_cluster("c"),
            BTreeSet::from(["u".to_owned()])
        );
    }
}
