//! Making a call.

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use url::Url;

use super::failure::classify;
use super::redirect::{Request, is_redirect};
use super::resolve::Resolver;
use super::{HttpAnswer, HttpAuth, HttpBody, HttpCall, HttpConfig, HttpFailure, tls};
use crate::value::to_json;

/// Headers that belong to the connection, not to the author.
const OURS: [HeaderName; 8] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Why a caller cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("outgoing HTTP cannot be set up: {0}")]
pub struct HttpSetup(String);

/// Makes HTTP calls. Clones share connections.
#[derive(Debug, Clone)]
pub struct HttpCaller {
    client: reqwest::Client,
    resolver: Resolver,
    total_timeout: Duration,
    max_body: usize,
    max_redirects: usize,
}

impl HttpCaller {
    /// A caller. Proxy variables and `SSL_CERT_FILE` are read here, once.
    pub fn new(config: HttpConfig) -> Result<Self, HttpSetup> {
        let resolver = Resolver::new(config.egress);
        let tls = tls::config().map_err(|e| HttpSetup(e.to_string()))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(resolver.clone())
            // Each hop is checked by us; see `Self::follow`.
            .redirect(reqwest::redirect::Policy::none())
            // A call that is repeated is repeated by the workflow, which knows.
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(config.connect_timeout)
            .user_agent(concat!("millrace/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| HttpSetup(e.to_string()))?;
        Ok(Self {
            client,
            resolver,
            total_timeout: config.total_timeout,
            max_body: config.max_body,
            max_redirects: config.max_redirects,
        })
    }

    /// Makes a call and reads its answer, of whatever status. Dropping the
    /// future abandons the call.
    pub async fn call(&self, call: HttpCall) -> Result<HttpAnswer, HttpFailure> {
        let timeout = call.timeout.unwrap_or(self.total_timeout);
        let follow = if call.redirect { self.max_redirects } else { 0 };
        let (redirect, request) = (call.redirect, prepare(call)?);
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let answer = tokio::time::timeout(timeout, self.follow(request, redirect, follow));
        answer.await.unwrap_or(Err(HttpFailure::Timeout { host }))
    }

    async fn follow(
        &self,
        mut request: Request,
        redirect: bool,
        mut hops: usize,
    ) -> Result<HttpAnswer, HttpFailure> {
        loop {
            self.resolver.check(&request.url).await?;
            let response = self.send(&request).await?;
            if !redirect || !is_redirect(response.status()) {
                return self.read(response, request.url).await;
            }
            hops = hops.checked_sub(1).ok_or_else(|| {
                HttpFailure::Redirect(format!("more than {} of them", self.max_redirects))
            })?;
            let location = response.headers().get(header::LOCATION);
            request = request.redirected(response.status(), location)?;
        }
    }

    async fn send(&self, request: &Request) -> Result<reqwest::Response, HttpFailure> {
        let mut sent = self
            .client
            .request(request.method.clone(), request.url.clone());
        sent = sent.headers(request.headers.clone());
        if let Some(body) = &request.body {
            sent = sent.body(body.clone());
        }
        let host = request.url.host_str().unwrap_or_default();
        sent.send().await.map_err(|error| classify(&error, host))
    }

    async fn read(
        &self,
        mut response: reqwest::Response,
        url: Url,
    ) -> Result<HttpAnswer, HttpFailure> {
        let too_large = HttpFailure::BodyTooLarge {
            limit: self.max_body,
        };
        if response
            .content_length()
            .is_some_and(|length| length > self.max_body as u64)
        {
            return Err(too_large);
        }
        let status = response.status().as_u16();
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.as_str().to_owned(), text(value)))
            .collect();
        let content_type = response.headers().get(header::CONTENT_TYPE).map(text);

        let host = url.host_str().unwrap_or_default();
        let mut body = BytesMut::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|error| classify(&error, host))?
        {
            if body.len() + chunk.len() > self.max_body {
                return Err(too_large);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpAnswer {
            status,
            headers,
            body: body.freeze(),
            content_type,
            url,
        })
    }
}

/// The request that a call asks for.
fn prepare(call: HttpCall) -> Result<Request, HttpFailure> {
    let HttpCall {
        method,
        mut url,
        query,
        headers,
        body,
        auth,
        ..
    } = call;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let (body, content_type) = match body {
        HttpBody::None => (None, None),
        HttpBody::Json(value) => (Some(to_json(&value)), Some("application/json")),
        HttpBody::Text(text) => (Some(text), Some("text/plain; charset=utf-8")),
    };
    let mut map = HeaderMap::new();
    if let Some(content_type) = content_type {
        map.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    for (name, value) in headers {
        let invalid = |what| HttpFailure::Invalid(format!("header {name:?}: {what}"));
        let key = name
            .parse::<HeaderName>()
            .map_err(|_| invalid("not a name"))?;
        if OURS.contains(&key) {
            return Err(invalid("it is set by the connection"));
        }
        let value = HeaderValue::from_str(&value).map_err(|_| invalid("not a value"))?;
        map.insert(key, value);
    }
    if let Some(auth) = auth {
        map.insert(header::AUTHORIZATION, authorization(&auth)?);
    }
    Ok(Request {
        method,
        url,
        headers: map,
        body: body.map(Bytes::from),
    })
}

fn authorization(auth: &HttpAuth) -> Result<HeaderValue, HttpFailure> {
    let text = match auth {
        HttpAuth::Basic { username, password } => {
            format!(
                "Basic {}",
                STANDARD.encode(format!("{username}:{password}"))
            )
        }
        HttpAuth::Bearer(token) => format!("Bearer {token}"),
    };
    let invalid = |_| HttpFailure::Invalid("the credentials do not fit a header".into());
    let mut value = HeaderValue::from_str(&text).map_err(invalid)?;
    value.set_sensitive(true);
    Ok(value)
}
