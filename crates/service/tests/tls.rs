//! TLS between roles and for the public, with certificates that are made here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Extension, Router};
use millrace_proto::FILE_DESCRIPTOR_SET;
use millrace_proto::engine::v1 as pb;
use millrace_service::access::VerifiedPeer;
use millrace_service::config::{GatewayConfig, TlsConfig};
use millrace_service::grpc::GrpcServer;
use millrace_service::http::HttpServer;
use millrace_service::peer::Peer;
use millrace_service::tls::Tls;
use millrace_service::transport::{Identity, Transport, remote_as};
use millrace_service::{OnFailure, TaskGroup, metrics};
use millrace_testkit::{Authority, replace_file};
use pb::workflow_engine_service_client::WorkflowEngineServiceClient;
use pb::workflow_engine_service_server::{WorkflowEngineService, WorkflowEngineServiceServer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::{Code, Request, Response, Status, Streaming};

const SOON: Duration = Duration::from_secs(30);

/// Files in a folder of their own.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        replace_file(self.folder.path(), name, text)
    }

    fn identity(&self, (certificate, key): &(String, String)) -> (PathBuf, PathBuf) {
        let paths = (self.put("cert.pem", certificate), self.put("key.pem", key));
        (paths.0, paths.1)
    }
}

/// What a role shows and believes.
fn role(files: &Files, identity: Option<&(String, String)>, ca: Option<&str>) -> TlsConfig {
    let (cert, key) = identity.map(|identity| files.identity(identity)).unzip();
    let ca = ca.map(|ca| files.put("ca.pem", ca));
    TlsConfig { cert, key, ca }
}

fn identity(config: &TlsConfig) -> Identity {
    Identity::default().with_tls(&Tls::of_roles(config).unwrap())
}

/// Says whether the caller's certificate was verified.
struct WhoCalls;

#[tonic::async_trait]
impl WorkflowEngineService for WhoCalls {
    async fn validate(
        &self,
        _: Request<pb::ValidateRequest>,
    ) -> Result<Response<pb::ValidateResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    type ExecuteStream = tokio_stream::Empty<Result<pb::ExecuteResponse, Status>>;

    async fn execute(
        &self,
        _: Request<Streaming<pb::ExecuteRequest>>,
    ) -> Result<Response<Self::ExecuteStream>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn get_capabilities(
        &self,
        request: Request<pb::GetCapabilitiesRequest>,
    ) -> Result<Response<pb::GetCapabilitiesResponse>, Status> {
        let verified = request.extensions().get::<VerifiedPeer>().is_some();
        Ok(Response::new(pb::GetCapabilitiesResponse {
            engine: if verified { "verified" } else { "unknown" }.to_owned(),
            ..Default::default()
        }))
    }
}

async fn serve_grpc(tls: &Tls, tasks: &TaskGroup) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let server = GrpcServer::new(FILE_DESCRIPTOR_SET)
        .tls(tls)
        .service(WorkflowEngineServiceServer::new(WhoCalls));
    tasks.spawn("grpc", OnFailure::StopService, |stop| {
        server.serve(listener, stop)
    });
    at
}

/// What the server says of its caller.
async fn asked(transport: Transport) -> Result<String, Status> {
    let mut client = WorkflowEngineServiceClient::new(transport);
    let call = client.get_capabilities(pb::GetCapabilitiesRequest {});
    let answer = timeout(SOON, call).await.expect("an answer")?;
    Ok(answer.into_inner().engine)
}

#[tokio::test]
async fn roles_know_each_other_by_certificates() {
    let (ours, other) = (Authority::new(), Authority::new());
    let tasks = TaskGroup::new();
    let (a, b, c, d) = (Files::new(), Files::new(), Files::new(), Files::new());
    let names = ["localhost", "127.0.0.1"];
    let server = role(&a, Some(&ours.issue(&names)), Some(&ours.pem));
    let at = serve_grpc(&Tls::of_roles(&server).unwrap(), &tasks).await;
    let call = async |config: &TlsConfig, host: &str| {
        let uri = format!("https://{host}:{}", at.port());
        asked(remote_as(&uri, &identity(config)).unwrap()).await
    };

    let peer = role(&b, Some(&ours.issue(&["peer"])), Some(&ours.pem));
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(call(&peer, host).await.unwrap(), "verified");
    }
    // Who has an API key has no certificate.
    let keyed = role(&c, None, Some(&ours.pem));
    assert_eq!(call(&keyed, "localhost").await.unwrap(), "unknown");
    // Of another authority, it is as good as a forged one.
    let forged = role(&d, Some(&other.issue(&["peer"])), Some(&ours.pem));
    let refused = call(&forged, "localhost").await.unwrap_err();
    assert_ne!(refused.code(), Code::Ok, "{refused:?}");
    // And it is no other server that one wants to talk to.
    let trusting = role(&d, None, Some(&other.pem));
    let refused = call(&trusting, "localhost").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    assert!(
        refused.message().contains("not to be trusted"),
        "{refused:?}"
    );

    // Found by address, it still has to be what it is called.
    let peer = identity(&peer);
    let found = |name: &str| {
        let uri = format!("https://{name}:{}", at.port());
        let named = Peer::parse(&uri).unwrap().called_as(&peer);
        asked(named.at(at).unwrap())
    };
    assert_eq!(found("localhost").await.unwrap(), "verified");
    let refused = found("runtime").await.unwrap_err();
    assert!(
        refused.message().contains("not to be trusted"),
        "{refused:?}"
    );

    // In plain there is nothing to hear.
    let plain = remote_as(&format!("http://{at}"), &Identity::default()).unwrap();
    asked(plain).await.unwrap_err();
    assert!(remote_as(&format!("https://{at}"), &Identity::default()).is_err());
    tasks.stop();
    assert!(tasks.drain(SOON).await.is_empty());
}

#[tokio::test]
async fn what_is_slow_to_shake_hands_holds_nobody_up() {
    let ours = Authority::new();
    let (a, b) = (Files::new(), Files::new());
    let tasks = TaskGroup::new();
    let server = role(&a, Some(&ours.issue(&["localhost"])), Some(&ours.pem));
    let at = serve_grpc(&Tls::of_roles(&server).unwrap(), &tasks).await;
    let _silent = TcpStream::connect(at).await.unwrap();
    let peer = role(&b, None, Some(&ours.pem));
    let uri = format!("https://localhost:{}", at.port());
    let said = asked(remote_as(&uri, &identity(&peer)).unwrap()).await;
    assert_eq!(said.unwrap(), "unknown");
    tasks.stop();
    assert!(tasks.drain(SOON).await.is_empty());
}

/// Waits until the page of metrics has `line`.
async fn counted(line: &str) {
    let counting = async {
        while !metrics::text().contains(line) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let counted = timeout(SOON, counting).await;
    assert!(counted.is_ok(), "{line} is missing:\n{}", metrics::text());
}

#[tokio::test]
async fn replaced_files_are_used_and_broken_ones_are_not() {
    metrics::install("test", "0");
    let (old, new) = (Authority::new(), Authority::new());
    let (server, client) = (Files::new(), Files::new());
    let tasks = TaskGroup::new();
    let config = role(&server, Some(&old.issue(&["localhost"])), None);
    let tls = Tls::of_roles(&config).unwrap();
    let followed = tls.clone();
    tasks.spawn("tls", OnFailure::StopService, |stop| followed.follow(stop));
    let at = serve_grpc(&tls, &tasks).await;
    let uri = format!("https://localhost:{}", at.port());
    let trusts = |authority: &Authority| {
        let config = role(&client, None, Some(&authority.pem));
        remote_as(&uri, &identity(&config)).unwrap()
    };
    let kept = trusts(&old);
    asked(kept.clone()).await.unwrap();
    asked(trusts(&new)).await.unwrap_err();
    counted("millrace_tls_certificate_expiry_timestamp_seconds{certificate=\"tls.cert\"}").await;

    server.put("cert.pem", "no longer a certificate");
    counted("millrace_tls_reloads_total{certificate=\"tls.cert\",outcome=\"failed\"} 1").await;
    asked(trusts(&old)).await.unwrap();

    server.identity(&new.issue(&["localhost"]));
    counted("millrace_tls_reloads_total{certificate=\"tls.cert\",outcome=\"read\"} 1").await;
    asked(trusts(&new)).await.unwrap();
    asked(trusts(&old)).await.unwrap_err();
    asked(kept).await.expect("what is open stays open");
    tasks.stop();
    assert!(tasks.drain(SOON).await.is_empty());
}

#[test]
fn files_that_cannot_be_used_are_named_with_the_reason() {
    let authority = Authority::new();
    let (good, other) = (authority.issue(&["a"]), authority.issue(&["b"]));
    let files = Files::new();
    let said = |config: &TlsConfig| Tls::of_roles(config).unwrap_err().to_string();
    let config = role(&files, Some(&good), Some(&authority.pem));
    Tls::of_roles(&config).unwrap();

    let has = |config: &TlsConfig, parts: &[&str]| {
        let text = said(config);
        for part in parts {
            assert!(text.contains(part), "`{part}` is not in: {text}");
        }
    };
    files.put("key.pem", &other.1);
    has(
        &config,
        &["`tls.key`", "key.pem", "does not belong", "cert.pem"],
    );
    files.put(
        "key.pem",
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
    );
    has(&config, &["`tls.key`", "encrypted"]);
    files.put("key.pem", &good.0);
    has(&config, &["`tls.key`", "no private key"]);
    files.put("key.pem", &good.1);
    files.put("cert.pem", "hello");
    has(&config, &["`tls.cert`", "cert.pem", "no certificate"]);
    files.put(
        "cert.pem",
        "-----BEGIN CERTIFICATE-----\n****\n-----END CERTIFICATE-----\n",
    );
    has(&config, &["`tls.cert`", "broken PEM"]);
    files.put("cert.pem", &good.0);
    files.put("ca.pem", &good.1);
    has(&config, &["`tls.ca`", "ca.pem", "no certificate"]);
    std::fs::remove_file(files.path("ca.pem")).unwrap();
    has(&config, &["`tls.ca`", "cannot be read", "No such file"]);

    let half = TlsConfig {
        key: None,
        ..config.clone()
    };
    has(&half, &["`tls.cert` is set and `tls.key` is not"]);
    files.put("ca.pem", &authority.pem);
    let alone = TlsConfig {
        cert: None,
        key: None,
        ..config
    };
    let refused = Tls::of_roles(&alone).unwrap().for_listener().unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("`tls.ca` is set and `tls.cert` is not")
    );
}

/// An answer of `GET /` over TLS, and what was agreed to be spoken.
async fn https(at: SocketAddr, ca: &Path, offers: &[&[u8]]) -> (String, Option<Vec<u8>>) {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = offers.iter().map(|offer| offer.to_vec()).collect();
    let tcp = TcpStream::connect(at).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp);
    let mut stream = timeout(SOON, connecting).await.unwrap().unwrap();
    let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    if agreed.as_deref() == Some(b"h2") {
        return (String::new(), agreed);
    }
    let request = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    (answer, agreed)
}

#[tokio::test]
async fn the_public_listener_speaks_https() {
    let authority = Authority::new();
    let files = Files::new();
    let (cert, key) = files.identity(&authority.issue(&["localhost"]));
    let ca = files.put("ca.pem", &authority.pem);
    let config = GatewayConfig {
        tls_cert: Some(cert),
        tls_key: Some(key),
        ..GatewayConfig::default()
    };
    let tls = Tls::of_gateway(&config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let hello = |Extension(scheme): Extension<http::uri::Scheme>| async move {
        // As callers are told who ask how they came.
        format!("hello over {scheme}")
    };
    let router = Router::new().route("/", get(hello));
    let tasks = TaskGroup::new();
    let server = HttpServer::new("test")
        .tls(tls)
        .header_timeout(Duration::from_millis(500));
    tasks.spawn("https", OnFailure::StopService, |stop| {
        server.serve(listener, router, stop)
    });

    // One that does not shake hands is cut, and holds nobody up.
    let mut silent = TcpStream::connect(at).await.unwrap();
    let (answer, agreed) = https(at, &ca, &[b"http/1.1"]).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello over https"),
        "{answer}"
    );
    assert_eq!(agreed.as_deref(), Some(&b"http/1.1"[..]));
    let (answer, agreed) = https(at, &ca, &[]).await;
    assert!(
        answer.ends_with("hello over https") && agreed.is_none(),
        "{answer}"
    );
    let (_, agreed) = https(at, &ca, &[b"h2", b"http/1.1"]).await;
    assert_eq!(agreed.as_deref(), Some(&b"h2"[..]));
    let mut nothing = Vec::new();
    timeout(SOON, silent.read_to_end(&mut nothing))
        .await
        .unwrap()
        .unwrap();
    assert!(nothing.is_empty());
    tasks.stop();
    assert!(tasks.drain(SOON).await.is_empty());
}
