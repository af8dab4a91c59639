//! Many calls at once.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use futures::future::join_all;
use millrace_proto::orchestrator::v1 as pb;
use millrace_testkit::eventually;

use crate::harness::{Harness, PATIENCE, WAIT, get};

/// Listens, and fails loudly when it runs twice at once: the lock lasts as
/// long as any process that has inherited it.
const ALONE: &str = r#"{"type": "process", "stop": {"grace": "PT5S"},
    "command": "exec 9>../../../lock; flock -n 9 || touch ../../../double; exec python3 -u server.py"}"#;

/// As many ports as there may be foreign listeners on, and one: who does not
/// give one back soon has none.
const FEW_PORTS: u16 = 4;

/// With one service, `one`; its workload.
async fn alone() -> (Harness, String) {
    let harness = Harness::with_ports(FEW_PORTS).await;
    harness.http_service("one", "");
    harness.service("one", ALONE);
    let id = harness.create("one").await;
    (harness, id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_never_make_two_instances() {
    let (harness, id) = alone().await;
    let calls = (0..1000_u32).map(|n| {
        let mut client = harness.client.clone();
        let workload_id = id.clone();
        // Some wait for the end, most only for the word.
        let wait_ms = if n % 10 == 0 { WAIT } else { 0 };
        async move {
            match n % 3 {
                0 => {
                    let request = pb::StartWorkloadRequest {
                        workload_id,
                        wait_ms,
                    };
                    client.start_workload(request).await.map(|_| ())
                }
                1 => {
                    let request = pb::StopWorkloadRequest {
                        workload_id,
                        wait_ms,
                    };
                    client.stop_workload(request).await.map(|_| ())
                }
                _ => {
                    let strategy = String::new();
                    let request = pb::RestartWorkloadRequest {
                        workload_id,
                        strategy,
                        wait_ms,
                    };
                    client.restart_workload(request).await.map(|_| ())
                }
            }
        }
    });
    for done in join_all(calls).await {
        done.unwrap();
    }
    let running = harness.start(&id).await;
    assert_eq!(running.stage, "running", "{running:#?}");
    assert_eq!(harness.store.living(), 1);
    assert_eq!(get(running.port).await.unwrap(), "hello");
    assert!(!harness.home().join("double").exists(), "two ran at once");
    println!("{} instances for 1000 calls", running.instances.len());
    harness.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_gives_out_what_it_has_and_says_when_it_is_empty() {
    let pool: u16 = std::env::var("MILLRACE_SOAK_POOL").map_or(10, |text| text.parse().unwrap());
    let services = if pool > 10 { 5 * pool } else { 2 * pool };
    let harness = Harness::with_ports(pool).await;
    let ports = harness.ports();
    // Foreign programs have some of them.
    let foreign: Vec<TcpListener> = ports
        .clone()
        .take(4)
        .filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .collect();
    let mut ids = Vec::new();
    for n in 0..services {
        harness.http_service(&format!("web-{n}"), "");
        ids.push(harness.create(&format!("web-{n}")).await);
    }
    let started = join_all(ids.iter().map(|id| harness.start(id))).await;
    let (running, failed): (Vec<_>, Vec<_>) = started.iter().partition(|w| w.stage == "running");
    for workload in &failed {
        let error = workload.error.as_ref().unwrap();
        assert_eq!(error.reason, "ports-exhausted", "{workload:#?}");
        assert!(
            error.message.contains("no port is free"),
            "{}",
            error.message
        );
    }
    println!(
        "{services} starts at once on {pool} ports, {} of them stolen: {} run, {} refused",
        foreign.len(),
        running.len(),
        failed.len()
    );
    let mut taken: Vec<u32> = running.iter().map(|w| w.port).collect();
    taken.sort_unstable();
    taken.dedup();
    assert_eq!(taken.len(), running.len(), "a port was given out twice");
    assert_eq!(
        running.len(),
        usize::from(pool) - foreign.len(),
        "{taken:?}"
    );
    for workload in &running {
        assert_eq!(get(workload.port).await.unwrap(), "hello");
    }
    // What is given back can be had again.
    harness.stop(&running[0].workload_id).await;
    let next = harness.start(&failed[0].workload_id).await;
    assert_eq!(
        (next.stage.as_str(), next.port),
        ("running", running[0].port)
    );
    drop(foreign);
    harness.end().await;
}

#[tokio::test]
async fn a_port_that_is_stolen_after_the_start_is_given_up_for_another() {
    // Between the choice of the port and the moment when it is listened on.
    const PRELUDE: &str = "import os, time\n\
        with open('asked', 'a') as asked: print(os.environ['PORT'], file=asked)\n\
        while not os.path.exists('go'): time.sleep(0.005)\n";
    let harness = Harness::new().await;
    let folder = harness.http_service("web", "");
    let server = fs::read_to_string(folder.join("server.py")).unwrap();
    fs::write(folder.join("server.py"), format!("{PRELUDE}{server}")).unwrap();
    let id = harness.create("web").await;
    let steal = async {
        let mut stolen = Vec::new();
        for n in 0..3 {
            let port = eventually(PATIENCE, || async {
                let asked = fs::read_to_string(folder.join("asked")).unwrap_or_default();
                match asked.lines().nth(n) {
                    Some(port) if asked.ends_with('\n') => Ok(port.parse::<u16>().unwrap()),
                    _ => Err(asked),
                }
            });
            stolen.push(TcpListener::bind(("127.0.0.1", port.await)).unwrap());
        }
        eventually(PATIENCE, || async {
            let asked = fs::read_to_string(folder.join("asked")).unwrap_or_default();
            if asked.lines().count() > 3 {
                Ok(())
            } else {
                Err(asked)
            }
        })
        .await;
        fs::write(folder.join("go"), "").unwrap();
        stolen
    };
    let (running, stolen) = tokio::join!(harness.start(&id), steal);
    assert_eq!(running.stage, "running", "{running:#?}");
    assert_eq!(get(running.port).await.unwrap(), "hello");
    let reasons: Vec<&str> = running
        .instances
        .iter()
        .map(|i| i.reason.as_str())
        .collect();
    assert_eq!(reasons, ["port-taken", "port-taken", "port-taken", ""]);
    assert_eq!(harness.store.living(), 1);
    drop(stolen);
    harness.end().await;
}

/// Open descriptors of this process.
fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// How many processes run in `folder` or with it.
fn processes(folder: &Path) -> usize {
    let folder = folder.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let has = |process: &fs::DirEntry| {
        let said = |file| fs::read(process.path().join(file)).unwrap_or_default();
        let text = [said("cmdline"), said("environ")].concat();
        String::from_utf8_lossy(&text).contains(folder)
    };
    processes.filter(has).count()
}

/// Says that this process is for the cycles alone.
const CYCLES_ALONE: &str = "MILLRACE_CYCLES_ALONE";

#[tokio::test]
async fn cycles_leave_nothing_behind() {
    // In a process of their own: other tests open and close files meanwhile.
    let ended = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "storm::cycles_alone"])
        .env(CYCLES_ALONE, "1")
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(
        ended.status.success() && said.contains("1 passed"),
        "{said}\n{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    for line in said.lines().filter(|line| line.contains("cycles:")) {
        println!("{line}");
    }
}

#[tokio::test]
async fn cycles_alone() {
    /// After so many of them, all that is made once is there.
    const FIRST: usize = 5;
    if std::env::var_os(CYCLES_ALONE).is_none() {
        return;
    }
    let (harness, id) = alone().await;
    let cycles = std::env::var("MILLRACE_SOAK_CYCLES").map_or(25, |text| text.parse().unwrap());
    let mut before = 0;
    for cycle in 0..cycles {
        if cycle == FIRST {
            before = descriptors();
        }
        let running = harness.start(&id).await;
        assert_eq!(running.stage, "running", "cycle {cycle}: {running:#?}");
        let stopped = harness.stop(&id).await;
        assert_eq!(stopped.stage, "stopped", "cycle {cycle}: {stopped:#?}");
    }
    assert_eq!(harness.store.living(), 0);
    let data = harness.folder.path().join("data");
    eventually(PATIENCE, || async {
        match fs::read_dir(data.join("run")).unwrap().count() {
            0 => Ok(()),
            left => Err(format!("{left} folders are left")),
        }
    })
    .await;
    let log = data.join("workloads").join(&id).join("log");
    let segments = fs::read_dir(log).unwrap().count();
    assert!(segments <= 20, "{segments} segments are kept");
    eventually(PATIENCE, || async {
        match processes(&data) {
            0 => Ok(()),
            left => Err(format!("{left} processes are left")),
        }
    })
    .await;
    let open = eventually(PATIENCE, || async {
        match descriptors() {
            open if open <= before => Ok(open),
            open => Err(format!(
                "{open} descriptors are open, {before} were at first"
            )),
        }
    })
    .await;
    println!(
        "{cycles} cycles: no process is left, no port of {FEW_PORTS}, {segments} segments, \
         {open} descriptors ({before} at first)"
    );
    assert!(!harness.home().join("double").exists());
    harness.end().await;
}
