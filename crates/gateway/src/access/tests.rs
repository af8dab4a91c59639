use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use millrace_service::access::table::{ANY, Opening, ROUTES};
use millrace_service::access::{KeyLookUp, KeyToken, LookUpFailed};
use millrace_service::config::{AuthConfig, AuthMode, InternalToken};
use millrace_types::{ApiKey, ApiKeyId};
use serde_json::Value;
use tower::ServiceExt as _;

use super::*;
use crate::{GatewayConfig, router};

const INTERNAL: &str = "internal-0123456789abcdef0123456789";

/// Keys in memory.
#[derive(Debug, Default)]
struct Known(HashMap<ApiKeyId, ApiKey>);

impl KeyLookUp for Known {
    fn look_up<'a>(
        &'a self,
        token: &'a KeyToken,
    ) -> BoxFuture<'a, Result<Option<ApiKey>, LookUpFailed>> {
        Box::pin(std::future::ready(Ok(self.0.get(&token.id()).cloned())))
    }
}

/// Who calls, in these tests.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Who {
    Nobody,
    Stranger,
    Holder(Role),
    /// By the internal token, or by a certificate.
    Token,
    Certificate,
}

impl Who {
    fn all() -> impl Iterator<Item = Self> {
        let others = [Self::Nobody, Self::Stranger, Self::Token, Self::Certificate];
        Role::ALL.into_iter().map(Self::Holder).chain(others)
    }

    fn is_internal(self) -> bool {
        matches!(self, Self::Token | Self::Certificate)
    }
}

/// A gateway with keys and nothing behind it, and the texts of the keys.
struct Guarded {
    router: Router,
    keys: HashMap<Role, String>,
    stranger: String,
}

impl Guarded {
    fn new(open: bool) -> Self {
        let (mut known, mut keys) = (Known::default(), HashMap::new());
        for role in Role::ALL {
            let (text, token) = KeyToken::mint().unwrap();
            let key = ApiKey {
                id: token.id(),
                name: format!("of-{role}"),
                role,
                expires_at: None,
            };
            known.0.insert(token.id(), key);
            keys.insert(role, text.expose().clone());
        }
        let config = GatewayConfig {
            auth: AuthConfig {
                mode: AuthMode::Keys,
                internal_token: InternalToken::new(INTERNAL),
                open_metrics: open,
                open_services: open,
                open_health: open,
                ..AuthConfig::default()
            },
            keys: Some(Arc::new(known)),
            ..GatewayConfig::default()
        };
        Self {
            router: Gateway::new(config, Vec::new(), None).router(),
            keys,
            stranger: KeyToken::mint().unwrap().0.expose().clone(),
        }
    }

    async fn call(&self, who: Who, method: &str, path: &str) -> (StatusCode, HeaderMap, String) {
        let mut request = http::Request::builder().method(method).uri(path);
        let text = match who {
            Who::Nobody | Who::Certificate => None,
            Who::Stranger => Some(self.stranger.as_str()),
            Who::Holder(role) => Some(self.keys[&role].as_str()),
            Who::Token => Some(INTERNAL),
        };
        if let Some(text) = text {
            request = request.header("authorization", format!("Bearer {text}"));
        }
        if who == Who::Certificate {
            request = request.extension(VerifiedPeer);
        }
        let request = request.body(Body::empty()).unwrap();
        let (parts, body) = self
            .router
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .into_parts();
        // Streams that are let through have no end.
        let body = if parts.status.is_success() {
            String::new()
        } else {
            let bytes = body.collect().await.unwrap().to_bytes();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        (parts.status, parts.headers, body)
    }
}

/// What the table says of a call: let through, or refused with this status.
fn refused(needs: Needs, who: Who, open: bool) -> Option<StatusCode> {
    let role = match needs {
        Needs::Open | Needs::Own => return None,
        Needs::KeyUnless(Opening::Metrics | Opening::Services, _) if open => return None,
        Needs::Brief(_) if who == Who::Nobody => return None,
        Needs::Key(role) | Needs::KeyUnless(_, role) | Needs::Brief(role) => Some(role),
        Needs::Internal => None,
    };
    match who {
        Who::Nobody | Who::Stranger => Some(StatusCode::UNAUTHORIZED),
        Who::Holder(held) if role.is_none_or(|role| held < role) => Some(StatusCode::FORBIDDEN),
        _ => None,
    }
}

/// Routes without an entry, and entries without a route.
fn differences(registered: &[(&'static str, &'static str)]) -> Vec<String> {
    let routes: BTreeSet<_> = registered.iter().copied().collect();
    let entries: BTreeSet<_> = ROUTES
        .iter()
        .map(|(method, path, _)| (*method, *path))
        .collect();
    assert_eq!(entries.len(), ROUTES.len(), "an entry stands there twice");
    let without = routes
        .difference(&entries)
        .map(|(m, p)| format!("{m} {p} has no entry"));
    let left = entries
        .difference(&routes)
        .map(|(m, p)| format!("{m} {p} has no route"));
    without.chain(left).collect()
}

#[test]
fn every_route_has_an_entry_and_every_entry_a_route() {
    let (_, registered) = router::registry().finish();
    let found = differences(&registered);
    assert!(
        found.is_empty(),
        "crates/service/src/access/table.rs and crates/gateway/src/router.rs differ: {found:#?}"
    );
}

#[tokio::test]
async fn a_route_that_was_added_without_an_entry_is_found_and_refused_to_all() {
    let added = || {
        router::registry()
            .get("/api/secrets", async || "all of them")
            .delete("/api/executions", async || "gone")
    };
    let (_, registered) = added().finish();
    assert_eq!(
        differences(&registered),
        [
            "DELETE /api/executions has no entry",
            "GET /api/secrets has no entry"
        ]
    );
    let mut guarded = Guarded::new(true);
    let gateway = Gateway::new(GatewayConfig::default(), Vec::new(), None);
    // Even where nobody is asked.
    let (open, _) = added().finish();
    let open = open.layer(axum::middleware::from_fn_with_state(gateway.clone(), guard));
    guarded.router = open.with_state(gateway);
    for (method, path) in [("GET", "/api/secrets"), ("DELETE", "/api/executions")] {
        for who in Who::all() {
            let (status, _, body) = guarded.call(who, method, path).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{who:?}: {body}");
            assert!(body.contains("No rule"), "{body}");
        }
    }
    let (status, ..) = guarded.call(Who::Nobody, "GET", "/api/executions").await;
    assert_ne!(status, StatusCode::FORBIDDEN, "what has an entry is served");
}

#[tokio::test]
async fn every_route_lets_through_exactly_whom_the_table_says() {
    let mut calls = 0;
    for open in [false, true] {
        let guarded = Guarded::new(open);
        for (method, path, needs) in ROUTES {
            let methods: &[&str] = match *method {
                ANY => &["GET", "POST", "DELETE", "PROPFIND"],
                "GET" => &["GET", "HEAD"],
                _ => &[*method],
            };
            let path = path.replace("{id}", "x").replace("{*path}", "X/y/z");
            for method in methods {
                for who in Who::all() {
                    let (status, headers, body) = guarded.call(who, method, &path).await;
                    let what = format!("{who:?} {method} {path}: {status} {body}");
                    calls += 1;
                    match refused(*needs, who, open) {
                        None => assert!(
                            ![StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status),
                            "{what}"
                        ),
                        Some(expected) => {
                            assert_eq!(status, expected, "{what}");
                            assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
                            let challenged = headers.get(header::WWW_AUTHENTICATE);
                            let unknown = status == StatusCode::UNAUTHORIZED;
                            let expected = unknown.then_some("Bearer");
                            assert_eq!(challenged.map(|c| c.to_str().unwrap()), expected, "{what}");
                            if *method != "HEAD" {
                                explains(who, &body);
                            }
                        }
                    }
                }
            }
        }
    }
    println!(
        "{} routes, {calls} calls judged as the table says",
        ROUTES.len()
    );
}

/// The answer says what to do about it.
fn explains(who: Who, body: &str) {
    let problem: Value = serde_json::from_str(body).unwrap();
    let detail = problem["detail"].as_str().unwrap();
    match who {
        Who::Nobody => assert!(detail.contains("Authorization: Bearer"), "{detail}"),
        Who::Stranger => assert!(detail.contains("revoked or expired"), "{detail}"),
        Who::Holder(held) => {
            assert!(detail.contains(&format!("has the role {held}")), "{detail}");
            assert!(detail.contains(&format!("`of-{held}`")), "{detail}");
        }
        who => panic!("{who:?} was refused: {detail}"),
    }
}

#[tokio::test]
async fn what_is_not_routed_is_told_to_those_with_a_key_only() {
    let guarded = Guarded::new(false);
    for (method, path, status) in [
        ("GET", "/api/nothing", StatusCode::NOT_FOUND),
        ("PUT", "/api/deployments", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        for who in Who::all() {
            let (answered, ..) = guarded.call(who, method, path).await;
            let known = who.is_internal() || matches!(who, Who::Holder(_));
            let expected = if known {
                status
            } else {
                StatusCode::UNAUTHORIZED
            };
            assert_eq!(answered, expected, "{who:?} {method} {path}");
        }
    }
}

#[test]
fn networks_of_ipv6_count_as_one_address() {
    let of = |text: &str| counted_as(Some(text.parse().unwrap()));
    assert_eq!(of("192.0.2.1"), "address:192.0.2.1");
    assert_eq!(of("2001:db8:1:2:3:4:5:6"), "address:2001:db8:1:2::/64");
    assert_eq!(of("2001:db8:1:2::9"), of("2001:db8:1:2:3:4:5:6"));
    assert_eq!(counted_as(None), "address:unknown");
}
