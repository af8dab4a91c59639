//! Projects, workloads and their instances: what an orchestrator keeps.

use async_trait::async_trait;
use millrace_types::{DesiredState, InstanceId, ProjectId, Timestamp, WorkloadId, WorkloadStage};

use crate::{Page, PageRequest, StoreError};

/// Ended instances that are kept of each workload; older ones are deleted.
pub const KEPT_INSTANCES: u32 = 20;

/// Most changes in one call of [`WorkloadStore::save_workloads`].
pub const MAX_SAVES: usize = 500;

/// A folder of services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRecord {
    pub id: ProjectId,
    pub name: String,
    /// Unique, such as `TODO`.
    pub key: String,
    /// Absolute and canonical.
    pub local_path: String,
    /// `{url, ref}` as JSON text, where it comes from Git.
    pub git_json: Option<String>,
    pub created_at: Timestamp,
}

/// One deployed service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadRecord {
    pub id: WorkloadId,
    pub project_id: ProjectId,
    /// The name of its folder; one workload for each (project, service).
    pub service: String,
    /// The orchestrator that owns it.
    pub node_id: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Raised by each change: what [`WorkloadSave`] has to name.
    pub revision: u64,
    pub state: WorkloadState,
}

/// What of a workload changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadState {
    pub desired: DesiredState,
    pub stage: WorkloadStage,
    /// dataobject, process or container; empty before service.json was read.
    pub kind: String,
    /// Of the instance that serves.
    pub port: Option<u16>,
    /// The process of the instance that serves.
    pub pid: Option<u32>,
    /// A word for programs, and a sentence.
    pub error: Option<(String, String)>,
    /// Restarts that nobody asked for, since the last start that somebody did.
    pub restarts: u32,
    pub next_retry_at: Option<Timestamp>,
    /// Whether the instance that serves has answered its readiness probe.
    pub ready: Option<bool>,
}

impl WorkloadState {
    /// As it is made: stopped, and nothing known of it.
    pub const fn new() -> Self {
        Self {
            desired: DesiredState::Stopped,
            stage: WorkloadStage::Pending,
            kind: String::new(),
            port: None,
            pid: None,
            error: None,
            restarts: 0,
            next_retry_at: None,
            ready: None,
        }
    }
}

impl Default for WorkloadState {
    fn default() -> Self {
        Self::new()
    }
}

/// One process of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRecord {
    pub id: InstanceId,
    pub workload_id: WorkloadId,
    pub node_id: String,
    /// Unknown before it runs.
    pub pid: Option<u32>,
    /// No two living instances of a node have the same one.
    pub port: Option<u16>,
    /// Where its shim answers.
    pub socket: String,
    /// When its start was decided.
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    /// Why it ended, where the exit does not tell; else empty.
    pub reason: String,
    /// How its limits are enforced; empty without any.
    pub limits: String,
}

/// One transition of one workload, with the instances that it concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkloadSave {
    pub id: WorkloadId,
    /// The revision that this change was made from.
    pub revision: u64,
    pub state: WorkloadState,
    /// Inserted, or updated where they are there.
    pub instances: Vec<InstanceRecord>,
}

/// Transitions of one workload that can be written as one, since each builds on
/// the one before: all of them are refused, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaveRun {
    /// The last state, at the first revision, with the instances of all.
    pub save: WorkloadSave,
    /// Where they stand among the saves, in their order.
    pub positions: Vec<usize>,
}

impl SaveRun {
    /// All saves in runs. One that may be refused for its port begins a run,
    /// lest it take those before it along.
    pub fn of(saves: &[WorkloadSave]) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for (position, save) in saves.iter().enumerate() {
            let takes_port = save
                .instances
                .iter()
                .any(|instance| instance.port.is_some() && instance.ended_at.is_none());
            let last = runs.iter_mut().rfind(|run| run.save.id == save.id);
            match last.filter(|run| !takes_port && run.revision() == save.revision) {
                Some(run) => {
                    run.save.state = save.state.clone();
                    run.save.instances.extend(save.instances.iter().cloned());
                    run.positions.push(position);
                }
                None => runs.push(Self {
                    save: save.clone(),
                    positions: vec![position],
                }),
            }
        }
        runs
    }

    /// How far it takes the revision.
    pub fn length(&self) -> i64 {
        self.positions.len().cast_signed() as i64
    }

    /// The revision after it.
    fn revision(&self) -> u64 {
        self.save.revision + self.positions.len() as u64
    }

    /// Whether it has an end of an instance, after which older ends may be too
    /// many.
    pub fn has_end(&self) -> bool {
        let mut instances = self.save.instances.iter();
        instances.any(|instance| instance.ended_at.is_some())
    }

    /// Enters what became of it among the outcomes of all saves.
    pub fn tell(&self, written: Result<Timestamp, Saved>, outcomes: &mut [Saved]) {
        for (step, position) in (1..).zip(&self.positions) {
            outcomes[*position] = match written {
                Ok(at) => Saved::Done {
                    revision: self.save.revision + step,
                    at,
                },
                Err(refused) => refused,
            };
        }
    }
}

/// What became of one [`WorkloadSave`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Saved {
    /// The revision that it has now.
    Done { revision: u64, at: Timestamp },
    /// It is gone, or at another revision; nothing of it was written.
    Stale,
    /// Another living instance of the node has that port; nothing of it was
    /// written.
    PortTaken,
}

/// Why a project was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateProjectRefused {
    #[error("the key {0} belongs to another project")]
    KeyTaken(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a project was not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteProjectRefused {
    #[error("project {0} does not exist")]
    NotFound(ProjectId),
    #[error("project {0} still has workloads; delete them first")]
    HasWorkloads(ProjectId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a workload was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateWorkloadRefused {
    #[error("project {0} does not exist")]
    NoProject(ProjectId),
    #[error("this service has a workload already: {0}")]
    Exists(WorkloadId),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which workloads a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WorkloadFilter {
    pub project_id: Option<ProjectId>,
    pub node_id: Option<String>,
}

#[async_trait]
pub trait WorkloadStore: Send + Sync + 'static {
    /// Enters a project. The same record again changes nothing and succeeds.
    async fn create_project(&self, project: &ProjectRecord) -> Result<(), CreateProjectRefused>;

    async fn project(&self, id: ProjectId) -> Result<Option<ProjectRecord>, StoreError>;

    async fn project_by_key(&self, key: &str) -> Result<Option<ProjectRecord>, StoreError>;

    /// Newest first; the cursor is an identifier.
    async fn projects(&self, page: &PageRequest) -> Result<Page<ProjectRecord>, StoreError>;

    /// Sets name, path and Git source; answers whether it is there.
    async fn update_project(&self, project: &ProjectRecord) -> Result<bool, StoreError>;

    /// Deletes a project that has no workloads.
    async fn delete_project(&self, id: ProjectId) -> Result<(), DeleteProjectRefused>;

    /// Enters a workload as [`WorkloadState::new`] with revision 1, owned by
    /// `node_id`. The same identifier again changes nothing and succeeds.
    async fn create_workload(
        &self,
        id: WorkloadId,
        project_id: ProjectId,
        service: &str,
        node_id: &str,
    ) -> Result<WorkloadRecord, CreateWorkloadRefused>;

    /// The workloads of these services of a project, in their order. Those
    /// that are missing are entered with the identifiers that stand with them,
    /// as by [`WorkloadStore::create_workload`], all in one transaction.
    async fn ensure_workloads(
        &self,
        project_id: ProjectId,
        services: &[(WorkloadId, String)],
        node_id: &str,
    ) -> Result<Vec<WorkloadRecord>, CreateWorkloadRefused>;

    async fn workload(&self, id: WorkloadId) -> Result<Option<WorkloadRecord>, StoreError>;

    async fn workload_of(
        &self,
        project_id: ProjectId,
        service: &str,
    ) -> Result<Option<WorkloadRecord>, StoreError>;

    /// Newest first; the cursor is an identifier.
    async fn workloads(
        &self,
        filter: &WorkloadFilter,
        page: &PageRequest,
    ) -> Result<Page<WorkloadRecord>, StoreError>;

    /// Writes up to [`MAX_SAVES`] transitions in one transaction; each has an
    /// outcome of its own, in their order. Several may be of one workload, each
    /// building on the one before. Of the ended instances of each workload, the
    /// last [`KEPT_INSTANCES`] are kept.
    async fn save_workloads(&self, saves: &[WorkloadSave]) -> Result<Vec<Saved>, StoreError>;

    /// Deletes a workload and its instances; answers whether it was there.
    async fn delete_workload(&self, id: WorkloadId) -> Result<bool, StoreError>;

    /// The last `limit` instances of a workload, oldest first.
    async fn instances(
        &self,
        id: WorkloadId,
        limit: u32,
    ) -> Result<Vec<InstanceRecord>, StoreError>;

    /// Every instance of a node that has not ended, oldest first, after
    /// `after`, at most 1000.
    async fn living_instances(
        &self,
        node_id: &str,
        after: Option<InstanceId>,
    ) -> Result<Vec<InstanceRecord>, StoreError>;
}
