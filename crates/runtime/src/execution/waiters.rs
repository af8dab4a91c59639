//! Callers that wait for an execution to end. An end in this process wakes
//! them at once; for ends elsewhere they look at the database.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_types::ExecutionId;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Waiters {
    by_execution: Mutex<HashMap<ExecutionId, (usize, Arc<Notify>)>>,
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
        let (count, notify) = all.entry(id).or_default();
        *count += 1;
        Waiter {
            waiters: self,
            id,
            notify: Arc::clone(notify),
        }
    }

    /// Something to look at, such as the execution's end, has been committed.
    pub fn ended(&self, id: ExecutionId) {
        if let Some((_, notify)) = self.lock().get(&id) {
            notify.notify_waiters();
            // One who has entered but does not wait yet finds this.
            notify.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ExecutionId, (usize, Arc<Notify>)>> {
        self.by_execution
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter<'_> {
    pub async fn woken(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut all = self.waiters.lock();
        if let Some((count, _)) = all.get_mut(&self.id) {
            *count -= 1;
            if *count == 0 {
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
        waiters.ended(id);
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
