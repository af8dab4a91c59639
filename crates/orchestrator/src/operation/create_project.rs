//! Making a project.

use millrace_store::{CreateProjectRefused, ProjectRecord, StoreError};
use millrace_types::{ErrorKind, ProjectId, Timestamp};

use super::Kind;
use crate::WorkloadOrchestrator;
use crate::project::{GitError, GitSource, PathRefused, is_key};

/// What a project is made of.
#[derive(Debug)]
pub(crate) struct NewProject {
    pub name: String,
    pub key: String,
    pub local_path: String,
    /// Empty where there is none.
    pub git_json: String,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateProjectError {
    #[error("`name` has to have from 1 to 200 characters")]
    Name,
    #[error(
        "`key` has to be made of A-Z, 0-9, _ and -, begin with a letter, and have at most 32 characters"
    )]
    Key,
    #[error("give a localPath or a Git source, not both")]
    Both,
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("`localPath`: {0}")]
    Path(#[from] PathRefused),
    #[error("the key {0} belongs to another project")]
    KeyTaken(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Kind for CreateProjectError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Name | Self::Key | Self::Both | Self::Path(_) => ErrorKind::Invalid,
            Self::Git(error) => error.kind(),
            Self::KeyTaken(_) => ErrorKind::Conflict,
            Self::Store(error) => error.kind(),
        }
    }

    fn pointer(&self) -> &'static str {
        match self {
            Self::Name => "/name",
            Self::Key | Self::KeyTaken(_) => "/key",
            Self::Both => "/git",
            Self::Git(error) => error.pointer(),
            Self::Path(_) => "/localPath",
            Self::Store(_) => "",
        }
    }
}

pub(super) fn is_name(name: &str) -> bool {
    (1..=200).contains(&name.chars().count()) && !name.chars().any(char::is_control)
}

impl WorkloadOrchestrator {
    pub(crate) async fn create_project(
        &self,
        new: NewProject,
    ) -> Result<ProjectRecord, CreateProjectError> {
        if !is_name(&new.name) {
            return Err(CreateProjectError::Name);
        }
        if !is_key(&new.key) {
            return Err(CreateProjectError::Key);
        }
        let id = ProjectId::new();
        let turn = self.shared.turn(id)?;
        // Goes with this call, should nobody wait for its end.
        let unfinished = self.shared.unfinished(id);
        let (path, git_json) = match new.git_json.as_str() {
            "" | "null" => (self.shared.roots.project(&new.local_path)?, None),
            _ if !new.local_path.is_empty() => return Err(CreateProjectError::Both),
            text => {
                let given = serde_json::from_str(text).map_err(|_| GitError::Shape)?;
                let source = GitSource::read(&given, None)?;
                // Before it is fetched in vain.
                if self.shared.store.project_by_key(&new.key).await?.is_some() {
                    return Err(CreateProjectError::KeyTaken(new.key));
                }
                let (path, source) = self.shared.fetch(&turn, source).await?;
                (path, Some(source.to_json()))
            }
        };
        let record = ProjectRecord {
            id,
            name: new.name,
            key: new.key,
            local_path: path.to_string_lossy().into_owned(),
            git_json,
            created_at: Timestamp::now(),
        };
        match self.shared.store.create_project(&record).await {
            Ok(()) => {
                unfinished.keep();
                Ok(record)
            }
            Err(CreateProjectRefused::KeyTaken(key)) => Err(CreateProjectError::KeyTaken(key)),
            Err(CreateProjectRefused::Store(error)) => Err(error.into()),
        }
    }
}
