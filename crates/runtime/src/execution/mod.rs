//! The life of executions: who owns them, who runs them, how they end.
//!
//! ```text
//!            admit                      checkpoint (fenced)
//!  caller ──────────▶ RUNNING, owned ◀────────────────────┐
//!             │           │  └──────── engine ────────────┘
//!     no slot │           ├─ suspended ─▶ WAITING ─ due ─┐
//!             ▼           └─ end ─▶ executions_ended     │
//!          PENDING ◀── owner died, or released           │
//!             └──────────────── claim ◀──────────────────┘
//! ```

pub(crate) mod cancel;
pub(crate) mod claim;
pub(crate) mod coordinator;
pub(crate) mod definitions;
pub(crate) mod engine_client;
pub(crate) mod job;
pub(crate) mod lease;
pub(crate) mod limits;
pub(crate) mod overdue;
pub(crate) mod query;
pub(crate) mod rerun;
pub(crate) mod run;
pub(crate) mod slot_keys;
pub(crate) mod waiters;
pub(crate) mod watch;

pub use coordinator::ExecutionCoordinator;
pub use engine_client::EngineClient;
pub use slot_keys::JqSlotKeys;
