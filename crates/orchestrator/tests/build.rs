//! Builds of real folders by real programs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millrace_orchestrator::build::Builder;
use millrace_orchestrator::prepare::{
    Jobs, LogLine, LogStream, LogWriter, PrepareRequest, StageError,
};
use millrace_orchestrator::spec::{self, ServiceSpec};
use millrace_service::{CancellationToken, TaskGroup};
use millrace_testkit::eventually;
use millrace_types::WorkloadId;
use tempfile::TempDir;
use tokio::sync::mpsc::Receiver;

const PATIENCE: Duration = Duration::from_secs(30);

/// A service's folder with a builder.
struct Folder {
    dir: TempDir,
    builder: Arc<Builder>,
    spec: ServiceSpec,
    jobs: Jobs,
}

impl Folder {
    fn new(build: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["service", "cache", "data"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let text = format!(r#"{{"type": "process", "command": ["true"], "build": {build}}}"#);
        let spec = spec::read(&text, "service").unwrap();
        let jobs = Jobs::open(&dir.path().join("jobs"), &TaskGroup::new()).unwrap();
        Self {
            dir,
            builder: Arc::new(Builder::new()),
            spec,
            jobs,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join("service").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    async fn build_until(
        &self,
        cancel: &CancellationToken,
    ) -> (Result<(), StageError>, Vec<LogLine>) {
        let (log, lines) = LogWriter::channel();
        let build = async {
            let dir = self.dir.path().canonicalize().unwrap();
            let request = PrepareRequest {
                workload_id: WorkloadId::new(),
                spec: &self.spec,
                dir: &dir.join("service"),
                project_dir: &dir,
                data_dir: &dir.join("data"),
                temporary_dir: None,
                cache_dir: &dir.join("cache"),
                log: &log,
                jobs: &self.jobs,
            };
            self.builder.build(request, cancel).await
        };
        tokio::pin!(build);
        // What comes meanwhile is read: a log that nobody reads holds it up.
        let mut all = Vec::new();
        let mut lines: Receiver<LogLine> = lines;
        let built = loop {
            tokio::select! {
                built = &mut build => break built,
                Some(line) = lines.recv() => all.push(line),
            }
        };
        while let Ok(line) = lines.try_recv() {
            all.push(line);
        }
        (built, all)
    }

    async fn build(&self) -> Result<(), StageError> {
        self.build_until(&CancellationToken::new()).await.0
    }
}

#[tokio::test]
async fn it_is_built_again_only_when_its_inputs_have_changed() {
    let folder =
        Folder::new(r#"{"command": "echo built >>runs; mkdir -p dist; cp main.c dist/out"}"#);
    folder.write("main.c", "1");
    folder.build().await.unwrap();
    folder.build().await.unwrap();
    assert_eq!(
        folder.read("runs"),
        "built\n",
        "what it made is not its input"
    );

    folder.write("main.c", "2");
    folder.build().await.unwrap();
    assert_eq!(folder.read("dist/out"), "2");

    std::fs::remove_dir_all(folder.path("dist")).unwrap();
    folder.build().await.unwrap();
    assert_eq!(
        folder.read("dist/out"),
        "2",
        "what was deleted is made again"
    );
    assert_eq!(folder.read("runs"), "built\n".repeat(3));
}

#[tokio::test]
async fn inputs_that_are_named_are_the_only_ones() {
    let folder = Folder::new(r#"{"command": "echo built >>runs", "inputs": ["src/*.c"]}"#);
    std::fs::create_dir(folder.path("src")).unwrap();
    for (name, runs) in [("src/a.c", 1), ("src/a.h", 1), ("b.c", 1), ("src/b.c", 2)] {
        folder.write(name, "");
        folder.build().await.unwrap();
        assert_eq!(folder.read("runs"), "built\n".repeat(runs), "{name}");
    }
}

#[tokio::test]
async fn a_build_that_fails_says_why_and_is_not_believed() {
    let folder = Folder::new(r#"{"command": "echo out; echo why >&2; test -e mended"}"#);
    let (built, log) = folder.build_until(&CancellationToken::new()).await;
    let error = built.unwrap_err();
    assert_eq!(error.reason, "build-failed");
    assert!(error.message.contains("exit status: 1: why"), "{error}");
    let line = |stream, text: &str| LogLine {
        stream,
        line: text.as_bytes().to_vec(),
    };
    assert!(log.contains(&line(LogStream::Stdout, "out")), "{log:?}");
    assert!(log.contains(&line(LogStream::Stderr, "why")), "{log:?}");
    folder.build().await.unwrap_err();
    folder.write("mended", "");
    folder.build().await.unwrap();
}

#[tokio::test]
async fn of_a_build_that_fails_after_one_that_succeeded_nothing_is_believed() {
    let folder = Folder::new(r#"{"command": "echo built >>runs; test \"$(cat main.c)\" = good"}"#);
    folder.write("main.c", "good");
    folder.build().await.unwrap();
    folder.write("main.c", "bad");
    folder.build().await.unwrap_err();
    // As it was, and yet what lies there is of the one that failed.
    folder.write("main.c", "good");
    folder.build().await.unwrap();
    assert_eq!(folder.read("runs"), "built\n".repeat(3));
}

#[tokio::test]
async fn two_that_are_the_same_run_once() {
    let folder = Folder::new(r#"{"command": "echo built >>runs"}"#);
    folder.write("main.c", "1");
    let builds = futures::future::join_all((0..8).map(|_| folder.build())).await;
    assert!(builds.iter().all(Result::is_ok));
    assert_eq!(folder.read("runs"), "built\n");
}

/// Leaves its session and its environment, and ignores SIGTERM.
const TREE: &str =
    "setsid env -i sh -c 'trap \\\"\\\" TERM HUP; echo $$ >pid; while :; do sleep 1; done' & wait";

fn is_alive(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    status.is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test]
async fn one_that_is_cancelled_leaves_no_process_behind() {
    let folder = Folder::new(&format!(r#"{{"command": "{TREE}"}}"#));
    let cancel = CancellationToken::new();
    let started = async {
        eventually(PATIENCE, || async {
            let pid = folder.read("pid");
            if pid.ends_with('\n') {
                Ok(pid)
            } else {
                Err(pid)
            }
        })
        .await;
        cancel.cancel();
    };
    let ((built, _), ()) = tokio::join!(folder.build_until(&cancel), started);
    assert_eq!(built.unwrap_err().reason, "cancelled");
    assert!(!is_alive(&folder.read("pid")));
}

#[tokio::test]
async fn one_that_takes_too_long_leaves_no_process_behind() {
    let folder = Folder::new(&format!(r#"{{"command": "{TREE}", "timeout": "PT1S"}}"#));
    let error = folder.build().await.unwrap_err();
    assert_eq!(error.reason, "build-timeout");
    assert!(!is_alive(&folder.read("pid")));
}

#[tokio::test]
async fn npm_installs_what_package_json_asks_for() {
    let folder = Folder::new("{}");
    assert!(folder.build().await.is_ok(), "there is nothing to build");
    std::fs::create_dir(folder.path("local")).unwrap();
    folder.write(
        "local/package.json",
        r#"{"name": "local", "version": "1.0.0"}"#,
    );
    folder.write(
        "package.json",
        r#"{"dependencies": {"local": "file:./local"}}"#,
    );
    folder.build().await.unwrap();
    let installed = |name: &str| Path::new(&folder.path("node_modules")).join(name).exists();
    assert!(installed("local/package.json"));
    // By now there is a lock file, which is an input.
    folder.build().await.unwrap();
    std::fs::remove_dir_all(folder.path("node_modules")).unwrap();
    folder.build().await.unwrap();
    assert!(installed("local/package.json"));
    let (_, log) = folder.build_until(&CancellationToken::new()).await;
    let text = String::from_utf8_lossy(&log[0].line).into_owned();
    assert!(
        text.starts_with("npm ci") && text.contains("nothing has changed"),
        "{text}"
    );
}
