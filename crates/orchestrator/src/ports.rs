//! The ports that services listen on.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use millrace_types::InstanceId;
use rustix::io::Errno;

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoPort {
    #[error(
        "no port is free between {first} and {last}: {held} are held by workloads, \
         {foreign} by other programs"
    )]
    Exhausted {
        first: u16,
        last: u16,
        held: usize,
        foreign: usize,
    },
    #[error("whether a port is free cannot be seen: {0}")]
    Unseen(#[from] io::Error),
}

impl NoPort {
    /// In a word.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Exhausted { .. } => "ports-exhausted",
            Self::Unseen(_) => "start-failed",
        }
    }
}

/// The pool of one node.
#[derive(Debug)]
pub(crate) struct PortPool {
    range: RangeInclusive<u16>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: BTreeMap<u16, InstanceId>,
    /// Where the next search begins: a port that was just given back rests.
    next: u16,
}

impl PortPool {
    pub(crate) fn new(range: RangeInclusive<u16>) -> Self {
        let state = State {
            held: BTreeMap::new(),
            next: *range.start(),
        };
        Self {
            range,
            state: Mutex::new(state),
        }
    }

    /// Reserves a port that no workload has and nobody listens on. Whether it
    /// is the workload that listens there in the end is seen by
    /// [`listener_of`].
    pub(crate) fn take(&self, instance: InstanceId) -> Result<u16, NoPort> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (first, last) = (*self.range.start(), *self.range.end());
        let mut foreign = 0;
        let mut port = state.next.clamp(first, last);
        for _ in self.range.clone() {
            let after = if port == last { first } else { port + 1 };
            if let Entry::Vacant(place) = state.held.entry(port) {
                if is_free(port)? {
                    place.insert(instance);
                    state.next = after;
                    return Ok(port);
                }
                foreign += 1;
            }
            port = after;
        }
        Err(NoPort::Exhausted {
            first,
            last,
            held: state.held.len(),
            foreign,
        })
    }

    /// Enters what an instance has had since before this process.
    pub(crate) fn keep(&self, port: u16, instance: InstanceId) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.held.insert(port, instance);
    }

    pub(crate) fn give_back(&self, port: u16, instance: InstanceId) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.held.get(&port) == Some(&instance) {
            state.held.remove(&port);
        }
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.held.len()
    }
}

/// Whether a service could listen on it, on any address. The error says why
/// that cannot be told.
fn is_free(port: u16) -> io::Result<bool> {
    let addresses: [IpAddr; 3] = [
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv4Addr::LOCALHOST.into(),
        Ipv6Addr::LOCALHOST.into(),
    ];
    for address in addresses {
        if let Err(error) = TcpListener::bind((address, port))
            && !is_free_after(address, error)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The same, by why this process cannot listen there.
fn is_free_after(address: IpAddr, error: io::Error) -> io::Result<bool> {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        // A machine without IPv6 has no listener there either.
        Some(Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) if address.is_ipv6() => Ok(true),
        // None of it says anything of the port.
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Err(error),
        _ => Ok(false),
    }
}

/// Who listens on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    Nobody,
    /// One of the processes that were asked about.
    Ours,
    Foreign,
}

/// Whether one of `pids` has the socket that listens on `port`.
pub(crate) fn listener_of(port: u16, pids: &[u32]) -> Listener {
    let sockets = listening(port);
    if sockets.is_empty() {
        return Listener::Nobody;
    }
    let ours = pids.iter().any(|pid| has_socket(*pid, &sockets));
    if ours {
        Listener::Ours
    } else {
        Listener::Foreign
    }
}

const LISTEN: &str = "0A";
const ESTABLISHED: &str = "01";

/// The inodes of the sockets that listen on it.
fn listening(port: u16) -> Vec<u64> {
    let mut inodes = Vec::new();
    each_socket(port, |state, inode| {
        if state == LISTEN {
            inodes.push(inode);
        }
    });
    inodes
}

/// Connections to a port of this machine.
pub(crate) fn connections(port: u16) -> usize {
    let mut count = 0;
    each_socket(port, |state, _| count += usize::from(state == ESTABLISHED));
    count
}

fn each_socket(port: u16, mut each: impl FnMut(&str, u64)) {
    let suffix = format!(":{port:04X}");
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(text) = fs::read_to_string(table) else {
            continue;
        };
        for line in text.lines().skip(1) {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let local = fields.next().unwrap_or_default();
            if local.ends_with(&suffix) {
                let state = fields.nth(1).unwrap_or_default();
                let inode = fields.nth(5).and_then(|inode| inode.parse().ok());
                each(state, inode.unwrap_or(0));
            }
        }
    }
}

fn has_socket(pid: u32, inodes: &[u64]) -> bool {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    descriptors.flatten().any(|descriptor| {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        target
            .to_str()
            .and_then(|text| text.strip_prefix("socket:["))
            .and_then(|text| text.strip_suffix(']'))
            .and_then(|inode| inode.parse().ok())
            .is_some_and(|inode| inodes.contains(&inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener, so that nobody else has the port, and one beside it.
    fn range() -> (TcpListener, RangeInclusive<u16>) {
        loop {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            if port < u16::MAX && is_free(port + 1).unwrap() {
                return (listener, port..=port + 1);
            }
        }
    }

    #[test]
    fn foreign_listeners_are_skipped_until_nothing_is_left() {
        let (listener, range) = range();
        let foreign = listener.local_addr().unwrap().port();
        let pool = PortPool::new(range);
        let (one, two) = (InstanceId::new(), InstanceId::new());
        assert_eq!(pool.take(one).unwrap(), foreign + 1);
        let exhausted = pool.take(two).unwrap_err();
        let says = exhausted.to_string();
        assert!(
            says.ends_with(": 1 are held by workloads, 1 by other programs"),
            "{says}"
        );
        pool.give_back(foreign + 1, two);
        assert_eq!(pool.held(), 1, "it is another's");
        pool.give_back(foreign + 1, one);
        assert_eq!(pool.take(two).unwrap(), foreign + 1);
    }

    #[test]
    fn what_says_nothing_of_the_port_is_no_foreign_listener() {
        let (v4, v6) = (Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into());
        let free = |address, errno: Errno| is_free_after(address, errno.into());
        assert!(!free(v4, Errno::ADDRINUSE).unwrap());
        assert!(!free(v6, Errno::ADDRINUSE).unwrap());
        // Booted with ipv6.disable=1; without an address for it.
        assert!(free(v6, Errno::AFNOSUPPORT).unwrap());
        assert!(free(v6, Errno::ADDRNOTAVAIL).unwrap());
        let unseen = NoPort::from(free(v4, Errno::MFILE).unwrap_err());
        assert_eq!(unseen.reason(), "start-failed");
        assert!(unseen.to_string().contains("open files"), "{unseen}");
    }

    #[test]
    fn a_listener_is_told_from_a_foreign_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listener_of(port, &[std::process::id()]), Listener::Ours);
        assert_eq!(listener_of(port, &[1]), Listener::Foreign);
        let client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        assert_eq!(connections(port), 1);
        drop(client);
        drop(listener);
        assert_eq!(listener_of(port, &[std::process::id()]), Listener::Nobody);
    }
}
