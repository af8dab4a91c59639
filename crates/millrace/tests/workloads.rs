//! Services as live processes: kill -9 of the orchestrator, adoption, stops.

mod support;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use millrace_proto::orchestrator::v1 as pb;
use millrace_proto::orchestrator::v1::workload_orchestrator_service_client::WorkloadOrchestratorServiceClient;
use millrace_service::Transport;
use millrace_service::transport::remote;
use millrace_testkit::eventually;
use serde_json::json;
use support::{Millrace, PATIENCE};

type Client = WorkloadOrchestratorServiceClient<Transport>;

fn client(millrace: &Millrace) -> Client {
    let address = format!("http://{}", millrace.address("orchestrator"));
    WorkloadOrchestratorServiceClient::new(remote(&address).unwrap())
}

fn service(project: &Path, name: &str, spec: &str) {
    let folder = project.join("src/services").join(name);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("service.json"), spec).unwrap();
}

async fn project(client: &mut Client, path: &Path) -> String {
    let request = pb::CreateProjectRequest {
        name: "Test".into(),
        key: "TEST".into(),
        local_path: path.to_str().unwrap().into(),
        git_json: String::new(),
    };
    let made = client.create_project(request).await.unwrap().into_inner();
    made.project.unwrap().project_id
}

async fn workload(client: &mut Client, id: &str) -> pb::Workload {
    let request = pb::GetWorkloadRequest {
        workload_id: id.into(),
    };
    let found = client.get_workload(request).await.unwrap().into_inner();
    found.workload.unwrap()
}

async fn all_lines(client: &mut Client, id: &str) -> Vec<pb::LogEntry> {
    let mut entries = Vec::new();
    loop {
        let request = pb::GetLogsRequest {
            workload_id: id.into(),
            after: entries.last().map_or(0, |entry: &pb::LogEntry| entry.seq),
            limit: 1000,
            stream: String::new(),
        };
        let page = client.get_logs(request).await.unwrap().into_inner();
        entries.extend(page.entries);
        if page.next == 0 {
            return entries;
        }
    }
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Writes numbered lines, without a process for each, until there is a file;
/// then exits with a code of its own.
const WRITER: &str = r#"$| = 1; my ($end, $code) = @ARGV; my $n = 0;
    until (-e $end) { print "line ", ++$n, "\n"; select undef, undef, undef, 0.02 }
    exit $code"#;

/// Says how long something took. Only `make soak-workloads`, which runs by
/// itself, holds that against what is promised.
fn judge(what: &str, took: Duration, promised: Duration) {
    let is_met = took <= promised;
    let word = if is_met { "met" } else { "MISSED" };
    println!("{what}: {took:?} (at most {promised:?}: {word})");
    let is_judged = std::env::var_os("MILLRACE_SOAK_JUDGE").is_some();
    assert!(
        is_met || !is_judged,
        "{what}: {took:?} is more than {promised:?}"
    );
}

/// How many workloads; `make soak-workloads` raises it.
fn count() -> usize {
    std::env::var("MILLRACE_SOAK_WORKLOADS").map_or(12, |text| text.parse().unwrap())
}

#[expect(clippy::too_many_lines, reason = "one story, told in order")]
#[tokio::test]
async fn services_survive_a_killed_orchestrator_with_every_line_and_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (data, home) = (folder.path().join("data"), folder.path().join("todo"));
    let many = count();
    for index in 0..many {
        let end = home.join(format!("end-{index}"));
        let spec = json!({"type": "process", "port": false, "restart": {"policy": "never"},
            "command": ["perl", "-e", WRITER, end, index.to_string()]});
        service(&home, &format!("writer-{index}"), &spec.to_string());
    }
    let millrace = Millrace::dev(&data).await;
    let mut rpc = client(&millrace);
    let project = project(&mut rpc, &home).await;
    let request = pb::StartProjectRequest {
        project_id: project.clone(),
        wait_ms: 60_000,
    };
    let started = rpc.start_project(request).await.unwrap().into_inner();
    let mut before: Vec<pb::Workload> = started.workloads;
    before.sort_by_key(|w| {
        w.service
            .trim_start_matches("writer-")
            .parse::<usize>()
            .unwrap()
    });
    assert_eq!(before.len(), many);
    for workload in &before {
        assert_eq!(workload.stage, "running", "{workload:#?}");
    }
    for workload in &before {
        let id = workload.workload_id.clone();
        eventually(PATIENCE, || {
            let (mut client, id) = (rpc.clone(), id.clone());
            async move {
                let written = all_lines(&mut client, &id).await.len();
                if written > 5 { Ok(()) } else { Err(written) }
            }
        })
        .await;
    }
    millrace.kill().await;
    for workload in &before {
        assert!(
            is_alive(workload.container_id.parse().unwrap()),
            "it went with it"
        );
    }
    // Half of them end while nobody is there.
    for (index, workload) in before.iter().enumerate().take(many / 2) {
        fs::write(home.join(format!("end-{index}")), "").unwrap();
        let pid: u32 = workload.container_id.parse().unwrap();
        eventually(PATIENCE, || async {
            if is_alive(pid) { Err(pid) } else { Ok(()) }
        })
        .await;
    }

    let millrace = Millrace::dev(&data).await;
    let began = Instant::now();
    let mut rpc = client(&millrace);
    for (index, before) in before.iter().enumerate() {
        let id = before.workload_id.clone();
        let client = rpc.clone();
        let now = eventually(PATIENCE, || {
            let (mut client, id) = (client.clone(), id.clone());
            async move {
                let now = workload(&mut client, &id).await;
                let wanted = if index < many / 2 {
                    "failed"
                } else {
                    "running"
                };
                let wanted = if index == 0 { "stopped" } else { wanted };
                if now.stage == wanted {
                    Ok(now)
                } else {
                    Err(now)
                }
            }
        })
        .await;
        assert_eq!(now.instances.len(), 1, "it was started twice: {now:#?}");
        let instance = &now.instances[0];
        if index < many / 2 {
            assert_eq!(
                instance.exit_code,
                Some(i32::try_from(index).unwrap()),
                "{now:#?}"
            );
        } else {
            assert_eq!(now.container_id, before.container_id);
            assert_eq!(instance.ended_at, "");
        }
    }
    let what = format!("{many} workloads, taken up");
    judge(&what, began.elapsed(), Duration::from_secs(2));
    // Those that are left end under the new one, with their codes.
    for (index, before) in before.iter().enumerate().skip(many / 2) {
        fs::write(home.join(format!("end-{index}")), "").unwrap();
        let id = before.workload_id.clone();
        let client = rpc.clone();
        eventually(PATIENCE, || {
            let (mut client, id) = (client.clone(), id.clone());
            async move {
                let now = workload(&mut client, &id).await;
                match now.instances[0].exit_code {
                    Some(code) if code == i32::try_from(index).unwrap() => Ok(()),
                    _ => Err(now),
                }
            }
        })
        .await;
    }
    let mut total = 0;
    for before in &before {
        let entries = all_lines(&mut rpc, &before.workload_id).await;
        for (at, entry) in entries.iter().enumerate() {
            assert_eq!(
                entry.seq,
                at as u64 + 1,
                "a gap or a repeat in the sequence"
            );
        }
        let lines: Vec<&str> = entries
            .iter()
            .filter(|entry| entry.stream == "stdout")
            .map(|entry| entry.line.as_str())
            .collect();
        assert!(lines.len() > 3, "{lines:?}");
        for (at, line) in lines.iter().enumerate() {
            assert_eq!(*line, format!("line {}", at + 1));
        }
        total += lines.len();
    }
    println!("{total} lines, none lost or repeated");
    assert_eq!(millrace.terminate().await.code(), Some(0));
}

#[tokio::test]
async fn dev_stops_services_and_starts_them_again_unless_they_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (data, home) = (folder.path().join("data"), folder.path().join("todo"));
    let spec = r#"{"type": "process", "port": false, "command": ["sleep", "1000"]}"#;
    service(&home, "sleeper", spec);
    let millrace = Millrace::dev(&data).await;
    let mut rpc = client(&millrace);
    let project = project(&mut rpc, &home).await;
    let request = pb::StartProjectRequest {
        project_id: project,
        wait_ms: 60_000,
    };
    let started = rpc.start_project(request).await.unwrap().into_inner();
    let id = started.workloads[0].workload_id.clone();
    let first: u32 = started.workloads[0].container_id.parse().unwrap();
    let (_, metrics) = millrace.get("/metrics").await;
    let figure = |name: &str| {
        let line = format!("millrace_workload_{name}{{project=\"TEST\",service=\"sleeper\"}} ");
        let text = metrics.as_str().unwrap();
        let found = text.lines().find_map(|text| text.strip_prefix(&line));
        found
            .unwrap_or_else(|| panic!("no {line} in {text}"))
            .parse::<f64>()
            .unwrap()
    };
    assert!((figure("up"), figure("restarts_total")) == (1.0, 0.0));
    assert!((figure("instances"), figure("processes")) == (1.0, 1.0));
    assert!(figure("memory_bytes") > 0.0 && figure("uptime_seconds") > 0.0);
    assert!(figure("cpu_seconds_total") < 60.0);
    assert_eq!(millrace.terminate().await.code(), Some(0));
    assert!(!is_alive(first), "dev leaves nothing behind");

    let keep = [("MILLRACE_DEV__KEEP_SERVICES", "true")];
    let millrace = Millrace::dev_with(&data, &keep).await;
    let running = |client: Client| {
        let id = id.clone();
        async move {
            eventually(PATIENCE, || {
                let (mut client, id) = (client.clone(), id.clone());
                async move {
                    let now = workload(&mut client, &id).await;
                    if now.stage == "running" {
                        Ok(now)
                    } else {
                        Err(now)
                    }
                }
            })
            .await
        }
    };
    let again = running(client(&millrace)).await;
    let second: u32 = again.container_id.parse().unwrap();
    assert_ne!(first, second);
    assert_eq!(millrace.terminate().await.code(), Some(0));
    assert!(is_alive(second), "it was to be kept");

    let millrace = Millrace::dev(&data).await;
    let adopted = running(client(&millrace)).await;
    assert_eq!(adopted.container_id, again.container_id);
    let mut rpc = client(&millrace);
    let request = pb::DeleteWorkloadRequest { workload_id: id };
    rpc.delete_workload(request).await.unwrap();
    assert!(!is_alive(second));
    let left: Vec<_> = fs::read_dir(data.join("run")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    millrace.terminate().await;
}

#[tokio::test]
async fn a_tree_that_hides_and_ignores_signals_is_gone_after_the_grace() {
    let folder = tempfile::tempdir().unwrap();
    let (data, home) = (folder.path().join("data"), folder.path().join("todo"));
    // Each forks twice, into sessions of its own, and ignores SIGTERM.
    let script = "import os, signal, sys, time\n\
        signal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
        for n in range(3):\n\
        \x20   if os.fork() == 0:\n\
        \x20       os.setsid()\n\
        \x20       if os.fork() == 0:\n\
        \x20           os.setsid()\n\
        \x20           open(sys.argv[1] + str(n), 'w').write(str(os.getpid()))\n\
        \x20           while True: time.sleep(1)\n\
        \x20       os._exit(0)\n\
        while True: time.sleep(1)\n";
    let spec = r#"{"type": "process", "port": false, "command": ["python3", "tree.py", "../../../pid-"],
        "stop": {"grace": "PT0.5S"}}"#;
    service(&home, "tree", spec);
    fs::write(home.join("src/services/tree/tree.py"), script).unwrap();
    let millrace = Millrace::dev(&data).await;
    let mut rpc = client(&millrace);
    let project = project(&mut rpc, &home).await;
    let request = pb::StartProjectRequest {
        project_id: project,
        wait_ms: 60_000,
    };
    let started = rpc.start_project(request).await.unwrap().into_inner();
    let mut pids = vec![started.workloads[0].container_id.parse::<u32>().unwrap()];
    for n in 0..3 {
        let path = home.join(format!("pid-{n}"));
        let pid = eventually(PATIENCE, || async {
            let text = fs::read_to_string(&path).unwrap_or_default();
            text.parse::<u32>().map_err(|_| text)
        });
        pids.push(pid.await);
    }
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    let began = Instant::now();
    let request = pb::StopWorkloadRequest {
        workload_id: started.workloads[0].workload_id.clone(),
        wait_ms: 60_000,
    };
    let stopped = rpc.stop_workload(request).await.unwrap().into_inner();
    let took = began.elapsed();
    let now = stopped.workload.unwrap();
    assert_eq!((stopped.settled, now.stage.as_str()), (true, "stopped"));
    assert!(
        began.elapsed() >= Duration::from_millis(500),
        "the grace was not kept"
    );
    for pid in &pids {
        assert!(!is_alive(*pid), "{pid} of {pids:?} is left");
    }
    assert_eq!(now.instances[0].signal, Some(9));
    // The grace, and half a second.
    judge("stop of a tree that hides", took, Duration::from_secs(1));
    millrace.terminate().await;
}

#[tokio::test]
async fn a_build_of_a_killed_orchestrator_is_gone_before_the_next_one_begins() {
    let folder = tempfile::tempdir().unwrap();
    let (data, home) = (folder.path().join("data"), folder.path().join("todo"));
    // It has nothing of its environment, and leaves its session.
    let build = "env -i setsid sh -c 'echo $$ >>../../../pids; while :; do sleep 1; done' & wait";
    let spec = json!({"type": "process", "port": false, "command": ["true"],
        "build": {"command": build, "inputs": ["service.json"]}});
    service(&home, "slow", &spec.to_string());
    let pids = home.join("pids");
    let begun = |count: usize| {
        let pids = pids.clone();
        eventually(PATIENCE, move || {
            let text = fs::read_to_string(&pids).unwrap_or_default();
            let begun: Vec<u32> = text.lines().filter_map(|pid| pid.parse().ok()).collect();
            let is_there = begun.len() == count;
            async move { if is_there { Ok(begun) } else { Err(text) } }
        })
    };
    let millrace = Millrace::dev(&data).await;
    let mut rpc = client(&millrace);
    let project = project(&mut rpc, &home).await;
    let request = pb::StartProjectRequest {
        project_id: project,
        wait_ms: 0,
    };
    rpc.start_project(request).await.unwrap();
    let first = begun(1).await[0];
    millrace.kill().await;
    assert!(is_alive(first), "it went with it");
    let millrace = Millrace::dev(&data).await;
    let both = begun(2).await;
    assert!(!is_alive(first), "two builds at once: {both:?}");
    millrace.terminate().await;
    assert!(!is_alive(both[1]), "it outlives who has begun it");
}
