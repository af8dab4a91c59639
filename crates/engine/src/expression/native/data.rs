//! Filters over the content of values.

use jaq_core::native::{Fun, run, v};

use super::{Data, failed, once};
use crate::expression::meter::{self, Limit};
use crate::expression::val::{Fallible, collect, not_a, text, write};
use crate::value::{Num, Value, as_f64, from_json};

pub(super) fn funs() -> Vec<Fun<Data>> {
    [
        run(("tojson", v(0), |cv| once(write(&cv.1).map_err(Into::into)))),
        run(("fromjson", v(0), |cv| once(parse(&cv.1)))),
        run(("length", v(0), |cv| once(length(&cv.1)))),
        run(("implode", v(0), |cv| once(implode(&cv.1)))),
        run(("contains", v(1), |mut cv| {
            let part = cv.0.pop_var();
            once(contains(&cv.1, &part).map(Value::from))
        })),
        run(("has", v(1), |mut cv| {
            let key = cv.0.pop_var();
            once(has(&cv.1, &key).map(Value::from))
        })),
        run(("indices", v(1), |mut cv| {
            let part = cv.0.pop_var();
            once(indices(&cv.1, &part))
        })),
        run(("bsearch", v(1), |mut cv| {
            let wanted = cv.0.pop_var();
            once(search(&cv.1, &wanted))
        })),
    ]
    .into()
}

fn parse(value: &Value) -> Fallible {
    let Value::Str(s) = value else {
        return Err(not_a(value.clone(), "string"));
    };
    meter::spend(1 + s.len() as u64 / 8)?;
    // A byte of JSON (such as `[` or `0`) makes at most some thirty in memory.
    meter::allocate((s.len() as u64).saturating_mul(4))?;
    let parsed = from_json(s.as_bytes()).map_err(|e| failed(format!("cannot parse: {e}")))?;
    meter::allocate(parsed.weight())?;
    Ok(meter::made(parsed)?)
}

fn length(value: &Value) -> Fallible {
    Ok(match value {
        Value::Null => 0_usize.into(),
        Value::Bool(_) => return Err(failed(format!("{value} has no length"))),
        Value::Num(n) if as_f64(n) < 0.0 => Value::Num(-n.clone()),
        Value::Num(_) => value.clone(),
        Value::Str(s) => {
            meter::spend(1 + s.len() as u64 / 64)?;
            s.chars().count().into()
        }
        Value::Arr(a) => a.items.len().into(),
        Value::Obj(o) => o.members.len().into(),
    })
}

/// Characters from their numbers; what is no character is refused.
fn implode(value: &Value) -> Fallible {
    let Value::Arr(codes) = value else {
        return Err(not_a(value.clone(), "array"));
    };
    meter::spend(1 + codes.items.len() as u64)?;
    let mut out = String::new();
    for code in &codes.items {
        let number = match code {
            Value::Num(n) => n.as_isize(),
            _ => None,
        };
        let c = number
            .and_then(|i| u32::try_from(i).ok())
            .and_then(char::from_u32);
        out.push(c.ok_or_else(|| failed(format!("cannot use {code} as character")))?);
    }
    Ok(text(out)?)
}

/// Whether the value holds the part: substrings, any elements, members by key.
fn contains(value: &Value, part: &Value) -> Fallible<bool> {
    meter::spend(1)?;
    Ok(match (value, part) {
        (Value::Str(s), Value::Str(part)) => {
            meter::spend(1 + s.len() as u64 / 16)?;
            s.contains(part.as_str())
        }
        (Value::Arr(items), Value::Arr(parts)) => {
            for part in &parts.items {
                let mut found = false;
                for item in &items.items {
                    if contains(item, part)? {
                        found = true;
                        break;
                    }
                }
                if !found {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Obj(o), Value::Obj(parts)) => {
            for (k, part) in &parts.members {
                match o.members.get(k.as_str()) {
                    Some(v) if contains(v, part)? => {}
                    _ => return Ok(false),
                }
            }
            true
        }
        _ => value == part,
    })
}

fn has(value: &Value, key: &Value) -> Fallible<bool> {
    meter::spend(1)?;
    match (value, key) {
        (Value::Obj(o), Value::Str(k)) => Ok(o.members.contains_key(k.as_str())),
        (Value::Arr(a), Value::Num(n)) => {
            let i = as_f64(n);
            #[expect(clippy::cast_precision_loss, reason = "no array has 2^53 elements")]
            let within = i >= 0.0 && i < a.items.len() as f64;
            Ok(within)
        }
        (value, key) => {
            let (value, key) = (value.type_name(), key.type_name());
            Err(failed(format!(
                "cannot check whether {value} has a {key} key"
            )))
        }
    }
}

/// Where the part occurs: character positions in text, indices in arrays.
pub(in crate::expression) fn indices(value: &Value, part: &Value) -> Fallible {
    match (value, part) {
        (Value::Null, _) => Ok(Value::Null),
        (Value::Str(s), Value::Str(part)) => {
            // Overlapping occurrences count, so every position may be compared.
            meter::spend(1 + s.len() as u64)?;
            let mut found = Vec::new();
            for (position, (at, _)) in s.char_indices().enumerate() {
                if !part.is_empty() && s[at..].starts_with(part.as_str()) {
                    meter::spend(1 + part.len() as u64 / 16)?;
                    found.push(position.into());
                }
            }
            Ok(collect(found)?)
        }
        (Value::Arr(a), Value::Arr(part)) if part.items.is_empty() => Ok(if a.items.is_empty() {
            Value::Null
        } else {
            collect([])?
        }),
        (Value::Arr(a), Value::Arr(part)) => {
            positions(a.items.windows(part.items.len()), &part.items[..])
        }
        (Value::Arr(a), item) => positions(a.items.iter(), item),
        (value, part) => Err(jaq_core::Error::index(value.clone(), part.clone())),
    }
}

fn positions<'v, T: PartialEq + ?Sized + 'v>(
    places: impl Iterator<Item = &'v T>,
    wanted: &T,
) -> Fallible {
    let mut found = Vec::new();
    for (i, place) in places.enumerate() {
        meter::spend(1)?;
        if place == wanted {
            found.push(i.into());
        }
    }
    Ok(collect(found)?)
}

/// The index in a sorted array, or `-1 - i` where it should go.
fn search(value: &Value, wanted: &Value) -> Fallible {
    let Value::Arr(a) = value else {
        return Err(not_a(value.clone(), "array"));
    };
    meter::spend(20)?;
    let too_long = |_| jaq_core::Error::from(meter::trip(Limit::Value));
    Ok(match a.items.binary_search(wanted) {
        Ok(i) => i.into(),
        Err(i) => Value::Num(Num::Int(-1 - isize::try_from(i).map_err(too_long)?)),
    })
}
