//! Statuses of deployments and executions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name that stands for no member of the set it was read as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not one of {expected}")]
pub struct UnknownName {
    pub(crate) name: String,
    pub(crate) expected: &'static str,
}

macro_rules! names {
    ($(#[$doc:meta])* $name:ident, $expected:literal { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            /// All members, in the order of their life.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownName;
            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownName { name: text.to_owned(), expected: $expected }),
                }
            }
        }
    };
}

names! {
    /// Whether a deployment takes triggers.
    DeploymentStatus, "DRAFT, DEPLOYED, PAUSED, ARCHIVED" {
        /// Stored, but not live yet.
        Draft = "DRAFT",
        /// Live: its triggers start executions.
        Deployed = "DEPLOYED",
        /// Its triggers are refused until it is resumed; what runs goes on.
        Paused = "PAUSED",
        /// Deleted by its owner; its history stays.
        Archived = "ARCHIVED",
    }
}

names! {
    /// Where an execution stands.
    ExecutionStatus, "PENDING, RUNNING, WAITING, SUCCEEDED, FAILED, CANCELLED, TIMED_OUT" {
        /// Admitted, and for any instance to take.
        Pending = "PENDING",
        /// A process owns it and works on it.
        Running = "RUNNING",
        /// Nothing to do until a timer or an event.
        Waiting = "WAITING",
        Succeeded = "SUCCEEDED",
        Failed = "FAILED",
        Cancelled = "CANCELLED",
        TimedOut = "TIMED_OUT",
    }
}

impl ExecutionStatus {
    /// Whether it will never change again.
    pub const fn is_ended(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut
        )
    }

    /// Whether an execution may go from this status straight to `next`.
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Self::Pending | Self::Waiting => {
                matches!(next, Self::Running | Self::Cancelled | Self::TimedOut)
            }
            // RUNNING → PENDING is a takeover or a release by its owner.
            Self::Running => !matches!(next, Self::Running),
            _ => false,
        }
    }
}

names! {
    /// What starts executions.
    TriggerKind, "manual, webhook, cron, interval, once, event" {
        Manual = "manual",
        Webhook = "webhook",
        Cron = "cron",
        Interval = "interval",
        Once = "once",
        Event = "event",
    }
}

names! {
    /// Where a workload stands.
    WorkloadStage, "pending, validate, build, deploy, running, stopped, failed" {
        /// Wanted, and not begun.
        Pending = "pending",
        /// Its service.json is read.
        Validate = "validate",
        /// What it needs is installed or compiled.
        Build = "build",
        /// Its process is started, and not ready yet.
        Deploy = "deploy",
        Running = "running",
        Stopped = "stopped",
        /// It could not be started, or ended too often.
        Failed = "failed",
    }
}

impl WorkloadStage {
    /// Whether nothing is under way towards what is wanted.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Running | Self::Stopped | Self::Failed)
    }

    /// Whether a workload may go from this stage straight to `next`.
    pub const fn may_become(self, next: Self) -> bool {
        match next {
            // A start or a restart, which may come at any time.
            Self::Pending => !matches!(self, Self::Pending),
            Self::Validate => matches!(self, Self::Pending),
            Self::Build => matches!(self, Self::Validate),
            Self::Deploy => matches!(self, Self::Build),
            Self::Running => matches!(self, Self::Deploy),
            // A stop may come at any time; so may what goes wrong.
            Self::Stopped => !matches!(self, Self::Stopped),
            Self::Failed => !matches!(self, Self::Failed | Self::Stopped),
        }
    }
}

names! {
    /// What is wanted of a workload, whatever it is.
    DesiredState, "running, stopped" {
        Running = "running",
        Stopped = "stopped",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_runs_only_after_each_stage_before() {
        use WorkloadStage as S;
        let path = [S::Pending, S::Validate, S::Build, S::Deploy, S::Running];
        for pair in path.windows(2) {
            assert!(pair[0].may_become(pair[1]));
        }
        for from in S::ALL {
            assert_eq!(from.may_become(S::Running), *from == S::Deploy);
            assert!(!from.may_become(*from), "{from} to itself");
            assert_eq!(from.as_str().parse::<S>().unwrap(), *from);
        }
        assert!(
            !S::Stopped.may_become(S::Failed),
            "who stopped has not failed"
        );
    }

    #[test]
    fn names_are_read_back() {
        for status in ExecutionStatus::ALL {
            assert_eq!(status.as_str().parse::<ExecutionStatus>().unwrap(), *status);
        }
        let error = "DONE".parse::<ExecutionStatus>().unwrap_err();
        assert!(error.to_string().contains("SUCCEEDED"), "{error}");
    }

    #[test]
    fn an_ended_execution_never_moves_again() {
        for from in ExecutionStatus::ALL.iter().filter(|s| s.is_ended()) {
            for to in ExecutionStatus::ALL {
                assert!(!from.may_become(*to), "{from} → {to}");
            }
        }
    }

    #[test]
    fn only_a_running_execution_succeeds() {
        for from in ExecutionStatus::ALL {
            assert_eq!(
                from.may_become(ExecutionStatus::Succeeded),
                *from == ExecutionStatus::Running
            );
        }
    }
}
