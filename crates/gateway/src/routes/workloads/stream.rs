//! `GET /api/workloads/{id}/logs/stream`: the log as server-sent events, first
//! what is stored and then what comes. An event's id is the line's sequence;
//! `Last-Event-ID` goes on after it, without a gap or a repeat.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use millrace_proto::orchestrator::v1::{StreamLogsRequest, StreamLogsResponse};
use millrace_service::TaskGroup;
use millrace_types::WorkloadId;
use tokio::time::{sleep, timeout};
use tonic::{Status, Streaming};

use super::{after_of, stream_of};
use crate::Gateway;
use crate::orchestrator::{CallError, is_away};
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;
use crate::shapes::LogEntry;

/// A comment in a silence this long keeps proxies from giving up.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Pause before an orchestrator that went away is asked again.
const AGAIN: Duration = Duration::from_millis(250);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Read by nginx and those that follow it: a stream is no use when buffered.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// `?after=` or `?tail=` says where to begin, and `?stream=` what to show.
pub async fn stream(
    State(gateway): State<Gateway>,
    id: PathId<WorkloadId>,
    tasks: Option<Extension<TaskGroup>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let request = request(id.text, &uri, &headers)?;
    // The first answer comes before ours does: what is not there is 404.
    let lines = open(&gateway, &request).await?;
    let follow = Follow {
        gateway,
        request,
        lines: Some(lines),
        tasks: tasks.map(|Extension(tasks)| tasks),
    };
    let events = Sse::new(follow.events()).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, events).into_response())
}

fn request(
    workload_id: String,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<StreamLogsRequest, Problem> {
    let mut query = Query::of(uri);
    let mut after = after_of(&mut query)?;
    let mut tail = query
        .text("tail")?
        .map(|text| match text.parse::<u32>() {
            Ok(tail) if tail <= 1000 => Ok(tail),
            _ => Err(Problem::parameter(
                "tail",
                "`tail` has to be an integer from 0 to 1000.",
            )),
        })
        .transpose()?;
    let stream = stream_of(&mut query)?;
    query.finish(&["after", "tail", "stream"])?;
    if let Some(last) = headers.get(LAST_EVENT_ID).filter(|last| !last.is_empty()) {
        // A browser sends it when it comes back, with the query of the first time.
        let last = last.to_str().ok().and_then(|text| text.parse().ok());
        after = Some(last.ok_or_else(|| {
            Problem::parameter(
                "Last-Event-ID",
                "`Last-Event-ID` has to be the id of an event of this stream.",
            )
        })?);
        tail = None;
    }
    if after.is_some() && tail.is_some() {
        return Err(Problem::parameter(
            "tail",
            "`after` and `tail` exclude each other.",
        ));
    }
    Ok(StreamLogsRequest {
        workload_id,
        after: after.unwrap_or_default(),
        stream,
        tail,
    })
}

async fn open(
    gateway: &Gateway,
    request: &StreamLogsRequest,
) -> Result<Streaming<StreamLogsResponse>, CallError> {
    gateway
        .read(request.clone(), |mut client, request| async move {
            client.stream_logs(request).await
        })
        .await
}

/// One reader of one log. It is asked for the next line when the reader can
/// take it, so that one that stalls keeps nothing waiting but itself.
struct Follow {
    gateway: Gateway,
    /// `after` moves along with what was sent.
    request: StreamLogsRequest,
    lines: Option<Streaming<StreamLogsResponse>>,
    /// Of the listener that the reader came through: its end is ours.
    tasks: Option<TaskGroup>,
}

impl Follow {
    fn events(self) -> impl Stream<Item = Result<Event, Infallible>> {
        futures::stream::unfold(self, |mut follow| async move {
            let stopping = follow.tasks.as_ref().map(TaskGroup::child_token);
            let stopped = async {
                match stopping {
                    Some(token) => token.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            let entry = tokio::select! {
                entry = follow.next() => entry?,
                () = stopped => return None,
            };
            // A struct of texts and numbers cannot fail to be written.
            let text = serde_json::to_string(&entry).unwrap_or_default();
            let event = Event::default().id(entry.seq.to_string()).data(text);
            Some((Ok(event), follow))
        })
    }

    /// The next line; `None` when there will be none.
    async fn next(&mut self) -> Option<LogEntry> {
        loop {
            let Some(lines) = &mut self.lines else {
                sleep(AGAIN).await;
                self.lines = match timeout(HEARTBEAT, open(&self.gateway, &self.request)).await {
                    Ok(Ok(lines)) => Some(lines),
                    Ok(Err(CallError::Unreachable)) | Err(_) => None,
                    // It is gone for good.
                    Ok(Err(CallError::Refused(_) | CallError::None)) => return None,
                };
                continue;
            };
            match lines.message().await {
                Ok(Some(StreamLogsResponse { entry: Some(entry) })) => {
                    self.request.after = entry.seq;
                    self.request.tail = None;
                    return Some(entry.into());
                }
                Ok(Some(StreamLogsResponse { entry: None })) => {}
                Ok(None) => return None,
                Err(status) if is_away(&status) => self.away(&status),
                Err(status) => {
                    tracing::debug!(error = status.message(), "the log ends");
                    return None;
                }
            }
        }
    }

    fn away(&mut self, status: &Status) {
        tracing::debug!(
            error = status.message(),
            "the orchestrator went away; the log goes on when it is back"
        );
        self.lines = None;
    }
}
