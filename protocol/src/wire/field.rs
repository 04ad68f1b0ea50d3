//! How each type of a message's field is read and written, in the old encodings and in the flexible ones.

use super::{DecodeError, Reader, Writer};
use crate::error::ErrorCode;
use crate::types::{
    BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId,
};

/// The version a message is read or written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The API's version.
    pub version: i16,
    /// Whether the version uses compact lengths and tagged fields (KIP-482).
    pub flexible: bool,
}

/// A type that a message's field may have.
pub trait Field<'a>: Sized {
    /// No value takes fewer bytes, in any version.
    const WIRE_BYTES_MIN: usize;

    /// Reads a value that can't be null.
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError>;

    /// Writes the value.
    fn write(&self, writer: &mut Writer, format: Format);
}

/// A type whose encoding has a null.
pub trait Nullable<'a>: Field<'a> {
    /// Reads a value or null.
    fn read_nullable(reader: &mut Reader<'a>, format: Format) -> Result<Option<Self>, DecodeError>;

    /// Writes a value or null.
    fn write_nullable(value: Option<&Self>, writer: &mut Writer, format: Format);
}

impl<'a, T: Nullable<'a>> Field<'a> for Option<T> {
    const WIRE_BYTES_MIN: usize = 1;

    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        T::read_nullable(reader, format)
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        T::write_nullable(self.as_ref(), writer, format);
    }
}

macro_rules! integers {
    ($($name:ident: $type:ty),* $(,)?) => {$(
        impl<'a> Field<'a> for $type {
            const WIRE_BYTES_MIN: usize = size_of::<$type>();

            #[inline]
            fn read(reader: &mut Reader<'a>, _format: Format) -> Result<Self, DecodeError> {
                reader.$name()
            }

            #[inline]
            fn write(&self, writer: &mut Writer, _format: Format) {
                writer.$name(*self);
            }
        }
    )*};
}

integers! { bool: bool, i8: i8, i16: i16, u16: u16, i32: i32, u32: u32, i64: i64, f64: f64 }

macro_rules! newtypes {
    ($($type:ident($inner:ident)),* $(,)?) => {$(
        impl<'a> Field<'a> for $type {
            const WIRE_BYTES_MIN: usize = size_of::<$inner>();

            #[inline]
            fn read(reader: &mut Reader<'a>, _format: Format) -> Result<Self, DecodeError> {
                reader.$inner().map(Self)
            }

            #[inline]
            fn write(&self, writer: &mut Writer, _format: Format) {
                writer.$inner(self.0);
            }
        }
    )*};
}

newtypes! {
    BrokerId(i32), ErrorCode(i16), LeaderEpoch(i32), Offset(i64), PartitionIndex(i32), ProducerEpoch(i16),
    ProducerId(i64), Sequence(i32), Timestamp(i64),
}

/// A UUID.
impl<'a> Field<'a> for [u8; 16] {
    const WIRE_BYTES_MIN: usize = 16;

    fn read(reader: &mut Reader<'a>, _format: Format) -> Result<Self, DecodeError> {
        let mut id = [0; 16];
        id.copy_from_slice(reader.take(Self::WIRE_BYTES_MIN)?);
        Ok(id)
    }

    fn write(&self, writer: &mut Writer, _format: Format) {
        writer.bytes(self);
    }
}

impl<'a> Field<'a> for TopicId {
    const WIRE_BYTES_MIN: usize = 16;

    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        Field::read(reader, format).map(Self)
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        self.0.write(writer, format);
    }
}

/// 16 bits of length, or a compact one.
impl<'a> Field<'a> for &'a str {
    const WIRE_BYTES_MIN: usize = 1;

    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        Self::read_nullable(reader, format)?.ok_or(DecodeError::Null)
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        Self::write_nullable(Some(self), writer, format);
    }
}

impl<'a> Nullable<'a> for &'a str {
    fn read_nullable(reader: &mut Reader<'a>, format: Format) -> Result<Option<Self>, DecodeError> {
        let length = if format.flexible { reader.compact_length()? } else { reader.short_length()? };
        length.map(|length| reader.string(length)).transpose()
    }

    fn write_nullable(value: Option<&Self>, writer: &mut Writer, format: Format) {
        let length = value.map(|text| text.len());
        if format.flexible {
            writer.compact_length(length)
        } else {
            writer.short_length(length)
        }
        writer.bytes(value.map_or(&[], |text| text.as_bytes()));
    }
}

/// 32 bits of length, or a compact one.
impl<'a> Field<'a> for &'a [u8] {
    const WIRE_BYTES_MIN: usize = 1;

    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        Self::read_nullable(reader, format)?.ok_or(DecodeError::Null)
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        Self::write_nullable(Some(self), writer, format);
    }
}

impl<'a> Nullable<'a> for &'a [u8] {
    fn read_nullable(reader: &mut Reader<'a>, format: Format) -> Result<Option<Self>, DecodeError> {
        let length = if format.flexible { reader.compact_length()? } else { reader.long_length()? };
        length.map(|length| reader.take(length)).transpose()
    }

    fn write_nullable(value: Option<&Self>, writer: &mut Writer, format: Format) {
        let length = value.map(|bytes| bytes.len());
        if format.flexible {
            writer.compact_length(length)
        } else {
            writer.long_length(length)
        }
        writer.bytes(value.map_or(&[], |bytes| bytes));
    }
}

/// 32 bits of count, or a compact one, then the items.
impl<'a, T: Field<'a>> Field<'a> for Vec<T> {
    const WIRE_BYTES_MIN: usize = 1;

    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        Self::read_nullable(reader, format)?.ok_or(DecodeError::Null)
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        Self::write_nullable(Some(self), writer, format);
    }
}

impl<'a, T: Field<'a>> Nullable<'a> for Vec<T> {
    fn read_nullable(reader: &mut Reader<'a>, format: Format) -> Result<Option<Self>, DecodeError> {
        let count = if format.flexible { reader.compact_length()? } else { reader.long_length()? };
        let Some(count) = count else { return Ok(None) };
        let mut items = reader.admit_array(count, T::WIRE_BYTES_MIN)?;
        for _ in 0..count {
            items.push(T::read(reader, format)?);
        }
        Ok(Some(items))
    }

    fn write_nullable(value: Option<&Self>, writer: &mut Writer, format: Format) {
        let count = value.map(Vec::len);
        if format.flexible {
            writer.compact_length(count)
        } else {
            writer.long_length(count)
        }
        value.into_iter().flatten().for_each(|item| item.write(writer, format));
    }
}
