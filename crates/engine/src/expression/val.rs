//! [`Value`] as jaq computes with it: every operation is metered.
//!
//! An operation that may not go on returns an error, which the program could
//! catch; that helps it nothing, since the meter has tripped by then and the
//! next tick ends the evaluation for good.

use std::sync::Arc;

use indexmap::IndexMap;
use jaq_core::box_iter::{BoxIter, box_once};
use jaq_core::val::Range;
use jaq_core::{Error, ValR, ValX};

use super::meter::{self, Metered, Stopped};
use crate::value::{Measure, Num, Text, Value, as_index, parse_number, string, to_json};

/// A stand-in: whoever sees it sees only that the meter has tripped.
impl From<Stopped> for Error<Value> {
    fn from(_: Stopped) -> Self {
        Error::new(Value::Null)
    }
}

pub(super) type Fallible<T = Value> = Result<T, Error<Value>>;

/// jq's message when a value is of the wrong type.
pub(super) fn not_a(value: Value, wanted: &'static str) -> Error<Value> {
    Error::typ(value, wanted)
}

/// Makes a string, if it may be that long.
pub(super) fn text(s: impl Into<String>) -> Metered<Value> {
    let s = s.into();
    meter::spend(1 + s.len() as u64 / 64)?;
    meter::allocate(64 + s.len() as u64)?;
    Ok(string(s))
}

/// Collects an array, giving up where the memory ends.
pub(super) fn collect(items: impl IntoIterator<Item = Value>) -> Metered<Value> {
    let mut all = Vec::new();
    meter::allocate(64)?;
    for item in items {
        // Growing by doubling holds twice what is there for a moment.
        meter::allocate(2 * Measure::SLOT)?;
        all.push(item);
    }
    meter::spend(1 + all.len() as u64)?;
    meter::made(all.into())
}

/// Makes an object of members that exist already.
pub(super) fn gather(members: IndexMap<Text, Value>) -> Metered<Value> {
    let own = Measure::MEMBER * 2 * members.len() as u64;
    meter::spend(1 + members.len() as u64 * 2)?;
    meter::allocate(128 + own)?;
    meter::made(members.into())
}

/// An object's key.
pub(super) fn key(value: &Value) -> Fallible<&Text> {
    match value {
        Value::Str(s) => Ok(s),
        other => Err(not_a(
            other.clone(),
            "an object's key: only a string can be one",
        )),
    }
}

/// Prepares to change an array in place, or its copy if it is shared.
pub(super) fn own_array(array: &mut Arc<crate::value::Array>) -> Metered<&mut crate::value::Array> {
    if Arc::get_mut(array).is_none() {
        let items = array.items.len() as u64;
        meter::spend(1 + items)?;
        meter::allocate(64 + items * Measure::SLOT)?;
    }
    Ok(Arc::make_mut(array))
}

/// Prepares to change an object in place, or its copy if it is shared.
pub(super) fn own_object(
    object: &mut Arc<crate::value::Object>,
) -> Metered<&mut crate::value::Object> {
    if Arc::get_mut(object).is_none() {
        let members = object.members.len() as u64;
        meter::spend(1 + members * 2)?;
        meter::allocate(128 + members * Measure::MEMBER)?;
    }
    Ok(Arc::make_mut(object))
}

/// Makes an iterator pay for each of its items.
fn paid<T: 'static>(items: impl Iterator<Item = T> + 'static) -> BoxIter<'static, Fallible<T>> {
    Box::new(items.map(|item| {
        meter::spend(4)?;
        Ok(item)
    }))
}

impl FromIterator<Value> for Value {
    /// jaq collects arrays through this. Where the meter trips there is
    /// nothing to return but null, which nobody will see.
    fn from_iter<I: IntoIterator<Item = Value>>(items: I) -> Self {
        collect(items).unwrap_or_default()
    }
}

impl From<Range<Value>> for Value {
    fn from(range: Range<Value>) -> Self {
        let ends = [("start", range.start), ("end", range.end)];
        let ends = ends
            .into_iter()
            .filter_map(|(k, v)| Some((Text::from(k), v?)));
        gather(ends.collect()).unwrap_or_default()
    }
}

impl jaq_core::ValT for Value {
    fn from_num(n: &str) -> ValR<Self> {
        meter::spend(1 + n.len() as u64)?;
        Ok(Self::Num(parse_number(n)))
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(members: I) -> ValR<Self> {
        let mut map = IndexMap::new();
        for (k, v) in members {
            meter::spend(2)?;
            map.insert(key(&k)?.clone(), v);
        }
        Ok(gather(map)?)
    }

    fn key_values(self) -> BoxIter<'static, ValR<(Self, Self), Self>> {
        match self {
            Self::Arr(a) => paid((0..a.items.len()).map(move |i| (i.into(), a.items[i].clone()))),
            Self::Obj(o) => paid((0..o.members.len()).map(move |i| {
                let member = o.members.get_index(i).map(|(k, v)| (k.clone(), v.clone()));
                let (k, v) = member.unwrap_or_default();
                (Self::Str(k), v)
            })),
            other => box_once(Err(not_a(other, "iterable (array or object)"))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        match self {
            Self::Arr(a) => match Arc::try_unwrap(a) {
                Ok(a) => paid(a.items.into_iter()),
                Err(a) => paid((0..a.items.len()).map(move |i| a.items[i].clone())),
            },
            Self::Obj(o) => match Arc::try_unwrap(o) {
                Ok(o) => paid(o.members.into_values()),
                Err(o) => paid((0..o.members.len()).map(move |i| o.members[i].clone())),
            },
            other => box_once(Err(not_a(other, "iterable (array or object)"))),
        }
    }

    fn index(self, index: &Self) -> ValR<Self> {
        meter::spend(1)?;
        Ok(super::path::get(&self, index)?.unwrap_or_default())
    }

    fn range(self, range: Range<&Self>) -> ValR<Self> {
        super::path::slice(self, &range)
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        opt: jaq_core::path::Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        super::path::map_values(self, opt, f)
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: jaq_core::path::Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        super::path::map_index(self, index, opt, f)
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: jaq_core::path::Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        super::path::map_range(self, &range, opt, f)
    }

    fn as_bool(&self) -> bool {
        self.is_truthy()
    }

    fn into_string(self) -> Self {
        match self {
            Self::Str(_) => self,
            other => write(&other).unwrap_or_default(),
        }
    }
}

/// The value as JSON text.
pub(super) fn write(value: &Value) -> Metered<Value> {
    // Escapes make text up to six times as long; the limit on the string that
    // is made catches what the weight does not tell.
    meter::spend(1 + value.weight() / 16)?;
    meter::allocate(value.weight())?;
    let json = to_json(value);
    text(json)
}

impl jaq_std::ValT for Value {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self {
            Self::Arr(a) => Ok(match Arc::try_unwrap(a) {
                Ok(a) => a.items.into_iter().collect(),
                Err(a) => a.items.iter().cloned().collect(),
            }),
            other => Err(other),
        }
    }

    fn is_int(&self) -> bool {
        matches!(self, Self::Num(n) if crate::value::is_integer(n))
    }

    fn as_isize(&self) -> Option<isize> {
        match self {
            Self::Num(n) => {
                let i = as_index(n)?;
                let whole = crate::value::is_integer(n) || Num::Int(i) == *n;
                whole.then_some(i)
            }
            _ => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        Value::as_f64(self)
    }

    fn is_utf8_str(&self) -> bool {
        matches!(self, Self::Str(_))
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        self.as_str().map(str::as_bytes)
    }

    fn as_sub_str(&self, sub: &[u8]) -> Self {
        text(String::from_utf8_lossy(sub)).unwrap_or_default()
    }

    fn from_utf8_bytes(b: impl AsRef<[u8]> + Send + 'static) -> Self {
        text(String::from_utf8_lossy(b.as_ref())).unwrap_or_default()
    }
}
