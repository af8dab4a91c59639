//! The frames that failed executions keep.

use millrace_store::execution::frames_from_json;
use millrace_store::{Admission, StoreError};
use millrace_types::ExecutionId;
use sqlx::SqliteConnection;

use crate::SqliteStore;
use crate::error::store_error;
use crate::rows::{Part, Rows};

const KEEPS: &str = "
    SELECT EXISTS (SELECT 1 FROM executions_ended WHERE id = ?1 AND kept_frames IS NOT NULL)";

const KEPT: &str =
    "SELECT kept_frames FROM executions_ended WHERE id = ?1 AND kept_frames IS NOT NULL";

const COPY: &str = "
    INSERT INTO frames (execution_id, id, data)
    SELECT ?1, r.value ->> 0,
        ifnull(substr(?3, r.value ->> '$[1][0]', r.value ->> '$[1][1]'), x'')
    FROM json_each(?2) r";

impl SqliteStore {
    pub(crate) async fn has_kept_frames(&self, id: ExecutionId) -> Result<bool, StoreError> {
        sqlx::query_scalar(KEEPS)
            .bind(id.to_string())
            .fetch_one(&self.readers)
            .await
            .map_err(store_error)
    }
}

/// Gives an execution that was just inserted the frames of its original.
pub async fn copy(
    connection: &mut SqliteConnection,
    admission: &Admission,
) -> Result<(), StoreError> {
    let Some(original) = admission.rerun_of.filter(|original| original.from_failed) else {
        return Ok(());
    };
    let kept: Option<Vec<u8>> = sqlx::query_scalar(KEPT)
        .bind(original.id.to_string())
        .fetch_optional(&mut *connection)
        .await
        .map_err(store_error)?;
    let kept = kept.ok_or_else(|| {
        StoreError::Rejected(format!("execution {} keeps no frames", original.id))
    })?;
    let mut rows: Rows<(i64, Part)> = Rows::new();
    for frame in frames_from_json(&kept)? {
        let data = rows.payload(&frame.data);
        rows.push((frame.id.cast_signed(), data));
    }
    let (rows, data) = rows.into_parameters();
    sqlx::query(COPY)
        .bind(admission.id.to_string())
        .bind(rows)
        .bind(data)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(store_error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::assert_searches;

    #[tokio::test]
    async fn kept_frames_are_found_by_their_execution() {
        assert_searches(&[KEEPS, KEPT, COPY]).await;
    }
}
