//! The orchestrator as a whole: what its parts share, its start and its end.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millrace_service::{OnFailure, TaskGroup};
use millrace_shim::exit;
use millrace_shim::wire::{Request, State};
use millrace_store::{
    InstanceRecord, PageRequest, StoreError, WorkloadFilter, WorkloadRecord, WorkloadStore,
};
use millrace_types::{InstanceId, WorkloadId};
use tokio::sync::{broadcast, mpsc, watch};

use crate::OrchestratorConfig;
use crate::limits::Host;
use crate::logs::LogHub;
use crate::ports::PortPool;
use crate::process::{ShimLink, ShimProgram, Told};
use crate::project::Roots;
use crate::saver::{self, Saver};
use crate::workload::{Actor, Handle, View, Wish};

/// Calls that wait for a workload's task.
const CALLS: usize = 64;
/// Changes that a watcher may lag behind before it looks at all again.
const CHANGES: usize = 1024;
/// How long a shim may take to say what its state is.
const ANSWER: Duration = Duration::from_secs(5);

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
    pub shim: ShimProgram,
    pub host: Host,
    pub hub: Arc<LogHub>,
    pub roots: Roots,
    pub tasks: TaskGroup,
    /// What callers wait for; ends before everything else.
    pub streams: TaskGroup,
    pub changes: broadcast::Sender<Arc<View>>,
    handles: Mutex<HashMap<WorkloadId, Handle>>,
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
        let orchestrator = Self { shared };
        orchestrator.take_up().await?;
        Ok(orchestrator)
    }

    async fn take_up(&self) -> Result<(), StartError> {
        let shared = &self.shared;
        // Before anything is started: what comes later is no stray.
        let run = shared.config.data_dir.join("run");
        let there: Vec<PathBuf> = std::fs::read_dir(&run)
            .map_err(|error| StartError::Folder { path: run, error })?
            .flatten()
            .map(|entry| entry.path())
            .collect();
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
        let known = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str());
            let id = name.and_then(|name| name.parse::<InstanceId>().ok());
            living.iter().any(|record| Some(record.id) == id)
        };
        self.end_strays(there.into_iter().filter(|path| !known(path)).collect());
        Ok(())
    }

    /// Shims that nobody knows of: their workload was deleted, or the
    /// database is another one.
    fn end_strays(&self, strays: Vec<PathBuf>) {
        if strays.is_empty() {
            return;
        }
        let end = move |_| async move {
            for path in strays {
                if let Ok(mut link) = ShimLink::connect(&path).await {
                    tracing::warn!(path = %path.display(), "a stray instance is ended");
                    let request = Request::Stop {
                        signal: 15,
                        grace_ms: 5000,
                    };
                    link.ask(request).await;
                    link.ended().await;
                }
                let _ = std::fs::remove_dir_all(path);
            }
            Ok::<(), Infallible>(())
        };
        self.shared.tasks.spawn("strays", OnFailure::Log, end);
    }

    /// Stops every service for as long as this process is away; what is
    /// wanted of them stays, so that the next start starts them again.
    pub async fn suspend_all(&self) {
        let handles: Vec<Handle> = self.shared.handles().values().cloned().collect();
        let ends = handles.into_iter().map(|mut handle| async move {
            if let Some(number) = handle.wish(Wish::Suspend).await {
                // An error means that its task has ended.
                let _ = handle.view.wait_for(|view| view.settled >= number).await;
            }
        });
        futures::future::join_all(ends).await;
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
        for name in ["run", "workloads", "cache"] {
            folder(config.data_dir.join(name))?;
        }
        let programs = folder(config.data_dir.join("bin"))?;
        let shim = ShimProgram::install(&programs).map_err(|error| StartError::Folder {
            path: programs,
            error,
        })?;
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
            host: Host::detect(&config.node_id),
            hub: Arc::new(LogHub::new().map_err(StartError::Inotify)?),
            roots: Roots::new(config.roots.clone()),
            tasks: tasks.clone(),
            streams: listeners.clone(),
            changes: broadcast::channel(CHANGES).0,
            handles: Mutex::default(),
            config,
            store,
            saver,
            shim,
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
        self.workload_dir(id).join("log")
    }

    pub(crate) fn data_dir(&self, id: WorkloadId) -> PathBuf {
        self.workload_dir(id).join("data")
    }

    pub(crate) fn run_dir(&self, id: InstanceId) -> PathBuf {
        self.config.data_dir.join("run").join(id.to_string())
    }

    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.config.data_dir.join("cache")
    }

    /// The shim of an instance, and its process; how it ended when it has.
    pub(crate) async fn find_instance(
        &self,
        record: &InstanceRecord,
    ) -> Result<(ShimLink, Option<u32>), Told> {
        let run_dir = self.run_dir(record.id);
        let Ok(mut link) = ShimLink::connect(&run_dir).await else {
            return Err(ended(&run_dir));
        };
        loop {
            match tokio::time::timeout(ANSWER, link.next()).await {
                Ok(Told::State(State::Starting)) => {}
                Ok(Told::State(State::Running { pid, .. })) => return Ok((link, Some(pid))),
                Ok(told) => return Err(told),
                // It listens, and is busy: it is there.
                Err(_) => return Ok((link, record.pid)),
            }
        }
    }
}

fn ended(run_dir: &Path) -> Told {
    exit::read(run_dir).map_or(Told::Lost, Told::State)
}
