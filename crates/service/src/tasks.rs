//! The tasks of a service: each has a name, a policy for its failure, and an
//! end that the service waits for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::trace_context;

/// What the failure of a task (an error or a panic) means for the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// The service is no use without it: it stops.
    StopService,
    /// It is logged, and the rest goes on.
    Log,
}

/// Why a service stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// [`TaskGroup::stop`] was called.
    Asked,
    /// A task with [`OnFailure::StopService`] failed.
    TaskFailed { task: String, error: String },
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked => f.write_str("asked to stop"),
            Self::TaskFailed { task, error } => write!(f, "task `{task}` failed: {error}"),
        }
    }
}

/// A handle on the tasks of one service; clones stand for the same group.
///
/// Dropping it stops nothing: call [`stop`](Self::stop), then
/// [`drain`](Self::drain).
#[derive(Clone)]
pub struct TaskGroup {
    inner: Arc<Inner>,
}

struct Inner {
    tracker: TaskTracker,
    stop: CancellationToken,
    /// Set before `stop` is cancelled; the first reason stays.
    reason: OnceLock<StopReason>,
    next: AtomicU64,
    running: Mutex<HashMap<u64, Cow<'static, str>>>,
}

impl TaskGroup {
    /// A group without tasks.
    #[expect(
        clippy::new_without_default,
        reason = "a group is made on purpose, never filled in"
    )]
    pub fn new() -> Self {
        Self::under(CancellationToken::new())
    }

    /// A group of its own that is also asked to stop when this one is; it can
    /// be stopped and drained before this one. Its failures stay its own.
    #[must_use]
    pub fn child(&self) -> Self {
        Self::under(self.inner.stop.child_token())
    }

    fn under(stop: CancellationToken) -> Self {
        Self {
            inner: Arc::new(Inner {
                tracker: TaskTracker::new(),
                stop,
                reason: OnceLock::new(),
                next: AtomicU64::new(0),
                running: Mutex::new(HashMap::new()),
            }),
        }
    }

    /// Starts `task` under `name`. It gets a token that tells it to stop; it
    /// keeps the trace and the span of its caller. A panic counts as a failure.
    pub fn spawn<F, Fut, E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        on_failure: OnFailure,
        task: F,
    ) where
        F: FnOnce(CancellationToken) -> Fut + Send + 'static,
        Fut: Future<Output = Result<(), E>> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        let registered = Registered::new(&self.inner, name.into());
        let stop = self.inner.stop.child_token();
        // Inside an async block, so that a panic of the closure itself is caught too.
        let guarded = AssertUnwindSafe(async move { task(stop).await }).catch_unwind();
        let run = async move {
            let failure = match guarded.await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(panic) => Some(format!("it panicked: {}", panic_text(panic.as_ref()))),
            };
            if let Some(error) = failure {
                registered.failed(on_failure, error);
            }
        };
        self.inner
            .tracker
            .spawn(trace_context::inherit(run).in_current_span());
    }

    /// Tells every task to stop. They are waited for with [`drain`](Self::drain).
    pub fn stop(&self) {
        self.inner.stop_because(StopReason::Asked);
    }

    /// Resolves once the group is to stop, with the first reason.
    pub async fn stopped(&self) -> StopReason {
        self.inner.stop.cancelled().await;
        // A child group is cancelled by its parent and has no reason of its own.
        self.inner
            .reason
            .get()
            .cloned()
            .unwrap_or(StopReason::Asked)
    }

    /// Whether the group was asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.inner.stop.is_cancelled()
    }

    /// A token that is cancelled with this group; cancelling it stops nothing else.
    pub fn child_token(&self) -> CancellationToken {
        self.inner.stop.child_token()
    }

    /// Waits until every task has ended, at most for `deadline`, and returns
    /// the names of those that still run then, in alphabetical order.
    pub async fn drain(&self, deadline: Duration) -> Vec<String> {
        self.inner.tracker.close();
        if tokio::time::timeout(deadline, self.inner.tracker.wait())
            .await
            .is_ok()
        {
            return Vec::new();
        }
        self.running()
    }

    /// The names of the tasks that run now, in alphabetical order.
    pub fn running(&self) -> Vec<String> {
        let running = self
            .inner
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<String> = running
            .values()
            .map(|name| name.clone().into_owned())
            .collect();
        names.sort_unstable();
        names
    }
}

impl fmt::Debug for TaskGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskGroup")
            .field("running", &self.running())
            .field("stopping", &self.is_stopping())
            .finish()
    }
}

impl Inner {
    fn stop_because(&self, reason: StopReason) {
        // Only the first reason is kept; later ones are consequences of it.
        let _ = self.reason.set(reason);
        self.stop.cancel();
    }
}

/// The entry of one task in the list of running ones, for as long as it lives:
/// dropped with the task's future, however that ends.
struct Registered {
    group: Arc<Inner>,
    id: u64,
    name: Cow<'static, str>,
}

impl Registered {
    fn new(group: &Arc<Inner>, name: Cow<'static, str>) -> Self {
        let id = group.next.fetch_add(1, Ordering::Relaxed);
        group
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, name.clone());
        Self {
            group: Arc::clone(group),
            id,
            name,
        }
    }

    fn failed(&self, on_failure: OnFailure, error: String) {
        let task = &self.name;
        match on_failure {
            OnFailure::Log => tracing::error!(task = %task, error, "task `{task}` failed"),
            OnFailure::StopService => {
                tracing::error!(task = %task, error, "task `{task}` failed: the service stops");
                self.group.stop_because(StopReason::TaskFailed {
                    task: task.clone().into_owned(),
                    error,
                });
            }
        }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.group
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn a_stopped_group_ends_its_tasks() {
        let tasks = TaskGroup::new();
        tasks.spawn("waiter", OnFailure::StopService, |stop| async move {
            stop.cancelled().await;
            Ok::<_, Infallible>(())
        });
        assert_eq!(tasks.running(), ["waiter"]);
        tasks.stop();
        assert_eq!(tasks.drain(SOON).await, Vec::<String>::new());
        assert_eq!(tasks.stopped().await, StopReason::Asked);
        assert!(tasks.running().is_empty());
    }

    #[tokio::test]
    async fn drain_names_what_still_runs() {
        let tasks = TaskGroup::new();
        tasks.spawn("stubborn", OnFailure::Log, |_| {
            std::future::pending::<Result<(), String>>()
        });
        tasks.spawn("brief", OnFailure::Log, |_| async { Ok::<_, String>(()) });
        tasks.stop();
        assert_eq!(tasks.drain(Duration::from_millis(50)).await, ["stubborn"]);
    }

    #[tokio::test]
    async fn a_failing_vital_task_stops_the_service_with_its_reason() {
        let tasks = TaskGroup::new();
        tasks.spawn("clock", OnFailure::StopService, |_| async {
            Err("it broke")
        });
        let reason = tokio::time::timeout(SOON, tasks.stopped()).await.unwrap();
        assert_eq!(
            reason,
            StopReason::TaskFailed {
                task: "clock".into(),
                error: "it broke".into()
            }
        );
        tasks.stop();
        assert_eq!(tasks.stopped().await, reason, "the first reason stays");
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        fn fragile() -> Result<(), Infallible> {
            panic!("something broke")
        }
        let tasks = TaskGroup::new();
        tasks.spawn("fragile", OnFailure::StopService, |_| async { fragile() });
        let reason = tokio::time::timeout(SOON, tasks.stopped()).await.unwrap();
        assert!(reason.to_string().contains("something broke"), "{reason}");
    }

    #[tokio::test]
    async fn a_failure_that_is_only_logged_stops_nothing() {
        let tasks = TaskGroup::new();
        tasks.spawn("optional", OnFailure::Log, |_| async { Err("it broke") });
        assert!(tasks.drain(SOON).await.is_empty());
        assert!(!tasks.is_stopping());
    }

    #[tokio::test]
    async fn a_child_group_stops_with_its_parent_and_not_the_other_way() {
        let parent = TaskGroup::new();
        let (first, second) = (parent.child(), parent.child());
        first.stop();
        assert!(first.is_stopping() && !parent.is_stopping() && !second.is_stopping());
        parent.stop();
        assert_eq!(second.stopped().await, StopReason::Asked);
    }
}
