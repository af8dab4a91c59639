//! Processes of an instance whose shim has died: those that were not its
//! direct child run on, and are found by their environment.

use std::fs;
use std::time::Duration;

use millrace_shim::sys::{PidFd, SIGKILL};
use millrace_types::InstanceId;

/// The variable that every process of an instance has inherited.
pub(crate) const INSTANCE_VARIABLE: &str = "MILLRACE_INSTANCE_ID";

/// Looks that are taken at most; each kills all that it sees.
const ROUNDS: u32 = 50;

/// Kills whatever still runs of the instance; answers how many that were.
pub(crate) async fn kill(instance: InstanceId) -> usize {
    let mut killed = 0;
    for _ in 0..ROUNDS {
        let round = tokio::task::spawn_blocking(move || kill_once(instance))
            .await
            .unwrap_or(0);
        if round == 0 {
            break;
        }
        killed += round;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    killed
}

fn kill_once(instance: InstanceId) -> usize {
    let wanted = format!("{INSTANCE_VARIABLE}={instance}");
    let mut killed = 0;
    let Ok(processes) = fs::read_dir("/proc") else {
        return 0;
    };
    for process in processes.flatten() {
        let pid = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid.filter(|pid| has(*pid, &wanted)) else {
            continue;
        };
        // The handle is of whoever has the number now; so is the second look.
        if let Ok(handle) = PidFd::open(pid)
            && has(pid, &wanted)
            && handle.signal(SIGKILL).is_ok()
        {
            killed += 1;
        }
    }
    killed
}

fn has(pid: u32, variable: &str) -> bool {
    // One that has ended has no environment any more.
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
        environ
            .split(|byte| *byte == 0)
            .any(|v| v == variable.as_bytes())
    })
}
