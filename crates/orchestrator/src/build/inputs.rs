//! The files of a service's folder: what a build depends on, and what it made.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{Plan, failed, glob};
use crate::prepare::StageError;

/// Folders that hold what was made or fetched, never what somebody wrote.
const NEVER: [&str; 3] = ["node_modules", ".git", ".tools"];
/// More than this wants `build.inputs`.
const MAX_FILES: usize = 50_000;
const MAX_DEPTH: usize = 64;

/// A folder before a build.
#[derive(Debug)]
pub struct Inputs {
    /// Relative path and digest of what the build depends on.
    pub files: BTreeMap<String, [u8; 32]>,
    /// All paths that were there: files, links and folders.
    there: BTreeSet<String>,
}

impl Inputs {
    /// Reads `dir` without `outputs`, which an earlier build has made. Links
    /// count by where they point to, and are not followed.
    pub fn of(dir: &Path, plan: &Plan, outputs: &[String]) -> Result<Self, StageError> {
        let mut inputs = Self {
            files: BTreeMap::new(),
            there: BTreeSet::new(),
        };
        walk(dir, &mut |relative, kind| {
            if outputs.iter().any(|output| output == relative) {
                return Ok(false);
            }
            inputs.there.insert(relative.to_owned());
            let wanted = plan.inputs.is_empty()
                || plan
                    .inputs
                    .iter()
                    .any(|pattern| glob::matches(pattern, relative));
            if wanted && kind != Kind::Folder {
                let digest = content(&dir.join(relative), kind)?;
                inputs.files.insert(relative.to_owned(), digest);
            }
            Ok(true)
        })
        .map_err(|error| failed(format!("the inputs of the build cannot be read: {error}")))?;
        Ok(inputs)
    }

    /// What is there now and was not before: files, or folders as wholes. What
    /// `plan` names as an input is one, whoever made it.
    pub fn made_since(&self, dir: &Path, plan: &Plan) -> Result<Vec<String>, StageError> {
        let mut made = Vec::new();
        for name in NEVER {
            // Skipped below, and yet what npm makes.
            if name == "node_modules" && dir.join(name).is_dir() {
                made.push(name.to_owned());
            }
        }
        walk(dir, &mut |relative, _| {
            if self.there.contains(relative) {
                return Ok(true);
            }
            let named = plan
                .inputs
                .iter()
                .any(|pattern| glob::matches(pattern, relative));
            if !named {
                made.push(relative.to_owned());
            }
            Ok(false)
        })
        .map_err(|error| failed(format!("what the build made cannot be read: {error}")))?;
        Ok(made)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Link,
    Folder,
}

/// Shows each path below `dir` to `see`, which says whether to go into it.
fn walk(dir: &Path, see: &mut dyn FnMut(&str, Kind) -> io::Result<bool>) -> io::Result<()> {
    let mut seen = 0_usize;
    let mut open = vec![(String::new(), 0_usize)];
    while let Some((folder, depth)) = open.pop() {
        for entry in fs::read_dir(dir.join(&folder))? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let name = name.to_string_lossy();
                return Err(io::Error::other(format!("{name} is not named in UTF-8")));
            };
            if NEVER.contains(&name) {
                continue;
            }
            let relative = if folder.is_empty() {
                name.to_owned()
            } else {
                format!("{folder}/{name}")
            };
            let kind = entry.file_type()?;
            let kind = if kind.is_symlink() {
                Kind::Link
            } else if kind.is_dir() {
                Kind::Folder
            } else if kind.is_file() {
                Kind::File
            } else {
                // A socket or a pipe has no content.
                continue;
            };
            seen += 1;
            if seen > MAX_FILES || depth > MAX_DEPTH {
                return Err(io::Error::other(format!(
                    "it has more than {MAX_FILES} files or {MAX_DEPTH} levels: name those that matter in `build.inputs`"
                )));
            }
            if see(&relative, kind)? && kind == Kind::Folder {
                open.push((relative, depth + 1));
            }
        }
    }
    Ok(())
}

fn content(path: &Path, kind: Kind) -> io::Result<[u8; 32]> {
    let mut digest = Sha256::new();
    if kind == Kind::Link {
        digest.update(b"link");
        digest.update(fs::read_link(path)?.as_os_str().as_bytes());
    } else {
        digest.update(b"file");
        io::copy(&mut File::open(path)?, &mut digest)?;
    }
    Ok(digest.finalize().into())
}
