//! Group commit: many callers' small writes become one transaction.
//!
//! A caller hands in one [`Write`] and waits. A committer takes whatever has
//! come together, up to a bound, and commits it as one batch; each caller is
//! answered only after that commit, with the outcome of its own write. While
//! a commit is under way the next batch gathers, so that the batch size
//! follows the load by itself and a lone write waits for nobody.
//!
//! With lanes, each kind of write has a queue and committers of its own, for a
//! store that commits writes of one kind in fewer steps than a mixture.
//!
//! A batch that the database rejects as a whole is split in halves that are
//! tried again, down to single writes: one bad row costs its neighbours a
//! little time, and never their success.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::{ExecutionStore, Lane, StoreError, Write, WriteDone, WriteRefused, metrics};

type Outcome = Result<WriteDone, WriteRefused>;

struct Pending {
    write: Write,
    answer: oneshot::Sender<Outcome>,
}

/// How the committer groups.
#[derive(Debug, Clone, Copy)]
pub struct GroupCommitConfig {
    /// Writes in one transaction at most.
    pub max_batch: usize,
    /// Whether each [`Lane`] of writes goes by itself.
    pub lanes: bool,
    /// Transactions under way at once, in each lane: 1 for SQLite, which has
    /// one writer.
    pub committers: usize,
    /// Writes waiting at most, in each lane; past that, callers wait for room.
    pub queue: usize,
    /// How often a transient failure is tried again before callers are told.
    pub retries: u32,
}

impl Default for GroupCommitConfig {
    fn default() -> Self {
        // 256 rows keep a transaction near a millisecond; two committers let
        // one gather and parse while the other waits for its fsync.
        Self {
            max_batch: 256,
            lanes: false,
            committers: 2,
            queue: 16_384,
            retries: 5,
        }
    }
}

/// The handle that callers share. Cloning is cheap; when the last clone is
/// dropped, the committers finish what is queued and end.
#[derive(Clone)]
pub struct GroupCommit {
    /// One for each of [`Lane::ALL`], or one for all.
    queues: Arc<[mpsc::Sender<Pending>]>,
}

impl std::fmt::Debug for GroupCommit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupCommit")
            .field(
                "free",
                &self
                    .queues
                    .iter()
                    .map(mpsc::Sender::capacity)
                    .collect::<Vec<_>>(),
            )
            .finish()
    }
}

impl GroupCommit {
    /// Makes a handle, and the future that does the committing: the caller
    /// spawns it, and it ends when every handle is gone.
    pub fn new(
        store: Arc<dyn ExecutionStore>,
        config: GroupCommitConfig,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        metrics::describe();
        let lanes = if config.lanes { Lane::ALL.len() } else { 1 };
        let (queues, receivers): (Vec<_>, Vec<_>) = (0..lanes)
            .map(|_| mpsc::channel(config.queue.max(1)))
            .unzip();
        let committing = async move {
            let mut loops = JoinSet::new();
            for receiver in receivers {
                loops.spawn(commit_loop(Arc::clone(&store), config, receiver));
            }
            while loops.join_next().await.is_some() {}
        };
        let queues = queues.into();
        (Self { queues }, committing)
    }

    fn queue(&self, write: &Write) -> &mpsc::Sender<Pending> {
        match &*self.queues {
            [queue] => queue,
            queues => &queues[write.lane() as usize],
        }
    }

    /// Hands in one write; answered after the commit that holds it.
    pub async fn submit(&self, write: Write) -> Outcome {
        let (answer, outcome) = oneshot::channel();
        let stopped = || WriteRefused::Unavailable("this process is shutting down".into());
        self.queue(&write)
            .send(Pending { write, answer })
            .await
            .map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }
}

/// The committers belong to the one task that the caller has spawned by name,
/// and end with it.
async fn commit_loop(
    store: Arc<dyn ExecutionStore>,
    config: GroupCommitConfig,
    mut receiver: mpsc::Receiver<Pending>,
) {
    let room = Arc::new(Semaphore::new(config.committers.max(1)));
    let mut committers = JoinSet::new();
    let max_batch = config.max_batch.max(1);
    loop {
        // A place first, then the batch: what arrives while all committers
        // are busy joins the next batch instead of making a small one.
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            break;
        };
        let mut batch = Vec::with_capacity(16);
        if receiver.recv_many(&mut batch, max_batch).await == 0 {
            break;
        }
        while committers.try_join_next().is_some() {}
        let store = Arc::clone(&store);
        committers.spawn(async move {
            commit(&*store, batch, config.retries).await;
            drop(place);
        });
    }
    while committers.join_next().await.is_some() {}
}

/// Commits `batch`, splitting it as long as the database rejects it whole.
async fn commit(store: &dyn ExecutionStore, batch: Vec<Pending>, retries: u32) {
    let (writes, answers): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|p| (p.write, p.answer)).unzip();
    let mut outcomes: Vec<Option<Outcome>> = writes.iter().map(|_| None).collect();
    // What is still to be committed; the next one is last.
    let mut parts = parts_without_repeats(&writes);
    parts.reverse();
    while let Some(part) = parts.pop() {
        match commit_with_retries(store, &writes[part.clone()], retries).await {
            Ok(done) => {
                for (slot, outcome) in outcomes[part].iter_mut().zip(done) {
                    *slot = Some(outcome);
                }
            }
            Err(error @ StoreError::Rejected(_)) if part.len() > 1 => {
                warn!(%error, writes = part.len(), "a batch was rejected and is split");
                let middle = part.start + part.len() / 2;
                parts.push(middle..part.end);
                parts.push(part.start..middle);
            }
            Err(error) => {
                let refused = if error.is_transient() {
                    WriteRefused::Unavailable(error.to_string())
                } else {
                    WriteRefused::Rejected(error.to_string())
                };
                warn!(%error, writes = part.len(), "a commit failed");
                for slot in &mut outcomes[part] {
                    *slot = Some(Err(refused.clone()));
                }
            }
        }
    }
    // Said here, since whoever has handed one in may have gone away.
    let late = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Some(Err(WriteRefused::Fenced(_)))))
        .count();
    if late > 0 {
        info!(
            writes = late,
            "{late} late writes were refused: others own these executions by now"
        );
    }
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        let outcome = outcome
            .unwrap_or_else(|| Err(WriteRefused::Rejected("the store gave no outcome".into())));
        // A caller that has gone away no longer wants to know.
        let _ = answer.send(outcome);
    }
}

/// Cuts the batch so that no part holds two writes of one execution, as
/// [`ExecutionStore::commit`] asks. More than one part is rare: a caller that
/// has given up on an answer and writes again.
fn parts_without_repeats(writes: &[Write]) -> Vec<Range<usize>> {
    let mut parts = Vec::with_capacity(1);
    let mut start = 0;
    let mut seen = HashSet::new();
    for (at, write) in writes.iter().enumerate() {
        let id = match write {
            Write::Admit(_) | Write::Deliver(_) | Write::Publish(_) => continue,
            Write::Checkpoint(checkpoint) => checkpoint.id,
            Write::End(ending) => ending.id,
        };
        if !seen.insert(id) {
            parts.push(start..at);
            start = at;
            seen.clear();
            seen.insert(id);
        }
    }
    parts.push(start..writes.len());
    parts
}

async fn commit_with_retries(
    store: &dyn ExecutionStore,
    writes: &[Write],
    retries: u32,
) -> Result<Vec<Outcome>, StoreError> {
    let mut pause = Duration::from_millis(5);
    let mut left = retries;
    loop {
        let began = Instant::now();
        let done = store.commit(writes).await;
        match &done {
            Ok(_) => metrics::committed(writes, began.elapsed()),
            Err(error) => metrics::failed(error),
        }
        match done {
            Err(error) if error.is_transient() && left > 0 => {
                left -= 1;
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_millis(500));
            }
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests;
