//! Who may call what, in front of all routes: the rate of the address, the
//! judgement, the rate of the key.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use millrace_service::access::table::{self, Needs};
use millrace_service::access::{Caller, KEY_HEADER, VerifiedPeer, strip};
use millrace_types::Role;

use crate::problem::Problem;
use crate::webhooks::{Rate, client_address};
use crate::{Gateway, body};

/// Lets through what the table allows; handlers find the [`Caller`] among the
/// request's extensions, and nothing that Millrace alone should see among its
/// headers.
pub async fn guard(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Err(problem) = admit(&gateway, &mut parts).await {
        body::discard(&parts, body).await;
        return problem.into_response();
    }
    next.run(Request::from_parts(parts, body)).await
}

async fn admit(gateway: &Gateway, parts: &mut Parts) -> Result<(), Problem> {
    let config = &gateway.config;
    let needs = needs(parts);
    // Probes come often, from few addresses.
    if let Some(rate) = config.rate_per_address.filter(|_| needs != Needs::Open) {
        let key = counted_as(client_address(&config.proxies, parts));
        count(gateway, &key, rate, "This address").await?;
    }
    let verified = parts.extensions.get::<VerifiedPeer>();
    let judged = gateway.guard.judge(Some(needs), &parts.headers, verified);
    let caller = judged.await.map_err(|denied| {
        denied.log(parts.uri.path());
        Problem::denied(&denied)
    })?;
    caller.record();
    if let (Some(rate), Caller::Key(key)) = (config.rate_per_key, &caller) {
        count(gateway, &format!("key:{}", key.id), rate, "This API key").await?;
    }
    // What a webhook is sent is between it and its senders.
    if needs == Needs::Own {
        parts.headers.remove(KEY_HEADER);
    } else {
        strip(&gateway.guard, &mut parts.headers);
    }
    parts.extensions.insert(caller);
    Ok(())
}

/// What the table says. Where nothing is routed any key will do to be told
/// so; what is routed without an entry has no handler (see `routes::Routes`).
fn needs(parts: &Parts) -> Needs {
    parts
        .extensions
        .get::<MatchedPath>()
        .and_then(|path| table::of_route(parts.method.as_str(), path.as_str()))
        .unwrap_or(Needs::Key(Role::Viewer))
}

async fn count(gateway: &Gateway, key: &str, rate: Rate, who: &str) -> Result<(), Problem> {
    match gateway.rates.take(key, rate).await {
        None => Ok(()),
        Some(wait) => Err(Problem::too_many(
            format!("{who} sends more requests than it may."),
            wait,
        )),
    }
}

/// Whoever has one address of IPv6 has 2^64 of them.
fn counted_as(address: Option<IpAddr>) -> String {
    let mut key = "address:".to_owned();
    // Writing to a string cannot fail.
    let _ = match address {
        Some(IpAddr::V4(address)) => write!(key, "{address}"),
        Some(IpAddr::V6(address)) => {
            let network = Ipv6Addr::from_bits(address.to_bits() >> 64 << 64);
            write!(key, "{network}/64")
        }
        None => write!(key, "unknown"),
    };
    key
}

#[cfg(test)]
mod tests;
