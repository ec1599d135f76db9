//! Unique message ids as Java clients make them.
//!
//! ```text
//! IPv4 4 bytes   PID u16   START HASH u32   MS SINCE MONTH START u32   COUNTER u16      as hexadecimal
//! ```

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

struct Origin {
    /// The fixed 20 digits.
    prefix: String,
    counter: AtomicU32,
}

static ORIGIN: LazyLock<Origin> = LazyLock::new(|| {
    let ip = match local_ip() {
        IpAddr::V4(ip) => ip.octets(),
        // 56-digit ids are legal, but some clients expect 32: the low bytes are as unique.
        IpAddr::V6(ip) => ip.octets()[12..].try_into().expect("four bytes"),
    };
    let mut prefix = String::with_capacity(20);
    for byte in ip {
        prefix.push_str(&format!("{byte:02X}"));
    }
    prefix.push_str(&format!("{:04X}", std::process::id() as u16));
    prefix.push_str(&format!("{:08X}", rand::random::<u32>()));
    Origin {
        prefix,
        counter: AtomicU32::new(u32::from(rand::random::<u16>())),
    }
});

/// A new id: 32 upper-case hexadecimal digits.
pub(crate) fn next() -> String {
    let origin = &*ORIGIN;
    let now = now_ms();
    let since = (now - month_start_ms(now)) as u32;
    let count = origin.counter.fetch_add(1, Ordering::Relaxed) as u16;
    let mut id = String::with_capacity(32);
    id.push_str(&origin.prefix);
    push_hex(&mut id, since, 8);
    push_hex(&mut id, u32::from(count), 4);
    id
}

/// When the month (UTC) of `now` began. Java's tools bound their searches by the time in the id.
fn month_start_ms(now: u64) -> u64 {
    let days = now / DAY_MS;
    // Days of the 400-year era that began on 1 March of year 0, then of the year that begins in March.
    let era_day = (days + 719_468) % 146_097;
    let year = (era_day - era_day / 1460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * year + year / 4 - year / 100);
    let month = (5 * year_day + 2) / 153;
    let day_of_month = year_day - (153 * month + 2) / 5;
    (days - day_of_month) * DAY_MS
}

fn push_hex(id: &mut String, value: u32, digits: u32) {
    for digit in (0..digits).rev() {
        let nibble = value >> (4 * digit) & 15;
        id.push(
            char::from_digit(nibble, 16)
                .expect("a nibble")
                .to_ascii_uppercase(),
        );
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// The address of the interface that packets to the world leave by; no packet is sent.
pub(crate) fn local_ip() -> IpAddr {
    let probe = || -> std::io::Result<IpAddr> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        Ok(socket.local_addr()?.ip())
    };
    probe().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    #[test]
    fn ids_are_unique_and_have_32_upper_case_digits() {
        let ids: HashSet<_> = (0..10_000).map(|_| super::next()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in &ids {
            assert_eq!(id.len(), 32);
            assert!(
                id.bytes()
                    .all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)),
                "{id}"
            );
        }
    }

    #[test]
    fn ids_carry_the_process() {
        assert_eq!(
            super::next()[8..12],
            format!("{:04X}", std::process::id() as u16)
        );
    }

    #[test]
    fn months_begin_with_their_first_day() {
        for (now, start) in [
            (1_709_208_000_000, 1_706_745_600_000), // 2024-02-29 12:00 and 2024-02-01
            (1_709_251_200_000, 1_709_251_200_000), // 2024-03-01
            (1_735_689_599_999, 1_733_011_200_000), // the last moment of 2024 and 2024-12-01
            (1_735_689_600_000, 1_735_689_600_000), // 2025-01-01
        ] {
            assert_eq!(super::month_start_ms(now), start, "{now}");
        }
    }

    #[test]
    fn hexadecimal_digits_are_padded() {
        let mut text = String::new();
        super::push_hex(&mut text, 0xAB, 8);
        assert_eq!(text, "000000AB");
    }
}
