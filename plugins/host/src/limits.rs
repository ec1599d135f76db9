//! What an instance may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::World;

/// Limits of one binding; can be changed while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Wall time of one call for a block, milliseconds; 1..=10,000.
    pub deadline_ms: u64,
    /// Linear memory of one instance, bytes; 64 KiB..=1 GiB.
    pub memory_bytes: usize,
    /// Elements of one table; at most 100,000.
    pub table_elements: usize,
    /// Lines of log a second; the rest is counted, not kept.
    pub log_lines: u32,
    /// Bytes of one answer; at most 64 MiB.
    pub answer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits::of(World::Filter)
    }
}

impl Limits {
    /// What holds where nothing else was said.
    pub fn of(world: World) -> Limits {
        let deadline_ms = match world {
            World::Filter | World::Language | World::Function => 10,
            World::SendHook | World::ConsumeHook => 20,
            World::AllocateStrategy => 200,
        };
        Limits {
            deadline_ms,
            memory_bytes: 16 << 20,
            table_elements: 10_000,
            log_lines: 100,
            answer_bytes: 8 << 20,
        }
    }

    /// Refuses what makes no sense, naming the field and its bounds.
    ///
    /// # Errors
    /// A text that names the first field out of bounds.
    pub fn check(&self) -> Result<(), String> {
        let bounds = [
            ("deadlineMs", self.deadline_ms, 1, 10_000),
            ("memoryBytes", self.memory_bytes as u64, 64 << 10, 1 << 30),
            ("tableElements", self.table_elements as u64, 0, 100_000),
            ("logLines", u64::from(self.log_lines), 0, 10_000),
            ("answerBytes", self.answer_bytes as u64, 1 << 10, 64 << 20),
        ];
        for (name, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                return Err(format!("{name} = {value}: {least} to {most} is possible"));
            }
        }
        Ok(())
    }

    /// Time for one block.
    pub fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// Time for starting an instance and configuring it.
    pub fn set_up_deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms.max(20) * 10)
    }
}
