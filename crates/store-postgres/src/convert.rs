//! Columns to the contract's types.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use millrace_store::StoreError;
use millrace_types::Timestamp;

/// Reads what was stored as text. A text that is none of its kind was not
/// written by this program.
pub(crate) fn parsed<T>(text: &str) -> Result<T, StoreError>
where
    T: FromStr,
    T::Err: Display,
{
    text.parse()
        .map_err(|error: T::Err| StoreError::Rejected(error.to_string()))
}

pub(crate) fn parsed_option<T>(text: Option<&str>) -> Result<Option<T>, StoreError>
where
    T: FromStr,
    T::Err: Display,
{
    text.map(parsed).transpose()
}

/// Text that is kept as bytes, so that it may hold `\0`.
pub(crate) fn text(bytes: Vec<u8>) -> Result<String, StoreError> {
    String::from_utf8(bytes).map_err(|error| StoreError::Rejected(error.to_string()))
}

pub(crate) fn bytes(value: Option<Vec<u8>>) -> Option<Bytes> {
    value.map(Bytes::from)
}

/// A counter, which never goes below zero.
pub(crate) fn counter(value: i64) -> u64 {
    value.cast_unsigned()
}

/// Microseconds, which are never below zero.
pub(crate) fn duration(micros: i64) -> Duration {
    Duration::from_micros(micros.max(0).cast_unsigned())
}

pub(crate) fn version(value: i32) -> u32 {
    value.cast_unsigned()
}

/// The first day on which something about an execution minted at `minted` can
/// be found, in days since 1970. Identifiers are minted by other hosts, whose
/// clocks may be off: hence a day of slack, and none later than yesterday.
pub(crate) fn first_day(minted: Timestamp) -> i32 {
    let day = minted.day().min(Timestamp::now().day()) - 1;
    i32::try_from(day).unwrap_or(0)
}

/// A day, counted from 1970, as part of a statement's text: a plan that is
/// kept then knows its partitions, instead of locking all of them each time.
pub(crate) fn day(day: i32) -> String {
    format!("date '1970-01-01' + {day}")
}
