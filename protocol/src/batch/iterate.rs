//! Cutting a payload into batches, by their lengths and nothing else.

use super::header::{BatchHeader, HEADER_BYTES, MAGIC, MAGIC_AT};
use crate::compression::{DecompressError, decompress};
use std::borrow::Cow;

/// One whole batch in a payload. Its length is true; nothing else has been checked.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: &'a BatchHeader,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The header, in place.
    #[must_use]
    pub const fn header(&self) -> &'a BatchHeader {
        self.header
    }

    /// The whole batch.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header, compressed or not.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// The records, decompressed into `bytes_max` at most. A compression that Kafka has not given out is taken for
    /// none; [`validate`](super::validate) refuses it.
    pub fn records(&self, bytes_max: usize) -> Result<Cow<'a, [u8]>, DecompressError> {
        decompress(self.header.compression().unwrap_or_default(), self.body(), bytes_max)
    }
}

/// Why a payload can't be cut into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The payload ends inside of a batch.
    #[error("a batch of {needed} bytes has {remaining} bytes only")]
    Truncated {
        /// What the batch takes, as far as its header can be read.
        needed: usize,
        /// What there is.
        remaining: usize,
    },
    /// The length field can't be true.
    #[error("a batch of length {0} can't hold its own header")]
    Length(i32),
    /// A format before 2, or no batch at all.
    #[error("a batch in format {0}")]
    Magic(i8),
}

/// Walks a payload batch by batch; ends after the first error.
#[derive(Clone, Debug)]
pub struct BatchIter<'a> {
    rest: &'a [u8],
}

impl<'a> BatchIter<'a> {
    /// Walks `payload`.
    #[must_use]
    pub const fn new(payload: &'a [u8]) -> Self {
        Self { rest: payload }
    }

    /// What has not been walked yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn cut(rest: &'a [u8]) -> Result<(Batch<'a>, &'a [u8]), FramingError> {
        // The older formats have their magic in the same place and may be shorter than this header.
        if let Some(&[magic]) = rest.get(MAGIC_AT..=MAGIC_AT)
            && magic.cast_signed() < MAGIC
        {
            return Err(FramingError::Magic(magic.cast_signed()));
        }
        let truncated = |needed| FramingError::Truncated { needed, remaining: rest.len() };
        let header = BatchHeader::from_prefix(rest).ok_or(truncated(HEADER_BYTES))?;
        let size = header.size_bytes().ok_or(FramingError::Length(header.length()))?;
        let (bytes, rest) = rest.split_at_checked(size).ok_or(truncated(size))?;
        Ok((Batch { header, bytes }, rest))
    }
}

impl<'a> Iterator for BatchIter<'a> {
    type Item = Result<Batch<'a>, FramingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Self::cut(self.rest) {
            Ok((batch, rest)) => {
                self.rest = rest;
                Some(Ok(batch))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}
