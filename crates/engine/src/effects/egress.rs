//! Where outgoing calls may go.
//!
//! A workflow names the URLs it calls, often from data it was sent. Unless the
//! operator allows it, none of them may lead back into our own network: not to
//! loopback, private, link-local or metadata addresses, however the address is
//! written and whatever name resolves to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// The operator's exceptions. The default has none: public addresses only.
#[derive(Debug, Clone, Default)]
pub struct EgressPolicy {
    allow: Vec<Allow>,
}

/// One exception: `private`, `loopback`, an address, a network such as
/// `10.1.0.0/16`, a host, or all hosts below a domain as in `*.internal`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Allow {
    Private,
    Loopback,
    Network(IpNet),
    Host(String),
    HostsBelow(String),
}

/// An entry of `egress.allow` that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a host, an address, a network, \"private\" nor \"loopback\"")]
pub struct InvalidEgress(String);

impl EgressPolicy {
    /// Reads the entries of `egress.allow`.
    pub fn parse<S: AsRef<str>>(
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Self, InvalidEgress> {
        let allow = entries.into_iter().map(|entry| entry.as_ref().parse());
        Ok(Self {
            allow: allow.collect::<Result<_, _>>()?,
        })
    }

    /// What `millrace dev` starts with: loopback and private addresses too.
    pub fn for_development() -> Self {
        Self {
            allow: vec![Allow::Private, Allow::Loopback],
        }
    }

    /// Whether a host is allowed by its name, whatever it resolves to.
    pub fn allows_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.allow.iter().any(|allow| match allow {
            Allow::Host(name) => host == *name,
            Allow::HostsBelow(domain) => host.ends_with(domain.as_str()),
            _ => false,
        })
    }

    /// Whether a connection to the address is allowed.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = embedded(address);
        let reach = reach(address);
        let named = |net: &IpNet| net.contains(&address);
        self.allow.iter().any(|allow| match allow {
            Allow::Network(net) => named(net),
            Allow::Private => reach == Reach::Private,
            Allow::Loopback => reach == Reach::Loopback,
            Allow::Host(_) | Allow::HostsBelow(_) => false,
        }) || reach == Reach::Public
    }
}

impl FromStr for Allow {
    type Err = InvalidEgress;

    fn from_str(entry: &str) -> Result<Self, InvalidEgress> {
        let text = entry.trim().to_ascii_lowercase();
        let is_name = |s: &str| {
            let label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
            s.contains(|c: char| c.is_ascii_alphabetic()) && s.chars().all(label)
        };
        if text == "private" {
            Ok(Self::Private)
        } else if text == "loopback" {
            Ok(Self::Loopback)
        } else if let Ok(net) = text.parse::<IpNet>() {
            Ok(Self::Network(net))
        } else if let Ok(address) = text.parse::<IpAddr>() {
            Ok(Self::Network(address.into()))
        } else if let Some(domain) = text.strip_prefix('*').filter(|d| d.starts_with('.')) {
            if is_name(domain) {
                Ok(Self::HostsBelow(domain.to_owned()))
            } else {
                Err(InvalidEgress(entry.to_owned()))
            }
        } else if is_name(&text) {
            Ok(Self::Host(text.trim_end_matches('.').to_owned()))
        } else {
            Err(InvalidEgress(entry.to_owned()))
        }
    }
}

/// How far an address reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Public,
    Private,
    Loopback,
    /// Link-local, metadata, multicast, unspecified, documentation and such:
    /// allowed only where the operator names the address.
    Special,
}

/// The IPv4 address that an IPv6 one stands for (mapped, NAT64, 6to4), or the
/// address itself.
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let ([0, 0, 0, 0, 0, 0xffff, high, low]
    | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
    | [0x2002, high, low, _, _, _, _, _]) = v6.segments()
    else {
        return address;
    };
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into()
}

/// Where clouds keep their metadata; the second and third would else pass as
/// private.
const METADATA: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
];

fn reach(address: IpAddr) -> Reach {
    if METADATA.contains(&address) {
        return Reach::Special;
    }
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    const fn net(a: u8, b: u8, c: u8, prefix: u8) -> Ipv4Net {
        Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix)
    }
    /// RFC 1918 and carrier-grade NAT.
    const PRIVATE: [Ipv4Net; 4] = [
        net(10, 0, 0, 8),
        net(172, 16, 0, 12),
        net(192, 168, 0, 16),
        net(100, 64, 0, 10),
    ];
    /// The rest of IANA's special-purpose registry, multicast and reserved.
    const SPECIAL: [Ipv4Net; 10] = [
        net(0, 0, 0, 8),
        net(169, 254, 0, 16),
        net(192, 0, 0, 24),
        net(192, 0, 2, 24),
        net(192, 88, 99, 24),
        net(198, 18, 0, 15),
        net(198, 51, 100, 24),
        net(203, 0, 113, 24),
        net(224, 0, 0, 4),
        net(240, 0, 0, 4),
    ];
    if address.is_loopback() {
        Reach::Loopback
    } else if PRIVATE.iter().any(|net| net.contains(&address)) {
        Reach::Private
    } else if SPECIAL.iter().any(|net| net.contains(&address)) {
        Reach::Special
    } else {
        Reach::Public
    }
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    /// Unique local addresses.
    const PRIVATE: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7);
    /// What is global unicast; all else is special.
    const GLOBAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
    /// Protocol assignments with Teredo, and documentation.
    const SPECIAL: [Ipv6Net; 3] = [
        Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
        Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
        Ipv6Net::new_assert(Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    ];
    if address.is_loopback() {
        Reach::Loopback
    } else if PRIVATE.contains(&address) {
        Reach::Private
    } else if !GLOBAL.contains(&address) || SPECIAL.iter().any(|net| net.contains(&address)) {
        Reach::Special
    } else {
        Reach::Public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(s: &str) -> IpAddr {
        s.parse().expect("is an address")
    }

    const INWARD: [&str; 34] = [
        "127.0.0.1",
        "127.8.9.1",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.100.100.200",
        "169.254.169.254",
        "169.254.1.1",
        "0.0.0.0",
        "0.1.2.3",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "203.0.113.9",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "fc00::1",
        "fd12::1",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
        "2001:db8::1",
    ];

    #[test]
    fn only_public_addresses_are_allowed_by_default() {
        let policy = EgressPolicy::default();
        for inward in INWARD {
            assert!(!policy.allows(ip(inward)), "{inward}");
        }
        for public in [
            "1.1.1.1",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
        ] {
            assert!(policy.allows(ip(public)), "{public}");
        }
    }

    #[test]
    fn exceptions_reach_as_far_as_they_say() {
        let policy = |entry: &str| EgressPolicy::parse([entry]).expect("is an entry");
        assert!(
            policy("private").allows(ip("10.0.0.1")) && policy("private").allows(ip("fd12::1"))
        );
        for never in [
            "127.0.0.1",
            "169.254.169.254",
            "fd00:ec2::254",
            "100.100.100.200",
            "fe80::1",
        ] {
            assert!(!policy("private").allows(ip(never)), "{never}");
        }
        assert!(policy("loopback").allows(ip("::ffff:127.0.0.1")));
        assert!(policy("loopback").allows(ip("::1")) && !policy("loopback").allows(ip("10.0.0.1")));
        assert!(
            policy("10.1.0.0/16").allows(ip("10.1.2.3"))
                && !policy("10.1.0.0/16").allows(ip("10.2.0.1"))
        );
        assert!(policy("169.254.169.254").allows(ip("169.254.169.254")));
        assert!(policy("fd00:ec2::254").allows(ip("fd00:ec2::254")));
        let hosts = EgressPolicy::parse(["Api.Internal", "*.svc.local"]).expect("are entries");
        assert!(hosts.allows_host("api.internal.") && hosts.allows_host("a.svc.local"));
        assert!(!hosts.allows_host("x.api.internal") && !hosts.allows_host("svc.local"));
        assert!(!hosts.allows(ip("10.0.0.1")));
    }

    #[test]
    fn an_entry_that_says_nothing_is_refused() {
        for entry in [
            "",
            "10.0.0.0/33",
            "1.2.3",
            "*",
            "a b",
            "http://x",
            "*.",
            "host:80",
        ] {
            assert!(EgressPolicy::parse([entry]).is_err(), "{entry:?}");
        }
    }
}
