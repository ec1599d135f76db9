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
    /// Linear memory of one instance, all its memories together, bytes; 64 KiB..=1 GiB.
    pub memory_bytes: usize,
    /// Elements of all tables of one instance; at most 100,000.
    pub table_elements: usize,
    /// Lines of log a second; the rest is counted, not kept.
    pub log_lines: u32,
    /// Bytes of one answer; at most 64 MiB.
    pub answer_bytes: usize,
}

/// Some limits; the others stay as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(missing_docs)] // see Limits
pub struct LimitsChange {
    pub deadline_ms: Option<u64>,
    pub memory_bytes: Option<usize>,
    pub table_elements: Option<usize>,
    pub log_lines: Option<u32>,
    pub answer_bytes: Option<usize>,
}

impl LimitsChange {
    /// The limits after the change.
    pub fn of(&self, before: Limits) -> Limits {
        Limits {
            deadline_ms: self.deadline_ms.unwrap_or(before.deadline_ms),
            memory_bytes: self.memory_bytes.unwrap_or(before.memory_bytes),
            table_elements: self.table_elements.unwrap_or(before.table_elements),
            log_lines: self.log_lines.unwrap_or(before.log_lines),
            answer_bytes: self.answer_bytes.unwrap_or(before.answer_bytes),
        }
    }
}

impl From<Limits> for LimitsChange {
    fn from(limits: Limits) -> LimitsChange {
        LimitsChange {
            deadline_ms: Some(limits.deadline_ms),
            memory_bytes: Some(limits.memory_bytes),
            table_elements: Some(limits.table_elements),
            log_lines: Some(limits.log_lines),
            answer_bytes: Some(limits.answer_bytes),
        }
    }
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
