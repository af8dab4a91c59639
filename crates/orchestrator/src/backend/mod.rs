//! The contract between the task of a workload, which decides what is to run,
//! and what runs it. Processes behind shims are its first implementation
//! ([`crate::process`]); `conformance` is the suite that each has to pass.
//!
//! ```text
//!  prepare ──▶ start ──▶ Instance: observe, stop ──▶ close ──▶ forget
//!                            ▲
//!  (this process is new) ── adopt
//! ```
//!
//! What all of them promise: an instance runs on whatever happens to the
//! orchestrator, and is found again by its id; what it writes is in
//! [`Backend::logs`] with a sequence of its own, also while nobody listens; how
//! it ended is told truly, however late it is asked; and when it is closed,
//! nothing of its tree is left.

#[cfg(test)]
pub(crate) mod conformance;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use millrace_shim::log::Keep;
use millrace_shim::record::Stage;
use millrace_types::{InstanceId, Timestamp, WorkloadId};

use crate::prepare::StageError;
use crate::spec::{Isolation, Resources, ServiceSpec};

/// Whose instance it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Its log is that of the workload, and outlives it.
    Workload(WorkloadId),
    /// A job has a log of its own, which goes with it.
    Job(InstanceId),
}

/// An instance that is to be started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order<'a> {
    pub id: InstanceId,
    pub owner: Owner,
    /// The program, absolute or found on PATH, and its arguments.
    pub command: &'a [String],
    /// Without it, an empty folder of its own, which goes with it.
    pub working_dir: Option<&'a Path>,
    /// Its standard input; nothing without it.
    pub stdin: Option<&'a [u8]>,
    /// All of its environment.
    pub env: &'a BTreeMap<String, String>,
    pub keep: Keep,
    pub resources: &'a Resources,
    /// Whether a limit that cannot be enforced is a reason not to start.
    pub enforce: bool,
    pub user: Option<&'a str>,
    pub isolation: Isolation,
    /// Folders of Millrace that `isolation: strict` lets it read.
    pub readable: &'a [PathBuf],
    /// Folders that it lets it write.
    pub writable: &'a [PathBuf],
    /// Is kept beside it ([`Backend::note`]), for whoever adopts it.
    pub note: &'a str,
}

/// Where an instance runs: what a probe needs to look at it from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Surroundings {
    pub working_dir: PathBuf,
    pub env: BTreeMap<String, String>,
    /// User and group, where those are not this process' own.
    pub user: Option<(u32, u32)>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub at: Timestamp,
    /// Lines of its log that could not be written at its end; what stands for
    /// them is in the log once it is closed.
    pub lost: u64,
}

/// All that there is to know of an instance that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    /// `None`: nobody saw it end.
    pub exit: Option<Exit>,
    pub out_of_memory: bool,
}

/// Runs instances.
#[async_trait]
pub(crate) trait Backend: fmt::Debug + Send + Sync + 'static {
    /// Makes sure that instances of this service can be started here; what
    /// this host cannot do is refused with the reason. Starts nothing.
    async fn prepare(&self, spec: &ServiceSpec) -> Result<(), StageError>;

    /// Starts an instance; comes back once its program runs (or has run
    /// already). When it fails, nothing of it is left. Not to be dropped
    /// before it has come back: what has begun would run on, as a stray.
    async fn start(&self, order: Order<'_>) -> Result<Box<dyn Instance>, StageError>;

    /// Takes up an instance that was started at any time before, by whatever
    /// process. When it is over, it is closed, and how it ended is told.
    async fn adopt(&self, id: InstanceId) -> Result<Box<dyn Instance>, Ended>;

    /// The folder of the log that this owner's instances write into.
    fn logs(&self, owner: Owner) -> PathBuf;

    /// What was kept beside an instance that has not been forgotten.
    fn note(&self, id: InstanceId) -> Option<String>;

    /// Lets go of what is kept about an instance that has been closed; may take
    /// a moment, and blocks meanwhile.
    fn forget(&self, id: InstanceId);

    /// Names of what is there of instances that are not among these.
    fn strays(&self, known: &[InstanceId]) -> io::Result<Vec<String>>;

    /// Whether one of them is a job: nobody can ask for it any more.
    fn is_job(&self, name: &str) -> bool;

    /// Ends and forgets one of them.
    async fn end_stray(&self, name: &str);
}

/// One instance that runs, or has just ended.
#[async_trait]
pub(crate) trait Instance: fmt::Debug + Send + Sync {
    /// Its first process; `None` when that is not known.
    fn pid(&self) -> Option<u32>;

    /// Says how limits and isolation are enforced; empty without any.
    fn enforced(&self) -> &str;

    fn surroundings(&self) -> Surroundings;

    /// Waits for its end; says the same when asked again. Can be dropped at
    /// any time, and loses nothing.
    async fn observe(&mut self) -> Option<Exit>;

    /// Asks all of its tree to end by this signal, and kills what is left of
    /// it after the grace. Its end is for [`Instance::observe`] to see; a
    /// second stop can only make it come sooner.
    async fn stop(&mut self, signal: i32, grace: Duration);

    /// What is written from now on belongs to this stage.
    async fn mark(&mut self, stage: Stage);

    /// Takes away what there still is of one that has ended so, or of which
    /// nobody knows whether it has.
    async fn close(self: Box<Self>, exit: Option<Exit>) -> Ended;
}
