//! Workloads: one task each, which owns all that is known of it and makes
//! what is wanted come true.
//!
//! ```text
//!  pending ─▶ validate ─▶ build ─▶ deploy ─▶ running ─▶ stopped
//!     ▲          │          │        │          │
//!     └── retry ─┴──────────┴────────┴──────────┴─────▶ failed
//! ```
//! Calls only change what is wanted, and wake the task; it looks at what is,
//! takes one step, and looks again. So a thousand calls at once come to one
//! outcome, and there is never more than one instance but while one takes
//! over from another.

mod actor;
mod environment;
mod folders;
mod instance;
mod launch;
mod replace;
mod restart;

use millrace_store::{InstanceRecord, WorkloadRecord};
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use actor::Actor;
pub(crate) use environment::inherited;
pub(crate) use launch::keep_of;

/// What a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Start,
    Stop,
    Restart {
        blue_green: bool,
    },
    /// Stop, and let go of the task: it is being deleted.
    Delete,
    /// Stop for as long as this process is away; what is wanted stays.
    Suspend,
}

/// A wish, and who waits for it to be stored: gets its number.
pub(crate) type Call = (Wish, oneshot::Sender<u64>);

/// A workload as it is stored, and what has come of calls.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub record: WorkloadRecord,
    pub project_key: String,
    /// Oldest first.
    pub instances: Vec<InstanceRecord>,
    /// All wishes up to this number have come to their end.
    pub settled: u64,
    pub deleted: bool,
}

/// The way to a workload's task.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub calls: mpsc::Sender<Call>,
    pub view: watch::Receiver<View>,
}

impl Handle {
    /// Resolves once the wish is stored, with its number.
    pub(crate) async fn wish(&self, wish: Wish) -> Option<u64> {
        let (answer, number) = oneshot::channel();
        self.calls.send((wish, answer)).await.ok()?;
        number.await.ok()
    }
}
