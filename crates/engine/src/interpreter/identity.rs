//! Who a task visit is: its pointer, how often the flow came by, the index in
//! each loop around it and the attempt of each `try` around it. Two visits of
//! one execution never share an identity, and one visit keeps its identity
//! over every restart of a process.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::frame::{Body, Frame, TaskFrame};
use super::tree::Tree;

/// What the history says of a visit, besides its task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    /// Indices of the loops around the task, outermost first.
    pub iteration: Vec<usize>,
    /// Of the innermost `try` that is around the task; 1 without one.
    pub attempt: u32,
    /// How often the flow has come by in the task's own list.
    pub visit: u32,
}

impl Position {
    /// Of the task in frame `id`.
    pub fn of(tree: &Tree, id: u64) -> Self {
        let task = tree.task(id);
        let mut position = Self {
            iteration: Vec::new(),
            attempt: 0,
            visit: task.map_or(1, |task| task.visit),
        };
        let mut next = task.map(|task| task.parent);
        while let Some(Frame::Task(task)) = next.and_then(|id| tree.get(id)) {
            match &task.body {
                Body::For(body) => position.iteration.push(body.index),
                Body::Listening(body) => position.iteration.push(body.index),
                Body::Try(body) if position.attempt == 0 => position.attempt = body.attempt,
                _ => {}
            }
            next = Some(task.parent);
        }
        position.iteration.reverse();
        position.attempt = position.attempt.max(1);
        position
    }
}

/// What tells one visit of a task from all others of all executions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity([u8; 32]);

impl Identity {
    /// Of the task in frame `id`: a digest of the execution, the pointer, and
    /// the visits, indices and attempts on the way to it.
    pub fn of(execution_id: &str, tree: &Tree, id: u64) -> Self {
        let mut chain: Vec<&TaskFrame> = Vec::new();
        let mut next = id;
        while let Some(Frame::Task(task)) = tree.get(next) {
            chain.push(task);
            next = task.parent;
        }
        let mut text = format!("{execution_id}\n");
        if let Some(task) = chain.first() {
            text.push_str(&task.named().pointer);
        }
        for task in chain.iter().rev() {
            // Writing to a string cannot fail.
            let _ = write!(text, "|{}", task.visit);
            let _ = match &task.body {
                Body::For(body) => write!(text, "i{}", body.index),
                Body::Listening(body) => write!(text, "i{}", body.index),
                Body::Try(body) => write!(text, "a{}", body.attempt),
                _ => Ok(()),
            };
        }
        Self(Sha256::digest(text).into())
    }

    /// The `Idempotency-Key` of the visit's effect: the same when a process
    /// carries it out again after a crash, another for a declared retry.
    pub fn key(self) -> String {
        let mut key = String::with_capacity(64);
        for byte in self.0 {
            let _ = write!(key, "{byte:02x}");
        }
        key
    }

    /// A number that belongs to the visit, for what has to look random.
    pub fn seed(self) -> u64 {
        let bytes = self.0.iter().take(8);
        bytes.fold(0, |seed, byte| (seed << 8) | u64::from(*byte))
    }
}
