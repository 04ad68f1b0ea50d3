//! Makes a batch in Kafka's format of a native one, for clients that know no other.

use super::body::NativeBody;
use crate::batch::{Batch, BatchHeader, Encoding, HEADER_BYTES, RecordError};
use crate::compression::{Compression, DecompressError, compress};
use crate::records::{join, put_record};

/// Why a native batch can't be made one of Kafka's. A broker that has checked a batch before it took it never sees this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscodeError {
    /// Its body can't be decompressed within the bound.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// Its body is not sound.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// The batch in Kafka's format: the same records, the same header but for magic, length and CRC, the same compression. A batch
/// that is Kafka's already is copied. `bytes_max` bounds the body while it is decompressed; what is made of it is hardly larger.
pub fn to_kafka(batch: Batch<'_>, bytes_max: usize) -> Result<Vec<u8>, TranscodeError> {
    if batch.header().encoding() != Some(Encoding::Native) {
        return Ok(batch.bytes().to_vec());
    }
    Ok(transcode(batch.header(), &batch.records(bytes_max)?)?)
}

/// The batch in Kafka's format that a native one's header and its decompressed body make.
pub fn transcode(header: &BatchHeader, body: &[u8]) -> Result<Vec<u8>, RecordError> {
    assert_eq!(header.encoding(), Some(Encoding::Native));
    let compression = header.compression().unwrap_or_default();
    // Kafka's records are smaller but for odd ones; the header goes in front of those that stay as they are.
    let front = if compression == Compression::None { HEADER_BYTES } else { 0 };
    let mut records = Vec::with_capacity(front + body.len());
    records.resize(front, 0);
    let refuse = |index| move |problem| RecordError { index, problem };
    for (index, part) in (0..).zip(NativeBody::open(body).map_err(refuse(0))?) {
        let part = part.map_err(refuse(index))?;
        put_record(&mut records, &part).map_err(refuse(index))?;
    }
    let mut header = *header;
    if compression == Compression::None {
        header.set_encoding(Encoding::Kafka, compression, &records[HEADER_BYTES..]);
        header.write_to_front(&mut records);
        return Ok(records);
    }
    let packed = compress(compression, None, &records);
    header.set_encoding(Encoding::Kafka, compression, &packed);
    Ok(join(&header, &packed))
}
