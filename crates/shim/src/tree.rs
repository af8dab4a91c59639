//! The descendants of a process.

use std::fs;

use crate::sys::PidFd;

/// Every living descendant of `root`, parents before their children. Those
/// that fork meanwhile may be missing: whoever wants all of them gone looks
/// again until there are none.
pub fn descendants(root: u32) -> Vec<u32> {
    let mut found = children(root);
    let mut next = 0;
    while next < found.len() {
        let more = children(found[next]);
        found.extend(more.into_iter().filter(|pid| *pid != root));
        next += 1;
        if next > LIMIT {
            break;
        }
    }
    found
}

/// No tree is larger; a loop of stale answers ends here.
const LIMIT: usize = 100_000;

fn children(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return found;
    };
    for task in tasks.flatten() {
        // Each thread has the children that it made.
        if let Ok(text) = fs::read_to_string(task.path().join("children")) {
            found.extend(
                text.split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
    }
    found
}

/// Milliseconds of a tick: the kernel counts in hundredths of a second for
/// others, whatever it uses inside.
pub const TICK: u64 = 10;

/// Of `/proc/PID/stat`. Times are in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub state: u8,
    pub parent: u32,
    /// Processor time of its own, and of the kernel for it.
    pub used: u64,
    /// The same of its children that have ended and were waited for.
    pub used_by_children: u64,
    /// When it began, since the machine did.
    pub began: u64,
}

pub fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything, also parentheses.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    let text = std::str::from_utf8(text.get(end + 1..)?).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    let parent = fields.next()?.parse().ok()?;
    // The third field and the fourth; on with the 14th.
    let mut numbers = fields.skip(9).map(str::parse::<u64>);
    let mut number = || numbers.next()?.ok();
    let used = number()? + number()?;
    let used_by_children = number()? + number()?;
    // The 22nd.
    let began = numbers.nth(4)?.ok()?;
    Some(Stat {
        state,
        parent,
        used,
        used_by_children,
        began,
    })
}

/// Signals `pid` if it descends from `root` at that time; a later process of
/// the same number is never meant.
pub fn signal_descendant(root: u32, pid: u32, signal: i32) {
    let Ok(handle) = PidFd::open(pid) else {
        return;
    };
    // The handle is of whoever has the number now: is that one of ours?
    let mut above = pid;
    for _ in 0..LIMIT {
        match stat(above) {
            Some(stat) if stat.parent == root => {
                // It may be gone by now, which is as good.
                let _ = handle.signal(signal);
                return;
            }
            Some(stat) if stat.parent > 1 => above = stat.parent,
            _ => return,
        }
    }
}

/// Signals the whole tree below `root`; answers how many there were.
pub fn signal_all(root: u32, signal: i32) -> usize {
    let all = descendants(root);
    for pid in &all {
        signal_descendant(root, *pid, signal);
    }
    all.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_parent_and_its_children() {
        let me = std::process::id();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = child.id();
        assert_eq!(stat(pid).unwrap().parent, me);
        assert!(stat(pid).unwrap().began >= stat(me).unwrap().began);
        assert!(descendants(me).contains(&pid));
        // Not below the child: it is left alone.
        signal_descendant(pid, me, 9);
        signal_descendant(me, pid, 9);
        assert!(!child.wait().unwrap().success());
        assert_eq!(stat(pid), None);
    }
}
