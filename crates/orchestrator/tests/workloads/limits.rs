//! Each limit, and a program that tries to break it. Where the host lacks
//! what it takes, the instance says so, and so does the test.

use std::fs;

use crate::harness::{Harness, OPEN_FILES};

/// Runs a Python program under these limits; what is said of the limits, and
/// the workload once it has ended.
async fn attempt(
    harness: &Harness,
    name: &str,
    limits: &str,
    program: &str,
) -> (String, millrace_proto::orchestrator::v1::Workload) {
    let spec = format!(
        r#"{{"type": "process", "port": false, "command": ["python3", "-u", "try.py"],
            "restart": {{"policy": "never"}}, "resources": {limits}}}"#
    );
    let folder = harness.service(name, &spec);
    fs::write(folder.join("try.py"), program).unwrap();
    let started = harness.run(name).await;
    let ended = harness
        .until(&started.workload_id, |w| {
            w.stage != "running" && w.stage != "deploy"
        })
        .await;
    (ended.instances[0].limits.clone(), ended)
}

#[tokio::test]
async fn a_service_gets_the_usual_number_of_open_files_and_may_ask_for_more() {
    let harness = Harness::new().await;
    let spec = r#"{"type": "process", "port": false, "restart": {"policy": "never"},
        "command": "ulimit -Sn; ulimit -n $(ulimit -Hn) && echo raised"}"#;
    harness.service("counter", spec);
    let started = harness.run("counter").await;
    let id = started.workload_id;
    harness.until(&id, |w| w.stage == "stopped").await;
    let said = harness.logs(&id).await;
    let said: Vec<&str> = said
        .iter()
        .filter(|entry| entry.stream == "stdout")
        .map(|entry| entry.line.as_str())
        .collect();
    assert_eq!(said, [OPEN_FILES.to_string().as_str(), "raised"]);
    harness.end().await;
}

#[tokio::test]
async fn memory_beyond_the_limit_ends_it_and_is_reported_as_such() {
    let harness = Harness::new().await;
    let program = "blocks = []\n\
        while len(blocks) < 400: blocks.append(bytearray(1 << 20))\n\
        print('has it all')\n";
    let (limits, ended) = attempt(&harness, "eater", r#"{"memory": "48MiB"}"#, program).await;
    let error = ended
        .error
        .clone()
        .unwrap_or_else(|| panic!("it got it all: {ended:#?}"));
    if limits.contains("cgroup") {
        assert_eq!(error.reason, "out-of-memory", "{limits}: {ended:#?}");
        assert_eq!(ended.instances[0].signal, Some(9));
    } else {
        println!("SKIPPED the report of out-of-memory: this host has no memory cgroup ({limits})");
        assert_eq!(error.reason, "exited");
    }
    println!("memory: {limits}");
    harness.end().await;
}

#[tokio::test]
async fn processes_beyond_the_limit_are_refused() {
    let harness = Harness::new().await;
    let program = "import os, sys, time\n\
        made = 0\n\
        try:\n\
        \x20   for n in range(50):\n\
        \x20       if os.fork() == 0:\n\
        \x20           time.sleep(1000)\n\
        \x20       made += 1\n\
        except OSError: pass\n\
        print('made', made)\n\
        sys.exit(3)\n";
    let (limits, ended) = attempt(&harness, "forker", r#"{"pids": 10}"#, program).await;
    let logs = harness.logs(&ended.workload_id).await;
    let made = logs
        .iter()
        .find_map(|e| e.line.strip_prefix("made "))
        .unwrap();
    if limits.contains("not enforced") {
        println!("SKIPPED: {limits}");
    } else {
        assert_eq!(made, "9", "{limits}");
        println!("pids: {limits}");
    }
    harness.end().await;
}

#[tokio::test]
async fn files_beyond_the_limit_are_refused() {
    let harness = Harness::new().await;
    let program = "import sys\n\
        files = []\n\
        try:\n\
        \x20   while True: files.append(open('/dev/null'))\n\
        except OSError: print('opened', len(files))\n\
        sys.exit(3)\n";
    let (limits, ended) = attempt(&harness, "opener", r#"{"openFiles": 64}"#, program).await;
    let logs = harness.logs(&ended.workload_id).await;
    let opened = logs
        .iter()
        .find_map(|e| e.line.strip_prefix("opened "))
        .unwrap();
    assert!(opened.parse::<u32>().unwrap() < 64, "{opened}");
    assert_eq!(limits, "openFiles: rlimit, of each process");
    harness.end().await;
}

#[tokio::test]
async fn a_share_of_a_processor_is_not_exceeded() {
    let harness = Harness::new().await;
    // It says how much of the time it had.
    let program = "import sys, time\n\
        began = time.time()\n\
        while time.time() - began < 2: pass\n\
        print('share', time.process_time() / (time.time() - began))\n\
        sys.exit(3)\n";
    let (limits, ended) = attempt(&harness, "burner", r#"{"cpu": 0.2}"#, program).await;
    let logs = harness.logs(&ended.workload_id).await;
    let share = logs
        .iter()
        .find_map(|e| e.line.strip_prefix("share "))
        .unwrap();
    if limits.contains("not enforced") {
        println!("SKIPPED: {limits}");
    } else {
        assert!(share.parse::<f64>().unwrap() < 0.4, "{share} with {limits}");
        println!("cpu: {limits}, it had {share}");
    }
    harness.end().await;
}

#[tokio::test]
async fn basic_isolation_takes_away_new_privileges() {
    let harness = Harness::new().await;
    harness.service(
        "plain",
        r#"{"type": "process", "port": false, "isolation": "basic", "user": "nobody",
            "command": ["grep", "-E", "NoNewPrivs|^Uid", "/proc/self/status"]}"#,
    );
    let started = harness.run("plain").await;
    let ended = harness
        .until(&started.workload_id, |w| w.stage != "running")
        .await;
    let logs = harness.logs(&ended.workload_id).await;
    let lines: Vec<&str> = logs
        .iter()
        .filter(|entry| entry.stream == "stdout")
        .map(|entry| entry.line.as_str())
        .collect();
    if ended.error.is_some() {
        println!("SKIPPED: this host has no right to change users: {ended:#?}");
    } else {
        assert_eq!(
            lines,
            ["Uid:\t65534\t65534\t65534\t65534", "NoNewPrivs:\t1"]
        );
    }
    harness.end().await;
}

/// What the program finds out by trying; each line is `what: yes` or `no`.
const TRY: &str = r"
import os, signal, socket, sys, tempfile

def attempt(what, work):
    try:
        work()
        print(what + ': yes')
    except OSError as error:
        print(what + ': no')

here = os.getcwd()
data = os.environ['MILLRACE_DATA_DIR']
outside = sys.argv[1]
attempt('reads its folder', lambda: open('try.py').read())
attempt('reads the host', lambda: open('/etc/passwd').read())
attempt('runs programs', lambda: os.stat('/bin/true') and os.posix_spawn('/bin/true', ['true'], {}))
attempt('writes its data', lambda: open(data + '/mine', 'w').write('x'))
attempt('writes temporary files', lambda: tempfile.TemporaryFile().write(b'x'))
attempt('writes to null', lambda: open('/dev/null', 'w').write('x'))
attempt('listens', lambda: socket.create_server(('127.0.0.1', 0)))
attempt('writes its folder', lambda: open(here + '/new', 'w'))
attempt('writes the host', lambda: open(outside + '/new', 'w'))
attempt('empties a file', lambda: os.truncate(outside + '/kept', 0))
attempt('removes a file', lambda: os.remove(outside + '/kept'))
attempt('makes a link', lambda: os.link(outside + '/kept', data + '/link'))
attempt('reads a secret', lambda: open(outside + '/../secrets/token').read())
attempt('reads what is another\'s', lambda: open(data + '/../../other').read())
attempt('signals others', lambda: os.kill(int(sys.argv[2]), 0))
print('done')
";

#[tokio::test]
async fn strict_isolation_holds_against_a_program_that_tries_everything() {
    let harness = Harness::new().await;
    let outside = harness.folder.path().join("outside");
    let data = harness.folder.path().join("data");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "kept").unwrap();
    fs::create_dir(harness.folder.path().join("secrets")).unwrap();
    fs::write(harness.folder.path().join("secrets/token"), "secret").unwrap();
    fs::write(data.join("workloads/other"), "another's").unwrap();
    let me = std::process::id();
    let spec = format!(
        r#"{{"type": "process", "port": false, "isolation": "strict",
            "command": ["python3", "-u", "try.py", "{}", "{me}"],
            "restart": {{"policy": "never"}}}}"#,
        outside.display()
    );
    let folder = harness.service("captive", &spec);
    fs::write(folder.join("try.py"), TRY).unwrap();
    let started = harness.run("captive").await;
    let ended = harness
        .until(&started.workload_id, |w| {
            w.stage == "stopped" || w.stage == "failed"
        })
        .await;
    if let Some(error) = ended.error.as_ref()
        && error.reason == "isolation-unavailable"
    {
        println!("SKIPPED: {}", error.message);
        return harness.end().await;
    }
    let said = harness.logs(&ended.workload_id).await;
    let said: Vec<&str> = said
        .iter()
        .filter(|entry| entry.stream != "system")
        .map(|entry| entry.line.as_str())
        .collect();
    let limits = &ended.instances[0].limits;
    let signals = if limits.contains("signals") {
        "no"
    } else {
        "yes"
    };
    println!("strict: {limits}");
    let mut wanted: Vec<String> = [
        "reads its folder",
        "reads the host",
        "runs programs",
        "writes its data",
        "writes temporary files",
        "writes to null",
        "listens",
    ]
    .map(|what| format!("{what}: yes"))
    .to_vec();
    wanted.extend(
        [
            "writes its folder",
            "writes the host",
            "empties a file",
            "removes a file",
            "makes a link",
            "reads a secret",
            "reads what is another's",
        ]
        .map(|what| format!("{what}: no")),
    );
    wanted.push(format!("signals others: {signals}"));
    wanted.push("done".into());
    assert_eq!(said, wanted, "{ended:#?}");
    assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "kept");
    harness.end().await;
}
