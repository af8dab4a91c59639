//! Processes as a backend: each behind a shim, found again by its folder.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_shim::exit;
use millrace_shim::launch::Launch;
use millrace_shim::record::Stage;
use millrace_shim::sys::SIGKILL;
use millrace_shim::wire::{Request, State};
use millrace_types::{InstanceId, Timestamp};
use tokio::process::Child;

use super::spawn::{Spawned, Start, spawn};
use super::{ShimLink, ShimProgram, Told};
use super::{confine, leftovers};
use crate::backend::{Backend, Ended, Exit, Instance, Order, Owner, Surroundings};
use crate::limits::{Host, Placement};
use crate::logs;
use crate::prepare::StageError;
use crate::spec::{Isolation, ServiceSpec};

/// How long a shim may take to say what its state is.
const ANSWER: Duration = Duration::from_secs(5);
/// How long it may take to start a program.
const STARTING: Duration = Duration::from_secs(30);
/// Between two attempts at one that cannot be connected to just now.
const CONNECT_PAUSE: Duration = Duration::from_millis(200);
/// What a stray instance has left after it was asked to end.
const STRAY_GRACE: Duration = Duration::from_secs(5);
const TERMINATE: i32 = 15;

/// Runs processes of this host.
#[derive(Debug)]
pub(crate) struct ProcessBackend {
    shim: ShimProgram,
    host: Arc<Host>,
    /// A folder for each instance.
    runs: PathBuf,
    /// A folder for each workload.
    workloads: PathBuf,
    /// What a strictly isolated instance must not look into.
    hidden: Vec<PathBuf>,
    /// How many files an instance may open that does not say.
    open_files: Option<u64>,
}

impl ProcessBackend {
    /// Below `data_dir`, for the node of this name. The folders are there.
    /// `secrets` are for nobody but this process to read.
    pub(crate) fn new(data_dir: &Path, node_id: &str, secrets: Option<&Path>) -> io::Result<Self> {
        Ok(Self {
            shim: ShimProgram::install(&data_dir.join("bin"))?,
            host: Arc::new(Host::detect(node_id)),
            runs: data_dir.join("run"),
            workloads: data_dir.join("workloads"),
            hidden: [Some(data_dir), secrets]
                .into_iter()
                .flatten()
                .map(Path::to_owned)
                .collect(),
            open_files: None,
        })
    }

    pub(crate) fn with_open_files(self, open_files: Option<u64>) -> Self {
        Self { open_files, ..self }
    }

    /// See [`clear`].
    async fn clear(&self, name: &str) {
        let (host, runs) = (Arc::clone(&self.host), self.runs.clone());
        let name = name.to_owned();
        let work = tokio::task::spawn_blocking(move || clear(&host, &runs, &name));
        if let Err(error) = work.await {
            tracing::error!(%error, "what is left of an instance is not removed: {error}");
        }
    }

    fn run_dir(&self, id: InstanceId) -> PathBuf {
        self.runs.join(id.to_string())
    }

    async fn launch(
        &self,
        order: &Order<'_>,
        placement: &Placement,
    ) -> Result<Spawned, StageError> {
        if order.enforce && !placement.unenforced.is_empty() {
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
        let run_dir = self.run_dir(order.id);
        let own = OwnFiles::make(&run_dir, order).map_err(|error| {
            StageError::new("start-failed", format!("{}: {error}", run_dir.display()))
        })?;
        let launch = Launch {
            instance: order.id.as_u128(),
            command: order.command.iter().map(Into::into).collect(),
            working_dir: own.working_dir,
            stdin: own.stdin,
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
            open_files: self.open_files,
            user,
            no_new_privs: order.isolation != Isolation::None,
            confined,
            key: Some(own.key),
            note: order.note.to_owned(),
        };
        let start = Start {
            launch: &launch,
            run_dir: &run_dir,
        };
        spawn(&self.shim, start)
            .await
            .map_err(|error| StageError::new("start-failed", error.to_string()))
    }
}

/// What an instance has in its folder besides what its shim needs.
struct OwnFiles {
    working_dir: PathBuf,
    stdin: Option<PathBuf>,
    /// For who may ask its shim for something: whoever can read the folder.
    key: u128,
}

impl OwnFiles {
    /// Nobody else may look into the folder: secrets are told to the shim in
    /// it.
    fn make(run_dir: &Path, order: &Order<'_>) -> io::Result<Self> {
        let folder = |path: &Path| DirBuilder::new().recursive(true).mode(0o700).create(path);
        folder(run_dir)?;
        let working_dir = match order.working_dir {
            Some(path) => path.to_owned(),
            None => {
                let path = run_dir.join("work");
                folder(&path)?;
                path
            }
        };
        let stdin = match order.stdin {
            Some(bytes) => {
                let path = run_dir.join("stdin");
                fs::write(&path, bytes)?;
                Some(path)
            }
            None => None,
        };
        let mut key = [0; 16];
        File::open("/dev/urandom")?.read_exact(&mut key)?;
        Ok(Self {
            working_dir,
            stdin,
            key: u128::from_ne_bytes(key),
        })
    }
}

fn user(name: Option<&str>) -> Result<Option<(u32, u32)>, StageError> {
    name.map(crate::user::find)
        .transpose()
        .map(|user| user.map(|user| (user.uid, user.gid)))
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
        let spawned = match self.launch(&order, &placement).await {
            Ok(spawned) => spawned,
            Err(error) => {
                self.clear(&order.id.to_string()).await;
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
            link: spawned.link,
            child: Some(spawned.child),
            pid: None,
            placement,
        };
        let runs = process.until_it_runs(&order.command[0], spawned.errors);
        let runs = tokio::time::timeout(STARTING, runs).await;
        match runs.unwrap_or_else(|_| Err(process.too_slow())) {
            Ok(()) => Ok(Box::new(process)),
            Err(error) => {
                // Its shim may have died before it could say what it started.
                close(&process.run_dir, order.id, &process.placement, None).await;
                self.clear(&order.id.to_string()).await;
                Err(error)
            }
        }
    }

    async fn adopt(&self, id: InstanceId) -> Result<Box<dyn Instance>, Ended> {
        let run_dir = self.run_dir(id);
        let placement = Placement::find(&self.host, &id.to_string());
        let told = match connect(&run_dir).await {
            Some(mut link) => match link.state(ANSWER).await {
                Ok(pid) => {
                    return Ok(Box::new(Process {
                        id,
                        run_dir,
                        link,
                        child: None,
                        pid,
                        placement,
                    }));
                }
                Err(told) => told,
            },
            None => exit::read(&run_dir).map_or(Told::Lost, Told::State),
        };
        Err(close(&run_dir, id, &placement, exit_of(&told)).await)
    }

    fn logs(&self, owner: Owner) -> PathBuf {
        match owner {
            Owner::Workload(workload) => self.workloads.join(workload.to_string()).join("log"),
            Owner::Job(id) => self.run_dir(id).join("log"),
        }
    }

    fn note(&self, id: InstanceId) -> Option<String> {
        let run_dir = self.run_dir(id);
        // Those of a version before have it in a file of its own.
        fs::read_to_string(run_dir.join("service.json"))
            .or_else(|_| Launch::read(&run_dir).map(|launch| launch.note))
            .ok()
    }

    fn forget(&self, id: InstanceId) {
        clear(&self.host, &self.runs, &id.to_string());
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

    fn is_job(&self, name: &str) -> bool {
        let path = self.runs.join(name);
        Launch::read(&path).is_ok_and(|launch| launch.log_dir.starts_with(path))
    }

    async fn end_stray(&self, name: &str) {
        let path = self.runs.join(name);
        let placement = Placement::find(&self.host, name);
        if let Some(mut link) = connect(&path).await {
            tracing::warn!(path = %path.display(), "a stray instance is ended");
            if self.is_job(name) {
                link.ask(stop(SIGKILL, Duration::ZERO)).await;
            } else {
                link.ask(stop(TERMINATE, STRAY_GRACE)).await;
            }
            link.ended().await;
        } else if let Ok(id) = name.parse() {
            // What a shim leaves that is gone.
            leftovers::kill(id).await;
            placement.kill_all().await;
        }
        self.clear(name).await;
    }
}

/// Removes what there is of an instance that has ended. The folder goes last:
/// whoever comes after a process that died in between finds it, and the rest.
fn clear(host: &Host, runs: &Path, name: &str) {
    Placement::find(host, name).remove();
    let _ = fs::remove_dir_all(runs.join(name));
}

/// The shim of this folder; `None` when it is gone, and nothing but that: who
/// takes one that lives for a dead one kills a service that is well.
async fn connect(run_dir: &Path) -> Option<ShimLink> {
    let mut is_known = false;
    loop {
        let error = match ShimLink::take_up(run_dir).await {
            Ok(link) => return Some(link),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return None,
            _ if is_known => {}
            _ => {
                is_known = true;
                let path = run_dir.display();
                tracing::warn!(%error, "the shim in {path} is tried again: {error}");
            }
        }
        tokio::time::sleep(CONNECT_PAUSE).await;
    }
}

/// A process with a shim in front.
#[derive(Debug)]
struct Process {
    id: InstanceId,
    run_dir: PathBuf,
    link: ShimLink,
    /// The shim, where this process has started it.
    child: Option<Child>,
    pid: Option<u32>,
    placement: Placement,
}

impl Process {
    /// Kills a shim that does not come to start its program.
    fn too_slow(&mut self) -> StageError {
        if let Some(child) = &mut self.child {
            // It may have ended just now.
            let _ = child.start_kill();
        }
        let seconds = STARTING.as_secs();
        let message = format!("nothing was started within {seconds} s: does a file system hang?");
        StageError::new("start-failed", message)
    }

    /// `errors` is where the shim writes what it cannot say otherwise.
    async fn until_it_runs(&mut self, program: &str, errors: File) -> Result<(), StageError> {
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
                    let mut said = vec![0; 4096];
                    let length = errors.read_at(&mut said, 0).unwrap_or_default();
                    let said = String::from_utf8_lossy(&said[..length]);
                    let message = format!("the shim died: {said}");
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
                    user: launch.user,
                }
            }
            Err(_) => Surroundings {
                working_dir: self.run_dir.clone(),
                env: crate::workload::inherited(),
                user: None,
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
        close(&self.run_dir, self.id, &self.placement, exit).await
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
            lost: exit.lost,
        }),
        _ => None,
    }
}

/// `run_dir` is its folder.
async fn close(run_dir: &Path, id: InstanceId, placement: &Placement, exit: Option<Exit>) -> Ended {
    match exit {
        // Its shim is gone, or answers no more.
        None => {
            leftovers::kill(id).await;
            placement.kill_all().await;
        }
        Some(exit) if exit.lost > 0 => tell_of_lost(run_dir, exit.lost).await,
        Some(_) => {}
    }
    // The kernel counts whatever it has killed, also a process that the service
    // has outlived.
    let is_killed =
        exit.is_none_or(|exit| exit.signal == Some(SIGKILL) || exit.code == Some(128 + SIGKILL));
    Ended {
        exit,
        out_of_memory: is_killed && placement.out_of_memory(),
    }
}

/// Enters into the log of an instance that lines of it are missing.
async fn tell_of_lost(run_dir: &Path, lost: u64) {
    let text = format!("{lost} lines at its end were lost: the log could not be written");
    match Launch::read(run_dir) {
        Ok(launch) => logs::say_lost(&launch.log_dir, launch.keep, launch.instance, text).await,
        Err(error) => tracing::warn!(%error, "{}: {text}", run_dir.display()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use millrace_shim::record::DROPPED;
    use millrace_shim::tree;
    use millrace_testkit::eventually;
    use tokio::time::timeout;

    use super::*;
    use crate::backend::conformance::{PATIENCE, Subject};
    use crate::spec::Resources;

    fn open(folder: &Path) -> Arc<dyn Backend> {
        for name in ["run", "workloads", "bin"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        Arc::new(ProcessBackend::new(folder, "test", None).unwrap())
    }

    crate::backend::conformance::conformance!(open);

    #[tokio::test]
    async fn an_exit_that_cannot_be_written_down_is_told_all_the_same() {
        let subject = Subject::new(open);
        let backend = subject.open();
        let id = InstanceId::new();
        let mut instance = subject.shell(&backend, id, "sleep 1000").await;
        // As on a disk that is full: nothing can be put in its place.
        let taken = subject.path().join("run").join(id.to_string()).join("exit");
        fs::create_dir_all(taken.join("in-the-way")).unwrap();
        instance.stop(TERMINATE, PATIENCE).await;
        let exit = instance.observe().await.unwrap();
        assert_eq!((exit.code, exit.signal), (None, Some(TERMINATE)));
        let ended = instance.close(Some(exit)).await;
        assert_eq!(ended.exit, Some(exit));
    }

    #[tokio::test]
    async fn a_connection_that_fails_says_nothing_of_the_shim() {
        let subject = Subject::new(open);
        let backend = subject.open();
        let id = InstanceId::new();
        let instance = subject.shell(&backend, id, "sleep 1000").await;
        let pid = instance.pid();
        let run_dir = subject.path().join("run").join(id.to_string());
        fs::rename(run_dir.join("s"), run_dir.join("kept")).unwrap();
        // It can be connected to in another way only.
        let other = UnixDatagram::bind(run_dir.join("s")).unwrap();
        let short = Duration::from_millis(300);
        let answer = timeout(short, backend.adopt(id)).await;
        assert!(answer.is_err(), "{answer:?}");
        fs::rename(run_dir.join("kept"), run_dir.join("s")).unwrap();
        drop(other);
        let mut adopted = timeout(PATIENCE, backend.adopt(id)).await.unwrap().unwrap();
        assert_eq!(adopted.pid(), pid);
        adopted.stop(TERMINATE, PATIENCE).await;
        let exit = adopted.observe().await;
        assert_eq!(exit.unwrap().signal, Some(TERMINATE));
        adopted.close(exit).await;
    }

    /// What it says, and nothing more once it is not listened to any longer.
    fn read_to_its_end(mut stream: &UnixStream) -> String {
        let mut said = Vec::new();
        // It may be reset rather than closed.
        let _ = stream.read_to_end(&mut said);
        String::from_utf8(said).unwrap()
    }

    #[tokio::test]
    async fn a_stranger_on_the_socket_is_not_obeyed_and_drives_nobody_away() {
        let subject = Subject::new(open);
        let backend = subject.open();
        let id = InstanceId::new();
        let mut instance = subject.shell(&backend, id, "sleep 1000").await;
        let socket = subject.path().join("run").join(id.to_string()).join("s");
        let strangers: Vec<UnixStream> = (0..20)
            .map(|_| {
                let mut stranger = UnixStream::connect(&socket).unwrap();
                // After that it is not listened to: it has been heard.
                let said = format!("key {:032x}\nstop 9 0\n{}", 0, "x".repeat(2000));
                let _ = stranger.write_all(said.as_bytes());
                stranger
            })
            .collect();
        for stranger in &strangers {
            read_to_its_end(stranger);
        }
        instance.stop(TERMINATE, PATIENCE).await;
        let exit = timeout(PATIENCE, instance.observe()).await.unwrap();
        assert_eq!(exit.unwrap().signal, Some(TERMINATE));
        instance.close(exit).await;
    }

    #[tokio::test]
    async fn nothing_is_left_of_the_cgroups_of_a_stray() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["run", "workloads", "bin", "cgroups"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let cgroups = folder.path().join("cgroups");
        let backend = ProcessBackend {
            host: Arc::new(Host::at(&cgroups)),
            ..ProcessBackend::new(folder.path(), "test", None).unwrap()
        };
        let name = InstanceId::new().to_string();
        fs::create_dir(backend.runs.join(&name)).unwrap();
        fs::create_dir(cgroups.join(&name)).unwrap();
        backend.end_stray(&name).await;
        assert_eq!(fs::read_dir(&cgroups).unwrap().count(), 0);
        assert_eq!(backend.strays(&[]).unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn a_start_that_fails_leaves_nothing() {
        let subject = Subject::new(open);
        let backend = subject.open();
        // A folder where its log is to be written: the shim dies of it.
        let log = backend.logs(Owner::Workload(subject.workload()));
        fs::create_dir_all(log.parent().unwrap()).unwrap();
        fs::write(&log, "in the way").unwrap();
        let id = InstanceId::new();
        let error = subject.start(&backend, id, &["sleep", "1000"]).await;
        assert_eq!(error.unwrap_err().reason, "start-failed");
        assert_eq!(backend.strays(&[]).unwrap(), [""; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_does_not_come_back_is_given_up() {
        let subject = Subject::new(open);
        let folder = subject.path();
        fs::create_dir_all(folder.join("run")).unwrap();
        // As a shim that hangs on a file system does.
        let hangs = folder.join("hangs");
        fs::write(&hangs, "#!/bin/sh\nexec sleep 1000\n").unwrap();
        fs::set_permissions(&hangs, fs::Permissions::from_mode(0o755)).unwrap();
        let backend: Arc<dyn Backend> = Arc::new(ProcessBackend {
            shim: ShimProgram::at(hangs),
            ..ProcessBackend::new(folder, "test", None).unwrap()
        });
        let started = subject.start(&backend, InstanceId::new(), &["true"]).await;
        let error = started.unwrap_err();
        assert!(error.message.starts_with("nothing was started"), "{error}");
        assert_eq!(backend.strays(&[]).unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn lines_that_were_lost_at_the_end_are_told_of_in_the_log() {
        let subject = Subject::new(open);
        let backend = subject.open();
        let mut instance = subject
            .shell(&backend, InstanceId::new(), "echo said")
            .await;
        let mut exit = instance.observe().await.unwrap();
        assert_eq!(exit.lost, 0);
        exit.lost = 3;
        instance.close(Some(exit)).await;
        let log = subject.log(&backend);
        let last = log.last().unwrap();
        assert_eq!(last.meta.flags, DROPPED);
        let said = String::from_utf8_lossy(&last.line);
        assert!(said.starts_with("3 lines"), "{said}");
    }

    #[tokio::test]
    async fn of_one_whose_shim_was_killed_nothing_is_left_whatever_it_did_to_its_environment() {
        let subject = Subject::new(open);
        let backend = subject.open();
        let id = InstanceId::new();
        let resources = Resources {
            pids: Some(50),
            ..Resources::default()
        };
        let script = "env -i setsid sleep 1000 & echo $!; wait";
        let command = ["sh", "-c", script];
        let started = subject.start_with(&backend, id, &command, &resources);
        let mut instance = started.await.unwrap();
        if instance.enforced().contains("not enforced") {
            println!("SKIPPED: {}", instance.enforced());
            instance.stop(TERMINATE, Duration::ZERO).await;
            instance.observe().await;
            return;
        }
        let escaped: u32 = eventually(PATIENCE, || async {
            let log = subject.log(&backend);
            let said = log
                .first()
                .map(|entry| String::from_utf8_lossy(&entry.line).into_owned());
            said.as_ref().and_then(|said| said.parse().ok()).ok_or(said)
        })
        .await;
        let shim = tree::stat(instance.pid().unwrap()).unwrap().parent;
        let shim = rustix::process::Pid::from_raw(shim.cast_signed()).unwrap();
        rustix::process::kill_process(shim, rustix::process::Signal::KILL).unwrap();
        assert_eq!(timeout(PATIENCE, instance.observe()).await.unwrap(), None);
        assert!(tree::stat(escaped).is_some_and(|stat| stat.state != b'Z'));
        instance.close(None).await;
        assert!(tree::stat(escaped).is_none_or(|stat| stat.state == b'Z'));
    }
}
