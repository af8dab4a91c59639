//! Deadlines of what nobody owns, while nobody has room for it.
//!
//! Whoever claims an execution that is past a deadline ends it. But a claim
//! needs a free slot and an engine, and goes by what is due longest: with a
//! backlog, a deadline would count when its turn comes. So those past one are
//! also taken by themselves, and ended without an engine.

use futures::future::join_all;
use millrace_store::{Deadline, Overdue};
use tracing::{info, warn};

use super::coordinator::ExecutionCoordinator;
use super::run::{end, ending};
use super::{cancel, limits};
use crate::metrics;

/// Executions ended together.
const BATCH: u32 = 128;
/// Batches of one sweep; what is left waits for the next.
const BATCHES: usize = 16;

/// Ends what is past a deadline, on whichever instance it waits.
pub(crate) async fn sweep(coordinator: &ExecutionCoordinator) {
    for _ in 0..BATCHES {
        let by = coordinator.lease.current().id;
        let overdue = match coordinator.store.seize_overdue(by, BATCH).await {
            Ok(overdue) => overdue,
            Err(error) => {
                warn!(%error, "executions past their deadlines could not be looked for");
                return;
            }
        };
        if overdue.is_empty() {
            return;
        }
        metrics::overdue(overdue.len());
        let last = overdue.len() < BATCH as usize;
        join_all(overdue.into_iter().map(|one| async move {
            let (id, epoch) = (one.id, one.epoch);
            let (outcome, events) = outcome(&one);
            end(
                coordinator,
                ending(coordinator, id, by, epoch, outcome, events),
            )
            .await;
        }))
        .await;
        // Their slots may have let others go.
        coordinator.due.notify_one();
        if last {
            return;
        }
    }
}

fn outcome(overdue: &Overdue) -> (millrace_store::Outcome, Vec<millrace_store::EventRecord>) {
    let (id, seq) = (overdue.id, overdue.next_event_seq);
    if let Some(reason) = &overdue.cancel {
        info!(execution.id = %id, "execution {id} is cancelled: {reason}");
        return cancel::outcome(seq, reason);
    }
    let why = match overdue.deadline {
        Deadline::Total => limits::TOTAL,
        Deadline::Start => limits::START,
    };
    info!(execution.id = %id, "execution {id} is stopped: {why}");
    limits::outcome(seq, why)
}
