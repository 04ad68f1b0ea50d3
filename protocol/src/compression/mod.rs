//! Kafka's compressions of a batch's records: gzip, snappy, lz4, zstd.
//!
//! Decompressing is bounded: whoever asks says how large the result may get, and gets a typed error past that. No
//! allocation is sized from what the input claims beyond that bound.

mod snappy;

use std::borrow::Cow;
use std::fmt;
use std::io::{self, Read, Write};

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use crate::limits::{DECOMPRESSED_CAPACITY_BYTES_MIN, ZSTD_WINDOW_LOG_MAX};

/// How a batch's records are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Compression {
    /// Not at all.
    #[default]
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Raw snappy blocks, in the framing of the xerial library.
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard frames (KIP-110).
    Zstd = 4,
}

impl Compression {
    /// All of them, in order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The compression with this number in a batch's attributes.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The number in a batch's attributes.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }

    /// The name in Kafka's configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why records can't be decompressed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// The result is larger than the caller takes.
    #[error("the {codec} data decompresses to more than {bytes_max} bytes")]
    TooLarge {
        /// How it is compressed.
        codec: Compression,
        /// The caller's limit.
        bytes_max: usize,
    },
    /// The input is not what it says.
    #[error("the {codec} data is corrupt: {reason}")]
    Corrupt {
        /// How it is said to be compressed.
        codec: Compression,
        /// What the library says.
        reason: String,
    },
}

/// Undoes `codec`; the result takes at most `bytes_max`, and borrows where there is nothing to undo.
pub fn decompress(
    codec: Compression,
    input: &[u8],
    bytes_max: usize,
) -> Result<Cow<'_, [u8]>, DecompressError> {
    let corrupt = |error: io::Error| DecompressError::Corrupt { codec, reason: error.to_string() };
    match codec {
        Compression::None if input.len() > bytes_max => Err(DecompressError::TooLarge { codec, bytes_max }),
        Compression::None => Ok(Cow::Borrowed(input)),
        Compression::Gzip => drain(codec, MultiGzDecoder::new(input), input.len(), bytes_max),
        Compression::Snappy => snappy::decompress(input, bytes_max).map(Cow::Owned),
        Compression::Lz4 => drain(codec, FrameDecoder::new(input), input.len(), bytes_max),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(corrupt)?;
            drain(codec, decoder, input.len(), bytes_max)
        }
    }
}

/// Reads to the end, but no further than one byte past the limit.
fn drain(
    codec: Compression,
    mut decoder: impl Read,
    input_bytes: usize,
    bytes_max: usize,
) -> Result<Cow<'static, [u8]>, DecompressError> {
    let corrupt = |error: io::Error| DecompressError::Corrupt { codec, reason: error.to_string() };
    let mut output = Vec::new();
    let guess = input_bytes.saturating_mul(4).max(DECOMPRESSED_CAPACITY_BYTES_MIN);
    make_room(&mut output, guess.min(bytes_max), bytes_max);
    loop {
        // No more is read than there is room for: a full vector would grow by itself, past the limit.
        let room = output.capacity().min(bytes_max) - output.len();
        let limit = u64::try_from(room).expect("a size has 64 bits at most");
        let read = decoder.by_ref().take(limit).read_to_end(&mut output).map_err(corrupt)?;
        if read < room {
            return Ok(Cow::Owned(output));
        }
        if output.len() == bytes_max {
            let past = io::copy(&mut decoder.take(1), &mut io::sink()).map_err(corrupt)?;
            return match past {
                0 => Ok(Cow::Owned(output)),
                _ => Err(DecompressError::TooLarge { codec, bytes_max }),
            };
        }
        make_room(&mut output, 1, bytes_max);
    }
}

/// Makes room for `more` bytes, which are within the limit: twice what there was, but never more than the limit, and all of that
/// from half of it on, so that what is copied and the copy are within it together.
fn make_room(output: &mut Vec<u8>, more: usize, bytes_max: usize) {
    let needed = output.len() + more;
    assert!(needed <= bytes_max);
    if needed <= output.capacity() {
        return;
    }
    let wanted = needed.max(output.capacity().saturating_mul(2));
    let capacity = if wanted > bytes_max / 2 { bytes_max } else { wanted };
    output.reserve_exact(capacity - output.len());
}

/// Compresses. `level` is gzip's or zstd's own scale, their default if none; the others have no levels.
#[must_use]
pub fn compress(codec: Compression, level: Option<i32>, input: &[u8]) -> Vec<u8> {
    // Writing to a vector can't fail, and the encoders have no other reason to.
    let written: io::Result<Vec<u8>> = match codec {
        Compression::None => Ok(input.to_vec()),
        Compression::Gzip => {
            let level =
                level.and_then(|level| u32::try_from(level).ok()).map(|level| level.min(GZIP_LEVEL_MAX));
            let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(input).and_then(|()| encoder.finish())
        }
        Compression::Snappy => Ok(snappy::compress(input)),
        Compression::Lz4 => {
            // Kafka's Java reader refuses blocks that depend on the ones before them.
            let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(input).and_then(|()| encoder.finish().map_err(io::Error::other))
        }
        Compression::Zstd => zstd::bulk::compress(input, level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL)),
    };
    written.unwrap_or_else(|error| panic!("{codec} can't compress into memory: {error}"))
}

/// Gzip's best and slowest.
const GZIP_LEVEL_MAX: u32 = 9;

#[cfg(test)]
mod tests;
