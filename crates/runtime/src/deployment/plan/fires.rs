//! The occurrences to come, before and after.

use std::collections::BTreeMap;

use millrace_schedule::{Jitter, TriggerSchedule};
use millrace_types::Timestamp;
use serde::Serialize;

use crate::schedule::preview::upcoming;

/// Occurrences of one trigger that are compared at most.
const COUNT: usize = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Fate {
    Kept,
    Added,
    Lost,
    /// The nominal time stays, and jitter moves the start.
    Moved,
}

/// An occurrence to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PlannedFire {
    pub trigger: String,
    pub change: Fate,
    pub nominal_at: String,
    /// When it starts now; `null` when it does not.
    pub before: Option<String>,
    /// When it will start; `null` when it will not, and before the first
    /// deploy, which gives the workflow the id that jitter goes by.
    pub after: Option<String>,
}

/// A schedule of one side.
#[derive(Debug, Clone)]
pub(super) struct Side {
    pub trigger: TriggerSchedule,
    /// From when an interval counts.
    pub anchor: Timestamp,
}

/// Compares what `trigger` will do from `now` on, as far as both sides are
/// looked at.
pub(super) fn compare(
    trigger: &str,
    before: Option<&Side>,
    after: Option<&Side>,
    workflow_id: Option<&str>,
    now: Timestamp,
) -> Vec<PlannedFire> {
    let (before, before_end) = ahead(before, workflow_id, now);
    let (after, after_end) = ahead(after, workflow_id, now);
    let end = before_end.into_iter().chain(after_end).min();
    let mut nominal: Vec<Timestamp> = before.keys().chain(after.keys()).copied().collect();
    nominal.sort_unstable();
    nominal.dedup();
    nominal
        .into_iter()
        .filter(|at| end.is_none_or(|end| *at <= end))
        .map(|at| {
            let (old, new) = (before.get(&at), after.get(&at));
            let change = match (old, new) {
                (Some(old), Some(new)) if old == new => Fate::Kept,
                (Some(_), Some(_)) => Fate::Moved,
                (Some(_), None) => Fate::Lost,
                (None, _) => Fate::Added,
            };
            let text = |effective: Option<&Option<Timestamp>>| {
                effective.copied().flatten().map(|at| at.to_string())
            };
            PlannedFire {
                trigger: trigger.to_owned(),
                change,
                nominal_at: at.to_string(),
                before: text(old),
                after: text(new),
            }
        })
        .collect()
}

/// Nominal to effective times, and up to where they were looked for, if there
/// are more.
fn ahead(
    side: Option<&Side>,
    workflow_id: Option<&str>,
    now: Timestamp,
) -> (BTreeMap<Timestamp, Option<Timestamp>>, Option<Timestamp>) {
    let Some(side) = side else {
        return (BTreeMap::new(), None);
    };
    let schedule = side.trigger.schedule(side.anchor);
    let jitter = workflow_id.map_or_else(Jitter::none, |id| side.trigger.jitter(id));
    let found: BTreeMap<_, _> = upcoming(&schedule, &jitter, side.anchor.min(now), now)
        .take(COUNT)
        .map(|(nominal, effective)| (nominal, workflow_id.map(|_| effective)))
        .collect();
    let end = (found.len() == COUNT)
        .then(|| found.keys().next_back().copied())
        .flatten();
    (found, end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const WORKFLOW: &str = "wfl_01jd0000000000000000000000";

    fn side(cron: &str, window: &str) -> Side {
        let spec = json!({"type": "cron", "cron": cron, "jitterWindow": window});
        Side {
            trigger: TriggerSchedule::parse(&spec, "").unwrap(),
            anchor: now(),
        }
    }

    fn now() -> Timestamp {
        "2026-03-01T00:30:00Z".parse().unwrap()
    }

    fn fates(before: Option<&Side>, after: Option<&Side>) -> Vec<Fate> {
        compare("t", before, after, Some(WORKFLOW), now())
            .into_iter()
            .map(|fire| fire.change)
            .collect()
    }

    #[test]
    fn the_next_fires_are_added_lost_moved_or_kept() {
        let hourly = side("0 * * * *", "PT0S");
        let even = side("0 */2 * * *", "PT0S");
        let spread = side("0 * * * *", "PT5M");
        assert_eq!(fates(Some(&hourly), Some(&hourly)), [Fate::Kept; COUNT]);
        assert_eq!(fates(None, Some(&hourly)), [Fate::Added; COUNT]);
        assert_eq!(fates(Some(&hourly), None), [Fate::Lost; COUNT]);
        assert_eq!(fates(Some(&hourly), Some(&spread)), [Fate::Moved; COUNT]);
        // Compared as far as the denser one was looked at.
        let halved = fates(Some(&hourly), Some(&even));
        assert_eq!(halved, [Fate::Lost, Fate::Kept].repeat(COUNT / 2));
    }

    #[test]
    fn before_the_first_deploy_nobody_knows_the_jitter() {
        let new = compare("t", None, Some(&side("0 * * * *", "PT5M")), None, now());
        assert!(new.iter().all(|fire| fire.after.is_none()), "{new:?}");
        assert_eq!(new[0].nominal_at, "2026-03-01T01:00:00.000000Z");
    }
}
