//! How long a connection is waited for. hyper knows when it waits for the head
//! of a request over HTTP/1.1 (it starts a timer), and the stream knows when
//! something arrives; both are noted here, and the connection's task looks at
//! it now and then. So no timer is set for each request, and a connection that
//! is only idle is told apart from one that is slow.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// How long a connection may lie idle between requests. Longer than the 600 s
/// for which large load balancers keep theirs: whoever closes first must not
/// be the one that is about to be sent a request.
const IDLE: Duration = Duration::from_secs(620);

/// A time that has not come.
const NEVER: u64 = u64::MAX;

/// What is known of a connection. Times are milliseconds since it began; all
/// of them are written and read by the task of the connection, or by one that
/// it has begun, so that no order between them needs to be kept.
#[derive(Debug)]
pub(crate) struct Patience {
    begun: Instant,
    head: Duration,
    idle: Duration,
    /// Since when the head of a request is waited for.
    waits: AtomicU64,
    /// When the first byte of it arrived.
    head_began: AtomicU64,
    /// When the last request began.
    asked: AtomicU64,
    http2: AtomicBool,
}

/// What to do about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// To be closed in an orderly way.
    Idle,
    /// To be cut.
    TooSlow,
}

impl Patience {
    /// `head` is the time for the headers of one request.
    pub fn new(head: Duration) -> Self {
        Self {
            begun: Instant::now(),
            head,
            idle: IDLE,
            waits: AtomicU64::new(NEVER),
            head_began: AtomicU64::new(NEVER),
            asked: AtomicU64::new(NEVER),
            http2: AtomicBool::new(false),
        }
    }

    pub(super) fn head(&self) -> Duration {
        self.head
    }

    pub(super) fn look_every(&self) -> Duration {
        (self.head / 2).max(Duration::from_millis(10))
    }

    /// Something arrived.
    pub fn arrived(&self) {
        let waits = self.waits.load(Ordering::Relaxed) != NEVER;
        if waits && self.head_began.load(Ordering::Relaxed) == NEVER {
            self.head_began.store(self.now(), Ordering::Relaxed);
        }
    }

    /// A request has begun.
    pub fn asked(&self, http2: bool) {
        self.asked.store(self.now(), Ordering::Relaxed);
        if http2 {
            self.http2.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn look(&self) -> Verdict {
        self.judge(self.begun.elapsed())
    }

    fn judge(&self, now: Duration) -> Verdict {
        let longer = |since: &AtomicU64, most: Duration| {
            let since = since.load(Ordering::Relaxed);
            since != NEVER && now >= Duration::from_millis(since).saturating_add(most)
        };
        let asked = self.asked.load(Ordering::Relaxed) != NEVER;
        if !asked {
            return if now >= self.head {
                Verdict::TooSlow
            } else {
                Verdict::Fine
            };
        }
        if longer(&self.head_began, self.head) {
            return Verdict::TooSlow;
        }
        let http2 = self.http2.load(Ordering::Relaxed);
        // Over HTTP/2 this only asks for a new connection: requests that run
        // still end.
        if longer(&self.waits, self.idle) || http2 && longer(&self.asked, self.idle) {
            return Verdict::Idle;
        }
        Verdict::Fine
    }

    fn waits(&self, waits: bool) {
        let since = if waits { self.now() } else { NEVER };
        self.waits.store(since, Ordering::Relaxed);
        self.head_began.store(NEVER, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }
}

/// The timer that hyper starts when it waits for a head. It never fires.
#[derive(Debug)]
pub(super) struct HeadTimer(pub Arc<Patience>);

impl Timer for HeadTimer {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Waits::begin(&self.0))
    }

    fn sleep_until(&self, _: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Waits::begin(&self.0))
    }

    fn reset(&self, _: &mut Pin<Box<dyn Sleep>>, _: Instant) {
        self.0.waits(true);
    }
}

/// Lives while a head is waited for.
struct Waits(Arc<Patience>);

impl Waits {
    fn begin(patience: &Arc<Patience>) -> Self {
        patience.waits(true);
        Self(Arc::clone(patience))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.waits(false);
    }
}

impl Future for Waits {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}

impl Sleep for Waits {}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const MOMENT: Duration = Duration::from_secs(1);

    fn just_before(time: Duration) -> Duration {
        time.saturating_sub(MOMENT)
    }

    #[test]
    fn who_never_asks_is_cut() {
        let patience = Patience::new(HEAD);
        assert_eq!(patience.judge(just_before(HEAD)), Verdict::Fine);
        assert_eq!(patience.judge(HEAD), Verdict::TooSlow);
    }

    #[test]
    fn a_slow_head_is_told_apart_from_an_idle_connection() {
        let patience = Arc::new(Patience::new(HEAD));
        patience.asked(false);
        assert_eq!(patience.judge(IDLE * 2), Verdict::Fine, "it answers");
        let waits = Waits::begin(&patience);
        assert_eq!(patience.judge(just_before(IDLE)), Verdict::Fine);
        assert_eq!(patience.judge(IDLE + MOMENT), Verdict::Idle);
        patience.arrived();
        assert_eq!(patience.judge(just_before(HEAD)), Verdict::Fine);
        assert_eq!(patience.judge(HEAD + MOMENT), Verdict::TooSlow);
        drop(waits);
        patience.arrived();
        assert_eq!(patience.judge(IDLE * 2), Verdict::Fine, "a body may take");
    }

    #[test]
    fn a_connection_over_http2_is_renewed_when_it_is_idle() {
        let patience = Patience::new(HEAD);
        patience.asked(true);
        assert_eq!(patience.judge(just_before(IDLE)), Verdict::Fine);
        assert_eq!(patience.judge(IDLE + MOMENT), Verdict::Idle);
    }
}
