//! A gRPC server that is named by host and port, where the name may stand for
//! several: a headless service in front of instances that come and go.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::transport::{Identity, InvalidAddress, Transport, connection, is_secure};
use http::Uri;

/// How long a name may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(3);

/// What an address such as `http://engines:50053` names.
#[derive(Debug, Clone)]
pub struct Peer {
    uri: Uri,
    host: String,
    port: u16,
    identity: Identity,
    pings: bool,
}

impl Peer {
    /// `uri` is `http://host:port` or `https://host:port`; IPv6 addresses stand in brackets.
    pub fn parse(uri: &str) -> Result<Self, InvalidAddress> {
        let invalid = |reason: &str| InvalidAddress::new(uri, reason);
        let parsed: Uri = uri.parse().map_err(|_| invalid("it is not a URI"))?;
        is_secure(&parsed)?;
        let (Some(host), Some(port)) = (parsed.host(), parsed.port_u16()) else {
            return Err(invalid("it has no host and port"));
        };
        if host.is_empty() {
            return Err(invalid("it has no host"));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            host: host.to_owned(),
            port,
            uri: parsed,
            identity: Identity::default(),
            pings: false,
        })
    }

    /// The same, called as `identity`; as nobody without.
    #[must_use]
    pub fn called_as(mut self, identity: &Identity) -> Self {
        self.identity = identity.clone();
        self
    }

    /// The same, with pings of HTTP/2 on connections, for servers that take
    /// them.
    #[must_use]
    pub fn pinged(mut self) -> Self {
        self.pings = true;
        self
    }

    /// Whether what it stands for can change.
    pub fn is_name(&self) -> bool {
        self.host.parse::<IpAddr>().is_err()
    }

    /// The addresses that it stands for now, sorted, each once. An address
    /// stands for itself; a name is looked up.
    pub async fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let looked_up = tokio::net::lookup_host((self.host.as_str(), self.port));
        let mut found: Vec<_> = tokio::time::timeout(LOOK_UP, looked_up)
            .await
            .map_err(|_| io::Error::other(format!("no answer within {LOOK_UP:?}")))??
            .collect();
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// A connection to one of the addresses, which connects when first used
    /// and again whenever the connection is lost. Over TLS, the other side has
    /// to prove to be what the peer is called. Unless it is to be
    /// [pinged](Self::pinged), it sends no pings of HTTP/2: servers of other makes (gRPC in Go and in C) take those for an attack
    /// when they come more often than every five minutes. Whoever needs to
    /// know that the other side is there calls its health service.
    ///
    /// Must be called within a Tokio runtime. Passes the current trace on.
    pub fn at(&self, address: SocketAddr) -> Result<Transport, InvalidAddress> {
        connection(&self.uri, Some(address), self.pings, &self.identity)
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        for (uri, name, shown) in [
            ("http://engines:50053", true, "engines:50053"),
            ("http://10.0.0.1:1", false, "10.0.0.1:1"),
            ("http://[::1]:1", false, "[::1]:1"),
        ] {
            let peer = Peer::parse(uri).unwrap();
            assert_eq!(peer.is_name(), name, "{uri}");
            assert_eq!(peer.to_string(), shown);
        }
        for bad in ["engines", "ftp://e:1", "http://engines", "https://:1", ""] {
            assert!(Peer::parse(bad).is_err(), "{bad} was taken");
        }
    }

    #[tokio::test]
    async fn an_address_stands_for_itself() {
        let peer = Peer::parse("http://[::1]:50053").unwrap();
        assert_eq!(
            peer.resolve().await.unwrap(),
            ["[::1]:50053".parse().unwrap()]
        );
    }
}
