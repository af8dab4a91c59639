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

/// What jaq may keep of a recursive call until the program ends, in bytes.
const KEPT_BY_RECURSION: u64 = 48;
/// What jaq may keep of one step of a fold, in bytes.
const KEPT_BY_FOLD: u64 = 256;

fn tick(kept: u64) -> Metered {
    meter::spend(meter::TICK)?;
    meter::allocate(kept)
}

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
    ($name:expr, $kept:expr) => {{
        let native =
            Native::<Data>::new(|cv| box_once(tick($kept).map_err(stopped).map(|()| cv.1)))
                .with_paths(|cv| {
                    let most = usize::from(MAX_DEPTH) + 1;
                    let within = path_within_bounds(cv.1.1.iter().take(most).count());
                    box_once(
                        within
                            .and_then(|()| tick($kept))
                            .map_err(stopped)
                            .map(|()| cv.1),
                    )
                })
                .with_update(|cv, f| match tick($kept) {
                    Ok(()) => f(cv.1),
                    Err(end) => box_once(Err::<Value, Exn<_>>(stopped(end))),
                });
        ($name, Box::default(), native)
    }};
}

pub(super) fn funs() -> Vec<Fun<Data>> {
    vec![
        ticking!(TICK, 0),
        ticking!(RECURSE, KEPT_BY_RECURSION),
        ticking!(FOLD, KEPT_BY_FOLD),
    ]
}
