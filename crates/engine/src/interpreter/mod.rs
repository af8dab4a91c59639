//! Steps through a workflow, purely: it performs no I/O, reads no clock and
//! awaits nothing. What happens is a function of the document, the state, an
//! event and the time that the caller gives; what comes out is a new state
//! and commands.
//!
//! ```text
//!   Machine::start ─┐                        ┌─▶ Status::Runnable  (call again)
//!   Machine::resume ┴─▶ run(now, steps) ─────┼─▶ Status::Blocked   (commands, timers)
//!                          ▲                 └─▶ Status::Ended     (outcome)
//!      handle(Event) ──────┘
//! ```
//!
//! The state is a tree of frames. It is stored, not replayed: resuming
//! costs what is alive, not what has happened, and [`Machine::take_changes`]
//! gives only the frames that differ from the checkpoint before. Between two
//! steps the state is whole, so that a checkpoint may be taken at any of them.
//!
//! Words: a *visit* is one run of one task; an *effect* is something that a
//! visit needs the outside for; the *ready* frames are the leaves that can go
//! on without anything from outside.

mod begin;
mod correlate;
mod data;
mod effect;
mod emit;
mod end;
mod event;
mod failed;
mod fault;
mod foreach;
mod frame;
mod http;
mod identity;
mod listen;
mod machine;
mod program;
mod retry;
mod scope;
mod timers;
mod tree;
mod try_catch;

#[cfg(test)]
mod tests;

pub use effect::{FailureKind, HttpAnswer, HttpFailure, HttpRequest};
pub use event::{EventKind, HistoryEvent};
pub use fault::{Fault, Standard};
pub use frame::CorruptFrames;
pub use listen::{Listener, ListenerFilter, Received};
pub use machine::{About, Changes, Command, Event, Limits, Machine, Outcome, Status};
pub use program::Program;
