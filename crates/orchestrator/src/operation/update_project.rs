//! Changing a project.

use millrace_store::{ProjectRecord, StoreError};
use millrace_types::{ErrorKind, ProjectId};
use serde_json::Value;

use super::Kind;
use super::create_project::is_name;
use crate::WorkloadOrchestrator;
use crate::project::{GitError, GitSource, PathRefused};

#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateProjectError {
    #[error("project {0} does not exist")]
    NotFound(ProjectId),
    #[error("the patch has to be a JSON object")]
    NoObject,
    #[error("`{0}` cannot be changed; `name`, `localPath` and `git` can")]
    Unknown(String),
    #[error("`name` has to be a string with 1 to 200 characters")]
    Name,
    #[error("`localPath` has to be a string")]
    NoPath,
    #[error("`localPath`: {0}")]
    Path(#[from] PathRefused),
    #[error("the source of a project stays what it is: a folder, or Git")]
    Source(&'static str),
    #[error(transparent)]
    Git(#[from] GitError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Kind for UpdateProjectError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Store(error) => error.kind(),
            Self::Git(error) => error.kind(),
            _ => ErrorKind::Invalid,
        }
    }

    fn pointer(&self) -> &'static str {
        match self {
            Self::Name => "/name",
            Self::NoPath | Self::Path(_) => "/localPath",
            Self::Source(pointer) => pointer,
            Self::Git(error) => error.pointer(),
            _ => "",
        }
    }
}

impl WorkloadOrchestrator {
    /// `patch` is a JSON merge patch. A new path holds from the next start of
    /// each service on. One that names `git` fetches, also when nothing in it
    /// is new.
    pub(crate) async fn update_project(
        &self,
        id: ProjectId,
        patch: &str,
    ) -> Result<ProjectRecord, UpdateProjectError> {
        let found = self.shared.store.project(id).await?;
        let mut project = found.ok_or(UpdateProjectError::NotFound(id))?;
        let Ok(Value::Object(patch)) = serde_json::from_str(patch) else {
            return Err(UpdateProjectError::NoObject);
        };
        let mut source = None;
        for (key, value) in &patch {
            match key.as_str() {
                "name" => {
                    let name = value.as_str().filter(|name| is_name(name));
                    name.ok_or(UpdateProjectError::Name)?
                        .clone_into(&mut project.name);
                }
                "localPath" if project.git_json.is_some() => {
                    return Err(UpdateProjectError::Source("/localPath"));
                }
                "localPath" => {
                    let path = value.as_str().ok_or(UpdateProjectError::NoPath)?;
                    let path = self.shared.roots.project(path)?;
                    project.local_path = path.to_string_lossy().into_owned();
                }
                "git" => {
                    let before = project.git_json.as_deref().and_then(GitSource::stored);
                    let before = before.ok_or(UpdateProjectError::Source("/git"))?;
                    source = Some(GitSource::read(value, Some(&before))?);
                }
                other => return Err(UpdateProjectError::Unknown(other.to_owned())),
            }
        }
        if let Some(source) = source {
            let (path, source) = self.shared.fetch(id, source).await?;
            project.local_path = path.to_string_lossy().into_owned();
            project.git_json = Some(source.to_json());
        }
        let there = self.shared.store.update_project(&project).await?;
        if there {
            Ok(project)
        } else {
            Err(UpdateProjectError::NotFound(id))
        }
    }
}
