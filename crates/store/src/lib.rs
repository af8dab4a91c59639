//! What Millrace keeps, and what is promised about it.
//!
//! This crate owns the *contract* between the runtime and its database: the
//! records, the operations, and what survives a crash after each returns. It
//! knows no SQL. PostgreSQL and SQLite implement it in crates of their own,
//! and `conformance` (behind the feature of that name) is the one suite that
//! both must pass.
//!
//! ```text
//!  admit ──▶ executions (live, small) ──end──▶ executions_ended (partitioned)
//!               │ frames, timers, listeners            │
//!               └──────────── execution_events (by day)┘
//! ```
//!
//! Rules that every implementation keeps:
//!
//! - **One method is one transaction.** When it has returned `Ok`, what it
//!   says has happened survives a crash of the process and of the database.
//! - **Every write of an execution is fenced** by (owner, epoch): the database
//!   refuses it when the execution has been taken over ([`WriteRefused`]).
//! - **The database's clock decides** about leases and due times, never the
//!   host's. (SQLite lives in the process and has no clock but the host's.)
//! - **A batch gives each row its own outcome.** [`batch::GroupCommit`] groups
//!   callers' writes, and splits and repeats a batch that fails as a whole.

pub mod api_key;
pub mod batch;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod deployment;
pub mod error;
pub mod event;
pub mod execution;
pub mod fair;
pub mod gather;
pub mod incarnation;
pub mod maintenance;
mod metrics;
pub mod monitoring;
pub mod page;
pub mod schedule;
pub mod settings;
pub mod trigger_slots;
pub mod walk;
pub mod workload;

pub use api_key::{
    ApiKeyRecord, ApiKeyState, ApiKeyStore, CreateApiKeyRefused, NewApiKey, StoredApiKey,
};
pub use batch::{GroupCommit, GroupCommitConfig};
pub use deployment::{
    DeployRefused, Deployed, DeploymentFilter, DeploymentRecord, DeploymentStore, NewDeployment,
    NewTrigger, SealedSecrets, TriggerRecord, VersionBundle, VersionRecord, VersionSummary,
    WebhookMatch, WebhookRoute,
};
pub use error::StoreError;
pub use event::{
    Delivery, EmittedEvent, EventListener, EventStore, ListenerFilter, ListenerRecord, Publication,
    ReceivedEvent, Subscription, SubscriptionPlace,
};
pub use execution::{
    Admission, AdmissionRefused, Admitted, AnswerKey, CancelRequest, CancelRequested, Checkpoint,
    Claimed, Deadline, Dedupe, Ending, EventRecord, ExecutionFilter, ExecutionRecord,
    ExecutionStore, FrameRecord, Lane, Outcome, Overdue, QueuePlace, RerunOf, TimerRecord,
    TriggerRef, Write, WriteDone, WriteRefused,
};
pub use gather::{Gathered, Gathering};
pub use incarnation::IncarnationStore;
pub use monitoring::{
    Count, DeploymentFigures, EndedFigures, FireFigures, InstanceFigures, LoadFigures,
    MonitoringStore, NextFire, Sample, ScheduleFigures,
};
pub use page::{Page, PageRequest};
pub use schedule::backfill::{
    BackfillAsked, BackfillPart, BackfillRecord, BackfillStart, BackfillStore, DueBackfills,
    LEDGER_DAYS,
};
pub use schedule::control::{SchedulerCommand, SchedulerState, SchedulerStore};
pub use schedule::{
    Decision, DriftRecord, DueSchedules, FireFilter, FireOutcome, FireRecord, Occurrence, Overlap,
    ScheduleRecord, ScheduleStore, Verdict,
};
pub use settings::{
    Concurrency, ConcurrencyPolicy, DeploymentSettings, Limits, NoSlotKeys, RETENTION_CLASSES,
    SlotKeys, SlotRules,
};
pub use trigger_slots::{StoredSlot, trigger_slots};
pub use walk::{SCAN_BUDGET, Walk, Wanted};
pub use workload::{
    CreateProjectRefused, CreateWorkloadRefused, DeleteProjectRefused, InstanceRecord,
    ProjectRecord, Saved, WorkloadFilter, WorkloadRecord, WorkloadSave, WorkloadState,
    WorkloadStore,
};

/// Everything that runtime and orchestrator ask of their database.
pub trait Store:
    ApiKeyStore
    + DeploymentStore
    + EventStore
    + ExecutionStore
    + IncarnationStore
    + ScheduleStore
    + MonitoringStore
    + WorkloadStore
{
}

impl<T> Store for T where
    T: ApiKeyStore
        + DeploymentStore
        + EventStore
        + ExecutionStore
        + IncarnationStore
        + ScheduleStore
        + MonitoringStore
        + WorkloadStore
{
}
