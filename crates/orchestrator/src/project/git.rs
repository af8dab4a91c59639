//! Projects that come from Git: fetched through the `git` program into a
//! folder of their own, and checked out there.
//!
//! The program sees no configuration but its own, asks nobody anything, runs
//! no hooks, and speaks only the transports named here. What a caller gives
//! is checked before it becomes an argument.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millrace_store::StoreError;
use millrace_types::ErrorKind;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::Instant;

use super::paths::{PathRefused, Roots};
use crate::build::tree::Tree;
use crate::operation::Kind;

/// How long a fetch may take, with the checkout after it.
const GIT_TIME: Duration = Duration::from_mins(4);
/// Bytes that are kept of what it says.
const SAID: usize = 4096;
/// Longest address and name.
const MAX_TEXT: usize = 1000;
/// Transports that it may speak. `ext` and others run programs.
const TRANSPORTS: &str = "file:http:https:ssh:git";
/// Where a project comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GitSource {
    pub url: String,
    /// A branch, a tag or a commit; the default branch without it.
    pub reference: Option<String>,
    /// What is checked out.
    pub commit: Option<String>,
}

/// Why a project cannot be had from Git.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    #[error("`git` has to be an object {{url, ref}}")]
    Shape,
    #[error("`git` has no member `{0}`; there are `url` and `ref`")]
    Unknown(String),
    #[error("`git.url`: {0}")]
    Url(String),
    #[error("`git.url`: {0}")]
    Path(#[from] PathRefused),
    #[error(
        "`git.ref` has to be the name of a branch or a tag, or a commit: letters, digits and \
         `._/@+#-`, and no `-` or `+` at its beginning"
    )]
    Reference,
    #[error("this project is being fetched; try again once that is over")]
    Busy,
    #[error("the project was deleted meanwhile")]
    Gone,
    #[error("{0}")]
    Before(Arc<GitError>),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("this host has no program `git`: {0}")]
    NoProgram(io::Error),
    #[error("`git {doing}` took longer than {} s", GIT_TIME.as_secs())]
    Timeout { doing: &'static str },
    #[error("`git {doing}` failed: {said}")]
    Failed { doing: &'static str, said: String },
    #[error("the project's folder cannot be made: {0}")]
    Folder(io::Error),
}

impl Kind for GitError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Busy => ErrorKind::Conflict,
            Self::Gone => ErrorKind::NotFound,
            Self::Before(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::NoProgram(_) | Self::Timeout { .. } | Self::Failed { .. } => {
                ErrorKind::Precondition
            }
            Self::Folder(_) => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }

    fn pointer(&self) -> &'static str {
        match self {
            Self::Shape | Self::Unknown(_) => "/git",
            Self::Url(_) | Self::Path(_) => "/git/url",
            Self::Reference => "/git/ref",
            Self::Before(error) => error.pointer(),
            _ => "",
        }
    }
}

impl GitSource {
    /// What a caller says, over what there is already.
    pub(crate) fn read(given: &Value, before: Option<&Self>) -> Result<Self, GitError> {
        let Value::Object(given) = given else {
            return Err(GitError::Shape);
        };
        let mut url = before.map(|source| source.url.clone());
        let mut reference = before.and_then(|source| source.reference.clone());
        for (name, value) in given {
            match (name.as_str(), value) {
                ("url", Value::String(text)) => url = Some(text.clone()),
                ("url", _) => return Err(GitError::Url("it has to be a string".into())),
                ("ref", Value::String(text)) => reference = Some(text.clone()),
                ("ref", Value::Null) => reference = None,
                ("ref", _) => return Err(GitError::Reference),
                // It is shown, and may come back as it was shown.
                ("commit", _) if before.is_some() => {}
                (other, _) => return Err(GitError::Unknown(other.to_owned())),
            }
        }
        let url = url.ok_or_else(|| GitError::Url("it is missing".into()))?;
        check_url(&url)?;
        if !reference.as_deref().is_none_or(is_reference) {
            return Err(GitError::Reference);
        }
        Ok(Self {
            url,
            reference,
            commit: None,
        })
    }

    /// As it is stored and shown.
    pub(crate) fn to_json(&self) -> String {
        json!({"url": self.url, "ref": self.reference, "commit": self.commit}).to_string()
    }

    /// Reads what [`GitSource::to_json`] gave.
    pub(crate) fn stored(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(Self {
            url: text("url")?,
            reference: text("ref"),
            commit: text("commit"),
        })
    }

    /// The address as `git` gets it: a folder of this host in its canonical
    /// form, within the roots.
    fn address(&self, roots: &Roots) -> Result<String, GitError> {
        let path = match self.url.strip_prefix("file://") {
            Some(path) => path,
            None if self.url.starts_with('/') => &self.url,
            None => return Ok(self.url.clone()),
        };
        let canonical = roots.project(path)?;
        Ok(format!("file://{}", canonical.display()))
    }

    /// Brings `folder` to what `wanted` is at the source (a name, or a
    /// commit); answers the commit. What is not of the repository stays as it
    /// is. One call at a time for each folder.
    pub(crate) async fn bring(
        &self,
        folder: &Path,
        wanted: Option<&str>,
        roots: &Roots,
    ) -> Result<String, GitError> {
        let roots = roots.clone();
        let source = self.clone();
        let address = tokio::task::spawn_blocking(move || source.address(&roots))
            .await
            .map_err(|error| GitError::Folder(io::Error::other(error)))??;
        crate::ground::close(folder).map_err(GitError::Folder)?;
        // Nobody else is at work here: these are of a program that was killed.
        for lock in ["index.lock", "HEAD.lock", "shallow.lock"] {
            let _ = std::fs::remove_file(folder.join(".git").join(lock));
        }
        let git = Git {
            folder,
            deadline: Instant::now() + GIT_TIME,
        };
        git.run("init", &["init", "--quiet", "--template="]).await?;
        let fetch = [
            "fetch",
            "--quiet",
            "--force",
            "--depth=1",
            "--no-tags",
            "--no-recurse-submodules",
            "--",
            &address,
            wanted.unwrap_or("HEAD"),
        ];
        git.run("fetch", &fetch).await?;
        let fetched = ["rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}"];
        let commit = git.run("rev-parse", &fetched).await?;
        let commit = commit.trim();
        if let Some(State::Begun(other)) = state(folder)
            && other != commit
        {
            // Of a checkout that was cut off, Git does not know which files
            // it has brought. Brought to its end, they are known, and go.
            let finish = ["checkout", "--quiet", "--force", "--detach", &other];
            let _ = git.run("checkout", &finish).await;
        }
        note(folder, &State::Begun(commit.to_owned()))?;
        let checkout = ["checkout", "--quiet", "--force", "--detach", commit];
        git.run("checkout", &checkout).await?;
        note(folder, &State::Whole(commit.to_owned()))?;
        Ok(commit.to_owned())
    }
}

fn check_url(url: &str) -> Result<(), GitError> {
    let refuse = |message: &str| Err(GitError::Url(message.to_owned()));
    if url.is_empty() || url.len() > MAX_TEXT {
        return refuse("it has to have from 1 to 1000 characters");
    }
    if url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return refuse("it must not hold spaces or control characters");
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        let host = url.split_once(':').map(|(host, _)| host);
        return match host {
            _ if url.starts_with('/') => Ok(()),
            // `helper::address` would run a program.
            Some(host) if is_host(host) && !url.contains("::") => Ok(()),
            _ => refuse("it has to be an address such as https://host/path, or an absolute path"),
        };
    };
    if !TRANSPORTS.split(':').any(|known| known == scheme) {
        return Err(GitError::Url(format!(
            "`{scheme}` is none of {}",
            TRANSPORTS.replace(':', ", ")
        )));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    match (scheme, authority.rsplit_once('@')) {
        ("file", _) if !rest.starts_with('/') => refuse("a file:// address has no host"),
        ("file", _) => Ok(()),
        // It is stored and shown as it is.
        (_, Some((user, _))) if scheme != "ssh" || user.contains(':') => {
            refuse("it must not hold credentials")
        }
        (_, Some((user, host))) if is_host(user) && is_host(host) => Ok(()),
        (_, None) if is_host(authority) => Ok(()),
        _ => refuse("it names no host"),
    }
}

/// Of `[user@]host[:port]`, which becomes an argument of ssh.
fn is_host(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.contains("@-")
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-@:[]".contains(&b))
}

fn is_reference(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len())
        && !text.starts_with(['-', '+', '/'])
        && !text.contains("..")
        && !text.contains("@{")
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._/@+#-".contains(&b))
}

struct Git<'a> {
    folder: &'a Path,
    deadline: Instant,
}

impl Git<'_> {
    /// What it writes to its standard output.
    async fn run(&self, doing: &'static str, arguments: &[&str]) -> Result<String, GitError> {
        // Inherited by all that it starts.
        let tree = Tree::new(self.folder.parent().unwrap_or(self.folder));
        let mut child = tree
            .command("git", |name| name == "SSH_AUTH_SOCK")
            .args(["-c", "core.hooksPath=/dev/null"])
            .args(["-c", "protocol.allow=never", "-c", "gc.auto=0"])
            .args(arguments)
            .current_dir(self.folder)
            .env("HOME", self.folder)
            .env("LC_ALL", "C.UTF-8")
            .env("GIT_DIR", self.folder.join(".git"))
            .env("GIT_WORK_TREE", self.folder)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "false")
            .env("GIT_ALLOW_PROTOCOL", TRANSPORTS)
            .env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
            .spawn()
            .map_err(GitError::NoProgram)?;
        // A caller who goes away takes all of it along.
        let guard = tree.guard();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let output = async { tokio::join!(some_of(stdout), some_of(stderr)) };
        let until = tokio::time::sleep_until(self.deadline);
        let done = guard.see_through(&mut child, output, until).await;
        let (out, said) = done.output.unwrap_or_default();
        match done.ended {
            Err(()) => Err(GitError::Timeout { doing }),
            Ok(Ok(status)) if status.success() => Ok(out),
            Ok(Ok(status)) => {
                let said = said.trim();
                let said = if said.is_empty() {
                    status.to_string()
                } else {
                    said.to_owned()
                };
                Err(GitError::Failed { doing, said })
            }
            Ok(Err(error)) => Err(GitError::NoProgram(error)),
        }
    }
}

/// The beginning of what is written; the rest is read, and dropped.
async fn some_of(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let mut said = Vec::new();
    if let Some(mut pipe) = pipe {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
            let room = SAID - said.len();
            said.extend_from_slice(&buffer[..length.min(room)]);
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// The file that says what a folder holds; no checkout can write it.
const NOTE: &str = ".git/millrace-checkout";

/// What a folder holds.
#[derive(Debug, PartialEq, Eq)]
enum State {
    /// This commit.
    Whole(String),
    /// Something on the way to it.
    Begun(String),
}

fn state(folder: &Path) -> Option<State> {
    match std::fs::read_to_string(folder.join(NOTE)) {
        Ok(text) => match text.trim().strip_prefix("begun ") {
            Some(commit) => Some(State::Begun(commit.to_owned())),
            None => Some(State::Whole(text.trim().to_owned())),
        },
        // Versions before did not write it. Until the first checkout has
        // ended, the head names a branch.
        Err(_) => std::fs::read_to_string(folder.join(".git/HEAD"))
            .ok()
            .filter(|head| !head.starts_with("ref:"))
            .map(|head| State::Whole(head.trim().to_owned())),
    }
}

/// Written as a whole: whoever is cut off leaves the one before.
fn note(folder: &Path, state: &State) -> Result<(), GitError> {
    let text = match state {
        State::Whole(commit) => format!("{commit}\n"),
        State::Begun(commit) => format!("begun {commit}\n"),
    };
    let new = folder.join(".git/millrace-checkout.new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, folder.join(NOTE)))
        .map_err(GitError::Folder)
}

/// Whether `folder` holds a checkout of this commit, or of any when it is not
/// known which: what was begun and not ended is none.
pub(crate) fn is_checked_out(folder: &Path, commit: Option<&str>) -> bool {
    match state(folder) {
        Some(State::Whole(there)) => commit.is_none_or(|commit| commit == there),
        Some(State::Begun(_)) | None => false,
    }
}

/// Where the project of this identifier is checked out.
pub(crate) fn folder_of(data_dir: &Path, id: millrace_types::ProjectId) -> PathBuf {
    data_dir.join("projects").join(id.to_string())
}

#[cfg(test)]
mod tests {
    use millrace_testkit::git;

    use super::*;

    /// A repository with two commits: a file `one`, then a file `two` instead.
    fn repository(folder: &Path) -> (String, [String; 2]) {
        let source = folder.join("source");
        std::fs::create_dir_all(&source).unwrap();
        git(&source, &["init", "-q", "-b", "main"]);
        let commits = ["one", "two"].map(|name| {
            let _ = std::fs::remove_file(source.join("one"));
            std::fs::write(source.join(name), name).unwrap();
            git(&source, &["add", "-A"]);
            git(&source, &["commit", "-q", "-m", name]);
            git(&source, &["rev-parse", "HEAD"])
        });
        (format!("file://{}", source.display()), commits)
    }

    #[tokio::test]
    async fn a_checkout_that_was_cut_off_is_none_and_leaves_no_files() {
        let home = tempfile::tempdir().unwrap();
        let (url, [one, two]) = repository(home.path());
        let source = GitSource::read(&json!({"url": url}), None).unwrap();
        let roots = Roots::new(None);
        let folder = home.path().join("projects/one");
        assert!(!is_checked_out(&folder, None));
        let commit = source.bring(&folder, Some(&one), &roots).await.unwrap();
        assert_eq!(commit, one);
        assert!(is_checked_out(&folder, Some(&one)) && is_checked_out(&folder, None));
        assert!(!is_checked_out(&folder, Some(&two)));
        std::fs::write(folder.join("built"), "").unwrap();

        // What a call leaves that was killed half-way through its checkout.
        source.bring(&folder, Some(&two), &roots).await.unwrap();
        git(&folder, &["checkout", "-q", "--detach", &one]);
        std::fs::write(folder.join("two"), "tw").unwrap();
        note(&folder, &State::Begun(two.clone())).unwrap();
        for commit in [None, Some(one.as_str()), Some(two.as_str())] {
            assert!(!is_checked_out(&folder, commit), "{commit:?}");
        }

        source.bring(&folder, Some(&one), &roots).await.unwrap();
        assert!(is_checked_out(&folder, Some(&one)));
        let left = std::fs::read_dir(&folder).unwrap();
        let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [".git", "built", "one"]);
    }

    #[tokio::test]
    async fn a_checkout_of_a_version_before_counts_as_what_its_head_says() {
        let home = tempfile::tempdir().unwrap();
        let (url, [one, two]) = repository(home.path());
        let source = GitSource::read(&json!({"url": url}), None).unwrap();
        let folder = home.path().join("projects/one");
        let roots = Roots::new(None);
        source.bring(&folder, Some(&one), &roots).await.unwrap();
        std::fs::remove_file(folder.join(NOTE)).unwrap();
        assert!(is_checked_out(&folder, Some(&one)));
        assert!(!is_checked_out(&folder, Some(&two)));
        // Its first checkout had not ended.
        std::fs::write(folder.join(".git/HEAD"), "ref: refs/heads/main\n").unwrap();
        assert!(!is_checked_out(&folder, None));
    }

    fn url(text: &str) -> Result<GitSource, GitError> {
        GitSource::read(&json!({"url": text}), None)
    }

    #[test]
    fn addresses_that_are_options_or_run_programs_are_refused() {
        for fine in [
            "https://host.example/a/b.git",
            "http://127.0.0.1:8080/a",
            "ssh://git@host.example:22/a",
            "git@host.example:a/b.git",
            "https://[::1]:8443/a",
            "git://host.example/a",
            "file:///srv/a.git",
            "/srv/a.git",
        ] {
            assert!(url(fine).is_ok(), "{fine}");
        }
        for bad in [
            "",
            "-uevil",
            "--upload-pack=touch /tmp/x",
            "--upload-pack=evil",
            "ext::sh -c evil",
            "ext::sh",
            "fd::17",
            "ftp://host/a",
            "ssh://-oProxyCommand=evil/a",
            "ssh://git@-oProxyCommand=evil/a",
            "-oProxyCommand=evil:a",
            "git@-oProxyCommand=evil:a",
            "https://user:secret@host/a",
            "https://token@host/a",
            "ssh://user:secret@host/a",
            "file://host/a",
            "relative/path",
            "https://host/a\nb",
            "https:///a",
            "ext::sh://a",
        ] {
            let error = url(bad).unwrap_err();
            assert_eq!(error.pointer(), "/git/url", "{bad}: {error}");
        }
    }

    #[test]
    fn names_that_are_options_or_refspecs_are_refused() {
        for (text, fine) in [
            ("main", true),
            ("feature/a_b-c.d", true),
            ("v1.2+build#3", true),
            ("6bdc4b1ac2b2a5c0e3d9fca1cbb1fe3a7d3a1f0b", true),
            ("", false),
            ("-main", false),
            ("--upload-pack=evil", false),
            ("+main", false),
            ("main:other", false),
            ("a..b", false),
            ("main@{1}", false),
            ("a b", false),
            ("a^", false),
        ] {
            let read = GitSource::read(&json!({"url": "/srv/a", "ref": text}), None);
            assert_eq!(read.is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn a_patch_keeps_what_it_does_not_name() {
        let before = GitSource {
            url: "/srv/a".into(),
            reference: Some("main".into()),
            commit: Some("c".into()),
        };
        let read = |patch: Value| GitSource::read(&patch, Some(&before)).unwrap();
        assert_eq!(read(json!({})).reference.as_deref(), Some("main"));
        assert_eq!(read(json!({"ref": null})).reference, None);
        assert_eq!(read(json!({"url": "/srv/b"})).url, "/srv/b");
        assert_eq!(GitSource::stored(&before.to_json()), Some(before));
        for bad in [json!({"branch": "x"}), json!({"commit": "x"}), json!([])] {
            assert_eq!(GitSource::read(&bad, None).unwrap_err().pointer(), "/git");
        }
    }
}
