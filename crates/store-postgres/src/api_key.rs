//! API keys.

use async_trait::async_trait;
use millrace_store::{
    ApiKeyRecord, ApiKeyState, ApiKeyStore, CreateApiKeyRefused, NewApiKey, Page, PageRequest,
    StoreError, StoredApiKey,
};
use millrace_types::ApiKeyId;
use sqlx::{AssertSqlSafe, FromRow, PgExecutor};

use crate::PostgresStore;
use crate::convert::parsed;
use crate::error::store_error;
use crate::incarnation::micros;
use crate::time::PgTime;

const COLUMNS: &str = "id, name, role, digest, created_at, expires_at, revoked_at, \
     coalesce(expires_at <= clock_timestamp(), false) AS expired";

#[derive(FromRow)]
struct Row {
    id: String,
    name: String,
    role: String,
    digest: Vec<u8>,
    created_at: PgTime,
    expires_at: Option<PgTime>,
    revoked_at: Option<PgTime>,
    expired: bool,
}

impl Row {
    fn key(self) -> Result<StoredApiKey, StoreError> {
        let revoked_at = self.revoked_at.map(|at| at.0);
        Ok(StoredApiKey {
            record: ApiKeyRecord {
                id: parsed(&self.id)?,
                name: self.name,
                role: parsed(&self.role)?,
                created_at: self.created_at.0,
                expires_at: self.expires_at.map(|at| at.0),
                revoked_at,
                state: ApiKeyState::of(revoked_at, self.expired),
            },
            digest: self.digest,
        })
    }
}

#[async_trait]
impl ApiKeyStore for PostgresStore {
    async fn create_api_key(&self, key: &NewApiKey) -> Result<ApiKeyRecord, CreateApiKeyRefused> {
        self.bounded(create(self, key)).await
    }

    async fn api_keys(&self, page: &PageRequest) -> Result<Page<ApiKeyRecord>, StoreError> {
        self.bounded(list(self, page)).await
    }

    async fn revoke_api_key(&self, id: ApiKeyId) -> Result<Option<ApiKeyRecord>, StoreError> {
        self.bounded(async {
            let row: Option<Row> = sqlx::query_as(AssertSqlSafe(format!(
                "UPDATE api_keys SET revoked_at = coalesce(revoked_at, clock_timestamp()) \
                 WHERE id = $1 RETURNING {COLUMNS}"
            )))
            .bind(id.to_string())
            .fetch_optional(&self.pool)
            .await
            .map_err(store_error)?;
            Ok(row.map(Row::key).transpose()?.map(|key| key.record))
        })
        .await
    }

    async fn stored_api_key(&self, id: ApiKeyId) -> Result<Option<StoredApiKey>, StoreError> {
        self.bounded(one(&self.pool, id)).await
    }
}

async fn create(
    store: &PostgresStore,
    key: &NewApiKey,
) -> Result<ApiKeyRecord, CreateApiKeyRefused> {
    let mut transaction = store.pool.begin().await.map_err(store_error)?;
    // Whether a name is free depends on the time, which no index knows; so
    // one key is entered after the other. Reads and look-ups go on.
    sqlx::query("LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE")
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
    if let Some(there) = one(&mut *transaction, key.id).await? {
        return Ok(there.record);
    }
    let holder: Option<String> = sqlx::query_scalar(
        "SELECT id FROM api_keys WHERE name = $1 AND revoked_at IS NULL \
         AND (expires_at IS NULL OR expires_at > clock_timestamp()) LIMIT 1",
    )
    .bind(&key.name)
    .fetch_optional(&mut *transaction)
    .await
    .map_err(store_error)?;
    if let Some(holder) = holder {
        return Err(CreateApiKeyRefused::NameTaken {
            name: key.name.clone(),
            holder: parsed(&holder)?,
        });
    }
    let row: Row = sqlx::query_as(AssertSqlSafe(format!(
        "INSERT INTO api_keys (id, name, role, digest, created_at, expires_at) \
         SELECT $1, $2, $3, $4, t.at, t.at + $5 * interval '1 microsecond' \
         FROM (SELECT clock_timestamp() AS at) t RETURNING {COLUMNS}"
    )))
    .bind(key.id.to_string())
    .bind(&key.name)
    .bind(key.role.as_str())
    .bind(&key.digest[..])
    .bind(key.expires_in.map(micros))
    .fetch_one(&mut *transaction)
    .await
    .map_err(store_error)?;
    transaction.commit().await.map_err(store_error)?;
    Ok(row.key()?.record)
}

async fn list(store: &PostgresStore, page: &PageRequest) -> Result<Page<ApiKeyRecord>, StoreError> {
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM api_keys WHERE $1::text IS NULL OR id < $1 \
         ORDER BY id DESC LIMIT $2"
    )))
    .bind(&page.cursor)
    .bind(i64::from(page.limit) + 1)
    .fetch_all(&store.pool)
    .await
    .map_err(store_error)?;
    let records = rows
        .into_iter()
        .map(|row| Ok(row.key()?.record))
        .collect::<Result<Vec<_>, StoreError>>()?;
    Ok(Page::from_rows(records, page.limit, |key| {
        key.id.to_string()
    }))
}

async fn one(
    executor: impl PgExecutor<'_>,
    id: ApiKeyId,
) -> Result<Option<StoredApiKey>, StoreError> {
    let row: Option<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "SELECT {COLUMNS} FROM api_keys WHERE id = $1"
    )))
    .bind(id.to_string())
    .fetch_optional(executor)
    .await
    .map_err(store_error)?;
    row.map(Row::key).transpose()
}
