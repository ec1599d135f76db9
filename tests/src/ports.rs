//! Ports that nobody uses.

use std::net::TcpListener;

use rand::Rng;

/// Below the range from which the kernel gives ports to outgoing connections.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
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

fn pick(offsets: &[i16]) -> u16 {
    let mut random = rand::rng();
    (0..ATTEMPTS)
        .map(|_| random.random_range(RANGE))
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
