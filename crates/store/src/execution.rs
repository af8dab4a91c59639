//! Executions: admitted, owned, checkpointed, ended.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use millrace_types::{
    DeploymentId, DeploymentStatus, ErrorKind, ExecutionId, ExecutionStatus, IncarnationId,
    Timestamp, TriggerId, TriggerKind, WorkflowId,
};

use crate::{
    Delivery, EmittedEvent, Limits, ListenerRecord, Page, PageRequest, Publication, ReceivedEvent,
    StoreError,
};

/// What started an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TriggerRef {
    pub kind: TriggerKind,
    /// `None` for a manual start. With it comes the revision that the caller
    /// resolved; the admission is refused when it is no longer current.
    pub id: Option<(TriggerId, u64)>,
}

/// A repeat with the same key within the deployment gets the first answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dedupe {
    /// 1 to 255 bytes without control characters.
    pub key: String,
    /// How long the first answer is kept, from the admission on.
    pub keep: Duration,
}

/// The execution that another one repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RerunOf {
    pub id: ExecutionId,
    /// The version that it ran on, and that the repeat runs on, whatever is
    /// live by now.
    pub version: u32,
    /// It begins with the frames that were kept of the original, and so has
    /// to be claimed: no owner is given with it.
    pub from_failed: bool,
}

/// An execution that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    pub id: ExecutionId,
    pub deployment_id: DeploymentId,
    pub trigger: TriggerRef,
    /// JSON text.
    pub input: Bytes,
    pub dedupe: Option<Dedupe>,
    /// The incarnation that will run it at once. `None`, and likewise when
    /// its lease has run out, leaves it PENDING for any instance to claim.
    pub owner: Option<IncarnationId>,
    /// W3C `traceparent` of the request.
    pub traceparent: Option<String>,
    pub rerun_of: Option<RerunOf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// The id that the caller gave, or that of the first admission with the
    /// same dedupe key.
    pub id: ExecutionId,
    /// False for a repeat, by id or by dedupe key.
    pub fresh: bool,
    /// As it was when it was admitted, for a repeat too: PENDING, RUNNING or,
    /// when it was skipped, CANCELLED. PENDING once it is gone by retention.
    pub status: ExecutionStatus,
    pub workflow_id: WorkflowId,
    pub version: u32,
    pub created_at: Timestamp,
    /// Set when the caller owns it from now on, with this epoch. A repeat by
    /// the id that finds it owned by the very owner it names sets it too: the
    /// first answer may have been lost, and nobody else would run it.
    pub owned: Option<u64>,
    /// What binds a fresh one that is owned.
    pub limits: Limits,
}

/// Where the answer to a message is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerKey {
    pub deployment_id: DeploymentId,
    /// The dedupe key of the admission.
    pub key: String,
    /// The execution that it started.
    pub execution_id: ExecutionId,
}

/// Why one admission was refused. Its neighbours are not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionRefused {
    #[error("there is no deployment {0}")]
    DeploymentUnknown(DeploymentId),
    #[error("deployment {0} is {1} and takes no triggers")]
    DeploymentNotLive(DeploymentId, DeploymentStatus),
    /// The trigger has changed, or is gone, since the caller resolved it.
    #[error("trigger {0} has changed since it was resolved")]
    TriggerStale(TriggerId),
    #[error("trigger {0} is disabled")]
    TriggerDisabled(TriggerId),
    /// The key of the deployment's concurrency limit has no value for this
    /// input.
    #[error("the concurrency key of deployment {0} cannot be evaluated: {1}")]
    KeyFailed(DeploymentId, String),
}

impl AdmissionRefused {
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::DeploymentUnknown(_) => ErrorKind::NotFound,
            Self::KeyFailed(..) => ErrorKind::Invalid,
            Self::DeploymentNotLive(..) | Self::TriggerStale(_) | Self::TriggerDisabled(_) => {
                ErrorKind::Precondition
            }
        }
    }
}

/// A part of the stored continuation; the engine's own matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRecord {
    pub id: u64,
    /// JSON text.
    pub data: Bytes,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerRecord {
    pub id: u64,
    pub due_at: Timestamp,
}

/// One line of an execution's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRecord {
    /// Counts from 1 without gaps within the execution.
    pub seq: u64,
    pub at: Timestamp,
    pub kind: String,
    /// JSON pointer of the task; empty for the execution as a whole.
    pub task: String,
    pub attempt: u32,
    /// A JSON object, or empty.
    pub detail: String,
}

/// Progress of an owned execution. What it both deletes and sets is set: it
/// deletes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub id: ExecutionId,
    pub owner: IncarnationId,
    pub epoch: u64,
    /// One more than the last one committed. The same again (a repeat after
    /// an answer that was lost) is answered with success and changes nothing.
    pub seq: u64,
    pub upsert_frames: Vec<FrameRecord>,
    pub delete_frames: Vec<u64>,
    pub set_timers: Vec<TimerRecord>,
    pub clear_timers: Vec<u64>,
    /// The first one follows the last one stored, without gap or repeat;
    /// otherwise this write, and only this one, is refused as
    /// [`WriteRefused::Rejected`].
    pub events: Vec<EventRecord>,
    /// Lets go of the execution: WAITING, unowned, until its earliest timer
    /// is due or an event is delivered to it; at once when its cancellation
    /// was asked for, and when an event is there that was not consumed.
    /// Without a timer and without a listener it would never wake: that is
    /// refused as [`StoreError::Rejected`].
    pub park: bool,
    pub set_listeners: Vec<ListenerRecord>,
    /// They go with the events that came for them.
    pub clear_listeners: Vec<u64>,
    /// Gives listeners that are there other filters, which like less than
    /// those they have; they are still the ones they were, with what came for
    /// them. One that is not there stays away.
    pub narrow_listeners: Vec<ListenerRecord>,
    /// Numbers of [`ReceivedEvent`]s that a claim need not bring again.
    pub consumed: Vec<u64>,
    /// Events that this execution publishes; they are stored if this write is
    /// done, and not for a repeat of it.
    pub emits: Vec<EmittedEvent>,
}

impl Checkpoint {
    /// Whether the execution goes on, and nothing but frames and events is
    /// written.
    pub const fn is_plain(&self) -> bool {
        // Without `..`: whatever is added has to be thought of here.
        let Self {
            id: _,
            owner: _,
            epoch: _,
            seq: _,
            upsert_frames: _,
            delete_frames: _,
            set_timers,
            clear_timers,
            events: _,
            park,
            set_listeners,
            clear_listeners,
            narrow_listeners,
            consumed,
            emits,
        } = self;
        !*park
            && set_timers.is_empty()
            && clear_timers.is_empty()
            && set_listeners.is_empty()
            && clear_listeners.is_empty()
            && narrow_listeners.is_empty()
            && consumed.is_empty()
            && emits.is_empty()
    }
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The output as JSON text.
    Succeeded(Bytes),
    /// `{type, status, title, detail, instance}` as JSON text.
    Failed(Bytes),
    Cancelled(Bytes),
    TimedOut(Bytes),
}

impl Outcome {
    pub const fn status(&self) -> ExecutionStatus {
        match self {
            Self::Succeeded(_) => ExecutionStatus::Succeeded,
            Self::Failed(_) => ExecutionStatus::Failed,
            Self::Cancelled(_) => ExecutionStatus::Cancelled,
            Self::TimedOut(_) => ExecutionStatus::TimedOut,
        }
    }
}

/// The end of an owned execution: its row moves to the ended ones, frames,
/// timers and listeners go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub id: ExecutionId,
    pub owner: IncarnationId,
    pub epoch: u64,
    pub outcome: Outcome,
    /// As for a [`Checkpoint`].
    pub events: Vec<EventRecord>,
    /// Days that the ended execution is kept, unless its deployment had set
    /// something else at the admission; also names its retention class.
    pub retention_days: u16,
    /// Frames that are kept with the ended execution, for a rerun.
    pub keep_frames: Vec<FrameRecord>,
    /// As for a [`Checkpoint`].
    pub emits: Vec<EmittedEvent>,
    /// Whether somebody waits for the ended execution: it is answered with,
    /// in the transaction that moves it, instead of being read afterwards.
    pub read_back: bool,
}

/// The writes that are grouped into shared commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Admit(Admission),
    Checkpoint(Checkpoint),
    End(Ending),
    Deliver(Delivery),
    Publish(Publication),
}

impl Write {
    /// The common kinds, each alike within itself: an adapter may have one
    /// statement for many of them.
    pub fn lane(&self) -> Lane {
        match self {
            Self::Admit(_) => Lane::Admissions,
            Self::Checkpoint(checkpoint) if checkpoint.is_plain() => Lane::Progress,
            Self::End(ending) if ending.emits.is_empty() => Lane::Ends,
            _ => Lane::Others,
        }
    }
}

/// See [`Write::lane`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    Admissions,
    /// Checkpoints of executions that go on, with frames and events alone.
    Progress,
    /// Ends that emit nothing.
    Ends,
    Others,
}

impl Lane {
    pub const ALL: [Self; 4] = [Self::Admissions, Self::Progress, Self::Ends, Self::Others];
}

/// The answer to a [`Write`] of the same name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteDone {
    Admitted(Admitted),
    Checkpointed,
    /// As it is stored, if it was asked for and has not ended before.
    Ended(Option<Box<ExecutionRecord>>),
    /// Whether the listener has the event, by this write or a former one.
    Delivered(bool),
    /// Whether it was not published before.
    Published(bool),
}

/// Why one write was refused. Its neighbours are not affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteRefused {
    #[error(transparent)]
    Admission(#[from] AdmissionRefused),
    /// Someone else owns the execution by now, or it has ended. Whoever gets
    /// this drops what it holds of the execution.
    #[error("execution {0} is no longer owned with this epoch")]
    Fenced(ExecutionId),
    /// The database could not take this write, even alone.
    #[error("the database refused the write: {0}")]
    Rejected(String),
    /// The database could not be reached; the write may or may not have
    /// happened, and can be repeated.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
}

impl WriteRefused {
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Admission(refused) => refused.kind(),
            Self::Fenced(_) => ErrorKind::Conflict,
            Self::Rejected(_) => ErrorKind::Internal,
            Self::Unavailable(_) => ErrorKind::Unavailable,
        }
    }
}

/// Frames that are kept with an ended execution, as one text.
pub fn frames_to_json(frames: &[FrameRecord]) -> Option<Vec<u8>> {
    if frames.is_empty() {
        return None;
    }
    let texts: Vec<(u64, std::borrow::Cow<'_, str>)> = frames
        .iter()
        .map(|frame| (frame.id, String::from_utf8_lossy(&frame.data)))
        .collect();
    serde_json::to_vec(&texts).ok()
}

/// Reads what [`frames_to_json`] wrote.
///
/// # Errors
/// [`StoreError::Rejected`] when it is something else.
pub fn frames_from_json(json: &[u8]) -> Result<Vec<FrameRecord>, StoreError> {
    let texts: Vec<(u64, String)> = serde_json::from_slice(json)
        .map_err(|error| StoreError::Rejected(format!("kept frames: {error}")))?;
    let frames = texts.into_iter();
    Ok(frames
        .map(|(id, text)| FrameRecord {
            id,
            data: Bytes::from(text),
        })
        .collect())
}

/// An execution that the caller owns from now on, with what it needs to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    pub id: ExecutionId,
    pub deployment_id: DeploymentId,
    pub workflow_id: WorkflowId,
    pub version: u32,
    pub trigger_kind: TriggerKind,
    pub trigger_id: Option<TriggerId>,
    pub epoch: u64,
    pub input: Bytes,
    pub started_at: Timestamp,
    pub checkpoint_seq: u64,
    pub next_event_seq: u64,
    pub frames: Vec<FrameRecord>,
    /// Timers that were due at the claim, by the database's clock. They stay
    /// stored until a checkpoint clears them.
    pub due_timers: Vec<u64>,
    /// Events that came for its listeners and were not consumed, in the order
    /// of their arrival; a bounded number. More come with the next claim: a
    /// park that leaves some is due at once.
    pub received: Vec<ReceivedEvent>,
    pub traceparent: Option<String>,
    /// Why it is to be cancelled, when that was asked for: there is nothing
    /// left to do but to end it.
    pub cancel: Option<String>,
    pub limits: Limits,
}

/// Which of its times an execution is past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// It has not been started.
    Start,
    /// It has not ended.
    Total,
}

/// An execution that nobody owned and that is past a deadline. The caller
/// owns it from now on, and ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    pub id: ExecutionId,
    pub epoch: u64,
    pub next_event_seq: u64,
    pub deadline: Deadline,
    /// Why it is to be cancelled, when that was asked for.
    pub cancel: Option<String>,
}

/// What became of a request to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelRequested {
    /// Nobody owned it. The caller does from now on, and ends it.
    Seized {
        epoch: u64,
        next_event_seq: u64,
        /// That of the first request.
        reason: String,
    },
    /// Stored for its owner, or for whoever claims it next, to find.
    Asked { owner: Option<IncarnationId> },
    /// It had ended before.
    Ended(ExecutionStatus),
}

/// An owned execution whose cancellation was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelRequest {
    pub id: ExecutionId,
    pub epoch: u64,
    pub reason: String,
}

/// An execution as it is shown. `input`, `output` and `error` are JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionRecord {
    pub id: ExecutionId,
    pub deployment_id: DeploymentId,
    pub workflow_id: WorkflowId,
    pub version: u32,
    pub status: ExecutionStatus,
    pub trigger_kind: TriggerKind,
    pub trigger_id: Option<TriggerId>,
    /// Lists leave input and output empty.
    pub input: Bytes,
    pub output: Option<Bytes>,
    pub error: Option<Bytes>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub rerun_of: Option<ExecutionId>,
}

impl ExecutionRecord {
    /// With the payload of the end, so that it need not come back from where
    /// it was just written.
    #[must_use]
    pub fn ended_with(mut self, outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Succeeded(output) => self.output = Some(output.clone()),
            Outcome::Failed(error) | Outcome::Cancelled(error) | Outcome::TimedOut(error) => {
                self.error = Some(error.clone());
            }
        }
        self
    }
}

/// Empty fields do not filter.
#[derive(Debug, Clone, Default)]
pub struct ExecutionFilter {
    pub deployment_id: Option<DeploymentId>,
    pub status: Option<ExecutionStatus>,
    pub trigger: Option<TriggerKind>,
    pub trigger_id: Option<TriggerId>,
    /// Only those that ended, and not well: each of them has an error.
    pub unsuccessful: bool,
    /// Inclusive, by creation.
    pub from: Option<Timestamp>,
    /// Exclusive.
    pub to: Option<Timestamp>,
}

/// A place among those that queue for slots: (deployment, key).
pub type QueuePlace = (DeploymentId, String);

impl ExecutionFilter {
    /// How much earlier than its creation an execution's id may have been
    /// minted: by another clock, and before the attempts to admit it.
    pub const MINTED_BEFORE: Duration = Duration::from_mins(10);
    /// How far a clock that mints ids may be ahead of the database's. What it
    /// is ahead by more than that may hide executions from filters by time.
    pub const MINTED_AFTER: Duration = Duration::from_mins(2);

    /// Bounds of the ids that were created within the filter's times: the
    /// first, and the first that is not one of them.
    pub fn ids(&self) -> (Option<ExecutionId>, Option<ExecutionId>) {
        let micros = |by: Duration| i64::try_from(by.as_micros()).unwrap_or(0);
        let first = self.from.map(|from| {
            let earlier = from.as_micros().saturating_sub(micros(Self::MINTED_BEFORE));
            ExecutionId::lower_bound(Timestamp::from_micros(earlier))
        });
        let end = self
            .to
            .map(|to| ExecutionId::lower_bound(to.saturating_add(Self::MINTED_AFTER)));
        (first, end)
    }
}

#[async_trait]
pub trait ExecutionStore: Send + Sync + 'static {
    /// Commits writes together, in one transaction, and gives each its own
    /// outcome, in the order of `writes`. A batch holds at most one write for
    /// each execution that is not an admission. `Err` means that nothing of
    /// the batch was committed (or, when unavailable, that it is unknown:
    /// every write can be repeated).
    ///
    /// - *Admit* makes the row RUNNING and owned, or PENDING. A repeated id
    ///   (live or ended) and a repeated dedupe key, in the same batch too,
    ///   get the first answer with `fresh: false`. Where the deployment limits
    ///   concurrency it also takes a slot, held until the end; without a free
    ///   one it is queued (PENDING, not due), ends as CANCELLED at once, or is
    ///   queued while the oldest ones are asked to end, as the policy says.
    ///   An end hands its slot to the first that queues, at once or, should
    ///   this process die in between, with [`ExecutionStore::fill_slots`].
    /// - *Checkpoint* and *End* are refused as [`WriteRefused::Fenced`]
    ///   unless owner and epoch are the stored ones. An end that was
    ///   committed before with the same epoch is answered with success.
    /// - *Deliver* gives an event to a listener, and has its execution claimed
    ///   if it waits. See [`Delivery`].
    /// - *Publish* does so with what an execution has emitted. See
    ///   [`Publication`].
    async fn commit(
        &self,
        writes: &[Write],
    ) -> Result<Vec<Result<WriteDone, WriteRefused>>, StoreError>;

    /// Takes up to `limit` executions that nobody owns and that are due
    /// (PENDING, or WAITING with a due timer; also past a deadline), each with
    /// a raised epoch. No two callers get the same one. Nothing when `owner`'s
    /// lease has run out.
    ///
    /// Oldest due first, as long as they all fit. When more is due, every
    /// deployment that has something due gets one first, then those of higher
    /// priority come before others, in turn where it is equal. A claim looks
    /// at a bounded number of deployments, and the next one goes on behind
    /// them.
    async fn claim(&self, owner: IncarnationId, limit: u32) -> Result<Vec<Claimed>, StoreError>;

    /// Takes up to `limit` executions that nobody owns and that are past a
    /// deadline, to be ended: as [`ExecutionStore::claim`], but however many
    /// others are due before them, and without starting what has not started.
    async fn seize_overdue(
        &self,
        by: IncarnationId,
        limit: u32,
    ) -> Result<Vec<Overdue>, StoreError>;

    /// How long until the next unowned execution is due, by the database's
    /// clock: zero when one is due now, `None` when there is none. A hint for
    /// when to call [`ExecutionStore::claim`].
    async fn next_due(&self) -> Result<Option<Duration>, StoreError>;

    /// Gives one owned execution back: PENDING, due now, epoch raised.
    /// `false` when it was no longer owned with that epoch.
    async fn release(
        &self,
        id: ExecutionId,
        owner: IncarnationId,
        epoch: u64,
    ) -> Result<bool, StoreError>;

    /// As [`ExecutionStore::release`] for one that could not be started, or
    /// gone on with: due after [`crate::settings::back_off`], which grows
    /// until a checkpoint is committed.
    async fn back_off(
        &self,
        id: ExecutionId,
        owner: IncarnationId,
        epoch: u64,
    ) -> Result<bool, StoreError>;

    /// Hands out slots that are free though executions queue for them: a
    /// limit was raised or dropped, or an end was cut off from it. Looks at
    /// a bounded number of queues after `after`; answers how many executions
    /// became due, and where to go on (`None` at the end).
    async fn fill_slots(
        &self,
        after: Option<&QueuePlace>,
    ) -> Result<(u64, Option<QueuePlace>), StoreError>;

    /// What `owner` owns, with the epochs; 10,000 at most.
    async fn owned(&self, owner: IncarnationId) -> Result<Vec<(ExecutionId, u64)>, StoreError>;

    /// Asks for an execution's end. The request stays with it until it has
    /// ended, through releases and takeovers; the first reason stays. One
    /// that nobody owns is made `by`'s, with a raised epoch; should `by`'s
    /// lease have run out, it is made due at once instead. `None` when there
    /// is no such execution.
    async fn request_cancel(
        &self,
        id: ExecutionId,
        by: IncarnationId,
        reason: &str,
    ) -> Result<Option<CancelRequested>, StoreError>;

    /// The requests to cancel what `owner` owns; 1,000 at most.
    async fn cancel_requests(&self, owner: IncarnationId)
    -> Result<Vec<CancelRequest>, StoreError>;

    /// The answer that is kept with a dedupe key, for as long as the key. When
    /// there is none yet it is `made`, from now on, whoever asks. `None` when
    /// nothing was kept, or the key no longer stands for the execution.
    async fn first_answer(
        &self,
        key: &AnswerKey,
        made: Option<Bytes>,
    ) -> Result<Option<Bytes>, StoreError>;

    /// Whether frames of this ended execution are kept.
    async fn keeps_frames(&self, id: ExecutionId) -> Result<bool, StoreError>;

    async fn execution(&self, id: ExecutionId) -> Result<Option<ExecutionRecord>, StoreError>;

    /// Newest first (by id, descending), live and ended in one snapshot. A
    /// page that had to check many rows may hold fewer than its limit, or
    /// none, and yet be followed by another: see [`walk`](crate::walk).
    async fn list_executions(
        &self,
        filter: &ExecutionFilter,
        page: &PageRequest,
    ) -> Result<Page<ExecutionRecord>, StoreError>;

    /// Oldest first. The cursor is the `seq` of the last one seen. `None`
    /// when there is no such execution.
    async fn execution_events(
        &self,
        id: ExecutionId,
        page: &PageRequest,
    ) -> Result<Option<Page<EventRecord>>, StoreError>;

    /// Makes partitions for the days ahead and drops those, and deletes those
    /// rows, that retention lets go; expired dedupe rows and gathered events
    /// too. Bounded work: answers whether more is left to do. What fails of it
    /// does not stop the rest, and is answered when nothing else is left to do.
    async fn maintain(&self) -> Result<bool, StoreError>;
}
