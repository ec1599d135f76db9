//! Queue n goes to client n modulo the number of clients, from the setting `first` on.

#![forbid(unsafe_code)]

use sluice_plugin::{AllocateStrategy, Binding, MessageQueue, export_allocate_strategy};

struct InTurn {
    first: usize,
}

impl AllocateStrategy for InTurn {
    fn configure(binding: &Binding) -> Result<Self, String> {
        Ok(InTurn {
            first: binding.parse("first")?.unwrap_or(0),
        })
    }

    fn allocate(
        &self,
        _group: &str,
        current: &str,
        queues: &[MessageQueue],
        clients: &[String],
    ) -> Result<Vec<u32>, String> {
        let Some(place) = clients.iter().position(|client| client == current) else {
            return Ok(Vec::new());
        };
        let mine = |at: &usize| (at % clients.len() + self.first) % clients.len() == place;
        Ok((0..queues.len()).filter(mine).map(|at| at as u32).collect())
    }
}

export_allocate_strategy!(InTurn);

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_plugin::testing::binding;

    #[test]
    fn each_queue_has_one_client() {
        let strategy = InTurn::configure(&binding(&[("first", "1")])).unwrap();
        let queue = |queue_id| MessageQueue {
            topic: "topic".into(),
            broker: "broker-a".into(),
            queue_id,
        };
        let queues: Vec<_> = (0..5).map(queue).collect();
        let clients = ["a", "b"].map(str::to_owned);
        let of = |client| strategy.allocate("group", client, &queues, &clients);
        assert_eq!(of("a").unwrap(), [1, 3]);
        assert_eq!(of("b").unwrap(), [0, 2, 4]);
        assert_eq!(of("c").unwrap(), [0; 0]);
    }
}
