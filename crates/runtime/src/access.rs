//! Who callers are: API keys, looked up in the database.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use millrace_service::access::{KeyLookUp, KeyToken, LookUpFailed};
use millrace_store::{ApiKeyStore, StoreError};
use millrace_types::{ApiKey, ErrorKind};

/// Compared with where there is no key, so that it takes as long to find none
/// as to find another. No text is known that has it as its digest.
const NO_DIGEST: [u8; 32] = [0; 32];

/// The keys that a database holds. Clones are cheap and share it.
#[derive(Clone)]
pub struct StoredKeys(Arc<dyn ApiKeyStore>);

impl std::fmt::Debug for StoredKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredKeys")
    }
}

impl StoredKeys {
    pub fn new(store: Arc<dyn ApiKeyStore>) -> Self {
        Self(store)
    }

    async fn find(&self, token: &KeyToken) -> Result<Option<ApiKey>, LookUpFailed> {
        let stored = self.0.stored_api_key(token.id()).await;
        let stored = stored.map_err(|error| failed(&error))?;
        let digest = stored.as_ref().map_or(&NO_DIGEST[..], |key| &key.digest);
        let matches = token.matches(digest);
        Ok(stored
            .filter(|_| matches)
            .and_then(|stored| stored.record.valid()))
    }
}

impl KeyLookUp for StoredKeys {
    fn look_up<'a>(
        &'a self,
        token: &'a KeyToken,
    ) -> BoxFuture<'a, Result<Option<ApiKey>, LookUpFailed>> {
        self.find(token).boxed()
    }
}

/// What the database says of itself goes to the log, not to callers.
fn failed(error: &StoreError) -> LookUpFailed {
    if error.kind() == ErrorKind::Unavailable {
        tracing::warn!("an API key could not be looked up: {error}");
        LookUpFailed("the database is unavailable".to_owned())
    } else {
        tracing::error!("an API key could not be looked up: {error}");
        LookUpFailed("the database refused".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use millrace_store::{
        ApiKeyRecord, ApiKeyState, CreateApiKeyRefused, NewApiKey, Page, PageRequest, StoredApiKey,
    };
    use millrace_types::{ApiKeyId, Role, Timestamp};

    /// A store of one key.
    struct One(Result<StoredApiKey, ()>);

    #[async_trait]
    impl ApiKeyStore for One {
        async fn create_api_key(&self, _: &NewApiKey) -> Result<ApiKeyRecord, CreateApiKeyRefused> {
            unreachable!("only looked up")
        }

        async fn api_keys(&self, _: &PageRequest) -> Result<Page<ApiKeyRecord>, StoreError> {
            unreachable!("only looked up")
        }

        async fn revoke_api_key(&self, _: ApiKeyId) -> Result<Option<ApiKeyRecord>, StoreError> {
            unreachable!("only looked up")
        }

        async fn stored_api_key(&self, id: ApiKeyId) -> Result<Option<StoredApiKey>, StoreError> {
            match &self.0 {
                Ok(key) => Ok((key.record.id == id).then(|| key.clone())),
                Err(()) => Err(StoreError::Unavailable("10.0.0.7 is gone".into())),
            }
        }
    }

    fn store(token: &KeyToken, state: ApiKeyState) -> StoredKeys {
        let record = ApiKeyRecord {
            id: token.id(),
            name: "ci".into(),
            role: Role::Deployer,
            created_at: Timestamp::now(),
            expires_at: None,
            revoked_at: None,
            state,
        };
        let digest = token.digest().to_vec();
        StoredKeys::new(Arc::new(One(Ok(StoredApiKey { record, digest }))))
    }

    #[tokio::test]
    async fn only_a_valid_key_with_its_secret_is_found() {
        let (_, token) = KeyToken::mint().unwrap();
        let (_, other) = KeyToken::mint().unwrap();
        let forged = KeyToken::from_parts(token.id(), *other.digest());
        let nothing = KeyToken::from_parts(other.id(), NO_DIGEST);
        let keys = store(&token, ApiKeyState::Valid);
        let found = keys.look_up(&token).await.unwrap().unwrap();
        assert_eq!((found.id, found.role), (token.id(), Role::Deployer));
        for wrong in [&forged, &other, &nothing] {
            assert_eq!(keys.look_up(wrong).await.unwrap(), None);
        }
        for state in [ApiKeyState::Expired, ApiKeyState::Revoked] {
            let found = store(&token, state).look_up(&token).await.unwrap();
            assert_eq!(found, None, "{state}");
        }
    }

    #[tokio::test]
    async fn a_database_that_does_not_answer_is_no_answer() {
        let (_, token) = KeyToken::mint().unwrap();
        let keys = StoredKeys::new(Arc::new(One(Err(()))));
        let failed = keys.look_up(&token).await.unwrap_err().to_string();
        assert!(!failed.contains("10.0.0.7"), "{failed}");
    }
}
