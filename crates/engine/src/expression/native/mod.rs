//! The filters that are written in Rust: jaq's, as far as they are harmless,
//! and ours where jaq's would reach the host or work without end.

mod data;
mod order;
mod regex;
mod tick;

use jaq_core::box_iter::box_once;
use jaq_core::data::JustLut;
use jaq_core::native::Fun;
use jaq_core::{Error, Exn, ValXs};

use super::meter::Stopped;
use crate::value::Value;

pub(super) use data::indices;
pub(super) use tick::{FOLD, RECURSE, TICK};

/// What our programs run on: values, and no host.
pub(super) type Data = JustLut<Value>;

/// jaq's filters that reach the host (process, environment, log, time zone).
const HOST: [&str; 6] = [
    "halt",
    "env",
    "debug_empty",
    "stderr_empty",
    "localtime",
    "strflocaltime",
];

/// All filters a program may call.
pub(super) fn all() -> Vec<Fun<Data>> {
    let mut all = tick::funs();
    all.extend(data::funs());
    all.extend(order::funs());
    all.extend(regex::funs());
    let jaq = jaq_core::funs::<Data>().chain(jaq_std::funs::<Data>());
    for fun in jaq.filter(|(name, ..)| !HOST.contains(name)) {
        // Of two filters with one name and arity ours stays.
        if !all
            .iter()
            .any(|ours| ours.0 == fun.0 && ours.1.len() == fun.1.len())
        {
            all.push(fun);
        }
    }
    all
}

type Outputs<'a> = ValXs<'a, Value>;

/// One output, or the error.
fn once<'a>(result: Result<Value, Error<Value>>) -> Outputs<'a> {
    box_once(result.map_err(Exn::from))
}

/// The one exception that a program cannot catch.
fn stopped<'a, V>(_: Stopped) -> Exn<'a, V> {
    Exn::halt(0)
}

/// An error with a message of ours.
fn failed(message: impl Into<String>) -> Error<Value> {
    Error::new(Value::from(message.into()))
}
