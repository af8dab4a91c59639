//! One request to a webhook: read once, judged by what its route demands,
//! and opened only after that.

use std::borrow::Cow;
use std::net::IpAddr;

use axum::extract::Request;
use bytes::Bytes;
use http::request::Parts;

use super::authenticate::authenticate;
use super::route::{InputMode, Route};
use super::{client, input, path, payload};
use crate::admit::dedupe_key;
use crate::json::JsonText;
use crate::problem::Problem;
use crate::{Gateway, body};

/// A request with its whole body.
#[derive(Debug)]
pub struct Delivery {
    pub parts: Parts,
    pub path: String,
    bytes: Bytes,
    from: Option<IpAddr>,
}

/// What a delivery brings.
#[derive(Debug)]
pub struct Arrived {
    pub input: JsonText,
    /// The whole request, where the route has expressions over it.
    pub request: Option<JsonText>,
}

impl Delivery {
    /// Reads a request whose path starts with `prefix`.
    pub async fn read(gateway: &Gateway, prefix: &str, request: Request) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        // Read before anything is refused, so that the caller sees the answer.
        let bytes = body::read(&gateway.config, &parts.headers, body).await?;
        let path = path::of(&parts.uri, prefix).map(Cow::into_owned)?;
        let from = client::address(&gateway.config.proxies, &parts);
        Ok(Self {
            parts,
            path,
            bytes,
            from,
        })
    }

    /// Whether the route takes it from this sender; the name of the message,
    /// empty when it has none.
    pub fn judge(&self, gateway: &Gateway, route: &Route) -> Result<String, Problem> {
        if let Some(allow) = &route.allow
            && !self
                .from
                .is_some_and(|address| client::contains(allow, address))
        {
            tracing::info!(
                trigger.id = route.trigger_id,
                deployment.id = route.deployment_id,
                from = ?self.from,
                "a webhook was called from an address that it does not allow"
            );
            return Err(Problem::forbidden(
                "This webhook takes no requests from this address.",
            ));
        }
        let limit = route.body_limit(&gateway.config);
        if self.bytes.len() > limit {
            return Err(Problem::too_large(limit));
        }
        let verified = authenticate(route, &self.parts, &self.bytes)?;
        match verified.message_id {
            Some(id) => Ok(id),
            None => dedupe_key(&self.parts.headers).map(str::to_owned),
        }
    }

    /// Takes one from the route's rate; those of other `kind`s are counted
    /// apart.
    pub async fn count(&self, gateway: &Gateway, route: &Route, kind: &str) -> Result<(), Problem> {
        let Some(rate) = route.rate else {
            return Ok(());
        };
        let key = format!("webhook:{}{kind}", route.trigger_id);
        match gateway.rates.take(&key, rate).await {
            None => Ok(()),
            Some(wait) => Err(Problem::too_often(wait)),
        }
    }

    /// The input that it makes, and what expressions see of it.
    pub async fn open(&self, route: &Route) -> Result<Arrived, Problem> {
        let body = payload::read(&self.parts.headers, self.bytes.clone()).await?;
        if route.input == InputMode::Body && !route.expressions {
            return Ok(Arrived {
                input: body,
                request: None,
            });
        }
        let whole = input::of_request(
            &self.parts.method,
            &self.parts.uri,
            &self.path,
            &route.params,
            &self.parts.headers,
            route.auth.scheme().credential().as_ref(),
            &body,
        )?;
        Ok(Arrived {
            request: route.expressions.then(|| whole.clone()),
            input: match route.input {
                InputMode::Body => body,
                InputMode::Request => whole,
            },
        })
    }
}
