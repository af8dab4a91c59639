//! The orchestrator as a whole: what its parts share, its start and its end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millrace_service::{OnFailure, TaskGroup, metrics};
use millrace_store::{
    InstanceRecord, PageRequest, StoreError, WorkloadFilter, WorkloadRecord, WorkloadStore,
};
use millrace_types::{InstanceId, WorkloadId};
use tokio::sync::{broadcast, mpsc, watch};

use crate::OrchestratorConfig;
use crate::backend::{Backend, Owner};
use crate::build::tree;
use crate::checkouts::Turns;
use crate::ground;
use crate::logs::LogHub;
use crate::operation::Jobs;
use crate::ports::PortPool;
use crate::process::ProcessBackend;
use crate::project::Roots;
use crate::saver::{self, Saver};
use crate::workload::{Actor, Handle, View};

/// Calls that wait for a workload's task.
const CALLS: usize = 64;
/// Changes that a watcher may lag behind before it looks at all again.
const CHANGES: usize = 1024;

/// How long what was left of jobs may take to be gone once it was killed.
const JOBS_END: Duration = Duration::from_secs(10);

/// Why an orchestrator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the orchestrator's folder {}: {error}", path.display())]
    Folder { path: PathBuf, error: io::Error },
    #[error("logs cannot be followed: {0}")]
    Inotify(io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs services. Clones stand for the same one.
#[derive(Clone)]
pub struct WorkloadOrchestrator {
    pub(crate) shared: Arc<Shared>,
}

/// What all parts use.
pub(crate) struct Shared {
    pub config: OrchestratorConfig,
    pub store: Arc<dyn WorkloadStore>,
    pub saver: Saver,
    pub ports: PortPool,
    pub backend: Arc<dyn Backend>,
    pub hub: Arc<LogHub>,
    /// Of callers: they end with what these wait for.
    pub jobs: Jobs,
    /// Of workloads that are made ready.
    pub preparations: Jobs,
    pub roots: Roots,
    pub tasks: TaskGroup,
    /// What callers wait for; ends before everything else.
    pub streams: TaskGroup,
    pub changes: broadcast::Sender<Arc<View>>,
    handles: Mutex<HashMap<WorkloadId, Handle>>,
    /// Turns at the checkouts of projects.
    pub checkouts: Turns,
    /// Held while the row of a project is read, changed and written back.
    pub project_rows: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for WorkloadOrchestrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkloadOrchestrator")
            .field(&self.shared)
            .finish()
    }
}

impl WorkloadOrchestrator {
    /// Takes up what runs, and starts what should. Background work is spawned
    /// on `tasks`; when they stop, services are left running. Answers that
    /// have no end of their own end with `listeners`.
    pub async fn start(
        config: OrchestratorConfig,
        store: Arc<dyn WorkloadStore>,
        tasks: &TaskGroup,
        listeners: &TaskGroup,
    ) -> Result<Self, StartError> {
        let shared = Arc::new(Shared::new(config, store, tasks, listeners)?);
        let hub = shared.hub.clone();
        tasks.spawn("log-hub", OnFailure::StopService, |stop| hub.run(stop));
        let shown = Arc::downgrade(&shared);
        metrics::add_section(move || Some(crate::metrics::text(&*shown.upgrade()?)));
        let orchestrator = Self { shared };
        orchestrator.take_up().await?;
        Ok(orchestrator)
    }

    async fn take_up(&self) -> Result<(), StartError> {
        let shared = &self.shared;
        let mut living = Vec::new();
        loop {
            let after = living.last().map(|record: &InstanceRecord| record.id);
            let more = shared
                .store
                .living_instances(&shared.config.node_id, after)
                .await?;
            if more.is_empty() {
                break;
            }
            living.extend(more);
        }
        // Before anything is started: what comes later is no stray.
        let known: Vec<InstanceId> = living.iter().map(|record| record.id).collect();
        let strays = shared.backend.strays(&known);
        let strays = strays.map_err(|error| StartError::Folder {
            path: shared.config.data_dir.join("run"),
            error,
        })?;
        let (jobs, strays): (Vec<_>, Vec<_>) = strays
            .into_iter()
            .partition(|name| shared.backend.is_job(name));
        // Builds are among them, which those of now must not find at work.
        let ends = jobs.iter().map(|name| shared.backend.end_stray(name));
        let ends = futures::future::join_all(ends);
        if tokio::time::timeout(JOBS_END, ends).await.is_err() {
            tracing::warn!("jobs of before do not end though they were killed");
        }
        let projects = shared.config.data_dir.join("projects");
        let checkouts = shared.all_checkouts().map_err(|error| StartError::Folder {
            path: projects.clone(),
            error,
        })?;
        // Builds and fetches of a process before this one, that was killed:
        // those of now must not find them at work.
        for place in [shared.cache_dir(), projects] {
            let killed = tree::sweep(&place).await;
            if killed > 0 {
                tracing::warn!("{killed} processes of a build or of Git were left, and are killed");
            }
        }
        for record in &living {
            if let Some(port) = record.port {
                shared.ports.keep(port, record.id);
            }
        }
        let filter = WorkloadFilter {
            node_id: Some(shared.config.node_id.clone()),
            project_id: None,
        };
        let mut keys = HashMap::new();
        let mut page = PageRequest {
            cursor: None,
            limit: 500,
        };
        loop {
            let found = shared.store.workloads(&filter, &page).await?;
            for record in found.items {
                let key = match keys.get(&record.project_id) {
                    Some(key) => String::clone(key),
                    None => {
                        let project = shared.store.project(record.project_id).await?;
                        let key = project.map_or_else(String::new, |project| project.key);
                        keys.insert(record.project_id, key.clone());
                        key
                    }
                };
                shared.spawn_actor(record, key);
            }
            page.cursor = found.next;
            if page.cursor.is_none() {
                break;
            }
        }
        self.end_strays(strays);
        let logs = crate::logs::expire(Arc::clone(shared));
        shared
            .tasks
            .spawn("log-ages", OnFailure::Log, |stop| async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = logs => {}
                }
                Ok::<(), Infallible>(())
            });
        let sweeper = Arc::clone(&self.shared);
        self.shared
            .tasks
            .spawn("checkouts", OnFailure::Log, |stop| async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = sweeper.sweep_checkouts(checkouts) => {}
                }
                Ok::<(), Infallible>(())
            });
        Ok(())
    }

    /// Instances that nobody knows of: their workload was deleted, or the
    /// database is another one.
    fn end_strays(&self, strays: Vec<String>) {
        if strays.is_empty() {
            return;
        }
        let backend = Arc::clone(&self.shared.backend);
        let end = move |_| async move {
            for stray in strays {
                backend.end_stray(&stray).await;
            }
            Ok::<(), Infallible>(())
        };
        self.shared.tasks.spawn("strays", OnFailure::Log, end);
    }
}

impl Shared {
    fn new(
        config: OrchestratorConfig,
        store: Arc<dyn WorkloadStore>,
        tasks: &TaskGroup,
        listeners: &TaskGroup,
    ) -> Result<Self, StartError> {
        let folder = |path: PathBuf| {
            std::fs::create_dir_all(&path)
                .map(|()| path.clone())
                .map_err(|error| StartError::Folder { path, error })
        };
        for name in ["run", "workloads", "cache", "projects"] {
            folder(config.data_dir.join(name))?;
        }
        ground::tidy(&config.data_dir).map_err(|error| StartError::Folder {
            path: config.data_dir.clone(),
            error,
        })?;
        let programs = folder(config.data_dir.join("bin"))?;
        let backend = ProcessBackend::new(
            &config.data_dir,
            &config.node_id,
            config.secrets_dir.as_deref(),
        )
        .map_err(|error| StartError::Folder {
            path: programs,
            error,
        })?
        .with_open_files(config.open_files);
        let backend: Arc<dyn Backend> = Arc::new(backend);
        let hub = Arc::new(LogHub::new().map_err(StartError::Inotify)?);
        let jobs =
            |tasks: &TaskGroup| Jobs::new(Arc::clone(&backend), Arc::clone(&hub), tasks.clone());
        let (saver, saves) = Saver::new();
        let writes = Arc::clone(&store);
        tasks.spawn(
            "workload-saves",
            OnFailure::StopService,
            |stop| async move {
                saver::run(writes, saves, stop).await;
                Ok::<(), Infallible>(())
            },
        );
        Ok(Self {
            ports: PortPool::new(config.ports.clone()),
            jobs: jobs(listeners),
            preparations: jobs(tasks),
            hub,
            roots: Roots::new(config.roots.clone()),
            tasks: tasks.clone(),
            streams: listeners.clone(),
            changes: broadcast::channel(CHANGES).0,
            handles: Mutex::default(),
            checkouts: Turns::default(),
            project_rows: tokio::sync::Mutex::default(),
            config,
            store,
            saver,
            backend,
        })
    }

    pub(crate) fn handles(&self) -> MutexGuard<'_, HashMap<WorkloadId, Handle>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the task of a workload of this node.
    pub(crate) fn handle(&self, id: WorkloadId) -> Option<Handle> {
        self.handles().get(&id).cloned()
    }

    /// Starts the task of a workload; there is one for each.
    pub(crate) fn spawn_actor(self: &Arc<Self>, record: WorkloadRecord, key: String) -> Handle {
        let id = record.id;
        if let Err(error) = ground::close(&self.workload_dir(id)) {
            tracing::warn!(%error, workload = %id, "the folder of a workload: {error}");
        }
        let mut handles = self.handles();
        if let Some(handle) = handles.get(&id) {
            return handle.clone();
        }
        let (calls, received) = mpsc::channel(CALLS);
        let (view, seen) = watch::channel(View {
            record,
            project_key: key,
            instances: Vec::new(),
            settled: 0,
            deleted: false,
        });
        let handle = Handle { calls, view: seen };
        handles.insert(id, handle.clone());
        drop(handles);
        let shared = Arc::clone(self);
        let actor = Actor::new(Arc::clone(self), received, view);
        self.tasks
            .spawn("workload", OnFailure::Log, move |stop| async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = actor.run() => {
                        shared.handles().remove(&id);
                    }
                }
                Ok::<(), Infallible>(())
            });
        handle
    }

    pub(crate) fn workload_dir(&self, id: WorkloadId) -> PathBuf {
        self.config.data_dir.join("workloads").join(id.to_string())
    }

    pub(crate) fn log_dir(&self, id: WorkloadId) -> PathBuf {
        self.backend.logs(Owner::Workload(id))
    }

    pub(crate) fn data_dir(&self, id: WorkloadId) -> PathBuf {
        self.workload_dir(id).join("data")
    }

    /// What a workload may write besides its data: gone with it.
    pub(crate) fn temporary_dir(&self, id: WorkloadId) -> PathBuf {
        self.workload_dir(id).join("tmp")
    }

    pub(crate) fn run_dir(&self, id: InstanceId) -> PathBuf {
        self.config.data_dir.join("run").join(id.to_string())
    }

    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.config.data_dir.join("cache")
    }
}
