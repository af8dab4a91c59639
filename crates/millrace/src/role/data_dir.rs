//! The data directory of `millrace dev`: one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The file that is locked; it holds the holder's process id.
const LOCK: &str = "lock";

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error("the data directory {} is in use by another millrace{holder}", path.display())]
    InUse { path: PathBuf, holder: String },
    #[error("the data directory {} cannot be used: {reason}", path.display())]
    Io { path: PathBuf, reason: io::Error },
}

/// A directory that belongs to this process until it is dropped, or until the
/// process ends in whatever way.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The lock lasts as long as the file is open.
    _lock: File,
}

impl DataDir {
    /// Creates the directory if need be (for its owner alone) and locks it;
    /// does not wait.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let failed = |reason| DataDirError::Io {
            path: path.to_owned(),
            reason,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(failed)?;
        let path = fs::canonicalize(path).map_err(failed)?;
        let lock = lock(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn lock(path: &Path) -> Result<File, DataDirError> {
    let failed = |reason| DataDirError::Io {
        path: path.to_owned(),
        reason,
    };
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(path.join(LOCK))
        .map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {
            file.set_len(0)
                .and_then(|()| writeln!(file, "{}", std::process::id()))
                .map_err(failed)?;
            Ok(file)
        }
        Err(Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            // Only a hint: the holder may not have written it yet.
            let _ = file.read_to_string(&mut pid);
            let holder = match pid.trim() {
                "" => String::new(),
                pid => format!(" (process {pid})"),
            };
            Err(DataDirError::InUse {
                path: path.to_owned(),
                holder,
            })
        }
        Err(error) => Err(failed(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_belongs_to_one_holder_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("made/on/the/way");
        let first = DataDir::open(&path).unwrap();
        let refused = DataDir::open(&path).unwrap_err().to_string();
        let holder = format!("another millrace (process {})", std::process::id());
        assert!(refused.ends_with(&holder), "{refused}");
        drop(first);
        assert_eq!(
            DataDir::open(&path).unwrap().path(),
            path.canonicalize().unwrap()
        );
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(matches!(
            DataDir::open(file.path()),
            Err(DataDirError::Io { .. })
        ));
    }
}
