//! The engines that this runtime hands executions to.
//!
//! Work goes to the engine that runs least of it, among those that say that
//! they take work. How they are is asked by the standard health service
//! ([`follow`]), and learnt from each conversation: an engine that drops one
//! gets no work until it has answered again. An engine in this process is
//! always there.

mod conversation;
mod follow;
mod member;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_proto::engine::v1::{
    ExecuteRequest, GetCapabilitiesRequest, ValidateRequest, ValidateResponse,
};
use millrace_service::Transport;
use millrace_service::peer::Peer;
use millrace_service::transport::{Identity, InvalidAddress};
use tokio::sync::watch;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

pub(crate) use conversation::{Conversation, EngineError};
pub(crate) use follow::follow;

use member::{Member, Seen, Turn, reason};

/// A definition and its payloads travel in one message: 64 MiB leave room
/// for a 1 MiB document with the largest frames.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// How long a deploy waits for an engine, when there is none: long enough for
/// one that starts at the same time, or takes over from another.
const PATIENCE: Duration = Duration::from_secs(2);

/// One or several engines behind the engine contract.
#[derive(Debug)]
pub struct EngineClient {
    /// Where to look for engines; empty for one in this process.
    places: Vec<Peer>,
    members: RwLock<Vec<Arc<Member>>>,
    next: AtomicUsize,
    /// Whether any of them takes work.
    ready: watch::Sender<bool>,
}

impl EngineClient {
    /// The engine in this process.
    pub fn embedded(engine: Transport) -> Self {
        Self {
            places: Vec::new(),
            members: RwLock::new(vec![Arc::new(Member::embedded(engine))]),
            next: AtomicUsize::new(0),
            ready: watch::Sender::new(true),
        }
    }

    /// Engines elsewhere, at `http://host:port` each; a name may stand for
    /// several, which come and go. They are called as `identity`, and are known
    /// once they are followed, which a runtime does.
    pub fn remote<'a>(
        addresses: impl IntoIterator<Item = &'a str>,
        identity: &Identity,
    ) -> Result<Self, InvalidAddress> {
        let place = |address| Peer::parse(address).map(|peer| peer.called_as(identity));
        Ok(Self {
            places: addresses.into_iter().map(place).collect::<Result<_, _>>()?,
            members: RwLock::default(),
            next: AtomicUsize::new(0),
            ready: watch::Sender::new(false),
        })
    }

    /// Whether there is an engine that takes work.
    pub(crate) fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Returns once there is an engine that takes work.
    pub(crate) async fn ready(&self) {
        // The sender lives as long as this does.
        let _ = self.ready.subscribe().wait_for(|ready| *ready).await;
    }

    /// Opens a conversation about one execution, with the engine that has the
    /// fewest of those that take work.
    // Boxed: the compiler cannot prove the future of a client over a boxed
    // transport `Send` for every lifetime that a caller may hold across it.
    pub(crate) fn execute(
        self: &Arc<Self>,
        requests: Request<ReceiverStream<ExecuteRequest>>,
    ) -> BoxFuture<'static, Result<Conversation, EngineError>> {
        let client = Arc::clone(self);
        let turn = self.pick();
        Box::pin(async move {
            let Some(turn) = turn else {
                return Err(EngineError::gone(client.none().message(), false));
            };
            Conversation::open(client, turn, requests).await
        })
    }

    /// Checks a document; the next engine is asked when one cannot be
    /// reached.
    pub(crate) async fn validate(&self, document: &str) -> Result<ValidateResponse, Status> {
        let _ = tokio::time::timeout(PATIENCE, self.ready()).await;
        // Each that cannot be reached is passed over from then on.
        for _ in 0..self.count() {
            let Some(turn) = self.pick() else { break };
            match validate_at(&turn, document.to_owned()).await {
                Err(status) if is_of_connection(&status) => self.dropped(&turn.0, &status),
                done => return done,
            }
        }
        Err(self.none())
    }

    /// Whether there is an engine that answers within `deadline` that it takes
    /// work.
    pub(crate) async fn ping(&self, deadline: Duration) -> Result<(), Status> {
        let asking = async {
            // Each that does not is passed over from then on.
            while let Some(turn) = self.pick() {
                if turn.0.at.is_none() {
                    return capabilities_of(&turn).await;
                }
                let seen = turn.0.ask().await;
                let serves = seen == Seen::Serving;
                turn.0.saw(seen);
                if serves {
                    return Ok(());
                }
                self.settle();
            }
            Err(self.none())
        };
        tokio::time::timeout(deadline, asking)
            .await
            .unwrap_or_else(|_| {
                let late = format!("no answer within {deadline:?}");
                Err(Status::deadline_exceeded(late))
            })
    }

    /// The one with the fewest conversations, in turn among equals.
    fn pick(&self) -> Option<Turn> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        let count = members.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        (0..count)
            .map(|step| &members[first.wrapping_add(step) % count])
            .filter(|member| member.takes_work())
            .min_by_key(|member| member.running())
            .map(|member| Turn::of(Arc::clone(member)))
    }

    fn count(&self) -> usize {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        members.len()
    }

    /// Why there is none that takes work.
    fn none(&self) -> Status {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        let reasons: Vec<String> = members
            .iter()
            // A message, not a list of a whole fleet.
            .take(3)
            .map(|member| format!("{}: {}", member.name, member.why()))
            .collect();
        let count = members.len();
        Status::unavailable(match count {
            0 => "no workflow engine is known yet; work stays queued".to_owned(),
            _ => format!(
                "none of {count} workflow engines takes work, so that it stays queued ({})",
                reasons.join("; ")
            ),
        })
    }

    /// An engine did not do what it was asked: it gets no work until it has
    /// said again that it takes some.
    fn dropped(&self, member: &Member, status: &Status) {
        member.saw(Seen::Dropped(reason(status)));
        self.settle();
    }

    fn change_members(&self, change: impl FnOnce(&mut Vec<Arc<Member>>)) {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut members);
    }

    /// Tells those that wait for an engine whether there is one.
    fn settle(&self) {
        self.ready.send_if_modified(|ready| {
            let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
            let now = members.iter().any(|member| member.takes_work());
            std::mem::replace(ready, now) != now
        });
    }
}

fn validate_at(
    turn: &Turn,
    document: String,
) -> BoxFuture<'static, Result<ValidateResponse, Status>> {
    let mut engine = turn.0.engine.clone();
    Box::pin(async move {
        let answer = engine.validate(ValidateRequest { document }).await?;
        Ok(answer.into_inner())
    })
}

fn capabilities_of(turn: &Turn) -> BoxFuture<'static, Result<(), Status>> {
    let mut engine = turn.0.engine.clone();
    Box::pin(async move {
        let request = GetCapabilitiesRequest {};
        engine.get_capabilities(request).await.map(drop)
    })
}

/// Whether it is the connection that failed, or an engine that goes: another
/// one would do better. Those of this project say what they mean by
/// themselves in details, which broken connections have none of.
fn is_of_connection(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::Unknown | Code::Cancelled => true,
        // The last two: it does not know us, `auth.internal_token` differs.
        Code::Internal
        | Code::DeadlineExceeded
        | Code::Unauthenticated
        | Code::PermissionDenied => status.details().is_empty(),
        _ => false,
    }
}
