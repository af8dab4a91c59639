//! Callers that wait for an execution to end. An end in this process wakes
//! them at once; for ends elsewhere they look at the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_store::ExecutionRecord;
use millrace_types::ExecutionId;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    by_execution: Mutex<HashMap<ExecutionId, Awaited>>,
}

/// An execution that somebody waits for.
#[derive(Debug, Default)]
struct Awaited {
    waiters: usize,
    notify: Arc<Notify>,
    /// Once it has ended here.
    ended: Option<Arc<ExecutionRecord>>,
}

/// A place among the waiters, given up on drop.
#[derive(Debug)]
pub(crate) struct Waiter<'a> {
    waiters: &'a Waiters,
    id: ExecutionId,
    notify: Arc<Notify>,
}

impl Waiters {
    /// Enters before the state is looked at, so that no end is missed between
    /// the look and the wait.
    pub fn enter(&self, id: ExecutionId) -> Waiter<'_> {
        let mut all = self.lock();
        let awaited = all.entry(id).or_default();
        awaited.waiters += 1;
        Waiter {
            waiters: self,
            id,
            notify: Arc::clone(&awaited.notify),
        }
    }

    /// Whether somebody waits for the execution.
    pub fn wait_for(&self, id: ExecutionId) -> bool {
        self.lock().contains_key(&id)
    }

    /// Something to look at, such as the execution's end, has been committed;
    /// with the ended execution, nobody has to look.
    pub fn wake(&self, id: ExecutionId, ended: Option<ExecutionRecord>) {
        if let Some(awaited) = self.lock().get_mut(&id) {
            if let Some(ended) = ended {
                awaited.ended = Some(Arc::new(ended));
            }
            awaited.notify.notify_waiters();
            // One who has entered but does not wait yet finds this.
            awaited.notify.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ExecutionId, Awaited>> {
        self.by_execution
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter<'_> {
    /// Returns when there is something to look at: the ended execution itself,
    /// if it ends here while somebody waits for it.
    pub async fn woken(&self) -> Option<Arc<ExecutionRecord>> {
        if let Some(ended) = self.ended() {
            return Some(ended);
        }
        self.notify.notified().await;
        self.ended()
    }

    fn ended(&self) -> Option<Arc<ExecutionRecord>> {
        self.waiters.lock().get(&self.id)?.ended.clone()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut all = self.waiters.lock();
        if let Some(awaited) = all.get_mut(&self.id) {
            awaited.waiters -= 1;
            if awaited.waiters == 0 {
                all.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_between_entering_and_waiting_is_not_missed() {
        let waiters = Waiters::default();
        let id = ExecutionId::new();
        let waiter = waiters.enter(id);
        waiters.wake(id, None);
        waiter.woken().await;
    }

    #[tokio::test]
    async fn places_are_given_up() {
        let waiters = Waiters::default();
        let id = ExecutionId::new();
        let first = waiters.enter(id);
        let second = waiters.enter(id);
        drop(first);
        assert_eq!(waiters.lock().len(), 1);
        drop(second);
        assert_eq!(waiters.lock().len(), 0);
    }
}
