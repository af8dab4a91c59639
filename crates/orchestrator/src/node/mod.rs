//! Finding a Node that can serve dataobjects: one that strips types by itself
//! and has `node:sqlite`. Looked for where configuration says, else on PATH,
//! else in `.tools/` of the project and of the working directory.

mod version;

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::process::Command;

pub use version::NodeVersion;

/// Where `.tools/` has it.
const IN_TOOLS: &str = ".tools/node/bin/node";
/// How long a program may take to say its version.
const PATIENCE: Duration = Duration::from_secs(10);

/// A Node that is new enough.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Absolute.
    pub program: PathBuf,
    pub version: NodeVersion,
}

/// Why there is no Node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    #[error(
        "the configured Node, {}, cannot be used: {reason}. {}",
        path.display(), NodeVersion::NEEDED
    )]
    Configured { path: PathBuf, reason: String },
    #[error(
        "no Node to run this with: {}. {} Install one, or name one in `orchestrator.node`, or run \
         `scripts/tool node`, which puts one into .tools/",
        list(found),
        NodeVersion::NEEDED
    )]
    Missing {
        /// What was looked at, with what is wrong with it.
        found: Vec<(PathBuf, String)>,
    },
}

fn list(found: &[(PathBuf, String)]) -> String {
    if found.is_empty() {
        return "there is none on PATH nor in .tools/".to_owned();
    }
    let mut text = String::new();
    for (path, reason) in found {
        let comma = if text.is_empty() { "" } else { "; " };
        // Writing into a String cannot fail.
        let _ = write!(text, "{comma}{} {reason}", path.display());
    }
    text
}

/// Looks for Node, and remembers which programs it has asked for their version.
#[derive(Debug)]
pub struct NodeFinder {
    configured: Option<PathBuf>,
    path: OsString,
    working_dir: PathBuf,
    asked: Mutex<Asked>,
}

/// What each program has said of its version, or what is wrong with it.
type Asked = HashMap<PathBuf, (Stamp, Result<NodeVersion, String>)>;

/// A program that has another one was replaced.
type Stamp = (u64, Option<SystemTime>);

impl NodeFinder {
    /// `configured` is the only one that counts where it is given; `path` is
    /// a PATH, and `working_dir` may have a `.tools/`.
    pub fn new(configured: Option<PathBuf>, path: OsString, working_dir: PathBuf) -> Self {
        Self {
            configured,
            path,
            working_dir,
            asked: Mutex::default(),
        }
    }

    /// With the PATH and the working directory of this process.
    pub fn of_process(configured: Option<PathBuf>) -> Self {
        Self::new(
            configured,
            std::env::var_os("PATH").unwrap_or_default(),
            std::env::current_dir().unwrap_or_default(),
        )
    }

    /// The first that is new enough.
    pub async fn find(&self, project_dir: &Path) -> Result<Node, NodeError> {
        if let Some(program) = &self.configured {
            return match self.version(program).await {
                Ok(version) => Ok(Node {
                    program: program.clone(),
                    version,
                }),
                Err(reason) => Err(NodeError::Configured {
                    path: program.clone(),
                    reason,
                }),
            };
        }
        let mut found = Vec::new();
        for program in self.candidates(project_dir) {
            match self.version(&program).await {
                Ok(version) => return Ok(Node { program, version }),
                Err(reason) => found.push((program, reason)),
            }
        }
        Err(NodeError::Missing { found })
    }

    fn candidates(&self, project_dir: &Path) -> Vec<PathBuf> {
        let mut candidates: Vec<PathBuf> = Vec::new();
        let on_path = std::env::split_paths(&self.path)
            // Relative entries mean another program in every directory.
            .filter(|dir| dir.is_absolute())
            .map(|dir| dir.join("node"));
        let in_tools = [project_dir, &self.working_dir].map(|dir| dir.join(IN_TOOLS));
        for program in on_path.chain(in_tools) {
            if is_program(&program) && !candidates.contains(&program) {
                candidates.push(program);
            }
        }
        candidates
    }

    /// Its version, or what is wrong with it.
    async fn version(&self, program: &Path) -> Result<NodeVersion, String> {
        let stamp = match program.metadata() {
            Ok(file) => (file.len(), file.modified().ok()),
            Err(error) => return Err(format!("cannot be read: {error}")),
        };
        let remembered = self.asked().get(program).cloned();
        if let Some((_, answer)) = remembered.filter(|(then, _)| *then == stamp) {
            return answer;
        }
        let answer = ask(program).await.and_then(|version| {
            if version.serves_dataobjects() {
                Ok(version)
            } else {
                Err(format!("is Node {version}"))
            }
        });
        self.asked()
            .insert(program.to_owned(), (stamp, answer.clone()));
        answer
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        // Whoever panicked with it left whole entries behind.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

async fn ask(program: &Path) -> Result<NodeVersion, String> {
    let asked = Command::new(program)
        .arg("--version")
        .env_clear()
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => return Err(format!("cannot be run: {error}")),
        Err(_) => return Err("does not say its version".to_owned()),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    let said = said.trim();
    said.parse()
        .map_err(|()| format!("says {said:?} when asked for its version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory with a `node` that says that it is `version`.
    fn fake(dir: &Path, version: &str) -> PathBuf {
        std::fs::create_dir_all(dir).unwrap();
        let program = dir.join("node");
        // Written by another process: a file that a child of another thread
        // still has open for writing cannot be run.
        let written = std::process::Command::new("sh")
            .arg("-c")
            .arg("printf '#!/bin/sh\\necho %s\\n' \"$2\" >\"$1\" && chmod 755 \"$1\"")
            .arg("sh")
            .arg(&program)
            .arg(version)
            .status()
            .unwrap();
        assert!(written.success());
        program
    }

    fn finder(configured: Option<PathBuf>, path: &[&Path], working_dir: &Path) -> NodeFinder {
        let path = std::env::join_paths(path).unwrap();
        NodeFinder::new(configured, path, working_dir.to_owned())
    }

    #[tokio::test]
    async fn the_first_that_is_new_enough_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let old = fake(&at("old"), "v20.20.2");
        let finder = finder(None, &[&at("none"), &at("old")], &at("work"));

        let error = finder.find(&at("project")).await.unwrap_err();
        let message = error.to_string();
        assert!(message.contains("is Node 20.20.2"), "{message}");
        assert!(message.contains("22.18"), "{message}");
        assert!(message.contains("scripts/tool node"), "{message}");
        assert_eq!(
            error,
            NodeError::Missing {
                found: vec![(old, "is Node 20.20.2".into())]
            }
        );

        let own = fake(&at("work/.tools/node/bin"), "v24.0.1");
        let node = finder.find(&at("project")).await.unwrap();
        assert_eq!(
            (node.program, node.version.to_string()),
            (own, "24.0.1".into())
        );

        let projects = fake(&at("project/.tools/node/bin"), "v22.18.0");
        let node = finder.find(&at("project")).await.unwrap();
        assert_eq!(node.program, projects);
    }

    #[tokio::test]
    async fn a_configured_one_is_the_only_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fake(&at("new"), "v24.0.0");
        let old = fake(&at("old"), "v18.0.0");
        let finder = finder(Some(old.clone()), &[&at("new")], &at("work"));
        let error = finder.find(&at("project")).await.unwrap_err();
        assert!(error.to_string().contains("is Node 18.0.0"), "{error}");

        // Exchanged for a newer one, it is asked again.
        let newer = fake(&at("newer"), "v23.10.11");
        std::fs::rename(newer, &old).unwrap();
        assert_eq!(finder.find(&at("project")).await.unwrap().program, old);
    }

    #[tokio::test]
    async fn what_is_no_node_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fake(dir.path(), "hello");
        let finder = finder(None, &[dir.path()], dir.path());
        let error = finder.find(dir.path()).await.unwrap_err().to_string();
        assert!(error.contains("says \"hello\""), "{error}");
    }
}
