//! From a route to queues and addresses.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sluice_allocation::{MessageQueue, compare_queues};

use sluice_protocol::body::TopicRouteData;
use sluice_protocol::topic::perm;

/// Its route stands in for that of a topic that does not exist yet.
pub(crate) use sluice_protocol::topic::AUTO_CREATE_TOPIC as DEFAULT_TOPIC;

/// Broker id of a master.
pub(crate) const MASTER: i64 = 0;
/// Most queues of one broker that are listed; no broker has as many.
const QUEUES_MAX: i32 = 65_536;

/// The queues a producer may send to, by broker name and queue id: those of writable brokers that
/// have a master, or exactly the ones that an ordered topic is configured with.
pub(crate) fn publish_queues(route: &TopicRouteData, topic: &str) -> Vec<MessageQueue> {
    if let Some(configured) = route
        .order_topic_conf
        .as_deref()
        .filter(|conf| !conf.is_empty())
    {
        return ordered_queues(topic, configured);
    }
    let has_master = |broker_name: &str| {
        let of_name = route
            .broker_datas
            .iter()
            .find(|data| data.broker_name == broker_name);
        of_name.is_some_and(|data| data.broker_addrs.contains_key(&MASTER))
    };
    let is_writable = |perm: i32| perm & perm::WRITE != 0;
    let takers = route.queue_datas.iter();
    let takers = takers.filter(|data| is_writable(data.perm) && has_master(&data.broker_name));
    sorted(takers.flat_map(|data| queues(topic, &data.broker_name, data.write_queue_nums)))
}

/// The queues a consumer may read, by broker name and queue id.
pub(crate) fn subscribe_queues(route: &TopicRouteData, topic: &str) -> Vec<MessageQueue> {
    sorted(route.readable_queues(topic).into_iter())
}

/// The route a topic will have once its first message has created it from this template.
pub(crate) fn as_template(mut route: TopicRouteData, queue_count: i32) -> TopicRouteData {
    for data in &mut route.queue_datas {
        let count = queue_count.min(data.read_queue_nums);
        (data.read_queue_nums, data.write_queue_nums) = (count, count);
    }
    route.order_topic_conf = None;
    route
}

/// `broker:n;broker:n`; parts that are not of this form are passed over.
fn ordered_queues(topic: &str, configured: &str) -> Vec<MessageQueue> {
    let parts = configured
        .split(';')
        .filter_map(|part| part.split_once(':'));
    let parsed = parts.filter_map(|(broker, count)| Some((broker, count.trim().parse().ok()?)));
    parsed
        .flat_map(|(broker, count)| queues(topic, broker, count))
        .collect()
}

fn queues(topic: &str, broker_name: &str, count: i32) -> impl Iterator<Item = MessageQueue> {
    (0..count.min(QUEUES_MAX)).map(move |queue_id| MessageQueue {
        topic: topic.to_owned(),
        broker_name: broker_name.to_owned(),
        queue_id,
    })
}

fn sorted(queues: impl Iterator<Item = MessageQueue>) -> Vec<MessageQueue> {
    let mut queues: Vec<_> = queues.collect();
    queues.sort_by(compare_queues);
    queues
}

/// Addresses of brokers by name and id, out of all routes that were fetched.
#[derive(Debug, Default)]
pub(crate) struct Brokers(HashMap<String, BTreeMap<i64, String>>);

impl Brokers {
    /// Takes over what all known routes say.
    pub fn replace<'a>(&mut self, routes: impl Iterator<Item = &'a TopicRouteData>) {
        self.0.clear();
        for data in routes.flat_map(|route| &route.broker_datas) {
            let addresses = data
                .broker_addrs
                .iter()
                .map(|(id, address)| (*id, address.clone()));
            self.0
                .entry(data.broker_name.clone())
                .or_default()
                .extend(addresses);
        }
    }

    /// The master's address: where messages are sent.
    pub fn master(&self, broker_name: &str) -> Option<String> {
        self.0.get(broker_name)?.get(&MASTER).cloned()
    }

    /// The address to read from and its broker id: the asked one's if it is known, else any.
    pub fn reader(&self, broker_name: &str, id: i64) -> Option<(i64, String)> {
        let addresses = self.0.get(broker_name)?;
        let asked = addresses.get_key_value(&id);
        let next = || {
            (id != MASTER)
                .then(|| addresses.get_key_value(&(id + 1)))
                .flatten()
        };
        let found = asked.or_else(next).or_else(|| addresses.iter().next())?;
        Some((*found.0, found.1.clone()))
    }

    /// Every address, or only the masters', sorted.
    pub fn addresses(&self, masters_only: bool) -> BTreeSet<String> {
        let of = self
            .0
            .values()
            .flatten()
            .filter(|(id, _)| !masters_only || **id == MASTER);
        of.map(|(_, address)| address.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_protocol::body::{BrokerData, QueueData};

    fn route(queue_datas: &[(&str, i32, i32, i32)], brokers: &[(&str, &[i64])]) -> TopicRouteData {
        let broker = |(name, ids): &(&str, &[i64])| BrokerData {
            broker_addrs: ids
                .iter()
                .map(|id| (*id, format!("{name}-{id}:1")))
                .collect(),
            broker_name: (*name).to_owned(),
            cluster: "c".to_owned(),
            ..BrokerData::default()
        };
        let queue = |(name, perm, read, write): &(&str, i32, i32, i32)| QueueData {
            broker_name: (*name).to_owned(),
            perm: *perm,
            read_queue_nums: *read,
            write_queue_nums: *write,
            ..QueueData::default()
        };
        TopicRouteData {
            broker_datas: brokers.iter().map(broker).collect(),
            queue_datas: queue_datas.iter().map(queue).collect(),
            ..TopicRouteData::default()
        }
    }

    fn text(queues: Vec<MessageQueue>) -> String {
        let of = |queue: &MessageQueue| format!("{}{}", queue.broker_name, queue.queue_id);
        queues.iter().map(of).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_writable_brokers_with_a_master_take_messages() {
        let route = route(
            &[
                ("b", 6, 1, 2),
                ("a", 2, 4, 1),
                ("ro", 4, 2, 2),
                ("headless", 6, 1, 1),
            ],
            &[
                ("a", &[0]),
                ("b", &[0, 1]),
                ("ro", &[0]),
                ("headless", &[1]),
            ],
        );
        assert_eq!(text(publish_queues(&route, "T")), "a0 b0 b1");
        assert_eq!(text(subscribe_queues(&route, "T")), "b0 headless0 ro0 ro1");
    }

    #[test]
    fn an_ordered_topic_has_exactly_its_configured_queues() {
        let mut route = route(&[("a", 6, 8, 8)], &[("a", &[0])]);
        route.order_topic_conf = Some("b:2;a:1;broken;c:x".to_owned());
        assert_eq!(text(publish_queues(&route, "T")), "b0 b1 a0");
    }

    #[test]
    fn a_template_is_cut_to_the_wished_queues() {
        let route = route(
            &[("a", 7, 8, 8), ("b", 7, 2, 8)],
            &[("a", &[0]), ("b", &[0])],
        );
        assert_eq!(
            text(publish_queues(&as_template(route, 4), "T")),
            "a0 a1 a2 a3 b0 b1"
        );
    }

    #[test]
    fn readers_fall_back_to_whoever_is_there() {
        let mut brokers = Brokers::default();
        brokers.replace([route(&[], &[("a", &[0, 2]), ("s", &[1])])].iter());
        assert_eq!(brokers.master("a").as_deref(), Some("a-0:1"));
        assert_eq!(brokers.master("s"), None);
        assert_eq!(brokers.reader("a", 2), Some((2, "a-2:1".to_owned())));
        assert_eq!(brokers.reader("a", 1), Some((2, "a-2:1".to_owned())));
        assert_eq!(brokers.reader("a", 9), Some((0, "a-0:1".to_owned())));
        assert_eq!(brokers.reader("s", 0), Some((1, "s-1:1".to_owned())));
        assert_eq!(brokers.reader("x", 0), None);
        assert_eq!(
            brokers.addresses(true),
            BTreeSet::from(["a-0:1".to_owned()])
        );
        assert_eq!(brokers.addresses(false).len(), 3);
    }
}
