//! One engine as the runtime sees it: does it take work, and what runs there.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millrace_proto::engine::v1::workflow_engine_service_client::WorkflowEngineServiceClient;
use millrace_service::Transport;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::MAX_MESSAGE;

/// How long an engine may take to say how it is. A machine under load answers
/// late; one that is gone does not answer at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// Unanswered questions in a row after which an engine counts as lost, with
/// all that it runs.
const LOST_AFTER: u32 = 3;

/// How often an engine that takes work is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The first and the longest pause between two questions to one that takes no
/// work; doubled in between.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The first and the longest time that an engine which says it serves, and
/// then takes no work, gets none.
const FIRST_HOLD: Duration = Duration::from_millis(200);
const LONGEST_HOLD: Duration = Duration::from_secs(10);

/// What was learnt of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seen {
    /// It takes work.
    Serving,
    /// It answered, and takes none: it starts or stops.
    NotServing,
    /// Nobody answers at its address.
    Unreachable(String),
    /// It did not answer in time.
    Silent,
    /// It did not take an execution, or dropped one.
    Dropped(String),
    /// A conversation is under way.
    Works,
}

/// What that means for those that rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// It takes work again.
    Up,
    /// It takes no work any more; what it runs may still end.
    Down,
    /// It is gone, with what it runs.
    Lost,
}

/// What is known of one engine. Pure: times come from outside.
#[derive(Debug)]
pub(super) struct Standing {
    up: bool,
    why: String,
    /// Questions in a row that it did not answer.
    silent: u32,
    /// Questions in a row after which it was still down.
    misses: u32,
    /// Executions in a row that it did not take although it said it serves.
    drops: u32,
    held_until: Option<Instant>,
}

impl Default for Standing {
    fn default() -> Self {
        Self {
            up: false,
            why: "it was not asked yet".to_owned(),
            silent: 0,
            misses: 0,
            drops: 0,
            held_until: None,
        }
    }
}

impl Standing {
    pub fn apply(&mut self, seen: Seen, now: Instant) -> Change {
        let was_up = self.up;
        if seen != Seen::Silent {
            self.silent = 0;
        }
        match seen {
            Seen::Serving if self.held_until.is_some_and(|until| now < until) => {}
            Seen::Serving => {
                self.up = true;
                self.held_until = None;
            }
            Seen::Works => self.drops = 0,
            Seen::NotServing => self.down("it takes no work at present"),
            Seen::Unreachable(why) => self.down(&why),
            Seen::Dropped(why) => {
                self.down(&why);
                let hold = FIRST_HOLD * 2_u32.saturating_pow(self.drops.min(16));
                self.held_until = Some(now + hold.min(LONGEST_HOLD));
                self.drops = self.drops.saturating_add(1);
            }
            Seen::Silent => {
                self.silent += 1;
                self.down(&format!("no answer within {PATIENCE:?}"));
                if self.silent == LOST_AFTER {
                    return Change::Lost;
                }
            }
        }
        self.misses = if self.up {
            0
        } else {
            self.misses.saturating_add(1)
        };
        match (was_up, self.up) {
            (false, true) => Change::Up,
            (true, false) => Change::Down,
            _ => Change::None,
        }
    }

    fn down(&mut self, why: &str) {
        self.up = false;
        why.clone_into(&mut self.why);
    }

    /// When to ask again.
    pub fn pause(&self) -> Duration {
        if self.up {
            return ASK_EVERY;
        }
        let pause = FIRST_PAUSE * 2_u32.saturating_pow(self.misses.saturating_sub(1).min(16));
        pause.min(LONGEST_PAUSE)
    }
}

/// One engine.
#[derive(Debug)]
pub(super) struct Member {
    /// As logs and `/health` name it.
    pub name: String,
    /// Which configured address it belongs to, and where it is; none in this
    /// process.
    pub at: Option<(usize, SocketAddr)>,
    pub engine: WorkflowEngineServiceClient<Transport>,
    health: HealthClient<Transport>,
    standing: Mutex<Standing>,
    /// Conversations under way.
    running: AtomicUsize,
    /// Its name stands for it no more: what it runs may end, and that is all.
    pub left: AtomicBool,
    /// Ends the conversations with it; a new one after it was lost.
    lost: Mutex<CancellationToken>,
    /// Wakes whoever watches it before its pause is over.
    pub look: Notify,
}

impl Member {
    pub fn new(name: String, at: Option<(usize, SocketAddr)>, transport: Transport) -> Self {
        Self {
            name,
            at,
            engine: WorkflowEngineServiceClient::new(transport.clone())
                .max_decoding_message_size(MAX_MESSAGE)
                .max_encoding_message_size(MAX_MESSAGE),
            health: HealthClient::new(transport),
            standing: Mutex::default(),
            running: AtomicUsize::new(0),
            left: AtomicBool::new(false),
            lost: Mutex::default(),
            look: Notify::new(),
        }
    }

    /// One in this process: nothing stands between it and us.
    pub fn embedded(transport: Transport) -> Self {
        let member = Self::new("embedded".to_owned(), None, transport);
        member.standing().apply(Seen::Serving, Instant::now());
        member
    }

    pub fn takes_work(&self) -> bool {
        self.standing().up && !self.left.load(Ordering::Relaxed)
    }

    /// Why it takes no work.
    pub fn why(&self) -> String {
        self.standing().why.clone()
    }

    pub fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    pub fn pause(&self) -> Duration {
        self.standing().pause()
    }

    /// Cancelled when it counts as lost.
    pub fn lost(&self) -> CancellationToken {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.clone()
    }

    /// Takes in what was seen, and says what that changed.
    pub fn saw(&self, seen: Seen) -> Change {
        // In this process it cannot be away.
        if self.at.is_none() {
            return Change::None;
        }
        let dropped = matches!(seen, Seen::Dropped(_));
        let change = self.standing().apply(seen, Instant::now());
        if change == Change::Lost {
            let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *lost).cancel();
        }
        if dropped {
            self.look.notify_one();
        }
        change
    }

    /// Asks it how it is, by the standard health service. One that has none
    /// serves as long as it answers.
    pub async fn ask(&self) -> Seen {
        let mut health = self.health.clone();
        let question = HealthCheckRequest::default();
        match tokio::time::timeout(PATIENCE, health.check(question)).await {
            Err(_) => Seen::Silent,
            Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => Seen::Serving,
            Ok(Ok(_)) => Seen::NotServing,
            Ok(Err(status)) if status.code() == Code::Unimplemented => Seen::Serving,
            Ok(Err(status)) => Seen::Unreachable(reason(&status)),
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        // Nothing that holds it can leave it half changed.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a failed call says, with what is behind it: tonic's own message of a
/// connection that could not be made is no more than "transport error".
pub(super) fn reason(status: &Status) -> String {
    let mut said = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        said = error.to_string();
        cause = error.source();
    }
    if said.is_empty() {
        said = format!("{:?}", status.code());
    }
    said
}

/// A conversation counts for as long as this lives.
#[derive(Debug)]
pub(super) struct Turn(pub Arc<Member>);

impl Turn {
    pub fn of(member: Arc<Member>) -> Self {
        member.running.fetch_add(1, Ordering::Relaxed);
        Self(member)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable() -> Seen {
        Seen::Unreachable("connection refused".into())
    }

    #[test]
    fn work_goes_where_the_last_answer_was_that_it_serves() {
        let now = Instant::now();
        let mut standing = Standing::default();
        assert_eq!(standing.apply(Seen::Serving, now), Change::Up);
        assert_eq!(standing.apply(Seen::Serving, now), Change::None);
        assert_eq!(standing.apply(Seen::NotServing, now), Change::Down);
        assert_eq!(standing.apply(unreachable(), now), Change::None);
        assert_eq!(standing.why, "connection refused");
        assert_eq!(standing.apply(Seen::Serving, now), Change::Up);
    }

    #[test]
    fn only_a_long_silence_loses_what_runs() {
        let now = Instant::now();
        let mut standing = Standing::default();
        standing.apply(Seen::Serving, now);
        assert_eq!(standing.apply(Seen::Silent, now), Change::Down);
        assert_eq!(standing.apply(Seen::Serving, now), Change::Up);
        assert_eq!(standing.apply(Seen::Silent, now), Change::Down);
        assert_eq!(standing.apply(Seen::Silent, now), Change::None);
        assert_eq!(standing.apply(Seen::Silent, now), Change::Lost);
        assert_eq!(standing.apply(Seen::Silent, now), Change::None);
    }

    #[test]
    fn it_is_asked_less_often_the_longer_it_is_away() {
        let now = Instant::now();
        let mut standing = Standing::default();
        let mut pauses = Vec::new();
        for _ in 0..7 {
            standing.apply(unreachable(), now);
            pauses.push(standing.pause());
        }
        assert_eq!(pauses[0], FIRST_PAUSE);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(pauses[6], LONGEST_PAUSE);
        standing.apply(Seen::Serving, now);
        assert_eq!(standing.pause(), ASK_EVERY);
    }

    #[test]
    fn one_that_says_it_serves_and_drops_work_is_held_off_for_longer_each_time() {
        let mut now = Instant::now();
        let mut standing = Standing::default();
        standing.apply(Seen::Serving, now);
        let mut holds = Vec::new();
        for _ in 0..3 {
            let dropped = now;
            standing.apply(Seen::Dropped("refused".into()), now);
            while standing.apply(Seen::Serving, now) != Change::Up {
                now += Duration::from_millis(50);
            }
            holds.push(now - dropped);
        }
        assert!(holds.windows(2).all(|pair| pair[0] < pair[1]), "{holds:?}");
        standing.apply(Seen::Works, now);
        standing.apply(Seen::Dropped("refused".into()), now);
        assert_eq!(standing.held_until, Some(now + FIRST_HOLD));
    }
}
