//! The runtimes that a gateway calls. A name may stand for several that come
//! and go (a headless service): it is looked up again and again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use millrace_gateway::Gateway;
use millrace_service::CancellationToken;
use millrace_service::config::PeerAddress;
use millrace_service::peer::Peer;
use millrace_service::transport::{Identity, InvalidAddress, Transport};

/// A runtime that is new gets calls after that at the latest; one that is gone
/// is passed over at once, as it does not answer.
const LOOK_UP_EVERY: Duration = Duration::from_secs(5);

/// What is known of the runtimes behind the configured addresses.
pub struct Runtimes {
    peers: Vec<Peer>,
    /// For each peer, where its name led to when it was looked up last.
    found: Vec<Vec<SocketAddr>>,
    /// Connections are kept for as long as a name leads to them.
    ways: BTreeMap<SocketAddr, Transport>,
}

impl Runtimes {
    pub fn new(addresses: &[PeerAddress], identity: &Identity) -> Result<Self, InvalidAddress> {
        let peers: Vec<Peer> = addresses
            .iter()
            .map(|address| Ok(Peer::parse(address.as_str())?.called_as(identity).pinged()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            found: vec![Vec::new(); peers.len()],
            peers,
            ways: BTreeMap::new(),
        })
    }

    /// Whether any of them can come to stand for others.
    pub fn have_names(&self) -> bool {
        self.peers.iter().any(Peer::is_name)
    }

    /// Looks all names up, and tells `gateway` when they lead elsewhere,
    /// until `stop`.
    pub async fn follow(
        mut self,
        gateway: Gateway,
        stop: CancellationToken,
    ) -> Result<(), Infallible> {
        let mut failed = vec![false; self.peers.len()];
        loop {
            let mut changed = false;
            for (index, failed) in failed.iter_mut().enumerate() {
                let peer = &self.peers[index];
                match peer.resolve().await {
                    Ok(found) if found.is_empty() => {}
                    Ok(found) => {
                        *failed = false;
                        changed |= self.learn(index, found);
                    }
                    // What was known is as good as it gets.
                    Err(error) if !*failed => {
                        *failed = true;
                        tracing::warn!(%error, "the runtimes behind {peer} cannot be looked up");
                    }
                    Err(_) => {}
                }
            }
            if changed {
                gateway.set_runtimes(self.transports());
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(LOOK_UP_EVERY) => {}
            }
        }
    }

    /// Takes down where peer `index` leads to, sorted; whether that is news.
    fn learn(&mut self, index: usize, found: Vec<SocketAddr>) -> bool {
        if self.found[index] == found {
            return false;
        }
        tracing::info!(runtimes = ?found, "{} leads to {} runtimes", self.peers[index], found.len());
        self.found[index] = found;
        true
    }

    /// The ways to all that are known, each once.
    fn transports(&mut self) -> Vec<Transport> {
        let mut former = std::mem::take(&mut self.ways);
        let found = self.peers.iter().zip(&self.found);
        for (peer, address) in found.flat_map(|(peer, at)| at.iter().map(move |at| (peer, at))) {
            let way = match former.remove(address) {
                Some(way) => way,
                None if self.ways.contains_key(address) => continue,
                None => match peer.at(*address) {
                    Ok(way) => way,
                    Err(error) => {
                        tracing::warn!(%error, "a runtime cannot be called");
                        continue;
                    }
                },
            };
            self.ways.insert(*address, way);
        }
        self.ways.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: &[u8]) -> Vec<SocketAddr> {
        let place = |last: &u8| SocketAddr::from(([10, 0, 0, *last], 50051));
        last.iter().map(place).collect()
    }

    fn peer(address: &str) -> PeerAddress {
        let mut sources = millrace_service::config::Sources::default();
        sources.flag("--runtime", "gateway.runtime", Some(address));
        sources.load().unwrap().config.gateway.runtime.remove(0)
    }

    #[tokio::test]
    async fn runtimes_are_followed_as_they_come_and_go() {
        let peers = [peer("http://runtimes:50051"), peer("http://others:50051")];
        let mut runtimes = Runtimes::new(&peers, &Identity::default()).unwrap();
        assert!(runtimes.have_names());
        assert!(runtimes.learn(0, at(&[1, 2])));
        assert!(!runtimes.learn(0, at(&[1, 2])));
        assert_eq!(runtimes.transports().len(), 2);
        // Two names may lead to the same one.
        assert!(runtimes.learn(1, at(&[2, 3])));
        assert_eq!(runtimes.transports().len(), 3);
        assert!(runtimes.learn(0, at(&[2])));
        assert_eq!(runtimes.transports().len(), 2);
        let known: Vec<_> = runtimes.ways.into_keys().collect();
        assert_eq!(known, at(&[2, 3]));
    }
}
