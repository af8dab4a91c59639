//! What a tree of processes uses.

use std::fs;

use millrace_shim::tree;

use super::members;

/// Of all processes of an instance together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Resident, without what is shared with files, in bytes.
    pub memory_bytes: u64,
    /// Of those that run now and of their children that were waited for.
    pub cpu_ms: u64,
    pub processes: u32,
}

/// Of the instance whose first process this is; `None` when it is gone.
pub(crate) fn usage(first: u32) -> Option<Usage> {
    let mut sum = Usage {
        memory_bytes: 0,
        cpu_ms: 0,
        processes: 0,
    };
    for pid in members(first) {
        if let Some(one) = one(pid) {
            sum.memory_bytes += one.memory_bytes;
            sum.cpu_ms += one.cpu_ms;
            sum.processes += 1;
        }
    }
    (sum.processes > 0).then_some(sum)
}

fn one(pid: u32) -> Option<Usage> {
    let stat = tree::stat(pid)?;
    if stat.state == b'Z' {
        return None;
    }
    let cpu_ms = (stat.used + stat.used_by_children) * tree::TICK;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let anonymous = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB"))
        .and_then(|number| number.trim().parse::<u64>().ok())
        .unwrap_or(0);
    Some(Usage {
        memory_bytes: anonymous * 1024,
        cpu_ms,
        processes: 1,
    })
}
