//! Each limit, and a program that tries to break it. Where the host lacks
//! what it takes, the instance says so, and so does the test.

use std::fs;
use std::path::{Path, PathBuf};

use millrace_proto::orchestrator::v1 as pb;
use millrace_testkit::eventually;

use crate::harness::{Harness, OPEN_FILES, PATIENCE};

/// Whether whoever runs this test may limit something by such a controller:
/// whether there is a place for it where a cgroup can be made.
fn has_cgroup_for(controller: &str) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts.lines().any(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, mount, kind @ ("cgroup" | "cgroup2"), options, ..] = fields[..] else {
            return false;
        };
        let probe = tempfile::Builder::new()
            .prefix("millrace-probe-")
            .tempdir_in(mount);
        let Ok(probe) = probe.map(tempfile::TempDir::keep) else {
            return false;
        };
        let there = if kind == "cgroup" {
            options.split(',').any(|option| option == controller)
        } else {
            let handed_on = fs::read_to_string(probe.join("cgroup.controllers")).unwrap();
            handed_on.split_ascii_whitespace().any(|c| c == controller)
        };
        // What is in it is the kernel's, and goes with it.
        fs::remove_dir(probe).unwrap();
        there
    })
}

/// Runs a Python program under these limits; what is said of the limits, and
/// the workload once it has ended.
async fn attempt(
    harness: &Harness,
    name: &str,
    limits: &str,
    program: &str,
) -> (String, pb::Workload) {
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
async fn one_that_outlives_a_child_without_memory_ends_as_it_says() {
    let harness = Harness::new().await;
    let program = "import os\n\
        blocks = []\n\
        if os.fork() == 0:\n\
        \x20   while len(blocks) < 400: blocks.append(bytearray(1 << 20))\n\
        \x20   os._exit(0)\n\
        print(os.waitstatus_to_exitcode(os.wait()[1]))\n\
        raise SystemExit(3)\n";
    let (limits, ended) = attempt(&harness, "parent", r#"{"memory": "48MiB"}"#, program).await;
    if limits.contains("cgroup") {
        let said = harness.logs(&ended.workload_id).await;
        let killed = |entry: &pb::LogEntry| entry.stream == "stdout" && entry.line == "-9";
        assert!(said.iter().any(killed), "{said:#?}");
        assert_eq!(ended.error.clone().unwrap().reason, "exited", "{ended:#?}");
        assert_eq!(ended.instances[0].exit_code, Some(3));
    } else {
        assert!(!has_cgroup_for("memory"), "{limits}");
        println!("SKIPPED: this host has no memory cgroup ({limits})");
    }
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
        assert!(!has_cgroup_for("memory"), "{limits}");
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
        assert!(!has_cgroup_for("pids"), "{limits}");
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
        r#"{"type": "process", "port": false, "isolation": "basic",
            "command": ["grep", "-E", "NoNewPrivs", "/proc/self/status"]}"#,
    );
    let started = harness.run("plain").await;
    harness
        .until(&started.workload_id, |w| w.stage == "stopped")
        .await;
    let said = stdout(&harness, &started.workload_id).await;
    assert_eq!(said, ["NoNewPrivs:\t1"]);
    harness.end().await;
}

/// What the program of a workload has written to its standard output.
async fn stdout(harness: &Harness, id: &str) -> Vec<String> {
    let entries = harness.logs(id).await.into_iter();
    let of_program = entries.filter(|entry| entry.stream == "stdout");
    of_program.map(|entry| entry.line).collect()
}

/// Whether this process may make others run as somebody else; says so if not.
fn may_change_users() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    if !is_root {
        println!("SKIPPED: only root may start what runs as another user");
    }
    is_root
}

/// A test's folder is for its user alone.
fn let_others_in(harness: &Harness) {
    use std::os::unix::fs::PermissionsExt as _;
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(harness.folder.path(), open).unwrap();
}

#[tokio::test]
async fn a_service_with_a_user_of_its_own_has_its_data_and_nothing_of_others() {
    if !may_change_users() {
        return;
    }
    let harness = Harness::new().await;
    let_others_in(&harness);
    let data = harness.folder.path().join("data");
    fs::write(data.join("key"), "secret").unwrap();
    let spec = |user: &str| {
        format!(
            r#"{{"type": "process", "port": false, {user} "command": ["sh", "try.sh"],
                "health": {{"readiness": {{"exec": "test $(id -u) = 65534", "interval": "1s"}}}},
                "restart": {{"policy": "never"}}}}"#
        )
    };
    let script = "cd \"$MILLRACE_DATA_DIR\" && mkdir -p deep && echo $(id -u) >>deep/runs\n\
        id -u; id -G; cat deep/runs; echo $HOME\n\
        mktemp >/dev/null && echo temporary\n\
        cat ../../../key || ls ../../.. || ls .. || ls ../log || echo refused\n\
        exec sleep 1000\n";
    let folder = harness.service("own", &spec(""));
    fs::write(folder.join("try.sh"), script).unwrap();
    // Before it had a user: what it has written then is handed on.
    let id = harness.create("own").await;
    let spec_of_before = spec("").replace("65534", "0");
    fs::write(folder.join("service.json"), spec_of_before).unwrap();
    harness.start(&id).await;
    eventually(PATIENCE, || async {
        let said = stdout(&harness, &id).await;
        let has_written = said.iter().any(|line| line == "temporary");
        if has_written { Ok(()) } else { Err(said) }
    })
    .await;
    harness.stop(&id).await;
    let before = stdout(&harness, &id).await.len();

    fs::write(folder.join("service.json"), spec(r#""user": "nobody","#)).unwrap();
    // It is ready once the probe runs as that user as well.
    let started = harness.start(&id).await;
    assert_eq!(started.stage, "running", "{started:#?}");
    eventually(PATIENCE, || async {
        let said = stdout(&harness, &id).await.len() - before;
        if said >= 7 { Ok(()) } else { Err(said) }
    })
    .await;
    harness.stop(&id).await;
    let said = stdout(&harness, &id).await.split_off(before);
    let wanted = [
        "65534",
        "65534",
        "0",
        "65534",
        "/nonexistent",
        "temporary",
        "refused",
    ];
    assert_eq!(said, wanted);
    harness.end().await;
}

#[tokio::test]
async fn who_is_not_root_refuses_services_with_a_user_of_their_own() {
    if may_change_users() {
        println!("SKIPPED: this is root");
        return;
    }
    let harness = Harness::new().await;
    let spec = r#"{"type": "process", "port": false, "command": ["true"], "user": "daemon"}"#;
    harness.service("own", spec);
    let failed = harness.run("own").await;
    let error = failed.error.unwrap();
    assert_eq!(error.reason, "no-user", "{error:?}");
    assert!(error.message.contains("root"), "{error:?}");
    harness.end().await;
}

/// A Node that is new enough; fetched when there is none.
fn node() -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/tool");
    let found = std::process::Command::new(tool)
        .arg("node")
        .output()
        .unwrap();
    assert!(found.status.success(), "there is no Node to test with");
    String::from_utf8(found.stdout).unwrap().trim_end().into()
}

/// A dataobject whose module has a look at what is Millrace's own: when its
/// definition is looked at, and when it is served.
async fn serve_one_that_looks(harness: &Harness, more: &str) -> (pb::Workload, Vec<pb::LogEntry>) {
    let key = harness.folder.path().join("data/key");
    fs::write(&key, "secret").unwrap();
    let spec = format!(r#"{{"type": "dataobject", {more}, "restart": {{"policy": "never"}}}}"#);
    let folder = harness.service("notes", &spec);
    let module = "import { readFileSync } from 'node:fs';
        let key = 'nothing';
        try { key = readFileSync(KEY, 'utf8'); } catch {}
        console.error(`${process.getuid()} has read ${key}`);
        if (key !== 'nothing') throw new Error(`it has read the ${key}`);
        export default { schema: { properties: { text: { type: 'string' } } } };";
    let module = module.replace("KEY", &format!("{:?}", key.to_str().unwrap()));
    fs::write(folder.join("index.ts"), module).unwrap();
    let started = harness.run("notes").await;
    let said = harness.logs(&started.workload_id).await;
    (started, said)
}

#[tokio::test]
async fn a_dataobject_with_a_user_of_its_own_is_served_and_looked_at_as_that() {
    if !may_change_users() {
        return;
    }
    let harness = Harness::building(Some(node())).await;
    let_others_in(&harness);
    let (started, said) = serve_one_that_looks(&harness, r#""user": "nobody""#).await;
    assert_eq!(started.stage, "running", "{:?} {said:#?}", started.error);
    let line = "65534 has read nothing";
    assert!(said.iter().any(|entry| entry.line == line), "{said:#?}");
    harness.end().await;
}

#[tokio::test]
async fn a_definition_is_looked_at_within_the_isolation_of_its_service() {
    let harness = Harness::building(Some(node())).await;
    let (started, said) = serve_one_that_looks(&harness, r#""isolation": "strict""#).await;
    match &started.error {
        Some(error) if error.reason == "isolation-unavailable" => {
            println!("SKIPPED: {}", error.message);
        }
        error => assert_eq!(started.stage, "running", "{error:?} {said:#?}"),
    }
    harness.end().await;
}

#[tokio::test]
async fn a_definition_is_looked_at_within_the_limits_of_its_service() {
    let harness = Harness::building(Some(node())).await;
    let spec = r#"{"type": "dataobject", "resources": {"pids": 30},
        "restart": {"policy": "never"}}"#;
    let folder = harness.service("greedy", spec);
    let module = "import { spawn } from 'node:child_process';
        import { once } from 'node:events';
        let made = 0;
        try {
            for (; made < 60; made++) await once(spawn('sleep', ['1000']), 'spawn');
        } catch {}
        throw new Error(`made ${made < 60 ? 'fewer' : 'all'}`);";
    fs::write(folder.join("index.ts"), module).unwrap();
    let failed = harness.run("greedy").await.error.unwrap();
    assert_eq!(failed.reason, "invalid-definition");
    if failed.message.contains("made fewer") {
        println!("pids: held");
    } else {
        assert!(failed.message.contains("made all"), "{}", failed.message);
        assert!(!has_cgroup_for("pids"), "{}", failed.message);
        println!("SKIPPED: this host has no pids cgroup: {}", failed.message);
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
