//! Writes of many workloads in one transaction: the cost of a transaction is
//! its way to the disk, and hundreds of transitions share it.

use std::sync::Arc;
use std::time::Duration;

use millrace_service::CancellationToken;
use millrace_store::workload::MAX_SAVES;
use millrace_store::{Saved, StoreError, WorkloadSave, WorkloadStore};
use tokio::sync::{mpsc, oneshot};

/// Between two attempts at a database that is away.
const RETRY: Duration = Duration::from_millis(500);

type Waiting = (WorkloadSave, oneshot::Sender<Saved>);

/// Where transitions go to be written.
#[derive(Debug, Clone)]
pub(crate) struct Saver {
    saves: mpsc::Sender<Waiting>,
}

impl Saver {
    /// With the receiver that [`run`] works on.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Waiting>) {
        let (saves, receiver) = mpsc::channel(MAX_SAVES);
        (Self { saves }, receiver)
    }

    /// Enters it to be written; the answer is what came of it. Saves are
    /// written in the order in which they were entered, so that one may build
    /// on another that has no answer yet. `None` when this process is at its
    /// end.
    pub(crate) async fn begin(&self, save: WorkloadSave) -> Option<oneshot::Receiver<Saved>> {
        let (answer, saved) = oneshot::channel();
        self.saves.send((save, answer)).await.ok()?;
        Some(saved)
    }

    /// Resolves once it is written, or was refused; waits for a database that
    /// is away. `None` when this process is at its end.
    pub(crate) async fn save(&self, save: WorkloadSave) -> Option<Saved> {
        self.begin(save).await?.await.ok()
    }
}

/// Writes what comes until `stop`.
pub(crate) async fn run(
    store: Arc<dyn WorkloadStore>,
    mut saves: mpsc::Receiver<Waiting>,
    stop: CancellationToken,
) {
    let mut waiting: Vec<Waiting> = Vec::new();
    loop {
        let received = tokio::select! {
            () = stop.cancelled() => return,
            received = saves.recv_many(&mut waiting, MAX_SAVES) => received,
        };
        if received == 0 {
            return;
        }
        let (batch, answers): (Vec<_>, Vec<_>) = waiting.drain(..).unzip();
        tokio::select! {
            () = stop.cancelled() => return,
            outcomes = write(&store, batch) => {
                for (answer, outcome) in answers.into_iter().zip(outcomes) {
                    let _ = answer.send(outcome);
                }
            }
        }
    }
}

async fn write(store: &Arc<dyn WorkloadStore>, batch: Vec<WorkloadSave>) -> Vec<Saved> {
    match insist(store, &batch).await {
        Ok(outcomes) => outcomes,
        // One that the database refuses must not fail its neighbours.
        Err(_) if batch.len() > 1 => {
            let mut outcomes = Vec::with_capacity(batch.len());
            for save in batch {
                let one = insist(store, &[save]).await.unwrap_or_default();
                outcomes.push(one.first().copied().unwrap_or(Saved::Stale));
            }
            outcomes
        }
        Err(error) => {
            tracing::error!(%error, "a transition of a workload was refused by the database");
            vec![Saved::Stale; batch.len()]
        }
    }
}

/// Repeats it while that may help. A write whose answer was lost has changed
/// the revision: the repeat then finds its own change and is stale, and the
/// workload is read again.
async fn insist(
    store: &Arc<dyn WorkloadStore>,
    batch: &[WorkloadSave],
) -> Result<Vec<Saved>, StoreError> {
    loop {
        match store.save_workloads(batch).await {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, "transitions of workloads wait for the database");
                tokio::time::sleep(RETRY).await;
            }
            done => return done,
        }
    }
}
