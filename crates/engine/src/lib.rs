//! Runs workflow documents: reads and checks them ([`language`]), evaluates
//! their expressions in a sandbox ([`expression`]), steps through them purely
//! ([`interpreter`]) and carries out what a step asks for ([`effects`]).
//! [`event`] is what makes an event, here and for those who publish it.
//! [`service`] puts all of it behind `WorkflowEngineService`.

pub mod effects;
pub mod event;
pub mod expression;
pub mod interpreter;
pub mod language;
pub mod service;
pub mod value;
