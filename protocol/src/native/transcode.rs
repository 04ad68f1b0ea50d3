//! Makes a batch in Kafka's format of a native one, for clients that know no other.

use super::body::NativeBody;
use crate::batch::{Batch, Encoding, HEADER_BYTES};
use crate::compression::{Compression, DecompressError, compress};
use crate::records::{RecordProblem, join, put_record};

/// Why a native batch can't be made one of Kafka's. A broker that has checked a batch before it took it never sees this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscodeError {
    /// Its body can't be decompressed within the bound.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// Its body is not sound.
    #[error("record {index}: {problem}")]
    Record {
        /// The record's place in the batch.
        index: usize,
        /// What is wrong with it.
        problem: RecordProblem,
    },
}

/// The batch in Kafka's format: the same records, the same header but for magic, length and CRC, the same compression. A batch
/// that is Kafka's already is copied. `bytes_max` bounds the body while it is decompressed; what is made of it is hardly larger.
pub fn to_kafka(batch: Batch<'_>, bytes_max: usize) -> Result<Vec<u8>, TranscodeError> {
    if batch.header().encoding() != Some(Encoding::Native) {
        return Ok(batch.bytes().to_vec());
    }
    let body = batch.records(bytes_max)?;
    let compression = batch.header().compression().unwrap_or_default();
    // Kafka's records are smaller but for odd ones; the header goes in front of those that stay as they are.
    let front = if compression == Compression::None { HEADER_BYTES } else { 0 };
    let mut records = Vec::with_capacity(front + body.len());
    records.resize(front, 0);
    let refuse = |index| move |problem| TranscodeError::Record { index, problem };
    for (index, part) in NativeBody::open(&body).map_err(refuse(0))?.enumerate() {
        let part = part.map_err(refuse(index))?;
        put_record(&mut records, &part).map_err(refuse(index))?;
    }
    let mut header = *batch.header();
    if compression == Compression::None {
        header.set_encoding(Encoding::Kafka, compression, &records[HEADER_BYTES..]);
        header.write_to_front(&mut records);
        return Ok(records);
    }
    let packed = compress(compression, None, &records);
    header.set_encoding(Encoding::Kafka, compression, &packed);
    Ok(join(&header, &packed))
}
