//! Admissions: new executions, and first answers for what is repeated.
//!
//! 1. Keys are taken, in their order. Who gets none is a repeat, or refused.
//! 2. The executions are inserted; an id that is there already is a repeat.
//! 3. Of those inserted, ids that have *ended* before are taken back.
//! 4. Repeats are answered with what is stored.
//!
//! The order of 2 and 3 matters. A runtime that was thought dead may insert an
//! id late that another has admitted, run and ended meanwhile. While that end
//! is not committed yet, a look beforehand would see nothing; the insert then
//! waits for it on the primary key, and finds the place free. Looking after
//! the insert, with a fresh snapshot, sees every end that let it through.

use std::collections::{HashMap, HashSet};

use millrace_store::{
    Admission, AdmissionRefused, Admitted, Dedupe, Limits, StoreError, WriteDone, WriteRefused,
};
use millrace_types::{ExecutionId, ExecutionStatus, IncarnationId};
use sqlx::{AssertSqlSafe, PgConnection};

use super::admit_sql::{
    FREE_KEYS, FoundRow, HolderRow, INSERT, INSERT_LIMITED, InsertRow, KEYS, KeyRow, LIVE,
    TAKE_KEYS, TAKE_KEYS_LIMITED, ended,
};
use super::commit::Outcomes;
use super::kept;
use crate::convert::{counter, duration, first_day, parsed, parsed_option, version};
use crate::error::Failure;
use crate::incarnation::micros;

/// The admissions of a batch, and what is known about each so far.
struct Admitting<'a> {
    /// With their places in the batch.
    admissions: &'a [(usize, &'a Admission)],
    /// By index into `admissions`. A repeat is answered all the same.
    refused: HashMap<usize, AdmissionRefused>,
    fresh: HashMap<usize, Admitted>,
    /// Those whose deployment limits concurrency: they go another way.
    limited: HashSet<usize>,
    /// Set on that other way: the value of each one's concurrency key.
    slot_keys: Option<&'a HashMap<ExecutionId, String>>,
}

/// What a repeat is answered with.
struct Known {
    admitted: Admitted,
    owner: Option<IncarnationId>,
    epoch: u64,
}

/// Answers those whose deployment limits concurrency, for `limited`: they are
/// left without outcome.
pub(super) async fn admit<'a>(
    connection: &mut PgConnection,
    admissions: &[(usize, &'a Admission)],
    outcomes: &mut Outcomes,
) -> Result<Vec<(usize, &'a Admission)>, Failure> {
    admit_with(connection, admissions, None, outcomes).await
}

/// With `slot_keys`, for deployments that limit concurrency: whoever is named
/// there queues, without a slot for now.
pub(super) async fn admit_with<'a>(
    connection: &mut PgConnection,
    admissions: &[(usize, &'a Admission)],
    slot_keys: Option<&HashMap<ExecutionId, String>>,
    outcomes: &mut Outcomes,
) -> Result<Vec<(usize, &'a Admission)>, Failure> {
    let mut admitting = Admitting {
        admissions,
        refused: HashMap::new(),
        fresh: HashMap::new(),
        limited: HashSet::new(),
        slot_keys,
    };
    let eligible = admitting.take_keys(connection).await?;
    let ended = admitting.insert(connection, &eligible).await?;
    for at in admitting.fresh.keys() {
        kept::copy(connection, admissions[*at].1).await?;
    }
    admitting.free_keys(connection, &eligible).await?;
    let limited = admitting.limited.iter().map(|at| admissions[*at]);
    let mut limited: Vec<_> = limited.collect();
    limited.sort_unstable_by_key(|(place, _)| *place);
    admitting.answer(connection, ended, outcomes).await?;
    Ok(limited)
}

impl Admitting<'_> {
    /// Takes the keys; answers who may be inserted: those without a key, and
    /// the one for each key that was taken.
    async fn take_keys(&mut self, connection: &mut PgConnection) -> Result<Vec<usize>, Failure> {
        let keyed: Vec<(usize, &Admission, &Dedupe)> = self
            .admissions
            .iter()
            .enumerate()
            .filter_map(|(at, (_, a))| a.dedupe.as_ref().map(|dedupe| (at, *a, dedupe)))
            .collect();
        let all = 0..self.admissions.len();
        if keyed.is_empty() {
            return Ok(all.collect());
        }
        let statement = if self.slot_keys.is_some() {
            TAKE_KEYS_LIMITED
        } else {
            TAKE_KEYS
        };
        let rows: Vec<KeyRow> = sqlx::query_as(statement)
            .bind(column(&keyed, |(_, a, _)| a.id.to_string()))
            .bind(column(&keyed, |(_, a, _)| a.deployment_id.to_string()))
            .bind(column(&keyed, |(_, a, _)| trigger_id(a)))
            .bind(column(&keyed, |(_, a, _)| revision(a)))
            .bind(column(&keyed, |(_, _, d)| d.key.as_str()))
            .bind(column(&keyed, |(_, _, d)| micros(d.keep)))
            .fetch_all(connection)
            .await?;
        let mut taken = HashSet::new();
        for row in rows {
            if let (Some(deployment), Some(key), Some(id)) = (row.deployment_id, row.key, row.id) {
                taken.insert((deployment, key, id));
            } else {
                let (at, ..) = keyed[place(row.ord, keyed.len())?];
                self.refuse(at, row.refusal.as_deref(), row.deployment_status.as_deref())?;
            }
        }
        Ok(all
            .filter(|at| {
                let admission = self.admissions[*at].1;
                admission.dedupe.as_ref().is_none_or(|dedupe| {
                    !self.refused.contains_key(at)
                        && !self.limited.contains(at)
                        // Removed, so that the same id and key again in this
                        // batch is a repeat.
                        && taken.remove(&(
                            admission.deployment_id.to_string(),
                            dedupe.key.clone(),
                            admission.id.to_string(),
                        ))
                })
            })
            .collect())
    }

    /// Inserts the eligible ones; answers those that turned out to have ended
    /// before, and are taken back.
    async fn insert(
        &mut self,
        connection: &mut PgConnection,
        eligible: &[usize],
    ) -> Result<HashMap<ExecutionId, Known>, Failure> {
        if eligible.is_empty() {
            return Ok(HashMap::new());
        }
        let asked: Vec<&Admission> = eligible.iter().map(|at| self.admissions[*at].1).collect();
        let statement = if self.slot_keys.is_some() {
            INSERT_LIMITED
        } else {
            INSERT
        };
        let query = sqlx::query_as(statement)
            .bind(column(&asked, |a| a.id.to_string()))
            .bind(column(&asked, |a| a.deployment_id.to_string()))
            .bind(column(&asked, |a| a.trigger.kind.as_str()))
            .bind(column(&asked, |a| trigger_id(a)))
            .bind(column(&asked, |a| revision(a)))
            .bind(column(&asked, |a| &a.input[..]))
            .bind(column(&asked, |a| a.owner.map(|id| id.to_string())))
            .bind(column(&asked, |a| a.traceparent.as_deref()))
            .bind(column(&asked, |a| a.rerun_of.map(|of| of.id.to_string())))
            .bind(column(&asked, |a| {
                a.rerun_of.map(|of| of.version.cast_signed())
            }));
        let query = match self.slot_keys {
            Some(keys) => query.bind(column(&asked, |a| keys.get(&a.id).map(String::as_str))),
            None => query,
        };
        let rows: Vec<InsertRow> = query.fetch_all(&mut *connection).await?;
        let mut inserted = HashMap::with_capacity(rows.len());
        for row in rows {
            if row.id.is_some() {
                let admitted = fresh(&row)?;
                inserted.insert(admitted.id, admitted);
            } else {
                let at = eligible[place(row.ord, eligible.len())?];
                self.refuse(at, row.refusal.as_deref(), row.deployment_status.as_deref())?;
            }
        }
        let ended = take_back(connection, &inserted).await?;
        for at in eligible {
            let id = self.admissions[*at].1.id;
            if !ended.contains_key(&id)
                && !self.refused.contains_key(at)
                && let Some(admitted) = inserted.remove(&id)
            {
                self.fresh.insert(*at, admitted);
            }
        }
        Ok(ended)
    }

    /// The deployment was paused, or the trigger changed, between the two
    /// statements: a key that was taken for nothing is free again.
    async fn free_keys(
        &self,
        connection: &mut PgConnection,
        eligible: &[usize],
    ) -> Result<(), Failure> {
        let vain: Vec<(&Admission, &Dedupe)> = eligible
            .iter()
            .filter(|at| self.refused.contains_key(at))
            .filter_map(|at| {
                let admission = self.admissions[*at].1;
                admission.dedupe.as_ref().map(|dedupe| (admission, dedupe))
            })
            .collect();
        if !vain.is_empty() {
            sqlx::query(FREE_KEYS)
                .bind(column(&vain, |(a, _)| a.deployment_id.to_string()))
                .bind(column(&vain, |(_, d)| d.key.as_str()))
                .bind(column(&vain, |(a, _)| a.id.to_string()))
                .execute(connection)
                .await?;
        }
        Ok(())
    }

    /// Gives each admission its outcome.
    async fn answer(
        mut self,
        connection: &mut PgConnection,
        mut known: HashMap<ExecutionId, Known>,
        outcomes: &mut Outcomes,
    ) -> Result<(), Failure> {
        let open: Vec<usize> = (0..self.admissions.len())
            .filter(|at| !self.fresh.contains_key(at) && !self.limited.contains(at))
            .collect();
        let holders = if open.is_empty() {
            HashMap::new()
        } else {
            let holders = self.key_holders(connection, &open).await?;
            let ids: HashSet<ExecutionId> = open
                .iter()
                .map(|at| self.admissions[*at].1.id)
                .chain(holders.values().map(|holder| holder.id))
                .filter(|id| !known.contains_key(id))
                .collect();
            known.extend(find(connection, &ids).await?);
            holders
        };
        let taken_at: HashMap<ExecutionId, usize> = self
            .fresh
            .iter()
            .map(|(at, admitted)| (admitted.id, *at))
            .collect();
        for (at, (place, admission)) in self.admissions.iter().enumerate() {
            if self.limited.contains(&at) {
                continue;
            }
            // Who is refused repeats what came before it, not what comes
            // later in the same batch.
            let refused = self.refused.remove(&at);
            let before =
                |id: &ExecutionId| refused.is_none() || taken_at.get(id).is_none_or(|t| *t < at);
            let outcome = if let Some(admitted) = self.fresh.remove(&at) {
                Ok(WriteDone::Admitted(admitted))
            } else if let Some(known) = known.get(&admission.id).filter(|_| before(&admission.id)) {
                let mut admitted = known.admitted.clone();
                // The first answer may have been lost; nobody else runs it.
                if known.owner.is_some() && known.owner == admission.owner {
                    admitted.owned = Some(known.epoch);
                }
                Ok(WriteDone::Admitted(admitted))
            } else if let Some(holder) = holders.get(&at).filter(|h| before(&h.id)) {
                let known = known.get(&holder.id).map(|known| &known.admitted);
                Ok(WriteDone::Admitted(known.unwrap_or(holder).clone()))
            } else if let Some(refused) = refused {
                Err(WriteRefused::Admission(refused))
            } else {
                // What was in the way is gone already: seen from another
                // snapshot, the batch has a clear answer.
                return Err(StoreError::Contended(format!(
                    "execution {} was admitted elsewhere at the same time",
                    admission.id
                ))
                .into());
            };
            outcomes.set(*place, outcome);
        }
        Ok(())
    }

    /// The first answers that keys hold, by index. Whoever finds the execution
    /// itself knows the status better.
    async fn key_holders(
        &self,
        connection: &mut PgConnection,
        open: &[usize],
    ) -> Result<HashMap<usize, Admitted>, Failure> {
        let keyed: Vec<(usize, &Admission, &Dedupe)> = open
            .iter()
            .filter_map(|at| {
                let admission = self.admissions[*at].1;
                admission.dedupe.as_ref().map(|d| (*at, admission, d))
            })
            .collect();
        if keyed.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<HolderRow> = sqlx::query_as(KEYS)
            .bind(column(&keyed, |(at, ..)| {
                i64::try_from(*at).unwrap_or(i64::MAX)
            }))
            .bind(column(&keyed, |(_, a, _)| a.deployment_id.to_string()))
            .bind(column(&keyed, |(_, _, d)| d.key.as_str()))
            .fetch_all(connection)
            .await?;
        rows.into_iter()
            .map(|row| {
                let holder = Admitted {
                    id: parsed(&row.execution_id)?,
                    fresh: false,
                    status: ExecutionStatus::Pending,
                    workflow_id: parsed(&row.workflow_id)?,
                    version: version(row.version),
                    created_at: row.admitted_at.0,
                    owned: None,
                    limits: Limits::default(),
                };
                Ok((usize::try_from(row.at).unwrap_or(usize::MAX), holder))
            })
            .collect()
    }

    fn refuse(
        &mut self,
        at: usize,
        refusal: Option<&str>,
        status: Option<&str>,
    ) -> Result<(), Failure> {
        let admission = self.admissions[at].1;
        let deployment = admission.deployment_id;
        let refused = match (refusal, admission.trigger.id) {
            (Some("limited"), _) => {
                self.limited.insert(at);
                return Ok(());
            }
            (Some("unknown"), _) => AdmissionRefused::DeploymentUnknown(deployment),
            (Some("not live"), _) => {
                AdmissionRefused::DeploymentNotLive(deployment, parsed(status.unwrap_or_default())?)
            }
            (Some("stale"), Some((trigger, _))) => AdmissionRefused::TriggerStale(trigger),
            (Some("disabled"), Some((trigger, _))) => AdmissionRefused::TriggerDisabled(trigger),
            (other, _) => {
                return Err(StoreError::Rejected(format!("an odd refusal: {other:?}")).into());
            }
        };
        self.refused.insert(at, refused);
        Ok(())
    }
}

/// In days since 1970; no partition lies beyond.
const ANY_DAY: i32 = 1_000_000;

/// Deletes those of the rows just inserted whose execution has ended before.
async fn take_back(
    connection: &mut PgConnection,
    inserted: &HashMap<ExecutionId, Admitted>,
) -> Result<HashMap<ExecutionId, Known>, Failure> {
    if inserted.is_empty() {
        return Ok(HashMap::new());
    }
    // Created by the database's clock, now: what has ended by now did so today
    // or, when midnight has just passed, tomorrow. Days beyond need no look.
    let last = inserted
        .values()
        .map(|admitted| admitted.created_at.day())
        .max()
        .and_then(|day| i32::try_from(day + 1).ok())
        .unwrap_or(ANY_DAY);
    let ended = fetch_ended(connection, inserted.keys(), last).await?;
    if !ended.is_empty() {
        sqlx::query("DELETE FROM executions WHERE id = ANY($1)")
            .bind(ended.keys().map(ToString::to_string).collect::<Vec<_>>())
            .execute(connection)
            .await?;
    }
    Ok(ended)
}

/// Live or ended. The live ones are looked for first: what ends in between is
/// then found among the ended ones.
async fn find(
    connection: &mut PgConnection,
    ids: &HashSet<ExecutionId>,
) -> Result<HashMap<ExecutionId, Known>, Failure> {
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let live = sqlx::query_as(LIVE).bind(texts);
    let mut known = all_known(live.fetch_all(&mut *connection).await?)?;
    let rest: Vec<_> = ids.iter().filter(|id| !known.contains_key(id)).collect();
    if !rest.is_empty() {
        known.extend(fetch_ended(connection, rest, ANY_DAY).await?);
    }
    Ok(known)
}

async fn fetch_ended<'a>(
    connection: &mut PgConnection,
    ids: impl IntoIterator<Item = &'a ExecutionId>,
    last_day: i32,
) -> Result<HashMap<ExecutionId, Known>, Failure> {
    let mut first = i32::MAX;
    let mut texts = Vec::new();
    for id in ids {
        first = first.min(first_day(id.minted_at()));
        texts.push(id.to_string());
    }
    let rows = sqlx::query_as(AssertSqlSafe(ended(first, last_day)))
        .bind(texts)
        .fetch_all(connection)
        .await?;
    all_known(rows)
}

fn all_known(rows: Vec<FoundRow>) -> Result<HashMap<ExecutionId, Known>, Failure> {
    rows.into_iter()
        .map(|row| {
            let admitted = Admitted {
                id: parsed(&row.id)?,
                fresh: false,
                status: parsed(&row.status)?,
                workflow_id: parsed(&row.workflow_id)?,
                version: version(row.version),
                created_at: row.created_at.0,
                owned: None,
                limits: Limits::default(),
            };
            let known = Known {
                owner: parsed_option(row.owner.as_deref())?,
                epoch: counter(row.epoch),
                admitted,
            };
            Ok((known.admitted.id, known))
        })
        .collect()
}

fn fresh(row: &InsertRow) -> Result<Admitted, Failure> {
    let (Some(id), Some(workflow), Some(number), Some(status), Some(created_at)) = (
        &row.id,
        &row.workflow_id,
        row.version,
        &row.status,
        row.created_at,
    ) else {
        return Err(StoreError::Rejected("an inserted row came back in parts".into()).into());
    };
    Ok(Admitted {
        id: parsed(id)?,
        fresh: true,
        status: parsed(status)?,
        workflow_id: parsed(workflow)?,
        version: version(number),
        created_at: created_at.0,
        owned: row.owner.as_ref().and(row.epoch).map(counter),
        limits: Limits {
            total: (row.deadline_at).map(|at| at.0.saturating_since(created_at.0)),
            idle: row.idle_timeout.map(duration),
            ..Limits::default()
        },
    })
}

fn column<'a, T, C>(rows: &'a [T], value: impl Fn(&'a T) -> C) -> Vec<C> {
    rows.iter().map(value).collect()
}

fn trigger_id(admission: &Admission) -> Option<String> {
    admission.trigger.id.map(|(id, _)| id.to_string())
}

fn revision(admission: &Admission) -> Option<i64> {
    admission
        .trigger
        .id
        .map(|(_, revision)| revision.cast_signed())
}

/// The database counts rows from 1.
fn place(ord: Option<i64>, len: usize) -> Result<usize, Failure> {
    ord.and_then(|ord| usize::try_from(ord).ok())
        .and_then(|ord| ord.checked_sub(1))
        .filter(|at| *at < len)
        .ok_or_else(|| StoreError::Rejected(format!("an answer for row {ord:?}")).into())
}
