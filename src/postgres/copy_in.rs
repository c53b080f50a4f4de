//! Loading rows fast: binary COPY IN, for test data by the million.
//!
//! Values are checked against the column's type before they are sent; the rows are there, all of them, when
//! `finish` returns, and none of them otherwise.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use tokio_postgres::CopyInSink;

use super::catalog::Table;
use super::codec::Codec;
use super::connect::Client;
use super::quote::quote_identifier;
use super::to_postgres_us;
use super::types::plan_field;
use crate::error::{Error, Result};

/// Bytes gathered before they go to the connection: large enough that the hand-over costs nothing per row.
const FLUSH_BYTES: usize = 64 * 1024;
/// PostgreSQL's numerics count in groups of four decimal digits.
const GROUP: u128 = 10_000;

/// Writes rows column by column: `integer`, `text`, … for each column in order, then `end_row`.
pub struct CopyWriter<'a> {
    client: &'a Client,
    sink: Pin<Box<CopyInSink<Bytes>>>,
    doing: String,
    columns: Vec<(String, Codec)>,
    buffer: BytesMut,
    column: usize,
}

impl<'a> CopyWriter<'a> {
    /// Begins a load into `columns` of `table`; the others take their defaults.
    pub async fn start(client: &'a Client, table: &Table, columns: &[&str]) -> Result<Self> {
        let doing = format!("cannot load rows into {table}");
        let mut codecs = Vec::with_capacity(columns.len());
        for name in columns {
            let column = table.require_column(name, "the load")?;
            codecs.push(((*name).to_owned(), plan_field(column, None)?.codec));
        }
        let names: Vec<String> = columns.iter().map(|name| quote_identifier(name)).collect();
        let sql = format!("COPY {} ({}) FROM STDIN (FORMAT binary)", table.qualified(), names.join(", "));
        let sink = client.inner.copy_in(&sql).await.map_err(|error| client.failed(&doing, error))?;
        let mut buffer = BytesMut::with_capacity(FLUSH_BYTES + 4096);
        buffer.extend_from_slice(b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0");
        Ok(CopyWriter { client, sink: Box::pin(sink), doing, columns: codecs, buffer, column: 0 })
    }

    pub fn null(&mut self) -> Result<()> {
        self.next_column()?;
        self.buffer.extend_from_slice(&(-1_i32).to_be_bytes());
        Ok(())
    }

    pub fn integer(&mut self, value: i64) -> Result<()> {
        match self.next_column()? {
            Codec::Int8 => self.value(&value.to_be_bytes()),
            Codec::Int4 => {
                let narrow = i32::try_from(value).map_err(|_| self.unfit("an integer out of its range"))?;
                self.value(&narrow.to_be_bytes())
            }
            Codec::Int2 => {
                let narrow = i16::try_from(value).map_err(|_| self.unfit("an integer out of its range"))?;
                self.value(&narrow.to_be_bytes())
            }
            _ => Err(self.unfit("an integer")),
        }
    }

    pub fn text(&mut self, value: &str) -> Result<()> {
        match self.next_column()? {
            Codec::Text | Codec::Json => self.value(value.as_bytes()),
            _ => Err(self.unfit("text")),
        }
    }

    /// `unscaled / 10^scale`.
    pub fn decimal(&mut self, unscaled: i128, scale: u8) -> Result<()> {
        if self.next_column()? != Codec::Numeric {
            return Err(self.unfit("a decimal"));
        }
        let mut bytes = Vec::with_capacity(32);
        numeric_bytes(&mut bytes, unscaled, scale);
        self.value(&bytes)
    }

    /// Microseconds since 1970 on the column's own clock.
    pub fn timestamp_us(&mut self, value: i64) -> Result<()> {
        match self.next_column()? {
            Codec::Timestamp | Codec::TimestampTz => self.value(&to_postgres_us(value).to_be_bytes()),
            _ => Err(self.unfit("a timestamp")),
        }
    }

    /// Ends the row; waits only when the buffer is full.
    pub async fn end_row(&mut self) -> Result<()> {
        if self.column != self.columns.len() {
            return Err(Error::bug(format!("{}: a row ends after {} columns", self.doing, self.column)));
        }
        self.column = 0;
        if self.buffer.len() >= FLUSH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Ends the load and returns the number of rows the server took.
    pub async fn finish(mut self) -> Result<u64> {
        self.buffer.extend_from_slice(&(-1_i16).to_be_bytes());
        self.flush().await?;
        self.sink.as_mut().finish().await.map_err(|error| self.client.failed(&self.doing, error))
    }

    async fn flush(&mut self) -> Result<()> {
        let bytes = self.buffer.split().freeze();
        match self.sink.send(bytes).await {
            Ok(()) => Ok(()),
            // The sink says only that it is closed; the server's reason comes with the end of the statement.
            Err(error) => match self.sink.as_mut().finish().await {
                Err(reason) => Err(self.client.failed(&self.doing, reason)),
                Ok(_) => Err(self.client.failed(&self.doing, error)),
            },
        }
    }

    fn next_column(&mut self) -> Result<Codec> {
        let Some((_, codec)) = self.columns.get(self.column) else {
            return Err(Error::bug(format!("{}: a row has more than {} columns", self.doing, self.columns.len())));
        };
        if self.column == 0 {
            let count = self.columns.len() as i16;
            self.buffer.extend_from_slice(&count.to_be_bytes());
        }
        self.column += 1;
        Ok(*codec)
    }

    fn value(&mut self, bytes: &[u8]) -> Result<()> {
        let length = i32::try_from(bytes.len()).map_err(|_| self.unfit("a value of more than 2 gib"))?;
        self.buffer.extend_from_slice(&length.to_be_bytes());
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn unfit(&self, value: &str) -> Error {
        let name = &self.columns[self.column - 1].0;
        Error::bug(format!("{}: column `{name}` does not take {value}", self.doing))
    }
}

/// PostgreSQL's binary numeric of `unscaled / 10^scale`.
fn numeric_bytes(out: &mut Vec<u8>, unscaled: i128, scale: u8) {
    // The fraction is padded to whole groups, so that the point falls between two of them.
    let fraction_groups = scale.div_ceil(4);
    let padding = u32::from(fraction_groups) * 4 - u32::from(scale);
    let magnitude = unscaled.unsigned_abs();
    // Padded low groups first; the padding may not fit 128 bits, so it is applied to the lowest group only.
    let shift = 10_u128.pow(padding);
    let mut groups = vec![(magnitude % (GROUP / shift)) * shift];
    let mut rest = magnitude / (GROUP / shift);
    while rest > 0 {
        groups.push(rest % GROUP);
        rest /= GROUP;
    }
    let weight = groups.len() as i16 - 1 - i16::from(fraction_groups);
    let sign: u16 = if unscaled < 0 { 0x4000 } else { 0 };
    out.extend_from_slice(&(groups.len() as u16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&u16::from(scale).to_be_bytes());
    for group in groups.iter().rev() {
        out.extend_from_slice(&(*group as u16).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::encode;

    #[test]
    fn a_decimal_is_the_same_number_after_the_way_through_postgresqls_form() {
        for (unscaled, scale) in [
            (0_i128, 0_u8),
            (0, 2),
            (5, 2),
            (-35_000, 2),
            (12_345_678, 3),
            (9_999_999_999, 2),
            (1, 38),
            (10_000, 4),
            (i128::from(i64::MIN), 1),
            (10_i128.pow(37), 7),
        ] {
            let mut bytes = Vec::new();
            numeric_bytes(&mut bytes, unscaled, scale);
            let mut read = Vec::new();
            Codec::Numeric.write(&mut read, Some(&bytes), &mut |us| us).unwrap();
            let mut expected = Vec::new();
            encode::decimal(&mut expected, unscaled, scale);
            // A number below one has a leading zero group in one form and none in the other; the value counts.
            let (read, expected) = (String::from_utf8(read).unwrap(), String::from_utf8(expected).unwrap());
            assert_eq!(read, expected, "{unscaled} / 10^{scale}");
        }
    }
}
