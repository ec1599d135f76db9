//! Counts under Java's names: what is put and got, by topic, by group and in all, over the last minute,
//! hour and day, and a second's means over the last ten minutes.
//!
//! Whoever counts does so in atomics of the topic, or of the group on it, that it has at hand already;
//! samples are taken in the background. There is a count for each topic, and each group on a topic, that
//! is there, and it leaves with them.

mod counts;
mod flow;
mod incoming;
mod kept;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sluice_protocol::body::BrokerStatsData;

pub use counts::{GroupCounts, TopicCounts};
pub use flow::{Flow, Of};
pub use incoming::{Incoming, MessageType, SIZES, Sent};
pub use kept::Kept;

use crate::config_file::ConfigFile;
use crate::topics::Topics;
use crate::{Broker, BrokerError};

/// Samples kept: eleven minutes of one a second.
const SAMPLES: usize = 661;
/// Seconds between the samples of topics and groups.
const FLOWS_EVERY: u64 = 10;

/// Counters of this broker since its start.
#[derive(Debug)]
pub struct Stats {
    topics: Arc<Topics>,
    put: Flow,
    got: Flow,
    acked: Flow,
    check_points: Flow,
    /// Without the system's own topics.
    users_put: Flow,
    users_got: Flow,
    put_failed: AtomicU64,
    missed: AtomicU64,
    slowest_get_ms: AtomicU64,
    clock: Mutex<Sampling>,
    /// What users had put and got when this broker started.
    before: [u64; 2],
    file: ConfigFile,
}

/// What the samples of each second have.
#[derive(Debug, Default)]
struct Sampling {
    second: u64,
    samples: VecDeque<[u64; 5]>,
    kept: Kept,
}

/// What a sample counts.
#[derive(Debug, Clone, Copy)]
#[repr(usize)]
pub enum Rate {
    /// Messages stored.
    Put = 0,
    /// Pulls that found something.
    Found = 1,
    /// Pulls that found nothing.
    Missed = 2,
    /// Messages sent to consumers.
    Transferred = 3,
    /// Pulls.
    Got = 4,
}

impl Stats {
    /// Goes on with the totals in the file; of all else nothing is counted yet.
    pub fn load(topics: Arc<Topics>, file: ConfigFile) -> Stats {
        let kept = file.load().unwrap_or_else(|error| {
            tracing::warn!(%error, "counts of earlier days are lost");
            None
        });
        let kept: Kept = kept.unwrap_or_default();
        let clock = Sampling {
            kept,
            ..Sampling::default()
        };
        Stats {
            topics,
            before: kept.now,
            file,
            clock: Mutex::new(clock),
            put: Flow::default(),
            got: Flow::default(),
            acked: Flow::default(),
            check_points: Flow::default(),
            users_put: Flow::default(),
            users_got: Flow::default(),
            put_failed: AtomicU64::new(0),
            missed: AtomicU64::new(0),
            slowest_get_ms: AtomicU64::new(0),
        }
    }

    /// Messages were stored under a topic.
    pub fn stored(&self, topic: &str, messages: usize, bytes: usize) {
        match self.topics.get(topic) {
            Some(topic) => self.stored_in(&topic.counts, messages, bytes),
            None => self.put.add(messages, bytes),
        }
    }

    /// Messages were stored under the topic whose counts these are.
    pub fn stored_in(&self, topic: &TopicCounts, messages: usize, bytes: usize) {
        self.put.add(messages, bytes);
        topic.put.add(messages, bytes);
        if !topic.system {
            self.users_put.add(messages, bytes);
        }
    }

    /// The store has not taken a message.
    pub fn not_stored(&self) {
        self.put_failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Messages were sent to a consumer of the group whose counts these are.
    pub fn delivered(&self, group: &GroupCounts, messages: usize, bytes: usize) {
        self.got.add(messages, bytes);
        group.got.add(messages, bytes);
        if !group.system {
            self.users_got.add(messages, bytes);
        }
    }

    /// It took so many milliseconds to find them.
    pub fn found_in(&self, group: &GroupCounts, ms: i64) {
        let ms = u64::try_from(ms).unwrap_or(0);
        group.latency.add(ms as usize, 0);
        self.slowest_get_ms.fetch_max(ms, Ordering::Relaxed);
    }

    /// A pull found nothing.
    pub fn missed(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }

    /// A consumer has sent back a message that lay in the topic.
    pub fn sent_back(&self, topic: &str, group: &str) {
        self.with(topic, |counts| counts.of_group(group).sent_back.add(1, 0));
    }

    /// A message that lay in the topic has become a dead letter of the group's.
    pub fn buried(&self, topic: &str, group: &str) {
        self.with(topic, |counts| {
            counts.of_group(group).dead.fetch_add(1, Ordering::Relaxed);
        });
    }

    /// A transaction of the topic was committed, or rolled back.
    pub fn decided(&self, topic: &str, committed: bool) {
        self.with(topic, |counts| {
            counts.decided[usize::from(!committed)].fetch_add(1, Ordering::Relaxed);
        });
    }

    /// Pops were acked, by a group that may be none.
    pub fn acked(&self, topic: &str, group: &str, messages: usize) {
        self.acked.add(messages, 0);
        self.with(topic, |counts| {
            if let Some(counts) = counts.known(group) {
                counts.acked.add(messages, 0);
            }
        });
    }

    /// A pop has a check point, of a group that may be gone meanwhile.
    pub fn check_point(&self, topic: &str, group: &str) {
        self.check_points.add(1, 0);
        self.with(topic, |counts| {
            if let Some(counts) = counts.known(group) {
                counts.check_points.add(1, 0);
            }
        });
    }

    fn with(&self, topic: &str, count: impl FnOnce(&TopicCounts)) {
        if let Some(topic) = self.topics.get(topic) {
            count(&topic.counts);
        }
    }

    /// Messages stored and their bytes.
    pub fn put_total(&self) -> (u64, u64) {
        (self.put.total(Of::Number), self.put.total(Of::Size))
    }

    /// Messages stored and sent to consumers, without the system's own topics, those before this start among
    /// them.
    pub fn users_total(&self) -> [u64; 2] {
        let counted = [&self.users_put, &self.users_got].map(|flow| flow.total(Of::Number));
        [counted[0] + self.before[0], counted[1] + self.before[1]]
    }

    /// Messages that could not be stored.
    pub fn failed_total(&self) -> u64 {
        self.put_failed.load(Ordering::Relaxed)
    }

    /// The longest a pull took to find messages, milliseconds.
    pub fn slowest_get_ms(&self) -> u64 {
        self.slowest_get_ms.load(Ordering::Relaxed)
    }

    /// Totals at the last midnights, as of the last sample.
    pub fn kept(&self) -> Kept {
        self.clock.lock().kept
    }

    /// Writes the totals, for the next broker on this directory to go on with.
    ///
    /// # Errors
    /// They can't be written; the file is as it was.
    pub fn save(&self, now_ms: i64) -> Result<(), BrokerError> {
        let kept = {
            let mut clock = self.clock.lock();
            clock.kept.pass(now_ms, self.users_total());
            clock.kept
        };
        self.file.save(&kept)
    }

    /// Messages a second that were stored under the topic in the last minute.
    pub fn topic_put_tps(&self, topic: &str) -> f64 {
        let topic = self.topics.get(topic);
        topic.map_or(0.0, |topic| topic.counts.put.tps())
    }

    /// Messages a second of the topic that the group got in the last minute.
    pub fn group_get_tps(&self, topic: &str, group: &str) -> f64 {
        let counts = self.topics.get(topic);
        let counts = counts.and_then(|topic| topic.counts.known(group));
        counts.map_or(0.0, |counts| counts.got.tps())
    }

    /// A count by Java's name and key, over the last minute, hour and day; `None` for a name or key that
    /// nothing was counted under. Keys are a topic, `topic@group`, or the cluster's name.
    ///
    /// Source: `BrokerStatsManager`, `Stats`.
    pub fn read(&self, name: &str, key: &str, cluster: &str) -> Option<BrokerStatsData> {
        if let Some(flow) = self.of_broker(name) {
            return flow.read(Of::Number).filter(|_| key == cluster);
        }
        let (topic, group) = key.split_once('@').unwrap_or((key, ""));
        let topic = self.topics.get(topic)?;
        match name {
            "TOPIC_PUT_NUMS" if key == topic.topic_name => {
                return topic.counts.put.read(Of::Number);
            }
            "TOPIC_PUT_SIZE" if key == topic.topic_name => return topic.counts.put.read(Of::Size),
            _ => {}
        }
        let counts = topic.counts.known(group)?;
        match name {
            "GROUP_GET_NUMS" => counts.got.read(Of::Number),
            "GROUP_GET_SIZE" => counts.got.read(Of::Size),
            "GROUP_GET_LATENCY" => counts.latency.read(Of::Number),
            "GROUP_ACK_NUMS" => counts.acked.read(Of::Number),
            "GROUP_CK_NUMS" => counts.check_points.read(Of::Number),
            "SNDBCK_PUT_NUMS" => counts.sent_back.read(Of::Number),
            _ => None,
        }
    }

    fn of_broker(&self, name: &str) -> Option<&Flow> {
        Some(match name {
            "BROKER_PUT_NUMS" => &self.put,
            "BROKER_GET_NUMS" => &self.got,
            "BROKER_ACK_NUMS" => &self.acked,
            "BROKER_CK_NUMS" => &self.check_points,
            "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC" => &self.users_put,
            "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC" => &self.users_got,
            _ => return None,
        })
    }

    /// Takes the samples of this second, and forgets counts of groups that are gone.
    pub fn sample(&self, now_ms: i64, is_group: impl Fn(&str) -> bool) {
        let second = {
            let mut clock = self.clock.lock();
            clock.sample(self.counted());
            clock.kept.pass(now_ms, self.users_total());
            let second = clock.second;
            clock.second += 1;
            second
        };
        if !second.is_multiple_of(FLOWS_EVERY) {
            return;
        }
        for flow in [
            &self.put,
            &self.got,
            &self.acked,
            &self.check_points,
            &self.users_put,
            &self.users_got,
        ] {
            flow.sample(second, now_ms);
        }
        for topic in self.topics.counts() {
            topic.retain_groups(&is_group);
            topic.sample(second, now_ms);
        }
    }

    /// Forgets counts of groups that are gone.
    pub fn retain_groups(&self, is_group: impl Fn(&str) -> bool) {
        for topic in self.topics.counts() {
            topic.retain_groups(&is_group);
        }
    }

    fn counted(&self) -> [u64; 5] {
        let missed = self.missed.load(Ordering::Relaxed);
        let found = self.got.calls();
        [
            self.put.total(Of::Number),
            found,
            missed,
            self.got.total(Of::Number),
            found + missed,
        ]
    }

    /// Rates over the last 10, 60 and 600 seconds, blank between them, as Java shows them.
    pub fn rates(&self, rate: Rate) -> String {
        let clock = self.clock.lock();
        let [ten, sixty, six_hundred] = [10, 60, 600].map(|seconds| clock.rate(rate, seconds));
        format!("{ten:?} {sixty:?} {six_hundred:?}")
    }
}

impl Sampling {
    fn sample(&mut self, counted: [u64; 5]) {
        self.samples.push_back(counted);
        if self.samples.len() > SAMPLES {
            self.samples.pop_front();
        }
    }

    /// The mean over the last seconds, or as many as there are samples of.
    fn rate(&self, rate: Rate, seconds: usize) -> f64 {
        let span = seconds.min(self.samples.len().saturating_sub(1));
        let Some(last) = self.samples.back().filter(|_| span > 0) else {
            return 0.0;
        };
        let before = self.samples[self.samples.len() - 1 - span];
        (last[rate as usize] - before[rate as usize]) as f64 / span as f64
    }
}

impl Broker {
    /// Takes this second's samples of what is counted.
    pub(crate) fn sample_stats(&self) {
        self.stats
            .sample(self.now_ms(), |group| self.groups.get(group).is_some());
    }

    /// A deleted group's counts go with it.
    pub(crate) fn forget_counts_of_gone_groups(&self) {
        self.stats
            .retain_groups(|group| self.groups.get(group).is_some());
    }
}

#[cfg(test)]
mod tests {
    use sluice_protocol::topic::perm;
    use sluice_store::SystemFiles;

    use super::*;
    use crate::{BrokerConfig, topics};

    const DAY_MS: i64 = 86_400_000;

    fn stats() -> (tempfile::TempDir, Stats) {
        let root = tempfile::tempdir().unwrap();
        let file = ConfigFile::new(root.path(), "topics.json", Arc::new(SystemFiles));
        let topics = Topics::load(file, &BrokerConfig::default(), 0).unwrap();
        topics.put(topics::plain("t", 1, perm::READ | perm::WRITE), 0);
        let stats = load(&root, topics);
        (root, stats)
    }

    fn load(root: &tempfile::TempDir, topics: Topics) -> Stats {
        let file = ConfigFile::new(root.path(), "statistics.json", Arc::new(SystemFiles));
        Stats::load(Arc::new(topics), file)
    }

    fn group(stats: &Stats) -> Arc<GroupCounts> {
        stats.topics.get("t").unwrap().counts.of_group("g")
    }

    fn sum(stats: &Stats, name: &str, key: &str) -> Option<i64> {
        Some(stats.read(name, key, "c")?.stats_minute.sum)
    }

    #[test]
    fn rates_are_means_over_what_was_sampled() {
        let (_root, stats) = stats();
        assert_eq!(stats.rates(Rate::Put), "0.0 0.0 0.0");
        for second in 0..=20 {
            stats.sample(second * 1000, |_| true);
            stats.stored("t", 3, 30);
        }
        assert_eq!(stats.rates(Rate::Put), "3.0 3.0 3.0");
        assert_eq!(sum(&stats, "TOPIC_PUT_NUMS", "t"), Some(60));
        assert_eq!(sum(&stats, "TOPIC_PUT_SIZE", "t"), Some(600));
        assert_eq!(stats.topic_put_tps("t"), 3.0);
        assert_eq!(sum(&stats, "BROKER_PUT_NUMS", "c"), Some(60));
        for (name, key) in [
            ("TOPIC_PUT_NUMS", "u"),
            ("TOPIC_PUT_NUMS", "t@g"),
            ("GROUP_GET_NUMS", "t@g"),
            ("BROKER_PUT_NUMS", "t"),
            ("NONSENSE", "t"),
        ] {
            assert_eq!(sum(&stats, name, key), None, "{name} {key}");
        }
    }

    #[test]
    fn what_a_group_got_leaves_with_the_group_and_with_the_topic() {
        let (_root, stats) = stats();
        stats.delivered(&group(&stats), 2, 20);
        stats.found_in(&group(&stats), 4);
        stats.sent_back("t", "g");
        stats.acked("t", "g", 2);
        stats.check_point("t", "g");
        stats.sample(0, |_| true);
        for (name, expected) in [
            ("GROUP_GET_NUMS", 2),
            ("GROUP_GET_SIZE", 20),
            ("GROUP_GET_LATENCY", 4),
            ("SNDBCK_PUT_NUMS", 1),
            ("GROUP_ACK_NUMS", 2),
            ("GROUP_CK_NUMS", 1),
        ] {
            assert_eq!(sum(&stats, name, "t@g"), Some(expected), "{name}");
        }
        assert_eq!(stats.group_get_tps("t", "g"), 0.2);
        stats.retain_groups(|_| false);
        assert_eq!(sum(&stats, "GROUP_GET_NUMS", "t@g"), None);
        stats.delivered(&group(&stats), 2, 20);
        assert!(stats.topics.remove("t", 0));
        assert_eq!(sum(&stats, "GROUP_GET_NUMS", "t@g"), None);
        assert_eq!(sum(&stats, "BROKER_GET_NUMS", "c"), Some(2));
    }

    #[test]
    fn a_changed_topic_keeps_its_counts() {
        let (_root, stats) = stats();
        stats.stored("t", 1, 10);
        stats
            .topics
            .put(topics::plain("t", 8, perm::READ | perm::WRITE), 0);
        stats.sample(0, |_| true);
        assert_eq!(sum(&stats, "TOPIC_PUT_NUMS", "t"), Some(1));
    }

    #[test]
    fn totals_of_a_midnight_are_kept_for_two_days_without_the_system_s_topics() {
        let (_root, stats) = stats();
        let pass = |at_ms| {
            stats.stored("t", 1, 10);
            stats.stored("SCHEDULE_TOPIC_XXXX", 5, 10);
            stats.sample(at_ms, |_| true);
            let kept = stats.kept();
            (kept.yesterday_morning[0], kept.today_morning[0])
        };
        assert_eq!(pass(DAY_MS - 1), (0, 0));
        assert_eq!(pass(DAY_MS), (0, 2));
        assert_eq!(pass(DAY_MS + 1), (0, 2));
        assert_eq!(pass(2 * DAY_MS), (2, 4));
        assert_eq!(stats.users_total(), [4, 0]);
    }
}
