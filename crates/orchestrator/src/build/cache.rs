//! Notes of which inputs the results in a folder were made from.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// Where the note of one folder is.
#[derive(Debug, Clone)]
pub struct Note {
    path: PathBuf,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Built {
    pub digest: Digest,
    /// Paths in the folder that the build has made.
    pub outputs: Vec<String>,
}

impl Built {
    /// Whether all that was made is still there.
    pub fn outputs_exist(&self, dir: &Path) -> bool {
        self.outputs
            .iter()
            .all(|output| dir.join(output).symlink_metadata().is_ok())
    }
}

impl Note {
    pub fn of(cache_dir: &Path, dir: &Path) -> Self {
        let name = Digest::name(dir.as_os_str().as_bytes());
        Self {
            path: cache_dir.join("builds").join(format!("{name}.json")),
        }
    }

    /// None when there is none that can be read: it is built again.
    pub fn read(&self) -> Option<Built> {
        serde_json::from_slice(&fs::read(&self.path).ok()?).ok()
    }

    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Appears as a whole.
    pub fn write(&self, digest: &Digest, outputs: Vec<String>) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)?;
        let built = Built {
            digest: digest.clone(),
            outputs,
        };
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&serde_json::to_vec(&built)?)?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        Ok(())
    }
}
