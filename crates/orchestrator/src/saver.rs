//! Writes of many workloads in one transaction: the cost of a transaction is
//! its way to the disk, and hundreds of transitions share it. Those that
//! nobody waits for are kept for a moment, to share it with what comes next.

use std::sync::Arc;
use std::time::Duration;

use millrace_service::CancellationToken;
use millrace_store::workload::MAX_SAVES;
use millrace_store::{Saved, StoreError, WorkloadSave, WorkloadStore};
use tokio::sync::{mpsc, oneshot};

/// Between two attempts at a database that is away.
const RETRY: Duration = Duration::from_millis(500);
/// How long a transition that nobody waits for is kept.
const MOMENT: Duration = Duration::from_millis(2);

/// A transition on its way.
#[derive(Debug)]
struct Waiting {
    save: WorkloadSave,
    answer: oneshot::Sender<Saved>,
    /// Somebody does nothing until it is written.
    is_waited_for: bool,
}

/// Where transitions go to be written.
#[derive(Debug, Clone)]
pub(crate) struct Saver {
    saves: mpsc::Sender<Waiting>,
}

impl Saver {
    /// With what [`run`] works on.
    pub(crate) fn new() -> (Self, Saves) {
        let (saves, receiver) = mpsc::channel(MAX_SAVES);
        (Self { saves }, Saves(receiver))
    }

    /// Enters it to be written soon; the answer is what came of it. Saves are
    /// written in the order in which they were entered, so that one may build
    /// on another that has no answer yet. `None` when this process is at its
    /// end.
    pub(crate) async fn begin(&self, save: WorkloadSave) -> Option<oneshot::Receiver<Saved>> {
        self.enter(save, false).await
    }

    /// The same where somebody does nothing until the answer is there: it is
    /// written at once.
    pub(crate) async fn begin_now(&self, save: WorkloadSave) -> Option<oneshot::Receiver<Saved>> {
        self.enter(save, true).await
    }

    async fn enter(
        &self,
        save: WorkloadSave,
        is_waited_for: bool,
    ) -> Option<oneshot::Receiver<Saved>> {
        let (answer, saved) = oneshot::channel();
        let waiting = Waiting {
            save,
            answer,
            is_waited_for,
        };
        self.saves.send(waiting).await.ok()?;
        Some(saved)
    }
}

/// The other end of a [`Saver`].
#[derive(Debug)]
pub(crate) struct Saves(mpsc::Receiver<Waiting>);

impl Saves {
    /// The next ones, up to [`MAX_SAVES`]; none when no more will come.
    async fn next(&mut self) -> Vec<Waiting> {
        let mut waiting = Vec::new();
        self.0.recv_many(&mut waiting, MAX_SAVES).await;
        let company = async {
            while waiting.len() < MAX_SAVES && !waiting.iter().any(|save| save.is_waited_for) {
                let room = MAX_SAVES - waiting.len();
                if self.0.recv_many(&mut waiting, room).await == 0 {
                    return;
                }
            }
        };
        // What has been received by then is there, whoever was faster.
        let _ = tokio::time::timeout(MOMENT, company).await;
        waiting
    }
}

/// Writes what comes until `stop`.
pub(crate) async fn run(store: Arc<dyn WorkloadStore>, mut saves: Saves, stop: CancellationToken) {
    loop {
        let waiting = tokio::select! {
            () = stop.cancelled() => return,
            waiting = saves.next() => waiting,
        };
        if waiting.is_empty() {
            return;
        }
        let split = |waiting: Waiting| (waiting.save, waiting.answer);
        let (batch, answers): (Vec<_>, Vec<_>) = waiting.into_iter().map(split).unzip();
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

#[cfg(test)]
mod tests {
    use millrace_store::WorkloadState;
    use millrace_types::WorkloadId;

    use super::*;

    fn a_save() -> WorkloadSave {
        WorkloadSave {
            id: WorkloadId::new(),
            revision: 1,
            state: WorkloadState::new(),
            instances: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_goes_with_what_somebody_waits_for() {
        let (saver, mut saves) = Saver::new();
        let (first, second) = (a_save(), a_save());
        let ids = [first.id, second.id];
        saver.begin(first).await.unwrap();
        let next = async {
            let batch = saves.next().await;
            batch.iter().map(|one| one.save.id).collect::<Vec<_>>()
        };
        // The second one comes while the first one is kept.
        let (batch, entered) = tokio::join!(next, saver.begin_now(second));
        assert_eq!(batch, ids);
        assert!(entered.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_goes_alone_when_nothing_comes() {
        let (saver, mut saves) = Saver::new();
        let began = tokio::time::Instant::now();
        saver.begin(a_save()).await.unwrap();
        assert_eq!(saves.next().await.len(), 1);
        assert!(began.elapsed() >= MOMENT);
        saver.begin(a_save()).await.unwrap();
        drop(saver);
        assert_eq!(saves.next().await.len(), 1);
        assert!(saves.next().await.is_empty());
    }
}
