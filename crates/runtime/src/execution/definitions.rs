//! The definitions that executions run on. A version never changes, so what
//! has been read once stays true.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_store::{DeploymentStore, StoreError};
use millrace_types::WorkflowId;

/// A version's definition as the engine takes it.
#[derive(Debug)]
pub(crate) struct Definition {
    pub digest: String,
    pub json: String,
}

/// Versions kept in memory. Past it, an arbitrary one makes room: reading it
/// again is one indexed query.
const KEPT: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct Definitions {
    known: Mutex<HashMap<(WorkflowId, u32), Arc<Definition>>>,
}

impl Definitions {
    /// `None` when there is no such version.
    pub async fn get(
        &self,
        store: &dyn DeploymentStore,
        workflow: WorkflowId,
        version: u32,
    ) -> Result<Option<Arc<Definition>>, StoreError> {
        let key = (workflow, version);
        if let Some(known) = self.lock().get(&key) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(record) = store.version(workflow, version).await? else {
            return Ok(None);
        };
        let definition = Arc::new(Definition {
            digest: crate::deployment::digest::text(&record.definition_json),
            json: record.definition_json,
        });
        let mut known = self.lock();
        if known.len() >= KEPT
            && let Some(victim) = known.keys().next().copied()
        {
            known.remove(&victim);
        }
        known.insert(key, Arc::clone(&definition));
        Ok(Some(definition))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(WorkflowId, u32), Arc<Definition>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
