//! Which folders are read and run.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PathRefused {
    #[error("`{0}` is not an absolute path")]
    Relative(String),
    #[error("`{path}` cannot be used: {error}")]
    Missing { path: String, error: io::Error },
    #[error("`{0}` is not a folder")]
    NoFolder(String),
    #[error("`{path}` is outside of what `orchestrator.roots` allows{hint}")]
    Outside { path: String, hint: String },
}

/// The folders that projects may lie in.
#[derive(Debug, Clone)]
pub(crate) struct Roots {
    /// `None`: anywhere.
    allowed: Option<Vec<PathBuf>>,
}

impl Roots {
    pub(crate) const fn new(allowed: Option<Vec<PathBuf>>) -> Self {
        Self { allowed }
    }

    /// The folder in its canonical form, without symbolic links.
    pub(crate) fn project(&self, path: &str) -> Result<PathBuf, PathRefused> {
        let given = Path::new(path);
        if !given.is_absolute() {
            return Err(PathRefused::Relative(path.to_owned()));
        }
        let canonical = fs::canonicalize(given).map_err(|error| PathRefused::Missing {
            path: path.to_owned(),
            error,
        })?;
        if !canonical.is_dir() {
            return Err(PathRefused::NoFolder(path.to_owned()));
        }
        let Some(allowed) = &self.allowed else {
            return Ok(canonical);
        };
        // Roots may be links themselves, and may come and go.
        let within =
            |root: &PathBuf| fs::canonicalize(root).is_ok_and(|root| canonical.starts_with(root));
        if allowed.iter().any(within) {
            return Ok(canonical);
        }
        let hint = match (allowed.is_empty(), canonical == given) {
            (true, _) => ": it names no folder".to_owned(),
            (false, true) => String::new(),
            (false, false) => format!(" (it is {})", canonical.display()),
        };
        Err(PathRefused::Outside {
            path: path.to_owned(),
            hint,
        })
    }
}

/// A path below `folder`, which is canonical; links that lead out of it are
/// refused.
pub(crate) fn below(folder: &Path, inner: &Path) -> io::Result<PathBuf> {
    let canonical = fs::canonicalize(folder.join(inner))?;
    if canonical.starts_with(folder) {
        Ok(canonical)
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("it leads out of {}", folder.display()),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_within_the_roots_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let inside = root.join("a");
        let outside = folder.path().join("b");
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(root.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        let roots = Roots::new(Some(vec![root.clone()]));
        let take = |path: &Path| roots.project(path.to_str().unwrap());
        assert_eq!(take(&inside).unwrap(), fs::canonicalize(&inside).unwrap());
        assert!(matches!(take(&outside), Err(PathRefused::Outside { .. })));
        assert!(matches!(
            take(&root.join("link")),
            Err(PathRefused::Outside { .. })
        ));
        assert!(matches!(
            take(&root.join("a/../../b")),
            Err(PathRefused::Outside { .. })
        ));
        assert!(matches!(
            take(&root.join("none")),
            Err(PathRefused::Missing { .. })
        ));
        assert!(matches!(
            take(&root.join("file")),
            Err(PathRefused::NoFolder(_))
        ));
        assert!(matches!(
            take(Path::new("root/a")),
            Err(PathRefused::Relative(_))
        ));
        assert!(Roots::new(None).project(outside.to_str().unwrap()).is_ok());
        assert!(
            Roots::new(Some(Vec::new()))
                .project(inside.to_str().unwrap())
                .is_err()
        );
        assert!(below(&root, Path::new("a")).is_ok());
        assert!(below(&root, Path::new("link")).is_err());
        assert!(below(&root, Path::new("../b")).is_err());
    }
}
