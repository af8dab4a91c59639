//! What an evaluation may use up, and the count of what it has.
//!
//! jaq runs a program as nested iterators without a hook to interrupt them. So
//! everything that takes part counts for itself: the ticks that [`super::weave`]
//! puts into the program, the operations of [`Value`](crate::Value) and our
//! native filters. An evaluation stays on one thread from start to end, hence
//! the count is that thread's. Nothing here looks at a clock: the same
//! expression on the same input is stopped at the same place everywhere.

use std::cell::Cell;

use super::EvalError;
use crate::value::{MAX_DEPTH, Value};

/// What one evaluation (of an expression, or of a whole template) may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Steps; one takes some ten nanoseconds in a release build.
    pub fuel: u64,
    /// Bytes it may allocate in all, whether or not they live at once.
    pub memory: u64,
    /// Bytes one value may weigh ([`Value::weight`]).
    pub value: u64,
    /// Bytes of stack.
    pub stack: usize,
}

impl Limits {
    /// What evaluations get unless told otherwise: about a second of work.
    pub const DEFAULT: Self = Self {
        fuel: 20_000_000,
        memory: 64 << 20,
        value: 16 << 20,
        stack: 1 << 20,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// The limit an evaluation hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    /// Out of [`Limits::fuel`].
    #[error("it takes too many steps")]
    Fuel,
    /// Out of [`Limits::memory`].
    #[error("it needs too much memory")]
    Memory,
    /// A value heavier than [`Limits::value`].
    #[error("it makes a value that is too large")]
    Value,
    /// A value deeper than [`MAX_DEPTH`].
    #[error("it makes a value that is nested more than {MAX_DEPTH} deep")]
    Depth,
    /// Out of [`Limits::stack`].
    #[error("it recurses too deeply")]
    Recursion,
}

/// Steps of one tick, which stands for running one part of a program.
pub(super) const TICK: u64 = 20;

struct Meter {
    active: Cell<bool>,
    fuel: Cell<u64>,
    memory: Cell<u64>,
    value: Cell<u64>,
    floor: Cell<usize>,
    tripped: Cell<Option<Limit>>,
    evaluation: Cell<u64>,
}

thread_local! {
    static METER: Meter = const {
        Meter {
            active: Cell::new(false),
            fuel: Cell::new(0),
            memory: Cell::new(0),
            value: Cell::new(0),
            floor: Cell::new(0),
            tripped: Cell::new(None),
            evaluation: Cell::new(0),
        }
    };
}

/// The evaluation is over; which limit it was, the meter remembers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopped;

pub(crate) type Metered<T = ()> = Result<T, Stopped>;

/// Ends the metering when dropped, also by a panic.
#[derive(Debug)]
pub(super) struct Running(());

impl Drop for Running {
    fn drop(&mut self) {
        METER.with(|m| m.active.set(false));
    }
}

/// The limit that was hit, as an error.
pub(super) fn limit_hit() -> EvalError {
    METER
        .with(|m| m.tripped.get())
        .map_or(EvalError::Internal, EvalError::Limit)
}

/// Starts metering on this thread; none if it is metered already, so that the
/// expressions of a template share one budget.
pub(super) fn start(limits: Limits) -> Option<Running> {
    METER.with(|m| {
        if m.active.get() {
            return None;
        }
        m.active.set(true);
        m.fuel.set(limits.fuel);
        m.memory.set(limits.memory);
        m.value.set(limits.value);
        m.tripped.set(None);
        m.evaluation.set(m.evaluation.get() + 1);
        Some(Running(()))
    })
}

/// Which evaluation this is, of those on this thread.
pub(super) fn evaluation() -> u64 {
    METER.with(|m| m.evaluation.get())
}

/// Says where the stack of the evaluation ends: this far below here.
pub(super) fn bound_stack(bytes: usize) {
    METER.with(|m| m.floor.set(stack_address().saturating_sub(bytes)));
}

/// About where the stack pointer is. Stacks grow down on all we run on.
#[inline(never)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(&here).addr()
}

/// Whether some limit was hit. Everything then only hurries to the end.
pub(super) fn check() -> Metered {
    METER.with(|m| {
        if m.active.get() && m.tripped.get().is_some() {
            Err(Stopped)
        } else {
            Ok(())
        }
    })
}

/// Ends the evaluation.
pub(super) fn trip(limit: Limit) -> Stopped {
    METER.with(|m| {
        if m.active.get() && m.tripped.get().is_none() {
            m.tripped.set(Some(limit));
        }
    });
    Stopped
}

/// Takes steps off the fuel, and looks how deep the stack is.
pub(crate) fn spend(steps: u64) -> Metered {
    METER.with(|m| {
        if !m.active.get() {
            return Ok(());
        }
        if m.tripped.get().is_some() {
            return Err(Stopped);
        }
        if stack_address() < m.floor.get() {
            return Err(trip(Limit::Recursion));
        }
        match m.fuel.get().checked_sub(steps) {
            Some(left) => m.fuel.set(left),
            None => {
                m.fuel.set(0);
                return Err(trip(Limit::Fuel));
            }
        }
        Ok(())
    })
}

/// Takes bytes off the memory, before they are allocated.
pub(super) fn allocate(bytes: u64) -> Metered {
    METER.with(|m| {
        if !m.active.get() {
            return Ok(());
        }
        if m.tripped.get().is_some() {
            return Err(Stopped);
        }
        if bytes > m.value.get() {
            return Err(trip(Limit::Value));
        }
        match m.memory.get().checked_sub(bytes) {
            Some(left) => m.memory.set(left),
            None => {
                m.memory.set(0);
                return Err(trip(Limit::Memory));
            }
        }
        Ok(())
    })
}

/// Passes a value that was just made, if it may exist.
pub(super) fn made(value: Value) -> Metered<Value> {
    METER.with(|m| {
        if !m.active.get() {
            return Ok(value);
        }
        if m.tripped.get().is_some() {
            return Err(Stopped);
        }
        if value.depth() > MAX_DEPTH {
            return Err(trip(Limit::Depth));
        }
        if value.weight() > m.value.get() {
            return Err(trip(Limit::Value));
        }
        Ok(value)
    })
}
