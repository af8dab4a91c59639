use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnknownChoice;

/// What happens to an occurrence that is due while a run of the same schedule
/// is still going on. A deployment's own `concurrency` applies after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OverlapPolicy {
    /// Both run.
    Allow,
    /// The new occurrence does not run.
    #[default]
    Skip,
    /// The new one runs once the old one has ended.
    Queue,
    /// The old one is cancelled; the new one runs.
    Cancel,
}

impl OverlapPolicy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::Cancel => "cancel",
        }
    }
}

impl fmt::Display for OverlapPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OverlapPolicy {
    type Err = UnknownChoice;

    fn from_str(name: &str) -> Result<Self, UnknownChoice> {
        [Self::Allow, Self::Skip, Self::Queue, Self::Cancel]
            .into_iter()
            .find(|policy| policy.as_str() == name)
            .ok_or_else(|| UnknownChoice {
                name: name.to_owned(),
                choices: "allow, skip, queue, cancel",
            })
    }
}
