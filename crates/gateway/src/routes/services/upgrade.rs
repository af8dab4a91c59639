//! Connections that go over to another protocol, such as WebSocket: from then
//! on bytes are copied both ways. Over HTTP/2 a caller asks for it with an
//! extended CONNECT (RFC 8441), and one stream of its connection goes over;
//! the service is asked in the words of HTTP/1.1 all the same.

use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use millrace_service::{OnFailure, TaskGroup};
use tokio::io::copy_bidirectional;

use super::headers;

/// The caller's side of an upgrade that was asked for.
#[derive(Debug)]
pub struct Asked {
    protocol: HeaderValue,
    caller: OnUpgrade,
    tasks: TaskGroup,
    over_http2: bool,
}

impl Asked {
    /// What `request` asks for; none when its connection cannot be upgraded.
    pub fn of(request: &mut Request<Body>, tasks: Option<TaskGroup>) -> Option<Self> {
        let over_http2 = request.extensions().get::<Protocol>();
        let protocol = match over_http2 {
            Some(protocol) => HeaderValue::from_str(protocol.as_str()).ok()?,
            None => headers::upgrade_of(request.headers())?,
        };
        let over_http2 = over_http2.is_some();
        let caller = request.extensions_mut().remove::<OnUpgrade>()?;
        Some(Self {
            protocol,
            caller,
            tasks: tasks?,
            over_http2,
        })
    }

    /// Makes the request to the service ask for the same.
    pub fn ask(&self, method: &mut Method, headers: &mut HeaderMap) {
        headers::set_upgrade(headers, self.protocol.clone());
        if self.over_http2 {
            *method = Method::GET;
            // There is none over HTTP/2; it has to be another one each time.
            let half = || RandomState::new().hash_one(&self.protocol).to_le_bytes();
            let key = STANDARD.encode([half(), half()].concat());
            if let Ok(key) = HeaderValue::from_str(&key) {
                headers.insert(SEC_WEBSOCKET_KEY, key);
            }
        }
    }

    /// Agrees in the name of the service, whose answer of 101 is `response`.
    pub fn agree(self, mut response: Response<Incoming>) -> Response<Body> {
        let over_http2 = self.over_http2;
        let protocol = headers::upgrade_of(response.headers()).unwrap_or(self.protocol);
        let service = hyper::upgrade::on(&mut response);
        let caller = self.caller;
        // It lives as long as the listener that the caller came through.
        self.tasks
            .spawn("upgraded-connection", OnFailure::Log, |stop| async move {
                let copy = async {
                    let (caller, service) = tokio::try_join!(caller, service)?;
                    let (mut caller, mut service) = (TokioIo::new(caller), TokioIo::new(service));
                    Ok::<_, Box<dyn std::error::Error + Send + Sync>>(
                        copy_bidirectional(&mut caller, &mut service).await?,
                    )
                };
                tokio::select! {
                    ended = copy => if let Err(error) = ended {
                        // Either side may go whenever it likes.
                        tracing::debug!(%error, "an upgraded connection broke off");
                    },
                    () = stop.cancelled() => {}
                }
                Ok::<_, Infallible>(())
            });
        let (mut parts, _) = response.into_parts();
        headers::remove_hop_by_hop(&mut parts.headers);
        if over_http2 {
            parts.status = StatusCode::OK;
            parts.version = Version::HTTP_2;
            // It is the answer to a key that the caller did not send.
            parts.headers.remove(SEC_WEBSOCKET_ACCEPT);
        } else {
            headers::set_upgrade(&mut parts.headers, protocol);
        }
        Response::from_parts(parts, Body::empty())
    }
}
