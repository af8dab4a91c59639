//! Where services are now. Asked of the orchestrator, and believed for a
//! moment: shorter than an instance that was replaced goes on serving.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use millrace_proto::orchestrator::v1::ResolveServiceRequest;

use super::address::Address;
use super::forward::Upstream;
use crate::Gateway;
use crate::problem::Problem;

/// How long an answer is believed.
const BELIEVED: Duration = Duration::from_millis(200);
/// Services that are remembered; those asked for on top are asked for anew.
const MAX_KNOWN: usize = 10_000;

/// One instance of a service, with the connections to it: they are closed
/// when nothing refers to it any more, so that one that was replaced is let go.
#[derive(Debug)]
pub struct Endpoint {
    /// `host:port`
    pub authority: String,
    instance: String,
    pub upstream: Upstream,
}

impl Endpoint {
    fn is(&self, authority: &str, instance: &str) -> bool {
        self.authority == authority && self.instance == instance
    }
}

/// What was answered of late.
#[derive(Debug, Default)]
pub struct Endpoints(Mutex<HashMap<(String, String), Known>>);

#[derive(Debug, Clone)]
struct Known {
    endpoint: Arc<Endpoint>,
    since: Instant,
}

impl Endpoints {
    /// Where to go; a problem of 404 or 503 when there is nowhere. `not` is
    /// what did not answer just now, and is not taken from memory.
    pub async fn resolve(
        &self,
        gateway: &Gateway,
        address: &Address,
        not: Option<&Endpoint>,
    ) -> Result<Arc<Endpoint>, Problem> {
        let key = (address.project_key.clone(), address.service.clone());
        if let Some(known) = self.lock().get(&key)
            && known.since.elapsed() < BELIEVED
            && not.is_none_or(|not| !std::ptr::eq(not, Arc::as_ptr(&known.endpoint)))
        {
            return Ok(Arc::clone(&known.endpoint));
        }
        let asked = Instant::now();
        let request = ResolveServiceRequest {
            project_key: key.0.clone(),
            service: key.1.clone(),
        };
        let answer = gateway
            .read(request, |mut client, request| async move {
                client.resolve_service(request).await
            })
            .await;
        let endpoint = match answer {
            Ok(answer) => answer.endpoint.ok_or_else(|| {
                let stage = answer.stage;
                Problem::not_ready(
                    format!("`{}` is not ready: it is {stage}.", address.service),
                    Duration::from_millis(answer.retry_after_ms.into()),
                )
            }),
            Err(error) => Err(error.into()),
        };
        let mut known = self.lock();
        let endpoint = match endpoint {
            Ok(endpoint) => {
                let authority = authority(&endpoint.host, endpoint.port);
                match known.get(&key) {
                    Some(known) if known.endpoint.is(&authority, &endpoint.instance_id) => {
                        Arc::clone(&known.endpoint)
                    }
                    _ => Arc::new(Endpoint {
                        authority,
                        instance: endpoint.instance_id,
                        upstream: Upstream::new(),
                    }),
                }
            }
            Err(problem) => {
                known.remove(&key);
                return Err(problem);
            }
        };
        if known.len() >= MAX_KNOWN {
            known.retain(|_, known| known.since.elapsed() < BELIEVED);
        }
        let is_newer = known.get(&key).is_none_or(|known| known.since <= asked);
        if is_newer && (known.len() < MAX_KNOWN || known.contains_key(&key)) {
            let endpoint = Arc::clone(&endpoint);
            // Of when it was asked: the answer may have been on its way for long.
            let since = asked;
            known.insert(key, Known { endpoint, since });
        }
        Ok(endpoint)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Known>> {
        // Entries are put in and taken out as wholes.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn authority(host: &str, port: u32) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
