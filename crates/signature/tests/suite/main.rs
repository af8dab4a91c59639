//! The crate from outside: what it accepts, refuses and hides.

mod harness;
mod refusals;
mod sealing;
mod spec;
mod vectors;
