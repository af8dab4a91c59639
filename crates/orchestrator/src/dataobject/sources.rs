//! The server's sources, and writing them out.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::build::digest::hex;

const FILES: [(&str, &str); 13] = [
    ("definition.mjs", include_str!("js/definition.mjs")),
    ("formats.mjs", include_str!("js/formats.mjs")),
    ("http.mjs", include_str!("js/http.mjs")),
    ("json.mjs", include_str!("js/json.mjs")),
    ("main.mjs", include_str!("js/main.mjs")),
    ("openapi.mjs", include_str!("js/openapi.mjs")),
    ("problem.mjs", include_str!("js/problem.mjs")),
    ("query.mjs", include_str!("js/query.mjs")),
    ("records.mjs", include_str!("js/records.mjs")),
    ("references.mjs", include_str!("js/references.mjs")),
    ("routes.mjs", include_str!("js/routes.mjs")),
    ("schema.mjs", include_str!("js/schema.mjs")),
    ("store.mjs", include_str!("js/store.mjs")),
];

/// The server could not be written out.
#[derive(Debug, thiserror::Error)]
#[error("the dataobject server cannot be written to {}: {source}", path.display())]
pub struct InstallError {
    path: PathBuf,
    source: io::Error,
}

/// The folder below `cache_dir` that holds the server of this version. Others
/// stay: what was started before runs from them.
pub fn install(cache_dir: &Path) -> Result<PathBuf, InstallError> {
    let path = cache_dir.join(format!("dataobject-server-{}", digest()));
    if path.join(FILES[FILES.len() - 1].0).is_file() {
        return Ok(path);
    }
    write(cache_dir, &path).map_err(|source| InstallError {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// Appears as a whole or not at all, also when several do it at once.
fn write(cache_dir: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(cache_dir)?;
    let scratch = tempfile::Builder::new()
        .prefix(".dataobject-server-")
        .tempdir_in(cache_dir)?;
    for (name, text) in FILES {
        let path = scratch.path().join(name);
        fs::write(&path, text)?;
        fs::set_permissions(path, Permissions::from_mode(0o644))?;
    }
    // Services that run as users of their own read it, too.
    fs::set_permissions(scratch.path(), Permissions::from_mode(0o755))?;
    match fs::rename(scratch.path(), path) {
        // Renamed, it is not there to be cleaned up.
        Ok(()) => {
            let _ = scratch.keep();
            Ok(())
        }
        Err(_) if path.join("main.mjs").is_file() => Ok(()),
        Err(error) => Err(error),
    }
}

fn digest() -> String {
    let mut digest = Sha256::new();
    for (name, text) in FILES {
        digest.update(name);
        digest.update([0]);
        digest.update(text);
        digest.update([0]);
    }
    let digest = digest.finalize();
    hex(&digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_of_the_folder_is_written_out() {
        let js = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/dataobject/js");
        let mut there: Vec<String> = fs::read_dir(js)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| Path::new(name).extension() == Some("mjs".as_ref()))
            .collect();
        there.sort();
        assert_eq!(there, FILES.map(|(name, _)| name));
    }

    #[test]
    fn it_is_written_once_and_whole() {
        let cache = tempfile::tempdir().unwrap();
        let path = install(cache.path()).unwrap();
        for (name, text) in FILES {
            assert_eq!(fs::read_to_string(path.join(name)).unwrap(), text);
        }
        let written = fs::metadata(path.join("main.mjs")).unwrap().modified();
        assert_eq!(install(cache.path()).unwrap(), path);
        let again = fs::metadata(path.join("main.mjs")).unwrap().modified();
        assert_eq!(written.unwrap(), again.unwrap());
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 1);
    }
}
