//! Building a service: what it needs is installed or compiled in its folder,
//! once for each state of its inputs.
//!
//! ```text
//!  plan ─▶ digest of the inputs ─▶ as noted in the cache? ──yes──▶ done
//!                                        │ no
//!                     forget the note ◀──┘
//!                            │
//!                            ▼
//!                  run (log, time limit, whole tree) ─ok─▶ note
//! ```
//!
//! The results lie in the service's folder, where it runs. What the cache
//! keeps is a note of which inputs they were made from: taken away before a
//! build begins and written after it has succeeded, so that one that fails,
//! or is cut off, leaves nothing that a later one would believe.

mod cache;
pub(crate) mod digest;
mod glob;
mod inputs;
mod plan;
mod run;
pub(crate) mod tree;

use std::path::PathBuf;

use millrace_service::CancellationToken;
use tokio::task::spawn_blocking;

use crate::prepare::{LogStream, LogWriter, PrepareRequest, StageError};
use crate::turns::Turns;
use cache::Note;
use digest::Digest;
use inputs::Inputs;
pub use plan::Plan;

/// Builds services. One for all workloads.
#[derive(Debug, Default)]
pub struct Builder {
    /// One build at a time in each folder: a second one then finds the note
    /// of the first.
    folders: Turns<PathBuf>,
}

impl Builder {
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds what there is to build, unless that has been done already.
    pub async fn build(
        &self,
        request: PrepareRequest<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), StageError> {
        let Some(plan) = Plan::of(request.spec, request.dir) else {
            return Ok(());
        };
        let _alone = tokio::select! {
            alone = self.folders.wait(request.dir.to_owned()) => alone,
            () = cancel.cancelled() => return Err(cancelled()),
        };
        self.build_alone(&plan, request, cancel).await
    }

    async fn build_alone(
        &self,
        plan: &Plan,
        request: PrepareRequest<'_>,
        cancel: &CancellationToken,
    ) -> Result<(), StageError> {
        let note = Note::of(request.cache_dir, request.dir);
        let (before, known) = {
            let (dir, plan, note) = (request.dir.to_owned(), plan.clone(), note.clone());
            blocking(move || {
                let known = note.read();
                let outputs = known.as_ref().map(|known| known.outputs.clone());
                let inputs = Inputs::of(&dir, &plan, &outputs.unwrap_or_default())?;
                Ok((inputs, known))
            })
            .await?
        };
        let digest = Digest::of(plan, &before.files);
        if let Some(known) = known
            && known.digest == digest
            && known.outputs_exist(request.dir)
        {
            say(
                request.log,
                format!("{}: nothing has changed since it was built", plan.title),
            )
            .await;
            return Ok(());
        }
        say(request.log, format!("{}: begins", plan.title)).await;
        note.remove()
            .map_err(|error| failed(format!("the cache cannot be written: {error}")))?;
        run::run(plan, request, cancel).await?;
        let (dir, plan_again) = (request.dir.to_owned(), plan.clone());
        blocking(move || {
            let outputs = before.made_since(&dir, &plan_again)?;
            note.write(&digest, outputs)
                .map_err(|error| failed(format!("the cache cannot be written: {error}")))
        })
        .await?;
        say(request.log, format!("{}: done", plan.title)).await;
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StageError> + Send + 'static,
) -> Result<T, StageError> {
    spawn_blocking(work)
        .await
        .map_err(|error| failed(format!("reading the folder failed: {error}")))?
}

async fn say(log: &LogWriter, text: String) {
    log.write(LogStream::System, text).await;
}

fn failed(message: String) -> StageError {
    StageError::new("build-failed", message)
}

fn cancelled() -> StageError {
    StageError::new("cancelled", "the build was cancelled")
}
