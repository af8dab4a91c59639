//! Making a project.

use millrace_store::{CreateProjectRefused, ProjectRecord, StoreError};
use millrace_types::{ErrorKind, ProjectId, Timestamp};

use super::Kind;
use crate::WorkloadOrchestrator;
use crate::project::{PathRefused, is_key};

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
    #[error("this version takes no projects from Git yet: give a localPath")]
    Git,
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
            Self::Name | Self::Key | Self::Git | Self::Path(_) => ErrorKind::Invalid,
            Self::KeyTaken(_) => ErrorKind::Conflict,
            Self::Store(error) => error.kind(),
        }
    }

    fn pointer(&self) -> &'static str {
        match self {
            Self::Name => "/name",
            Self::Key | Self::KeyTaken(_) => "/key",
            Self::Git => "/git",
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
        if !new.git_json.is_empty() && new.git_json != "null" {
            return Err(CreateProjectError::Git);
        }
        let path = self.shared.roots.project(&new.local_path)?;
        let record = ProjectRecord {
            id: ProjectId::new(),
            name: new.name,
            key: new.key,
            local_path: path.to_string_lossy().into_owned(),
            git_json: None,
            created_at: Timestamp::now(),
        };
        match self.shared.store.create_project(&record).await {
            Ok(()) => Ok(record),
            Err(CreateProjectRefused::KeyTaken(key)) => Err(CreateProjectError::KeyTaken(key)),
            Err(CreateProjectRefused::Store(error)) => Err(error.into()),
        }
    }
}
