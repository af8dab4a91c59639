//! Numbers: how they are read, written and measured.

use std::fmt;
use std::sync::Arc;

use super::Num;

/// Integers with more digits stay text and are reckoned with as floating
/// point: parsing and printing big integers takes quadratic time.
const MAX_EXACT_DIGITS: usize = 4096;

/// Reads a JSON number. The caller has checked its syntax.
pub(crate) fn parse(text: &str) -> Num {
    let exact = text.len() <= MAX_EXACT_DIGITS && text != "-0";
    let integer = exact.then(|| Num::from_str_radix(text, 10)).flatten();
    integer.unwrap_or_else(|| Num::Dec(Arc::new(text.to_owned())))
}

/// Writes a number as JSON. What JSON cannot say becomes what jq makes of it:
/// NaN is `null`, an infinity the largest number of its sign.
pub(super) fn write(n: &Num, out: &mut impl fmt::Write) -> fmt::Result {
    match n {
        Num::Float(f) if f.is_nan() => out.write_str("null"),
        Num::Float(f) if f.is_infinite() => write_float(f64::MAX.copysign(*f), out),
        Num::Float(f) => write_float(*f, out),
        exact => write!(out, "{exact}"),
    }
}

/// Whole numbers are written without a fraction, as jq does, so that `6 / 2`
/// is `3` for whoever reads it.
fn write_float(f: f64, out: &mut impl fmt::Write) -> fmt::Result {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53
    if f.fract() == 0.0 && f.abs() < EXACT {
        write!(out, "{f:.0}")
    } else if f.abs() < 1e17 && f.abs() >= 1e-5 {
        write!(out, "{f}")
    } else {
        write!(out, "{f:e}")
    }
}

/// The number as floating point, rounded where it must be.
pub(crate) fn as_f64(n: &Num) -> f64 {
    match n {
        Num::Float(f) => *f,
        Num::Dec(text) => text.parse().unwrap_or(f64::NAN),
        // Arithmetic with a float is the conversion that needs no other crate.
        exact => match exact.clone() + Num::Float(0.0) {
            Num::Float(f) => f,
            _ => f64::NAN,
        },
    }
}

/// The number as a machine integer, a fraction cut off as jq does for an
/// index; none if it does not fit.
#[expect(clippy::cast_possible_truncation, reason = "checked to fit")]
#[expect(clippy::cast_precision_loss, reason = "only bounds are rounded")]
pub(crate) fn as_index(n: &Num) -> Option<isize> {
    n.as_isize().or_else(|| {
        let f = match n {
            Num::Float(f) => f.floor(),
            Num::Dec(_) => as_f64(n).floor(),
            _ => return None,
        };
        (f > isize::MIN as f64 && f < isize::MAX as f64).then_some(f as isize)
    })
}

/// Whether it is held as an integer.
pub(crate) fn is_integer(n: &Num) -> bool {
    matches!(n, Num::Int(_) | Num::BigInt(_))
}

/// Bytes held beside the value itself.
pub(super) fn heap(n: &Num) -> u64 {
    match n {
        Num::Int(_) | Num::Float(_) => 0,
        Num::BigInt(i) => 48 + i.bits() / 8,
        Num::Dec(text) => 48 + text.len() as u64,
    }
}
