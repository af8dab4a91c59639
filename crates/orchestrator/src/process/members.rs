//! Which processes an instance has.

use std::fs;

use millrace_shim::tree;

use super::spawn::SHIM;

/// The first process of an instance, and all others of it: those that have
/// left their parents (as daemons do) have fallen to the shim, which is none
/// of them.
pub(crate) fn members(first: u32) -> Vec<u32> {
    let parent = tree::stat(first).map(|stat| stat.parent);
    match parent.filter(|parent| is_shim(*parent)) {
        Some(shim) => tree::descendants(shim),
        // The shim has just died, and this process is about to.
        None => {
            let mut all = tree::descendants(first);
            all.push(first);
            all
        }
    }
}

fn is_shim(pid: u32) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    let name = program.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with(SHIM)
}
