//! The folders of projects: where callers say they are, or, of those from
//! Git, below the data of this orchestrator, one for each.

use std::path::PathBuf;
use std::sync::PoisonError;

use millrace_store::ProjectRecord;
use millrace_types::ProjectId;

use crate::orchestrator::Shared;
use crate::project::{GitError, GitSource, PathRefused, Roots, folder_of, is_checked_out};

/// One fetch at a time for each project.
struct Turn<'a> {
    shared: &'a Shared,
    id: ProjectId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let fetching = self.shared.fetching.lock();
        fetching
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

/// A folder that goes again unless it is said to be kept, also when whoever
/// wanted it has gone.
struct Unfinished(Option<PathBuf>);

impl Unfinished {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

impl Shared {
    fn turn(&self, id: ProjectId) -> Result<Turn<'_>, GitError> {
        let mut fetching = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        if fetching.insert(id) {
            Ok(Turn { shared: self, id })
        } else {
            Err(GitError::Busy)
        }
    }

    /// Brings the project's folder to what its source names now; answers it,
    /// with the commit.
    pub(crate) async fn fetch(
        &self,
        id: ProjectId,
        source: GitSource,
    ) -> Result<(PathBuf, GitSource), GitError> {
        let _turn = self.turn(id)?;
        let folder = folder_of(&self.config.data_dir, id);
        let wanted = source.reference.as_deref();
        let commit = source.bring(&folder, wanted, &self.roots).await?;
        let folder = std::fs::canonicalize(folder).map_err(GitError::Folder)?;
        let source = GitSource {
            commit: Some(commit),
            ..source
        };
        Ok((folder, source))
    }

    /// The same for the first time: nothing is left when it fails.
    pub(crate) async fn fetch_new(
        &self,
        id: ProjectId,
        source: GitSource,
    ) -> Result<(PathBuf, GitSource), GitError> {
        let unfinished = Unfinished(Some(folder_of(&self.config.data_dir, id)));
        let fetched = self.fetch(id, source).await?;
        unfinished.keep();
        Ok(fetched)
    }

    /// Makes sure that a project from Git is on this host: at the commit that
    /// was fetched last, wherever that was.
    pub(crate) async fn checked_out(&self, project: &ProjectRecord) -> Result<(), GitError> {
        let source = project.git_json.as_deref().and_then(GitSource::stored);
        let Some(source) = source else {
            return Ok(());
        };
        let folder = folder_of(&self.config.data_dir, project.id);
        if is_checked_out(&folder) {
            return Ok(());
        }
        let _turn = self.turn(project.id)?;
        let unfinished = Unfinished(Some(folder.clone()));
        let wanted = source.commit.as_deref().or(source.reference.as_deref());
        source.bring(&folder, wanted, &self.roots).await?;
        unfinished.keep();
        Ok(())
    }

    /// The canonical folder of a project, within what is allowed.
    pub(crate) fn project_dir(&self, project: &ProjectRecord) -> Result<PathBuf, PathRefused> {
        if project.git_json.is_none() {
            return self.roots.project(&project.local_path);
        }
        let folder = folder_of(&self.config.data_dir, project.id);
        let own = Roots::new(Some(vec![self.config.data_dir.join("projects")]));
        own.project(&folder.to_string_lossy())
    }

    /// Whatever was fetched of a project.
    pub(crate) async fn forget_checkout(&self, id: ProjectId) {
        let folder = folder_of(&self.config.data_dir, id);
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "{} is left", folder.display());
        }
    }
}
