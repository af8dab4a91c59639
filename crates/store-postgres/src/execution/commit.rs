//! A batch of writes in one transaction.

use std::collections::BTreeSet;

use millrace_store::{Admission, Checkpoint, Ending, StoreError, Write};
use sqlx::PgConnection;
use tracing::info;

use super::{Outcome, admit, checkpoint, end, lock};
use crate::PostgresStore;
use crate::error::Failure;

/// Opens the transaction of a batch, in one round trip. Its statements are
/// few and the same all the time, so that they are planned once for each
/// connection: planning took a third of the server's time for a batch of
/// admissions. A plan that is kept must be right for tables of any size, and
/// there is one that is: for each row of the batch, a look into an index.
const BEGIN: &str = "BEGIN; SET LOCAL plan_cache_mode = force_generic_plan; \
     SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; \
     SET LOCAL enable_mergejoin = off";

/// The writes by kind, each with its place in the batch.
struct Sorted<'a> {
    admissions: Vec<(usize, &'a Admission)>,
    checkpoints: Vec<(usize, &'a Checkpoint)>,
    endings: Vec<(usize, &'a Ending)>,
}

impl<'a> Sorted<'a> {
    fn new(writes: &'a [Write]) -> Self {
        let mut sorted = Self {
            admissions: Vec::new(),
            checkpoints: Vec::new(),
            endings: Vec::new(),
        };
        for (at, write) in writes.iter().enumerate() {
            match write {
                Write::Admit(admission) => sorted.admissions.push((at, admission)),
                Write::Checkpoint(checkpoint) => sorted.checkpoints.push((at, checkpoint)),
                Write::End(ending) => sorted.endings.push((at, ending)),
            }
        }
        sorted
    }
}

/// The outcomes of a batch, filled in piece by piece.
pub(super) struct Outcomes(Vec<Option<Outcome>>);

impl Outcomes {
    pub(super) fn set(&mut self, at: usize, outcome: Outcome) {
        self.0[at] = Some(outcome);
    }

    fn finish(self) -> Result<Vec<Outcome>, Failure> {
        self.0
            .into_iter()
            .map(|outcome| {
                outcome.ok_or_else(|| {
                    StoreError::Rejected("a write of the batch was left without outcome".into())
                        .into()
                })
            })
            .collect()
    }
}

/// Commits the batch; when a partition is missing (a retention class that is
/// new, or maintenance that has not run for a week), makes it and tries again.
pub(super) async fn commit(
    store: &PostgresStore,
    writes: &[Write],
) -> Result<Vec<Outcome>, StoreError> {
    if writes.is_empty() {
        return Ok(Vec::new());
    }
    let sorted = Sorted::new(writes);
    match transaction(store, &sorted, writes.len()).await {
        Err(Failure::NoPartition) => {
            let classes: BTreeSet<u16> = sorted
                .endings
                .iter()
                .map(|(_, e)| e.retention_days)
                .collect();
            let mut made = store.make_partitions(None).await?;
            for class in classes {
                made += store.make_partitions(Some(class)).await?;
            }
            info!(
                partitions = made,
                "partitions were missing and have been made"
            );
            Ok(transaction(store, &sorted, writes.len()).await?)
        }
        done => Ok(done?),
    }
}

/// Admits one execution within a transaction that does more than that.
pub(crate) async fn admit_one(
    connection: &mut PgConnection,
    admission: &Admission,
) -> Result<Outcome, StoreError> {
    let mut outcomes = Outcomes(vec![None]);
    admit::admit(connection, &[(0, admission)], &mut outcomes).await?;
    outcomes
        .finish()?
        .pop()
        .ok_or_else(|| StoreError::Rejected("an admission was left without outcome".into()))
}

async fn transaction(
    store: &PostgresStore,
    sorted: &Sorted<'_>,
    writes: usize,
) -> Result<Vec<Outcome>, Failure> {
    let mut transaction = store.pool.begin_with(BEGIN).await?;
    let mut outcomes = Outcomes(vec![None; writes]);
    all(&mut transaction, sorted, &mut outcomes).await?;
    let outcomes = outcomes.finish()?;
    transaction.commit().await?;
    Ok(outcomes)
}

async fn all(
    connection: &mut PgConnection,
    sorted: &Sorted<'_>,
    outcomes: &mut Outcomes,
) -> Result<(), Failure> {
    if !sorted.admissions.is_empty() {
        admit::admit(connection, &sorted.admissions, outcomes).await?;
    }
    let ids: Vec<_> = (sorted.checkpoints.iter().map(|(_, c)| c.id))
        .chain(sorted.endings.iter().map(|(_, e)| e.id))
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let held = lock::lock(connection, &ids).await?;
    checkpoint::checkpoint(connection, &sorted.checkpoints, &held, outcomes).await?;
    end::end(connection, &sorted.endings, &held, outcomes).await
}
