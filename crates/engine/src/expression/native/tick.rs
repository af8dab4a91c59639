//! Filters that return their input and count that they did.

use jaq_core::box_iter::box_once;
use jaq_core::native::Fun;
use jaq_core::{Exn, Native};

use super::{Data, stopped};
use crate::expression::meter::{self, Limit, Metered};
use crate::value::{MAX_DEPTH, Value};

/// At the start of definitions and arguments. No program can spell the name.
pub(in crate::expression) const TICK: &str = "!tick";
/// At the start of definitions that call themselves.
pub(in crate::expression) const RECURSE: &str = "!recurse";
/// At the start of what `reduce` and `foreach` do for every element.
pub(in crate::expression) const FOLD: &str = "!fold";

/// Steps of a recursive call and of a fold's step: jaq may keep some hundred
/// bytes of each until the program ends, which nothing else counts.
const KEPT: u64 = 5 * meter::TICK;

/// Paths are linked lists that are dropped recursively: bounded like values,
/// of which a longer one could not point into any.
fn path_within_bounds(parts: usize) -> Metered {
    if parts > usize::from(MAX_DEPTH) {
        Err(meter::trip(Limit::Depth))
    } else {
        Ok(())
    }
}

macro_rules! ticking {
    ($name:expr, $steps:expr) => {{
        let native = Native::<Data>::new(|cv| {
            box_once(meter::spend($steps).map_err(stopped).map(|()| cv.1))
        })
        .with_paths(|cv| {
            let most = usize::from(MAX_DEPTH) + 1;
            let within = path_within_bounds(cv.1.1.iter().take(most).count());
            box_once(
                within
                    .and_then(|()| meter::spend($steps))
                    .map_err(stopped)
                    .map(|()| cv.1),
            )
        })
        .with_update(|cv, f| match meter::spend($steps) {
            Ok(()) => f(cv.1),
            Err(end) => box_once(Err::<Value, Exn<_>>(stopped(end))),
        });
        ($name, Box::default(), native)
    }};
}

pub(super) fn funs() -> Vec<Fun<Data>> {
    vec![
        ticking!(TICK, meter::TICK),
        ticking!(RECURSE, KEPT),
        ticking!(FOLD, KEPT),
    ]
}
