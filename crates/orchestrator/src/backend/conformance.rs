//! What every backend promises, as cases that each of them runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millrace_shim::log::Keep;
use millrace_shim::reader::LogReader;
use millrace_shim::record::Entry;
use millrace_testkit::eventually;
use millrace_types::{InstanceId, WorkloadId};
use tokio::time::timeout;

use super::{Backend, Exit, Instance, Order, Owner};
use crate::process::leftovers::{INSTANCE_VARIABLE, kill};
use crate::spec::{Isolation, Resources, ServiceSpec};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const TERMINATE: i32 = 15;

/// A backend under test, which keeps its things in one folder.
pub(crate) struct Subject {
    folder: tempfile::TempDir,
    open: fn(&Path) -> Arc<dyn Backend>,
    workload: WorkloadId,
}

impl Subject {
    pub(crate) fn new(open: fn(&Path) -> Arc<dyn Backend>) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            open,
            workload: WorkloadId::new(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) const fn workload(&self) -> WorkloadId {
        self.workload
    }

    /// As after a start of the orchestrator.
    pub(crate) fn open(&self) -> Arc<dyn Backend> {
        (self.open)(self.folder.path())
    }

    fn work(&self) -> PathBuf {
        let work = self.folder.path().join("work");
        fs::create_dir_all(&work).unwrap();
        work
    }

    pub(crate) async fn start(
        &self,
        backend: &Arc<dyn Backend>,
        id: InstanceId,
        command: &[&str],
    ) -> Result<Box<dyn Instance>, crate::prepare::StageError> {
        let limits = Resources::default();
        self.start_with(backend, id, command, &limits).await
    }

    pub(crate) async fn start_with(
        &self,
        backend: &Arc<dyn Backend>,
        id: InstanceId,
        command: &[&str],
        resources: &Resources,
    ) -> Result<Box<dyn Instance>, crate::prepare::StageError> {
        let command: Vec<String> = command.iter().map(ToString::to_string).collect();
        let work = self.work();
        let env = BTreeMap::from([
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            ("WORD".to_owned(), "what it is told".to_owned()),
            (INSTANCE_VARIABLE.to_owned(), id.to_string()),
        ]);
        let order = Order {
            id,
            owner: Owner::Workload(self.workload),
            command: &command,
            working_dir: Some(&work),
            stdin: Some(b"what it reads\n"),
            env: &env,
            keep: Keep {
                max_bytes: 1 << 24,
                max_age: Duration::from_hours(1),
                instances: 5,
            },
            resources,
            enforce: false,
            user: None,
            isolation: Isolation::None,
            readable: &[],
            writable: &[],
            note: "a note",
        };
        backend.start(order).await
    }

    pub(crate) async fn shell(
        &self,
        backend: &Arc<dyn Backend>,
        id: InstanceId,
        script: &str,
    ) -> Box<dyn Instance> {
        let started = self.start(backend, id, &["sh", "-c", script]).await;
        started.unwrap()
    }

    /// Its log, from the beginning.
    pub(crate) fn log(&self, backend: &Arc<dyn Backend>) -> Vec<Entry> {
        let folder = backend.logs(Owner::Workload(self.workload));
        let mut reader = LogReader::after(&folder, 0);
        let mut all = Vec::new();
        loop {
            let entries = reader.read(1000).unwrap();
            if entries.is_empty() {
                return all;
            }
            all.extend(entries);
        }
    }

    async fn until_said(&self, backend: &Arc<dyn Backend>, wanted: &str) {
        eventually(PATIENCE, || async {
            let said = lines(&self.log(backend));
            if said.iter().any(|line| line == wanted) {
                Ok(())
            } else {
                Err(said)
            }
        })
        .await;
    }
}

fn lines(entries: &[Entry]) -> Vec<String> {
    let text = |entry: &Entry| String::from_utf8_lossy(&entry.line).into_owned();
    entries.iter().map(text).collect()
}

async fn end_of(instance: &mut Box<dyn Instance>) -> Option<Exit> {
    timeout(PATIENCE, instance.observe()).await.unwrap()
}

pub(crate) async fn a_program_has_what_it_was_given_and_its_exit_is_told(subject: Subject) {
    let backend = subject.open();
    let id = InstanceId::new();
    let script = "read line; echo $line; echo $WORD; pwd; echo aside >&2; exit 7";
    let mut instance = subject.shell(&backend, id, script).await;
    let exit = end_of(&mut instance).await.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(7), None));
    assert_eq!(end_of(&mut instance).await, Some(exit));
    let work = subject.work().to_str().unwrap().to_owned();
    let said = lines(&subject.log(&backend));
    for wanted in ["what it reads", "what it is told", &work, "aside"] {
        assert!(said.iter().any(|line| line == wanted), "{wanted}: {said:?}");
    }
    let surroundings = instance.surroundings();
    assert_eq!(surroundings.working_dir, subject.work());
    assert_eq!(surroundings.env["WORD"], "what it is told");
    let ended = instance.close(Some(exit)).await;
    assert_eq!((ended.exit, ended.out_of_memory), (Some(exit), false));
    backend.forget(id);
    assert_eq!(backend.strays(&[]).unwrap(), [""; 0]);
}

pub(crate) async fn what_is_prepared_can_be_started(subject: Subject) {
    let backend = subject.open();
    let spec = ServiceSpec::unknown("a-service", false);
    backend.prepare(&spec).await.unwrap();
    assert_eq!(backend.strays(&[]).unwrap(), [""; 0]);
    let nobody = ServiceSpec {
        user: Some("no-such-user-of-this-host".into()),
        ..spec
    };
    let error = backend.prepare(&nobody).await.unwrap_err();
    assert_eq!(error.reason, "no-user");
}

pub(crate) async fn a_program_that_is_not_there_is_told_from_one_that_fails(subject: Subject) {
    let backend = subject.open();
    let file = subject.work().join("no-program");
    fs::write(&file, "").unwrap();
    for (program, reason) in [
        ("/no/such/program", "command-not-found"),
        (file.to_str().unwrap(), "command-not-executable"),
    ] {
        let id = InstanceId::new();
        let error = subject.start(&backend, id, &[program]).await.unwrap_err();
        assert_eq!(error.reason, reason);
        assert!(error.message.contains(program), "{error}");
    }
    assert_eq!(backend.strays(&[]).unwrap(), [""; 0]);
}

pub(crate) async fn a_stop_ends_all_of_a_tree_that_does_not_heed_it(subject: Subject) {
    let backend = subject.open();
    let id = InstanceId::new();
    let script = "trap '' TERM; (setsid sh -c \"trap '' TERM; echo deep; sleep 1000\" &) ; \
                  echo up; while :; do sleep 1; done";
    let mut instance = subject.shell(&backend, id, script).await;
    subject.until_said(&backend, "deep").await;
    subject.until_said(&backend, "up").await;
    instance.stop(TERMINATE, Duration::from_millis(200)).await;
    let exit = end_of(&mut instance).await.unwrap();
    assert_eq!((exit.code, exit.signal), (None, Some(9)));
    instance.close(Some(exit)).await;
    assert_eq!(kill(id).await, 0, "something was left");
}

pub(crate) async fn one_that_heeds_a_stop_ends_as_it_likes(subject: Subject) {
    let backend = subject.open();
    let script = "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let mut instance = subject.shell(&backend, InstanceId::new(), script).await;
    subject.until_said(&backend, "up").await;
    instance.stop(TERMINATE, PATIENCE).await;
    let exit = end_of(&mut instance).await.unwrap();
    assert_eq!((exit.code, exit.signal), (Some(3), None));
    subject.until_said(&backend, "bye").await;
    instance.close(Some(exit)).await;
}

pub(crate) async fn an_instance_outlives_who_started_it_and_is_adopted(subject: Subject) {
    let backend = subject.open();
    let id = InstanceId::new();
    let script = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.01; done";
    let instance = subject.shell(&backend, id, script).await;
    let pid = instance.pid().unwrap();
    drop((instance, backend));
    let backend = subject.open();
    subject.until_said(&backend, "line 20").await;
    let mut instance = backend.adopt(id).await.unwrap();
    assert_eq!(instance.pid(), Some(pid));
    assert_eq!(backend.note(id).as_deref(), Some("a note"));
    assert_eq!(instance.surroundings().env["WORD"], "what it is told");
    instance.stop(TERMINATE, PATIENCE).await;
    let exit = end_of(&mut instance).await.unwrap();
    assert_eq!(exit.signal, Some(TERMINATE));
    instance.close(Some(exit)).await;
    // Nothing that it wrote while nobody listened is missing.
    let log = subject.log(&backend);
    for (at, entry) in log.iter().enumerate() {
        assert_eq!(entry.seq, at as u64 + 1);
    }
    let said = lines(&log);
    for (at, line) in said.iter().enumerate() {
        assert_eq!(*line, format!("line {}", at + 1));
    }
}

pub(crate) async fn an_end_that_nobody_saw_is_told_afterwards(subject: Subject) {
    let backend = subject.open();
    let id = InstanceId::new();
    let mut instance = subject.shell(&backend, id, "exit 42").await;
    let seen = end_of(&mut instance).await.unwrap();
    drop((instance, backend));
    let backend = subject.open();
    let ended = backend.adopt(id).await.unwrap_err();
    assert_eq!(ended.exit, Some(seen));
    assert_eq!(seen.code, Some(42));
    backend.forget(id);
    // What was forgotten, or never was, is lost.
    for id in [id, InstanceId::new()] {
        assert_eq!(backend.adopt(id).await.unwrap_err().exit, None);
    }
}

pub(crate) async fn instances_that_nobody_knows_are_found_and_ended(subject: Subject) {
    let backend = subject.open();
    let (known, unknown) = (InstanceId::new(), InstanceId::new());
    let mut kept = subject.shell(&backend, known, "sleep 1000").await;
    let mut ended = subject.shell(&backend, unknown, "sleep 1000").await;
    let strays = backend.strays(&[known]).unwrap();
    assert_eq!(strays.len(), 1);
    assert_eq!(backend.strays(&[known, unknown]).unwrap(), [""; 0]);
    backend.end_stray(&strays[0]).await;
    let exit = end_of(&mut ended).await;
    ended.close(exit).await;
    assert_eq!(kill(unknown).await, 0, "the stray goes on");
    assert_eq!(backend.strays(&[known]).unwrap(), [""; 0]);
    kept.stop(TERMINATE, PATIENCE).await;
    let exit = end_of(&mut kept).await;
    kept.close(exit).await;
}

/// Runs every case on the backend that `open` opens on a folder.
macro_rules! conformance {
    ($open:expr; $($case:ident)+) => {
        $(
            #[tokio::test]
            async fn $case() {
                let subject = crate::backend::conformance::Subject::new($open);
                crate::backend::conformance::$case(subject).await;
            }
        )+
    };
    ($open:expr) => {
        crate::backend::conformance::conformance! {
            $open;
            a_program_has_what_it_was_given_and_its_exit_is_told
            what_is_prepared_can_be_started
            a_program_that_is_not_there_is_told_from_one_that_fails
            a_stop_ends_all_of_a_tree_that_does_not_heed_it
            one_that_heeds_a_stop_ends_as_it_likes
            an_instance_outlives_who_started_it_and_is_adopted
            an_end_that_nobody_saw_is_told_afterwards
            instances_that_nobody_knows_are_found_and_ended
        }
    };
}
pub(crate) use conformance;
