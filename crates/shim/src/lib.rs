//! The shim: one small process for each instance of a workload. It starts the
//! program, owns the other ends of its pipes, writes its log, reaps it with
//! all its descendants, keeps its exit status, and answers on a socket. The
//! orchestrator can be killed and upgraded meanwhile; when the shim dies, the
//! program dies with it.
//!
//! ```text
//!  orchestrator ──socket──▶ shim ──fork──▶ program ─▶ its descendants
//!        │  (stop, state)    │ ◀──pipes────────┘          │
//!        │                   ├──▶ segments of the log     │ orphans come to
//!        └── reads ──────────┴──▶ exit                    ┘ the shim (subreaper)
//! ```
//!
//! It has two threads and no runtime: one polls pipes, socket and signals; one
//! writes the log, so that a disk that is slow stalls neither of the others.
//! The memory of both is bounded, and small while nothing happens.
//!
//! As a library, this crate is what both sides agree on: [`launch`] (what to
//! start), [`wire`] (what is said on the socket), [`log`] and [`record`] (how
//! the log lies on disk).

pub mod exit;
pub mod launch;
pub mod lines;
pub mod log;
pub mod pipe;
pub mod queue;
pub mod reader;
pub mod record;
pub mod run;
pub mod sum;
pub mod sys;
pub mod tree;
pub mod wire;
