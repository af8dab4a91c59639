//! The table of who may call what, against every contract, over real sockets.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::IntoResponse as _;
use futures::future::{BoxFuture, Ready, ready};
use http_body_util::BodyExt as _;
use millrace_proto::FILE_DESCRIPTOR_SET;
use millrace_service::access::table::{self, Needs, RPCS};
use millrace_service::access::{
    Caller, Guard, GuardLayer, KeyLookUp, KeyToken, LookUpFailed, VerifiedPeer,
};
use millrace_service::config::{AuthConfig, AuthMode, InternalToken};
use millrace_service::grpc::GrpcServer;
use millrace_service::transport::{Identity, Transport, remote, remote_as};
use millrace_service::{OnFailure, TaskGroup};
use millrace_types::{ApiKey, ApiKeyId, Role};
use prost::Message as _;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower::{Layer as _, Service, ServiceExt as _};

const INTERNAL: &str = "internal-0123456789abcdef0123456789";

/// A server of some contract that does nothing: what gets to it was let
/// through.
macro_rules! contracts {
    ($($kind:ident = $name:literal;)+) => {
        $(
            #[derive(Clone)]
            struct $kind;

            impl NamedService for $kind {
                const NAME: &'static str = $name;
            }

            impl Service<http::Request<Body>> for $kind {
                type Response = http::Response<Body>;
                type Error = Infallible;
                type Future = Ready<Result<Self::Response, Infallible>>;

                fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                    Poll::Ready(Ok(()))
                }

                fn call(&mut self, _: http::Request<Body>) -> Self::Future {
                    ready(Ok(Status::aborted("let through").into_http()))
                }
            }
        )+

        const STOOD_IN_FOR: &[&str] = &[$($name),+];

        fn serve_all(server: GrpcServer) -> GrpcServer {
            server$(.service($kind))+
        }
    };
}

contracts! {
    Runtime = "millrace.runtime.v1.WorkflowRuntimeService";
    Monitoring = "millrace.runtime.v1.MonitoringService";
    Admin = "millrace.runtime.v1.AdminService";
    Access = "millrace.runtime.v1.AccessService";
    Orchestrator = "millrace.orchestrator.v1.WorkloadOrchestratorService";
    Engine = "millrace.engine.v1.WorkflowEngineService";
}

/// One that nobody has put into the table.
mod unlisted {
    use super::*;
    contracts! { Unlisted = "millrace.test.v1.UnlistedService"; }

    pub fn serve(server: GrpcServer) -> GrpcServer {
        assert_eq!(STOOD_IN_FOR.len(), 1);
        serve_all(server)
    }
}

/// Every RPC of these descriptors, as `/package.Service/Method`.
fn described(sets: &[&[u8]]) -> BTreeSet<String> {
    let files = sets.iter().flat_map(|set| {
        let set = prost_types::FileDescriptorSet::decode(*set).unwrap();
        set.file
    });
    files
        .flat_map(|file| {
            let package = file.package().to_owned();
            file.service.into_iter().flat_map(move |service| {
                let name = format!("{package}.{}", service.name());
                let path = move |method: prost_types::MethodDescriptorProto| {
                    format!("/{name}/{}", method.name())
                };
                service.method.into_iter().map(path)
            })
        })
        .collect()
}

fn all_served() -> BTreeSet<String> {
    described(&[
        FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ])
}

fn entries() -> Vec<(String, Needs)> {
    let of = |(service, methods): &(&str, &[(&str, Needs)])| -> Vec<(String, Needs)> {
        let path = |(method, needs): &(&str, Needs)| (format!("/{service}/{method}"), *needs);
        methods.iter().map(path).collect()
    };
    RPCS.iter().flat_map(of).collect()
}

#[test]
fn every_rpc_has_an_entry_and_every_entry_an_rpc() {
    let listed: BTreeSet<_> = entries().into_iter().map(|(path, _)| path).collect();
    assert_eq!(entries().len(), listed.len(), "an entry stands there twice");
    let served = all_served();
    let without: Vec<_> = served.difference(&listed).collect();
    let left: Vec<_> = listed.difference(&served).collect();
    assert!(
        without.is_empty() && left.is_empty(),
        "crates/service/src/access/table.rs: without an entry {without:#?}, without an RPC {left:#?}"
    );
    for path in &served {
        assert!(table::of_rpc(path).is_some(), "{path}");
    }
    // The calls below reach all of them.
    for (service, _) in RPCS {
        let own = service.starts_with("grpc.");
        assert!(
            own || STOOD_IN_FOR.contains(service),
            "{service} is not stood in for"
        );
    }
}

#[derive(Debug, Default)]
struct Known(HashMap<ApiKeyId, ApiKey>);

impl KeyLookUp for Known {
    fn look_up<'a>(
        &'a self,
        token: &'a KeyToken,
    ) -> BoxFuture<'a, Result<Option<ApiKey>, LookUpFailed>> {
        Box::pin(ready(Ok(self.0.get(&token.id()).cloned())))
    }
}

/// The texts of four keys, and those who know them.
fn keys() -> (HashMap<Role, String>, Arc<Known>) {
    let (mut known, mut texts) = (Known::default(), HashMap::new());
    for role in Role::ALL {
        let (text, token) = KeyToken::mint().unwrap();
        let key = ApiKey {
            id: token.id(),
            name: format!("of-{role}"),
            role,
            expires_at: None,
        };
        known.0.insert(token.id(), key);
        texts.insert(role, text.expose().clone());
    }
    (texts, Arc::new(known))
}

fn config(mode: AuthMode, internal: bool) -> AuthConfig {
    AuthConfig {
        mode,
        internal_token: internal.then(|| InternalToken::new(INTERNAL).unwrap()),
        ..AuthConfig::default()
    }
}

struct Served {
    uri: String,
    _tasks: TaskGroup,
}

impl Served {
    async fn new(guard: Guard) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}", listener.local_addr().unwrap());
        let tasks = TaskGroup::new();
        let server = GrpcServer::new(FILE_DESCRIPTOR_SET).guarded(guard);
        let server = unlisted::serve(serve_all(server));
        // Reflection knows no contract of that name: it is not part of this.
        tasks.spawn("grpc", OnFailure::StopService, |stop| {
            server.serve(listener, stop)
        });
        Self { uri, _tasks: tasks }
    }

    /// Calls with `text` in the header; `None` when the call was let through.
    async fn call(&self, transport: &Transport, path: &str, text: Option<&str>) -> Option<Status> {
        let mut request = http::Request::post(path)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(text) = text {
            request = request.header("authorization", format!("Bearer {text}"));
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = transport.clone().oneshot(request).await.unwrap();
        let status = Status::from_header_map(answer.headers())?;
        let refused = [
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::Unavailable,
        ];
        Some(status).filter(|status| refused.contains(&status.code()))
    }

    fn transport(&self) -> Transport {
        remote(&self.uri).unwrap()
    }
}

#[tokio::test]
async fn every_rpc_lets_through_exactly_whom_the_table_says() {
    let (texts, known) = keys();
    let guard = Guard::of_grpc(&config(AuthMode::Keys, true), false, Some(known));
    let served = Served::new(guard).await;
    let transport = served.transport();
    let (stranger, _) = KeyToken::mint().unwrap();
    let mut calls = 0;
    for (path, needs) in entries() {
        let least = match needs {
            Needs::Open => None,
            Needs::Key(role) => Some(Some(role)),
            Needs::Internal => Some(None),
            other => panic!("{path}: {other:?} is for routes"),
        };
        let code = |status: Option<Status>| status.map(|status| status.code());
        for (name, text) in [
            ("nobody", None),
            ("stranger", Some(stranger.expose().as_str())),
        ] {
            let answered = code(served.call(&transport, &path, text).await);
            let expected = least.map(|_| Code::Unauthenticated);
            assert_eq!(answered, expected, "{name} {path}");
        }
        for role in Role::ALL {
            let answered = served.call(&transport, &path, Some(&texts[&role])).await;
            let refused = least.is_some_and(|least| least.is_none_or(|least| role < least));
            let expected = refused.then_some(Code::PermissionDenied);
            assert_eq!(
                code(answered.clone()),
                expected,
                "{role} {path}: {answered:?}"
            );
            if let Some(status) = answered {
                let held = format!("`of-{role}`");
                assert!(status.message().contains(&held), "{status:?}");
                assert!(status.details().is_empty(), "answers of ours have details");
            }
        }
        let answered = code(served.call(&transport, &path, Some(INTERNAL)).await);
        assert_eq!(answered, None, "internal {path}");
        calls += 7;
    }
    println!(
        "{} RPCs, {calls} calls judged as the table says",
        entries().len()
    );
}

#[tokio::test]
async fn an_rpc_without_an_entry_is_refused_to_every_key() {
    millrace_service::metrics::install("runtime", "1.2.3");
    let (texts, known) = keys();
    let guard = Guard::of_grpc(&config(AuthMode::Keys, true), false, Some(known));
    let served = Served::new(guard).await;
    let transport = served.transport();
    for path in [
        "/millrace.test.v1.UnlistedService/Do",
        "/millrace.runtime.v1.WorkflowRuntimeService/Unheard",
        "/millrace.runtime.v1.WorkflowRuntimeService",
        "/",
    ] {
        for role in Role::ALL {
            let status = served
                .call(&transport, path, Some(&texts[&role]))
                .await
                .unwrap();
            assert_eq!(status.code(), Code::PermissionDenied, "{path}");
            assert!(status.message().contains("No rule"), "{status:?}");
        }
        let status = served.call(&transport, path, None).await.unwrap();
        assert_eq!(status.code(), Code::Unauthenticated, "{path}");
    }
    // Those who are refused make up no names of metrics.
    let page = millrace_service::metrics::page().await.into_response();
    let page = page.into_body().collect().await.unwrap().to_bytes();
    let page = String::from_utf8_lossy(&page);
    assert!(
        page.contains(r#"method="unimplemented",code="UNAUTHENTICATED""#),
        "{page}"
    );
    let mut served = page.lines().filter(|line| line.contains("grpc_server_"));
    assert!(!served.any(|line| line.contains("Unheard")), "{page}");
}

#[tokio::test]
async fn a_role_presents_the_token_and_a_wrong_one_is_unauthenticated() {
    let (_, known) = keys();
    let guard = Guard::of_grpc(&config(AuthMode::Keys, true), false, Some(known));
    let served = Served::new(guard).await;
    let path = "/millrace.runtime.v1.AccessService/ResolveKey";
    let right = Identity::new(InternalToken::new(INTERNAL).as_ref());
    let transport = remote_as(&served.uri, &right).unwrap();
    assert!(served.call(&transport, path, None).await.is_none());
    for wrong in [&INTERNAL[..INTERNAL.len() - 1], &format!("{INTERNAL}0")] {
        let wrong = Identity::new(InternalToken::new(wrong).as_ref());
        let transport = remote_as(&served.uri, &wrong).unwrap();
        let status = served.call(&transport, path, None).await.unwrap();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    assert!(!format!("{right:?}").contains("0123"), "{right:?}");
}

#[tokio::test]
async fn without_keys_roles_that_can_know_each_other_let_nobody_else_in() {
    let path = "/millrace.engine.v1.WorkflowEngineService/Execute";
    let reads = "/millrace.runtime.v1.MonitoringService/GetSystemHealth";
    let (texts, known) = keys();
    for guard in [
        Guard::of_grpc(
            &config(AuthMode::None, true),
            false,
            Some(Arc::clone(&known) as _),
        ),
        Guard::of_grpc(&config(AuthMode::None, true), false, None),
        Guard::of_grpc(&config(AuthMode::Keys, true), false, None),
        Guard::of_grpc(&config(AuthMode::None, false), true, None),
    ] {
        let served = Served::new(guard).await;
        let transport = served.transport();
        for path in [path, reads] {
            for text in [None, Some(texts[&Role::Admin].as_str())] {
                let status = served.call(&transport, path, text).await.unwrap();
                assert_eq!(status.code(), Code::Unauthenticated);
                assert!(
                    status.message().contains("auth.internal_token"),
                    "{status:?}"
                );
            }
        }
        let health = "/grpc.health.v1.Health/Check";
        assert!(served.call(&transport, health, None).await.is_none());
    }
    // Where nothing is configured, nobody is asked.
    let open = Guard::of_grpc(&config(AuthMode::None, false), false, Some(known));
    assert!(open.is_open());
    let served = Served::new(open).await;
    let transport = served.transport();
    for path in all_served() {
        assert!(
            served.call(&transport, &path, None).await.is_none(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_verified_certificate_makes_the_caller_another_role() {
    let guard = Guard::of_grpc(&config(AuthMode::None, false), true, None);
    let seen = tower::service_fn(|request: http::Request<Body>| {
        let caller = request.extensions().get::<Caller>().cloned();
        ready(Ok::<_, Infallible>(match caller {
            Some(Caller::Internal) => http::Response::new(Body::empty()),
            other => Status::aborted(format!("{other:?}")).into_http(),
        }))
    });
    let guarded = GuardLayer(guard).layer(seen);
    for verified in [true, false] {
        let mut request = http::Request::post("/millrace.engine.v1.WorkflowEngineService/Execute");
        if verified {
            request = request.extension(VerifiedPeer);
        }
        let request = request.body(Body::empty()).unwrap();
        let answer = guarded.clone().oneshot(request).await.unwrap();
        let code = Status::from_header_map(answer.headers()).map(|status| status.code());
        assert_eq!(code, (!verified).then_some(Code::Unauthenticated));
    }
}

/// Never knows.
#[derive(Debug)]
struct Down;

impl KeyLookUp for Down {
    fn look_up<'a>(
        &'a self,
        _: &'a KeyToken,
    ) -> BoxFuture<'a, Result<Option<ApiKey>, LookUpFailed>> {
        Box::pin(ready(Err(LookUpFailed("hunter2".to_owned()))))
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_looked_up_is_unavailable() {
    let guard = Guard::of_grpc(&config(AuthMode::Keys, true), false, Some(Arc::new(Down)));
    let served = Served::new(guard).await;
    let (text, _) = KeyToken::mint().unwrap();
    let path = "/millrace.runtime.v1.WorkflowRuntimeService/ListDeployments";
    let status = served
        .call(&served.transport(), path, Some(text.expose()))
        .await
        .unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(!status.message().contains("hunter2"), "{status:?}");
}

#[tokio::test]
async fn reflection_is_for_those_with_a_key() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    let (_, known) = keys();
    let guard = Guard::of_grpc(&config(AuthMode::Keys, true), false, Some(known));
    let served = Served::new(guard).await;
    let asked = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut client = ServerReflectionClient::new(served.transport());
    let asking = client.server_reflection_info(tokio_stream::once(asked.clone()));
    let refused = tokio::time::timeout(Duration::from_secs(20), asking)
        .await
        .unwrap();
    assert_eq!(refused.unwrap_err().code(), Code::Unauthenticated);
    let internal = Identity::new(InternalToken::new(INTERNAL).as_ref());
    let mut client = ServerReflectionClient::new(remote_as(&served.uri, &internal).unwrap());
    let answers = client
        .server_reflection_info(tokio_stream::once(asked))
        .await
        .unwrap();
    let answer = answers.into_inner().message().await.unwrap();
    assert!(answer.is_some());
}

const BEGIN: &str =
    "<!-- Who may call what: made from crates/service/src/access/table.rs by `make docs`. -->\n\n";
const END: &str = "<!-- End of who may call what. -->";

#[test]
fn the_document_shows_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let begin = text.find(BEGIN).expect("the table begins") + BEGIN.len();
    let end = begin + text[begin..].find(END).expect("the table ends");
    let wanted = format!("{}\n", table::document());
    if std::env::var_os("MILLRACE_WRITE_DOCS").is_some() {
        let whole = format!("{}{wanted}{}", &text[..begin], &text[end..]);
        std::fs::write(&path, whole).unwrap();
        return;
    }
    assert!(
        text[begin..end] == wanted,
        "docs/operations.md does not fit the table: run `make docs`"
    );
}
