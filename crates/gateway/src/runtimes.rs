//! Calls to the runtimes. Any of them can answer any call, and every call is
//! safe to repeat (executions are minted here, deploys are idempotent), so a
//! runtime that does not answer is passed over for the next one.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use millrace_proto::Failure;
use millrace_proto::runtime::v1::access_service_client::AccessServiceClient;
use millrace_proto::runtime::v1::monitoring_service_client::MonitoringServiceClient;
use millrace_proto::runtime::v1::workflow_runtime_service_client::WorkflowRuntimeServiceClient;
use millrace_service::Transport;
use millrace_types::ErrorKind;
use tokio::time::{sleep, timeout};
use tonic::{Code, Status};

use crate::GatewayConfig;
use crate::problem::Problem;

/// A client of one runtime.
pub type Client = WorkflowRuntimeServiceClient<Transport>;
/// The same for its monitoring.
pub type MonitoringClient = MonitoringServiceClient<Transport>;
/// The same for what it knows of API keys.
pub type AccessClient = AccessServiceClient<Transport>;

/// Largest answer that is read: an execution's input and output together may
/// well exceed tonic's 4 MiB.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// How long a runtime that did not answer is asked last.
const SHUNNED: Duration = Duration::from_secs(1);
/// The first pause, once every runtime has been asked; doubled each time.
const BACK_OFF: Duration = Duration::from_millis(25);
const MAX_BACK_OFF: Duration = Duration::from_millis(400);

/// Why a call has no answer.
#[derive(Debug)]
pub enum CallError {
    /// A runtime refused it; another one would, too.
    Refused(Failure),
    /// No runtime answered.
    Unreachable,
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused(failure) => failure.into(),
            // What the transport says names addresses: it is in the log.
            CallError::Unreachable => Self::new(
                ErrorKind::Unavailable,
                "The service cannot answer at present. It is safe to send the request again.",
            ),
        }
    }
}

/// All runtimes that this gateway knows.
pub struct Runtimes {
    /// Exchanged as a whole when runtimes come and go.
    members: RwLock<Members>,
    config: GatewayConfig,
    /// Where the next call begins, so that calls spread.
    turn: AtomicUsize,
    /// What [`Member::shunned_until`] counts from.
    epoch: Instant,
}

type Members = Arc<[Member]>;

struct Member {
    transport: Transport,
    /// Milliseconds since [`Runtimes::epoch`]; 0 when it answers.
    shunned_until: AtomicU64,
}

impl fmt::Debug for Runtimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtimes")
            .field("members", &self.members().len())
            .finish_non_exhaustive()
    }
}

impl Runtimes {
    pub fn new(transports: Vec<Transport>, config: GatewayConfig) -> Self {
        Self {
            members: RwLock::new(members(transports)),
            config,
            turn: AtomicUsize::new(0),
            epoch: Instant::now(),
        }
    }

    /// From now on these are asked, and no others. Calls under way go on.
    pub fn replace(&self, transports: Vec<Transport>) {
        let members = members(transports);
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = members;
    }

    fn members(&self) -> Members {
        Arc::clone(&self.members.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sends a request to one runtime after the other until one answers.
    pub async fn send<Q, T, F, Fut>(&self, request: Q, call: F) -> Result<T, CallError>
    where
        Q: Clone,
        F: Fn(Client, Q) -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.call_waiting(Duration::ZERO, |client, _| call(client, request.clone()))
            .await
    }

    /// The same for the contract of monitoring.
    pub async fn call_monitoring<T, F, Fut>(&self, call: F) -> Result<T, CallError>
    where
        F: Fn(MonitoringClient) -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.attempt(Duration::ZERO, |transport, _| {
            call(MonitoringClient::new(transport).max_decoding_message_size(MAX_ANSWER))
        })
        .await
    }

    /// The same for the contract about API keys.
    pub async fn call_access<T, F, Fut>(&self, call: F) -> Result<T, CallError>
    where
        F: Fn(AccessClient) -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.attempt(Duration::ZERO, |transport, _| {
            call(AccessClient::new(transport))
        })
        .await
    }

    /// The same for a call that the runtime answers only after up to `wait`;
    /// `call` is told how much of that is left.
    pub async fn call_waiting<T, F, Fut>(&self, wait: Duration, call: F) -> Result<T, CallError>
    where
        F: Fn(Client, Duration) -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        self.attempt(wait, |transport, left| {
            let client = Client::new(transport).max_decoding_message_size(MAX_ANSWER);
            call(client, left)
        })
        .await
    }

    async fn attempt<T, F, Fut>(&self, wait: Duration, call: F) -> Result<T, CallError>
    where
        F: Fn(Transport, Duration) -> Fut,
        Fut: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let begun = Instant::now();
        let deadline = wait + self.config.call_deadline;
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut asked = Asked::default();
        let mut pause = BACK_OFF;
        let mut members = self.members();
        let mut round = members.len();
        for attempt in 0..self.config.call_attempts {
            let attempt = attempt as usize;
            // Every runtime has been asked once: give them time, after which
            // there may be others.
            if attempt >= round && attempt > 0 {
                sleep(pause).await;
                pause = (pause * 2).min(MAX_BACK_OFF);
                let now = self.members();
                if !Arc::ptr_eq(&now, &members) {
                    asked = Asked::default();
                    round = attempt + now.len();
                    members = now;
                }
            }
            let Some(member) = self.pick(&members, start, &mut asked) else {
                break;
            };
            let spent = begun.elapsed();
            let Some(rest) = deadline.checked_sub(spent).filter(|rest| !rest.is_zero()) else {
                break;
            };
            let left = wait.saturating_sub(spent);
            let patience = (left + self.config.call_timeout).min(rest);
            match timeout(patience, call(member.transport.clone(), left)).await {
                Ok(Ok(response)) => return Ok(response.into_inner()),
                Ok(Err(status)) if !may_pass(&status) => {
                    return Err(CallError::Refused(status.into()));
                }
                Ok(Err(status)) if is_unknown_there(&status) => {
                    tracing::error!(
                        attempt,
                        error = status.message(),
                        "a runtime does not know this gateway: `auth.internal_token` has to be \
                         the same for both, or `tls.ca` to vouch for its certificate"
                    );
                }
                Ok(Err(status)) => {
                    tracing::warn!(
                        attempt,
                        code = ?status.code(),
                        error = status.message(),
                        "a runtime could not answer"
                    );
                }
                Err(_) => tracing::warn!(attempt, "a runtime did not answer within {patience:?}"),
            }
            self.shun(member);
        }
        tracing::error!("no runtime answered within {:?}", begun.elapsed());
        Err(CallError::Unreachable)
    }

    /// The runtime to ask next: one that was not asked in this round, rather
    /// one that has answered of late, and else the next in turn.
    fn pick<'a>(
        &self,
        members: &'a [Member],
        start: usize,
        asked: &mut Asked,
    ) -> Option<&'a Member> {
        let count = members.len();
        let now = self.now();
        let in_turn = || (0..count).map(|step| start.wrapping_add(step) % count);
        if in_turn().all(|index| asked.contains(index)) {
            *asked = Asked::default();
        }
        let index = in_turn().min_by_key(|index| {
            let shunned = members[*index].shunned_until.load(Ordering::Relaxed) > now;
            (asked.contains(*index), shunned)
        })?;
        asked.insert(index);
        members.get(index)
    }

    fn shun(&self, member: &Member) {
        let until = self.now() + u64::try_from(SHUNNED.as_millis()).unwrap_or(u64::MAX);
        member.shunned_until.store(until, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The ways to all runtimes.
    pub fn transports(&self) -> Vec<Transport> {
        let members = self.members();
        members
            .iter()
            .map(|member| member.transport.clone())
            .collect()
    }
}

fn members(transports: Vec<Transport>) -> Members {
    let member = |transport| Member {
        transport,
        shunned_until: AtomicU64::new(0),
    };
    transports.into_iter().map(member).collect()
}

/// Which runtimes were asked in a round of attempts. Those that are 64 apart
/// count as one, which makes rounds shorter and nothing wrong.
#[derive(Debug, Clone, Copy, Default)]
struct Asked(u64);

impl Asked {
    fn contains(self, index: usize) -> bool {
        self.0 & (1 << (index % 64)) != 0
    }

    fn insert(&mut self, index: usize) {
        self.0 |= 1 << (index % 64);
    }
}

/// Whether the next runtime might answer where this one did not: it is gone,
/// going, or was cut off. What a runtime says itself carries a detail, so that
/// its own internal errors are told from broken connections.
fn may_pass(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => true,
        Code::Internal | Code::DeadlineExceeded => status.details().is_empty(),
        _ => is_unknown_there(status),
    }
}

/// Whether the other role does not let this one in. What it says of the
/// caller's request carries a detail.
pub fn is_unknown_there(status: &Status) -> bool {
    let refused = matches!(
        status.code(),
        Code::Unauthenticated | Code::PermissionDenied
    );
    refused && status.details().is_empty()
}
