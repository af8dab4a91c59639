//! The set of triggers of a deployment, replaced by that of a bundle.

use std::collections::{HashMap, HashSet};

use millrace_store::{
    DeployRefused, NewTrigger, StoreError, StoredSlot, WebhookRoute, trigger_slots,
};
use millrace_types::{DeploymentId, TriggerId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::error::store_error;
use crate::event;
use crate::row::Columns;
use crate::rows::json;
use crate::schedule;

const HOLDERS: &str = "
    SELECT r.shape, r.method, t.deployment_id
    FROM webhook_routes r JOIN triggers t ON t.id = r.trigger_id
    WHERE r.shape IN (SELECT value FROM json_each(?1)) AND t.deployment_id <> ?2";

const STORED: &str = "
    SELECT t.id, t.slot, t.kind, t.enabled, t.spec, t.revision, t.secrets_fingerprint,
        (SELECT json_group_array(json_array(r.shape, r.method, r.path))
         FROM (SELECT * FROM webhook_routes WHERE trigger_id = t.id ORDER BY shape, method) r)
        AS routes
    FROM triggers t WHERE t.deployment_id = ?1";

const UPSERT: &str = "
    INSERT INTO triggers (id, deployment_id, slot, position, kind, name, enabled, spec, revision,
        created_at, updated_at, sealed_secrets, secrets_fingerprint)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12)
    ON CONFLICT (id) DO UPDATE SET position = excluded.position, kind = excluded.kind,
        enabled = excluded.enabled, spec = excluded.spec,
        sealed_secrets = excluded.sealed_secrets,
        secrets_fingerprint = excluded.secrets_fingerprint, updated_at = iif(
            revision = excluded.revision, updated_at, excluded.updated_at),
        revision = excluded.revision";

/// Refuses a bundle whose webhooks clash with another deployment's, or with
/// each other.
pub async fn check_routes(
    connection: &mut SqliteConnection,
    deployment: DeploymentId,
    triggers: &[NewTrigger],
) -> Result<(), DeployRefused> {
    let shapes: Vec<_> = triggers
        .iter()
        .filter_map(|trigger| Some(&trigger.route.as_ref()?.shape))
        .collect();
    if shapes.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(HOLDERS)
        .bind(json(&shapes))
        .bind(deployment.to_string())
        .fetch_all(connection)
        .await
        .map_err(store_error)?;
    let mut holders: HashMap<(String, String), DeploymentId> = HashMap::new();
    for row in rows {
        let route = (row.raw("shape")?, row.raw("method")?);
        holders.insert(route, row.parsed("deployment_id")?);
    }
    for (index, trigger) in triggers.iter().enumerate() {
        let Some(route) = &trigger.route else {
            continue;
        };
        for method in &route.methods {
            // From here on it is this deployment's own.
            let taken = holders.insert((route.shape.clone(), method.clone()), deployment);
            if let Some(holder) = taken {
                return Err(DeployRefused::PathTaken {
                    trigger: index,
                    path: route.path.clone(),
                    method: method.clone(),
                    holder,
                });
            }
        }
    }
    Ok(())
}

/// A trigger as it is stored.
struct Stored {
    id: TriggerId,
    kind: String,
    enabled: bool,
    spec: String,
    routes: String,
    secrets_fingerprint: Option<String>,
    revision: u64,
}

impl Stored {
    fn read(row: &SqliteRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.parsed("id")?,
            kind: row.raw("kind")?,
            enabled: row.raw("enabled")?,
            spec: row.text("spec")?,
            routes: row.raw("routes")?,
            secrets_fingerprint: row.raw("secrets_fingerprint")?,
            revision: row.number("revision")?,
        })
    }

    fn equals(&self, new: &NewTrigger) -> bool {
        self.kind == new.kind.as_str()
            && self.enabled == new.enabled
            && self.spec == new.spec_json
            && self.secrets_fingerprint.as_ref() == new.secrets.as_ref().map(|s| &s.fingerprint)
            && self.routes == routes_json(new.route.as_ref())
    }
}

fn slots_of(stored: &HashMap<String, Stored>) -> Vec<StoredSlot<'_>> {
    let mut slots: Vec<_> = stored
        .iter()
        .map(|(slot, trigger)| StoredSlot {
            slot,
            spec: trigger.spec.as_bytes(),
        })
        .collect();
    slots.sort_unstable_by_key(|stored| stored.slot);
    slots
}

/// The routes as [`STORED`] shows them.
fn routes_json(route: Option<&WebhookRoute>) -> String {
    let mut rows: Vec<_> = route
        .iter()
        .flat_map(|route| route.methods.iter().map(|m| (&route.shape, m, &route.path)))
        .collect();
    rows.sort();
    json(&rows)
}

/// Replaces the triggers and their routes. `raise` raises every revision,
/// since whether the deployment takes triggers has changed.
pub async fn replace(
    connection: &mut SqliteConnection,
    deployment: DeploymentId,
    triggers: &[NewTrigger],
    raise: bool,
    now: i64,
) -> Result<(), StoreError> {
    let rows = sqlx::query(STORED)
        .bind(deployment.to_string())
        .fetch_all(&mut *connection)
        .await
        .map_err(store_error)?;
    let mut stored = HashMap::new();
    for row in &rows {
        stored.insert(row.raw::<String>("slot")?, Stored::read(row)?);
    }
    let slots = trigger_slots(triggers, &slots_of(&stored));
    let kept: HashSet<_> = slots.iter().collect();
    let gone: Vec<_> = stored
        .iter()
        .filter(|(slot, _)| !kept.contains(slot))
        .map(|(_, trigger)| trigger.id)
        .collect();
    // Routes first, since two triggers may have changed places.
    for statement in [
        "DELETE FROM webhook_routes
         WHERE trigger_id IN (SELECT id FROM triggers WHERE deployment_id = ?1)",
        "DELETE FROM triggers
         WHERE deployment_id = ?1 AND id IN (SELECT value FROM json_each(?2))",
    ] {
        sqlx::query(statement)
            .bind(deployment.to_string())
            .bind(json(&gone))
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
    }
    event::forget(connection, deployment).await?;
    for (position, (slot, new)) in slots.iter().zip(triggers).enumerate() {
        let old = stored.get(slot);
        let id = old.map_or_else(TriggerId::new, |old| old.id);
        let revision = old.map_or(1, |old| old.revision + u64::from(raise || !old.equals(new)));
        sqlx::query(UPSERT)
            .bind(id.to_string())
            .bind(deployment.to_string())
            .bind(slot)
            .bind(i64::try_from(position).unwrap_or(i64::MAX))
            .bind(new.kind.as_str())
            .bind(&new.name)
            .bind(new.enabled)
            .bind(new.spec_json.as_bytes())
            .bind(revision.cast_signed())
            .bind(now)
            .bind(new.secrets.as_ref().map(|s| &s.sealed))
            .bind(new.secrets.as_ref().map(|s| &s.fingerprint))
            .execute(&mut *connection)
            .await
            .map_err(store_error)?;
        insert_routes(connection, id, new).await?;
        event::note(connection, id, new).await?;
    }
    schedule::sync(connection, deployment, now).await
}

async fn insert_routes(
    connection: &mut SqliteConnection,
    trigger: TriggerId,
    new: &NewTrigger,
) -> Result<(), StoreError> {
    let Some(route) = &new.route else {
        return Ok(());
    };
    for method in &route.methods {
        sqlx::query(
            "INSERT INTO webhook_routes (shape, method, path, trigger_id) VALUES (?1, ?2, ?3, ?4)",
        )
        .bind(&route.shape)
        .bind(method)
        .bind(&route.path)
        .bind(trigger.to_string())
        .execute(&mut *connection)
        .await
        .map_err(store_error)?;
    }
    Ok(())
}
