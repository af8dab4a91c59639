//! The frames that failed executions keep.

use millrace_store::execution::frames_from_json;
use millrace_store::{Admission, StoreError};
use millrace_types::ExecutionId;
use sqlx::PgConnection;

use crate::PostgresStore;
use crate::convert::first_day;
use crate::error::{Failure, store_error};

pub(super) async fn keeps(store: &PostgresStore, id: ExecutionId) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM executions_ended \
                        WHERE id = $1 AND ended_day >= date '1970-01-01' + $2 \
                          AND kept_frames IS NOT NULL)",
    )
    .bind(id.to_string())
    .bind(first_day(id.minted_at()))
    .fetch_one(&store.pool)
    .await
    .map_err(store_error)
}

/// Gives an execution that was just inserted the frames of its original.
pub(super) async fn copy(
    connection: &mut PgConnection,
    admission: &Admission,
) -> Result<(), Failure> {
    let Some(original) = admission.rerun_of.filter(|original| original.from_failed) else {
        return Ok(());
    };
    let kept: Option<Vec<u8>> = sqlx::query_scalar(
        "SELECT kept_frames FROM executions_ended \
         WHERE id = $1 AND ended_day >= date '1970-01-01' + $2 AND kept_frames IS NOT NULL",
    )
    .bind(original.id.to_string())
    .bind(first_day(original.id.minted_at()))
    .fetch_optional(&mut *connection)
    .await?;
    let Some(kept) = kept else {
        let gone = format!("execution {} keeps no frames", original.id);
        return Err(StoreError::Rejected(gone).into());
    };
    let frames = frames_from_json(&kept)?;
    sqlx::query(
        "INSERT INTO frames (execution_id, id, data) \
         SELECT $1, * FROM unnest($2::bigint[], $3::bytea[])",
    )
    .bind(admission.id.to_string())
    .bind(
        frames
            .iter()
            .map(|f| f.id.cast_signed())
            .collect::<Vec<_>>(),
    )
    .bind(frames.iter().map(|f| &f.data[..]).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}
