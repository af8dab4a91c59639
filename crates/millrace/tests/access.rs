//! Who is let in: the roles as processes of their own, with keys and an
//! internal token, over REST and gRPC.

mod support;

use std::path::Path;
use std::time::Duration;

use millrace_proto::engine::v1::GetCapabilitiesRequest;
use millrace_proto::engine::v1::workflow_engine_service_client::WorkflowEngineServiceClient;
use millrace_proto::orchestrator::v1::ListProjectsRequest;
use millrace_proto::orchestrator::v1::workload_orchestrator_service_client::WorkloadOrchestratorServiceClient;
use millrace_proto::runtime::v1::access_service_client::AccessServiceClient;
use millrace_proto::runtime::v1::admin_service_client::AdminServiceClient;
use millrace_proto::runtime::v1::workflow_runtime_service_client::WorkflowRuntimeServiceClient;
use millrace_proto::runtime::v1::{
    ListDeploymentsRequest, PauseDeploymentRequest, ResolveKeyRequest, StopSchedulerRequest,
};
use millrace_service::transport::remote;
use millrace_testkit::eventually;
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, answer, client, command, post_json};
use tempfile::TempDir;
use tonic::{Code, Request, Status};

const TOKEN: &str = "0123456789abcdef0123456789abcdef-internal";
const MODE: (&str, &str) = ("MILLRACE_AUTH__MODE", "keys");
const INTERNAL: (&str, &str) = ("MILLRACE_AUTH__INTERNAL_TOKEN", TOKEN);
const LISTEN: [&str; 3] = ["--ready-json", "--listen", "127.0.0.1:0"];

/// Runs to its end; exit code and what it said.
async fn run(arguments: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let running = command(arguments, settings).output();
    let output = tokio::time::timeout(PATIENCE, running)
        .await
        .expect("ends in time")
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code(), said)
}

/// A database, and its keys.
struct Keys {
    url: String,
    _data: TempDir,
}

impl Keys {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/m.db", data.path().display());
        let (code, said) = run(&["migrate", "--database-url", &url], &[]).await;
        assert_eq!(code, Some(0), "{said}");
        Self { url, _data: data }
    }

    async fn create(&self, role: &str) -> String {
        self.create_as(&format!("of-{role}"), role).await
    }

    async fn create_as(&self, name: &str, role: &str) -> String {
        let arguments = ["keys", "create", "--name", name, "--role", role];
        let (code, said) = run(&arguments, &[("DATABASE_URL", &self.url)]).await;
        assert_eq!(code, Some(0), "{said}");
        let is_end = |c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-';
        let text = &said[said.find("mlr_").unwrap_or_else(|| panic!("{said}"))..];
        text[..text.find(is_end).unwrap_or(text.len())].to_owned()
    }

    async fn revoke(&self, key: &str) {
        let id = format!("key_{}", key.split('_').nth(1).unwrap());
        let (code, said) = run(&["keys", "revoke", &id], &[("DATABASE_URL", &self.url)]).await;
        assert_eq!(code, Some(0), "{said}");
    }
}

/// Every role as a process.
struct Roles {
    gateway: Millrace,
    runtime: Millrace,
    engine: Millrace,
    orchestrator: Millrace,
    keys: Keys,
    data: TempDir,
}

async fn role(name: &str, settings: &[(&str, &str)]) -> Millrace {
    Millrace::start(&[&[name], &LISTEN[..]].concat(), settings).await
}

impl Roles {
    async fn start() -> Self {
        let keys = Keys::new().await;
        // Each has its own database here: files have room for one process.
        let workloads = Keys::new().await;
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().to_str().unwrap().to_owned();
        let engine = role("engine", &[MODE, INTERNAL]).await;
        let engines = engine.address("engine");
        let settings = [
            MODE,
            INTERNAL,
            ("DATABASE_URL", keys.url.as_str()),
            ("MILLRACE_RUNTIME__ENGINE", &engines),
            ("MILLRACE_LOG", "info"),
        ];
        let arguments = [&["runtime"], &LISTEN[..]].concat();
        let log = data.path().join("runtime.log");
        let runtime = Millrace::start_logging(&arguments, &settings, &log).await;
        let orchestrator = role(
            "orchestrator",
            &[
                MODE,
                INTERNAL,
                ("DATABASE_URL", &workloads.url),
                ("MILLRACE_ORCHESTRATOR__DATA_DIR", &folder),
            ],
        )
        .await;
        let gateway = gateway(
            &runtime.address("runtime"),
            &[
                INTERNAL,
                ("MILLRACE_AUTH__CACHE_TTL", "300ms"),
                (
                    "MILLRACE_GATEWAY__ORCHESTRATOR",
                    &orchestrator.address("orchestrator"),
                ),
            ],
        )
        .await;
        Self {
            gateway,
            runtime,
            engine,
            orchestrator,
            keys,
            data,
        }
    }
}

async fn gateway(runtime: &str, settings: &[(&str, &str)]) -> Millrace {
    let own = [
        MODE,
        ("MILLRACE_GATEWAY__RUNTIME", runtime),
        ("MILLRACE_GATEWAY__STOP_DELAY", "1ms"),
    ];
    role("gateway", &[&own, settings].concat()).await
}

/// Status and body, with the key if there is one.
async fn rest(gateway: &Millrace, method: &str, path: &str, key: Option<&str>) -> (u16, Value) {
    let url = gateway.url(path);
    let mut request = match method {
        "GET" => client().get(url),
        "POST" => post_json(&client(), &url, &json!({})),
        "DELETE" => client().delete(url),
        other => panic!("{other}"),
    };
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    answer(request).await
}

fn with<T>(message: T, key: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(key) = key {
        let value = format!("Bearer {key}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

fn at(role: &Millrace, name: &str) -> millrace_service::Transport {
    remote(&format!("http://{}", role.address(name))).unwrap()
}

const WORKFLOW: &str = "
document: {dsl: 1.0.3, namespace: tests, name: greet, version: 0.1.0}
do:
  - greet: {set: {said: hello}}
";

/// A key of each role.
struct Texts {
    viewer: String,
    operator: String,
    deployer: String,
    admin: String,
}

#[tokio::test]
async fn every_role_lets_in_whom_it_should_over_rest_and_grpc() {
    let roles = Roles::start().await;
    let keys = Texts {
        viewer: roles.keys.create("viewer").await,
        operator: roles.keys.create("operator").await,
        deployer: roles.keys.create("deployer").await,
        admin: roles.keys.create("admin").await,
    };
    rest_lets_in(&roles.gateway, &keys).await;
    let deployment = deployed_and_run(&roles.gateway, &keys).await;
    what_is_open_is_open(&roles.gateway, &keys).await;
    grpc_lets_in(&roles.runtime, &keys, &deployment).await;
    the_log_says_who(&roles, &keys);
    others_know_each_other(&roles, &keys).await;
}

/// Without a key, with too low a role, with the right one.
async fn rest_lets_in(gateway: &Millrace, keys: &Texts) {
    for (method, path, low, right) in [
        ("GET", "/api/executions", None, &keys.viewer),
        ("GET", "/api/projects", None, &keys.viewer),
        ("POST", "/api/events", Some(&keys.viewer), &keys.operator),
        (
            "DELETE",
            "/api/deployments/none",
            Some(&keys.operator),
            &keys.deployer,
        ),
        ("POST", "/api/projects", Some(&keys.operator), &keys.admin),
    ] {
        let (status, problem) = rest(gateway, method, path, None).await;
        assert_eq!(status, 401, "{method} {path}: {problem}");
        if let Some(low) = low {
            let (status, problem) = rest(gateway, method, path, Some(low)).await;
            assert_eq!(status, 403, "{method} {path}: {problem}");
        }
        let (status, body) = rest(gateway, method, path, Some(right)).await;
        assert!(
            ![401, 403, 503].contains(&status),
            "{method} {path}: {status} {body}"
        );
    }
    let (status, problem) = rest(gateway, "POST", "/api/events", Some(&keys.viewer)).await;
    assert_eq!(status, 403);
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("operator") && detail.contains("`of-viewer`"),
        "{detail}"
    );
    println!("REST: 401 without, 403 with too low a role ({detail}), through with the right one");
}

/// A workflow goes all the way, gateway, runtime and engine; its deployment.
async fn deployed_and_run(gateway: &Millrace, keys: &Texts) -> String {
    let deployment = json!({
        "workflow": WORKFLOW,
        "triggers": [{"type": "webhook", "path": "greet"}],
    });
    let deploy = post_json(&client(), &gateway.url("/api/deployments"), &deployment)
        .header("authorization", format!("Bearer {}", keys.deployer));
    let (status, deployed) = answer(deploy).await;
    assert_eq!(status, 201, "{deployed}");
    let id = gateway.fire("greet", &json!({})).await;
    let ended = eventually(PATIENCE, || async {
        let path = format!("/api/executions/{id}");
        let (_, execution) = rest(gateway, "GET", &path, Some(&keys.viewer)).await;
        match execution["status"].as_str() {
            Some("SUCCEEDED" | "COMPLETED") => Ok(execution),
            _ => Err(execution),
        }
    });
    ended.await;
    deployed["id"].as_str().unwrap().to_owned()
}

async fn what_is_open_is_open(gateway: &Millrace, keys: &Texts) {
    for path in ["/livez", "/readyz", "/api/openapi.json"] {
        assert_eq!(rest(gateway, "GET", path, None).await.0, 200, "{path}");
    }
    let (_, health) = rest(gateway, "GET", "/health", None).await;
    assert!(
        health["dependencies"]["database"]
            .get("latencyMs")
            .is_none(),
        "{health}"
    );
    let (_, health) = rest(gateway, "GET", "/health", Some(&keys.viewer)).await;
    assert!(
        health["dependencies"]["database"]["latencyMs"].is_number(),
        "{health}"
    );
    assert_eq!(rest(gateway, "GET", "/metrics", None).await.0, 401);
    assert_eq!(
        rest(gateway, "GET", "/metrics", Some(&keys.viewer)).await.0,
        200
    );
}

async fn grpc_lets_in(role: &Millrace, keys: &Texts, deployment: &str) {
    let mut runtime = WorkflowRuntimeServiceClient::new(at(role, "runtime"));
    let list = ListDeploymentsRequest::default;
    assert_eq!(
        code(runtime.list_deployments(list()).await),
        Code::Unauthenticated
    );
    let listed = runtime
        .list_deployments(with(list(), Some(&keys.viewer)))
        .await
        .unwrap();
    assert_eq!(listed.into_inner().deployments.len(), 1);
    let pause = || PauseDeploymentRequest {
        deployment_id: deployment.to_owned(),
    };
    let refused = runtime
        .pause_deployment(with(pause(), Some(&keys.viewer)))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    runtime
        .pause_deployment(with(pause(), Some(&keys.operator)))
        .await
        .unwrap();
    let mut scheduler = AdminServiceClient::new(at(role, "runtime"));
    let stop = StopSchedulerRequest::default;
    for (key, expected) in [
        (None, Code::Unauthenticated),
        (Some(keys.deployer.as_str()), Code::PermissionDenied),
        (Some(keys.admin.as_str()), Code::Ok),
    ] {
        assert_eq!(
            code(scheduler.stop_scheduler(with(stop(), key)).await),
            expected
        );
    }
    let mut access = AccessServiceClient::new(at(role, "runtime"));
    let resolve = || ResolveKeyRequest {
        key_id: "key_01kh3v4cq0e2h9x5y7z8w6t4s2".to_owned(),
        digest: vec![0; 32],
    };
    for (key, expected) in [
        (None, Code::Unauthenticated),
        (Some(keys.admin.as_str()), Code::PermissionDenied),
        (Some(TOKEN), Code::Ok),
    ] {
        assert_eq!(
            code(access.resolve_key(with(resolve(), key)).await),
            expected
        );
    }
    println!(
        "gRPC: UNAUTHENTICATED without, PERMISSION_DENIED with too low a role ({}), OK with the right one",
        refused.message()
    );
}

/// Whose call it was is on the lines about it; the key is on none.
fn the_log_says_who(roles: &Roles, keys: &Texts) {
    let log = std::fs::read_to_string(roles.data.path().join("runtime.log")).unwrap();
    let line = log
        .lines()
        .find(|line| line.contains(r#""key_name":"of-operator""#));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("PAUSED") && line.contains("key_01"), "{line}");
    for key in [&keys.viewer, &keys.operator, &keys.deployer, &keys.admin] {
        assert!(!log.contains(key.as_str()), "{log}");
    }
}

/// The engine knows other roles only, and the orchestrator has keys of its own.
async fn others_know_each_other(roles: &Roles, keys: &Texts) {
    let mut engine = WorkflowEngineServiceClient::new(at(&roles.engine, "engine"));
    let asked = GetCapabilitiesRequest::default;
    for key in [None, Some(keys.admin.as_str())] {
        let answer = engine.get_capabilities(with(asked(), key)).await;
        assert_eq!(code(answer), Code::Unauthenticated);
    }
    engine
        .get_capabilities(with(asked(), Some(TOKEN)))
        .await
        .unwrap();
    let transport = at(&roles.orchestrator, "orchestrator");
    let mut orchestrator = WorkloadOrchestratorServiceClient::new(transport);
    let list = ListProjectsRequest::default;
    assert_eq!(
        code(orchestrator.list_projects(list()).await),
        Code::Unauthenticated
    );
    orchestrator
        .list_projects(with(list(), Some(TOKEN)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_revoked_key_stops_and_without_a_runtime_nobody_is_let_in() {
    let Roles {
        gateway,
        runtime,
        keys,
        ..
    } = Roles::start().await;
    let viewer = keys.create("viewer").await;
    let other = keys.create_as("other", "viewer").await;
    let get = async |key: &str| rest(&gateway, "GET", "/api/executions", Some(key)).await.0;
    assert_eq!(get(&viewer).await, 200);
    keys.revoke(&viewer).await;
    eventually(Duration::from_secs(20), || async {
        match get(&viewer).await {
            401 => Ok(()),
            status => Err(status),
        }
    })
    .await;
    assert_eq!(get(&other).await, 200);

    runtime.kill().await;
    let never_seen = keys.create_as("late", "viewer").await;
    let (status, problem) = rest(&gateway, "GET", "/api/executions", Some(&never_seen)).await;
    assert_eq!(status, 503, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("cannot be checked"), "{detail}");
    // Whoever shows nothing is not looked up.
    assert_eq!(rest(&gateway, "GET", "/api/executions", None).await.0, 401);
}

#[tokio::test]
async fn a_gateway_with_another_token_lets_nobody_in_and_says_so() {
    let roles = Roles::start().await;
    let viewer = roles.keys.create("viewer").await;
    let wrong = (
        "MILLRACE_AUTH__INTERNAL_TOKEN",
        "another-0123456789abcdef0123456789abcdef",
    );
    let log = roles.data.path().join("gateway.log");
    let address = roles.runtime.address("runtime");
    let settings = [MODE, wrong, ("MILLRACE_GATEWAY__RUNTIME", address.as_str())];
    let arguments = [&["gateway"], &LISTEN[..]].concat();
    let strange = Millrace::start_logging(&arguments, &settings, &log).await;
    let (status, problem) = rest(&strange, "GET", "/api/executions", Some(&viewer)).await;
    assert_eq!(status, 503, "{problem}");
    // Webhooks are to be sent again, not given up.
    let webhook = post_json(&client(), &strange.url("/webhooks/none"), &json!({}));
    assert_eq!(answer(webhook).await.0, 503);
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("auth.internal_token"), "{said}");
    assert!(!said.contains(wrong.1) && !said.contains(&viewer), "{said}");
    assert_eq!(
        rest(&roles.gateway, "GET", "/api/executions", Some(&viewer))
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn dev_asks_for_keys_when_it_is_told_to() {
    let data = tempfile::tempdir().unwrap();
    let dev = Millrace::dev_with(data.path(), &[MODE]).await;
    let database = database_of(data.path());
    let keys = Keys {
        url: database,
        _data: tempfile::tempdir().unwrap(),
    };
    let viewer = keys.create("viewer").await;
    assert_eq!(rest(&dev, "GET", "/api/executions", None).await.0, 401);
    assert_eq!(
        rest(&dev, "GET", "/api/executions", Some(&viewer)).await.0,
        200
    );
    assert_eq!(
        rest(&dev, "GET", "/api/projects", Some(&viewer)).await.0,
        200
    );
    assert_eq!(
        rest(&dev, "POST", "/api/events", Some(&viewer)).await.0,
        403
    );
    let mut runtime = WorkflowRuntimeServiceClient::new(at(&dev, "runtime"));
    let list = ListDeploymentsRequest::default;
    assert_eq!(
        code(runtime.list_deployments(list()).await),
        Code::Unauthenticated
    );
    runtime
        .list_deployments(with(list(), Some(&viewer)))
        .await
        .unwrap();
    let transport = at(&dev, "orchestrator");
    let mut orchestrator = WorkloadOrchestratorServiceClient::new(transport);
    let list = ListProjectsRequest::default;
    assert_eq!(
        code(orchestrator.list_projects(list()).await),
        Code::Unauthenticated
    );
    orchestrator
        .list_projects(with(list(), Some(&viewer)))
        .await
        .unwrap();
}

fn database_of(data: &Path) -> String {
    format!("sqlite://{}/millrace.db", data.display())
}

#[tokio::test]
async fn no_role_is_reached_by_strangers_and_each_says_how_to_mend_it() {
    let data = tempfile::tempdir().unwrap();
    let folder = data.path().to_str().unwrap();
    for (arguments, key) in [
        (
            &["dev", "--data-dir", folder, "--listen"][..],
            "gateway.listen",
        ),
        (
            &["dev", "--data-dir", folder, "--runtime-listen"],
            "runtime.listen",
        ),
        (
            &["dev", "--data-dir", folder, "--orchestrator-listen"],
            "orchestrator.listen",
        ),
        (&["gateway", "--listen"], "gateway.listen"),
        (
            &["runtime", "--database-url", "sqlite://none.db", "--listen"],
            "runtime.listen",
        ),
        (
            &["orchestrator", "--data-dir", folder, "--listen"],
            "orchestrator.listen",
        ),
        (&["engine", "--listen"], "engine.listen"),
    ] {
        for address in ["0.0.0.0:0", "[::]:0"] {
            let (code, said) = run(&[arguments, &[address]].concat(), &[]).await;
            assert_eq!(code, Some(2), "{arguments:?}: {said}");
            assert!(
                said.starts_with(&format!("millrace: `{key}` is {address}")),
                "{said}"
            );
            let mend = if key == "engine.listen" {
                "MILLRACE_AUTH__INTERNAL_TOKEN"
            } else {
                "--auth keys"
            };
            assert!(
                said.contains(mend) && said.contains("127.0.0.1:0"),
                "{said}"
            );
        }
    }
    let (code, said) = run(&["gateway", "--listen", "0.0.0.0:0", "--auth", "keys"], &[]).await;
    assert_eq!(code, Some(2));
    assert!(said.contains("auth.internal_token"), "{said}");
    println!("{}", said.trim());
    let short = ("MILLRACE_AUTH__INTERNAL_TOKEN", "hunter2");
    let (code, said) = run(&["engine"], &[short]).await;
    assert_eq!(code, Some(2));
    assert!(
        said.contains("32 characters") && !said.contains("hunter2"),
        "{said}"
    );

    // With authentication it listens there.
    let engine = Millrace::start(
        &["engine", "--ready-json", "--listen", "0.0.0.0:0"],
        &[INTERNAL],
    )
    .await;
    assert!(engine.terminate().await.success());
}
