//! Processes that are known by a variable in their environment: it is
//! inherited by whatever they start, also when that leaves their session and
//! their process group.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

/// Looks that are taken at most; each kills all that it sees.
const ROUNDS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(10);

/// Kills every process with this variable (`NAME=value`) but this one, and
/// comes back once there are none; answers how many that were.
pub(crate) async fn kill_all(variable: &str) -> usize {
    let mut killed = 0;
    for _ in 0..ROUNDS {
        let mark = variable.to_owned();
        let look = tokio::task::spawn_blocking(move || kill(&mark));
        // One that was just being started is found the next time.
        match look.await {
            Ok(0) => return killed,
            Ok(more) => killed += more,
            // The runtime is at its end.
            Err(_) => {
                kill(variable);
                return killed;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    tracing::error!("processes with {variable} do not end though they were killed");
    killed
}

/// Sends SIGKILL to all of them, once.
pub(crate) fn kill(variable: &str) -> usize {
    let mut killed = 0;
    let Ok(processes) = fs::read_dir("/proc") else {
        return 0;
    };
    for process in processes.flatten() {
        let pid = process.file_name().to_str().and_then(|n| n.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            continue;
        };
        if pid == getpid() || !has(pid, variable) {
            continue;
        }
        // Held before it is looked at again: its number cannot become another
        // process' in between. It may have ended by itself just now.
        if let Ok(held) = pidfd_open(pid, PidfdFlags::empty())
            && has(pid, variable)
            && pidfd_send_signal(&held, Signal::KILL).is_ok()
        {
            killed += 1;
        }
    }
    killed
}

/// Dead ones have no environment any more.
fn has(pid: Pid, variable: &str) -> bool {
    let path = format!("/proc/{}/environ", pid.as_raw_nonzero());
    fs::read(path).is_ok_and(|environment| {
        environment
            .split(|byte| *byte == 0)
            .any(|one| one == variable.as_bytes())
    })
}
