//! The statements of admission, and the rows that they answer.

use sqlx::FromRow;

use crate::convert::day;
use crate::time::PgTime;

/// Joins what was asked with what is stored, and says why not. It takes
/// `asked`, the unnested columns, and gives `judged`. The lease of the owner
/// is judged here, in the statement that writes the row.
///
/// `limited` is a further reason: where concurrency is limited, admissions go
/// another way, and cost the others nothing.
macro_rules! judged {
    ($asked:expr, $more:expr, $limited:expr) => {
        concat!(
            "WITH judged AS MATERIALIZED ( \
                 SELECT a.*, w.workflow_id, w.current_version, w.deployment_status, ",
            $more,
            "        CASE WHEN w.deployment_id IS NULL THEN 'unknown' \
                          WHEN w.deployment_status <> 'DEPLOYED' THEN 'not live' \
                          WHEN a.trigger_id IS NOT NULL \
                               AND t.revision IS DISTINCT FROM a.revision THEN 'stale' \
                          WHEN NOT t.enabled THEN 'disabled' ",
            $limited,
            "            END AS refusal \
                 FROM ",
            $asked,
            "    LEFT JOIN workflows w ON w.deployment_id = a.deployment_id \
                 LEFT JOIN triggers t \
                     ON t.id = a.trigger_id AND t.deployment_id = a.deployment_id \
                 LEFT JOIN incarnations i \
                     ON i.id = a.owner AND i.expires_at > clock_timestamp()) "
        )
    };
}

/// Sends admissions of limited deployments the other way.
macro_rules! unlimited {
    () => {
        "WHEN w.concurrency IS NOT NULL THEN 'limited' "
    };
}

macro_rules! take_keys {
    ($limited:expr) => {
        concat!(
    judged!(
        "unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], \
                array_fill(NULL::text, ARRAY[cardinality($1)])) WITH ORDINALITY \
         AS a(id, deployment_id, trigger_id, revision, key, keep, owner, ord)",
        "",
        $limited
    ),
    ", taken AS ( \
         INSERT INTO dedupe AS d (deployment_id, key, execution_id, workflow_id, version, \
                                  admitted_at, expires_at) \
         SELECT DISTINCT ON (deployment_id, key) deployment_id, key, id, workflow_id, \
                current_version, now(), now() + keep * interval '1 microsecond' \
         FROM judged WHERE refusal IS NULL \
         ORDER BY deployment_id, key, ord \
         ON CONFLICT (deployment_id, key) DO UPDATE \
         SET execution_id = excluded.execution_id, workflow_id = excluded.workflow_id, \
             version = excluded.version, admitted_at = excluded.admitted_at, \
             expires_at = excluded.expires_at \
         WHERE d.expires_at <= now() \
         RETURNING deployment_id, key, execution_id) \
     SELECT NULL::bigint AS ord, NULL::text AS refusal, NULL::text AS deployment_status, \
            deployment_id, key, execution_id AS id FROM taken \
     UNION ALL \
     SELECT ord, refusal, deployment_status, NULL, NULL, NULL FROM judged \
     WHERE refusal IS NOT NULL"
        )
    };
}

/// $1 id, $2 deployment, $3 trigger, $4 revision, $5 key, $6 µs to keep.
///
/// Only what would be admitted may take a key. A row that has run out is
/// overwritten; a row that stands stays, and its key is not among the answers.
pub(super) const TAKE_KEYS: &str = take_keys!(unlimited!());

/// As [`TAKE_KEYS`], for admissions to limited deployments.
pub(super) const TAKE_KEYS_LIMITED: &str = take_keys!("");

/// An answer of [`TAKE_KEYS`]: a key that was taken, or a refusal.
#[derive(FromRow)]
pub(super) struct KeyRow {
    /// Counts from 1; set for a refusal.
    pub ord: Option<i64>,
    pub refusal: Option<String>,
    pub deployment_status: Option<String>,
    pub deployment_id: Option<String>,
    pub key: Option<String>,
    pub id: Option<String>,
}

/// What an execution takes over of its deployment's settings.
macro_rules! settings {
    ($more:expr) => {
        concat!(
            $more,
            "now() + w.start_timeout * interval '1 microsecond' AS start_by, \
             now() + w.total_timeout * interval '1 microsecond' AS deadline_at, \
             w.idle_timeout, w.keep_succeeded, w.keep_failed, "
        )
    };
}

/// The rows of `fresh`, and the refusals of `judged`.
macro_rules! inserted {
    () => {
        " SELECT NULL::bigint AS ord, NULL::text AS refusal, NULL::text AS deployment_status, \
                 id, workflow_id, version, status, created_at, owner, epoch, deadline_at, \
                 idle_timeout FROM fresh \
          UNION ALL \
          SELECT ord, refusal, deployment_status, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
                 NULL \
          FROM judged WHERE refusal IS NOT NULL"
    };
}

/// $1 id, $2 deployment, $3 trigger kind, $4 trigger, $5 revision, $6 input,
/// $7 owner, $8 traceparent, $9 rerun of, $10 its version. Inserted in the order of ids, as
/// everyone locks them.
pub(super) const INSERT: &str = concat!(
    judged!(
        "unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[], \
                $7::text[], $8::text[], $9::text[], $10::int[]) WITH ORDINALITY \
         AS a(id, deployment_id, trigger_kind, trigger_id, revision, input, owner, traceparent, \
              rerun_of, rerun_version, ord)",
        settings!("i.id AS living_owner, "),
        unlimited!()
    ),
    ", fresh AS ( \
         INSERT INTO executions (id, deployment_id, workflow_id, version, status, trigger_kind, \
                                 trigger_id, owner, epoch, wake_at, created_at, started_at, \
                                 start_by, deadline_at, idle_timeout, keep_succeeded, \
                                 keep_failed, traceparent, rerun_of, input) \
         SELECT DISTINCT ON (id) id, deployment_id, workflow_id, \
                coalesce(rerun_version, current_version), \
                CASE WHEN living_owner IS NULL THEN 'PENDING' ELSE 'RUNNING' END, trigger_kind, \
                trigger_id, living_owner, CASE WHEN living_owner IS NULL THEN 0 ELSE 1 END, \
                CASE WHEN living_owner IS NULL THEN now() END, now(), \
                CASE WHEN living_owner IS NOT NULL THEN now() END, start_by, deadline_at, \
                idle_timeout, keep_succeeded, keep_failed, traceparent, rerun_of, input \
         FROM judged WHERE refusal IS NULL \
         ORDER BY id, ord \
         ON CONFLICT (id) DO NOTHING \
         RETURNING id, workflow_id, version, status, created_at, owner, epoch, deadline_at, \
                   idle_timeout)",
    inserted!()
);

/// As [`INSERT`], with $11 slot keys: who has one queues, due by its deadline
/// if not before. Slots are given out afterwards.
pub(super) const INSERT_LIMITED: &str = concat!(
    judged!(
        "unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bytea[], \
                $7::text[], $8::text[], $9::text[], $10::int[], $11::text[]) WITH ORDINALITY \
         AS a(id, deployment_id, trigger_kind, trigger_id, revision, input, owner, traceparent, \
              rerun_of, rerun_version, slot_key, ord)",
        settings!(""),
        ""
    ),
    ", fresh AS ( \
         INSERT INTO executions (id, deployment_id, workflow_id, version, status, trigger_kind, \
                                 trigger_id, epoch, wake_at, created_at, start_by, deadline_at, \
                                 idle_timeout, keep_succeeded, keep_failed, slot_key, \
                                 traceparent, rerun_of, input) \
         SELECT DISTINCT ON (id) id, deployment_id, workflow_id, \
                coalesce(rerun_version, current_version), 'PENDING', trigger_kind, \
                trigger_id, 0, \
                CASE WHEN slot_key IS NULL THEN now() \
                     ELSE least(start_by, deadline_at, timestamptz '9999-01-01 00:00:00+00') END, \
                now(), start_by, deadline_at, idle_timeout, keep_succeeded, keep_failed, \
                slot_key, traceparent, rerun_of, input \
         FROM judged WHERE refusal IS NULL \
         ORDER BY id, ord \
         ON CONFLICT (id) DO NOTHING \
         RETURNING id, workflow_id, version, status, created_at, owner, epoch, deadline_at, \
                   idle_timeout)",
    inserted!()
);

/// An answer of [`INSERT`]: a row that was inserted, or a refusal.
#[derive(FromRow)]
pub(super) struct InsertRow {
    /// Counts from 1; set for a refusal, when all else is not.
    pub ord: Option<i64>,
    pub refusal: Option<String>,
    pub deployment_status: Option<String>,
    pub id: Option<String>,
    pub workflow_id: Option<String>,
    pub version: Option<i32>,
    pub status: Option<String>,
    pub created_at: Option<PgTime>,
    pub owner: Option<String>,
    pub epoch: Option<i64>,
    pub deadline_at: Option<PgTime>,
    pub idle_timeout: Option<i64>,
}

/// $1 ids: those of them that ended between two days, counted from 1970-01-01.
pub(super) fn ended(first: i32, last: i32) -> String {
    format!(
        "SELECT id, workflow_id, version, \
                CASE WHEN status = 'CANCELLED' AND ended_at = created_at THEN 'CANCELLED' \
                     WHEN started_at = created_at THEN 'RUNNING' ELSE 'PENDING' END AS status, \
                created_at, NULL::text AS owner, epoch \
         FROM executions_ended WHERE id = ANY($1) \
           AND ended_day BETWEEN {} AND {}",
        day(first),
        day(last)
    )
}

/// $1 ids: those of them that are live.
pub(super) const LIVE: &str = "SELECT id, workflow_id, version, \
            CASE WHEN started_at = created_at THEN 'RUNNING' ELSE 'PENDING' END AS status, \
            created_at, owner, epoch \
     FROM executions WHERE id = ANY($1)";

/// An execution that was there before. Its status is that of its admission: it
/// was RUNNING when it was started in the same transaction.
#[derive(FromRow)]
pub(super) struct FoundRow {
    pub id: String,
    pub workflow_id: String,
    pub version: i32,
    pub status: String,
    pub created_at: PgTime,
    pub owner: Option<String>,
    pub epoch: i64,
}

/// $1 places, $2 deployments, $3 keys: whose answer each key holds.
pub(super) const KEYS: &str = "SELECT a.at, d.execution_id, d.workflow_id, d.version, d.admitted_at \
     FROM unnest($1::bigint[], $2::text[], $3::text[]) AS a(at, deployment_id, key) \
     JOIN dedupe d ON d.deployment_id = a.deployment_id AND d.key = a.key \
     WHERE d.expires_at > now()";

/// A key that was taken before.
#[derive(FromRow)]
pub(super) struct HolderRow {
    pub at: i64,
    pub execution_id: String,
    pub workflow_id: String,
    pub version: i32,
    pub admitted_at: PgTime,
}

/// $1 deployments, $2 keys, $3 executions: gives keys back.
pub(super) const FREE_KEYS: &str = "DELETE FROM dedupe d USING unnest($1::text[], $2::text[], $3::text[]) \
         AS x(deployment_id, key, execution_id) \
     WHERE d.deployment_id = x.deployment_id AND d.key = x.key \
       AND d.execution_id = x.execution_id";
