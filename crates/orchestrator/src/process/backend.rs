//! Processes as a backend: each behind a shim, found again by its folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use millrace_shim::exit;
use millrace_shim::launch::Launch;
use millrace_shim::record::Stage;
use millrace_shim::wire::{Request, State};
use millrace_types::{InstanceId, Timestamp};

use super::spawn::{SPEC, Start, spawn};
use super::{ShimLink, ShimProgram, Told};
use super::{confine, leftovers};
use crate::backend::{Backend, Ended, Exit, Instance, Order, Owner, Surroundings};
use crate::limits::{Host, Placement};
use crate::prepare::StageError;
use crate::spec::{Isolation, ServiceSpec};

/// How long a shim may take to say what its state is.
const ANSWER: Duration = Duration::from_secs(5);
/// What a stray instance has left after it was asked to end.
const STRAY_GRACE: Duration = Duration::from_secs(5);
const TERMINATE: i32 = 15;

/// Runs processes of this host.
#[derive(Debug)]
pub(crate) struct ProcessBackend {
    shim: ShimProgram,
    host: Host,
    /// A folder for each instance.
    runs: PathBuf,
    /// A folder for each workload.
    workloads: PathBuf,
    /// What a strictly isolated instance must not look into.
    hidden: Vec<PathBuf>,
}

impl ProcessBackend {
    /// Below `data_dir`, for the node of this name. The folders are there.
    /// `secrets` are for nobody but this process to read.
    pub(crate) fn new(data_dir: &Path, node_id: &str, secrets: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            shim: ShimProgram::install(&data_dir.join("bin"))?,
            host: Host::detect(node_id),
            runs: data_dir.join("run"),
            workloads: data_dir.join("workloads"),
            hidden: [Some(data_dir), secrets]
                .into_iter()
                .flatten()
                .map(Path::to_owned)
                .collect(),
        })
    }

    fn run_dir(&self, id: InstanceId) -> PathBuf {
        self.runs.join(id.to_string())
    }

    async fn launch(
        &self,
        order: &Order<'_>,
        placement: &Placement,
    ) -> Result<ShimLink, StageError> {
        if order.enforce && placement.description.contains("not enforced") {
            let description = placement.description.clone();
            return Err(StageError::new("limits-refused", description));
        }
        let user = user(order.user)?;
        let confined = if order.isolation == Isolation::Strict {
            let confined = confine::confined(&self.hidden, order.readable, order.writable);
            Some(confined.map_err(|error| {
                let message = format!("its files cannot be told apart: {error}");
                StageError::new("isolation-unavailable", message)
            })?)
        } else {
            None
        };
        let launch = Launch {
            instance: order.id.as_u128(),
            command: order.command.iter().map(Into::into).collect(),
            working_dir: order.working_dir.to_owned(),
            stdin: order.stdin.map(Path::to_owned),
            env: order
                .env
                .iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            log_dir: self.logs(order.owner),
            keep: order.keep,
            cgroups: placement.procs(),
            cgroup_kill: placement.kill.clone(),
            limits: placement.limits.clone(),
            user,
            no_new_privs: order.isolation != Isolation::None,
            confined,
        };
        let run_dir = self.run_dir(order.id);
        let start = Start {
            launch: &launch,
            run_dir: &run_dir,
            spec_json: order.note,
        };
        spawn(&self.shim, start)
            .await
            .map_err(|error| StageError::new("start-failed", error.to_string()))
    }
}

fn user(name: Option<&str>) -> Result<Option<(u32, u32)>, StageError> {
    name.map(crate::user::find)
        .transpose()
        .map_err(|error| StageError::new("no-user", error.to_string()))
}

#[async_trait]
impl Backend for ProcessBackend {
    async fn prepare(&self, spec: &ServiceSpec) -> Result<(), StageError> {
        if spec.isolation == Isolation::Strict {
            confine::available()?;
        }
        user(spec.user.as_deref()).map(|_| ())
    }

    async fn start(&self, order: Order<'_>) -> Result<Box<dyn Instance>, StageError> {
        let isolation = match order.isolation {
            Isolation::Strict => Some(confine::available()?),
            Isolation::None | Isolation::Basic => None,
        };
        let mut placement = self
            .host
            .place(&order.id.to_string(), order.resources)
            .map_err(|error| StageError::new("limits-refused", error.to_string()))?;
        let link = match self.launch(&order, &placement).await {
            Ok(link) => link,
            Err(error) => {
                placement.remove().await;
                return Err(error);
            }
        };
        if let Some(isolation) = isolation {
            if !placement.description.is_empty() {
                placement.description.push_str(", ");
            }
            placement.description.push_str(&isolation);
        }
        let mut process = Process {
            id: order.id,
            run_dir: self.run_dir(order.id),
            link,
            pid: None,
            placement,
        };
        match process.until_it_runs(&order.command[0]).await {
            Ok(()) => Ok(Box::new(process)),
            Err(error) => {
                process.placement.remove().await;
                Err(error)
            }
        }
    }

    async fn adopt(&self, id: InstanceId) -> Result<Box<dyn Instance>, Ended> {
        let run_dir = self.run_dir(id);
        let placement = Placement::find(&self.host, &id.to_string());
        let told = match ShimLink::connect(&run_dir).await {
            Ok(mut link) => match link.state(ANSWER).await {
                Ok(pid) => {
                    return Ok(Box::new(Process {
                        id,
                        run_dir,
                        link,
                        pid,
                        placement,
                    }));
                }
                Err(told) => told,
            },
            Err(_) => exit::read(&run_dir).map_or(Told::Lost, Told::State),
        };
        Err(close(id, placement, exit_of(&told)).await)
    }

    fn logs(&self, owner: Owner) -> PathBuf {
        match owner {
            Owner::Workload(workload) => self.workloads.join(workload.to_string()).join("log"),
            Owner::Job(id) => self.run_dir(id).join("log"),
        }
    }

    fn note(&self, id: InstanceId) -> Option<String> {
        fs::read_to_string(self.run_dir(id).join(SPEC)).ok()
    }

    fn forget(&self, id: InstanceId) {
        let _ = fs::remove_dir_all(self.run_dir(id));
    }

    fn strays(&self, known: &[InstanceId]) -> io::Result<Vec<String>> {
        let mut strays = Vec::new();
        for entry in fs::read_dir(&self.runs)? {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            let id = name.parse::<InstanceId>().ok();
            if !id.is_some_and(|id| known.contains(&id)) {
                strays.push(name);
            }
        }
        Ok(strays)
    }

    async fn end_stray(&self, name: &str) {
        let path = self.runs.join(name);
        if let Ok(mut link) = ShimLink::connect(&path).await {
            tracing::warn!(path = %path.display(), "a stray instance is ended");
            link.ask(stop(TERMINATE, STRAY_GRACE)).await;
            link.ended().await;
        }
        let _ = fs::remove_dir_all(path);
    }
}

/// A process with a shim in front.
#[derive(Debug)]
struct Process {
    id: InstanceId,
    run_dir: PathBuf,
    link: ShimLink,
    pid: Option<u32>,
    placement: Placement,
}

impl Process {
    async fn until_it_runs(&mut self, program: &str) -> Result<(), StageError> {
        loop {
            match self.link.next().await {
                Told::State(State::Starting) => {}
                Told::State(State::Running { pid, .. }) => {
                    self.pid = Some(pid);
                    return Ok(());
                }
                Told::State(State::Failed { errno, message }) => {
                    let reason = match errno {
                        2 => "command-not-found",
                        13 => "command-not-executable",
                        _ => "start-failed",
                    };
                    return Err(StageError::new(reason, format!("{program}: {message}")));
                }
                // It is over already: whoever observes it is told.
                Told::State(State::Exited(_)) => return Ok(()),
                Told::Lost => {
                    let said = fs::read_to_string(self.run_dir.join("shim.err"));
                    let message = format!("the shim died: {}", said.unwrap_or_default());
                    return Err(StageError::new("start-failed", message));
                }
            }
        }
    }
}

#[async_trait]
impl Instance for Process {
    fn pid(&self) -> Option<u32> {
        self.pid
    }

    fn enforced(&self) -> &str {
        &self.placement.description
    }

    fn surroundings(&self) -> Surroundings {
        match Launch::read(&self.run_dir) {
            Ok(launch) => {
                let text = |s: std::ffi::OsString| s.to_string_lossy().into_owned();
                let env = launch.env.into_iter().map(|(n, v)| (text(n), text(v)));
                Surroundings {
                    working_dir: launch.working_dir,
                    env: env.collect(),
                }
            }
            Err(_) => Surroundings {
                working_dir: self.run_dir.clone(),
                env: crate::workload::inherited(),
            },
        }
    }

    async fn observe(&mut self) -> Option<Exit> {
        exit_of(&self.link.ended().await)
    }

    async fn stop(&mut self, signal: i32, grace: Duration) {
        self.link.ask(stop(signal, grace)).await;
    }

    async fn mark(&mut self, stage: Stage) {
        self.link.ask(Request::Stage(stage as u8)).await;
    }

    async fn close(self: Box<Self>, exit: Option<Exit>) -> Ended {
        close(self.id, self.placement, exit).await
    }
}

fn stop(signal: i32, grace: Duration) -> Request {
    Request::Stop {
        signal,
        grace_ms: u64::try_from(grace.as_millis()).unwrap_or(u64::MAX),
    }
}

fn exit_of(told: &Told) -> Option<Exit> {
    match told {
        Told::State(State::Exited(exit)) => Some(Exit {
            code: exit.code,
            signal: exit.signal,
            at: Timestamp::from_micros(exit.at),
        }),
        _ => None,
    }
}

async fn close(id: InstanceId, placement: Placement, exit: Option<Exit>) -> Ended {
    if exit.is_none() {
        // Its shim is gone, or answers no more.
        leftovers::kill(id).await;
    }
    let out_of_memory = placement.out_of_memory();
    placement.remove().await;
    Ended {
        exit,
        out_of_memory,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn open(folder: &Path) -> Arc<dyn Backend> {
        for name in ["run", "workloads", "bin"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        Arc::new(ProcessBackend::new(folder, "test", None).unwrap())
    }

    crate::backend::conformance::conformance!(open);
}
