//! The services in a project's folder.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::paths::below;
use crate::prepare::StageError;
use crate::spec::{self, Finding, ServiceSpec};

/// Where services lie within a project.
const SERVICES: &str = "src/services";

/// Folders that are looked at for one list.
const MAX_SERVICES: usize = 1000;

/// A folder with a `service.json`.
#[derive(Debug)]
pub(crate) struct FoundService {
    pub name: String,
    /// Canonical, and within the project.
    pub dir: PathBuf,
    /// The text of `service.json`.
    pub text: String,
    pub spec: Result<ServiceSpec, Vec<Finding>>,
}

/// All services of a project by name. Folders without a `service.json` are no
/// services; what leads out of the project is not read.
pub(crate) fn list_services(project: &Path) -> io::Result<Vec<FoundService>> {
    let folder = match below(project, Path::new(SERVICES)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        folder => folder?,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)?.take(MAX_SERVICES) {
        if let Ok(name) = entry?.file_name().into_string()
            && spec::is_service_name(&name)
        {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names
        .iter()
        .filter_map(|name| find_service(project, name).ok())
        .collect())
}

/// One service of a project.
pub(crate) fn find_service(project: &Path, name: &str) -> Result<FoundService, StageError> {
    if !spec::is_service_name(name) {
        let message = format!("`{name}` is no name of a service");
        return Err(StageError::new("no-service", message));
    }
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| StageError::new("no-service", format!("{what}: {error}"))
    };
    let inner = Path::new(SERVICES).join(name);
    let dir = below(project, &inner).map_err(failed(&inner.to_string_lossy()))?;
    let file = inner.join(spec::FILE);
    let path = below(project, &file).map_err(failed(&file.to_string_lossy()))?;
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(spec::MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(failed(&file.to_string_lossy()))?;
    if text.len() as u64 > spec::MAX_BYTES {
        let message = format!("{} has more than {} bytes", file.display(), spec::MAX_BYTES);
        return Err(StageError::new("invalid-spec", message));
    }
    Ok(FoundService {
        name: name.to_owned(),
        dir,
        spec: spec::read(&text, name),
        text,
    })
}
