//! Reads primitives off a borrowed frame, within its bounds and within a memory budget.
//!
//! A frame of 100 MB can claim 100 million empty structs of 200 bytes each: bounds alone don't keep memory bounded.
//! So whoever decodes says how many bytes the decoded arrays may take, and each array is charged before it is
//! allocated. Strings and bytes borrow from the frame and cost nothing.

use crate::limits::{VARINT_BYTES_MAX, VARLONG_BYTES_MAX};

/// Why bytes from outside are not the message they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A field reaches past the end.
    #[error("{needed} bytes needed where {remaining} are left")]
    Truncated {
        /// What the field asked for.
        needed: usize,
        /// What there was.
        remaining: usize,
    },
    /// A length is negative where it can't be null.
    #[error("a length of {0} is negative")]
    NegativeLength(i64),
    /// A null stands where the version wants a value.
    #[error("null where a value is needed")]
    Null,
    /// A varint doesn't end, or holds more bits than its type.
    #[error("a varint is longer than its type")]
    VarintTooLong,
    /// A string is not UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// The arrays of this message take more memory than the caller allowed.
    #[error("decoding needs {needed} bytes of memory where {budget} are left")]
    OverBudget {
        /// What the next array takes.
        needed: usize,
        /// What was left.
        budget: usize,
    },
    /// A tagged field's content ends before or after its length says.
    #[error("a tagged field leaves {0} bytes of its length unread")]
    TaggedLength(usize),
    /// The message ended and the frame goes on.
    #[error("{0} bytes are left after the message")]
    Trailing(usize),
}

/// Reads a borrowed frame from front to back.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    budget_bytes: usize,
}

macro_rules! integers {
    ($($name:ident: $type:ty),* $(,)?) => {$(
        #[doc = concat!("Reads a big-endian `", stringify!($type), "`.")]
        #[inline]
        pub fn $name(&mut self) -> Result<$type, DecodeError> {
            let (bytes, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated {
                needed: size_of::<$type>(),
                remaining: self.rest.len(),
            })?;
            self.rest = rest;
            Ok(<$type>::from_be_bytes(*bytes))
        }
    )*};
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, allowing arrays of `budget_bytes` in all.
    #[must_use]
    pub const fn new(bytes: &'a [u8], budget_bytes: usize) -> Self {
        Self { rest: bytes, budget_bytes }
    }

    /// What has not been read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How much memory decoding may still take.
    #[must_use]
    pub const fn budget_bytes(&self) -> usize {
        self.budget_bytes
    }

    integers! { i8: i8, i16: i16, u16: u16, i32: i32, u32: u32, i64: i64, f64: f64 }

    /// Reads a boolean: any byte but 0 is true.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    /// Reads the next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (bytes, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or(DecodeError::Truncated { needed: count, remaining: self.rest.len() })?;
        self.rest = rest;
        Ok(bytes)
    }

    /// Reads an unsigned varint of 32 bits.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        match self.uvarint_short() {
            Some(value) => Ok(value),
            None => self.uvarint_long(),
        }
    }

    /// Reads an unsigned varint of 64 bits.
    #[inline]
    pub fn uvarlong(&mut self) -> Result<u64, DecodeError> {
        match self.uvarint_short() {
            Some(value) => Ok(u64::from(value)),
            None => self.uvarint_bytes(VARLONG_BYTES_MAX),
        }
    }

    /// Reads a varint of one or two bytes, which nearly all lengths and deltas are; none if it is longer.
    #[inline]
    fn uvarint_short(&mut self) -> Option<u32> {
        let (&[first], rest) = self.rest.split_first_chunk()?;
        if first < 0x80 {
            self.rest = rest;
            return Some(u32::from(first));
        }
        let (&[second], rest) = rest.split_first_chunk()?;
        if second >= 0x80 {
            return None;
        }
        self.rest = rest;
        Some(u32::from(first & 0x7f) | u32::from(second) << 7)
    }

    #[inline(never)]
    fn uvarint_long(&mut self) -> Result<u32, DecodeError> {
        let value = self.uvarint_bytes(VARINT_BYTES_MAX)?;
        u32::try_from(value).map_err(|_| DecodeError::VarintTooLong)
    }

    /// Reads a zigzag varint of 32 bits.
    #[inline]
    pub fn varint(&mut self) -> Result<i32, DecodeError> {
        let value = self.uvarint()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// Reads a zigzag varint of 64 bits.
    #[inline]
    pub fn varlong(&mut self) -> Result<i64, DecodeError> {
        let value = self.uvarlong()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    #[inline(never)]
    fn uvarint_bytes(&mut self, bytes_max: usize) -> Result<u64, DecodeError> {
        let mut value = 0_u64;
        for (index, &byte) in self.rest.iter().take(bytes_max).enumerate() {
            let bits = u64::from(byte & 0x7f);
            // The tenth byte of a varlong has room for one bit.
            if index == VARLONG_BYTES_MAX - 1 && bits > 1 {
                return Err(DecodeError::VarintTooLong);
            }
            value |= bits << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        match self.rest.len() < bytes_max {
            true => Err(DecodeError::Truncated { needed: self.rest.len() + 1, remaining: self.rest.len() }),
            false => Err(DecodeError::VarintTooLong),
        }
    }

    /// Reads the length of a compact field, which is stored plus one; 0 is null.
    #[inline]
    pub fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        let stored = self.uvarint()?;
        Ok(stored.checked_sub(1).map(to_usize))
    }

    /// Reads a length in 16 bits; -1 is null.
    #[inline]
    pub fn short_length(&mut self) -> Result<Option<usize>, DecodeError> {
        let length = self.i16()?;
        length_or_null(i64::from(length))
    }

    /// Reads a length in 32 bits; -1 is null.
    #[inline]
    pub fn long_length(&mut self) -> Result<Option<usize>, DecodeError> {
        let length = self.i32()?;
        length_or_null(i64::from(length))
    }

    /// Reads `count` bytes as a string.
    #[inline]
    pub fn string(&mut self, count: usize) -> Result<&'a str, DecodeError> {
        str::from_utf8(self.take(count)?).map_err(|_| DecodeError::NotUtf8)
    }

    /// Admits an array of `count` items of type `T`, each at least `wire_bytes_min` long on the wire, and returns
    /// an empty vector with room for all of them.
    ///
    /// The count comes from outside, so it is held against the bytes that are left and against the budget first.
    pub fn admit_array<T>(&mut self, count: usize, wire_bytes_min: usize) -> Result<Vec<T>, DecodeError> {
        let needed = count.saturating_mul(wire_bytes_min.max(1));
        if needed > self.rest.len() {
            return Err(DecodeError::Truncated { needed, remaining: self.rest.len() });
        }
        let memory = count.saturating_mul(size_of::<T>());
        self.budget_bytes = self
            .budget_bytes
            .checked_sub(memory)
            .ok_or(DecodeError::OverBudget { needed: memory, budget: self.budget_bytes })?;
        Ok(Vec::with_capacity(count))
    }

    /// Reads a section of tagged fields. `read` gets a reader that ends where the field does, and the tag; it
    /// returns false for a tag it doesn't know, which is then skipped.
    pub fn tagged_fields<F>(&mut self, mut read: F) -> Result<(), DecodeError>
    where
        F: FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    {
        // Each field takes two bytes or more, so the frame bounds this loop.
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let length = to_usize(self.uvarint()?);
            let content = self.take(length)?;
            let after = std::mem::replace(&mut self.rest, content);
            let known = read(self, tag)?;
            let unread = std::mem::replace(&mut self.rest, after).len();
            if known && unread > 0 {
                return Err(DecodeError::TaggedLength(unread));
            }
        }
        Ok(())
    }

    /// Ends reading: the message must have taken the whole frame.
    pub const fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }
}

fn length_or_null(length: i64) -> Result<Option<usize>, DecodeError> {
    match length {
        -1 => Ok(None),
        _ => usize::try_from(length).map(Some).map_err(|_| DecodeError::NegativeLength(length)),
    }
}

/// Widens: the crate needs pointers of 32 bits at least.
const fn to_usize(value: u32) -> usize {
    const { assert!(size_of::<usize>() >= size_of::<u32>()) };
    value as usize
}
