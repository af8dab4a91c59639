//! `+ - * / %` on values, as jq defines them, within the limits.

use std::collections::BTreeSet;
use std::ops::{Add, Div, Mul, Neg, Rem, Sub};
use std::sync::Arc;

use indexmap::map::Entry;
use jaq_core::ops::Math;
use jaq_core::{Error, ValR};

use super::meter::{self, Metered};
use super::val::{collect, not_a, own_array, own_object, text};
use crate::value::{Measure, Num, Object, Text, Value, as_f64, as_index};

/// Integers that would need more bits are reckoned with as floating point.
const MAX_BITS: u64 = 16 * 1024;

/// Bits of an integer; none for other numbers.
fn bits(n: &Num) -> Option<u64> {
    match n {
        Num::Int(i) => Some(u64::from(usize::BITS - i.unsigned_abs().leading_zeros())),
        Num::BigInt(i) => Some(i.bits()),
        Num::Float(_) | Num::Dec(_) => None,
    }
}

/// Numbers of which no operation makes one that is too large.
fn bounded(x: Num, y: Num, product: bool) -> (Num, Num) {
    let (Some(a), Some(b)) = (bits(&x), bits(&y)) else {
        return (x, y);
    };
    let most = if product { a + b } else { a.max(b) + 1 };
    if most <= MAX_BITS {
        (x, y)
    } else {
        (Num::Float(as_f64(&x)), y)
    }
}

/// Big integers take longer.
fn spend(x: &Num, y: &Num) -> Metered {
    let words = |n: &Num| bits(n).map_or(1, |bits| bits / 64 + 1);
    meter::spend(words(x) * words(y))
}

impl Add for Value {
    type Output = ValR<Self>;

    fn add(self, rhs: Self) -> Self::Output {
        Ok(match (self, rhs) {
            (Self::Null, x) | (x, Self::Null) => {
                meter::spend(1)?;
                x
            }
            (Self::Num(x), Self::Num(y)) => {
                spend(&x, &y)?;
                let (x, y) = bounded(x, y, false);
                Self::Num(x + y)
            }
            (Self::Str(mut x), Self::Str(y)) => {
                let copied = if x.is_unshared() { 0 } else { x.len() } + 2 * y.len();
                meter::spend(1 + copied as u64 / 64)?;
                meter::allocate(copied as u64)?;
                x.push_str(&y);
                meter::made(Self::Str(x))?
            }
            (Self::Arr(mut x), Self::Arr(y)) => {
                meter::spend(1 + y.items.len() as u64)?;
                meter::allocate(2 * Measure::SLOT * y.items.len() as u64)?;
                let array = own_array(&mut x)?;
                for item in &y.items {
                    array.measure.add(item);
                    array.items.push(item.clone());
                }
                meter::made(Self::Arr(x))?
            }
            (Self::Obj(mut x), Self::Obj(y)) => {
                let object = own_object(&mut x)?;
                for (k, v) in &y.members {
                    insert(object, k, v.clone())?;
                }
                meter::made(Self::Obj(x))?
            }
            (x, y) => return Err(Error::math(x, Math::Add, y)),
        })
    }
}

/// Sets a member, keeping the measure right.
pub(super) fn insert(object: &mut Object, key: &Text, value: Value) -> Metered {
    meter::spend(2)?;
    match object.members.entry(key.clone()) {
        Entry::Occupied(mut entry) => {
            object.measure.remove(entry.get());
            object.measure.add(&value);
            entry.insert(value);
        }
        Entry::Vacant(entry) => {
            meter::allocate(2 * Measure::MEMBER)?;
            object.measure.add_member(key, &value);
            entry.insert(value);
        }
    }
    Ok(())
}

impl Sub for Value {
    type Output = ValR<Self>;

    fn sub(self, rhs: Self) -> Self::Output {
        match (self, rhs) {
            (Self::Num(x), Self::Num(y)) => {
                spend(&x, &y)?;
                let (x, y) = bounded(x, y, false);
                Ok(Self::Num(x - y))
            }
            (Self::Arr(x), Self::Arr(y)) => {
                let weight = x.measure.weight.saturating_add(y.measure.weight);
                meter::spend(weight / 4)?;
                meter::allocate(4 * Measure::SLOT * y.items.len() as u64)?;
                let gone: BTreeSet<&Self> = y.items.iter().collect();
                let kept = x.items.iter().filter(|v| !gone.contains(v)).cloned();
                Ok(collect(kept)?)
            }
            (x, y) => Err(Error::math(x, Math::Sub, y)),
        }
    }
}

impl Mul for Value {
    type Output = ValR<Self>;

    fn mul(self, rhs: Self) -> Self::Output {
        match (self, rhs) {
            (Self::Num(x), Self::Num(y)) => {
                spend(&x, &y)?;
                let (x, y) = bounded(x, y, true);
                Ok(Self::Num(x * y))
            }
            (Self::Str(s), Self::Num(n)) | (Self::Num(n), Self::Str(s)) => repeat(&s, &n),
            (Self::Obj(x), Self::Obj(y)) => Ok(Self::Obj(merge(x, &y)?)),
            (x, y) => Err(Error::math(x, Math::Mul, y)),
        }
    }
}

/// `"ab" * 3`; null for a count of zero or less.
fn repeat(s: &Text, n: &Num) -> ValR<Value> {
    if as_f64(n) <= 0.0 || as_f64(n).is_nan() {
        return Ok(Value::Null);
    }
    // What does not fit an integer is far beyond any limit.
    let times = as_index(n)
        .map_or(u64::MAX, |i| i.unsigned_abs() as u64)
        .max(1);
    let bytes = times.saturating_mul(s.len() as u64);
    meter::spend(1 + bytes / 64)?;
    meter::allocate(64_u64.saturating_add(bytes))?;
    let times = usize::try_from(times).unwrap_or(usize::MAX);
    Ok(if s.is_empty() {
        Value::Str(s.clone())
    } else {
        s.repeat(times).into()
    })
}

/// Merges objects member by member, the right side winning.
fn merge(mut into: Arc<Object>, from: &Object) -> Metered<Arc<Object>> {
    let object = own_object(&mut into)?;
    for (k, v) in &from.members {
        let merged = match (object.members.get(k.as_str()), v) {
            (Some(Value::Obj(x)), Value::Obj(y)) => Value::Obj(merge(x.clone(), y)?),
            _ => v.clone(),
        };
        insert(object, k, merged)?;
    }
    match meter::made(Value::Obj(into))? {
        Value::Obj(into) => Ok(into),
        _ => unreachable!("it was made an object"),
    }
}

impl Div for Value {
    type Output = ValR<Self>;

    fn div(self, rhs: Self) -> Self::Output {
        match (self, rhs) {
            (Self::Num(x), Self::Num(y)) => {
                meter::spend(1)?;
                Ok(Self::Num(x / y))
            }
            (Self::Str(s), Self::Str(by)) => Ok(split(&s, &by)?),
            (x, y) => Err(Error::math(x, Math::Div, y)),
        }
    }
}

/// Splits a string at every separator, or into characters at an empty one.
fn split(s: &str, by: &str) -> Metered<Value> {
    meter::spend(1 + s.len() as u64 / 8)?;
    let mut parts = Vec::new();
    let mut part = |p: &str| -> Metered {
        parts.push(text(p)?);
        Ok(())
    };
    if s.is_empty() {
    } else if by.is_empty() {
        s.char_indices()
            .try_for_each(|(i, c)| part(&s[i..i + c.len_utf8()]))?;
    } else {
        s.split(by).try_for_each(part)?;
    }
    collect(parts)
}

impl Rem for Value {
    type Output = ValR<Self>;

    fn rem(self, rhs: Self) -> Self::Output {
        match (self, rhs) {
            (Self::Num(x), Self::Num(y)) if !(bits(&x).is_some() && y == Num::Int(0)) => {
                spend(&x, &y)?;
                Ok(Self::Num(x % y))
            }
            (x, y) => Err(Error::math(x, Math::Rem, y)),
        }
    }
}

impl Neg for Value {
    type Output = ValR<Self>;

    fn neg(self) -> Self::Output {
        match self {
            Self::Num(n) => {
                meter::spend(1)?;
                Ok(Self::Num(-n))
            }
            other => Err(not_a(other, "number")),
        }
    }
}
