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

/// What is to be changed.
#[derive(Debug, Default)]
struct Patch {
    name: Option<String>,
    local_path: Option<String>,
    git: Option<Value>,
}

impl Patch {
    fn read(text: &str) -> Result<Self, UpdateProjectError> {
        let Ok(Value::Object(members)) = serde_json::from_str(text) else {
            return Err(UpdateProjectError::NoObject);
        };
        let mut patch = Self::default();
        for (member, value) in members {
            match (member.as_str(), value) {
                ("name", Value::String(name)) if is_name(&name) => patch.name = Some(name),
                ("name", _) => return Err(UpdateProjectError::Name),
                ("localPath", Value::String(path)) => patch.local_path = Some(path),
                ("localPath", _) => return Err(UpdateProjectError::NoPath),
                ("git", value) => patch.git = Some(value),
                _ => return Err(UpdateProjectError::Unknown(member)),
            }
        }
        Ok(patch)
    }

    /// The kind of source stays what it is.
    fn fits(&self, project: &ProjectRecord) -> Result<(), UpdateProjectError> {
        match project.git_json {
            Some(_) if self.local_path.is_some() => Err(UpdateProjectError::Source("/localPath")),
            None if self.git.is_some() => Err(UpdateProjectError::Source("/git")),
            _ => Ok(()),
        }
    }
}

impl WorkloadOrchestrator {
    /// `patch` is a JSON merge patch. A new path holds from the next start of
    /// each service on. One that names `git` fetches, also when nothing in it
    /// is new. What it does not name stays as it is by the time it is stored.
    pub(crate) async fn update_project(
        &self,
        id: ProjectId,
        patch: &str,
    ) -> Result<ProjectRecord, UpdateProjectError> {
        let project = self.stored(id).await?;
        let patch = Patch::read(patch)?;
        patch.fits(&project)?;
        let path = patch.local_path.as_deref();
        let mut path = path
            .map(|path| self.shared.roots.project(path))
            .transpose()?;
        let mut git_json = None;
        let _turn = match &patch.git {
            None => None,
            Some(given) => {
                let turn = self.shared.turn(id)?;
                // Nobody else fetches it from here on.
                let before = self.stored(id).await?.git_json;
                let before = before.as_deref().and_then(GitSource::stored);
                let before = before.ok_or(UpdateProjectError::Source("/git"))?;
                let source = GitSource::read(given, Some(&before))?;
                let (folder, source) = self.shared.fetch(&turn, source).await?;
                path = Some(folder);
                git_json = Some(source.to_json());
                Some(turn)
            }
        };
        // Another call may have changed what this one does not name.
        let _alone = self.shared.project_rows.lock().await;
        let mut project = self.stored(id).await?;
        if let Some(name) = patch.name {
            project.name = name;
        }
        if let Some(path) = path {
            project.local_path = path.to_string_lossy().into_owned();
        }
        if git_json.is_some() {
            project.git_json = git_json;
        }
        let there = self.shared.store.update_project(&project).await?;
        if there {
            Ok(project)
        } else {
            Err(UpdateProjectError::NotFound(id))
        }
    }

    async fn stored(&self, id: ProjectId) -> Result<ProjectRecord, UpdateProjectError> {
        let found = self.shared.store.project(id).await?;
        found.ok_or(UpdateProjectError::NotFound(id))
    }
}
