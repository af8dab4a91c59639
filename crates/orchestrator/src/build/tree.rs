//! All processes of one call of Git, known by a variable in their environment;
//! and those of all that works in one place (builds as well), by another one.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use millrace_types::InstanceId;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::process::marked;

/// Names one tree.
const TREE: &str = "MILLRACE_TREE_ID";
/// Names the place that it works for.
const PLACE: &str = "MILLRACE_TREE_OF";

/// How long output may take to end once every writer is gone.
const OUTPUT_GRACE: Duration = Duration::from_secs(5);

/// Handed on of this process' own environment: where programs are, and the way
/// out of this network.
const HANDED_ON: [&str; 11] = [
    "PATH",
    "TZ",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Processes that are started, watched and ended together.
#[derive(Debug, Clone)]
pub struct Tree {
    id: InstanceId,
    place: String,
}

/// Kills what works for this place still, since whoever started it was
/// killed: the next one would work beside it. Answers how many processes.
pub async fn sweep(place: &Path) -> usize {
    marked::kill_all(&format!("{PLACE}={}", name_of(place))).await
}

/// Of this process' own environment what everyone needs, and what is `also`
/// handed on. What is no text is nobody's.
pub(super) fn handed_on(also: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let all = std::env::vars_os();
    all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| HANDED_ON.contains(&name.as_str()) || also(name))
        .collect()
}

/// The variable of what works for this place.
pub(super) fn mark(place: &Path) -> (String, String) {
    (PLACE.to_owned(), name_of(place))
}

fn name_of(place: &Path) -> String {
    let place = place.canonicalize().unwrap_or_else(|_| place.to_owned());
    place.to_string_lossy().into_owned()
}

impl Tree {
    /// One that works for this place: a folder of one orchestrator alone.
    pub fn new(place: &Path) -> Self {
        Self {
            id: InstanceId::new(),
            place: name_of(place),
        }
    }

    /// A program of it, with its output in pipes, and with nothing of this
    /// process' environment but what everyone needs and what is `also` handed
    /// on.
    pub fn command(&self, program: &str, also: impl Fn(&str) -> bool) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(handed_on(also))
            .env(TREE, self.id.to_string())
            .env(PLACE, &self.place)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Kills all of it when it is dropped.
    pub fn guard(&self) -> Guard {
        Guard {
            mark: Some(format!("{TREE}={}", self.id)),
        }
    }
}

/// Sees to it that nothing of a tree is left.
#[derive(Debug)]
pub struct Guard {
    mark: Option<String>,
}

/// What came of the first process of a tree.
#[derive(Debug)]
pub struct Done<T, E> {
    /// The error says why it was not waited for any longer.
    pub ended: Result<io::Result<ExitStatus>, E>,
    /// `None` when somebody who is not of the tree holds it open.
    pub output: Option<T>,
}

impl Guard {
    /// Waits for the end of `child`, or for `until`, while `output` reads what
    /// is written: a full pipe would stop it. What else there is of the tree
    /// is killed then, and not waited for, though it may hold the pipes open.
    pub async fn see_through<T, E>(
        self,
        child: &mut Child,
        output: impl Future<Output = T>,
        until: impl Future<Output = E>,
    ) -> Done<T, E> {
        tokio::pin!(output);
        let mut written = None;
        let ended = {
            let end = async {
                loop {
                    tokio::select! {
                        status = child.wait() => return status,
                        all = &mut output, if written.is_none() => written = Some(all),
                    }
                }
            };
            tokio::select! {
                biased;
                status = end => Ok(status),
                reason = until => Err(reason),
            }
        };
        self.kill_all().await;
        if written.is_none() {
            written = timeout(OUTPUT_GRACE, output).await.ok();
        }
        Done {
            ended,
            output: written,
        }
    }

    /// Returns once they are gone.
    async fn kill_all(mut self) {
        if let Some(mark) = &self.mark {
            marked::kill_all(mark).await;
        }
        self.mark = None;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(mark) = &self.mark {
            marked::kill(mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn who_stays_behind_is_not_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let tree = Tree::new(place.path());
        // It leaves the session, and keeps the pipe open.
        let script = "setsid sleep 1000 & echo done";
        let mut child = tree.command("sh", |_| false);
        let mut child = child.args(["-c", script]).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let output = async {
            let mut said = String::new();
            stdout.read_to_string(&mut said).await.unwrap();
            said
        };
        let never = std::future::pending::<()>();
        let done = tree.guard().see_through(&mut child, output, never);
        let done = timeout(PATIENCE, done).await.expect("it comes back");
        assert!(done.ended.unwrap().unwrap().success());
        assert_eq!(done.output.unwrap(), "done\n");
        assert_eq!(sweep(place.path()).await, 0);
    }

    #[tokio::test]
    async fn what_was_left_at_work_in_a_place_is_swept_and_nothing_else() {
        let (place, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut kept = Tree::new(other.path()).command("sleep", |_| false);
        let mut kept = kept.arg("1000").spawn().unwrap();
        let script = "setsid sleep 1000 & echo up; wait";
        let mut left = Tree::new(place.path()).command("sh", |_| false);
        let mut left = left.args(["-c", script]).spawn().unwrap();
        let mut said = BufReader::new(left.stdout.take().unwrap()).lines();
        assert_eq!(said.next_line().await.unwrap().unwrap(), "up");
        assert!(sweep(place.path()).await >= 2);
        assert!(!left.wait().await.unwrap().success());
        assert_eq!(said.next_line().await.unwrap(), None);
        assert!(kept.try_wait().unwrap().is_none());
        kept.kill().await.unwrap();
    }
}
