//! Reading and changing what a path points at: `.[k]`, `.[a:b]`, `.[]`.
//!
//! Changing through null makes the object or array that the path asks for, as
//! in jq; removing a member keeps the order of the others.

use std::sync::Arc;

use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Error, Exn, ValX};

use super::arithmetic::insert;
use super::meter;
use super::native::indices;
use super::val::{Fallible, collect, key, not_a, own_array, own_object, text};
use crate::value::{Measure, Num, Text, Value, array, as_index, object};

/// What `.[index]` is; none where there is nothing.
pub(super) fn get(value: &Value, index: &Value) -> Fallible<Option<Value>> {
    Ok(match (value, index) {
        (Value::Null, _) => None,
        (Value::Obj(o), Value::Str(k)) => o.members.get(k.as_str()).cloned(),
        (Value::Arr(a), Value::Num(n)) => position(n, a.items.len()).map(|i| a.items[i].clone()),
        (Value::Arr(_), Value::Arr(_)) => Some(indices(value, index)?),
        (Value::Arr(_) | Value::Str(_), Value::Obj(range)) => {
            let ends = range.get("start")..range.get("end");
            Some(slice(value.clone(), &(ends.start..ends.end))?)
        }
        (value, index) => return Err(Error::index(value.clone(), index.clone())),
    })
}

/// An index counted from the end if it is negative; none if out of bounds.
fn position(n: &Num, len: usize) -> Option<usize> {
    let i = as_index(n)?;
    let i = if i < 0 {
        len.checked_sub(i.unsigned_abs())?
    } else {
        i.unsigned_abs()
    };
    (i < len).then_some(i)
}

/// The bounds of a slice, cut to what is there.
fn bounds(range: &Range<&Value>, len: usize) -> Fallible<(usize, usize)> {
    let bound = |end: Option<&Value>, none| match end {
        None | Some(Value::Null) => Ok(none),
        Some(Value::Num(n)) => {
            let i = as_index(n).unwrap_or(isize::MAX);
            let at = if i < 0 {
                len.saturating_sub(i.unsigned_abs())
            } else {
                i.unsigned_abs()
            };
            Ok(at.min(len))
        }
        Some(other) => Err(not_a(other.clone(), "integer")),
    };
    let (start, end) = (bound(range.start, 0)?, bound(range.end, len)?);
    Ok((start, end.max(start)))
}

/// The bytes of a slice of text, whose bounds count characters.
fn text_bounds(s: &str, range: &Range<&Value>) -> Fallible<(usize, usize)> {
    meter::spend(1 + s.len() as u64 / 32)?;
    let (start, end) = bounds(range, s.chars().count())?;
    let byte = |n| s.char_indices().nth(n).map_or(s.len(), |(i, _)| i);
    Ok((byte(start), byte(end)))
}

/// `.[a:b]`
pub(super) fn slice(value: Value, range: &Range<&Value>) -> Fallible {
    match value {
        Value::Null => Ok(Value::Null),
        Value::Str(s) => {
            let (start, end) = text_bounds(&s, range)?;
            Ok(text(&s[start..end])?)
        }
        Value::Arr(a) => {
            let (start, end) = bounds(range, a.items.len())?;
            Ok(collect(a.items[start..end].iter().cloned())?)
        }
        other => Err(not_a(other, "rangeable (array or string)")),
    }
}

/// `.[] |= f`
pub(super) fn map_values<'a, I: Iterator<Item = ValX<'a, Value>>>(
    value: Value,
    opt: Opt,
    f: impl Fn(Value) -> I,
) -> ValX<'a, Value> {
    meter::spend(1).map_err(Error::from)?;
    match value {
        Value::Arr(a) => {
            let mut items = Vec::new();
            for item in unshare(a, |a| a.items) {
                for new in f(item) {
                    items.push(new?);
                    meter::allocate(Measure::SLOT).map_err(Error::from)?;
                }
            }
            Ok(collect(items).map_err(Error::from)?)
        }
        Value::Obj(o) => {
            let mut members = indexmap::IndexMap::new();
            for (k, v) in unshare(o, |o| o.members) {
                if let Some(new) = f(v).next().transpose()? {
                    members.insert(k, new);
                }
            }
            Ok(super::val::gather(members).map_err(Error::from)?)
        }
        other => opt.fail(other, |v| not_a(v, "iterable (array or object)").into()),
    }
}

/// Takes the content out, copying it only if it is shared.
fn unshare<T: Clone, C>(shared: Arc<T>, take: impl Fn(T) -> C) -> C {
    take(Arc::unwrap_or_clone(shared))
}

/// `.[index] |= f`
pub(super) fn map_index<'a, I: Iterator<Item = ValX<'a, Value>>>(
    value: Value,
    index: &Value,
    opt: Opt,
    f: impl Fn(Value) -> I,
) -> ValX<'a, Value> {
    meter::spend(2).map_err(Error::from)?;
    match (value, index) {
        (value @ (Value::Null | Value::Str(_) | Value::Arr(_)), Value::Obj(range)) => {
            let ends = range.get("start")..range.get("end");
            map_range(value, &ends, opt, f)
        }
        (Value::Null, Value::Str(_) | Value::Num(_)) => {
            // Made only if something comes into it.
            let Some(new) = f(Value::Null).next().transpose()? else {
                return Ok(Value::Null);
            };
            let made = |_| std::iter::once(Ok(new.clone()));
            match index {
                Value::Str(k) => set_member(object::<Text, Value>([]), k, made),
                Value::Num(n) => set_item(array::<Value>([]), n, opt, made),
                _ => Ok(Value::Null),
            }
        }
        (Value::Obj(o), Value::Str(k)) => set_member(Value::Obj(o), k, f),
        (Value::Arr(a), Value::Num(n)) => set_item(Value::Arr(a), n, opt, f),
        (value @ Value::Obj(_), index) => opt.fail(value, |_| match key(index) {
            Err(error) => error.into(),
            Ok(k) => Exn::from(Error::index(Value::Null, Value::Str(k.clone()))),
        }),
        (value, index) => opt.fail(value, |v| Error::index(v, index.clone()).into()),
    }
}

fn set_member<'a, I: Iterator<Item = ValX<'a, Value>>>(
    value: Value,
    key: &Text,
    f: impl Fn(Value) -> I,
) -> ValX<'a, Value> {
    let Value::Obj(mut o) = value else {
        return Ok(value);
    };
    let object = own_object(&mut o).map_err(Error::from)?;
    // The old value is taken out, so that it is changed in place if it can be.
    let old = object.members.get_mut(key.as_str()).map(|slot| {
        let old = std::mem::take(slot);
        object.measure.remove(&old);
        object.measure.add(&Value::Null);
        old
    });
    let was_there = old.is_some();
    match f(old.unwrap_or_default()).next().transpose()? {
        Some(new) => insert(object, key, new).map_err(Error::from)?,
        None if was_there => {
            meter::spend(1 + object.members.len() as u64 / 4).map_err(Error::from)?;
            object.measure.remove_member(key, &Value::Null);
            object.members.shift_remove(key.as_str());
        }
        None => {}
    }
    Ok(meter::made(Value::Obj(o)).map_err(Error::from)?)
}

fn set_item<'a, I: Iterator<Item = ValX<'a, Value>>>(
    value: Value,
    index: &Num,
    opt: Opt,
    f: impl Fn(Value) -> I,
) -> ValX<'a, Value> {
    let Value::Arr(mut a) = value else {
        return Ok(value);
    };
    let len = a.items.len();
    let out = |i: &Num| {
        let message = format!("index {} out of bounds", Value::Num(i.clone()));
        Exn::from(Error::new(Value::from(message)))
    };
    let at = match as_index(index) {
        Some(i) if i >= 0 => i.unsigned_abs(),
        Some(i) if i.unsigned_abs() <= len => len - i.unsigned_abs(),
        _ => return opt.fail(Value::Arr(a), |_| out(index)),
    };
    let array = own_array(&mut a).map_err(Error::from)?;
    let old = array.items.get_mut(at).map(std::mem::take);
    if let Some(old) = &old {
        array.measure.remove(old);
        array.measure.add(&Value::Null);
    }
    let was_there = old.is_some();
    match f(old.unwrap_or_default()).next().transpose()? {
        Some(new) => {
            if at >= len {
                let more = (at - len) as u64 + 1;
                meter::allocate(more.saturating_mul(Measure::SLOT)).map_err(Error::from)?;
                meter::spend(more).map_err(Error::from)?;
                array.items.resize(at + 1, Value::Null);
                array.measure.weight += more * Measure::SLOT;
            }
            array.measure.remove(&Value::Null);
            array.measure.add(&new);
            array.items[at] = new;
        }
        None if was_there => {
            meter::spend(1 + (len - at) as u64 / 4).map_err(Error::from)?;
            array.measure.remove(&Value::Null);
            array.items.remove(at);
        }
        None => {}
    }
    Ok(meter::made(Value::Arr(a)).map_err(Error::from)?)
}

/// `.[a:b] |= f`
pub(super) fn map_range<'a, I: Iterator<Item = ValX<'a, Value>>>(
    value: Value,
    range: &Range<&Value>,
    opt: Opt,
    f: impl Fn(Value) -> I,
) -> ValX<'a, Value> {
    let value = if value.is_null() {
        array::<Value>([])
    } else {
        value
    };
    match &value {
        Value::Arr(a) => {
            let (start, end) = match bounds(range, a.items.len()) {
                Ok(bounds) => bounds,
                Err(e) => return opt.fail(value, |_| e.into()),
            };
            let part = collect(a.items[start..end].iter().cloned()).map_err(Error::from)?;
            let new = match f(part).next().transpose()? {
                None => Vec::new(),
                Some(Value::Arr(new)) => new.items.clone(),
                Some(other) => return Err(not_a(other, "array").into()),
            };
            let (before, after) = (&a.items[..start], &a.items[end..]);
            let all = before
                .iter()
                .cloned()
                .chain(new)
                .chain(after.iter().cloned());
            Ok(collect(all).map_err(Error::from)?)
        }
        Value::Str(s) => {
            let (start, end) = match text_bounds(s, range) {
                Ok(bounds) => bounds,
                Err(e) => return opt.fail(value, |_| e.into()),
            };
            let part = text(&s[start..end]).map_err(Error::from)?;
            let new = match f(part).next().transpose()? {
                None => Text::default(),
                Some(Value::Str(new)) => new,
                Some(other) => return Err(not_a(other, "string").into()),
            };
            let bytes = (s.len() + new.len()) as u64;
            meter::allocate(bytes).map_err(Error::from)?;
            Ok(text([&s[..start], &*new, &s[end..]].concat()).map_err(Error::from)?)
        }
        _ => opt.fail(value, |v| not_a(v, "array").into()),
    }
}
