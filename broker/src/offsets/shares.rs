//! Offsets of shares. The group's own offset on a queue is that of the share that is furthest behind: tools see
//! what is not consumed by all, and when the group is no longer split it misses nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::{Offsets, SEPARATOR, State, Table, key};
use crate::clients::share;

impl Offsets {
    /// Whether the group has shares with offsets of their own.
    pub fn is_split(&self, group: &str) -> bool {
        self.state.lock().shares.contains_key(group)
    }

    /// Names of the group's shares.
    pub fn shares_of(&self, group: &str) -> Vec<String> {
        let state = self.state.lock();
        let shares = state.shares.get(group).into_iter().flatten();
        shares.cloned().collect()
    }

    /// Names of all shares, by group.
    pub fn all_shares(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.state.lock().shares.clone()
    }

    /// A new share goes on, on these topics, where another one is, or else where the group is. On the topic
    /// `last` it has an offset in any case, and that is written when all others are: a share that a crash
    /// has let begin by half begins again. False if it is there already.
    pub fn begin_share<'a>(
        &self,
        share: &str,
        from: &str,
        last: &'a str,
        topics: impl Iterator<Item = &'a str>,
    ) -> bool {
        let group = share::group_of(share);
        let mut state = self.state.lock();
        let begun = state.table.get(&key(last, share));
        if begun.is_some_and(|queues| queues.contains_key(&0)) {
            return false;
        }
        for topic in topics.filter(|topic| *topic != last).chain([last]) {
            let of = |name: &str| state.table.get(&key(topic, name)).cloned();
            let mut queues = of(group).unwrap_or_default();
            queues.extend(of(from).unwrap_or_default());
            queues.extend(of(share).unwrap_or_default());
            if topic == last {
                queues.entry(0).or_insert(0);
            }
            // What tells that all is written is queue 0 of the last topic.
            let mut queues: Vec<(i32, i64)> = queues.into_iter().collect();
            queues.sort_by_key(|(queue_id, _)| std::cmp::Reverse(*queue_id));
            for (queue_id, offset) in queues {
                state.put(share, topic, queue_id, offset);
                state.follow_shares(group, topic, queue_id);
                self.pass_reset_on(topic, queue_id, from, share);
            }
        }
        true
    }

    /// A reset that waits to be handed out waits for those who go elsewhere, too.
    fn pass_reset_on(&self, topic: &str, queue_id: i32, from: &str, to: &str) {
        let mut resets = self.resets.lock();
        if let Some(offset) = resets.get(&(key(topic, from), queue_id)).copied() {
            resets.insert((key(topic, to), queue_id), offset);
        }
    }

    /// Forgets a share; the group no longer waits for it.
    pub fn forget_share(&self, name: &str) {
        let mut state = self.state.lock();
        let of_share = |key: &String| key.split_once(SEPARATOR).is_some_and(|(_, n)| n == name);
        let gone: Vec<(String, Vec<i32>)> = state
            .table
            .extract_if(|key, _| of_share(key))
            .map(|(key, queues)| (key, queues.into_keys().collect()))
            .collect();
        state.shares = names_in(&state.table);
        state.dirty |= !gone.is_empty();
        self.resets.lock().retain(|(key, _), _| !of_share(key));
        for (key, queues) in gone {
            let topic = key.split_once(SEPARATOR).map_or("", |(topic, _)| topic);
            for queue_id in queues {
                state.follow_shares(share::group_of(name), topic, queue_id);
            }
        }
    }

    /// No group is split: each goes on where the share is that was furthest behind.
    pub fn join_shares(&self) {
        let mut state = self.state.lock();
        let of_shares = |key: &str| {
            let (topic, name) = key.split_once(SEPARATOR)?;
            share::digest_of(name)?;
            Some((topic.to_owned(), share::group_of(name).to_owned()))
        };
        let places: BTreeSet<(String, String, i32)> = state
            .table
            .iter()
            .filter_map(|(key, queues)| Some((of_shares(key)?, queues)))
            .flat_map(|((topic, group), queues)| {
                let place = move |id: &i32| (topic.clone(), group.clone(), *id);
                queues.keys().map(place)
            })
            .collect();
        for (topic, group, queue_id) in &places {
            state.follow_shares(group, topic, *queue_id);
        }
        state.table.retain(|key, _| of_shares(key).is_none());
        state.shares.clear();
        state.dirty |= !places.is_empty();
    }
}

impl State {
    /// The group is where the share is that is furthest behind.
    pub(super) fn follow_shares(&mut self, group: &str, topic: &str, queue_id: i32) {
        // One that reads the topic and has not begun this queue has all of it before it.
        let offset = |share: &String| {
            let queues = self.table.get(&key(topic, share))?;
            Some(queues.get(&queue_id).copied().unwrap_or(0))
        };
        let shares = self.shares.get(group).into_iter().flatten();
        if let Some(least) = shares.filter_map(offset).min() {
            self.put(group, topic, queue_id, least);
        }
    }
}

/// Names of shares in a table, by group.
pub(super) fn names_in(table: &Table) -> BTreeMap<String, BTreeSet<String>> {
    let mut shares: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let names = table
        .keys()
        .filter_map(|key| Some(key.split_once(SEPARATOR)?.1));
    for name in names.filter(|name| share::digest_of(name).is_some()) {
        let of_group = shares.entry(share::group_of(name).to_owned()).or_default();
        of_group.insert(name.to_owned());
    }
    shares
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use super::super::tests::open;

    #[test]
    fn a_group_is_where_its_slowest_share_is() {
        let root = tempfile::tempdir().unwrap();
        let offsets = open(root.path());
        offsets.commit("g", "t", 0, 5);
        offsets.save(1).unwrap();
        let begin = |share: &str, from: &str| {
            offsets.begin_share(share, from, "%RETRY%g", ["t"].into_iter())
        };
        assert!(begin("g#a", "g") && begin("g#b", "g"));
        assert!(!begin("g#a", "g"), "it is known");
        offsets.commit("g#a", "t", 0, 9);
        assert_eq!(offsets.get("g", "t", 0), Some(5));
        offsets.commit("g#b", "t", 0, 7);
        assert!(begin("g#c", "g#a"), "one that goes on where another is");
        drop(offsets);

        let offsets = open(root.path());
        let of = |name: &str| offsets.get(name, "t", 0);
        assert_eq!(
            (of("g"), of("g#a"), of("g#b"), of("g#c")),
            (Some(7), Some(9), Some(7), Some(9))
        );
        assert_eq!(offsets.shares_of("g"), ["g#a", "g#b", "g#c"]);
        assert_eq!(offsets.groups_of("t"), ["g".to_owned()].into());
        offsets.forget_share("g#b");
        assert_eq!(of("g"), Some(9));
        offsets.commit("g#c", "t", 0, 3);
        offsets.join_shares();
        assert_eq!(
            (of("g"), of("g#a"), offsets.is_split("g")),
            (Some(3), None, false)
        );
        begin_again(&offsets);
        offsets.remove_group("g");
        assert!(!offsets.is_split("g") && offsets.topics_of("g#a").is_empty());
    }

    fn begin_again(offsets: &super::Offsets) {
        assert!(offsets.begin_share("g#a", "g", "%RETRY%g", ["t"].into_iter()));
        assert_eq!(offsets.get("g#a", "t", 0), Some(3));
        assert_eq!(offsets.get("g#a", "%RETRY%g", 0), Some(0));
    }

    /// What shares have and where the group is, over random commits, saves and kills.
    #[test]
    fn shares_survive_kills() {
        const NAMES: [&str; 4] = ["g#a", "g#b", "g#c", "g#d"];
        for seed in 0..100 {
            let mut random = SmallRng::seed_from_u64(seed);
            let root = tempfile::tempdir().unwrap();
            let mut offsets = open(root.path());
            offsets.commit("g", "t", 0, 5);
            offsets.save(1).unwrap();
            let (mut group, mut model) = (5, BTreeMap::<&str, i64>::new());
            for step in 0..60 {
                let name = NAMES[random.random_range(0..NAMES.len())];
                let from = NAMES[random.random_range(0..NAMES.len())];
                match random.random_range(0..10) {
                    0..2 => {
                        let new = offsets.begin_share(name, from, "%RETRY%g", ["t"].into_iter());
                        assert_eq!(new, !model.contains_key(name), "seed {seed}, step {step}");
                        let at = model.get(from).copied().unwrap_or(group);
                        model.entry(name).or_insert(at);
                    }
                    2..7 if model.contains_key(name) => {
                        let offset = random.random_range(0..100);
                        offsets.commit(name, "t", 0, offset);
                        model.insert(name, offset);
                    }
                    7 => offsets.save(step).unwrap(),
                    8 => {
                        drop(offsets);
                        offsets = open(root.path());
                        offsets.save(step).unwrap();
                    }
                    9 => {
                        offsets.forget_share(name);
                        offsets.save(step).unwrap();
                        model.remove(name);
                    }
                    _ => {}
                }
                group = model.values().min().copied().unwrap_or(group);
                for name in NAMES {
                    let known = model.get(name).copied();
                    assert_eq!(offsets.get(name, "t", 0), known, "seed {seed}, step {step}");
                }
                assert_eq!(
                    offsets.get("g", "t", 0),
                    Some(group),
                    "seed {seed}, step {step}"
                );
            }
        }
    }
}
