//! The admin endpoints over a real socket.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_service::access::{Guard, KeyLookUp, KeyToken, LookUpFailed};
use millrace_service::admin::{self, Readiness};
use millrace_service::config::{AuthConfig, AuthMode, InternalToken};
use millrace_service::{OnFailure, TaskGroup, http};
use millrace_types::{ApiKey, Role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

async fn get(at: std::net::SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: millrace\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_process_says_that_it_lives_and_whether_it_is_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let (tasks, readiness) = (TaskGroup::new(), Readiness::new());
    let router = admin::router("runtime", "1.2.3", readiness.clone());
    tasks.spawn("admin", OnFailure::StopService, |stop| {
        http::serve(listener, router, stop)
    });

    assert!(get(at, "/livez").await.starts_with("HTTP/1.1 200"));
    let starting = get(at, "/readyz").await;
    assert!(
        starting.starts_with("HTTP/1.1 503") && starting.contains("starting"),
        "{starting}"
    );
    readiness.ready();
    assert!(get(at, "/readyz").await.starts_with("HTTP/1.1 200"));
    readiness.not_ready("the database is away");
    assert!(get(at, "/readyz").await.contains("the database is away"));
    let metrics = get(at, "/metrics").await;
    assert!(
        metrics.contains("millrace_build_info{version=\"1.2.3\",role=\"runtime\"} 1"),
        "{metrics}"
    );

    tasks.stop();
    assert!(tasks.drain(Duration::from_secs(10)).await.is_empty());
}

/// Status of a PUT of a log level, as `text` of a key or token shows the caller.
async fn put(router: &axum::Router, text: Option<&str>) -> u16 {
    let mut request = axum::http::Request::put("/admin/log-level");
    if let Some(text) = text {
        request = request.header("authorization", format!("Bearer {text}"));
    }
    let request = request.body(axum::body::Body::from("{}")).unwrap();
    router
        .clone()
        .oneshot(request)
        .await
        .unwrap()
        .status()
        .as_u16()
}

/// Knows two keys.
#[derive(Debug)]
struct Known(KeyToken, KeyToken);

impl KeyLookUp for Known {
    fn look_up<'a>(
        &'a self,
        token: &'a KeyToken,
    ) -> BoxFuture<'a, Result<Option<ApiKey>, LookUpFailed>> {
        let role = match token.id() {
            id if id == self.0.id() => Some(Role::Admin),
            id if id == self.1.id() => Some(Role::Deployer),
            _ => None,
        };
        let key = role.map(|role| ApiKey {
            id: token.id(),
            name: "a key".to_owned(),
            role,
            expires_at: None,
        });
        Box::pin(std::future::ready(Ok(key)))
    }
}

#[tokio::test]
async fn where_others_reach_it_only_administrators_and_roles_change_anything() {
    let token = "0123456789abcdef0123456789abcdef";
    let config = AuthConfig {
        mode: AuthMode::Keys,
        internal_token: InternalToken::new(token),
        ..AuthConfig::default()
    };
    let (admin, deployer) = (KeyToken::mint().unwrap(), KeyToken::mint().unwrap());
    let known = Arc::new(Known(admin.1, deployer.1));
    let routes = || admin::router("runtime", "1.2.3", Readiness::new());
    let guarded = admin::guarded(routes(), Guard::of_grpc(&config, false, Some(known)));
    assert_eq!(put(&guarded, None).await, 401);
    assert_eq!(put(&guarded, Some(deployer.0.expose())).await, 403);
    // Let through, and then refused for what was sent.
    assert_eq!(put(&guarded, Some(admin.0.expose())).await, 400);
    assert_eq!(put(&guarded, Some(token)).await, 400);
    // Nothing says who may: then nobody.
    let open = admin::guarded(routes(), Guard::open());
    assert_eq!(put(&open, None).await, 403);
    for router in [guarded, open] {
        let probe = axum::http::Request::get("/livez")
            .body(axum::body::Body::empty())
            .unwrap();
        assert_eq!(router.oneshot(probe).await.unwrap().status(), 200);
    }
    assert_eq!(
        put(&routes(), None).await,
        400,
        "on this machine nobody is asked"
    );
}
