//! A request to be judged, which can be changed bit by bit.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use millrace_signature::{AuthError, AuthSpec, RequestParts, Verified, verify};
use millrace_types::Timestamp;
use serde_json::Value;

#[derive(Clone)]
pub struct Case {
    pub auth: Value,
    pub method: Method,
    pub path: String,
    pub query: Option<String>,
    pub headers: Vec<(&'static str, Vec<u8>)>,
    pub body: Vec<u8>,
    pub now: Timestamp,
}

impl Case {
    pub fn new(auth: Value, headers: &[(&'static str, &str)], body: &str) -> Self {
        Self {
            auth,
            method: Method::POST,
            path: "/webhooks/orders".to_owned(),
            query: None,
            headers: headers
                .iter()
                .map(|(name, value)| (*name, value.as_bytes().to_vec()))
                .collect(),
            body: body.as_bytes().to_vec(),
            now: at(0),
        }
    }

    pub fn at(mut self, seconds: i64) -> Self {
        self.now = at(seconds);
        self
    }

    pub fn judge(&self) -> Result<Verified, AuthError> {
        let spec = AuthSpec::parse(&self.auth, "").expect("a valid authentication");
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let value = HeaderValue::from_bytes(value).expect("a valid header");
            headers.append(HeaderName::from_static(name), value);
        }
        self.judge_with(&spec, &headers)
    }

    fn judge_with(&self, spec: &AuthSpec, headers: &HeaderMap) -> Result<Verified, AuthError> {
        let request = RequestParts {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers,
            body: &self.body,
        };
        verify(spec, &request, self.now)
    }

    /// Whether it passes, where a value that cannot be written down at all
    /// (a control character in a header, a secret that is not text) does not.
    fn passes(&self) -> bool {
        let Ok(spec) = AuthSpec::parse(&self.auth, "") else {
            return false;
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            let Ok(value) = HeaderValue::from_bytes(value) else {
                return false;
            };
            headers.append(HeaderName::from_static(name), value);
        }
        self.judge_with(&spec, &headers).is_ok()
    }

    fn header(&mut self, name: &str) -> &mut Vec<u8> {
        let (_, value) = self.headers.iter_mut().find(|(n, _)| *n == name).unwrap();
        value
    }

    /// Accepts as it is; refuses with any one bit changed of the body (where
    /// it is signed), of these headers, and of these members of the auth.
    pub fn refuses_every_changed_bit(&self, body: bool, headers: &[&str], members: &[&str]) {
        self.judge().expect("the unchanged request is accepted");
        if body {
            each_bit(&self.body, |bytes, what| {
                let mut changed = self.clone();
                changed.body = bytes;
                assert!(!changed.passes(), "body: {what}");
            });
        }
        for name in headers {
            let original = self.clone().header(name).clone();
            each_bit(&original, |bytes, what| {
                let mut changed = self.clone();
                *changed.header(name) = bytes;
                assert!(!changed.passes(), "{name}: {what}");
            });
        }
        for member in members {
            let original = self.auth[member].as_str().unwrap().as_bytes().to_vec();
            each_bit(&original, |bytes, what| {
                let Ok(text) = String::from_utf8(bytes) else {
                    return;
                };
                let mut changed = self.clone();
                changed.auth[member] = text.into();
                assert!(!changed.passes(), "{member}: {what}");
            });
        }
    }

    /// The same for the parts of the request line.
    pub fn refuses_every_changed_bit_of_its_target(&self) {
        self.judge().expect("the unchanged request is accepted");
        each_bit(self.path.as_bytes(), |bytes, what| {
            let mut changed = self.clone();
            changed.path = String::from_utf8_lossy(&bytes).into_owned();
            assert!(!changed.passes(), "path: {what}");
        });
        each_bit(self.query.clone().unwrap().as_bytes(), |bytes, what| {
            let mut changed = self.clone();
            changed.query = Some(String::from_utf8_lossy(&bytes).into_owned());
            assert!(!changed.passes(), "query: {what}");
        });
    }
}

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

pub fn each_bit(original: &[u8], mut judge: impl FnMut(Vec<u8>, String)) {
    assert!(!original.is_empty());
    for byte in 0..original.len() {
        for bit in 0..8 {
            let mut bytes = original.to_vec();
            bytes[byte] ^= 1 << bit;
            judge(bytes, format!("byte {byte}, bit {bit}"));
        }
    }
}
