//! A project from Git: made, run and updated by the verbs of the CLI.

mod support;

use std::path::Path;

use millrace_testkit::git;
use serde_json::{Value, json};
use support::{Millrace, command};

/// Commits a service that answers with this word; the commit.
fn commit(work: &Path, word: &str) -> String {
    let service = work.join("src/services/teller");
    std::fs::create_dir_all(&service).unwrap();
    let spec =
        json!({"type": "process", "port": false, "command": format!("echo {word}; sleep 1000")});
    std::fs::write(service.join("service.json"), spec.to_string()).unwrap();
    git(work, &["add", "-A"]);
    git(work, &["commit", "-q", "-m", word]);
    git(work, &["rev-parse", "HEAD"])
}

/// Runs a verb of the CLI against this server; what it prints.
async fn verb(millrace: &Millrace, arguments: &[&str]) -> Result<String, String> {
    let server = millrace.url("");
    let mut all = arguments.to_vec();
    all.extend(["--server", &server]);
    let done = command(&all, &[]).output().await.unwrap();
    if done.status.success() {
        Ok(String::from_utf8(done.stdout).unwrap())
    } else {
        Err(String::from_utf8(done.stderr).unwrap())
    }
}

#[tokio::test]
async fn a_project_is_made_from_git_and_updated_by_the_cli() {
    let folder = tempfile::tempdir().unwrap();
    let work = folder.path().join("author");
    std::fs::create_dir(&work).unwrap();
    git(&work, &["init", "-q", "-b", "main"]);
    let one = commit(&work, "one");
    let url = format!("file://{}", work.display());
    let data = folder.path().join("data");
    let millrace = Millrace::dev(&data).await;

    let create = ["project", "create", "--key", "GIT", "--git", &url];
    let made = verb(&millrace, &create).await.unwrap();
    assert!(made.contains(&one), "{made}");
    let started = verb(&millrace, &["start", "GIT", "--wait"]).await;
    started.unwrap();

    let two = commit(&work, "two");
    let updated = verb(&millrace, &["project", "update", "GIT"]).await;
    assert!(updated.unwrap().contains(&two));
    let (_, projects) = millrace.get("/api/projects").await;
    let git = json!({"url": url, "ref": null, "commit": two});
    assert_eq!(projects["items"][0]["git"], git, "{projects:#}");
    let restarted = verb(&millrace, &["restart", "GIT/teller", "--wait"]).await;
    restarted.unwrap();
    let workload = millrace.get("/api/workloads").await.1["items"][0].clone();
    let path = format!(
        "/api/workloads/{}/logs?stream=stdout",
        workload["id"].as_str().unwrap()
    );
    let said = millrace_testkit::eventually(std::time::Duration::from_secs(30), || async {
        let (_, page) = millrace.get(&path).await;
        let lines: Vec<Value> = page["items"].as_array().unwrap().clone();
        let lines: Vec<String> = lines
            .iter()
            .map(|item| item["line"].as_str().unwrap().to_owned())
            .collect();
        if lines.len() == 2 {
            Ok(lines)
        } else {
            Err(lines)
        }
    })
    .await;
    assert_eq!(said, ["one", "two"]);

    let refused = verb(
        &millrace,
        &["project", "update", "GIT", "--ref", "no-such-branch"],
    )
    .await
    .unwrap_err();
    assert!(refused.contains("no-such-branch"), "{refused}");
    let body = json!({"name": "Evil", "key": "EVIL", "git": {"url": "ext::sh -c true"}});
    let (status, problem) = millrace.post("/api/projects", &body).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (400, &json!("/git/url")),
        "{problem:#}"
    );
    millrace.terminate().await;
}
