//! Ports that nobody uses.

use std::net::TcpListener;
use std::ops::Range;

use rand::Rng;

/// Below the range from which the kernel gives ports to outgoing connections. Test programs that run at the same
/// time each get a part of it, `$SLUICE_TEST_PORTS` as in `20000-26000`: a port is free until its server starts.
const RANGE: Range<u16> = 20_000..32_000;
const ATTEMPTS: usize = 1_000;

/// A free port.
pub fn free_port() -> u16 {
    pick(&[0])
}

/// A free port whose neighbours are free as well that a broker takes with it: `listenPort - 2`
/// (the VIP channel) and `listenPort + 1` (replication).
pub fn free_broker_port() -> u16 {
    pick(&[-2, 0, 1])
}

fn range() -> Range<u16> {
    let Ok(part) = std::env::var("SLUICE_TEST_PORTS") else {
        return RANGE;
    };
    let bounds = part.split_once('-');
    let bounds = bounds.and_then(|(first, end)| Some(first.parse().ok()?..end.parse().ok()?));
    bounds.unwrap_or_else(|| panic!("SLUICE_TEST_PORTS is {part:?}, as in 20000-26000 is expected"))
}

fn pick(offsets: &[i16]) -> u16 {
    let mut random = rand::rng();
    let range = range();
    (0..ATTEMPTS)
        .map(|_| random.random_range(range.clone()))
        .find(|port| {
            offsets
                .iter()
                .all(|offset| is_free(port.wrapping_add_signed(*offset)))
        })
        .expect("a free port on 127.0.0.1")
}

fn is_free(port: u16) -> bool {
    // Java listens on the wildcard address with IPv6, so both must be free.
    TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("0.0.0.0", port)).is_ok()
}
