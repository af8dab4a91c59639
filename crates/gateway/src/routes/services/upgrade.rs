//! Connections that go over to another protocol, such as WebSocket: from then
//! on bytes are copied both ways.

use std::convert::Infallible;

use axum::body::Body;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use millrace_service::{OnFailure, TaskGroup};
use tokio::io::copy_bidirectional;

use super::headers;

/// The caller's side of an upgrade that was asked for.
#[derive(Debug)]
pub struct Asked {
    pub protocol: HeaderValue,
    caller: OnUpgrade,
    tasks: TaskGroup,
}

impl Asked {
    /// What `request` asks for; none when its connection cannot be upgraded.
    pub fn of(request: &mut Request<Body>, tasks: Option<TaskGroup>) -> Option<Self> {
        let protocol = headers::upgrade_of(request.headers())?;
        let caller = request.extensions_mut().remove::<OnUpgrade>()?;
        Some(Self {
            protocol,
            caller,
            tasks: tasks?,
        })
    }

    /// Agrees in the name of the service, whose answer of 101 is `response`.
    pub fn agree(self, mut response: Response<Incoming>) -> Response<Body> {
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
        headers::set_upgrade(&mut parts.headers, protocol);
        Response::from_parts(parts, Body::empty())
    }
}
