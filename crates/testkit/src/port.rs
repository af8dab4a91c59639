//! Ports for programs that have to be told one.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};

/// Below the range from which the kernel gives ports to outgoing connections
/// (32768 and up), so that none of those takes the port while it is not bound.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A TCP port of 127.0.0.1 that nobody listens on now. Another process may
/// still take it first, so whoever starts something on it should be ready to
/// try another. Only for programs that cannot bind port 0 and tell.
///
/// # Panics
/// When a hundred random ports in a row are taken.
pub fn free_port() -> u16 {
    for _ in 0..100 {
        let port = FIRST + random_below(COUNT);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("a hundred random ports from {FIRST} up are all taken");
}

/// So many ports in a row, for a pool that skips those that are taken. They
/// begin somewhere else for each caller, so that two runs of a test hardly
/// meet; as `first-last`.
pub fn port_pool(count: u16) -> String {
    let first = FIRST + random_below(COUNT - count);
    format!("{first}-{}", first + count - 1)
}

/// Every `RandomState` has keys of its own, so the hash of nothing is random.
fn random_below(bound: u16) -> u16 {
    let bits = RandomState::new().hash_one(());
    u16::try_from(bits % u64::from(bound)).expect("the remainder is below a u16")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_port_can_be_bound() {
        // Another process may be faster once, not five times.
        assert!((0..5).any(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, free_port())).is_ok()));
    }
}
