//! What is bound where, for the paths of messages: one look-up, nothing when nothing is bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::World;
use crate::binding::{Binding, Bound};

type ByTopic = HashMap<String, Vec<Arc<Bound>>>;

/// Bindings in force by world and topic.
#[derive(Debug, Default)]
pub(crate) struct Table {
    worlds: [Bindings; World::ALL.len()],
}

#[derive(Debug, Default)]
struct Bindings {
    count: AtomicUsize,
    by_topic: RwLock<ByTopic>,
}

impl Table {
    fn of(&self, world: World) -> &Bindings {
        &self.worlds[world as usize]
    }

    /// Those of a topic that hold for a group, in the order of their chain.
    #[inline]
    pub(crate) fn bound(&self, world: World, topic: &str, group: &str) -> Vec<Arc<Bound>> {
        let bindings = self.of(world);
        if bindings.count.load(Ordering::Acquire) == 0 {
            return Vec::new();
        }
        bindings.holding(topic, group)
    }

    /// Those of all topics that hold for a group.
    pub(crate) fn of_group(&self, world: World, group: &str) -> Vec<Arc<Bound>> {
        if !self.has_any(world) {
            return Vec::new();
        }
        let by_topic = self.of(world).by_topic.read();
        let bound = by_topic.values().flatten();
        bound.filter(|bound| bound.holds(group)).cloned().collect()
    }

    /// Whether anything of that world is bound anywhere.
    pub(crate) fn has_any(&self, world: World) -> bool {
        self.of(world).count.load(Ordering::Acquire) > 0
    }

    /// Whether anything of that world is bound to the topic.
    pub(crate) fn has(&self, world: World, topic: &str) -> bool {
        let bindings = self.of(world);
        bindings.count.load(Ordering::Acquire) > 0 && bindings.by_topic.read().contains_key(topic)
    }

    /// Adds a binding at its place in the chain, in the place of one of the same key: nobody sees
    /// the topic without either.
    pub(crate) fn insert(&self, world: World, bound: Arc<Bound>) {
        let spec = bound.spec();
        let bindings = self.of(world);
        let mut by_topic = bindings.by_topic.write();
        let chain = by_topic.entry(spec.topic.clone()).or_default();
        let before = chain.len();
        chain.retain(|other| other.spec.read().key() != spec.key());
        let replaced = before - chain.len();
        let at = chain.partition_point(|other| other.spec.read().order <= spec.order);
        chain.insert(at, bound);
        bindings.count.fetch_add(1 - replaced, Ordering::Release);
    }

    pub(crate) fn remove(&self, world: World, spec: &Binding) {
        let bindings = self.of(world);
        let mut by_topic = bindings.by_topic.write();
        let Some(chain) = by_topic.get_mut(&spec.topic) else {
            return;
        };
        let before = chain.len();
        chain.retain(|bound| bound.spec.read().key() != spec.key());
        let removed = before - chain.len();
        bindings.count.fetch_sub(removed, Ordering::Release);
        if chain.is_empty() {
            by_topic.remove(&spec.topic);
        }
    }

    /// The binding of a key: plugin, topic, group.
    pub(crate) fn find(&self, key: (&str, &str, &str)) -> Option<(World, Arc<Bound>)> {
        let mut all = self.all().into_iter();
        all.find(|(_, bound)| bound.spec.read().key() == key)
    }

    /// All bindings of all worlds.
    pub(crate) fn all(&self) -> Vec<(World, Arc<Bound>)> {
        let mut all = Vec::new();
        for world in World::ALL {
            for chain in self.of(world).by_topic.read().values() {
                all.extend(chain.iter().map(|bound| (world, bound.clone())));
            }
        }
        all
    }
}

impl Bindings {
    fn holding(&self, topic: &str, group: &str) -> Vec<Arc<Bound>> {
        let by_topic = self.by_topic.read();
        let Some(bound) = by_topic.get(topic) else {
            return Vec::new();
        };
        let bound = bound.iter();
        bound.filter(|bound| bound.holds(group)).cloned().collect()
    }
}
