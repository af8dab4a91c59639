//! From a request's path to the trigger that listens there.

use std::collections::BTreeMap;

use millrace_proto::Failure;
use millrace_store::{StoreError, WebhookMatch};
use millrace_types::ErrorKind;

use crate::trigger::{WebhookTriggerService, path};

/// What listens on a path.
#[derive(Debug)]
pub(crate) struct Resolved {
    /// `None`: the path is known, but not for this method.
    pub found: Option<WebhookMatch>,
    pub params: BTreeMap<String, String>,
    /// All methods that the path takes.
    pub methods: Vec<String>,
}

/// Why a path leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("no webhook listens on `{0}`")]
    NotFound(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ResolveError> for Failure {
    fn from(error: ResolveError) -> Self {
        match error {
            ResolveError::NotFound(_) => Self::new(ErrorKind::NotFound, error.to_string()),
            ResolveError::Store(error) => crate::grpc::convert::store_failure(&error),
        }
    }
}

impl WebhookTriggerService {
    /// The most specific route wins: literal segments before parameters, from
    /// the left. A route that does not take the method leaves the way to a
    /// less specific one that does.
    pub(crate) async fn resolve(
        &self,
        requested: &str,
        method: &str,
    ) -> Result<Resolved, ResolveError> {
        let shapes = path::candidates(requested);
        let mut matches = match shapes.as_slice() {
            [] => Vec::new(),
            shapes => self.store.webhooks(shapes).await?,
        };
        if matches.is_empty() {
            return Err(ResolveError::NotFound(requested.to_owned()));
        }
        matches.sort_by_cached_key(|m| path::rank(&m.shape));
        let mut methods: Vec<String> = matches.iter().map(|m| m.method.clone()).collect();
        methods.sort();
        methods.dedup();
        let found = matches.into_iter().find(|m| m.method == method);
        let params = found
            .as_ref()
            .map(|m| path::parameters(&m.path, requested))
            .unwrap_or_default();
        Ok(Resolved {
            found,
            params,
            methods,
        })
    }
}
