//! Projects that come from Git.

use std::fs;
use std::path::{Path, PathBuf};

use millrace_proto::orchestrator::v1 as pb;
use millrace_testkit::{eventually, git};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
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
        remote.service("teller", "cat word; sleep 1000");
        remote
    }

    fn service(&self, name: &str, command: &str) {
        let folder = self.work.join("src/services").join(name);
        fs::create_dir_all(&folder).unwrap();
        let spec = json!({"type": "process", "port": false, "command": command});
        fs::write(folder.join("service.json"), spec.to_string()).unwrap();
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

/// Answers one connection with what lies in `folder`, as `git daemon` does.
async fn serve(connection: TcpStream, folder: &Path) {
    let connection = connection.into_std().unwrap();
    connection.set_nonblocking(false).unwrap();
    let answers = connection.try_clone().unwrap();
    let mut daemon = tokio::process::Command::new("git");
    daemon
        .args(["daemon", "--inetd", "--export-all"])
        .arg(format!("--base-path={}", folder.display()))
        .arg(folder)
        .stdin(std::os::fd::OwnedFd::from(connection))
        .stdout(std::os::fd::OwnedFd::from(answers))
        .kill_on_drop(true);
    let status = tokio::time::timeout(PATIENCE, daemon.status()).await;
    assert!(status.unwrap().unwrap().success());
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

async fn start(
    harness: &Harness,
    project: &pb::Project,
) -> Result<Vec<pb::Workload>, tonic::Status> {
    let request = pb::StartProjectRequest {
        project_id: project.project_id.clone(),
        wait_ms: WAIT,
    };
    let started = harness.client.clone().start_project(request).await?;
    Ok(started.into_inner().workloads)
}

async fn delete(harness: &Harness, project: &pb::Project) -> Result<(), tonic::Status> {
    let request = pb::DeleteProjectRequest {
        project_id: project.project_id.clone(),
    };
    let deleted = harness.client.clone().delete_project(request).await;
    deleted.map(drop)
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
    let workload = start(&harness, &project).await.unwrap().remove(0);
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
    delete(&harness, &project).await.unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_services_of_a_project_start_where_its_checkout_is_lost() {
    let harness = Harness::new().await;
    let remote = Remote::new(&harness);
    for name in ["second", "third", "fourth"] {
        remote.service(name, "sleep 1000");
    }
    remote.push("one");
    let source = json!({"url": remote.url()});
    let project = create(&harness, &source).await.unwrap();

    // First what is asked for the project, then what is asked of each.
    fs::remove_dir_all(&project.local_path).unwrap();
    let started = start(&harness, &project).await.unwrap();
    let ids: Vec<String> = started.iter().map(|w| w.workload_id.clone()).collect();
    for workload in started {
        assert_eq!(workload.stage, "running", "{workload:#?}");
    }
    fs::remove_dir_all(&project.local_path).unwrap();
    let restarts = ids.iter().map(|id| harness.restart(id, ""));
    let restarted = futures::future::join_all(restarts).await;
    assert_eq!(restarted.len(), 4);
    for workload in restarted {
        assert_eq!(workload.stage, "running", "{workload:#?}");
    }

    // Where it cannot be had again, all of them say so.
    fs::remove_dir_all(&project.local_path).unwrap();
    fs::remove_dir_all(&remote.bare).unwrap();
    let restarts = ids.iter().map(|id| harness.restart(id, ""));
    for workload in futures::future::join_all(restarts).await {
        assert_eq!(workload.stage, "failed", "{workload:#?}");
        assert_eq!(workload.error.unwrap().reason, "git-failed");
    }
    assert_eq!(fetched(&harness), [""; 0].map(PathBuf::from));
    harness.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkout_of_another_commit_is_brought_to_the_one_on_record() {
    let harness = Harness::new().await;
    let remote = Remote::new(&harness);
    remote.push("one");
    let source = json!({"url": remote.url()});
    let project = create(&harness, &source).await.unwrap();
    let id = start(&harness, &project).await.unwrap()[0]
        .workload_id
        .clone();
    assert_eq!(said(&harness, &id, 1).await, ["one"]);

    // Another host fetches it; this one has what it had.
    let (here, old) = (&project.local_path, harness.folder.path().join("old"));
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([Path::new(here), &old])
        .status();
    assert!(copied.unwrap().success());
    remote.push("two");
    update(&harness, &project, &json!({"git": {}}))
        .await
        .unwrap();
    fs::remove_dir_all(here).unwrap();
    fs::rename(&old, here).unwrap();
    harness.restart(&id, "").await;
    assert_eq!(said(&harness, &id, 2).await, ["one", "two"]);
    harness.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_during_a_fetch_stays_changed() {
    let harness = Harness::new().await;
    let remote = Remote::new(&harness);
    remote.push("one");
    let source = json!({"url": remote.url()});
    let project = create(&harness, &source).await.unwrap();
    let two = remote.push("two");

    // One that answers when it is told to.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let patch = json!({"git": {"url": format!("git://127.0.0.1:{port}/remote.git")}});
    let fetch = update(&harness, &project, &patch);
    let meanwhile = async {
        let (connection, _) = listener.accept().await.unwrap();
        let renamed = update(&harness, &project, &json!({"name": "Renamed"})).await;
        assert_eq!(renamed.unwrap().name, "Renamed");
        // Neither a second fetch, nor one that would leave what this one brings.
        let second = update(&harness, &project, &json!({"git": {}})).await;
        assert_eq!(second.unwrap_err().code(), Code::AlreadyExists);
        let deleted = delete(&harness, &project).await;
        assert_eq!(deleted.unwrap_err().code(), Code::AlreadyExists);
        serve(connection, &harness.home()).await;
    };
    let (fetched_now, ()) = tokio::join!(fetch, meanwhile);
    let updated = fetched_now.unwrap();
    assert_eq!((updated.name.as_str(), commit(&updated)), ("Renamed", two));
    delete(&harness, &project).await.unwrap();
    assert_eq!(fetched(&harness), [""; 0].map(PathBuf::from));
    harness.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkouts_of_projects_that_do_not_exist_go_at_the_next_start() {
    let harness = Harness::new().await;
    let remote = Remote::new(&harness);
    remote.push("one");
    let source = json!({"url": remote.url()});
    let project = create(&harness, &source).await.unwrap();
    // Of a call that was killed before it had stored the project.
    let projects = harness.folder.path().join("data/projects");
    let left = projects.join(millrace_types::ProjectId::new().to_string());
    fs::create_dir_all(left.join(".git")).unwrap();
    fs::create_dir(projects.join("another's")).unwrap();
    let harness = harness.reborn().await;
    let mut wanted = [project.local_path.into(), projects.join("another's")];
    wanted.sort();
    eventually(PATIENCE, || async {
        let mut found = fetched(&harness);
        found.sort();
        if found == wanted { Ok(()) } else { Err(found) }
    })
    .await;
    harness.end().await;
}
