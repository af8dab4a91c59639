//! Reading columns.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use millrace_store::StoreError;
use millrace_types::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Decode, Row, Sqlite, Type};

use crate::error::{corrupt, store_error};

/// Typed access to the columns of a row, by name.
pub trait Columns {
    fn raw<'r, T>(&'r self, column: &'static str) -> Result<T, StoreError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite>;

    /// A text that stands for an identifier or a name.
    fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        parse(column, self.raw::<&str>(column)?)
    }

    fn parsed_option<T: FromStr>(&self, column: &'static str) -> Result<Option<T>, StoreError> {
        self.raw::<Option<&str>>(column)?
            .map(|text| parse(column, text))
            .transpose()
    }

    /// A count, which SQLite keeps as a signed number.
    fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T, StoreError> {
        let value: i64 = self.raw(column)?;
        T::try_from(value).map_err(|_| corrupt(column, value))
    }

    fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_micros(self.raw(column)?))
    }

    fn time_option(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.raw::<Option<i64>>(column)?.map(Timestamp::from_micros))
    }

    fn bytes(&self, column: &'static str) -> Result<Bytes, StoreError> {
        Ok(Bytes::copy_from_slice(self.raw::<&[u8]>(column)?))
    }

    fn bytes_option(&self, column: &'static str) -> Result<Option<Bytes>, StoreError> {
        Ok(self
            .raw::<Option<&[u8]>>(column)?
            .map(Bytes::copy_from_slice))
    }

    /// Text that was stored as bytes.
    fn text(&self, column: &'static str) -> Result<String, StoreError> {
        String::from_utf8(self.raw::<Vec<u8>>(column)?)
            .map_err(|_| corrupt(column, "bytes that are not UTF-8"))
    }
}

/// Microseconds, which are never below zero.
pub fn duration(micros: i64) -> Duration {
    Duration::from_micros(micros.max(0).cast_unsigned())
}

fn parse<T: FromStr>(column: &str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| corrupt(column, text))
}

impl Columns for SqliteRow {
    fn raw<'r, T>(&'r self, column: &'static str) -> Result<T, StoreError>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite>,
        &'static str: ColumnIndex<Self>,
    {
        self.try_get(column).map_err(store_error)
    }
}
