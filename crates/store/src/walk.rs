//! How a list of executions finds its rows among millions that have ended.
//!
//! A list walks one index, newest first, and what no index knows is checked
//! row by row. Which index is decided here and not by the database, whose
//! guess may be right today and wrong with other figures. The rows checked are
//! bounded: a page that has looked at so many ends there, with fewer items
//! than asked for, or none, and a cursor from which the next one goes on.

use millrace_types::{DeploymentId, ExecutionStatus, TriggerId, TriggerKind};

use crate::ExecutionFilter;

/// Rows that one page looks at, of the live and of the ended ones, when it
/// has to check what no index knows. 2,000 made a page of 5 million executions
/// take 23 to 30 ms at the 99th percentile on two cores (`make bench-history`).
pub const SCAN_BUDGET: u32 = 1000;

/// One thing that a filter asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Deployment(DeploymentId),
    Status(ExecutionStatus),
    /// Ended, and not well.
    Unsuccessful,
    Trigger(TriggerId),
    Kind(TriggerKind),
    /// Started neither by webhooks nor by hand, which are the most.
    RareKind,
}

/// What leads the walk, and what is checked on the way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Walk {
    /// An index is ordered by these, and then by id.
    pub by: Vec<Wanted>,
    /// Empty when the index knows everything.
    pub rest: Vec<Wanted>,
}

const fn is_rare(kind: TriggerKind) -> bool {
    !matches!(kind, TriggerKind::Webhook | TriggerKind::Manual)
}

impl ExecutionFilter {
    /// `trigger` is what is known of the trigger that the filter names: its
    /// kind and its deployment. Times of creation are not part of it: they
    /// bound the walk itself.
    pub fn walk(&self, trigger: Option<(TriggerKind, DeploymentId)>) -> Walk {
        let unsuccessful = self.unsuccessful
            || self
                .status
                .is_some_and(|s| s.is_ended() && s != ExecutionStatus::Succeeded);
        let mut walk = Walk::default();
        if let Some(id) = self.trigger_id {
            match trigger {
                Some((kind, _)) if is_rare(kind) => {
                    walk.by = vec![Wanted::Trigger(id), Wanted::RareKind];
                }
                // An index over every webhook would cost each of them a write.
                Some((_, deployment)) => {
                    walk.by.push(Wanted::Deployment(deployment));
                    if unsuccessful {
                        walk.by.push(Wanted::Unsuccessful);
                    }
                    walk.rest.push(Wanted::Trigger(id));
                }
                None => walk.rest.push(Wanted::Trigger(id)),
            }
        } else if let Some(id) = self.deployment_id {
            walk.by.push(Wanted::Deployment(id));
            if unsuccessful {
                walk.by.extend(self.status.map(Wanted::Status));
                walk.by.push(Wanted::Unsuccessful);
            }
        } else if let (Some(status), true) = (self.status, unsuccessful) {
            walk.by = vec![Wanted::Status(status), Wanted::Unsuccessful];
        } else if unsuccessful {
            walk.by.push(Wanted::Unsuccessful);
        } else if let Some(kind) = self.trigger
            && is_rare(kind)
        {
            walk.by = vec![Wanted::Kind(kind), Wanted::RareKind];
        }
        let asked = [
            self.deployment_id.map(Wanted::Deployment),
            self.status.map(Wanted::Status),
            self.unsuccessful.then_some(Wanted::Unsuccessful),
            self.trigger.map(Wanted::Kind),
        ];
        for wanted in asked.into_iter().flatten() {
            if !walk.by.contains(&wanted) {
                walk.rest.push(wanted);
            }
        }
        walk
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_index_knows_is_not_checked_again() {
        let id = DeploymentId::new();
        let of_deployment = ExecutionFilter {
            deployment_id: Some(id),
            ..ExecutionFilter::default()
        };
        assert_eq!(of_deployment.walk(None).by, [Wanted::Deployment(id)]);
        assert_eq!(of_deployment.walk(None).rest, []);
        let failed = ExecutionFilter {
            status: Some(ExecutionStatus::Failed),
            ..of_deployment.clone()
        };
        assert_eq!(
            failed.walk(None),
            Walk {
                by: vec![
                    Wanted::Deployment(id),
                    Wanted::Status(ExecutionStatus::Failed),
                    Wanted::Unsuccessful,
                ],
                rest: vec![],
            }
        );
        assert_eq!(ExecutionFilter::default().walk(None), Walk::default());
    }

    #[test]
    fn a_clocked_trigger_has_an_index_and_a_webhook_goes_by_its_deployment() {
        let (trigger, deployment) = (TriggerId::new(), DeploymentId::new());
        let filter = ExecutionFilter {
            trigger_id: Some(trigger),
            ..ExecutionFilter::default()
        };
        let clocked = filter.walk(Some((TriggerKind::Cron, deployment)));
        assert_eq!(clocked.by, [Wanted::Trigger(trigger), Wanted::RareKind]);
        assert_eq!(clocked.rest, []);
        let webhook = filter.walk(Some((TriggerKind::Webhook, deployment)));
        assert_eq!(webhook.by, [Wanted::Deployment(deployment)]);
        assert_eq!(webhook.rest, [Wanted::Trigger(trigger)]);
    }
}
