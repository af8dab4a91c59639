//! API keys: what is kept of them, which never is the key itself.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use millrace_types::{ApiKey, ApiKeyId, Role, Timestamp};

use crate::{Page, PageRequest, StoreError};

/// A key to be entered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApiKey {
    pub id: ApiKeyId,
    /// For people. No two keys that are valid have the same.
    pub name: String,
    pub role: Role,
    /// SHA-256 of the whole key.
    pub digest: [u8; 32],
    /// How long it is valid from now on; `None` is for ever.
    pub expires_in: Option<Duration>,
}

/// Whether a key opens anything, by the database's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiKeyState {
    Valid,
    Expired,
    /// Also when it has expired since.
    Revoked,
}

impl ApiKeyState {
    /// As it is written everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// From what two columns say.
    pub const fn of(revoked_at: Option<Timestamp>, expired: bool) -> Self {
        match (revoked_at, expired) {
            (Some(_), _) => Self::Revoked,
            (None, true) => Self::Expired,
            (None, false) => Self::Valid,
        }
    }
}

impl fmt::Display for ApiKeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A key as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRecord {
    pub id: ApiKeyId,
    pub name: String,
    pub role: Role,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// As it was when this was read.
    pub state: ApiKeyState,
}

impl ApiKeyRecord {
    /// What those know of it who serve its holder; `None` unless it is valid.
    pub fn valid(self) -> Option<ApiKey> {
        (self.state == ApiKeyState::Valid).then_some(ApiKey {
            id: self.id,
            name: self.name,
            role: self.role,
            expires_at: self.expires_at,
        })
    }
}

/// A key as it is stored, to be compared with one that was presented.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredApiKey {
    pub record: ApiKeyRecord,
    /// [`NewApiKey::digest`].
    pub digest: Vec<u8>,
}

impl fmt::Debug for StoredApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoredApiKey").field(&self.record).finish()
    }
}

/// Why a key was not entered.
#[derive(Debug, thiserror::Error)]
pub enum CreateApiKeyRefused {
    #[error(
        "the name {name} belongs to the key {holder}, which is valid: revoke it, or choose another name"
    )]
    NameTaken { name: String, holder: ApiKeyId },
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[async_trait]
pub trait ApiKeyStore: Send + Sync + 'static {
    /// Enters a key. A name may be given again once every key that had it is
    /// revoked or has expired. The same identifier again changes nothing and
    /// succeeds.
    async fn create_api_key(&self, key: &NewApiKey) -> Result<ApiKeyRecord, CreateApiKeyRefused>;

    /// Newest first, with those that are not valid any more; the cursor is an
    /// identifier.
    async fn api_keys(&self, page: &PageRequest) -> Result<Page<ApiKeyRecord>, StoreError>;

    /// Makes a key invalid for good. One that is revoked keeps the time when
    /// it was; `None` when there is no such key.
    async fn revoke_api_key(&self, id: ApiKeyId) -> Result<Option<ApiKeyRecord>, StoreError>;

    /// One key, valid or not.
    async fn stored_api_key(&self, id: ApiKeyId) -> Result<Option<StoredApiKey>, StoreError>;
}
