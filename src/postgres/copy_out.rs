//! Reading rows: the binary COPY stream cut into rows that borrow the server's bytes.
//!
//! The server sends one message per row today; the protocol does not promise it, so a row that is spread over
//! messages is put together in a carry buffer, and the usual row is never copied.

use std::pin::pin;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio_postgres::Statement;

use super::connect::Client;
use crate::error::{Error, Kind, Result};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
/// Signature, flags, length of the header extension.
const HEADER_LEN: usize = SIGNATURE.len() + 4 + 4;
/// Bit 16 of the flags: rows carry object ids, which no supported server sends.
const FLAG_OIDS: u32 = 1 << 16;

/// One row; fields are `None` where the database has NULL.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    bytes: &'a [u8],
    fields: &'a [Option<(u32, u32)>],
}

impl<'a> Row<'a> {
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The field's bytes; `None` for NULL.
    ///
    /// # Panics
    /// When `index` is not below `len`: the statement and its reader disagree.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        self.fields[index].map(|(start, end)| &self.bytes[start as usize..end as usize])
    }

    /// The field as text, for columns the statement casts to text.
    pub fn text(&self, index: usize) -> Result<Option<&'a str>> {
        self.get(index)
            .map(std::str::from_utf8)
            .transpose()
            .map_err(|error| Error::new(Kind::Source, "the server sent text that is not utf-8").because(error))
    }
}

/// Runs `COPY (…) TO STDOUT (FORMAT binary)` and hands every row to `on_row`; returns their number.
///
/// `statement` is the query inside the parentheses. An error of `on_row` ends the reading at once; the client is
/// then of no further use.
pub async fn copy_out(
    client: &Client,
    statement: &str,
    doing: &str,
    on_row: impl FnMut(&Row<'_>) -> Result<()> + Send,
) -> Result<u64> {
    let copy = prepare(client, statement, doing).await?;
    drain(client, &copy, doing, on_row).await
}

/// The same as the last statement of a page: the end of its transaction is sent with it, and costs no answer of its own.
pub async fn copy_out_page(
    client: &Client,
    statement: &str,
    doing: &str,
    on_row: impl FnMut(&Row<'_>) -> Result<()> + Send,
) -> Result<u64> {
    let copy = prepare(client, statement, doing).await?;
    // The order of the messages is the order in which the two futures are first polled.
    let (rows, ()) = tokio::try_join!(biased; drain(client, &copy, doing, on_row), client.end_page())?;
    Ok(rows)
}

async fn prepare(client: &Client, statement: &str, doing: &str) -> Result<Statement> {
    let sql = format!("COPY ({statement}) TO STDOUT (FORMAT binary)");
    client.inner.prepare(&sql).await.map_err(|error| client.failed(doing, error))
}

async fn drain(
    client: &Client,
    copy: &Statement,
    doing: &str,
    mut on_row: impl FnMut(&Row<'_>) -> Result<()> + Send,
) -> Result<u64> {
    let stream = client.inner.copy_out(copy).await.map_err(|error| client.failed(doing, error))?;
    let mut stream = pin!(stream);
    let mut decoder = CopyDecoder::default();
    let mut rows = 0;
    while let Some(chunk) = stream.next().await {
        let chunk: Bytes = chunk.map_err(|error| client.failed(doing, error))?;
        rows += decoder.push(&chunk, &mut on_row)?;
    }
    decoder.finish()?;
    Ok(rows)
}

/// Cuts the stream; knows nothing of connections, so that torn streams can be tried.
#[derive(Debug, Default)]
pub struct CopyDecoder {
    carry: Vec<u8>,
    fields: Vec<Option<(u32, u32)>>,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Header,
    Rows,
    End,
}

/// What stands at the beginning of some bytes.
enum Step {
    /// More bytes are needed.
    Incomplete,
    /// The header, of this length.
    Header(usize),
    /// A row, of this length; its fields are in the decoder.
    Row(usize),
    /// The trailer, of this length.
    Trailer(usize),
}

impl CopyDecoder {
    /// Takes the next bytes and hands on every row that is whole now; returns their number.
    ///
    /// # Errors
    /// `Source` for bytes that are no such stream, and whatever `on_row` returns.
    pub fn push(&mut self, chunk: &[u8], on_row: &mut impl FnMut(&Row<'_>) -> Result<()>) -> Result<u64> {
        if self.carry.is_empty() {
            let (used, rows) = self.consume(chunk, on_row)?;
            self.carry.extend_from_slice(&chunk[used..]);
            return Ok(rows);
        }
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(chunk);
        let (used, rows) = self.consume(&carry, on_row)?;
        carry.drain(..used);
        self.carry = carry;
        Ok(rows)
    }

    /// The stream has ended.
    ///
    /// # Errors
    /// `Source` where its trailer has not come.
    pub fn finish(&self) -> Result<()> {
        if self.state == State::End && self.carry.is_empty() { Ok(()) } else { Err(broken("it ends in the middle")) }
    }

    fn consume(&mut self, bytes: &[u8], on_row: &mut impl FnMut(&Row<'_>) -> Result<()>) -> Result<(usize, u64)> {
        let mut used = 0;
        let mut rows = 0;
        loop {
            let rest = &bytes[used..];
            match self.step(rest)? {
                Step::Incomplete => return Ok((used, rows)),
                Step::Header(length) => {
                    self.state = State::Rows;
                    used += length;
                }
                Step::Row(length) => {
                    on_row(&Row { bytes: rest, fields: &self.fields })?;
                    rows += 1;
                    used += length;
                }
                Step::Trailer(length) => {
                    self.state = State::End;
                    used += length;
                }
            }
        }
    }

    #[inline]
    fn step(&mut self, bytes: &[u8]) -> Result<Step> {
        match self.state {
            State::Header => header(bytes),
            State::Rows => self.row(bytes),
            State::End if bytes.is_empty() => Ok(Step::Incomplete),
            State::End => Err(broken("bytes follow its end")),
        }
    }

    #[inline]
    fn row(&mut self, bytes: &[u8]) -> Result<Step> {
        let Some((count, mut rest)) = bytes.split_first_chunk::<2>() else { return Ok(Step::Incomplete) };
        let count = i16::from_be_bytes(*count);
        if count == -1 {
            return Ok(Step::Trailer(2));
        }
        if count < 0 {
            return Err(broken("a row has a negative number of fields"));
        }
        self.fields.clear();
        for _ in 0..count {
            let Some((length, after)) = rest.split_first_chunk::<4>() else { return Ok(Step::Incomplete) };
            let length = i32::from_be_bytes(*length);
            if length == -1 {
                self.fields.push(None);
                rest = after;
                continue;
            }
            let length = usize::try_from(length).map_err(|_| broken("a field has a negative length"))?;
            let Some(next) = after.get(length..) else { return Ok(Step::Incomplete) };
            let start = bytes.len() - after.len();
            let span = |at: usize| u32::try_from(at).map_err(|_| broken("a row is larger than 4 gib"));
            self.fields.push(Some((span(start)?, span(start + length)?)));
            rest = next;
        }
        Ok(Step::Row(bytes.len() - rest.len()))
    }
}

fn header(bytes: &[u8]) -> Result<Step> {
    if !bytes.starts_with(&SIGNATURE[..bytes.len().min(SIGNATURE.len())]) {
        return Err(broken("it does not begin with the signature"));
    }
    let Some(fixed) = bytes.get(SIGNATURE.len()..HEADER_LEN) else { return Ok(Step::Incomplete) };
    let word = |at: usize| u32::from_be_bytes(fixed[at..at + 4].try_into().expect("the slice is eight bytes long"));
    if word(0) & FLAG_OIDS != 0 {
        return Err(broken("its rows carry object ids"));
    }
    // The extension is for others; its length may be anything the server says, so wait until it is all here.
    let length = HEADER_LEN + word(4) as usize;
    Ok(if bytes.len() < length { Step::Incomplete } else { Step::Header(length) })
}

fn broken(what: &str) -> Error {
    Error::new(Kind::Source, format!("the server's binary copy stream cannot be read: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[0, 3, 0, 0, 0, 2, b'a', b'b', 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[0, 3, 0, 0, 0, 0, 0, 0, 0, 1, b'c', 0xff, 0xff, 0xff, 0xff]);
        bytes.extend_from_slice(&[0xff, 0xff]);
        bytes
    }

    fn read(chunks: &[&[u8]]) -> Result<Vec<Vec<Option<Vec<u8>>>>> {
        let mut rows = Vec::new();
        let mut decoder = CopyDecoder::default();
        for chunk in chunks {
            decoder.push(chunk, &mut |row: &Row<'_>| {
                rows.push((0..row.len()).map(|index| row.get(index).map(<[u8]>::to_vec)).collect());
                Ok(())
            })?;
        }
        decoder.finish()?;
        Ok(rows)
    }

    #[test]
    fn rows_are_the_same_wherever_the_stream_is_cut() {
        let bytes = stream();
        let whole = read(&[&bytes]).unwrap();
        assert_eq!(whole[0], [Some(b"ab".to_vec()), None, Some(Vec::new())]);
        assert_eq!(whole[1], [Some(Vec::new()), Some(b"c".to_vec()), None]);
        for cut in 0..bytes.len() {
            assert_eq!(read(&[&bytes[..cut], &bytes[cut..]]).unwrap(), whole, "cut at {cut}");
        }
        let singles: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(read(&singles).unwrap(), whole);
    }

    #[test]
    fn a_torn_or_damaged_stream_is_an_error_and_never_a_panic() {
        let bytes = stream();
        for end in 0..bytes.len() {
            assert!(read(&[&bytes[..end]]).is_err(), "ends at {end}");
        }
        for position in 0..bytes.len() {
            for flip in [0x80, 0x01, 0xff] {
                let mut damaged = bytes.clone();
                damaged[position] ^= flip;
                // Some flips change only a value; what matters is that none panics.
                let _ = read(&[&damaged]);
            }
        }
        let mut trailing = bytes.clone();
        trailing.push(0);
        assert!(read(&[&trailing]).is_err());
    }
}
