//! Snappy as Kafka clients speak it: raw blocks, with or without the framing of the xerial library.
//!
//! The framing, all integers big-endian:
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | magic: 0x82 `SNAPPY` 0 |
//! | 8 | 4 | version, 1 |
//! | 12 | 4 | lowest version that can read this, 1 |
//! | 16 | | blocks: 4 bytes of length, then a raw snappy block of 32 KiB or less of content |
//!
//! Java clients write the framing and read nothing else; some other clients write one raw block.

use super::{Compression, DecompressError, make_room};
use crate::limits::SNAPPY_RATIO_MAX;
use crate::wire::Reader;

const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 16;

/// How much content goes into a block.
const BLOCK_BYTES_MAX: usize = 32 * 1024;

/// Compresses, framed.
pub fn compress(input: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(HEADER_BYTES + snap::raw::max_compress_len(input.len()));
    output.extend_from_slice(&MAGIC);
    output.extend_from_slice(&VERSION.to_be_bytes());
    output.extend_from_slice(&VERSION.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for content in input.chunks(BLOCK_BYTES_MAX) {
        let block = encoder.compress_vec(content).expect("a block of 32 KiB is within snappy's limits");
        let length = u32::try_from(block.len()).expect("a block of 32 KiB stays small");
        output.extend_from_slice(&length.to_be_bytes());
        output.extend_from_slice(&block);
    }
    output
}

/// Decompresses either form into `bytes_max` at most.
pub fn decompress(input: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecompressError> {
    let mut output = Vec::new();
    if !input.starts_with(&MAGIC) {
        decompress_block(input, bytes_max, &mut output)?;
        return Ok(output);
    }
    let cut_off = |_| corrupt("the framing is cut off");
    let mut reader = Reader::new(input, 0);
    reader.take(HEADER_BYTES).map_err(cut_off)?;
    while !reader.rest().is_empty() {
        let length = reader.u32().map_err(cut_off)?;
        let length = usize::try_from(length).map_err(|_| corrupt("a block is too long"))?;
        let block = reader.take(length).map_err(cut_off)?;
        decompress_block(block, bytes_max, &mut output)?;
    }
    Ok(output)
}

fn decompress_block(block: &[u8], bytes_max: usize, output: &mut Vec<u8>) -> Result<(), DecompressError> {
    let length = snap::raw::decompress_len(block).map_err(|error| corrupt(&error.to_string()))?;
    if length > bytes_max.saturating_sub(output.len()) {
        return Err(DecompressError::TooLarge { codec: Compression::Snappy, bytes_max });
    }
    // The length is a claim: no block can hold more than its own size times the best ratio there is.
    if length > block.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(corrupt("a block claims more content than it can hold"));
    }
    make_room(output, length, bytes_max);
    let start = output.len();
    output.resize(start + length, 0);
    let written = snap::raw::Decoder::new()
        .decompress(block, &mut output[start..])
        .map_err(|error| corrupt(&error.to_string()))?;
    assert_eq!(written, length, "snappy fills what its header says or fails");
    Ok(())
}

fn corrupt(reason: &str) -> DecompressError {
    DecompressError::Corrupt { codec: Compression::Snappy, reason: reason.to_owned() }
}
