//! What the kernel counts of a process.

use std::fs;
use std::io;
use std::ops::{Add, AddAssign};
use std::time::Duration;

/// Memory in KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Of its own, and changed since it was read from a file.
    pub private_dirty: u64,
    /// With its share of what it shares with others.
    pub proportional: u64,
}

impl Memory {
    pub fn of(pid: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let kib = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name))
                .and_then(|rest| rest.trim().strip_suffix("kB"))
                .and_then(|number| number.trim().parse().ok())
                .ok_or_else(|| io::Error::other(format!("no {name} of process {pid}")))
        };
        Ok(Self {
            private_dirty: kib("Private_Dirty:")?,
            proportional: kib("Pss:")?,
        })
    }

    pub const fn saturating_sub(self, other: Self) -> Self {
        Self {
            private_dirty: self.private_dirty.saturating_sub(other.private_dirty),
            proportional: self.proportional.saturating_sub(other.proportional),
        }
    }

    pub fn divided_by(self, count: usize) -> Self {
        let count = count.max(1) as u64;
        Self {
            private_dirty: self.private_dirty / count,
            proportional: self.proportional / count,
        }
    }
}

impl Add for Memory {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.private_dirty += other.private_dirty;
        self.proportional += other.proportional;
    }
}

/// Processor time of a process so far. Threads that have ended are in the
/// whole's count of ticks, those that live are known to the nanosecond: a
/// thousand processes that take less than a tick each are not nothing.
pub fn cpu(pid: u32) -> io::Result<Duration> {
    let mut exact = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok());
        exact += Duration::from_nanos(nanos.unwrap_or(0));
    }
    Ok(exact.max(crate::server::used(pid)?))
}

/// The process that has made `pid`.
pub fn parent(pid: u32) -> io::Result<u32> {
    millrace_shim::tree::stat(pid)
        .map(|stat| stat.parent)
        .ok_or_else(|| io::Error::other(format!("process {pid} is gone")))
}

/// `kill -9`.
pub fn kill(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::kill_process(
        pid,
        rustix::process::Signal::KILL,
    )?)
}
