//! The records of one partition as they cross the wire: borrowed when read, chunks when written, copied by neither.

use bytes::Bytes;

use super::{DecodeError, Field, Format, Nullable, Reader, Writer};

/// A record payload: whole batches, end to end.
///
/// Reading gives `Borrowed`, a slice of the frame. Writing takes any of the three: the tail of a partition spans
/// several frame buffers, so a reply may carry several chunks.
#[derive(Clone, Debug)]
pub enum Payload<'a> {
    /// In the frame it was read from; copied when written.
    Borrowed(&'a [u8]),
    /// One chunk, written without a copy.
    Shared(Bytes),
    /// Several chunks, written in order without a copy.
    Chunks(Vec<Bytes>),
}

impl<'a> Payload<'a> {
    /// How many bytes there are in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slices().map(<[u8]>::len).sum()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slices().all(<[u8]>::is_empty)
    }

    /// The slice of the frame; none for a payload that was not read from one.
    #[must_use]
    pub const fn borrowed(&self) -> Option<&'a [u8]> {
        match self {
            Self::Borrowed(bytes) => Some(bytes),
            Self::Shared(_) | Self::Chunks(_) => None,
        }
    }

    /// The parts in order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let (one, many): (&[u8], &[Bytes]) = match self {
            Self::Borrowed(bytes) => (bytes, &[]),
            Self::Shared(chunk) => (chunk, &[]),
            Self::Chunks(chunks) => (&[], chunks),
        };
        std::iter::once(one).chain(many.iter().map(|chunk| &chunk[..])).filter(|slice| !slice.is_empty())
    }
}

impl Default for Payload<'_> {
    fn default() -> Self {
        Self::Borrowed(&[])
    }
}

/// Equal content, however it is cut.
impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.slices().flatten().eq(other.slices().flatten())
    }
}

impl<'a> Field<'a> for Payload<'a> {
    const WIRE_BYTES_MIN: usize = 1;

    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError> {
        Self::read_nullable(reader, format)?.ok_or(DecodeError::Null)
    }

    fn write(&self, writer: &mut Writer, format: Format) {
        let length = Some(self.len());
        if format.flexible {
            writer.compact_length(length)
        } else {
            writer.long_length(length)
        }
        match self {
            Self::Borrowed(bytes) => writer.bytes(bytes),
            Self::Shared(chunk) => writer.chunk(chunk),
            Self::Chunks(chunks) => chunks.iter().for_each(|chunk| writer.chunk(chunk)),
        }
    }
}

impl<'a> Nullable<'a> for Payload<'a> {
    fn read_nullable(reader: &mut Reader<'a>, format: Format) -> Result<Option<Self>, DecodeError> {
        Ok(<&[u8]>::read_nullable(reader, format)?.map(Self::Borrowed))
    }

    fn write_nullable(value: Option<&Self>, writer: &mut Writer, format: Format) {
        match value {
            Some(payload) => payload.write(writer, format),
            None => <&[u8]>::write_nullable(None, writer, format),
        }
    }
}
