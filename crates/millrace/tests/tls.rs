//! All roles as processes of their own, which know each other by certificates,
//! and a gateway that speaks HTTPS.

mod support;

use std::path::Path;

use millrace_proto::engine::v1::GetCapabilitiesRequest;
use millrace_proto::engine::v1::workflow_engine_service_client::WorkflowEngineServiceClient;
use millrace_service::config::TlsConfig;
use millrace_service::tls::Tls;
use millrace_service::transport::{Identity, remote_as};
use millrace_testkit::{Authority, eventually, replace_file};
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, answer, command, post_json};
use tempfile::TempDir;
use tonic::{Code, Status};

const WORKFLOW: &str = "\
document: {dsl: 1.0.3, namespace: test, name: sums, version: 1.0.0}
do:
- sum:
    set: {sum: '${ .a + .b }'}
";

/// `NAME.crt` and `NAME.key` in `folder`, for this machine.
fn issue(authority: &Authority, folder: &Path, name: &str) {
    let (certificate, key) = authority.issue(&["localhost", "127.0.0.1"]);
    replace_file(folder, &format!("{name}.crt"), &certificate);
    replace_file(folder, &format!("{name}.key"), &key);
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

/// A client that believes `authority` alone.
fn trusting(authority: &Authority) -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = reqwest::Certificate::from_pem(authority.pem.as_bytes()).unwrap();
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .tls_certs_only([root])
        .build()
        .unwrap()
}

struct Cluster {
    gateway: Millrace,
    /// Its admin listener.
    admin: String,
    engine: Millrace,
    _others: [Millrace; 2],
    /// Certificates and databases.
    folder: TempDir,
    authority: Authority,
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        replace_file(folder.path(), "ca.crt", &authority.pem);
        let of = |role: &str| {
            issue(&authority, folder.path(), role);
            [
                path(folder.path(), &format!("{role}.crt")),
                path(folder.path(), &format!("{role}.key")),
                path(folder.path(), "ca.crt"),
            ]
        };
        let listen = ["--ready-json", "--listen", "127.0.0.1:0"];
        let start = async |role: &str, more: &[(&str, &str)]| {
            let [cert, key, ca] = of(role);
            let mut settings = vec![
                ("MILLRACE_TLS__CERT", cert.as_str()),
                ("MILLRACE_TLS__KEY", key.as_str()),
                ("MILLRACE_TLS__CA", ca.as_str()),
            ];
            settings.extend_from_slice(more);
            Millrace::start(&[&[role], &listen[..]].concat(), &settings).await
        };
        let database = |name: &str| format!("sqlite://{}/m.db", folder.path().join(name).display());
        for name in ["runtime", "orchestrator"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            let url = database(name);
            let migrated = command(&["migrate"], &[("DATABASE_URL", &url)]).output();
            let migrated = migrated.await.unwrap();
            assert!(migrated.status.success(), "{migrated:?}");
        }

        let engine = start("engine", &[]).await;
        let engines = format!("https://{}", engine.address("engine"));
        let runtime_database = database("runtime");
        let settings = [
            ("DATABASE_URL", runtime_database.as_str()),
            ("MILLRACE_RUNTIME__ENGINE", engines.as_str()),
        ];
        let runtime = start("runtime", &settings).await;
        let orchestrator_database = database("orchestrator");
        let data = path(folder.path(), "data");
        let settings = [
            ("DATABASE_URL", orchestrator_database.as_str()),
            ("MILLRACE_ORCHESTRATOR__DATA_DIR", data.as_str()),
        ];
        let orchestrator = start("orchestrator", &settings).await;

        // By name, which has to be looked up, and which they have to prove.
        let by_name = |role: &Millrace, of: &str| {
            let address = role.address(of);
            format!("https://localhost:{}", address.rsplit(':').next().unwrap())
        };
        issue(&authority, folder.path(), "public");
        let (public, secret) = (
            path(folder.path(), "public.crt"),
            path(folder.path(), "public.key"),
        );
        let runtimes = by_name(&runtime, "runtime");
        let orchestrators = by_name(&orchestrator, "orchestrator");
        let admin = format!("127.0.0.1:{}", millrace_testkit::free_port());
        let settings = [
            ("MILLRACE_GATEWAY__RUNTIME", runtimes.as_str()),
            ("MILLRACE_GATEWAY__ORCHESTRATOR", orchestrators.as_str()),
            ("MILLRACE_GATEWAY__STOP_DELAY", "1ms"),
            ("MILLRACE_GATEWAY__ADMIN_LISTEN", admin.as_str()),
            ("MILLRACE_GATEWAY__TLS_CERT", public.as_str()),
            ("MILLRACE_GATEWAY__TLS_KEY", secret.as_str()),
        ];
        let gateway = start("gateway", &settings).await;
        Self {
            gateway,
            admin,
            engine,
            _others: [runtime, orchestrator],
            folder,
            authority,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.gateway.address("http"))
    }

    /// Until the gateway has counted so.
    async fn counted(&self, line: &str) {
        let client = support::client();
        let url = format!("http://{}/metrics", self.admin);
        eventually(PATIENCE, || async {
            let (_, page) = answer(client.get(&url)).await;
            let page = page.as_str().unwrap_or_default().to_owned();
            if page.contains(line) {
                Ok(())
            } else {
                Err(page)
            }
        })
        .await;
    }

    /// What the engine answers to one that shows `identity`.
    async fn ask_engine(&self, identity: Option<(&str, &str)>) -> Result<(), Status> {
        let in_folder = |name: &str| self.folder.path().join(name);
        let config = TlsConfig {
            cert: identity.map(|(cert, _)| in_folder(cert)),
            key: identity.map(|(_, key)| in_folder(key)),
            ca: Some(in_folder("ca.crt")),
        };
        let identity = Identity::default().with_tls(&Tls::of_roles(&config).unwrap());
        let uri = format!("https://{}", self.engine.address("engine"));
        let mut engine = WorkflowEngineServiceClient::new(remote_as(&uri, &identity).unwrap());
        let call = engine.get_capabilities(GetCapabilitiesRequest {});
        let answer = tokio::time::timeout(PATIENCE, call)
            .await
            .expect("an answer");
        answer.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_that_know_each_other_by_certificates_run_a_workflow() {
    let cluster = Cluster::start().await;
    let client = trusting(&cluster.authority);
    let deployment = json!({
        "workflow": WORKFLOW,
        "triggers": [{"type": "webhook", "path": "sums"}],
    });
    let deploy = || async {
        // The runtime waits for its engine, and the gateway looks it up.
        let request = post_json(&client, &cluster.url("/api/deployments"), &deployment);
        match answer(request).await {
            (200 | 201, _) => Ok(()),
            other => Err(other),
        }
    };
    eventually(PATIENCE, deploy).await;
    let request = post_json(
        &client,
        &cluster.url("/webhooks/sums"),
        &json!({"a": 1, "b": 2}),
    );
    let (status, accepted) = answer(request).await;
    assert_eq!(status, 202, "{accepted:#}");
    let id = accepted["executionId"].as_str().unwrap();
    let ended: Value = eventually(PATIENCE, || async {
        let url = cluster.url(&format!("/api/executions/{id}"));
        let (_, execution) = answer(client.get(url)).await;
        match execution["status"].as_str() {
            Some("SUCCEEDED") => Ok(execution),
            _ => Err(execution),
        }
    })
    .await;
    assert_eq!(ended["output"]["sum"], 3, "{ended:#}");
    // The orchestrator answers, too.
    let (status, projects) = answer(client.get(cluster.url("/api/projects"))).await;
    assert_eq!(status, 200, "{projects:#}");

    // Others are not let in: those without a certificate, those with one of
    // somebody else, and those who speak in plain.
    cluster
        .ask_engine(Some(("gateway.crt", "gateway.key")))
        .await
        .unwrap();
    let refused = cluster.ask_engine(None).await.unwrap_err();
    assert!(
        matches!(
            refused.code(),
            Code::Unauthenticated | Code::PermissionDenied
        ),
        "{refused:?}"
    );
    issue(&Authority::new(), cluster.folder.path(), "stranger");
    let stranger = Some(("stranger.crt", "stranger.key"));
    let refused = cluster.ask_engine(stranger).await.unwrap_err();
    // What the engine thinks of it arrives after the handshake, if at all.
    assert!(
        matches!(
            refused.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled
        ),
        "{refused:?}"
    );
    let uri = format!("http://{}", cluster.engine.address("engine"));
    let plain = remote_as(&uri, &Identity::default()).unwrap();
    let mut plain = WorkflowEngineServiceClient::new(plain);
    plain
        .get_capabilities(GetCapabilitiesRequest {})
        .await
        .unwrap_err();
    let plain = cluster.url("/livez").replacen("https", "http", 1);
    client.get(plain).send().await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_replaced_while_the_gateway_runs() {
    let cluster = Cluster::start().await;
    let live = cluster.url("/livez");
    let old = trusting(&cluster.authority);
    assert_eq!(answer(old.get(&live)).await.0, 200);

    replace_file(cluster.folder.path(), "public.key", "no longer a key");
    let certificate = "certificate=\"gateway.tls_cert\"";
    let read = "millrace_tls_reloads_total";
    cluster
        .counted(&format!("{read}{{{certificate},outcome=\"failed\"}} 1"))
        .await;
    let unhurt = trusting(&cluster.authority);
    assert_eq!(answer(unhurt.get(&live)).await.0, 200);

    let other = Authority::new();
    issue(&other, cluster.folder.path(), "public");
    cluster
        .counted(&format!("{read}{{{certificate},outcome=\"read\"}} 1"))
        .await;
    assert_eq!(answer(trusting(&other).get(&live)).await.0, 200);
    trusting(&cluster.authority)
        .get(&live)
        .send()
        .await
        .unwrap_err();
    assert_eq!(answer(old.get(&live)).await.0, 200, "it stays open");
    assert!(cluster.gateway.terminate().await.success());
}

#[tokio::test]
async fn certificates_that_cannot_be_used_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    issue(&Authority::new(), folder.path(), "one");
    issue(&Authority::new(), folder.path(), "two");
    let (cert, key) = (
        path(folder.path(), "one.crt"),
        path(folder.path(), "two.key"),
    );
    for (settings, parts) in [
        (
            vec![("MILLRACE_TLS__CERT", &cert), ("MILLRACE_TLS__KEY", &key)],
            ["`tls.key`", "two.key", "does not belong"],
        ),
        (
            vec![("MILLRACE_TLS__CA", &cert)],
            ["`tls.ca` is set", "`tls.cert` is not", "together"],
        ),
        (
            vec![("MILLRACE_TLS__CERT", &cert)],
            ["`tls.cert` is set", "`tls.key` is not", "together"],
        ),
    ] {
        let settings: Vec<_> = settings.into_iter().map(|(k, v)| (k, v.as_str())).collect();
        let engine = command(&["engine", "--listen", "127.0.0.1:0"], &settings).output();
        let ended = tokio::time::timeout(PATIENCE, engine)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        let said = String::from_utf8(ended.stderr).unwrap();
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
    }
}
