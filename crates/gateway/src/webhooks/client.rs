//! Whose request it is, as far as that can be known.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use http::HeaderMap;
use http::header::FORWARDED;
use http::request::Parts;
use ipnet::IpNet;

use crate::config::{ForwardedHeader, Proxies};

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The address that the request comes from: that of the connection, or what
/// trusted proxies say. `None` when it cannot be told.
pub fn address(proxies: &Proxies, parts: &Parts) -> Option<IpAddr> {
    let ConnectInfo(peer) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    behind(proxies, peer.ip().to_canonical(), &parts.headers)
}

/// Goes from the connection's other end towards the sender for as long as
/// each address is a trusted proxy's: what lies behind one that is not could
/// have been made up.
fn behind(proxies: &Proxies, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    if !contains(&proxies.trusted, peer) {
        return Some(peer);
    }
    let said = match proxies.header {
        ForwardedHeader::XForwardedFor => x_forwarded_for(headers),
        ForwardedHeader::Forwarded => forwarded(headers),
    };
    let mut last = Some(peer);
    for address in said.into_iter().rev() {
        last = address;
        if address.is_none_or(|address| !contains(&proxies.trusted, address)) {
            break;
        }
    }
    last
}

/// Whether one of the networks holds the address.
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// Nearest proxy last; `None` for what is no address.
fn x_forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(node)
        .collect()
}

/// The `for` of each element (RFC 7239).
fn forwarded(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    headers
        .get_all(FORWARDED)
        .iter()
        .flat_map(|value| split(value.to_str().unwrap_or("?"), ','))
        .map(|element| {
            split(element, ';').into_iter().find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                let is_for = name.trim().eq_ignore_ascii_case("for");
                is_for.then(|| node(value.trim().trim_matches('"')))?
            })
        })
        .collect()
}

/// Cuts at `separator`, but not within quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
    .collect()
}

/// An address, perhaps with a port: `192.0.2.1:80`, `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map_or(text, |(inside, _)| inside);
    bare.parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(
        trusted: &[&str],
        header: ForwardedHeader,
        peer: &str,
        said: &[&str],
    ) -> Option<String> {
        let name = match header {
            ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
            ForwardedHeader::Forwarded => "forwarded",
        };
        let mut headers = HeaderMap::new();
        for value in said {
            headers.append(name, value.parse().unwrap());
        }
        let proxies = Proxies {
            trusted: trusted.iter().map(|text| text.parse().unwrap()).collect(),
            header,
        };
        behind(&proxies, peer.parse().unwrap(), &headers).map(|address| address.to_string())
    }

    #[test]
    fn nobody_is_believed_unless_trusted() {
        use ForwardedHeader::XForwardedFor as Header;
        let said = ["192.0.2.1, 10.0.0.7", "10.0.0.2"];
        assert_eq!(
            seen(&[], Header, "10.0.0.1", &said).as_deref(),
            Some("10.0.0.1")
        );
        let trusted = ["10.0.0.0/30"];
        assert_eq!(
            seen(&trusted, Header, "10.0.0.1", &said).as_deref(),
            Some("10.0.0.7")
        );
        let trusted = ["10.0.0.0/8"];
        assert_eq!(
            seen(&trusted, Header, "10.0.0.1", &said).as_deref(),
            Some("192.0.2.1")
        );
        assert_eq!(
            seen(&trusted, Header, "8.8.8.8", &said).as_deref(),
            Some("8.8.8.8")
        );
        assert_eq!(
            seen(&trusted, Header, "10.0.0.1", &[]).as_deref(),
            Some("10.0.0.1")
        );
        assert_eq!(
            seen(&trusted, Header, "10.0.0.1", &["192.0.2.1, unknown"]),
            None
        );
    }

    #[test]
    fn both_headers_are_read_with_ports_and_quotes() {
        use ForwardedHeader::{Forwarded, XForwardedFor};
        let trusted = ["10.0.0.0/8"];
        for said in ["[2001:db8::1]:80", "2001:db8::1"] {
            let seen = seen(&trusted, XForwardedFor, "10.0.0.1", &[said]);
            assert_eq!(seen.as_deref(), Some("2001:db8::1"));
        }
        let said = [r#"for=192.0.2.9, proto=https;For="[2001:db8::1]:80";by="a,b", for=10.0.0.3"#];
        let address = seen(&trusted, Forwarded, "10.0.0.1", &said);
        assert_eq!(address.as_deref(), Some("2001:db8::1"));
        assert_eq!(
            seen(&trusted, Forwarded, "10.0.0.1", &["for=_hidden"]),
            None
        );
    }
}
