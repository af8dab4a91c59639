//! The gateway from the outside. The runtime behind it is a stand-in that
//! answers as each test says; the real one has tests of its own.

mod access;
mod deployments;
mod events;
mod executions;
mod fake;
mod harness;
mod health;
mod lifecycle;
mod limits;
mod listener;
mod orchestrator;
mod problems;
mod register;
mod retries;
mod senders;
mod services;
mod stopping;
mod stream;
mod trigger;
mod try_out;
mod webhooks;
mod workloads;
