//! Reads the records of a decompressed body, borrowing everything.

use crate::batch::{BatchHeader, TimestampType};
use crate::types::{Offset, Timestamp};
use crate::wire::{DecodeError, Reader};

/// What is wrong with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordProblem {
    /// The body ends inside of it.
    #[error("the batch ends inside of the record")]
    Truncated,
    /// A varint doesn't end.
    #[error("a varint is longer than its type")]
    Varint,
    /// A length or count below -1, or a null where there is none.
    #[error("a length of {0}")]
    Length(i32),
    /// The record's length is not what its fields take.
    #[error("{0} bytes are left inside of the record")]
    Trailing(usize),
    /// The timestamp leaves 64 bits.
    #[error("a timestamp delta of {0} leaves the range of timestamps")]
    Timestamp(i64),
    /// The record is not where it stands.
    #[error("an offset delta of {delta}")]
    OffsetDelta {
        /// What the record says.
        delta: i32,
    },
}

impl From<DecodeError> for RecordProblem {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::VarintTooLong => Self::Varint,
            _ => Self::Truncated,
        }
    }
}

/// A record, borrowed from the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// How far its offset is from the batch's base offset.
    pub offset_delta: i32,
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp: the producer's, or the batch's where the broker stamped it.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: Headers<'a>,
}

/// A header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Its key: text by convention, but nobody checks.
    pub key: &'a [u8],
    /// Its value.
    pub value: Option<&'a [u8]>,
}

/// A record's headers, read as they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl<'a> Headers<'a> {
    /// How many the record says there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Walks the headers; ends after the first that can't be read.
    pub fn iter(&self) -> impl Iterator<Item = Result<Header<'a>, RecordProblem>> + use<'a> {
        let mut reader = Reader::new(self.bytes, 0);
        let mut left = self.count;
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let header = read_header(&mut reader);
            if header.is_err() {
                left = 0;
            }
            Some(header)
        })
    }

    /// Walks all headers, which must take exactly what the record has left for them.
    pub fn check(&self) -> Result<(), RecordProblem> {
        if self.count == 0 && self.bytes.is_empty() {
            return Ok(());
        }
        let mut reader = Reader::new(self.bytes, 0);
        for _ in 0..self.count {
            read_header(&mut reader)?;
        }
        reader.finish().map_err(|_| RecordProblem::Trailing(self.trailing_bytes()))
    }

    #[cold]
    fn trailing_bytes(&self) -> usize {
        let mut reader = Reader::new(self.bytes, 0);
        for _ in 0..self.count {
            if read_header(&mut reader).is_err() {
                break;
            }
        }
        reader.rest().len()
    }
}

/// Walks the records of a decompressed body; ends after the first that can't be read.
#[derive(Debug)]
pub struct RecordIter<'a> {
    reader: Reader<'a>,
    base_offset: Offset,
    base_timestamp: Timestamp,
    /// Set where the broker gave all records one time.
    append_time: Option<Timestamp>,
}

impl<'a> RecordIter<'a> {
    /// Walks `body`, the decompressed records of the batch with this header.
    #[must_use]
    pub fn new(body: &'a [u8], header: &BatchHeader) -> Self {
        let append_time = header.timestamp_type() == TimestampType::LogAppendTime;
        Self {
            reader: Reader::new(body, 0),
            base_offset: header.base_offset(),
            base_timestamp: header.base_timestamp(),
            append_time: append_time.then(|| header.max_timestamp()),
        }
    }

    /// What has not been walked yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    #[inline]
    fn read(&mut self) -> Result<Record<'a>, RecordProblem> {
        let length = self.reader.varint()?;
        let length = usize::try_from(length).map_err(|_| RecordProblem::Length(length))?;
        let mut reader = Reader::new(self.reader.take(length)?, 0);
        // No attribute of a record has a meaning yet.
        reader.i8()?;
        let timestamp_delta = reader.varlong()?;
        let offset_delta = reader.varint()?;
        let key = read_bytes(&mut reader)?;
        let value = read_bytes(&mut reader)?;
        let count = reader.varint()?;
        let count = usize::try_from(count).map_err(|_| RecordProblem::Length(count))?;
        let timestamp = match self.append_time {
            Some(timestamp) => timestamp.0,
            None => self
                .base_timestamp
                .0
                .checked_add(timestamp_delta)
                .ok_or(RecordProblem::Timestamp(timestamp_delta))?,
        };
        Ok(Record {
            offset_delta,
            offset: Offset(self.base_offset.0.wrapping_add(i64::from(offset_delta))),
            timestamp: Timestamp(timestamp),
            key,
            value,
            headers: Headers { count, bytes: reader.rest() },
        })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordProblem>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.rest().is_empty() {
            return None;
        }
        let record = self.read();
        if record.is_err() {
            self.reader = Reader::new(&[], 0);
        }
        Some(record)
    }
}

#[inline]
fn read_bytes<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, RecordProblem> {
    let length = reader.varint()?;
    match usize::try_from(length) {
        Ok(length) => Ok(Some(reader.take(length)?)),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(RecordProblem::Length(length)),
    }
}

#[inline]
fn read_header<'a>(reader: &mut Reader<'a>) -> Result<Header<'a>, RecordProblem> {
    let key = read_bytes(reader)?.ok_or(RecordProblem::Length(-1))?;
    Ok(Header { key, value: read_bytes(reader)? })
}
