//! The service is called in process, and once over a socket; the coordinator
//! here keeps what a runtime would keep. Calls go to a real HTTP server.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use millrace_proto::engine::v1 as pb;
use millrace_proto::engine::v1::workflow_engine_service_client::WorkflowEngineServiceClient;
use millrace_service::{Transport, transport};
use millrace_types::Timestamp;
use pb::execute_request::Message as Ask;
use pb::execute_response::Message as Answer;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::Streaming;

use super::{EngineConfig, EngineService};
use crate::effects::egress::EgressPolicy;
use crate::effects::http::HttpConfig;

/// Long enough for anything that is going to happen at all.
const PATIENCE: Duration = Duration::from_secs(20);

fn service() -> EngineService {
    let config = EngineConfig {
        http: HttpConfig {
            egress: EgressPolicy::for_development(),
            ..HttpConfig::default()
        },
        ..EngineConfig::default()
    };
    EngineService::new(config).unwrap()
}

fn in_process(service: &EngineService) -> WorkflowEngineServiceClient<Transport> {
    WorkflowEngineServiceClient::new(transport::in_process(service.clone().into_server()))
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// An HTTP server that notes what it is asked.
#[derive(Debug, Clone, Default)]
struct Seen {
    requests: Arc<Mutex<Vec<(String, HeaderMap, String)>>>,
    abandoned: Arc<Mutex<usize>>,
}

impl Seen {
    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn header(&self, index: usize, name: &str) -> String {
        let requests = self.requests.lock().unwrap();
        requests[index].1[name].to_str().unwrap().to_owned()
    }
}

struct Abandoned(Seen);

impl Drop for Abandoned {
    fn drop(&mut self) {
        *self.0.abandoned.lock().unwrap() += 1;
    }
}

async fn answer(State(seen): State<Seen>, request: axum::extract::Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body = String::from_utf8(body.to_vec()).unwrap();
    let path = parts.uri.path().to_owned();
    let line = (parts.uri.to_string(), parts.headers, body);
    let count = {
        let mut requests = seen.requests.lock().unwrap();
        requests.push(line);
        requests.len()
    };
    match path.as_str() {
        "/never" => {
            let _noted = Abandoned(seen.clone());
            pending().await
        }
        "/never-first" if count == 1 => pending().await,
        "/missing" => (StatusCode::NOT_FOUND, "no such pet").into_response(),
        _ => axum::Json(json!({"count": count})).into_response(),
    }
}

/// Runs until the set is dropped.
async fn http_server(tasks: &mut JoinSet<()>) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let router = Router::new().fallback(answer).with_state(seen.clone());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, seen)
}

/// What a runtime keeps of an execution.
#[derive(Debug, Default)]
struct Kept {
    frames: BTreeMap<u64, String>,
    timers: BTreeMap<u64, String>,
    events: Vec<pb::ExecutionEvent>,
    seq: u64,
}

impl Kept {
    fn commit(&mut self, checkpoint: pb::Checkpoint) {
        assert_eq!(checkpoint.seq, self.seq + 1);
        self.seq = checkpoint.seq;
        for frame in checkpoint.upsert_frames {
            self.frames.insert(frame.id, frame.data_json);
        }
        for id in checkpoint.delete_frames {
            self.frames.remove(&id);
        }
        for id in checkpoint.clear_timers {
            self.timers.remove(&id);
        }
        for timer in checkpoint.set_timers {
            self.timers.insert(timer.id, timer.due_at);
        }
        self.events.extend(checkpoint.events);
    }

    fn start(&self, tasks: &str, input: &Json, epoch: u64) -> pb::Start {
        let document = format!(
            "document: {{ dsl: '1.0.3', namespace: test, name: test, version: '1.0.0' }}\n{tasks}"
        );
        let parsed = crate::language::parse(&document).unwrap_or_else(|f| panic!("{f:#?}"));
        let frames = self.frames.iter();
        pb::Start {
            execution_id: "exe_00000000000000000000000001".to_owned(),
            definition_digest: document,
            definition_json: parsed.definition_json,
            input_json: input.to_string(),
            epoch,
            checkpoint_seq: self.seq,
            frames: frames
                .map(|(id, data)| pb::Frame {
                    id: *id,
                    data_json: data.clone(),
                })
                .collect(),
            started_at: Timestamp::now().to_string(),
            next_event_seq: self.events.len() as u64 + 1,
            ..pb::Start::default()
        }
    }
}

/// The coordinator's side of one conversation.
struct Conversation {
    requests: mpsc::Sender<pb::ExecuteRequest>,
    answers: Streaming<pb::ExecuteResponse>,
}

impl Conversation {
    async fn begin(mut client: WorkflowEngineServiceClient<Transport>, start: pb::Start) -> Self {
        let (requests, receiver) = mpsc::channel(4);
        let request = |ask| pb::ExecuteRequest { message: Some(ask) };
        requests.send(request(Ask::Start(start))).await.unwrap();
        let answers = client.execute(ReceiverStream::new(receiver)).await;
        Self {
            requests,
            answers: answers.unwrap().into_inner(),
        }
    }

    async fn say(&self, ask: Ask) {
        let request = pb::ExecuteRequest { message: Some(ask) };
        self.requests.send(request).await.unwrap();
    }

    async fn hear(&mut self) -> Option<Answer> {
        let answer = tokio::time::timeout(PATIENCE, self.answers.message()).await;
        let answer = answer.expect("an answer in time").unwrap();
        answer.map(|answer| answer.message.unwrap())
    }

    async fn checkpoint(&mut self) -> pb::Checkpoint {
        match self.hear().await {
            Some(Answer::Checkpoint(checkpoint)) => checkpoint,
            other => panic!("a checkpoint was expected: {other:?}"),
        }
    }

    /// Acknowledges every checkpoint until the end.
    async fn finish(&mut self, kept: &mut Kept) -> Result<Json, Json> {
        loop {
            match self.hear().await {
                Some(Answer::Checkpoint(checkpoint)) => {
                    assert!(!checkpoint.suspended, "it waits");
                    let seq = checkpoint.seq;
                    kept.commit(checkpoint);
                    self.say(Ask::Ack(pb::Ack { seq })).await;
                }
                Some(Answer::Completed(done)) => {
                    kept.events.extend(done.events);
                    return Ok(serde_json::from_str(&done.output_json).unwrap());
                }
                Some(Answer::Failed(failed)) => {
                    kept.events.extend(failed.events);
                    return Err(serde_json::from_str(&failed.error_json).unwrap());
                }
                None => panic!("the conversation ended without an end"),
            }
        }
    }
}

async fn run(tasks: &str, input: &Json) -> (Result<Json, Json>, Kept) {
    let mut kept = Kept::default();
    let start = kept.start(tasks, input, 1);
    let mut conversation = Conversation::begin(in_process(&service()), start).await;
    let ended = conversation.finish(&mut kept).await;
    for (index, event) in kept.events.iter().enumerate() {
        assert_eq!(event.seq, index as u64 + 1);
    }
    (ended, kept)
}

fn get(address: SocketAddr, path: &str) -> String {
    format!("{{ call: http, with: {{ method: get, endpoint: 'http://{address}{path}' }} }}")
}

#[tokio::test]
async fn pure_tasks_complete_without_a_checkpoint() {
    let tasks =
        "do: [ { a: { set: { n: '${ .n + 1 }' } } }, { b: { set: { m: '${ .n * 2 }' } } } ]";
    let (ended, kept) = run(tasks, &json!({"n": 1})).await;
    assert_eq!(ended, Ok(json!({"m": 4})));
    assert_eq!(kept.seq, 0);
    assert_eq!(kept.events.len(), 6);
    assert_eq!(kept.events[0].kind, "executionStarted");
    assert_eq!(kept.events[5].kind, "executionSucceeded");
}

#[tokio::test]
async fn a_call_is_made_only_after_its_checkpoint_is_acknowledged() {
    let mut tasks = JoinSet::new();
    let (address, seen) = http_server(&mut tasks).await;
    let document = format!("do: [ {{ call: {} }} ]", get(address, "/"));
    let mut kept = Kept::default();
    let start = kept.start(&document, &json!({}), 1);
    let mut conversation = Conversation::begin(in_process(&service()), start).await;

    let checkpoint = conversation.checkpoint().await;
    assert!(!checkpoint.suspended);
    // Nothing more comes, and nothing is called, as long as it is not stored.
    let more = tokio::time::timeout(Duration::from_millis(100), conversation.answers.message());
    assert!(more.await.is_err());
    assert_eq!(seen.count(), 0);

    let seq = checkpoint.seq;
    kept.commit(checkpoint);
    conversation.say(Ask::Ack(pb::Ack { seq })).await;
    assert_eq!(
        conversation.finish(&mut kept).await,
        Ok(json!({"count": 1}))
    );
    assert_eq!(seen.count(), 1);
    let last = kept
        .events
        .iter()
        .find(|event| event.kind == "taskSucceeded");
    assert!(last.unwrap().detail_json.contains(r#""status":200"#));
}

#[tokio::test]
async fn a_call_that_is_made_again_after_a_crash_has_the_same_key() {
    let mut tasks = JoinSet::new();
    let (address, seen) = http_server(&mut tasks).await;
    let document = format!("do: [ {{ call: {} }} ]", get(address, "/never-first"));
    let mut kept = Kept::default();
    let start = kept.start(&document, &json!({}), 1);
    let mut conversation = Conversation::begin(in_process(&service()), start).await;
    let checkpoint = conversation.checkpoint().await;
    let seq = checkpoint.seq;
    kept.commit(checkpoint);
    conversation.say(Ask::Ack(pb::Ack { seq })).await;
    // The work is done while the stream is polled; it is dropped after.
    tokio::select! {
        _ = conversation.answers.message() => panic!("an answer to a call that has none"),
        () = eventually("the call", || seen.count() == 1) => {}
    }
    drop(conversation);

    let start = kept.start(&document, &json!({}), 2);
    let mut conversation = Conversation::begin(in_process(&service()), start).await;
    assert_eq!(
        conversation.finish(&mut kept).await,
        Ok(json!({"count": 2}))
    );
    assert_eq!(kept.seq, 1, "what is stored already is not stored again");
    assert_eq!(
        seen.header(0, "idempotency-key"),
        seen.header(1, "idempotency-key")
    );
    assert_eq!(seen.header(0, "millrace-fencing-token"), "1");
    assert_eq!(seen.header(1, "millrace-fencing-token"), "2");
}

#[tokio::test]
async fn cancelling_breaks_off_the_call_and_says_nothing_more() {
    let mut tasks = JoinSet::new();
    let (address, seen) = http_server(&mut tasks).await;
    let document = format!("do: [ {{ call: {} }} ]", get(address, "/never"));
    let kept = Kept::default();
    let start = kept.start(&document, &json!({}), 1);
    let mut conversation = Conversation::begin(in_process(&service()), start).await;
    let seq = conversation.checkpoint().await.seq;
    conversation.say(Ask::Ack(pb::Ack { seq })).await;
    tokio::select! {
        _ = conversation.answers.message() => panic!("an answer to a call that has none"),
        () = eventually("the call", || seen.count() == 1) => {}
    }
    let cancel = pb::Cancel {
        reason: "enough".to_owned(),
    };
    conversation.say(Ask::Cancel(cancel)).await;
    assert_eq!(conversation.hear().await, None);
    eventually("the end of the call", || {
        *seen.abandoned.lock().unwrap() == 1
    })
    .await;
}

#[tokio::test]
async fn dropping_the_stream_breaks_off_the_call() {
    let mut tasks = JoinSet::new();
    let (address, seen) = http_server(&mut tasks).await;
    let document = format!("do: [ {{ call: {} }} ]", get(address, "/never"));
    let start = Kept::default().start(&document, &json!({}), 1);
    let mut conversation = Conversation::begin(in_process(&service()), start).await;
    let seq = conversation.checkpoint().await.seq;
    conversation.say(Ask::Ack(pb::Ack { seq })).await;
    tokio::select! {
        _ = conversation.answers.message() => panic!("an answer to a call that has none"),
        () = eventually("the call", || seen.count() == 1) => {}
    }
    drop(conversation);
    eventually("the end of the call", || {
        *seen.abandoned.lock().unwrap() == 1
    })
    .await;
}

#[tokio::test]
async fn a_wait_suspends_and_goes_on_when_woken() {
    let document = "do: [ { pause: { wait: PT1H } }, { after: { set: { done: true } } } ]";
    let mut kept = Kept::default();
    let service = service();
    let start = kept.start(document, &json!({}), 1);
    let mut conversation = Conversation::begin(in_process(&service), start).await;
    let checkpoint = conversation.checkpoint().await;
    assert!(checkpoint.suspended);
    assert_eq!(conversation.hear().await, None);
    kept.commit(checkpoint);
    assert_eq!(kept.timers.len(), 1);

    // Woken for nothing, it waits on, and changes nothing.
    let start = kept.start(document, &json!({}), 2);
    let mut conversation = Conversation::begin(in_process(&service), start).await;
    let checkpoint = conversation.checkpoint().await;
    assert!(checkpoint.suspended && checkpoint.events.is_empty());
    assert!(checkpoint.set_timers.is_empty() && checkpoint.clear_timers.is_empty());
    kept.commit(checkpoint);

    let mut start = kept.start(document, &json!({}), 3);
    let timer_ids = kept.timers.keys().copied().collect();
    start.wake = Some(pb::Wake {
        reason: Some(pb::wake::Reason::Timers(pb::wake::Timers { timer_ids })),
    });
    let mut conversation = Conversation::begin(in_process(&service), start).await;
    assert_eq!(
        conversation.finish(&mut kept).await,
        Ok(json!({"done": true}))
    );
    let kinds: Vec<_> = kept
        .events
        .iter()
        .map(|event| event.kind.as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "executionStarted",
            "taskStarted",
            "timerSet",
            "timerFired",
            "taskSucceeded",
            "taskStarted",
            "taskSucceeded",
            "executionSucceeded",
        ]
    );
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_broken_off_by_its_timeout() {
    let mut tasks = JoinSet::new();
    let (address, seen) = http_server(&mut tasks).await;
    let document = format!(
        "do: [ {{ slow: {{ call: http, with: {{ method: get, endpoint: 'http://{address}/never' }}, timeout: {{ after: PT0.2S }} }} }} ]"
    );
    let (ended, _) = run(&document, &json!({})).await;
    let fault = ended.unwrap_err();
    assert_eq!(fault["status"], 408);
    assert_eq!(fault["instance"], "/do/0/slow");
    eventually("the end of the call", || {
        *seen.abandoned.lock().unwrap() == 1
    })
    .await;
}

#[tokio::test]
async fn answers_are_given_as_the_task_asks() {
    let mut tasks = JoinSet::new();
    let (address, seen) = http_server(&mut tasks).await;
    let call = |path: &str, more: &str| {
        format!(
            "do: [ {{ a: {{ call: http, with: {{ method: post, endpoint: 'http://{address}{path}', {more} }} }} }} ]"
        )
    };
    let (raw, _) = run(&call("/", "output: raw, body: { n: 1 }"), &json!({})).await;
    assert_eq!(raw, Ok(json!("eyJjb3VudCI6MX0=")));
    let (whole, _) = run(
        &call("/", "output: response, headers: { x-a: b }"),
        &json!({}),
    )
    .await;
    let whole = whole.unwrap();
    assert_eq!(whole["statusCode"], 200);
    assert_eq!(whole["content"], json!({"count": 2}));
    assert_eq!(whole["request"]["headers"]["x-a"], "b");
    let (missing, _) = run(&call("/missing", "query: { a: 1 }"), &json!({})).await;
    let fault = missing.unwrap_err();
    assert_eq!(
        (&fault["status"], &fault["title"]),
        (&json!(404), &json!("Not Found"))
    );
    assert!(
        fault["detail"].as_str().unwrap().contains("no such pet"),
        "{fault}"
    );

    let requests = seen.requests.lock().unwrap();
    assert_eq!(requests[0].2, r#"{"n":1}"#);
    assert_eq!(requests[0].1["content-type"], "application/json");
    assert_eq!(requests[2].0, "/missing?a=1");
}

#[tokio::test]
async fn a_service_that_is_down_is_a_communication_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (ended, _) = run(
        &format!("do: [ {{ a: {} }} ]", get(address, "/")),
        &json!({}),
    )
    .await;
    let fault = ended.unwrap_err();
    assert_eq!(fault["status"], 503, "{fault}");
    assert!(
        fault["type"]
            .as_str()
            .unwrap()
            .ends_with("/errors/communication")
    );
}

#[tokio::test]
async fn a_long_run_of_pure_tasks_is_stored_in_pieces() {
    let document = "
do:
  - count: { set: { n: '${ .n + 1 }' } }
  - again: { switch: [ { more: { when: .n < 1500, then: count } } ] }
";
    let (ended, kept) = run(document, &json!({"n": 0})).await;
    assert_eq!(ended, Ok(json!({"n": 1500})));
    assert!(kept.seq >= 2, "{} checkpoints", kept.seq);
    assert_eq!(kept.events.len(), 6002);
}

#[tokio::test]
async fn what_cannot_be_run_is_refused() {
    let good = Kept::default().start("do: [ { a: { set: { x: 1 } } } ]", &json!({}), 1);
    let mut bad_input = good.clone();
    bad_input.input_json = "{".to_owned();
    let mut bad_definition = good.clone();
    bad_definition.definition_json = "{}".to_owned();
    let mut bad_frames = good.clone();
    bad_frames.frames = vec![pb::Frame {
        id: 1,
        data_json: "{}".to_owned(),
    }];
    for (start, code) in [
        (bad_input, tonic::Code::InvalidArgument),
        (bad_definition, tonic::Code::FailedPrecondition),
        (bad_frames, tonic::Code::FailedPrecondition),
    ] {
        let mut conversation = Conversation::begin(in_process(&service()), start).await;
        let status = conversation.answers.message().await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
    }
}

#[tokio::test]
async fn the_same_service_answers_over_a_socket() {
    let mut tasks = JoinSet::new();
    let (http, seen) = http_server(&mut tasks).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tonic::transport::Server::builder().add_service(service().into_server());
    let serve = server.serve_with_incoming(TcpListenerStream::new(listener));
    tasks.spawn(async move { serve.await.unwrap() });

    let transport = transport::remote(&format!("http://{address}")).unwrap();
    let mut client = WorkflowEngineServiceClient::new(transport);
    let capabilities = client.get_capabilities(pb::GetCapabilitiesRequest {}).await;
    assert!(
        capabilities
            .unwrap()
            .into_inner()
            .tasks
            .contains(&"call:http".to_owned())
    );

    let document = format!("do: [ {{ call: {} }} ]", get(http, "/"));
    let mut kept = Kept::default();
    let start = kept.start(&document, &json!({}), 1);
    let mut conversation = Conversation::begin(client, start).await;
    assert_eq!(
        conversation.finish(&mut kept).await,
        Ok(json!({"count": 1}))
    );
    assert_eq!(seen.count(), 1);
}

#[tokio::test]
async fn calls_go_out_within_the_trace_of_the_execution() {
    let mut tasks = JoinSet::new();
    let (address, seen) = http_server(&mut tasks).await;
    let document = format!("do: [ {{ call: {} }} ]", get(address, "/"));
    let trace = millrace_service::trace_context::TraceContext::new();
    let (ended, _) = trace.scope(run(&document, &json!({}))).await;
    ended.unwrap();
    let header = seen.header(0, "traceparent");
    assert!(header.contains(&trace.trace_id().to_string()), "{header}");
}

#[tokio::test]
async fn validating_says_what_a_document_is_or_what_is_wrong() {
    let mut client = in_process(&service());
    let good = "document: { dsl: '1.0.3', namespace: shop, name: orders, version: '2.1.0' }\ndo: [ { a: { set: { x: 1 } } } ]";
    let request = |document: &str| pb::ValidateRequest {
        document: document.to_owned(),
    };
    let answer = client.validate(request(good)).await.unwrap().into_inner();
    let identity = answer.identity.unwrap();
    assert_eq!(
        (identity.namespace.as_str(), identity.name.as_str()),
        ("shop", "orders")
    );
    assert!(answer.definition_json.starts_with(r#"{"document":"#));

    let bad = good.replace("set:", "sett:");
    let answer = client.validate(request(&bad)).await.unwrap().into_inner();
    assert!(answer.definition_json.is_empty());
    // Its name can be read all the same, and what is wrong beside it be told.
    assert_eq!(answer.identity, Some(identity));
    assert!(
        answer
            .diagnostics
            .iter()
            .any(|finding| finding.pointer.starts_with("/do/0/a"))
    );
}

#[tokio::test]
async fn a_wait_for_events_suspends_and_goes_on_with_what_came() {
    let document = "do: [ { tell: { emit: { event: { with: { type: asked } } } } }, \
                     { hear: { listen: { to: { one: { with: { type: answered } } } } } } ]";
    let mut kept = Kept::default();
    let start = kept.start(document, &json!({}), 1);
    let mut conversation = Conversation::begin(in_process(&service()), start).await;
    let checkpoint = conversation.checkpoint().await;
    assert!(checkpoint.suspended);
    assert_eq!(checkpoint.emit_events_json.len(), 1);
    let [listener] = checkpoint.set_listeners.as_slice() else {
        panic!("one listener was expected: {checkpoint:?}");
    };
    let listener = listener.clone();
    assert!(listener.once);
    assert_eq!(listener.filters[0].event_type, "answered");
    kept.commit(checkpoint);

    let received = pb::ReceivedEvent {
        number: 9,
        listener_id: listener.id,
        received_at: Timestamp::now().to_string(),
        event_json: r#"{"id":"1","source":"/s","type":"answered","data":{"n":1.50}}"#.to_owned(),
    };
    // Nothing came yet: it goes on waiting.
    let start = kept.start(document, &json!({}), 2);
    let mut conversation = Conversation::begin(in_process(&service()), start).await;
    let again = conversation.checkpoint().await;
    assert!(again.suspended && again.set_listeners.is_empty());
    kept.commit(again);

    let start = pb::Start {
        received: vec![received],
        ..kept.start(document, &json!({}), 3)
    };
    let mut conversation = Conversation::begin(in_process(&service()), start).await;
    let ended = conversation.finish(&mut kept).await;
    let expected: Json = serde_json::from_str(r#"[{"n":1.50}]"#).unwrap();
    assert_eq!(ended, Ok(expected), "to the digit");
    let kinds: Vec<_> = kept
        .events
        .iter()
        .map(|event| event.kind.as_str())
        .collect();
    assert!(kinds.contains(&"eventEmitted") && kinds.contains(&"eventReceived"));
}
