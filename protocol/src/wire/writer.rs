//! Writes frames into a growing buffer, and leaves record payloads where they are.
//!
//! A payload is remembered as a splice: a position in the buffer and the chunk that belongs there. A finished frame
//! is a list of chunks for `writev`: pieces of the buffer with payloads between them. The buffer outlives the frame;
//! as long as its chunks are dropped in time, writing allocates nothing.
//!
//! Failure is sticky: a value that can't be encoded is remembered by the first `refuse`, writing goes on, and
//! `finish_frame` drops the frame and returns the reason. So no field writer needs a `Result`.

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{PAYLOAD_INLINE_BYTES_MAX, WRITER_GROWTH_BYTES_MIN};

/// Why a message can't be written in the version asked for. Always the writing side's mistake or limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A value is longer than its encoding can say.
    #[error("{length} bytes or items are too many for an encoding that holds {length_max}")]
    TooLong {
        /// How long it is.
        length: usize,
        /// The most there can be.
        length_max: usize,
    },
    /// A field is null in a version that knows no null there.
    #[error("{field} can't be null in version {version}")]
    Null {
        /// `Struct.field`.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
    /// A field holds a value that the version can't carry and that may not be dropped.
    #[error("{field} can't be carried by version {version}")]
    NotInVersion {
        /// `Struct.field`.
        field: &'static str,
        /// The version asked for.
        version: i16,
    },
}

/// A chunk that belongs in the frame without being copied to its buffer.
#[derive(Debug)]
struct Splice {
    /// Where in the buffer the chunk belongs.
    position: usize,
    chunk: Bytes,
}

/// Writes frames, one after the other.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    splices: Vec<Splice>,
    spliced_bytes: usize,
    failure: Option<EncodeError>,
}

macro_rules! integers {
    ($($name:ident: $type:ty => $put:ident),* $(,)?) => {$(
        #[doc = concat!("Writes a big-endian `", stringify!($type), "`.")]
        #[inline]
        pub fn $name(&mut self, value: $type) {
            self.buffer.$put(value);
        }
    )*};
}

impl Writer {
    /// A writer with an empty buffer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    integers! {
        i8: i8 => put_i8,
        i16: i16 => put_i16,
        u16: u16 => put_u16,
        i32: i32 => put_i32,
        u32: u32 => put_u32,
        i64: i64 => put_i64,
        f64: f64 => put_f64,
    }

    /// Writes a boolean as one byte.
    #[inline]
    pub fn bool(&mut self, value: bool) {
        self.buffer.put_u8(u8::from(value));
    }

    /// Copies bytes as they are.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// Writes an unsigned varint.
    #[inline]
    pub fn uvarint(&mut self, value: u32) {
        put_uvarint(&mut self.buffer, value);
    }

    /// Writes the length of a compact field; none is null.
    #[inline]
    pub fn compact_length(&mut self, length: Option<usize>) {
        let Some(length) = length else { return self.uvarint(0) };
        match u32::try_from(length).ok().filter(|&length| length < i32::MAX.cast_unsigned()) {
            Some(length) => self.uvarint(length + 1),
            None => self.refuse(EncodeError::TooLong { length, length_max: LENGTH_MAX - 1 }),
        }
    }

    /// Writes a length in 16 bits; none is null.
    #[inline]
    pub fn short_length(&mut self, length: Option<usize>) {
        match length.map_or(Ok(-1), i16::try_from) {
            Ok(length) => self.i16(length),
            Err(_) => self.refuse(EncodeError::TooLong {
                length: length.unwrap_or_default(),
                length_max: crate::limits::SHORT_LENGTH_MAX,
            }),
        }
    }

    /// Writes a length in 32 bits; none is null.
    #[inline]
    pub fn long_length(&mut self, length: Option<usize>) {
        match length.map_or(Ok(-1), i32::try_from) {
            Ok(length) => self.i32(length),
            Err(_) => {
                self.refuse(EncodeError::TooLong {
                    length: length.unwrap_or_default(),
                    length_max: LENGTH_MAX,
                });
            }
        }
    }

    /// Adds a chunk of a payload without copying it, unless it is so small that copying is cheaper.
    pub fn chunk(&mut self, chunk: &Bytes) {
        if chunk.len() <= PAYLOAD_INLINE_BYTES_MAX {
            return self.bytes(chunk);
        }
        self.spliced_bytes += chunk.len();
        self.splices.push(Splice { position: self.buffer.len(), chunk: chunk.clone() });
    }

    /// Begins a tagged field; its content follows, then [`tagged_end`](Self::tagged_end) with what this returns.
    pub fn tagged_begin(&mut self, tag: u32) -> usize {
        self.uvarint(tag);
        // One byte for the length, which is right for all fields below 128 bytes.
        self.buffer.put_u8(0);
        self.buffer.len()
    }

    /// Ends a tagged field: its length is put before it, moving the content if the length takes more than a byte.
    pub fn tagged_end(&mut self, start: usize) {
        assert!(start <= self.buffer.len(), "a tagged field ends before it starts");
        assert!(
            self.splices.last().is_none_or(|splice| splice.position < start),
            "no tagged field of Kafka carries records"
        );
        let length = self.buffer.len() - start;
        let Ok(stored) = u32::try_from(length) else {
            return self.refuse(EncodeError::TooLong { length, length_max: LENGTH_MAX });
        };
        let extra = uvarint_bytes(stored) - 1;
        if extra > 0 {
            self.buffer.put_bytes(0, extra);
            self.buffer.copy_within(start..start + length, start + extra);
        }
        put_uvarint(&mut &mut self.buffer[start - 1..start + extra], stored);
    }

    /// Remembers that the frame can't be written; the first reason stays.
    #[cold]
    pub fn refuse(&mut self, reason: EncodeError) {
        self.failure.get_or_insert(reason);
    }

    /// Begins a frame with room for its size.
    pub fn begin_frame(&mut self) {
        assert!(self.buffer.is_empty(), "a frame begins before the one before it is finished");
        assert!(self.splices.is_empty());
        assert!(self.failure.is_none());
        self.buffer.reserve(WRITER_GROWTH_BYTES_MIN);
        self.buffer.put_i32(0);
    }

    /// Ends a frame: puts its size in front and hands out its chunks in order. Returns the bytes in all, size
    /// included, or why there is no frame; the writer is ready for the next one either way.
    pub fn finish_frame(&mut self, chunks: &mut impl Extend<Bytes>) -> Result<usize, EncodeError> {
        assert!(self.buffer.len() >= FRAME_SIZE_BYTES, "a frame is finished that was not begun");
        let bytes = self.buffer.len() + self.spliced_bytes;
        let size = bytes - FRAME_SIZE_BYTES;
        match i32::try_from(size) {
            Ok(size) => self.buffer[..FRAME_SIZE_BYTES].copy_from_slice(&size.to_be_bytes()),
            Err(_) => self.refuse(EncodeError::TooLong { length: size, length_max: LENGTH_MAX }),
        }
        if let Some(reason) = self.failure.take() {
            self.buffer.clear();
            self.splices.clear();
            self.spliced_bytes = 0;
            return Err(reason);
        }
        self.hand_out(chunks);
        Ok(bytes)
    }

    /// Ends a body that is not framed (a test, a stored value) and hands out its chunks.
    pub fn finish(&mut self, chunks: &mut impl Extend<Bytes>) -> Result<usize, EncodeError> {
        let bytes = self.buffer.len() + self.spliced_bytes;
        if let Some(reason) = self.failure.take() {
            self.buffer.clear();
            self.splices.clear();
            self.spliced_bytes = 0;
            return Err(reason);
        }
        self.hand_out(chunks);
        Ok(bytes)
    }

    fn hand_out(&mut self, chunks: &mut impl Extend<Bytes>) {
        let mut position = 0;
        for splice in self.splices.drain(..) {
            assert!(splice.position >= position, "splices are in order");
            if splice.position > position {
                chunks.extend([self.buffer.split_to(splice.position - position).freeze()]);
                position = splice.position;
            }
            chunks.extend([splice.chunk]);
        }
        if !self.buffer.is_empty() {
            chunks.extend([self.buffer.split().freeze()]);
        }
        self.spliced_bytes = 0;
    }
}

/// Bytes of the size in front of each frame.
const FRAME_SIZE_BYTES: usize = 4;

/// The longest that Kafka's signed 32-bit lengths can say.
const LENGTH_MAX: usize = 0x7fff_ffff;

/// Appends an unsigned varint.
#[inline]
pub fn put_uvarint(buffer: &mut impl BufMut, value: u32) {
    put_uvarlong(buffer, u64::from(value));
}

/// Appends a zigzag varint of 32 bits.
#[inline]
pub fn put_varint(buffer: &mut impl BufMut, value: i32) {
    put_uvarlong(buffer, u64::from(zigzag(value)));
}

/// Appends a zigzag varint of 64 bits.
#[inline]
pub fn put_varlong(buffer: &mut impl BufMut, value: i64) {
    put_uvarlong(buffer, zigzag_long(value));
}

#[inline]
fn put_uvarlong(buffer: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        buffer.put_u8(low_bits(value) | 0x80);
        value >>= 7;
    }
    buffer.put_u8(low_bits(value));
}

#[inline]
const fn low_bits(value: u64) -> u8 {
    value.to_le_bytes()[0] & 0x7f
}

const fn zigzag(value: i32) -> u32 {
    ((value << 1) ^ (value >> 31)).cast_unsigned()
}

const fn zigzag_long(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// How many bytes an unsigned varint takes.
#[must_use]
pub const fn uvarint_bytes(value: u32) -> usize {
    uvarlong_bytes(value as u64)
}

/// How many bytes a zigzag varint of 32 bits takes.
#[must_use]
pub const fn varint_bytes(value: i32) -> usize {
    uvarlong_bytes(zigzag(value) as u64)
}

/// How many bytes a zigzag varint of 64 bits takes.
#[must_use]
pub const fn varlong_bytes(value: i64) -> usize {
    uvarlong_bytes(zigzag_long(value))
}

/// Seven bits a byte, one byte at least: 0 to 127 take 1, 128 takes 2, 2^63 takes 10.
const fn uvarlong_bytes(value: u64) -> usize {
    let bits = u64::BITS - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}
