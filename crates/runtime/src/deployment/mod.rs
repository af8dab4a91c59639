//! Workflows made live: [`DeploymentService`].
//!
//! A deployment is checked whole before anything is written: the document by
//! the engine, the triggers and settings here, all findings at once, each
//! with its pointer into the body that the caller posted. Then one
//! transaction makes it live.

mod beside;
pub(crate) mod bundle;
pub(crate) mod deploy;
pub(crate) mod digest;
pub(crate) mod imported;
pub(crate) mod merge_patch;
mod passed;
pub(crate) mod plan;
pub(crate) mod rollback;
pub(crate) mod settings;
pub(crate) mod status;
pub(crate) mod update;
pub(crate) mod versions;
pub(crate) mod webhook;

use std::sync::Arc;

use millrace_signature::SealingKeys;
use millrace_store::Store;

use crate::execution::EngineClient;

/// Makes workflows live, and answers what is.
pub struct DeploymentService {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) engine: Arc<EngineClient>,
    pub(crate) sealing: Option<SealingKeys>,
}

impl std::fmt::Debug for DeploymentService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeploymentService").finish_non_exhaustive()
    }
}
