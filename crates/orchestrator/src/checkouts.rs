//! The folders of projects: where callers say they are, or, of those from
//! Git, below the data of this orchestrator, one for each.
//!
//! Whoever changes a checkout has the turn at it, from before the fetch until
//! its row says so; those who need it as it is on record wait for that, and
//! look again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use millrace_store::ProjectRecord;
use millrace_types::ProjectId;
use tokio::time::Instant;

use crate::orchestrator::Shared;
use crate::project::{GitError, GitSource, PathRefused, Roots, folder_of, is_checked_out};
use crate::turns;

/// The turn at one project's checkout, with what came of it when it went
/// wrong: those who have waited meanwhile do not try the same again.
pub(crate) type Turn<'a> = turns::Turn<'a, ProjectId, LastFailure>;
pub(crate) type Turns = turns::Turns<ProjectId, LastFailure>;
type LastFailure = Option<(Instant, Arc<GitError>)>;

/// Between two questions to a database that does not answer.
const PAUSE: Duration = Duration::from_millis(500);

/// A folder that goes again unless it is said to be kept, also when whoever
/// wanted it has gone.
#[derive(Debug)]
pub(crate) struct Unfinished(Option<PathBuf>);

impl Unfinished {
    pub(crate) fn keep(mut self) {
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

fn source_of(project: &ProjectRecord) -> Option<GitSource> {
    project.git_json.as_deref().and_then(GitSource::stored)
}

impl Shared {
    /// For those who do not wait.
    pub(crate) fn turn(&self, id: ProjectId) -> Result<Turn<'_>, GitError> {
        self.checkouts.take(id).ok_or(GitError::Busy)
    }

    /// Brings the project's folder to what its source names now; answers it,
    /// with the commit.
    pub(crate) async fn fetch(
        &self,
        turn: &Turn<'_>,
        source: GitSource,
    ) -> Result<(PathBuf, GitSource), GitError> {
        let folder = folder_of(&self.config.data_dir, *turn.key());
        let wanted = source.reference.as_deref();
        let commit = source.bring(&folder, wanted, &self.roots).await?;
        let folder = std::fs::canonicalize(folder).map_err(GitError::Folder)?;
        let source = GitSource {
            commit: Some(commit),
            ..source
        };
        Ok((folder, source))
    }

    /// What goes again with the folder that the first fetch makes, unless it
    /// is kept.
    pub(crate) fn unfinished(&self, id: ProjectId) -> Unfinished {
        let folder = folder_of(&self.config.data_dir, id);
        Unfinished((!folder.exists()).then_some(folder))
    }

    /// Makes sure that a project from Git is on this host: at the commit that
    /// was fetched last, wherever that was.
    pub(crate) async fn checked_out(&self, project: &ProjectRecord) -> Result<(), GitError> {
        if self.is_on_record(project) {
            return Ok(());
        }
        let since = Instant::now();
        let mut turn = self.checkouts.wait(project.id).await;
        // As it is by now: somebody else had the turn.
        let project = self.store.project(project.id).await?;
        let project = project.ok_or(GitError::Gone)?;
        let Some(source) = source_of(&project).filter(|_| !self.is_on_record(&project)) else {
            return Ok(());
        };
        if let Some((at, error)) = &*turn
            && *at >= since
        {
            return Err(GitError::Before(Arc::clone(error)));
        }
        let folder = folder_of(&self.config.data_dir, project.id);
        let unfinished = self.unfinished(project.id);
        let wanted = source.commit.as_deref().or(source.reference.as_deref());
        // It is large, and seldom needed.
        match Box::pin(source.bring(&folder, wanted, &self.roots)).await {
            Ok(_) => {
                unfinished.keep();
                Ok(())
            }
            Err(error) => {
                let error = Arc::new(error);
                *turn = Some((Instant::now(), Arc::clone(&error)));
                Err(GitError::Before(error))
            }
        }
    }

    /// Whether its folder is what its row says.
    fn is_on_record(&self, project: &ProjectRecord) -> bool {
        source_of(project).is_none_or(|source| {
            let folder = folder_of(&self.config.data_dir, project.id);
            is_checked_out(&folder, source.commit.as_deref())
        })
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

    /// Whatever was fetched of the project whose row is gone.
    pub(crate) async fn forget_checkout(&self, turn: &Turn<'_>) {
        let folder = folder_of(&self.config.data_dir, *turn.key());
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "{} is left", folder.display());
        }
    }

    /// Projects that have a checkout here, or once had.
    pub(crate) fn all_checkouts(&self) -> io::Result<Vec<ProjectId>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(self.config.data_dir.join("projects"))? {
            // What is named otherwise is not ours.
            found.extend(
                entry?
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<ProjectId>().ok()),
            );
        }
        Ok(found)
    }

    /// Removes those of projects that were never stored, or are deleted: who
    /// began with that was killed.
    pub(crate) async fn sweep_checkouts(&self, found: Vec<ProjectId>) {
        for id in found {
            let turn = self.checkouts.wait(id).await;
            let project = loop {
                match self.store.project(id).await {
                    Ok(project) => break project,
                    Err(error) => {
                        tracing::warn!(%error, "checkouts wait for the database: {error}");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            };
            if project.is_none() {
                tracing::warn!(project = %id, "the checkout of a project that does not exist goes");
                self.forget_checkout(&turn).await;
            }
        }
    }
}
