//! API keys.

use async_trait::async_trait;
use millrace_store::{
    ApiKeyRecord, ApiKeyState, ApiKeyStore, CreateApiKeyRefused, NewApiKey, Page, PageRequest,
    StoreError, StoredApiKey,
};
use millrace_types::{ApiKeyId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::SqliteStore;
use crate::error::store_error;
use crate::row::Columns;

const COLUMNS: &str =
    "SELECT id, name, role, digest, created_at, expires_at, revoked_at FROM api_keys";

#[async_trait]
impl ApiKeyStore for SqliteStore {
    async fn create_api_key(&self, key: &NewApiKey) -> Result<ApiKeyRecord, CreateApiKeyRefused> {
        let (mut transaction, now) = self.write().await?;
        if let Some(there) = one(&mut transaction, key.id, now).await? {
            return Ok(there.record);
        }
        let holder = sqlx::query(
            "SELECT id FROM api_keys
             WHERE name = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?2)",
        )
        .bind(&key.name)
        .bind(now)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error)?;
        if let Some(holder) = holder {
            return Err(CreateApiKeyRefused::NameTaken {
                name: key.name.clone(),
                holder: holder.parsed("id")?,
            });
        }
        let created_at = Timestamp::from_micros(now);
        let expires_at = key.expires_in.map(|time| created_at.saturating_add(time));
        sqlx::query(
            "INSERT INTO api_keys (id, name, role, digest, created_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(key.id.to_string())
        .bind(&key.name)
        .bind(key.role.as_str())
        .bind(&key.digest[..])
        .bind(now)
        .bind(expires_at.map(Timestamp::as_micros))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        transaction.commit().await.map_err(store_error)?;
        Ok(ApiKeyRecord {
            id: key.id,
            name: key.name.clone(),
            role: key.role,
            created_at,
            expires_at,
            revoked_at: None,
            state: ApiKeyState::of(None, expires_at.is_some_and(|at| at <= created_at)),
        })
    }

    async fn api_keys(&self, page: &PageRequest) -> Result<Page<ApiKeyRecord>, StoreError> {
        let mut connection = self.read().await?;
        let rows = sqlx::query(AssertSqlSafe(format!(
            "{COLUMNS} WHERE ?1 IS NULL OR id < ?1 ORDER BY id DESC LIMIT ?2"
        )))
        .bind(&page.cursor)
        .bind(i64::from(page.limit) + 1)
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
        let now = self.now().as_micros();
        let records = rows
            .iter()
            .map(|row| record(row, now))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Page::from_rows(records, page.limit, |key| {
            key.id.to_string()
        }))
    }

    async fn revoke_api_key(&self, id: ApiKeyId) -> Result<Option<ApiKeyRecord>, StoreError> {
        let (mut transaction, now) = self.write().await?;
        sqlx::query("UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL")
            .bind(id.to_string())
            .bind(now)
            .execute(&mut *transaction)
            .await
            .map_err(store_error)?;
        let key = one(&mut transaction, id, now).await?;
        transaction.commit().await.map_err(store_error)?;
        Ok(key.map(|key| key.record))
    }

    async fn stored_api_key(&self, id: ApiKeyId) -> Result<Option<StoredApiKey>, StoreError> {
        let mut connection = self.read().await?;
        one(&mut connection, id, self.now().as_micros()).await
    }
}

async fn one(
    connection: &mut SqliteConnection,
    id: ApiKeyId,
    now: i64,
) -> Result<Option<StoredApiKey>, StoreError> {
    let row = sqlx::query(AssertSqlSafe(format!("{COLUMNS} WHERE id = ?1")))
        .bind(id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(store_error)?;
    row.map(|row| {
        Ok(StoredApiKey {
            record: record(&row, now)?,
            digest: row.raw("digest")?,
        })
    })
    .transpose()
}

fn record(row: &SqliteRow, now: i64) -> Result<ApiKeyRecord, StoreError> {
    let expires_at = row.time_option("expires_at")?;
    let revoked_at = row.time_option("revoked_at")?;
    let expired = expires_at.is_some_and(|at| at.as_micros() <= now);
    Ok(ApiKeyRecord {
        id: row.parsed("id")?,
        name: row.raw("name")?,
        role: row.parsed("role")?,
        created_at: row.time("created_at")?,
        expires_at,
        revoked_at,
        state: ApiKeyState::of(revoked_at, expired),
    })
}
