//! Allocation: canary consumers get one queue in ten, the others share the rest.
//!
//! A canary is a client whose id contains the setting `canary` (canary). Setting `one-in` (10): every
//! so many queues, one is theirs. Without canaries, or with canaries only, all share all queues.

#![forbid(unsafe_code)]

use sluice_plugin::{AllocateStrategy, Binding, MessageQueue, export_allocate_strategy};

struct Canary {
    mark: String,
    one_in: usize,
}

impl AllocateStrategy for Canary {
    fn configure(binding: &Binding) -> Result<Self, String> {
        let mark = binding.param("canary").unwrap_or("canary").to_owned();
        let one_in = binding.parse("one-in")?.unwrap_or(10);
        if mark.is_empty() || one_in < 2 {
            return Err("canary must not be empty, and one-in 2 or more".into());
        }
        Ok(Canary { mark, one_in })
    }

    fn allocate(
        &self,
        _group: &str,
        current: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Result<Vec<u32>, String> {
        let is_canary = |client: &str| client.contains(&self.mark);
        let all_alike = clients.iter().all(|client| is_canary(client))
            || !clients.iter().any(|client| is_canary(client));
        let alike = |client: &str| all_alike || is_canary(client) == is_canary(current);
        let peers: Vec<_> = clients.iter().filter(|client| alike(client)).collect();
        let Some(place) = peers.iter().position(|client| *client == current) else {
            return Ok(Vec::new());
        };
        // The first queue of each round is the canaries': with fewer queues than `one-in` they get one.
        let canarys = |at: &usize| at.is_multiple_of(self.one_in);
        let shared = (0..queues.len()).filter(|at| all_alike || canarys(at) == is_canary(current));
        let in_turn = shared
            .enumerate()
            .filter(|(turn, _)| turn % peers.len() == place);
        Ok(in_turn.map(|(_, at)| at as u32).collect())
    }
}

export_allocate_strategy!(Canary);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::testing::binding;

    fn shares(clients: &[&str], queues: u32) -> Vec<Vec<u32>> {
        let canary = Canary::configure(&binding(&[])).unwrap();
        let queue = |queue_id| MessageQueue {
            topic: "t".into(),
            broker: "b".into(),
            queue_id,
        };
        let queues: Vec<_> = (0..queues).map(queue).collect();
        let clients: Vec<_> = clients.iter().map(|client| (*client).to_owned()).collect();
        let share = |client: &String| canary.allocate("group", client, &queues, &clients).unwrap();
        let shares: Vec<_> = clients.iter().map(share).collect();
        let mut all: Vec<_> = shares.concat();
        all.sort_unstable();
        assert!(
            all.iter().copied().eq(0..queues.len() as u32),
            "each queue has one client"
        );
        shares
    }

    #[test]
    fn canaries_get_one_queue_in_ten() {
        let shares = shares(&["a", "b", "canary-1", "canary-2"], 40);
        assert_eq!(shares[2], [0, 20]);
        assert_eq!(shares[3], [10, 30]);
        assert_eq!((shares[0].len(), shares[1].len()), (18, 18));
        assert_eq!(shares[0][..3], [1, 3, 5]);
    }

    #[test]
    fn alone_they_share_all() {
        assert_eq!(shares(&["canary-1", "canary-2"], 4), [[0, 2], [1, 3]]);
        assert_eq!(shares(&["a", "b"], 4), [[0, 2], [1, 3]]);
        assert_eq!(shares(&["a", "canary-1"], 3), [vec![1, 2], vec![0]]);
    }

    #[test]
    fn a_client_that_is_not_known_gets_nothing() {
        let canary = Canary::configure(&binding(&[])).unwrap();
        let queue = MessageQueue {
            topic: "t".into(),
            broker: "b".into(),
            queue_id: 0,
        };
        assert_eq!(
            canary
                .allocate("group", "c", &[queue], &["a".into()])
                .unwrap(),
            [0; 0]
        );
        assert!(Canary::configure(&binding(&[("one-in", "1")])).is_err());
    }
}
