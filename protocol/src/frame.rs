//! What stands around a message: the 4-byte size, the request header, the response header.
//!
//! ```text
//! request   size i32 │ api key i16 │ version i16 │ correlation id i32 │ client id, nullable, 16-bit length │ tags¹ │ body
//! response  size i32 │ correlation id i32 │ tags² │ body
//! ```
//! ¹ in flexible versions (header 2; otherwise header 1). Header 0, without client id, belonged to an API that is gone.
//! ² in flexible versions (header 1; otherwise header 0), but never in ApiVersions.

use bytes::Bytes;

use crate::api::ApiKey;
use crate::messages::{Request, Response};
use crate::wire::{DecodeError, EncodeError, Field, Format, Nullable, Reader, Writer};

/// Bytes of the size in front of each frame.
pub const SIZE_BYTES: usize = 4;

/// Why a frame can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The size in front is negative, or too small to hold a header.
    #[error("a frame size of {0} is too small")]
    TooSmall(i32),
    /// The size in front is more than the caller takes.
    #[error("a frame of {size} bytes is larger than the {size_max} allowed")]
    TooLarge {
        /// What the peer announced.
        size: usize,
        /// The caller's limit.
        size_max: usize,
    },
}

/// Checks the size in front of a request and returns how many bytes follow.
pub fn frame_size(prefix: [u8; SIZE_BYTES], size_max: usize) -> Result<usize, FrameError> {
    let announced = i32::from_be_bytes(prefix);
    let size = usize::try_from(announced).map_err(|_| FrameError::TooSmall(announced))?;
    if size < RequestHeader::FIXED_BYTES {
        return Err(FrameError::TooSmall(announced));
    }
    if size > size_max {
        return Err(FrameError::TooLarge { size, size_max });
    }
    Ok(size)
}

/// Why a request can't be read up to its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// No such API. Kafka closes the connection.
    #[error("there is no API with the key {key}")]
    UnknownApi {
        /// The key.
        key: i16,
    },
    /// No such version. Kafka closes the connection, except for ApiVersions, which is answered in version 0.
    #[error("{api} has no version {version}")]
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// The version asked for.
        version: i16,
        /// Names the request in its answer.
        correlation_id: i32,
    },
    /// The bytes are no header.
    #[error("the request header is malformed: {0}")]
    Malformed(#[from] DecodeError),
}

/// Who asks for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// The API.
    pub api: ApiKey,
    /// One of the API's versions.
    pub version: i16,
    /// Names the request in its answer.
    pub correlation_id: i32,
    /// The client's name for itself.
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// Key, version and correlation id: what every request begins with.
    pub const FIXED_BYTES: usize = 8;

    /// The client id keeps its 16-bit length in flexible versions too (KIP-482).
    const CLIENT_ID_FORMAT: Format = Format { version: 0, flexible: false };

    /// Reads the header; the reader is left at the body.
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, HeaderError> {
        let key = reader.i16()?;
        let version = reader.i16()?;
        let correlation_id = reader.i32()?;
        let api = ApiKey::from_key(key).ok_or(HeaderError::UnknownApi { key })?;
        if !api.supports(version) {
            return Err(HeaderError::UnsupportedVersion { api, version, correlation_id });
        }
        let client_id = <&str>::read_nullable(reader, Self::CLIENT_ID_FORMAT)?;
        if api.format(version).flexible {
            reader.tagged_fields(|_, _| Ok(false))?;
        }
        Ok(Self { api, version, correlation_id, client_id })
    }

    /// Writes the header.
    pub fn write(&self, writer: &mut Writer) {
        writer.i16(self.api.key());
        writer.i16(self.version);
        writer.i32(self.correlation_id);
        self.client_id.write(writer, Self::CLIENT_ID_FORMAT);
        if self.api.format(self.version).flexible {
            writer.uvarint(0);
        }
    }
}

/// Reads the header of a response and returns its correlation id; the reader is left at the body.
pub fn read_response_header(reader: &mut Reader<'_>, api: ApiKey, version: i16) -> Result<i32, DecodeError> {
    let correlation_id = reader.i32()?;
    if api.response_header_is_flexible(version) {
        reader.tagged_fields(|_, _| Ok(false))?;
    }
    Ok(correlation_id)
}

/// Writes a whole response frame and returns its size in bytes; `chunks` gets its parts in order.
pub fn write_response<'a, M: Response<'a>>(
    writer: &mut Writer,
    correlation_id: i32,
    version: i16,
    body: &M,
    chunks: &mut impl Extend<Bytes>,
) -> Result<usize, EncodeError> {
    writer.begin_frame();
    writer.i32(correlation_id);
    if M::API.response_header_is_flexible(version) {
        writer.uvarint(0);
    }
    body.encode(writer, version);
    writer.finish_frame(chunks)
}

/// Writes a whole request frame and returns its size in bytes; `chunks` gets its parts in order.
pub fn write_request<'a, M: Request<'a>>(
    writer: &mut Writer,
    correlation_id: i32,
    version: i16,
    client_id: Option<&str>,
    body: &M,
    chunks: &mut impl Extend<Bytes>,
) -> Result<usize, EncodeError> {
    writer.begin_frame();
    RequestHeader { api: M::API, version, correlation_id, client_id }.write(writer);
    body.encode(writer, version);
    writer.finish_frame(chunks)
}

#[cfg(test)]
mod tests;
