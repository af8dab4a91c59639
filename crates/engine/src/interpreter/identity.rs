//! Who a task visit is: its pointer, how often the flow came by, the index in
//! each loop around it and the attempt of each `try` around it. Two visits of
//! one execution never share an identity, and one visit keeps its identity
//! over every restart of a process.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::frame::{Body, Frame, TaskFrame};
use super::tree::Tree;

/// What tells one visit of a task from all others of the execution.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Visit {
    /// Indices of the loops around the task, outermost first.
    pub iteration: Vec<usize>,
    /// Of the innermost `try` that is around the task; 1 without one.
    pub attempt: u32,
    /// How often the flow has come by in the task's own list.
    pub visit: u32,
    /// Pointer, visits, indices and attempts in a fixed spelling.
    path: String,
}

impl Visit {
    /// Of the task in frame `id`.
    pub fn of(tree: &Tree, id: u64) -> Self {
        let mut chain: Vec<&TaskFrame> = Vec::new();
        let mut next = id;
        while let Some(Frame::Task(task)) = tree.get(next) {
            chain.push(task);
            next = task.parent;
        }
        let mut visit = Self {
            attempt: 1,
            visit: chain.first().map_or(1, |task| task.visit),
            ..Self::default()
        };
        let Some((task, ancestors)) = chain.split_first() else {
            return visit;
        };
        visit.path.push_str(&task.named().pointer);
        for ancestor in ancestors.iter().rev() {
            let path = &mut visit.path;
            // Writing to a string cannot fail.
            let _ = write!(path, "|{}", ancestor.visit);
            match &ancestor.body {
                Body::For(body) => {
                    let _ = write!(path, "i{}", body.index);
                    visit.iteration.push(body.index);
                }
                Body::Try(body) => {
                    let _ = write!(path, "a{}", body.attempt);
                    visit.attempt = body.attempt;
                }
                Body::Ready | Body::Effect | Body::Answered | Body::Waiting(_) | Body::Do => {}
            }
        }
        let _ = write!(visit.path, "|{}", task.visit);
        visit
    }

    fn digest(&self, execution_id: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(execution_id);
        hash.update("\n");
        hash.update(&self.path);
        hash.finalize().into()
    }

    /// The `Idempotency-Key` of the visit's effect: the same when a process
    /// carries it out again after a crash, another for a declared retry.
    pub fn idempotency_key(&self, execution_id: &str) -> String {
        let mut key = String::with_capacity(64);
        for byte in self.digest(execution_id) {
            let _ = write!(key, "{byte:02x}");
        }
        key
    }

    /// A number that belongs to the visit, for what has to look random.
    pub fn seed(&self, execution_id: &str) -> u64 {
        let digest = self.digest(execution_id);
        digest
            .iter()
            .take(8)
            .fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
    }
}
