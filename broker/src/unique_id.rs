//! Unique ids for messages whose producer gave them none (`MessageClientIDSetter`).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

/// Address, process and start time of this broker, then a counter: 32 hexadecimal digits.
#[derive(Debug)]
pub struct UniqueIds {
    prefix: String,
    next: AtomicU64,
}

impl UniqueIds {
    /// Ids of this process.
    pub fn new(host: SocketAddr, now_ms: i64) -> Self {
        let ip = match host.ip() {
            IpAddr::V4(ip) => u32::from(ip),
            IpAddr::V6(ip) => u128::from(ip) as u32,
        };
        let mut prefix = String::with_capacity(20);
        write!(
            prefix,
            "{ip:08X}{:04X}{:08X}",
            std::process::id() as u16,
            now_ms as u32
        )
        .expect("memory takes every write");
        UniqueIds {
            prefix,
            next: AtomicU64::new(0),
        }
    }

    /// The next id.
    pub fn next(&self) -> String {
        format!(
            "{}{:012X}",
            self.prefix,
            self.next.fetch_add(1, Ordering::Relaxed) & 0xFFFF_FFFF_FFFF
        )
    }
}
