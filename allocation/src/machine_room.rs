//! Shares that stay inside a machine room.

use std::collections::{BTreeMap, BTreeSet};

use crate::{AllocateError, AllocateStrategy, MessageQueue, position};

/// `MACHINE_ROOM`: only queues of brokers named `room@name` whose room is among the given ones.
///
/// All other queues are consumed by nobody.
#[derive(Debug, Clone, Default)]
pub struct ByMachineRoom {
    /// Rooms whose queues are consumed.
    pub rooms: BTreeSet<String>,
}

impl AllocateStrategy for ByMachineRoom {
    fn name(&self) -> String {
        "MACHINE_ROOM".to_owned()
    }

    fn allocate(
        &self,
        client: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        let Some(index) = position(client, queues, clients)? else {
            return Ok(Vec::new());
        };
        let kept: Vec<_> = queues.iter().filter(|queue| self.keeps(queue)).collect();
        let (share, rest) = (kept.len() / clients.len(), kept.len() % clients.len());
        let mut mine = kept[index * share..(index + 1) * share].to_vec();
        if index < rest {
            mine.push(kept[clients.len() * share + index]);
        }
        Ok(mine.into_iter().cloned().collect())
    }
}

impl ByMachineRoom {
    /// As Java splits: empty parts at the end do not count.
    fn keeps(&self, queue: &MessageQueue) -> bool {
        let parts = queue.broker_name.trim_end_matches('@').split_once('@');
        parts.is_some_and(|(room, name)| !name.contains('@') && self.rooms.contains(room))
    }
}

/// Tells in which machine room queues and clients are.
pub trait RoomOf: Send + Sync {
    /// Room of the broker that holds `queue`; empty when unknown.
    fn queue(&self, queue: &MessageQueue) -> String;
    /// Room of a group member; empty when unknown.
    fn client(&self, client: &str) -> String;
}

/// `MACHINE_ROOM_NEARBY-<inner>`: members consume their own room; rooms without any member are
/// shared among all.
#[derive(Debug, Clone)]
pub struct NearbyRoom<I, R> {
    /// How queues are shared within a room.
    pub inner: I,
    /// Who is where.
    pub rooms: R,
}

impl<I: AllocateStrategy, R: RoomOf> AllocateStrategy for NearbyRoom<I, R> {
    fn name(&self) -> String {
        format!("MACHINE_ROOM_NEARBY-{}", self.inner.name())
    }

    fn allocate(
        &self,
        client: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Result<Vec<MessageQueue>, AllocateError> {
        if position(client, queues, clients)?.is_none() {
            return Ok(Vec::new());
        }
        let queues_by_room = by_room(queues, |queue| {
            named(self.rooms.queue(queue), &queue.broker_name)
        })?;
        let clients_by_room = by_room(clients, |client| named(self.rooms.client(client), client))?;
        let own_room = order(&self.rooms.client(client));
        let mut mine = Vec::new();
        if let (Some(queues), Some(clients)) = (
            queues_by_room.get(&own_room),
            clients_by_room.get(&own_room),
        ) {
            mine.extend(self.inner.allocate(client, queues, clients)?);
        }
        for (room, queues) in &queues_by_room {
            if !clients_by_room.contains_key(room) {
                mine.extend(self.inner.allocate(client, queues, clients)?);
            }
        }
        Ok(mine)
    }
}

fn named(room: String, of: &str) -> Result<String, AllocateError> {
    if room.is_empty() {
        return Err(AllocateError::NoRoom(of.to_owned()));
    }
    Ok(room)
}

/// Items by the UTF-16 code units of their room's name: Java goes through rooms in this order.
type ByRoom<T> = BTreeMap<Vec<u16>, Vec<T>>;

fn order(room: &str) -> Vec<u16> {
    room.encode_utf16().collect()
}

fn by_room<T: Clone>(
    items: &[T],
    room: impl Fn(&T) -> Result<String, AllocateError>,
) -> Result<ByRoom<T>, AllocateError> {
    let mut rooms = ByRoom::new();
    for item in items {
        let room = order(&room(item)?);
        rooms.entry(room).or_default().push(item.clone());
    }
    Ok(rooms)
}
