//! Totals that outlive the broker: what users put and got, now and at the last two midnights, UTC. Java forgets
//! them at each stop (`BrokerStats`).

use serde::{Deserialize, Serialize};

const DAY_MS: i64 = 86_400_000;

/// Messages put and got by users: what lies in `config/statistics.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Kept {
    /// Days since 1970.
    day: Option<i64>,
    /// At the midnight before the last.
    pub yesterday_morning: [u64; 2],
    /// At the last midnight.
    pub today_morning: [u64; 2],
    /// Now.
    pub now: [u64; 2],
}

impl Kept {
    /// So many there are now. A day that begins makes what was today's yesterday's; of days that passed
    /// while no broker ran, both mornings found what there is now.
    pub(super) fn pass(&mut self, now_ms: i64, totals: [u64; 2]) {
        let today = now_ms.div_euclid(DAY_MS);
        let mornings = self.day.map_or(0, |day| today - day);
        if mornings > 0 {
            let before = if mornings == 1 {
                self.today_morning
            } else {
                totals
            };
            self.yesterday_morning = before;
            self.today_morning = totals;
        }
        self.day = Some(today);
        self.now = totals;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_without_a_broker_have_nothing_of_their_own() {
        let mut kept = Kept::default();
        let mut pass = |day: i64, totals| {
            kept.pass(day * DAY_MS + 5, [totals, 0]);
            (kept.yesterday_morning[0], kept.today_morning[0])
        };
        assert_eq!(pass(1, 10), (0, 0));
        assert_eq!(pass(2, 30), (0, 30));
        assert_eq!(pass(2, 35), (0, 30));
        assert_eq!(pass(3, 50), (30, 50));
        assert_eq!(pass(7, 50), (50, 50));
    }
}
