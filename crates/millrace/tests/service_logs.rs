//! Logs of services over server-sent events, cut and resumed.

mod support;

use std::path::Path;

use millrace_testkit::eventually;
use serde_json::{Value, json};
use support::{Millrace, PATIENCE, client, command};

/// Writes its lines, some of them long, and stays.
const WRITER: &str =
    r#"$| = 1; print "line $_ ", "x" x ($_ % 997), "\n" for 1 .. $ENV{LINES}; sleep 1000 while 1"#;

/// How often the stream is cut; 1000 shows what is promised.
fn cuts() -> usize {
    std::env::var("MILLRACE_SOAK_CUTS").map_or(40, |text| text.parse().unwrap())
}

/// A service that writes `lines` lines, by a program in Perl; its workload,
/// which runs.
async fn writer(millrace: &Millrace, folder: &Path, program: &str, lines: usize) -> String {
    let service = folder.join("src/services/writer");
    std::fs::create_dir_all(&service).unwrap();
    let spec = json!({"type": "process", "command": ["perl", "-e", program], "port": false,
        "env": {"LINES": lines.to_string()}});
    std::fs::write(service.join("service.json"), spec.to_string()).unwrap();
    let body = json!({"name": "Logs", "key": "LOGS", "localPath": folder});
    let (status, project) = millrace.post("/api/projects", &body).await;
    assert_eq!(status, 201, "{project:#}");
    let body = json!({"projectId": project["id"], "service": "writer"});
    let (status, workload) = millrace.post("/api/workloads", &body).await;
    assert_eq!(status, 201, "{workload:#}");
    let id = workload["id"].as_str().unwrap().to_owned();
    let (status, started) = millrace
        .post(&format!("/api/workloads/{id}/start?wait=60s"), &json!({}))
        .await;
    assert_eq!(status, 200, "{started:#}");
    id
}

/// All that is stored, in pages.
async fn stored(millrace: &Millrace, id: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/api/workloads/{id}/logs?after={after}&limit=1000");
        let (status, page) = millrace.get(&path).await;
        assert_eq!(status, 200, "{page:#}");
        all.extend(page["items"].as_array().unwrap().clone());
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => return all,
        }
    }
}

/// One reader of the stream.
struct Reader {
    response: reqwest::Response,
    rest: Vec<u8>,
}

impl Reader {
    async fn after(http: &reqwest::Client, url: &str, last: u64) -> Self {
        let request = http.get(url).header("last-event-id", last.to_string());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        let rest = Vec::new();
        Self { response, rest }
    }

    /// The next event's data.
    async fn next(&mut self) -> Value {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                if let Some(data) = line.strip_prefix(b"data:") {
                    return serde_json::from_slice(data).unwrap();
                }
            } else {
                let chunk = self.response.chunk().await.unwrap();
                self.rest.extend_from_slice(&chunk.expect("it goes on"));
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_and_resumed_is_what_is_stored() {
    let folder = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev_with(&folder.path().join("data"), &[]).await;
    let cuts = cuts();
    let lines = cuts * 25;
    let project = folder.path().join("project");
    let id = writer(&millrace, &project, WRITER, lines).await;
    let url = millrace.url(&format!("/api/workloads/{id}/logs/stream"));
    let http = client();

    // Read while it is being written, and cut after uneven numbers of lines.
    let mut read: Vec<Value> = Vec::new();
    let mut done = 0;
    while read
        .iter()
        .filter(|entry| entry["stream"] == "stdout")
        .count()
        < lines
    {
        let last = read
            .last()
            .map_or(0, |entry| entry["seq"].as_u64().unwrap());
        let mut reader = Reader::after(&http, &url, last).await;
        let wanted = 1 + (done * 7919) % 49;
        for _ in 0..wanted {
            let entry = reader.next().await;
            let whole = entry["line"] == format!("line {lines} {}", "x".repeat(lines % 997));
            read.push(entry);
            if whole {
                break;
            }
        }
        done += 1;
    }
    assert!(done >= cuts / 2, "{done} cuts");
    println!("{} lines over {done} cuts", read.len());

    let stored = eventually(PATIENCE, || async {
        let stored = stored(&millrace, &id).await;
        if stored.len() >= read.len() {
            Ok(stored)
        } else {
            Err(stored.len())
        }
    })
    .await;
    assert_eq!(read[..], stored[..read.len()]);
    let numbers: Vec<u64> = read
        .iter()
        .map(|entry| entry["seq"].as_u64().unwrap())
        .collect();
    let gapless: Vec<u64> = (1..).take(read.len()).collect();
    assert_eq!(numbers, gapless);
    millrace.terminate().await;
}

/// Writes its lines, 8 KiB each, and stays.
const WIDE_WRITER: &str =
    r#"$| = 1; print "line $_ ", "x" x 8180, "\n" for 1 .. $ENV{LINES}; sleep 1000 while 1"#;

#[tokio::test]
async fn a_client_that_stalls_delays_nobody_and_goes_on_where_it_was() {
    /// 24 MiB: more than all buffers on the way hold.
    const LINES: usize = 3000;
    let folder = tempfile::tempdir().unwrap();
    let millrace = Millrace::dev_with(&folder.path().join("data"), &[]).await;
    let id = writer(
        &millrace,
        &folder.path().join("project"),
        WIDE_WRITER,
        LINES,
    )
    .await;
    let url = millrace.url(&format!("/api/workloads/{id}/logs/stream?stream=stdout"));
    let http = client();
    let mut stalled = Reader::after(&http, &url, 0).await;
    let first = stalled.next().await;
    assert!(
        first["line"].as_str().unwrap().starts_with("line 1 x"),
        "{first}"
    );
    // It reads no more for as long as this one needs for all of it.
    let mut swift = Reader::after(&http, &url, 0).await;
    let mut read = Vec::new();
    while read.len() < LINES {
        read.push(swift.next().await);
    }
    assert_eq!(read[0], first);
    for (line, entry) in read.iter().enumerate() {
        let text = entry["line"].as_str().unwrap();
        assert!(text.starts_with(&format!("line {} x", line + 1)), "{text}");
    }
    for expected in &read[1..] {
        assert_eq!(stalled.next().await, *expected);
    }
    millrace.terminate().await;
}

/// Writes a line now and then for as long as it lives.
const STEADY_WRITER: &str =
    r#"$| = 1; for (1 .. $ENV{LINES}) { print "line $_\n"; select undef, undef, undef, 0.02 }"#;

#[tokio::test]
async fn a_stream_goes_on_when_the_orchestrator_is_stopped_and_started_again() {
    let folder = tempfile::tempdir().unwrap();
    millrace_testkit::guard(folder.path());
    let data = folder.path().join("data");
    let database = format!("sqlite://{}/m.db", folder.path().display());
    let migrated = command(&["migrate"], &[("DATABASE_URL", &database)]).output();
    assert!(migrated.await.unwrap().status.success());
    let at = format!("127.0.0.1:{}", millrace_testkit::free_port());
    let orchestrator = async || {
        let settings = [
            ("DATABASE_URL", database.as_str()),
            ("MILLRACE_ORCHESTRATOR__DATA_DIR", data.to_str().unwrap()),
            (
                "MILLRACE_ORCHESTRATOR__ROOTS",
                folder.path().to_str().unwrap(),
            ),
        ];
        let arguments = ["orchestrator", "--ready-json", "--listen", &at];
        Millrace::start(&arguments, &settings).await
    };
    let first = orchestrator().await;
    let settings = [
        ("MILLRACE_GATEWAY__ORCHESTRATOR", at.as_str()),
        // Nothing is asked of a runtime.
        ("MILLRACE_GATEWAY__RUNTIME", "127.0.0.1:9"),
        ("MILLRACE_GATEWAY__STOP_DELAY", "1ms"),
    ];
    let arguments = ["gateway", "--ready-json", "--listen", "127.0.0.1:0"];
    let gateway = Millrace::start(&arguments, &settings).await;
    let id = writer(
        &gateway,
        &folder.path().join("project"),
        STEADY_WRITER,
        1_000_000,
    )
    .await;
    let url = gateway.url(&format!("/api/workloads/{id}/logs/stream"));
    let mut reader = Reader::after(&client(), &url, 0).await;
    let mut seq = 0;
    let mut read = async |lines: u64| {
        for _ in 0..lines {
            let entry = reader.next().await;
            seq += 1;
            assert_eq!(entry["seq"], seq, "{entry}");
        }
    };
    read(20).await;
    // It leaves its services running.
    assert_eq!(first.terminate().await.code(), Some(0));
    let second = orchestrator().await;
    // Many more than were on their way.
    read(200).await;
    let (status, stopped) = gateway
        .post(&format!("/api/workloads/{id}/stop?wait=60s"), &json!({}))
        .await;
    assert_eq!(
        (status, &stopped["stage"]),
        (200, &json!("stopped")),
        "{stopped:#}"
    );
    gateway.terminate().await;
    second.terminate().await;
}
