//! Projects that come from Git.

use std::fs;
use std::path::{Path, PathBuf};

use millrace_proto::orchestrator::v1 as pb;
use millrace_testkit::{eventually, git};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::Code;

use crate::harness::{Harness, PATIENCE, WAIT};

/// A bare repository, and a clone in which it is written.
struct Remote {
    bare: PathBuf,
    work: PathBuf,
}

impl Remote {
    fn new(harness: &Harness) -> Self {
        let bare = harness.home().join("remote.git");
        let work = harness.folder.path().join("author");
        let folder = harness.folder.path();
        git(folder, &["init", "-q", "--bare", "-b", "main", text(&bare)]);
        git(folder, &["init", "-q", "-b", "main", text(&work)]);
        git(&work, &["remote", "add", "origin", text(&bare)]);
        let remote = Self { bare, work };
        let service = remote.work.join("src/services/teller");
        fs::create_dir_all(&service).unwrap();
        let spec = r#"{"type": "process", "port": false, "command": "cat word; sleep 1000"}"#;
        fs::write(service.join("service.json"), spec).unwrap();
        remote
    }

    /// Commits this word for the service to say; answers the commit.
    fn push(&self, word: &str) -> String {
        let file = self.work.join("src/services/teller/word");
        fs::write(file, format!("{word}\n")).unwrap();
        git(&self.work, &["add", "-A"]);
        git(&self.work, &["commit", "-q", "-m", word]);
        git(&self.work, &["tag", word]);
        git(&self.work, &["push", "-q", "origin", "main", "--tags"]);
        git(&self.work, &["rev-parse", "HEAD"])
    }

    fn url(&self) -> String {
        format!("file://{}", self.bare.display())
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn create(harness: &Harness, git: &Value) -> Result<pb::Project, tonic::Status> {
    let request = pb::CreateProjectRequest {
        name: "From Git".into(),
        key: "GIT".into(),
        local_path: String::new(),
        git_json: git.to_string(),
    };
    let made = harness.client.clone().create_project(request).await?;
    Ok(made.into_inner().project.unwrap())
}

async fn update(
    harness: &Harness,
    project: &pb::Project,
    patch: &Value,
) -> Result<pb::Project, tonic::Status> {
    let request = pb::UpdateProjectRequest {
        project_id: project.project_id.clone(),
        patch_json: patch.to_string(),
    };
    let changed = harness.client.clone().update_project(request).await?;
    Ok(changed.into_inner().project.unwrap())
}

fn commit(project: &pb::Project) -> String {
    let git: Value = serde_json::from_str(&project.git_json).unwrap();
    git["commit"].as_str().unwrap().to_owned()
}

/// What the service has said, once it has said that many words.
async fn said(harness: &Harness, id: &str, count: usize) -> Vec<String> {
    eventually(PATIENCE, || async {
        let lines = harness.logs(id).await.into_iter();
        let lines = lines.filter(|entry| entry.stream == "stdout");
        let said: Vec<String> = lines.map(|entry| entry.line).collect();
        if said.len() < count {
            Err(said)
        } else {
            Ok(said)
        }
    })
    .await
}

fn fetched(harness: &Harness) -> Vec<PathBuf> {
    let projects = fs::read_dir(harness.folder.path().join("data/projects"));
    let projects = projects.unwrap();
    projects.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_project_from_git_runs_what_was_fetched_and_changes_when_it_is_updated() {
    let harness = Harness::new().await;
    let remote = Remote::new(&harness);
    let one = remote.push("one");
    let source = json!({"url": remote.url(), "ref": "main"});
    let project = create(&harness, &source).await.unwrap();
    assert_eq!(commit(&project), one);
    assert!(Path::new(&project.local_path).starts_with(harness.folder.path()));
    let request = pb::StartProjectRequest {
        project_id: project.project_id.clone(),
        wait_ms: WAIT,
    };
    let started = harness.client.clone().start_project(request).await;
    let workload = started.unwrap().into_inner().workloads.remove(0);
    assert_eq!(workload.stage, "running", "{workload:?}");
    let id = workload.workload_id;
    assert_eq!(said(&harness, &id, 1).await, ["one"]);

    // What is new there is not here before it is asked for.
    let two = remote.push("two");
    harness.restart(&id, "").await;
    assert_eq!(said(&harness, &id, 2).await, ["one", "one"]);
    let updated = update(&harness, &project, &json!({"git": {}})).await;
    assert_eq!(commit(&updated.unwrap()), two);
    harness.restart(&id, "").await;
    assert_eq!(said(&harness, &id, 3).await[2], "two");

    // A tag, and a commit.
    for (reference, word, count) in [("one", "one", 4), (&two, "two", 5)] {
        let patch = json!({"git": {"ref": reference}});
        update(&harness, &project, &patch).await.unwrap();
        harness.restart(&id, "").await;
        assert_eq!(said(&harness, &id, count).await[count - 1], word);
    }

    // A host that has lost it, or never had it, fetches what was meant.
    remote.push("three");
    fs::remove_dir_all(&project.local_path).unwrap();
    harness.restart(&id, "").await;
    assert_eq!(said(&harness, &id, 6).await[5], "two");

    let request = pb::DeleteWorkloadRequest { workload_id: id };
    harness
        .client
        .clone()
        .delete_workload(request)
        .await
        .unwrap();
    let request = pb::DeleteProjectRequest {
        project_id: project.project_id,
    };
    harness
        .client
        .clone()
        .delete_project(request)
        .await
        .unwrap();
    assert_eq!(fetched(&harness), [""; 0].map(PathBuf::from));
    harness.end().await;
}

#[tokio::test]
async fn what_cannot_be_fetched_is_refused_with_the_reason_and_leaves_nothing() {
    let harness = Harness::new().await;
    let remote = Remote::new(&harness);
    remote.push("one");
    let outside = tempfile::tempdir().unwrap();
    let marker = harness.folder.path().join("evil");
    let program = format!("ext::touch {}", marker.display());
    for (git, code, says) in [
        (json!({"url": "/usr"}), Code::InvalidArgument, "outside"),
        (
            json!({"url": format!("file://{}", outside.path().display())}),
            Code::InvalidArgument,
            "outside",
        ),
        (json!({"url": program}), Code::InvalidArgument, "git.url"),
        (
            json!({"url": remote.url(), "ref": format!("--upload-pack=touch {}", marker.display())}),
            Code::InvalidArgument,
            "git.ref",
        ),
        (
            json!({"url": format!("--upload-pack=touch{}", marker.display())}),
            Code::InvalidArgument,
            "git.url",
        ),
        (
            json!({"url": "https://me:secret@host.example/a"}),
            Code::InvalidArgument,
            "credentials",
        ),
        (json!({"ref": "main"}), Code::InvalidArgument, "missing"),
        (json!([]), Code::InvalidArgument, "object"),
        (
            json!({"url": remote.url(), "depth": 1}),
            Code::InvalidArgument,
            "depth",
        ),
        (
            json!({"url": remote.url(), "ref": "no-such-branch"}),
            Code::FailedPrecondition,
            "no-such-branch",
        ),
        (
            json!({"url": harness.home()}),
            Code::FailedPrecondition,
            "`git fetch` failed",
        ),
    ] {
        let refused = create(&harness, &git).await.unwrap_err();
        assert_eq!(refused.code(), code, "{git}: {refused}");
        assert!(refused.message().contains(says), "{git}: {refused}");
    }
    assert!(!marker.exists());
    assert_eq!(fetched(&harness), [""; 0].map(PathBuf::from));

    // The kind of source stays what it is, and one that does not answer
    // changes nothing.
    let source = json!({"url": remote.url()});
    let project = create(&harness, &source).await.unwrap();
    for (patch, code) in [
        (json!({"localPath": harness.home()}), Code::InvalidArgument),
        (json!({"git": null}), Code::InvalidArgument),
        (json!({"git": {"ref": "gone"}}), Code::FailedPrecondition),
    ] {
        let refused = update(&harness, &project, &patch).await.unwrap_err();
        assert_eq!(refused.code(), code, "{patch}: {refused}");
    }
    let request = pb::GetProjectRequest {
        project_id: project.project_id.clone(),
    };
    let shown = harness.client.clone().get_project(request).await.unwrap();
    assert_eq!(shown.into_inner().project.unwrap(), project);
    harness.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_whose_caller_goes_away_leaves_no_process_and_no_folder() {
    let harness = Harness::new().await;
    // It takes connections, and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let url = format!("git://127.0.0.1:{port}/a");
    let source = json!({"url": url});
    let connection = tokio::select! {
        connection = silent.accept() => connection.unwrap().0,
        done = create(&harness, &source) => panic!("{done:?}"),
    };
    // Its end of the connection is closed with the program.
    let mut rest = Vec::new();
    let mut connection = connection;
    let read = tokio::io::AsyncReadExt::read_to_end(&mut connection, &mut rest);
    tokio::time::timeout(PATIENCE, read).await.unwrap().ok();
    eventually(PATIENCE, || async {
        match fetched(&harness).as_slice() {
            [] => Ok(()),
            left => Err(left.to_vec()),
        }
    })
    .await;
    harness.end().await;
}
