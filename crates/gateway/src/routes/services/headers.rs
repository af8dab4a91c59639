//! What of a message's head goes on, and what is added to it.

use std::net::SocketAddr;

use http::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::{Scheme, Uri};

use super::address::Address;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Removes what is between two neighbours only (RFC 9110, 7.6.1).
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    // Trailers are passed on, also across versions of HTTP.
    let trailers = headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.trim().eq_ignore_ascii_case("trailers"));
    for name in named {
        headers.remove(name);
    }
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// The protocol that a request asks to go over to, such as `websocket`.
pub fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let asked = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(UPGRADE).filter(|_| asked).cloned()
}

/// Makes a message ask for, or agree to, another protocol.
pub fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// Says how the request came to us. What the caller says of its host, its
/// protocol and the prefix is not passed on; of its address it may say what
/// was before it.
pub fn set_forwarded(
    headers: &mut HeaderMap,
    uri: &Uri,
    address: &Address,
    scheme: &Scheme,
    peer: Option<SocketAddr>,
) {
    let host = headers
        .remove(HOST)
        .or_else(|| HeaderValue::from_str(uri.authority()?.as_str()).ok());
    headers.remove(X_FORWARDED_HOST);
    if let Some(host) = host {
        headers.insert(X_FORWARDED_HOST, host);
    }
    let protocol = if *scheme == Scheme::HTTPS {
        "https"
    } else {
        "http"
    };
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(protocol));
    if let Ok(prefix) = HeaderValue::from_str(&address.prefix()) {
        headers.insert(X_FORWARDED_PREFIX, prefix);
    }
    let Some(peer) = peer else { return };
    let peer = peer.ip().to_canonical().to_string();
    let before = headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect::<Vec<_>>()
        .join(", ");
    let chain = if before.is_empty() {
        peer
    } else {
        format!("{before}, {peer}")
    };
    if let Ok(chain) = HeaderValue::from_str(&chain) {
        headers.insert(X_FORWARDED_FOR, chain);
    }
}

/// Keeps a redirection of the service below its stable address: it knows
/// neither that, nor which port it is reached at.
pub fn rewrite_location(headers: &mut HeaderMap, address: &Address, authority: &str) {
    let Some(location) = headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let prefix = address.prefix();
    let own = location
        .strip_prefix("http://")
        .and_then(|rest| rest.strip_prefix(authority));
    let path = match own {
        Some("") => "/",
        Some(path) => path,
        None => location,
    };
    let known = path
        .strip_prefix(prefix.as_str())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']));
    if !path.starts_with('/') || path.starts_with("//") || known {
        return;
    }
    if let Ok(rewritten) = HeaderValue::from_str(&format!("{prefix}{path}")) {
        headers.insert(LOCATION, rewritten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn address() -> Address {
        Address::of(&Uri::from_static("/services/TODO/tasks/a")).unwrap()
    }

    #[test]
    fn what_is_between_neighbours_does_not_go_on() {
        let mut given = headers(&[
            ("connection", "close, X-Mine"),
            ("keep-alive", "5"),
            ("x-mine", "1"),
            ("te", "gzip, trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-theirs", "2"),
        ]);
        remove_hop_by_hop(&mut given);
        assert_eq!(given, headers(&[("x-theirs", "2"), ("te", "trailers")]));
    }

    #[test]
    fn it_is_said_how_the_request_came() {
        let mut given = headers(&[
            ("host", "example.org"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "forged.example"),
            ("x-forwarded-proto", "https"),
        ]);
        let peer = "[::ffff:198.51.100.7]:4711".parse().unwrap();
        let uri = Uri::from_static("/");
        set_forwarded(&mut given, &uri, &address(), &Scheme::HTTP, Some(peer));
        assert_eq!(given["x-forwarded-for"], "192.0.2.1, 198.51.100.7");
        assert_eq!(given["x-forwarded-host"], "example.org");
        assert_eq!(given["x-forwarded-proto"], "http");
        assert_eq!(given["x-forwarded-prefix"], "/services/TODO/tasks");
        assert!(!given.contains_key("host"));
        set_forwarded(&mut given, &uri, &address(), &Scheme::HTTPS, None);
        assert_eq!(given["x-forwarded-proto"], "https");
    }

    #[test]
    fn redirections_stay_below_the_stable_address() {
        for (location, expected) in [
            ("/login?a=1", "/services/TODO/tasks/login?a=1"),
            ("http://127.0.0.1:3100/x", "/services/TODO/tasks/x"),
            ("http://127.0.0.1:3100", "/services/TODO/tasks/"),
            ("/services/TODO/tasks/x", "/services/TODO/tasks/x"),
            (
                "/services/TODO/tasks2",
                "/services/TODO/tasks/services/TODO/tasks2",
            ),
            ("next", "next"),
            ("https://example.org/x", "https://example.org/x"),
            ("//example.org/x", "//example.org/x"),
        ] {
            let mut given = headers(&[("location", location)]);
            rewrite_location(&mut given, &address(), "127.0.0.1:3100");
            assert_eq!(given["location"], expected);
        }
    }
}
