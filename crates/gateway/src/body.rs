//! Request bodies: read whole, within a limit and a time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, EXPECT};
use http::request::Parts;
use http::{HeaderMap, Version};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::GatewayConfig;
use crate::problem::Problem;

/// How much of a refused body is read on and thrown away. Closing while the
/// caller still sends would reset the connection, and it would never see the
/// answer.
const DRAIN_LIMIT: usize = 16 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(5);

/// Reads the body to its end.
pub async fn read(
    config: &GatewayConfig,
    headers: &HeaderMap,
    mut body: Body,
) -> Result<Bytes, Problem> {
    let limit = config.body_limit;
    let announced = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        // A caller that waits for `100 Continue` has not sent anything yet.
        if !headers.contains_key(EXPECT) && announced.is_some_and(|n| n <= DRAIN_LIMIT) {
            drain(&mut body).await;
        }
        return Err(Problem::too_large(limit));
    }
    match timeout(config.body_timeout, collect(&mut body, limit)).await {
        Ok(Ok(Some(bytes))) => Ok(bytes),
        Ok(Ok(None)) => {
            drain(&mut body).await;
            Err(Problem::too_large(limit))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "a request's body broke off");
            Err(Problem::invalid("The body broke off."))
        }
        Err(_) => Err(Problem::body_timeout()),
    }
}

/// The whole body; `None` when it is larger than `limit`.
async fn collect(body: &mut Body, limit: usize) -> Result<Option<Bytes>, axum::Error> {
    // Most bodies come in one piece, which is then not copied.
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > limit {
            return Ok(None);
        }
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(Some(first));
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(Some(whole.freeze()))
}

/// Throws away the body of a request that is refused unread, for its caller to
/// see the answer. Streams of HTTP/2 are answered by themselves.
pub async fn discard(parts: &Parts, mut body: Body) {
    let alone = matches!(parts.version, Version::HTTP_2 | Version::HTTP_3);
    if !alone && !hyper::body::Body::is_end_stream(&body) && !parts.headers.contains_key(EXPECT) {
        drain(&mut body).await;
    }
}

async fn drain(body: &mut Body) {
    let mut seen = 0;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > DRAIN_LIMIT {
                break;
            }
        }
    };
    // Out of time or out of patience, the answer is the same.
    let _ = timeout(DRAIN_TIME, reading).await;
}
