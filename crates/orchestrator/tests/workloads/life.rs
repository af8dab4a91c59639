//! Starting, stopping, failing, being restarted.

use std::fs;

use millrace_proto::orchestrator::v1 as pb;
use millrace_testkit::eventually;

use crate::harness::{Harness, PATIENCE, get, is_alive};

#[tokio::test]
async fn a_service_listens_on_its_port_until_it_is_stopped() {
    let harness = Harness::new().await;
    harness.http_service("web", "");
    let running = harness.run("web").await;
    assert_eq!(running.stage, "running", "{running:#?}");
    assert_eq!(
        (running.r#type.as_str(), running.desired.as_str()),
        ("process", "running")
    );
    assert_eq!(running.url, format!("http://127.0.0.1:{}", running.port));
    assert_eq!(get(running.port).await.unwrap(), "hello");
    let request = pb::ResolveServiceRequest {
        project_key: "TEST".into(),
        service: "web".into(),
    };
    let mut client = harness.client.clone();
    let found = client
        .resolve_service(request.clone())
        .await
        .unwrap()
        .into_inner();
    let endpoint = found.endpoint.unwrap();
    assert_eq!(endpoint.port, running.port);
    assert_eq!(endpoint.instance_id, running.instances[0].instance_id);
    let measured = harness.get(&running.workload_id).await.instances.remove(0);
    assert!(measured.memory_bytes.unwrap() > 100_000, "{measured:?}");

    let stopped = harness.stop(&running.workload_id).await;
    assert_eq!((stopped.stage.as_str(), stopped.port), ("stopped", 0));
    assert_eq!(stopped.instances[0].reason, "stopped");
    assert_eq!(stopped.instances[0].exit_code, Some(0), "{stopped:#?}");
    assert!(get(running.port).await.is_err(), "the port is free");
    let found = client.resolve_service(request).await.unwrap().into_inner();
    assert!(found.endpoint.is_none() && found.retry_after_ms > 0);
    let logs = harness.logs(&running.workload_id).await;
    let line = logs.iter().find(|entry| entry.stream == "stdout").unwrap();
    assert_eq!(line.line, format!("listening on {}", running.port));
    harness.end().await;
}

#[tokio::test]
async fn a_listener_that_has_left_its_parents_is_the_service_s_own() {
    let harness = Harness::new().await;
    harness.http_service("web", "");
    let command = "(setsid python3 -u server.py &); exec sleep 1000";
    let spec = format!(r#"{{"type": "process", "command": "{command}"}}"#);
    harness.service("web", &spec);
    let running = harness.run("web").await;
    assert_eq!(running.stage, "running", "{running:#?}");
    assert_eq!(running.instances.len(), 1, "{running:#?}");
    assert_eq!(get(running.port).await.unwrap(), "hello");
    let measured = harness.get(&running.workload_id).await.instances.remove(0);
    // Without its shim, and with what Python needs.
    assert_eq!(measured.processes, Some(2), "{measured:?}");
    assert!(measured.memory_bytes.unwrap() > 2_000_000, "{measured:?}");
    harness.stop(&running.workload_id).await;
    assert!(get(running.port).await.is_err(), "the port is free");
    harness.end().await;
}

#[tokio::test]
async fn a_port_that_belongs_to_another_instance_is_left_to_it() {
    let harness = Harness::with_ports(2).await;
    harness.http_service("web", "");
    let id = harness.create("web").await;
    let holder = harness.store.give_away(*harness.ports().start());
    let running = harness.start(&id).await;
    assert_eq!(running.stage, "running", "{running:#?}");
    assert_eq!(running.port, u32::from(*harness.ports().end()));
    assert_eq!(running.instances.len(), 1, "nothing is left of the attempt");
    assert_eq!(get(running.port).await.unwrap(), "hello");
    harness.stop(&id).await;

    // Where it is the same with each of them, it is given up.
    let other = harness.store.give_away(*harness.ports().end());
    let failed = harness.start(&id).await;
    let error = failed.error.unwrap();
    assert_eq!(error.reason, "port-taken", "{}", error.message);
    let says = "the port belongs to another instance";
    assert!(error.message.contains(says), "{}", error.message);
    for holder in [holder, other] {
        harness.store.take_back(holder);
    }
    harness.end().await;
}

#[tokio::test]
async fn a_service_sees_its_own_environment_and_nothing_else() {
    let harness = Harness::new().await;
    harness.service(
        "env",
        r#"{"type": "process", "port": false, "command": ["env"], "env": {"MINE": "a b"}}"#,
    );
    let done = harness.run("env").await;
    let id = done.workload_id;
    // It ends with 0, which is no failure.
    harness.until(&id, |w| w.stage == "stopped").await;
    let logs = harness.logs(&id).await;
    let mut names: Vec<&str> = logs
        .iter()
        .filter(|entry| entry.stream == "stdout")
        .map(|entry| entry.line.split('=').next().unwrap())
        .filter(|name| !["HOME", "LANG", "TZ", "TMPDIR"].contains(name))
        .collect();
    names.sort_unstable();
    let wanted = [
        "MILLRACE_DATA_DIR",
        "MILLRACE_INSTANCE_ID",
        "MILLRACE_PROJECT_ID",
        "MILLRACE_PROJECT_KEY",
        "MILLRACE_SERVICE",
        "MILLRACE_WORKLOAD_ID",
        "MINE",
        "PATH",
    ];
    assert_eq!(names, wanted);
    harness.end().await;
}

#[tokio::test]
async fn failures_have_a_reason_and_a_sentence() {
    let harness = Harness::new().await;
    harness.service("mistake", "{\n  \"type\": \"process\"\n}");
    harness.service(
        "nowhere",
        r#"{"type": "process", "command": ["/no/such/program"]}"#,
    );
    harness.service(
        "deaf",
        r#"{"type": "process", "command": ["sleep", "1000"], "restart": {"policy": "never"},
            "health": {"startup": {"tcp": true, "interval": "PT0.1S", "failureThreshold": 5}}}"#,
    );
    for (service, reason, says) in [
        ("mistake", "invalid-spec", "line 1"),
        ("nowhere", "command-not-found", "/no/such/program"),
        ("deaf", "port-not-opened", "does not listen"),
        ("missing", "no-service", "src/services/missing"),
    ] {
        let failed = harness.run(service).await;
        let error = failed.error.unwrap();
        assert_eq!(
            (failed.stage.as_str(), error.reason.as_str()),
            ("failed", reason)
        );
        assert!(error.message.contains(says), "{}", error.message);
    }
    assert_eq!(harness.store.living(), 0);
    harness.end().await;
}

#[tokio::test]
async fn a_crash_loop_is_slowed_down_and_says_when_it_tries_again() {
    let harness = Harness::new().await;
    harness.service(
        "crash",
        r#"{"type": "process", "port": false, "command": "echo up; exit 3",
            "restart": {"backoff": {"initial": "PT0.05S", "factor": 100, "max": "PT1H"}}}"#,
    );
    let started = harness.run("crash").await;
    let id = started.workload_id;
    let looping = harness
        .until(&id, |w| {
            let is_loop = w.error.as_ref().is_some_and(|e| e.reason == "crash-loop");
            is_loop && !w.next_retry_at.is_empty()
        })
        .await;
    assert_eq!(looping.stage, "failed");
    assert!(looping.error.unwrap().message.contains("code 3"));
    assert!(looping.restarts >= 2);
    assert!(looping.instances.iter().all(|i| i.exit_code == Some(3)));
    // Somebody who mends it need not wait.
    harness.service(
        "crash",
        r#"{"type": "process", "port": false, "command": ["sleep", "1000"]}"#,
    );
    let mended = harness.start(&id).await;
    assert_eq!(
        (mended.stage.as_str(), mended.restarts),
        ("running", 0),
        "{mended:#?}"
    );
    assert!(mended.error.is_none() && mended.next_retry_at.is_empty());
    harness.end().await;
}

#[tokio::test]
async fn a_sick_service_is_restarted_and_an_unready_one_gets_no_requests() {
    let harness = Harness::new().await;
    let probe = r#""interval": "PT0.1S", "failureThreshold": 2"#;
    let health = format!(
        r#", "health": {{"readiness": {{"http": "/health", {probe}}},
            "liveness": {{"exec": ["test", "!", "-e", "dead"], {probe}}}}}"#
    );
    let folder = harness.http_service("web", &health);
    let running = harness.run("web").await;
    let id = running.workload_id.clone();
    assert_eq!(
        (running.stage.as_str(), running.health.as_str()),
        ("running", "ready")
    );
    fs::write(folder.join("sick"), "").unwrap();
    harness.until(&id, |w| w.health == "unready").await;
    let request = pb::ResolveServiceRequest {
        project_key: "TEST".into(),
        service: "web".into(),
    };
    let found = harness.client.clone().resolve_service(request).await;
    assert!(found.unwrap().into_inner().endpoint.is_none());
    fs::remove_file(folder.join("sick")).unwrap();
    harness.until(&id, |w| w.health == "ready").await;
    assert_eq!(harness.get(&id).await.container_id, running.container_id);

    fs::write(folder.join("dead"), "").unwrap();
    harness.until(&id, |w| w.restarts > 0).await;
    fs::remove_file(folder.join("dead")).unwrap();
    let again = harness
        .until(&id, |w| w.stage == "running" && w.health == "ready")
        .await;
    assert_ne!(again.container_id, running.container_id);
    assert_eq!(again.instances[0].reason, "unhealthy");
    harness.end().await;
}

#[tokio::test]
async fn a_service_that_recovers_unseen_gets_requests_again() {
    let harness = Harness::new().await;
    let health = r#", "health": {"readiness":
        {"http": "/health", "interval": "PT0.1S", "failureThreshold": 2}}"#;
    let folder = harness.http_service("web", health);
    let running = harness.run("web").await;
    let id = running.workload_id;
    let sick = folder.join("sick");
    fs::write(&sick, "").unwrap();
    harness.until(&id, |w| w.health == "unready").await;
    let recover = async || fs::remove_file(&sick).unwrap();
    let harness = harness.reborn_after(recover).await;
    let ready = harness.until(&id, |w| w.health == "ready").await;
    assert_eq!(ready.container_id, running.container_id);
    // What happens from then on is seen as before.
    fs::write(&sick, "").unwrap();
    harness.until(&id, |w| w.health == "unready").await;
    // Where it is not known any more how to find out, requests go to it: here
    // of what a version before has kept in a file of its own.
    let run = harness.folder.path().join("data/run");
    let note = run
        .join(&ready.instances[0].instance_id)
        .join("service.json");
    let harness = harness
        .reborn_after(async || fs::write(note, "{").unwrap())
        .await;
    harness.until(&id, |w| w.health == "unknown").await;
    harness.end().await;
}

#[tokio::test]
async fn a_shim_that_dies_takes_its_service_with_it() {
    let harness = Harness::new().await;
    // Its child is in a session of its own.
    let command = r#""setsid sleep 1000 & echo $! > ../../../child; exec sleep 1000""#;
    let spec = format!(r#"{{"type": "process", "port": false, "command": {command}}}"#);
    harness.service("web", &spec);
    let running = harness.run("web").await;
    let child = eventually(PATIENCE, || async {
        let text = fs::read_to_string(harness.home().join("child")).unwrap_or_default();
        if text.ends_with('\n') {
            Ok(text.trim().to_owned())
        } else {
            Err(text)
        }
    })
    .await;
    let status = fs::read_to_string(format!("/proc/{}/status", running.container_id)).unwrap();
    let shim = status
        .lines()
        .find_map(|l| l.strip_prefix("PPid:"))
        .unwrap()
        .trim();
    let killed = std::process::Command::new("kill")
        .args(["-9", shim])
        .status();
    assert!(killed.unwrap().success());
    let again = harness.until(&running.workload_id, |w| {
        w.restarts == 1 && w.stage == "running"
    });
    let again = again.await;
    assert!(!is_alive(&running.container_id) && !is_alive(&child));
    assert_eq!(again.instances[0].reason, "lost");
    assert!(is_alive(&again.container_id));
    harness.end().await;
}

#[tokio::test]
async fn a_replacement_serves_before_the_old_one_goes() {
    let harness = Harness::new().await;
    let folder = harness.http_service("web", "");
    let old = harness.run("web").await;
    let id = old.workload_id.clone();
    fs::write(folder.join("answer"), "second").unwrap();
    let new = harness.restart(&id, "blueGreen").await;
    assert_eq!(new.stage, "running", "{new:#?}");
    assert_ne!(new.port, old.port);
    assert_eq!(get(new.port).await.unwrap(), "second");
    harness
        .until(&id, |w| w.instances[0].reason == "replaced")
        .await;
    assert!(!is_alive(&old.container_id));

    // A candidate that fails changes nothing for those who call.
    let spec = folder.join("service.json");
    let text = fs::read_to_string(&spec).unwrap();
    fs::write(&spec, text.replace("server.py", "missing.py")).unwrap();
    let kept = harness.restart(&id, "blueGreen").await;
    assert_eq!((kept.stage.as_str(), kept.port), ("running", new.port));
    assert_eq!(kept.error.unwrap().reason, "replacement-failed");
    assert_eq!(get(kept.port).await.unwrap(), "second");
    harness.end().await;
}

#[tokio::test]
async fn an_orchestrator_that_comes_back_takes_up_what_runs() {
    let harness = Harness::new().await;
    harness.http_service("web", "");
    let before = harness.run("web").await;
    let harness = harness.reborn().await;
    let id = before.workload_id;
    let after = harness.until(&id, |w| w.stage == "running").await;
    assert_eq!(after.container_id, before.container_id);
    assert_eq!(get(after.port).await.unwrap(), "hello");
    let stopped = harness.stop(&id).await;
    assert_eq!(stopped.instances.len(), 1);
    assert!(!is_alive(&before.container_id));
    harness.end().await;
}

#[tokio::test]
async fn what_runs_is_taken_up_though_the_database_does_not_answer_at_first() {
    let harness = Harness::new().await;
    harness.http_service("web", "");
    let before = harness.run("web").await;
    let id = before.workload_id.clone();
    harness.store.keep_silent(2);
    let harness = harness.reborn().await;
    let after = harness.start(&id).await;
    assert_eq!(harness.store.silent(), 0);
    assert_eq!(after.container_id, before.container_id);
    assert_eq!(harness.store.living(), 1);
    harness.end().await;
}

#[tokio::test]
async fn a_project_is_started_in_order_and_paths_outside_are_refused() {
    let harness = Harness::new().await;
    harness.http_service("db", "");
    harness.http_service("web", r#", "dependsOn": ["db"]"#);
    let request = pb::StartProjectRequest {
        project_id: harness.project.clone(),
        wait_ms: 60_000,
    };
    let mut client = harness.client.clone();
    let started = client.start_project(request).await.unwrap().into_inner();
    let services: Vec<_> = started
        .workloads
        .iter()
        .map(|w| w.service.as_str())
        .collect();
    assert_eq!(services, ["db", "web"]);
    assert!(started.workloads.iter().all(|w| w.stage == "running"));
    let began = |w: &pb::Workload| w.instances[0].started_at.clone();
    assert!(began(&started.workloads[0]) < began(&started.workloads[1]));
    for (path, says) in [
        ("relative", "not an absolute path"),
        ("/no/such/folder", "cannot be used"),
        ("/usr", "outside"),
    ] {
        let request = pb::CreateProjectRequest {
            name: "Other".into(),
            key: "OTHER".into(),
            local_path: path.into(),
            git_json: String::new(),
        };
        let refused = client.create_project(request).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(refused.message().contains(says), "{}", refused.message());
    }
    // A folder that leads out of the project is no service.
    std::os::unix::fs::symlink("/usr", harness.home().join("src/services/link")).unwrap();
    let request = pb::ListServicesRequest {
        project_id: harness.project.clone(),
    };
    let listed = client.list_services(request).await.unwrap().into_inner();
    let names: Vec<_> = listed.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["db", "web"]);
    harness.end().await;
}

#[tokio::test]
async fn what_fails_at_a_restart_and_may_pass_is_tried_again() {
    let mut harness = Harness::building(None).await;
    let folder = harness.service(
        "built",
        r#"{"type": "process", "port": false, "command": ["sleep", "1000"],
            "build": {"command": "test ! -e broken", "inputs": ["broken"]},
            "restart": {"policy": "always", "backoff": {"initial": "PT0.1S", "max": "PT0.3S"}}}"#,
    );
    let broken = folder.join("broken");
    fs::write(&broken, "").unwrap();
    // Who asks for it is told at once.
    let refused = harness.run("built").await;
    let id = refused.workload_id;
    assert_eq!(refused.error.unwrap().reason, "build-failed");
    assert!(refused.next_retry_at.is_empty());
    fs::remove_file(&broken).unwrap();
    let running = harness.start(&id).await;
    assert_eq!(running.stage, "running", "{:?}", running.error);

    fs::write(&broken, "").unwrap();
    let process = running.container_id.clone();
    let killed = std::process::Command::new("kill")
        .args(["-9", &process])
        .status();
    assert!(killed.unwrap().success());
    let is_tried = |w: &pb::Workload| {
        w.error.as_ref().is_some_and(|e| e.reason == "build-failed") && !w.next_retry_at.is_empty()
    };
    harness.until(&id, is_tried).await;
    harness = harness.reborn().await;
    harness.until(&id, is_tried).await;
    fs::remove_file(&broken).unwrap();
    let again = harness.until(&id, |w| w.stage == "running").await;
    assert!(again.error.is_none() && again.next_retry_at.is_empty());
    harness.end().await;
}

#[tokio::test]
async fn one_that_does_not_become_ready_is_left_alone_unless_it_is_dead() {
    let harness = Harness::new().await;
    let folder = harness.http_service(
        "slow",
        r#", "health": {
            "readiness": {"http": "/health", "interval": "PT0.05S", "failureThreshold": 2},
            "liveness": {"exec": "test ! -e dead", "interval": "PT0.05S", "failureThreshold": 2}},
            "restart": {"backoff": {"initial": "PT0.05S"}}"#,
    );
    fs::write(folder.join("sick"), "").unwrap();
    let id = harness.create("slow").await;
    let request = pb::StartWorkloadRequest {
        workload_id: id.clone(),
        wait_ms: 0,
    };
    harness
        .client
        .clone()
        .start_workload(request)
        .await
        .unwrap();
    let unready = |w: &pb::Workload| w.stage == "deploy" && w.health == "unready";
    let waiting = harness.until(&id, unready).await;
    assert_eq!(waiting.restarts, 0, "{waiting:#?}");
    let said = harness.logs(&id).await;
    let told = said.iter().any(|entry| entry.line.contains("status 503"));
    assert!(told, "{said:#?}");

    fs::write(folder.join("dead"), "").unwrap();
    let restarted = harness.until(&id, |w| w.restarts > 0).await;
    assert_eq!(restarted.instances[0].reason, "unhealthy", "{restarted:#?}");
    fs::remove_file(folder.join("dead")).unwrap();
    fs::remove_file(folder.join("sick")).unwrap();
    let ready = harness.until(&id, |w| w.stage == "running").await;
    assert_eq!(ready.health, "ready");
    harness.end().await;
}

#[tokio::test]
async fn services_that_stop_with_the_orchestrator_stop_in_order() {
    let harness = Harness::new().await;
    let order = harness.home().join("order");
    for (name, on, pause) in [
        ("base", "", "0"),
        ("middle", "base", "0.3"),
        ("top", "middle", "0.6"),
    ] {
        let on = if on.is_empty() {
            String::new()
        } else {
            format!("{on:?}")
        };
        let spec = format!(
            r#"{{"type": "process", "port": false, "dependsOn": [{on}],
                "command": "trap 'sleep {pause}; echo {name} >>{}; exit' TERM; echo up; while :; do sleep 0.05; done"}}"#,
            order.display()
        );
        harness.service(name, &spec);
        let id = harness.run(name).await.workload_id;
        harness.until_logged(&id, 1, "it is up").await;
    }
    harness
        .end_with(|| assert_eq!(fs::read_to_string(&order).unwrap(), "top\nmiddle\nbase\n"))
        .await;
}
