//! A deployment's set of triggers, replaced as a whole.

use std::collections::HashMap;

use millrace_store::{NewDeployment, NewTrigger, StoreError, StoredSlot, trigger_slots};
use millrace_types::{DeploymentId, TriggerId};
use sqlx::{FromRow, PgConnection};

use crate::convert::parsed;
use crate::error::store_error;
use crate::event;
use crate::schedule;

#[derive(FromRow)]
struct Stored {
    id: String,
    slot: String,
    kind: String,
    enabled: bool,
    spec: Vec<u8>,
    secrets_fingerprint: Option<String>,
}

/// Makes the deployment's triggers those of the bundle. Who stays keeps its
/// id, and its revision too, unless it changed or `raise_all` (the deployment
/// takes triggers again). Answers the ids in the order of the bundle.
pub(super) async fn replace(
    connection: &mut PgConnection,
    deployment: DeploymentId,
    bundle: &NewDeployment,
    raise_all: bool,
) -> Result<Vec<TriggerId>, StoreError> {
    let stored: Vec<Stored> = sqlx::query_as(
        "SELECT id, slot, kind, enabled, spec, secrets_fingerprint FROM triggers \
         WHERE deployment_id = $1 ORDER BY slot",
    )
    .bind(deployment.to_string())
    .fetch_all(&mut *connection)
    .await
    .map_err(store_error)?;
    let known: Vec<_> = stored
        .iter()
        .map(|trigger| StoredSlot {
            slot: &trigger.slot,
            spec: &trigger.spec,
        })
        .collect();
    let slots = trigger_slots(&bundle.triggers, &known);
    let mut stored: HashMap<String, Stored> = stored
        .into_iter()
        .map(|trigger| (trigger.slot.clone(), trigger))
        .collect();
    let mut ids = Vec::with_capacity(slots.len());
    let mut raises: Vec<i64> = Vec::with_capacity(slots.len());
    for (slot, new) in slots.iter().zip(&bundle.triggers) {
        match stored.remove(slot) {
            Some(old) => {
                let same = old.kind == new.kind.as_str()
                    && old.enabled == new.enabled
                    && old.spec == new.spec_json.as_bytes()
                    && old.secrets_fingerprint.as_deref() == fingerprint(new);
                ids.push(parsed(&old.id)?);
                raises.push(i64::from(raise_all || !same));
            }
            None => {
                ids.push(TriggerId::new());
                raises.push(0);
            }
        }
    }
    let gone: Vec<String> = stored.into_values().map(|trigger| trigger.id).collect();
    if !gone.is_empty() {
        sqlx::query("DELETE FROM triggers WHERE id = ANY($1)")
            .bind(gone)
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    sqlx::query(
        "INSERT INTO triggers AS t (id, deployment_id, slot, position, kind, name, enabled, spec, \
                                   sealed_secrets, secrets_fingerprint) \
         SELECT x.id, $1, x.slot, x.position, x.kind, x.name, x.enabled, x.spec, x.sealed, \
                x.fingerprint \
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bool[], $7::bytea[], \
                     $9::text[], $10::text[]) \
              WITH ORDINALITY \
              AS x(id, slot, kind, name, enabled, spec, sealed, fingerprint, position) \
         ON CONFLICT (id) DO UPDATE \
         SET position = excluded.position, kind = excluded.kind, name = excluded.name, \
             enabled = excluded.enabled, spec = excluded.spec, \
             sealed_secrets = excluded.sealed_secrets, \
             secrets_fingerprint = excluded.secrets_fingerprint, \
             revision = t.revision + ($8::bigint[])[excluded.position], \
             updated_at = CASE WHEN ($8::bigint[])[excluded.position] > 0 THEN now() \
                          ELSE t.updated_at END",
    )
    .bind(deployment.to_string())
    .bind(ids.iter().map(ToString::to_string).collect::<Vec<_>>())
    .bind(slots)
    .bind(columns(bundle, |t| t.kind.as_str()))
    .bind(columns(bundle, |t| t.name.as_deref()))
    .bind(columns(bundle, |t| t.enabled))
    .bind(columns(bundle, |t| t.spec_json.as_bytes()))
    .bind(raises)
    .bind(columns(bundle, |t| {
        t.secrets.as_ref().map(|s| s.sealed.as_str())
    }))
    .bind(columns(bundle, fingerprint))
    .execute(&mut *connection)
    .await
    .map_err(store_error)?;
    event::replace(connection, deployment, &bundle.triggers, &ids).await?;
    schedule::sync(connection, deployment).await?;
    Ok(ids)
}

fn fingerprint(trigger: &NewTrigger) -> Option<&str> {
    trigger.secrets.as_ref().map(|s| s.fingerprint.as_str())
}

fn columns<'a, C>(bundle: &'a NewDeployment, value: impl Fn(&'a NewTrigger) -> C) -> Vec<C> {
    bundle.triggers.iter().map(value).collect()
}
