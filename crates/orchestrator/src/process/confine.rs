//! `isolation: strict`: which files of the host an instance may use.
//!
//! It may list folders, and read and run files anywhere but in what belongs
//! to Millrace: of that, only in its project and in what the builds share. It
//! may write its own data, its own folder for temporary files, and what its
//! kind of service needs; and it cannot signal or look into processes that are
//! not its own. The kernel keeps it so (Landlock), with or without root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use millrace_shim::launch::Confined;
use millrace_shim::sys::landlock;

use crate::prepare::StageError;

/// The first version that keeps files from being emptied by their names.
const LEAST: u32 = 3;

/// What programs write to without meaning a file.
const DEVICES: [&str; 7] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/pts",
];

/// What is in force here, in words; refused when that is too little.
pub(super) fn available() -> Result<String, StageError> {
    in_words(landlock::version())
}

fn in_words(version: u32) -> Result<String, StageError> {
    if version < LEAST {
        let has = match version {
            0 => "has no Landlock".to_owned(),
            old => format!("has version {old} of Landlock"),
        };
        return Err(StageError::new(
            "isolation-unavailable",
            format!(
                "isolation `strict` needs Landlock version {LEAST} (Linux 6.2, with `landlock` \
                 among its security modules), and this host {has}; say `basic` or `none`"
            ),
        ));
    }
    let signals = if landlock::holds_signals(version) {
        "files and signals"
    } else {
        "files"
    };
    Ok(format!("isolation: strict, {signals} by Landlock"))
}

/// What one instance may use. `hidden` belongs to Millrace.
pub(super) fn confined(
    hidden: &[PathBuf],
    readable: &[PathBuf],
    writable: &[PathBuf],
) -> io::Result<Confined> {
    // One that is not there hides nothing.
    let hidden: Vec<PathBuf> = hidden
        .iter()
        .filter_map(|path| fs::canonicalize(path).ok())
        .collect();
    let mut around = Vec::new();
    cover(Path::new("/"), &hidden, &mut around)?;
    // What is hidden may lie within them: `.millrace` in a project's folder.
    for folder in readable {
        cover(&fs::canonicalize(folder)?, &hidden, &mut around)?;
    }
    let devices = DEVICES.iter().map(PathBuf::from);
    let devices = devices.filter(|device| device.exists());
    Ok(Confined {
        readable: around,
        writable: writable.iter().cloned().chain(devices).collect(),
    })
}

/// Paths that have all beneath `folder` beneath them, but for the hidden. A
/// link gives nothing: what it leads to is there by its own name.
fn cover(folder: &Path, hidden: &[PathBuf], paths: &mut Vec<PathBuf>) -> io::Result<()> {
    if !hidden.iter().any(|hidden| hidden.starts_with(folder)) {
        paths.push(folder.to_owned());
        return Ok(());
    }
    if hidden.iter().any(|hidden| hidden == folder) {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_symlink() {
            cover(&entry.path(), hidden, paths)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_covered_but_what_is_hidden() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        for name in ["a/b/c", "a/d", "e"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("a/file"), "").unwrap();
        std::os::unix::fs::symlink(root.join("a/b"), root.join("way-in")).unwrap();
        let mut paths = Vec::new();
        cover(&root, &[root.join("a/b")], &mut paths).unwrap();
        paths.sort();
        let wanted = ["a/d", "a/file", "e"].map(|name| root.join(name));
        assert_eq!(paths, wanted);
        let mut all = Vec::new();
        cover(&root, &[], &mut all).unwrap();
        assert_eq!(all, [root]);
    }

    #[test]
    fn what_is_hidden_stays_so_within_a_folder_that_may_be_read() {
        let folder = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(folder.path()).unwrap();
        let (project, data) = (root.join("project"), root.join("project/.millrace"));
        let cache = data.join("cache");
        for path in [&cache, &data.join("run"), &project.join("src")] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(data.join("key"), "").unwrap();
        let hidden = [data.clone()];
        let confined = confined(&hidden, &[project.clone(), cache.clone()], &[]).unwrap();
        let may_read = |path: &Path| {
            let mut rules = confined.readable.iter();
            rules.any(|rule| path.starts_with(rule))
        };
        assert!(may_read(&project.join("src/file")) && may_read(&cache.join("file")));
        for secret in ["key", "run", "other"] {
            assert!(!may_read(&data.join(secret)), "{secret}");
        }
        assert!(!may_read(&project) && !may_read(&data));
    }

    #[test]
    fn a_host_that_cannot_is_named_with_what_it_lacks() {
        for (version, says) in [(0, "no Landlock"), (2, "version 2")] {
            let error = in_words(version).unwrap_err();
            assert_eq!(error.reason, "isolation-unavailable");
            assert!(error.message.contains(says), "{error}");
        }
        assert!(in_words(3).unwrap().contains("files by"));
        assert!(in_words(6).unwrap().contains("signals"));
    }
}
