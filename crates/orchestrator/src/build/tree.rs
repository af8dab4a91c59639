//! All processes of one build, or of one call of Git, known by a variable in
//! their environment: it is inherited by whatever they start, also when that
//! leaves their session and their process group.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use tokio::process::Command;
use tokio::time::sleep;

/// How long the end of processes that were killed is waited for.
const ROUNDS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

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

/// A mark that processes carry: `NAME=value`.
#[derive(Debug, Clone)]
pub struct Tree {
    mark: String,
}

impl Tree {
    /// The value is to be used once.
    pub fn new(mark: String) -> Self {
        Self { mark }
    }

    /// A program that carries the mark, with its output in pipes, and with
    /// nothing of this process' environment but what everyone needs and what
    /// is `also` handed on.
    pub fn command(&self, program: &str, also: impl Fn(&str) -> bool) -> Command {
        let handed_on = |name: &str| HANDED_ON.contains(&name) || also(name);
        let env = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(handed_on));
        let (name, value) = self.mark.split_once('=').unwrap_or_default();
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(env)
            .env(name, value)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    /// Kills them when it is dropped.
    pub fn guard(&self) -> Guard {
        Guard {
            tree: Some(self.clone()),
        }
    }

    /// Sends SIGKILL to all of them; answers whether there were any.
    fn kill(&self) -> bool {
        let mut any = false;
        let Ok(processes) = fs::read_dir("/proc") else {
            return false;
        };
        for process in processes.flatten() {
            let pid = process
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(pid) = pid.and_then(Pid::from_raw) else {
                continue;
            };
            if pid == getpid() || !self.carries(pid) {
                continue;
            }
            // Held before it is looked at again: its number cannot become
            // another process' in between.
            if let Ok(held) = pidfd_open(pid, PidfdFlags::empty())
                && self.carries(pid)
            {
                any = true;
                // It may have ended by itself just now.
                let _ = pidfd_send_signal(&held, Signal::KILL);
            }
        }
        any
    }

    /// Dead ones have no environment any more.
    fn carries(&self, pid: Pid) -> bool {
        let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
        fs::read(path).is_ok_and(|environment| {
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == self.mark.as_bytes())
        })
    }
}

/// Sees to it that none of them is left.
#[derive(Debug)]
pub struct Guard {
    tree: Option<Tree>,
}

impl Guard {
    /// Returns once they are gone.
    pub async fn kill_all(mut self) {
        if let Some(tree) = self.tree.take() {
            for _ in 0..ROUNDS {
                // One that was just being started is found the next time.
                if !tree.kill() {
                    return;
                }
                sleep(PAUSE).await;
            }
            let mark = &tree.mark;
            tracing::error!("processes with {mark} do not end though they were killed");
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(tree) = &self.tree {
            tree.kill();
        }
    }
}
