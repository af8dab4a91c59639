//! `GET /api/executions/{id}/stream?after=`: server-sent events. Each item of
//! the history is one event whose id is its `seq`; the last one, `event: end`,
//! holds the ended execution. `Last-Event-ID`, or `after`, goes on behind the
//! item that was seen last. Comments keep quiet connections alive.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Uri, header};
use millrace_proto::runtime::v1::{WatchExecutionRequest, WatchExecutionResponse};
use millrace_types::ExecutionId;
use tonic::Streaming;

use crate::Gateway;
use crate::problem::Problem;
use crate::query::Query;
use crate::routes::PathId;
use crate::shapes::{Execution, HistoryItem};

const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often a stream that a runtime has cut off is taken up again without
/// anything new in between. The caller comes back by itself after that.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

pub async fn stream(
    State(gateway): State<Gateway>,
    id: PathId<ExecutionId>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = after(&uri, &headers)?;
    let mut watch = Watch {
        gateway,
        execution_id: id.text,
        after,
        answers: None,
        over: false,
    };
    // Begun before the answer is, so that an unknown execution is 404.
    watch.answers = Some(watch.open().await?);
    let events = futures::stream::unfold(watch, |mut watch| async move {
        let event = watch.next().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    // Proxies would hold events back until they have some of them together.
    let plain = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (
            header::HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    Ok((plain, sse).into_response())
}

/// What was seen last. The header counts for more: a browser that comes back
/// sends it with the address of the beginning.
fn after(uri: &Uri, headers: &HeaderMap) -> Result<u64, Problem> {
    const PARAMETER: &str = "after";
    const HEADER: &str = "Last-Event-ID";
    let mut query = Query::of(uri);
    let given = query.text(PARAMETER)?;
    query.finish(&[PARAMETER])?;
    let wrong = |name| Problem::parameter(name, format!("`{name}` has to be the id of an event."));
    match headers.get("last-event-id") {
        Some(value) => value
            .to_str()
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| wrong(HEADER)),
        None => given.map_or(Ok(0), |text| text.parse().map_err(|_| wrong(PARAMETER))),
    }
}

struct Watch {
    gateway: Gateway,
    execution_id: String,
    after: u64,
    answers: Option<Streaming<WatchExecutionResponse>>,
    over: bool,
}

impl Watch {
    async fn open(&self) -> Result<Streaming<WatchExecutionResponse>, Problem> {
        let request = WatchExecutionRequest {
            execution_id: self.execution_id.clone(),
            after_seq: self.after,
        };
        let answers = self
            .gateway
            .runtimes
            .send(request, |mut client, request| async move {
                client.watch_execution(request).await
            })
            .await?;
        Ok(answers)
    }

    /// The next event. A runtime that stops or dies is left for another, from
    /// where it was left off.
    async fn next(&mut self) -> Option<Event> {
        let stop = self.gateway.config.stop.clone();
        for attempt in 0..ATTEMPTS {
            if self.over {
                return None;
            }
            if attempt > 0 {
                tokio::select! {
                    () = stop.cancelled() => return None,
                    () = tokio::time::sleep(PAUSE * attempt) => {}
                }
            }
            let answers = match self.answers.as_mut() {
                Some(answers) => answers,
                None => match self.open().await {
                    Ok(answers) => self.answers.insert(answers),
                    Err(_) => continue,
                },
            };
            let answer = tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                answer = answers.message() => answer,
            };
            match answer {
                Ok(Some(answer)) => return self.event(answer),
                Ok(None) => self.answers = None,
                Err(status) => {
                    tracing::debug!(error = %status, "a watched execution was lost sight of");
                    self.answers = None;
                }
            }
        }
        None
    }

    fn event(&mut self, answer: WatchExecutionResponse) -> Option<Event> {
        if let Some(event) = answer.event {
            self.after = event.seq;
            let item = HistoryItem::try_from(event).ok()?;
            let event = Event::default().id(self.after.to_string());
            return event.json_data(item).ok();
        }
        self.over = true;
        let execution = Execution::answered(answer.execution).ok()?;
        Event::default().event("end").json_data(execution).ok()
    }
}
