//! Logs: nothing lost, nothing repeated, whoever reads and however often.

use std::fs;
use std::time::{Duration, Instant};

use millrace_proto::orchestrator::v1 as pb;
use millrace_shim::log::{HEAD, next_number};
use millrace_shim::record::MAX_LINE;
use millrace_testkit::eventually;
use tokio_stream::{Stream, StreamExt as _};

use crate::harness::{Harness, PATIENCE, is_alive};

/// The process that looks after `pid`.
fn shim_of(pid: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    number_of(&status, "PPid:").to_string()
}

fn private_kib(pid: &str) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    number_of(&rollup, "Private_Dirty:")
}

fn number_of(text: &str, name: &str) -> u64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(name));
    let number = rest.unwrap().split_whitespace().next().unwrap();
    number.parse().unwrap()
}

/// Follows the log of a workload; `request` names all but the workload.
async fn follow(
    harness: &Harness,
    id: &str,
    request: pb::StreamLogsRequest,
) -> impl Stream<Item = pb::LogEntry> + Unpin + use<> {
    let request = pb::StreamLogsRequest {
        workload_id: id.into(),
        ..request
    };
    let stream = harness.client.clone().stream_logs(request).await;
    let lines = stream.unwrap().into_inner();
    lines.map(|line| line.unwrap().entry.unwrap())
}

/// Reads `count` lines of what `request` names, then hangs up.
async fn cut(
    harness: &Harness,
    id: &str,
    request: pb::StreamLogsRequest,
    count: usize,
) -> Vec<pb::LogEntry> {
    let lines = follow(harness, id, request).await.take(count);
    tokio::time::timeout(PATIENCE, lines.collect::<Vec<_>>())
        .await
        .unwrap()
}

fn after(after: u64) -> pb::StreamLogsRequest {
    pb::StreamLogsRequest {
        after,
        ..Default::default()
    }
}

/// The log of a workload, once its last line is `end`.
async fn until_its_end(harness: &Harness, id: &str) -> Vec<pb::LogEntry> {
    eventually(PATIENCE, || async {
        let entries = harness.logs(id).await;
        let last = entries.last().map(|entry| entry.line.clone());
        if last.as_deref() == Some("end") {
            Ok(entries)
        } else {
            Err(last)
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_cut_again_and_again_is_what_is_stored() {
    let harness = Harness::new().await;
    // Several segments, while it is being read, and a restart in between.
    harness.service(
        "writer",
        r#"{"type": "process", "port": false, "logs": {"maxBytes": "64MiB"},
            "command": ["python3", "-u", "writer.py"]}"#,
    );
    let folder = harness.home().join("src/services/writer");
    let cuts = std::env::var("MILLRACE_SOAK_CUTS").map_or(100, |text| text.parse().unwrap());
    // More than are read, in each of its two lives.
    let lines = cuts * 30;
    fs::write(
        folder.join("writer.py"),
        format!(
            "import sys, time\n\
         for n in range({lines}):\n\
         \x20   print('line', n, 'x' * 100)\n\
         \x20   if n % 7 == 0: print('note', n, file=sys.stderr)\n\
         \x20   if n % 100 == 0: time.sleep(0.01)\n\
         time.sleep(1000)\n"
        ),
    )
    .unwrap();
    let running = harness.run("writer").await;
    let id = running.workload_id;
    let mut read: Vec<pb::LogEntry> = Vec::new();
    let mut random: u64 = 42;
    for cutting in 0..cuts {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let count = usize::try_from(random >> 33).unwrap() % 60 + 1;
        let seen = read.last().map_or(0, |entry| entry.seq);
        read.extend(cut(&harness, &id, after(seen), count).await);
        if cutting == cuts / 2 {
            harness.restart(&id, "").await;
        }
    }
    let stored = harness
        .until_logged(&id, read.len() + 50, "the writer writes more than is read")
        .await;
    println!("{} lines over {cuts} cuts", read.len());
    assert_eq!(read[..], stored[..read.len()]);
    for (at, entry) in stored.iter().enumerate() {
        assert_eq!(entry.seq, at as u64 + 1);
    }
    // An orchestrator that comes back goes on where the old one was.
    let harness = harness.reborn().await;
    let seen = read.last().unwrap().seq;
    let more = cut(&harness, &id, after(seen), 50).await;
    assert_eq!(more[..], stored[read.len()..read.len() + 50]);
    let last = harness.logs(&id).await;
    let request = pb::StreamLogsRequest {
        stream: "stderr".into(),
        ..Default::default()
    };
    let notes = cut(&harness, &id, request, 20).await;
    let wanted: Vec<_> = last
        .into_iter()
        .filter(|e| e.stream == "stderr")
        .take(20)
        .collect();
    assert_eq!(notes, wanted);
    harness.end().await;
}

#[tokio::test]
async fn a_stalled_reader_delays_neither_the_service_nor_others() {
    let harness = Harness::new().await;
    harness.service(
        "writer",
        r#"{"type": "process", "port": false,
            "command": "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo line $i; done; echo done; sleep 1000"}"#,
    );
    let id = harness.create("writer").await;
    // It is held, and never read.
    let stalled = follow(&harness, &id, after(0)).await;
    let mut reading = follow(&harness, &id, after(0)).await;
    harness.start(&id).await;
    let all = async {
        let mut expected = 1;
        while let Some(entry) = reading.next().await {
            assert_eq!(entry.seq, expected);
            expected += 1;
            if entry.line == "done" {
                break;
            }
        }
        expected
    };
    let lines = tokio::time::timeout(PATIENCE, all).await.unwrap();
    assert!(lines > 20_000, "{lines}");
    drop(stalled);
    harness.end().await;
}

#[tokio::test]
async fn a_line_without_end_is_split_and_needs_little_memory() {
    let harness = Harness::new().await;
    let size: usize =
        std::env::var("MILLRACE_SOAK_LINE").map_or(8 << 20, |text| text.parse().unwrap());
    let command = format!("head -c {size} /dev/zero | tr '\\\\0' x; echo; echo end; sleep 1000");
    let spec = format!(
        r#"{{"type": "process", "port": false, "logs": {{"maxBytes": "1GiB"}}, "command": "{command}"}}"#
    );
    harness.service("long", &spec);
    let began = Instant::now();
    let running = harness.run("long").await;
    let id = running.workload_id;
    let mut entries: Vec<pb::LogEntry> = Vec::new();
    eventually(PATIENCE, || async {
        let next = next_number(&harness.log_dir(&id));
        let wanted = size.div_ceil(MAX_LINE) + 2;
        if next >= wanted as u64 {
            Ok(())
        } else {
            Err(next)
        }
    })
    .await;
    let captured = began.elapsed();
    let began = Instant::now();
    while !entries.iter().any(|entry| entry.line == "end") {
        let after = entries.last().map_or(0, |entry| entry.seq);
        entries.extend(harness.logs_after(&id, after).await);
    }
    println!(
        "a line of {size} bytes was captured within {captured:?}, and read within {:?}",
        began.elapsed()
    );
    let lines: Vec<_> = entries.iter().filter(|e| e.stream == "stdout").collect();
    let parts = &lines[..lines.len() - 1];
    let total: usize = parts.iter().map(|entry| entry.line.len()).sum();
    assert_eq!(total, size);
    let (last, before) = parts.split_last().unwrap();
    assert!(!last.partial && before.iter().all(|e| e.partial && e.line.len() == 65_536));
    let shim = shim_of(&running.container_id);
    let private = private_kib(&shim);
    let status = fs::read_to_string(format!("/proc/{shim}/status")).unwrap();
    let peak = number_of(&status, "VmHWM:");
    println!("the shim has {private} KiB of private memory after it, and had {peak} KiB at most");
    assert!(peak < 8192, "{peak} KiB");
    assert!(private < 4096, "{private} KiB");
    harness.end().await;
}

#[tokio::test]
async fn an_idle_shim_has_less_than_a_mebibyte_of_its_own() {
    let harness = Harness::new().await;
    harness.service(
        "idle",
        r#"{"type": "process", "port": false, "command": ["sleep", "1000"]}"#,
    );
    let running = harness.run("idle").await;
    let private = private_kib(&shim_of(&running.container_id));
    println!("an idle shim has {private} KiB of private memory");
    assert!(private < 1024, "{private} KiB");
    harness.end().await;
}

#[tokio::test]
async fn old_segments_go_and_the_sequence_goes_on() {
    let harness = Harness::new().await;
    harness.service(
        "writer",
        r#"{"type": "process", "port": false, "logs": {"maxBytes": "1MiB"},
            "command": "head -c 4000000 /dev/zero | tr '\\0' x | fold -w 1000; echo; echo end; sleep 1000"}"#,
    );
    let running = harness.run("writer").await;
    let id = running.workload_id;
    let entries = until_its_end(&harness, &id).await;
    assert!(!entries.is_empty());
    // From its beginning as it is now.
    let entries = harness.logs(&id).await;
    assert!(entries[0].seq > 1, "nothing was let go");
    for pair in entries.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq + 1);
    }
    let log = harness
        .folder
        .path()
        .join("data/workloads")
        .join(&id)
        .join("log");
    // What is too much goes after the batch that made it so can be read.
    let kept = || -> u64 {
        let segments = fs::read_dir(&log).unwrap();
        // One that goes meanwhile is none.
        let sizes = segments.map(|entry| entry.unwrap().metadata().map_or(0, |file| file.len()));
        sizes.sum()
    };
    eventually(PATIENCE, || async {
        let kept = kept();
        if kept <= 1 << 20 { Ok(()) } else { Err(kept) }
    })
    .await;
    let tail = pb::StreamLogsRequest {
        tail: Some(1),
        ..Default::default()
    };
    assert_eq!(cut(&harness, &id, tail, 1).await[0].line, "end");
    harness.end().await;
}

#[tokio::test]
async fn a_log_into_which_nothing_is_written_grows_old_as_well() {
    let harness = Harness::new().await;
    harness.service(
        "brief",
        r#"{"type": "process", "port": false, "command": "echo said", "logs": {"maxAge": "PT1S"}}"#,
    );
    let id = harness.run("brief").await.workload_id;
    harness.until(&id, |w| w.stage == "stopped").await;
    let before = harness.logs(&id).await;
    assert!(before.iter().any(|entry| entry.line == "said"));
    let log = harness.log_dir(&id);
    eventually(PATIENCE, || async {
        let segments = millrace_shim::log::segments(&log).unwrap();
        let last = millrace_shim::log::segment_path(&log, segments[segments.len() - 1]);
        let age = last.metadata().unwrap().modified().unwrap().elapsed();
        let age = age.unwrap_or_default();
        if age > Duration::from_secs(1) {
            Ok(())
        } else {
            Err(age)
        }
    })
    .await;
    // It is looked at once an hour, and at the start.
    let harness = harness.reborn().await;
    eventually(PATIENCE, || async {
        let left = harness.logs(&id).await;
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
    harness.start(&id).await;
    harness.until(&id, |w| w.stage == "stopped").await;
    let after = harness.logs(&id).await;
    assert_eq!(after[0].seq, before[before.len() - 1].seq + 1);
    harness.end().await;
}

#[tokio::test]
async fn a_restarted_orchestrator_lets_go_of_no_more_than_the_service_says() {
    let harness = Harness::new().await;
    let service = r#"{"type": "process", "port": false, "command": "echo up; exec sleep 1000",
        "restart": {"policy": "never"}, "logs": {"keepInstances": 100}}"#;
    harness.service("often", service);
    let mut running = harness.run("often").await;
    let id = running.workload_id.clone();
    // More than are kept of a service that does not say.
    for lines in 1..13 {
        harness.until_logged(&id, lines, "it says one").await;
        running = harness.restart(&id, "").await;
    }
    let before = harness.until_logged(&id, 13, "it says one").await;
    let head = harness.log_dir(&id).join(HEAD);
    let harness = harness
        .reborn_after(async || {
            let shim = shim_of(&running.container_id);
            let killed = std::process::Command::new("kill")
                .args(["-9", &running.container_id])
                .status();
            assert!(killed.unwrap().success());
            eventually(PATIENCE, || async {
                if is_alive(&shim) { Err(&shim) } else { Ok(()) }
            })
            .await;
            // So long ago that whoever writes next begins a segment.
            let mut bytes = fs::read(&head).unwrap();
            let begun = bytes.last_chunk_mut::<8>().unwrap();
            let days = Duration::from_hours(3 * 24).as_micros();
            let then = i64::from_le_bytes(*begun) - i64::try_from(days).unwrap();
            *begun = then.to_le_bytes();
            fs::write(&head, bytes).unwrap();
        })
        .await;
    harness.until(&id, |w| w.stage == "failed").await;
    let after = harness.logs(&id).await;
    assert!(after.len() > before.len(), "its end is told of");
    assert_eq!(after[..before.len()], before);
    assert_eq!(after[0].seq, 1);
    harness.end().await;
}

#[tokio::test]
async fn who_follows_is_told_that_there_is_more_to_come_when_the_orchestrator_stops() {
    let harness = Harness::new().await;
    let spec = r#"{"type": "process", "port": false,
        "command": "seq 3000; exec sleep 1000"}"#;
    harness.service("counts", spec);
    let id = harness.run("counts").await.workload_id;
    harness.until_logged(&id, 3000, "lines").await;
    let open = |request: pb::StreamLogsRequest| {
        let mut client = harness.client.clone();
        let request = pb::StreamLogsRequest {
            workload_id: id.clone(),
            ..request
        };
        async move { client.stream_logs(request).await.unwrap().into_inner() }
    };
    // One that has read all, and one that has read nothing.
    let mut idle = open(pb::StreamLogsRequest {
        tail: Some(1),
        ..pb::StreamLogsRequest::default()
    })
    .await;
    assert!(idle.message().await.unwrap().is_some());
    let slow = open(after(0)).await;
    let harness = harness.reborn().await;
    for mut lines in [idle, slow] {
        let end = loop {
            match tokio::time::timeout(PATIENCE, lines.message())
                .await
                .unwrap()
            {
                Ok(Some(_)) => {}
                end => break end,
            }
        };
        assert_eq!(end.unwrap_err().code(), tonic::Code::Unavailable);
    }
    harness.end().await;
}
