//! An orchestrator in this process, on a folder of its own, called through
//! its contract.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use millrace_orchestrator::node::NodeFinder;
use millrace_orchestrator::prepare::{Prepare, RunAsIs};
use millrace_orchestrator::{OrchestratorConfig, ServicePreparer, WorkloadOrchestrator};
use millrace_proto::orchestrator::v1 as pb;
use millrace_proto::orchestrator::v1::workload_orchestrator_service_client::WorkloadOrchestratorServiceClient;
use millrace_service::transport::in_process;
use millrace_service::{TaskGroup, Transport};
use millrace_store::WorkloadStore;
use millrace_testkit::{eventually, guard};

use super::memory::MemoryStore;

pub const PATIENCE: Duration = Duration::from_mins(1);
pub const WAIT: u32 = 60_000;
/// How many files a service may open that does not say.
pub const OPEN_FILES: u64 = 400;

pub type Client = WorkloadOrchestratorServiceClient<Transport>;

pub struct Harness {
    pub folder: tempfile::TempDir,
    pub store: Arc<MemoryStore>,
    pub client: Client,
    pub project: String,
    orchestrator: WorkloadOrchestrator,
    tasks: TaskGroup,
    ports: RangeInclusive<u16>,
    prepare: Arc<dyn Prepare>,
}

/// Ports that no other test of this process uses; another process' tests
/// begin elsewhere.
fn ports(count: u16) -> RangeInclusive<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let slot = NEXT.fetch_add(count, Ordering::Relaxed);
    let process = u16::try_from(std::process::id() % 50).unwrap() * 400;
    let first = 10_000 + process + slot % 400;
    first..=first + count - 1
}

impl Harness {
    pub async fn new() -> Self {
        Self::with_ports(20).await
    }

    pub async fn with_ports(count: u16) -> Self {
        Self::preparing(count, Arc::new(RunAsIs)).await
    }

    /// One that builds, and serves dataobjects by this Node.
    pub async fn building(node: Option<PathBuf>) -> Self {
        let nodes = NodeFinder::of_process(node);
        Self::preparing(20, Arc::new(ServicePreparer::new(nodes, None))).await
    }

    async fn preparing(count: u16, prepare: Arc<dyn Prepare>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        guard(folder.path());
        fs::create_dir(folder.path().join("home")).unwrap();
        let store = Arc::new(MemoryStore::default());
        let ports = ports(count);
        let (orchestrator, tasks) = start(folder.path(), &store, &ports, &prepare).await;
        let mut client = Client::new(in_process(orchestrator.service()));
        let request = pb::CreateProjectRequest {
            name: "Test".into(),
            key: "TEST".into(),
            local_path: folder.path().join("home").to_str().unwrap().into(),
            git_json: String::new(),
        };
        let made = client.create_project(request).await.unwrap().into_inner();
        Self {
            project: made.project.unwrap().project_id,
            folder,
            store,
            client,
            orchestrator,
            tasks,
            ports,
            prepare,
        }
    }

    pub fn ports(&self) -> RangeInclusive<u16> {
        self.ports.clone()
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The tasks end as in a killed process: nobody is told.
    pub async fn reborn(self) -> Self {
        self.reborn_after(async || ()).await
    }

    /// The same, and something happens before there are tasks again.
    pub async fn reborn_after(mut self, meanwhile: impl AsyncFnOnce()) -> Self {
        self.tasks.stop();
        assert!(self.tasks.drain(PATIENCE).await.is_empty());
        meanwhile().await;
        let (orchestrator, tasks) =
            start(self.folder.path(), &self.store, &self.ports, &self.prepare).await;
        self.client = Client::new(in_process(orchestrator.service()));
        self.orchestrator = orchestrator;
        self.tasks = tasks;
        self
    }

    /// Stops everything.
    pub async fn end(self) {
        self.end_with(|| ()).await;
    }

    /// Stops everything, and looks at what there is then.
    pub async fn end_with(self, look: impl FnOnce()) {
        tokio::time::timeout(PATIENCE, self.orchestrator.suspend_all())
            .await
            .expect("services stop");
        assert_eq!(self.store.living(), 0, "instances are left");
        assert_eq!(self.store.untrue(), [""; 0]);
        look();
        self.tasks.stop();
        let left = self.tasks.drain(PATIENCE).await;
        assert!(left.is_empty(), "{left:?}");
    }

    pub fn log_dir(&self, id: &str) -> PathBuf {
        let data = self.folder.path().join("data");
        data.join("workloads").join(id).join("log")
    }

    pub fn service(&self, name: &str, spec: &str) -> PathBuf {
        let folder = self.home().join("src/services").join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("service.json"), spec).unwrap();
        folder
    }

    /// A service that listens on its port and answers with what it is told.
    pub fn http_service(&self, name: &str, more: &str) -> PathBuf {
        let spec = format!(
            r#"{{"type": "process", "command": ["python3", "-u", "server.py"],
                "stop": {{"grace": "PT2S"}}{more}}}"#
        );
        let folder = self.service(name, &spec);
        fs::write(folder.join("server.py"), SERVER).unwrap();
        folder
    }

    pub async fn create(&self, service: &str) -> String {
        let request = pb::CreateWorkloadRequest {
            project_id: self.project.clone(),
            service: service.into(),
        };
        let made = self.client.clone().create_workload(request).await;
        made.unwrap().into_inner().workload.unwrap().workload_id
    }

    /// Makes and starts it; as it is once that has come to its end.
    pub async fn run(&self, service: &str) -> pb::Workload {
        let id = self.create(service).await;
        self.start(&id).await
    }

    pub async fn start(&self, id: &str) -> pb::Workload {
        let request = pb::StartWorkloadRequest {
            workload_id: id.into(),
            wait_ms: WAIT,
        };
        let done = self.client.clone().start_workload(request).await;
        let done = done.unwrap().into_inner();
        assert!(done.settled, "{done:#?}");
        done.workload.unwrap()
    }

    pub async fn stop(&self, id: &str) -> pb::Workload {
        let request = pb::StopWorkloadRequest {
            workload_id: id.into(),
            wait_ms: WAIT,
        };
        let done = self.client.clone().stop_workload(request).await;
        let done = done.unwrap().into_inner();
        assert!(done.settled, "{done:#?}");
        done.workload.unwrap()
    }

    pub async fn restart(&self, id: &str, strategy: &str) -> pb::Workload {
        let request = pb::RestartWorkloadRequest {
            workload_id: id.into(),
            strategy: strategy.into(),
            wait_ms: WAIT,
        };
        let done = self.client.clone().restart_workload(request).await;
        let done = done.unwrap().into_inner();
        assert!(done.settled, "{done:#?}");
        done.workload.unwrap()
    }

    pub async fn get(&self, id: &str) -> pb::Workload {
        let request = pb::GetWorkloadRequest {
            workload_id: id.into(),
        };
        let found = self.client.clone().get_workload(request).await;
        found.unwrap().into_inner().workload.unwrap()
    }

    /// The workload, once `is` says so.
    pub async fn until(&self, id: &str, is: impl Fn(&pb::Workload) -> bool) -> pb::Workload {
        eventually(PATIENCE, || async {
            let found = self.get(id).await;
            if is(&found) { Ok(found) } else { Err(found) }
        })
        .await
    }

    pub async fn logs(&self, id: &str) -> Vec<pb::LogEntry> {
        self.logs_after(id, 0).await
    }

    /// Its log once it has that many lines.
    pub async fn until_logged(&self, id: &str, lines: usize, why: &str) -> Vec<pb::LogEntry> {
        let directory = self.log_dir(id);
        eventually(PATIENCE, || async {
            let there = millrace_shim::log::next_number(&directory) - 1;
            if there >= lines as u64 {
                Ok(())
            } else {
                Err((why, there))
            }
        })
        .await;
        self.logs(id).await
    }

    /// All that comes after this one.
    pub async fn logs_after(&self, id: &str, after: u64) -> Vec<pb::LogEntry> {
        let mut entries: Vec<pb::LogEntry> = Vec::new();
        loop {
            let request = pb::GetLogsRequest {
                workload_id: id.into(),
                after: entries.last().map_or(after, |entry| entry.seq),
                limit: 1000,
                stream: String::new(),
            };
            let page = self.client.clone().get_logs(request).await;
            let page = page.unwrap().into_inner();
            entries.extend(page.entries);
            if page.next == 0 {
                return entries;
            }
        }
    }
}

async fn start(
    folder: &Path,
    store: &Arc<MemoryStore>,
    ports: &RangeInclusive<u16>,
    prepare: &Arc<dyn Prepare>,
) -> (WorkloadOrchestrator, TaskGroup) {
    // Of this test alone: the name is part of cgroups.
    let node = folder
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .trim_matches('.');
    let mut config = OrchestratorConfig::new(node, folder.join("data"));
    config.roots = Some(vec![folder.to_owned()]);
    config.ports = ports.clone();
    config.secrets_dir = Some(folder.join("secrets"));
    config.open_files = Some(OPEN_FILES);
    config.prepare = Arc::clone(prepare);
    let tasks = TaskGroup::new();
    let store: Arc<dyn WorkloadStore> = store.clone();
    let started = WorkloadOrchestrator::start(config, store, &tasks, &tasks).await;
    (started.unwrap(), tasks)
}

pub fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// One GET over a connection of its own; the body.
pub async fn get(port: u32) -> std::io::Result<String> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let port = u16::try_from(port).unwrap();
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    text.split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .ok_or_else(|| std::io::Error::other(text.clone()))
}

/// Answers with the file `answer` as it was at its start; 503 to `/health`
/// while there is a file `sick`.
const SERVER: &str = r#"
import http.server, os, signal, sys
answer = open("answer").read() if os.path.exists("answer") else "hello"
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        sick = self.path == "/health" and os.path.exists("sick")
        body = answer.encode()
        self.send_response(503 if sick else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("listening on", os.environ["PORT"])
server.serve_forever()
"#;
