//! From nothing to an instance that is ready.

use std::path::PathBuf;
use std::time::Duration;

use millrace_shim::log::Keep;
use millrace_shim::record::Stage;
use millrace_store::{InstanceRecord, ProjectRecord, Saved};
use millrace_types::{InstanceId, Timestamp, WorkloadStage};
use tokio::time::Instant;

use super::actor::{Actor, Interrupted};
use super::environment::{Identity, environment};
use super::folders::user_of;
use super::instance::{Live, Rise};
use crate::backend::{Instance, Order, Owner};
use crate::health;
use crate::logs;
use crate::prepare::{LogWriter, PrepareRequest, PreparedCommand, StageError};
use crate::project::{FoundService, GitError, find_service};
use crate::spec::{Isolation, ServiceSpec};

/// Ports that are tried when others take them away.
const PORT_ATTEMPTS: u32 = 5;
/// Between two questions to a database that does not answer.
const DATABASE_PAUSE: Duration = Duration::from_millis(500);

/// What is to be run.
#[derive(Debug)]
pub(super) struct Plan {
    pub spec: ServiceSpec,
    pub text: String,
    pub command: PreparedCommand,
    pub project_dir: PathBuf,
}

/// Why a launch came to nothing.
#[derive(Debug)]
pub(super) enum Halted {
    /// Something else is wanted by now. Nothing of it is left.
    Interrupted,
    /// It cannot be started, and trying again does not help.
    Failed(StageError),
    /// It was started, and ended: the policy decides.
    Ended {
        record: Box<InstanceRecord>,
        end: super::restart::End,
        error: StageError,
        spec: Box<ServiceSpec>,
    },
}

impl From<Interrupted> for Halted {
    fn from(_: Interrupted) -> Self {
        Self::Interrupted
    }
}

impl From<StageError> for Halted {
    fn from(error: StageError) -> Self {
        Self::Failed(error)
    }
}

pub(crate) fn keep_of(spec: &ServiceSpec) -> Keep {
    Keep {
        max_bytes: spec.logs.max_bytes,
        max_age: spec.logs.max_age,
        instances: spec.logs.keep_instances,
    }
}

impl Actor {
    /// Validates and builds. The stages are those of the workload unless it
    /// is for a `candidate` beside an instance that runs.
    pub(super) async fn plan(&mut self, candidate: bool) -> Result<Plan, Halted> {
        if !candidate {
            self.pass(WorkloadStage::Validate).await;
        }
        let (project_dir, found) = self.find().await?;
        let spec = found.spec.map_err(|findings| {
            let first = findings.first().map_or(String::new(), |f| {
                format!("line {}, {}: {}", f.line, f.pointer, f.message)
            });
            let message = format!("service.json has {} mistakes; {first}", findings.len());
            StageError {
                findings,
                ..StageError::new("invalid-spec", message)
            }
        })?;
        let backend = self.shared.backend.clone();
        self.attend(backend.prepare(&spec)).await??;
        self.keep = keep_of(&spec);
        self.rules = spec.restart.clone();
        spec.kind.as_str().clone_into(&mut self.record.state.kind);
        let shared = self.shared.clone();
        let data_dir = shared.data_dir(self.record.id);
        let cache_dir = shared.cache_dir();
        let temporary = self.own_temporary_dir(&spec);
        self.make_folders(&spec, &found.dir).await?;
        let (log, lines) = LogWriter::channel();
        let workload_id = self.record.id;
        let log_dir = shared.log_dir(workload_id);
        let collect = logs::collect(log_dir, self.keep, Stage::Build, lines);
        let work = async {
            let request = PrepareRequest {
                workload_id,
                spec: &spec,
                dir: &found.dir,
                project_dir: &project_dir,
                data_dir: &data_dir,
                temporary_dir: temporary.as_deref(),
                cache_dir: &cache_dir,
                log: &log,
                jobs: &shared.preparations,
            };
            shared.config.prepare.validate(request).await
        };
        self.attend(work).await??;
        if !candidate {
            self.pass(WorkloadStage::Build).await;
        }
        let cancel = shared.tasks.child_token();
        let prepare = shared.config.prepare.clone();
        let (spec_ref, dir, project, data, cache) =
            (&spec, &found.dir, &project_dir, &data_dir, &cache_dir);
        let (temporary, jobs) = (temporary.as_deref(), &shared.preparations);
        let token = cancel.clone();
        let build = async move {
            let request = PrepareRequest {
                workload_id,
                spec: spec_ref,
                dir,
                project_dir: project,
                data_dir: data,
                temporary_dir: temporary,
                cache_dir: cache,
                log: &log,
                jobs,
            };
            let done = prepare.prepare(request, token).await;
            // The last lines are written before the stage is over.
            drop(log);
            done
        };
        let mut both = Box::pin(async move { tokio::join!(build, collect).0 });
        let command = match self.attend(&mut both).await {
            Ok(built) => built?,
            Err(interrupted) => {
                // What comes next must not find it at work.
                cancel.cancel();
                drop(both.await);
                return Err(interrupted.into());
            }
        };
        drop(both);
        Ok(Plan {
            command,
            text: found.text,
            spec,
            project_dir,
        })
    }

    /// The project's folder and the service in it, both within the roots.
    async fn find(&mut self) -> Result<(PathBuf, FoundService), Halted> {
        let project = self.project().await?;
        let service = self.record.service.clone();
        let shared = self.shared.clone();
        // Another host may have made the project, or fetched it since.
        let here = shared.clone();
        let check_out = async {
            loop {
                match here.checked_out(&project).await {
                    Err(GitError::Store(error)) if error.is_transient() => {
                        tracing::warn!(%error, "a start waits for the database");
                        tokio::time::sleep(DATABASE_PAUSE).await;
                    }
                    done => return done,
                }
            }
        };
        self.attend(check_out)
            .await?
            .map_err(|error| StageError::new("git-failed", error.to_string()))?;
        let look = tokio::task::spawn_blocking(move || {
            let dir = shared
                .project_dir(&project)
                .map_err(|error| StageError::new("path-refused", error.to_string()))?;
            let found = find_service(&dir, &service)?;
            Ok((dir, found))
        });
        match self.attend(look).await? {
            Ok(found) => found.map_err(Halted::Failed),
            Err(error) => Err(StageError::new("internal", error.to_string()).into()),
        }
    }

    async fn project(&mut self) -> Result<ProjectRecord, Halted> {
        let store = self.shared.store.clone();
        let id = self.record.project_id;
        let ask = async move {
            loop {
                match store.project(id).await {
                    Err(error) if error.is_transient() => {
                        tracing::warn!(%error, "a start waits for the database");
                        tokio::time::sleep(DATABASE_PAUSE).await;
                    }
                    done => return done,
                }
            }
        };
        match self.attend(ask).await? {
            Ok(Some(project)) => Ok(project),
            Ok(None) => Err(StageError::new("no-project", "its project is gone").into()),
            Err(error) => Err(StageError::new("internal", error.to_string()).into()),
        }
    }

    /// Starts an instance and waits until it is ready. What comes back is not
    /// stored as running yet.
    pub(super) async fn start_instance(
        &mut self,
        plan: &Plan,
        candidate: bool,
    ) -> Result<Live, Halted> {
        let mut taken = String::new();
        for _ in 0..PORT_ATTEMPTS {
            let id = InstanceId::new();
            let port = if plan.spec.port {
                // An instance before this one has its port until its end is
                // stored.
                self.all_passed().await;
                let taken = self.shared.ports.take(id);
                Some(taken.map_err(|error| StageError::new(error.reason(), error.to_string()))?)
            } else {
                None
            };
            match self.enter_instance(plan, id, port, candidate).await {
                Some(record) => {
                    let live = self.bring_up(plan, record).await?;
                    match self.await_ready(live, candidate).await? {
                        Ok(live) => return Ok(live),
                        Err(port) => taken = format!("port {port} was taken by another program"),
                    }
                }
                None => {
                    self.release(id, port);
                    "the port belongs to another instance".clone_into(&mut taken);
                }
            }
        }
        Err(StageError::new("port-taken", taken).into())
    }

    /// Stores the instance before it is there; `None` when its port is
    /// another's.
    async fn enter_instance(
        &mut self,
        plan: &Plan,
        id: InstanceId,
        port: Option<u16>,
        candidate: bool,
    ) -> Option<InstanceRecord> {
        let run_dir = self.shared.run_dir(id);
        let record = InstanceRecord {
            id,
            workload_id: self.record.id,
            node_id: self.shared.config.node_id.clone(),
            pid: None,
            port,
            socket: run_dir.join("s").to_string_lossy().into_owned(),
            started_at: Timestamp::now(),
            ended_at: None,
            exit_code: None,
            signal: None,
            reason: String::new(),
            limits: String::new(),
        };
        if !candidate {
            self.set_stage(WorkloadStage::Deploy);
        }
        debug_assert_eq!(self.record.state.kind, plan.spec.kind.as_str());
        match self.save(vec![record.clone()]).await {
            Saved::Done { .. } => Some(record),
            Saved::PortTaken | Saved::Stale => None,
        }
    }

    fn release(&self, id: InstanceId, port: Option<u16>) {
        if let Some(port) = port {
            self.shared.ports.give_back(port, id);
        }
    }

    /// Starts the instance.
    async fn bring_up(&mut self, plan: &Plan, mut record: InstanceRecord) -> Result<Live, Halted> {
        match self.order(plan, &record).await {
            Ok(instance) => {
                record.pid = instance.pid();
                instance.enforced().clone_into(&mut record.limits);
                Ok(Live::new(record, instance, plan.spec.clone()))
            }
            Err(error) => {
                self.never_ran(record, &error).await;
                Err(error.into())
            }
        }
    }

    /// An instance whose program never ran.
    async fn never_ran(&mut self, mut record: InstanceRecord, error: &StageError) {
        record.ended_at = Some(Timestamp::now());
        record.reason = error.reason.to_owned();
        let (id, port) = (record.id, record.port);
        self.save(vec![record]).await;
        self.release(id, port);
    }

    async fn order(
        &mut self,
        plan: &Plan,
        record: &InstanceRecord,
    ) -> Result<Box<dyn Instance>, StageError> {
        let shared = self.shared.clone();
        let spec = &plan.spec;
        let data_dir = shared.data_dir(self.record.id);
        let temporary = self.own_temporary_dir(spec);
        let user = user_of(spec)?;
        let env = environment(
            spec,
            &plan.command.env,
            &Identity {
                project_id: self.record.project_id.to_string(),
                project_key: &self.project_key,
                service: &self.record.service,
                workload_id: self.record.id.to_string(),
                instance_id: record.id.to_string(),
                port: record.port,
                data_dir: &data_dir,
                home: user.as_ref().map(|user| user.home.as_str()),
                temporary: temporary.as_deref(),
            },
            shared.config.secrets_dir.as_deref(),
        )?;
        let mut writable = plan.command.writable.clone();
        if spec.isolation == Isolation::Strict {
            writable.push(data_dir);
            writable.extend(temporary);
        }
        let order = Order {
            id: record.id,
            owner: Owner::Workload(self.record.id),
            command: &plan.command.command,
            working_dir: Some(&plan.command.working_dir),
            stdin: None,
            env: &env,
            keep: self.keep,
            resources: &spec.resources,
            enforce: false,
            user: spec.user.as_deref(),
            isolation: spec.isolation,
            readable: &[plan.project_dir.clone(), shared.cache_dir()],
            writable: &writable,
            note: &plan.text,
        };
        shared.backend.start(order).await
    }

    /// Waits until the instance is ready; its port when another program has
    /// it, and nothing of the instance is left. It may take any time, unless
    /// it is a `candidate` beside another one.
    pub(super) async fn await_ready(
        &mut self,
        mut live: Live,
        candidate: bool,
    ) -> Result<Result<Live, u16>, Halted> {
        let limit = candidate.then(|| health::replacement_time(&live.spec.health));
        let until = limit.map(|limit| Instant::now() + limit);
        let mut rise = self.attend(before(until, Box::pin(live.rise()))).await;
        if let Ok(Some(Rise::Unready(reason))) = &rise {
            let text = format!("it runs, and is not ready: the readiness probe failed: {reason}");
            self.say(Stage::Deploy, text).await;
            if !candidate {
                self.record.state.ready = Some(false);
                self.save(Vec::new()).await;
            }
            rise = self
                .attend(before(until, Box::pin(live.become_ready())))
                .await;
        }
        let rise = match rise {
            Ok(Some(rise)) => rise,
            Ok(None) => {
                let seconds = limit.unwrap_or_default().as_secs();
                let message = format!("it has not become ready within {seconds} s");
                Rise::Failed("not-ready", message)
            }
            Err(Interrupted) => {
                self.end(live, "stopped").await;
                return Err(Halted::Interrupted);
            }
        };
        let spec = Box::new(live.spec.clone());
        match rise {
            Rise::Ready => {
                live.instance.mark(Stage::Running).await;
                Ok(Ok(live))
            }
            Rise::Unready(reason) => {
                // It was waited for: this is not said twice.
                self.end(live, "not-ready").await;
                Err(StageError::new("not-ready", reason).into())
            }
            Rise::PortTaken => {
                let port = live.context.port;
                self.end(live, "port-taken").await;
                Ok(Err(port))
            }
            Rise::Failed(reason, message) => {
                let (record, end) = self.stop(live, reason).await;
                Err(Halted::Ended {
                    record: Box::new(record),
                    end: super::restart::End {
                        unhealthy: true,
                        ..end
                    },
                    error: StageError::new(reason, message),
                    spec,
                })
            }
            Rise::Ended(exit) => {
                let (record, end) = live.close(exit, "").await;
                let error = super::actor::describe(&record);
                Err(Halted::Ended {
                    record: Box::new(record),
                    end,
                    error,
                    spec,
                })
            }
        }
    }
}

/// What comes of `work`, unless that takes until then.
async fn before<T>(until: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match until {
        Some(until) => tokio::time::timeout_at(until, work).await.ok(),
        None => Some(work.await),
    }
}
