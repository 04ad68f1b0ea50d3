//! Reads the records of a decompressed body, borrowing everything: Kafka's here, native ones by [`crate::native`].

use crate::batch::{BatchHeader, Encoding, TimestampType};
use crate::native::{NativeBody, NativeHeaders};
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
    /// A native body is not the table that it should be.
    #[error("the body is no table of records")]
    Body,
    /// A part of a native record ends before it begins, ends behind all content, or is not there and takes bytes.
    #[error("a part from {at} to {end}")]
    End {
        /// Where it begins.
        at: u32,
        /// Where it ends.
        end: u32,
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
#[derive(Clone, Copy, Debug)]
pub struct Headers<'a>(Inner<'a>);

#[derive(Clone, Copy, Debug)]
enum Inner<'a> {
    Kafka { count: usize, bytes: &'a [u8] },
    Native(NativeHeaders<'a>),
}

/// The same headers in the same order, however they are written.
impl PartialEq for Headers<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers<'_> {}

impl<'a> From<NativeHeaders<'a>> for Headers<'a> {
    fn from(headers: NativeHeaders<'a>) -> Self {
        Self(Inner::Native(headers))
    }
}

impl<'a> Headers<'a> {
    /// How many the record says there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        match &self.0 {
            Inner::Kafka { count, .. } => *count,
            Inner::Native(headers) => headers.count(),
        }
    }

    /// Walks the headers; ends after the first that can't be read.
    #[inline]
    #[must_use]
    pub const fn iter(&self) -> HeaderIter<'a> {
        HeaderIter(self.0)
    }

    /// Walks all headers, which must take exactly what the record has left for them.
    #[inline]
    pub fn check(&self) -> Result<(), RecordProblem> {
        let Inner::Kafka { count, bytes } = self.0 else {
            return self.iter().try_for_each(|header| header.map(drop));
        };
        if count == 0 && bytes.is_empty() {
            return Ok(());
        }
        let mut reader = Reader::new(bytes, 0);
        for _ in 0..count {
            read_header(&mut reader)?;
        }
        let left = reader.rest().len();
        if left == 0 { Ok(()) } else { Err(RecordProblem::Trailing(left)) }
    }
}

impl<'a> IntoIterator for &Headers<'a> {
    type Item = Result<Header<'a>, RecordProblem>;
    type IntoIter = HeaderIter<'a>;

    fn into_iter(self) -> HeaderIter<'a> {
        self.iter()
    }
}

/// Walks a record's headers; ends after the first that can't be read.
#[derive(Clone, Debug)]
pub struct HeaderIter<'a>(Inner<'a>);

impl<'a> Iterator for HeaderIter<'a> {
    type Item = Result<Header<'a>, RecordProblem>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let header = match &mut self.0 {
            Inner::Native(headers) => headers.next()?,
            Inner::Kafka { count, bytes } => {
                *count = count.checked_sub(1)?;
                let mut reader = Reader::new(bytes, 0);
                let header = read_header(&mut reader);
                *bytes = reader.rest();
                header
            }
        };
        if header.is_err() {
            self.0 = Inner::Kafka { count: 0, bytes: &[] };
        }
        Some(header)
    }
}

/// Walks the records of a decompressed body, in whichever encoding; ends after the first that can't be read.
#[derive(Debug)]
pub struct RecordIter<'a> {
    body: Body<'a>,
    base_offset: Offset,
    base_timestamp: Timestamp,
    /// Set where the broker gave all records one time.
    append_time: Option<Timestamp>,
}

/// What has not been walked yet.
#[derive(Debug)]
enum Body<'a> {
    Kafka(Reader<'a>),
    Native(NativeBody<'a>),
    /// The native body could not be opened: the first record is the one that can't be read.
    Unreadable(RecordProblem),
}

impl<'a> RecordIter<'a> {
    /// Walks `body`, the decompressed records of the batch with this header.
    #[must_use]
    pub fn new(body: &'a [u8], header: &BatchHeader) -> Self {
        let append_time = header.timestamp_type() == TimestampType::LogAppendTime;
        let body = match header.encoding() {
            Some(Encoding::Native) => NativeBody::open(body).map_or_else(Body::Unreadable, Body::Native),
            _ => Body::Kafka(Reader::new(body, 0)),
        };
        Self {
            body,
            base_offset: header.base_offset(),
            base_timestamp: header.base_timestamp(),
            append_time: append_time.then(|| header.max_timestamp()),
        }
    }

    /// Bytes that belong to no record walked so far: none behind the last, where the body is sound.
    #[must_use]
    pub fn left(&self) -> usize {
        match &self.body {
            Body::Kafka(reader) => reader.rest().len(),
            Body::Native(body) => body.left(),
            Body::Unreadable(_) => 0,
        }
    }

    /// The record that `part` is, where and when it is.
    #[inline]
    fn place(&self, part: Part<'a>) -> Result<Record<'a>, RecordProblem> {
        let timestamp = match self.append_time {
            Some(timestamp) => timestamp.0,
            None => self
                .base_timestamp
                .0
                .checked_add(part.timestamp_delta)
                .ok_or(RecordProblem::Timestamp(part.timestamp_delta))?,
        };
        Ok(Record {
            offset_delta: part.offset_delta,
            offset: Offset(self.base_offset.0.wrapping_add(i64::from(part.offset_delta))),
            timestamp: Timestamp(timestamp),
            key: part.key,
            value: part.value,
            headers: part.headers,
        })
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<Record<'a>, RecordProblem>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let part = match &mut self.body {
            Body::Kafka(reader) if reader.rest().is_empty() => return None,
            Body::Kafka(reader) => read_part(reader),
            Body::Native(body) => body.next()?,
            Body::Unreadable(problem) => Err(*problem),
        };
        let record = part.and_then(|part| self.place(part));
        if record.is_err() {
            self.body = Body::Kafka(Reader::new(&[], 0));
        }
        Some(record)
    }
}

/// A record as its body says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Headers<'a>,
}

#[inline]
fn read_part<'a>(body: &mut Reader<'a>) -> Result<Part<'a>, RecordProblem> {
    let length = body.varint()?;
    let length = usize::try_from(length).map_err(|_| RecordProblem::Length(length))?;
    let mut reader = Reader::new(body.take(length)?, 0);
    // No attribute of a record has a meaning yet.
    reader.i8()?;
    let timestamp_delta = reader.varlong()?;
    let offset_delta = reader.varint()?;
    let key = read_bytes(&mut reader)?;
    let value = read_bytes(&mut reader)?;
    let count = reader.varint()?;
    let count = usize::try_from(count).map_err(|_| RecordProblem::Length(count))?;
    let headers = Headers(Inner::Kafka { count, bytes: reader.rest() });
    Ok(Part { timestamp_delta, offset_delta, key, value, headers })
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
