//! From one event to all that listens to it, in parts that a transaction
//! carries. Each part may be written again: what an event has started and
//! whom it has reached is known by the event.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use millrace_store::{
    Admission, AdmissionRefused, Dedupe, Delivery, Gathered, Gathering, TriggerRef, Write,
    WriteDone, WriteRefused,
};
use millrace_types::{ExecutionId, TriggerKind};

use super::cloud_event::CloudEvent;
use super::filter::Fits;
use super::matching::{Hearers, Match, MatchError, Triggers};
use crate::deployment::digest;
use crate::execution::ExecutionCoordinator;
use crate::trigger::dedupe;

/// Writes of one part at most, and the bytes of their events, unless one alone
/// has more.
const PART: usize = 500;
const PART_BYTES: usize = 8 << 20;

/// How often one event is tried at once.
const ATTEMPTS: u32 = 5;

/// Why an event is not with all that listens to it. It may be with some.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FanOutError {
    #[error(transparent)]
    Match(#[from] MatchError),
    #[error("what listens is being changed by others; try again")]
    Moved,
    #[error("the store gave an answer to another question")]
    Mixed,
    #[error(transparent)]
    Refused(#[from] WriteRefused),
}

impl FanOutError {
    /// Whether another try at once may get further: triggers have changed
    /// while they were matched, or the database was not there.
    fn passes(&self) -> bool {
        match self {
            Self::Moved => true,
            Self::Match(MatchError::Store(error)) => error.is_transient(),
            _ => false,
        }
    }
}

/// Whom an event has reached, also by a publication before; some may stand
/// there more than once.
#[derive(Debug, Default)]
pub(super) struct Reached {
    /// Executions that it started, by trigger.
    pub started: Vec<ExecutionId>,
    /// Those that listened, and have it.
    pub woken: Vec<ExecutionId>,
}

/// Starts what the event starts, and gives it to all who listen but the last
/// of them, a part at most, whom it answers.
pub(super) async fn reach(
    coordinator: &ExecutionCoordinator,
    event: &Arc<CloudEvent>,
    traceparent: Option<&str>,
    reached: &mut Reached,
) -> Result<Vec<Delivery>, FanOutError> {
    let mut left = ATTEMPTS;
    let mut pause = Duration::from_millis(10);
    loop {
        left -= 1;
        match attempt(coordinator, event, traceparent, reached).await {
            Err(error) if error.passes() && left > 0 => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            done => return done,
        }
    }
}

async fn attempt(
    coordinator: &ExecutionCoordinator,
    event: &Arc<CloudEvent>,
    traceparent: Option<&str>,
    reached: &mut Reached,
) -> Result<Vec<Delivery>, FanOutError> {
    start(coordinator, event, traceparent, &mut reached.started).await?;
    wake(coordinator, event, &mut reached.woken).await
}

/// Admits an execution for each trigger that listens, once for the event.
async fn start(
    coordinator: &ExecutionCoordinator,
    event: &Arc<CloudEvent>,
    traceparent: Option<&str>,
    started: &mut Vec<ExecutionId>,
) -> Result<(), FanOutError> {
    let keep = coordinator.config.dedupe_keep;
    let mut inputs = Inputs::of(event);
    let mut triggers = Triggers::of(coordinator, event);
    while let Some(found) = triggers.next().await? {
        let (alone, together): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|found| found.fits == Fits::Alone);
        for found in together {
            started.extend(gather(coordinator, event, found, traceparent).await?);
        }
        let mut admissions = alone.into_iter().map(|found| {
            let input = inputs.of_match(&found);
            Write::Admit(admission(event, found, input, keep, traceparent))
        });
        loop {
            let part: Vec<Write> = admissions.by_ref().take(most(event.text.len())).collect();
            if part.is_empty() {
                break;
            }
            for outcome in submit(coordinator, part).await {
                started.extend(admitted(outcome)?);
            }
        }
    }
    Ok(())
}

/// Keeps the event for a trigger that wants others beside it; answers what
/// they have started.
async fn gather(
    coordinator: &ExecutionCoordinator,
    event: &CloudEvent,
    found: Match,
    traceparent: Option<&str>,
) -> Result<Option<ExecutionId>, FanOutError> {
    let Fits::Together { of, filters } = found.fits else {
        return Ok(None);
    };
    let trigger = found.listener.trigger.id;
    let keep = coordinator.config.dedupe_keep;
    let gathering = Gathering {
        trigger,
        revision: found.listener.trigger.revision,
        wants: digest::parts(&[&found.listener.trigger.spec_json]),
        filters,
        fits: of,
        key: digest::parts(&[&event.source, &event.id]),
        event: event.text.clone(),
        keep,
        admission: Admission {
            dedupe: None,
            ..admission(event, found, Bytes::new(), keep, traceparent)
        },
    };
    let gathered = coordinator.store.gather(&gathering).await;
    match gathered.map_err(MatchError::Store)? {
        Gathered::Started(id) => {
            coordinator.due.notify_one();
            Ok(Some(id))
        }
        Gathered::Waits => Ok(None),
        Gathered::Full => {
            tracing::warn!(
                trigger.id = %trigger,
                event.id,
                event.source,
                "an event is not kept for trigger {trigger}: too much waits there for others, \
                 or it is too large"
            );
            Ok(None)
        }
        Gathered::Refused(refused) => admitted(Err(refused.into())),
    }
}

/// Gives the event to all who listen but the last of them, whom it answers.
async fn wake(
    coordinator: &ExecutionCoordinator,
    event: &Arc<CloudEvent>,
    woken: &mut Vec<ExecutionId>,
) -> Result<Vec<Delivery>, FanOutError> {
    let most = most(event.text.len());
    let mut hearers = Hearers::of(coordinator, event);
    let mut last = Vec::new();
    while let Some(found) = hearers.next().await? {
        last.extend(found);
        while last.len() > most {
            let rest = last.split_off(most);
            let part = std::mem::replace(&mut last, rest);
            deliver(coordinator, part, woken).await?;
        }
    }
    Ok(last)
}

/// Gives an event to listeners; those who have it now, or had it before, are
/// added to `woken`.
pub(super) async fn deliver(
    coordinator: &ExecutionCoordinator,
    part: Vec<Delivery>,
    woken: &mut Vec<ExecutionId>,
) -> Result<(), FanOutError> {
    if part.is_empty() {
        return Ok(());
    }
    let ids: Vec<_> = part.iter().map(|one| one.execution_id).collect();
    let part = part.into_iter().map(Write::Deliver).collect();
    let outcomes = submit(coordinator, part).await;
    for (id, outcome) in ids.into_iter().zip(outcomes) {
        match outcome? {
            WriteDone::Delivered(true) => woken.push(id),
            WriteDone::Delivered(false) => {}
            _ => return Err(FanOutError::Mixed),
        }
    }
    Ok(())
}

/// Writes with an event of this size that one part holds.
fn most(bytes: usize) -> usize {
    (PART_BYTES / bytes.max(1)).clamp(1, PART)
}

async fn submit(
    coordinator: &ExecutionCoordinator,
    part: Vec<Write>,
) -> Vec<Result<WriteDone, WriteRefused>> {
    let writes = part.into_iter();
    let outcomes = join_all(writes.map(|write| coordinator.writes.submit(write))).await;
    coordinator.due.notify_one();
    outcomes
}

/// What came of an admission that an event asks for; `None` where it starts
/// nothing.
fn admitted(outcome: Result<WriteDone, WriteRefused>) -> Result<Option<ExecutionId>, FanOutError> {
    match outcome {
        Ok(WriteDone::Admitted(admitted)) => Ok(Some(admitted.id)),
        Ok(_) => Err(FanOutError::Mixed),
        Err(WriteRefused::Admission(refused)) => match refused {
            // What has been admitted is known again.
            AdmissionRefused::TriggerStale(_) => Err(FanOutError::Moved),
            AdmissionRefused::KeyFailed(deployment, why) => {
                // The author's to mend, and no matter of the sender's.
                tracing::warn!(
                    deployment.id = %deployment,
                    "an event starts nothing in deployment {deployment}: \
                     its concurrency key cannot be evaluated: {why}"
                );
                Ok(None)
            }
            // It listens no more.
            AdmissionRefused::DeploymentUnknown(_)
            | AdmissionRefused::DeploymentNotLive(..)
            | AdmissionRefused::TriggerDisabled(_) => Ok(None),
        },
        Err(refused) => Err(FanOutError::Refused(refused)),
    }
}

/// The event as executions get it; shared by all that get it.
struct Inputs {
    whole: Bytes,
    /// Made once somebody wants it.
    in_array: Option<Bytes>,
}

impl Inputs {
    fn of(event: &CloudEvent) -> Self {
        Self {
            whole: event.text.clone(),
            in_array: None,
        }
    }

    fn of_match(&mut self, found: &Match) -> Bytes {
        if !found.as_array {
            return self.whole.clone();
        }
        let whole = &self.whole;
        let in_array = || [b"[", &whole[..], b"]"].concat().into();
        self.in_array.get_or_insert_with(in_array).clone()
    }
}

fn admission(
    event: &CloudEvent,
    found: Match,
    input: Bytes,
    keep: Duration,
    traceparent: Option<&str>,
) -> Admission {
    let trigger = found.listener.trigger;
    Admission {
        id: ExecutionId::new(),
        deployment_id: found.listener.deployment_id,
        trigger: TriggerRef {
            kind: TriggerKind::Event,
            id: Some((trigger.id, trigger.revision)),
        },
        input,
        dedupe: Some(Dedupe {
            key: dedupe::of_event(&trigger.id, &event.source, &event.id),
            keep,
        }),
        owner: None,
        traceparent: traceparent.map(str::to_owned),
        rerun_of: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_bounded_by_number_and_by_bytes() {
        assert_eq!(most(0), PART);
        assert_eq!(most(100), PART);
        assert_eq!(most(1 << 20), 8);
        assert_eq!(most(1 << 30), 1);
    }
}
