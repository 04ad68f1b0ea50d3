//! Builds batches: for tools, tests, transcoding and recompression. What producers send is never rebuilt by this.

use zerocopy::IntoBytes;

use super::read::{Header, Part, RecordProblem};
use crate::batch::{BatchHeader, Encoding, HEADER_BYTES, HeaderFields, TimestampType};
use crate::compression::{Compression, compress};
use crate::native::Draft;
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use crate::wire::{put_varint, put_varlong, varint_bytes, varlong_bytes};

/// Which producer a batch comes from, and which of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The producer.
    pub id: ProducerId,
    /// Its epoch.
    pub epoch: ProducerEpoch,
    /// The sequence of the first record.
    pub base_sequence: Sequence,
}

impl ProducerStamp {
    /// No idempotent producer.
    pub const NONE: Self =
        Self { id: ProducerId::NONE, epoch: ProducerEpoch(-1), base_sequence: Sequence(-1) };
}

/// What holds for a batch as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchOptions {
    /// The offset of the first record; producers say 0.
    pub base_offset: Offset,
    /// The leader's epoch; producers don't know it.
    pub leader_epoch: LeaderEpoch,
    /// How to write the records.
    pub encoding: Encoding,
    /// How to compress the records.
    pub compression: Compression,
    /// At which level, on the compression's own scale; its default if none.
    pub compression_level: Option<i32>,
    /// Who gave the records their timestamps.
    pub timestamp_type: TimestampType,
    /// Which producer the batch comes from.
    pub producer: ProducerStamp,
    /// Whether the batch belongs to a transaction.
    pub transactional: bool,
    /// Whether the batch holds a marker.
    pub control: bool,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            base_offset: Offset(0),
            leader_epoch: LeaderEpoch::UNKNOWN,
            encoding: Encoding::Kafka,
            compression: Compression::None,
            compression_level: None,
            timestamp_type: TimestampType::CreateTime,
            producer: ProducerStamp::NONE,
            transactional: false,
            control: false,
        }
    }
}

/// Gathers records into one batch.
#[derive(Debug)]
pub struct BatchBuilder {
    options: BatchOptions,
    body: Body,
    record_count: i32,
    last_offset_delta: i32,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
}

/// The records so far.
#[derive(Debug)]
enum Body {
    /// Room for the header, then the records.
    Kafka(Vec<u8>),
    Native(Draft),
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new(options: BatchOptions) -> Self {
        Self::with_capacity(options, HEADER_BYTES)
    }

    /// An empty batch with room for so many bytes, header included.
    #[must_use]
    pub fn with_capacity(options: BatchOptions, capacity_bytes: usize) -> Self {
        let body = match options.encoding {
            Encoding::Kafka => {
                let mut bytes = Vec::with_capacity(capacity_bytes.max(HEADER_BYTES));
                bytes.resize(HEADER_BYTES, 0);
                Body::Kafka(bytes)
            }
            Encoding::Native => Body::Native(Draft::default()),
        };
        Self {
            options,
            body,
            record_count: 0,
            last_offset_delta: -1,
            base_timestamp: Timestamp(-1),
            max_timestamp: Timestamp(-1),
        }
    }

    /// How many records there are.
    #[must_use]
    pub const fn record_count(&self) -> i32 {
        self.record_count
    }

    /// Bytes of the records so far, before compression.
    #[must_use]
    pub fn records_bytes(&self) -> usize {
        match &self.body {
            Body::Kafka(bytes) => bytes.len() - HEADER_BYTES,
            Body::Native(draft) => draft.bytes(),
        }
    }

    /// Adds a record at the next offset.
    pub fn append(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) {
        self.append_at(self.last_offset_delta + 1, timestamp, key, value, headers);
    }

    /// Adds a record at an offset of its own, past the one before: a compacted batch has gaps.
    pub fn append_at(
        &mut self,
        offset_delta: i32,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) {
        assert!(offset_delta > self.last_offset_delta, "offsets in a batch go up");
        if self.record_count == 0 {
            self.base_timestamp = timestamp;
        }
        let timestamp_delta = timestamp.0.wrapping_sub(self.base_timestamp.0);
        match &mut self.body {
            Body::Kafka(bytes) => {
                put_fields(bytes, (timestamp_delta, offset_delta), key, value, headers.iter().copied());
            }
            Body::Native(draft) => {
                draft.push((timestamp_delta, offset_delta), key, value, headers.iter().copied())
            }
        }
        self.record_count += 1;
        self.last_offset_delta = offset_delta;
        self.max_timestamp = self.max_timestamp.max(timestamp);
    }

    /// Makes the batch.
    #[must_use]
    pub fn build(self) -> Vec<u8> {
        let options = self.options;
        let codec = options.compression;
        let compressed = |records: &[u8]| compress(codec, options.compression_level, records);
        // Uncompressed records of Kafka's stay where they were gathered; all others are put behind the header anew.
        let mut batch = match self.body {
            Body::Kafka(bytes) if codec == Compression::None => bytes,
            Body::Kafka(bytes) => behind_header(&compressed(&bytes[HEADER_BYTES..])),
            Body::Native(draft) if codec == Compression::None => behind_header(&draft.finish()),
            Body::Native(draft) => behind_header(&compressed(&draft.finish())),
        };
        let (front, body) = batch.split_at_mut(HEADER_BYTES);
        let fields = HeaderFields {
            base_offset: options.base_offset,
            leader_epoch: options.leader_epoch,
            encoding: options.encoding,
            compression: options.compression,
            timestamp_type: options.timestamp_type,
            transactional: options.transactional,
            control: options.control,
            last_offset_delta: self.last_offset_delta,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id: options.producer.id,
            producer_epoch: options.producer.epoch,
            base_sequence: options.producer.base_sequence,
            record_count: self.record_count,
        };
        front.copy_from_slice(BatchHeader::new(&fields, body).as_bytes());
        batch
    }

    /// Makes the batch, saying only now which producer it comes from.
    #[must_use]
    pub fn build_for(mut self, producer: ProducerStamp) -> Vec<u8> {
        self.options.producer = producer;
        self.build()
    }
}

/// Says anew which producer a finished batch comes from; the CRC follows.
pub fn restamp(batch: &mut [u8], producer: ProducerStamp) {
    let (front, body) = batch.split_at_mut(HEADER_BYTES);
    let header = BatchHeader::from_prefix_mut(front).expect("the slice has the header's length");
    header.set_producer(producer.id, producer.epoch, producer.base_sequence, body);
}

/// A batch in another compression: the records' bytes are the same, the header says how they are packed. `records` are
/// those of the batch with this header, decompressed.
#[must_use]
pub fn recompress(header: &BatchHeader, records: &[u8], codec: Compression, level: Option<i32>) -> Vec<u8> {
    let body = compress(codec, level, records);
    let mut header = *header;
    header.set_compression(codec, &body);
    join(&header, &body)
}

/// Appends a record of a native body in Kafka's form.
pub(crate) fn put_record(records: &mut Vec<u8>, part: &Part<'_>) -> Result<(), RecordProblem> {
    part.headers.check()?;
    let headers = part.headers.iter().flatten();
    put_fields(records, (part.timestamp_delta, part.offset_delta), part.key, part.value, headers);
    Ok(())
}

fn put_fields<'h>(
    records: &mut Vec<u8>,
    (timestamp_delta, offset_delta): (i64, i32),
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl Iterator<Item = Header<'h>> + Clone,
) {
    let (mut header_count, mut header_bytes) = (0, 0);
    for header in headers.clone() {
        header_count += 1;
        header_bytes += optional_bytes(Some(header.key)) + optional_bytes(header.value);
    }
    let length = 1
        + varlong_bytes(timestamp_delta)
        + varint_bytes(offset_delta)
        + optional_bytes(key)
        + optional_bytes(value)
        + varint_bytes(length_of(header_count))
        + header_bytes;
    put_varint(records, length_of(length));
    records.push(0);
    put_varlong(records, timestamp_delta);
    put_varint(records, offset_delta);
    put_optional(records, key);
    put_optional(records, value);
    put_varint(records, length_of(header_count));
    for header in headers {
        put_optional(records, Some(header.key));
        put_optional(records, header.value);
    }
}

/// A body with room for the header before it.
fn behind_header(body: &[u8]) -> Vec<u8> {
    let mut batch = Vec::with_capacity(HEADER_BYTES + body.len());
    batch.resize(HEADER_BYTES, 0);
    batch.extend_from_slice(body);
    batch
}

pub(crate) fn join(header: &BatchHeader, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(body);
    assert_eq!(header.size_bytes(), Some(bytes.len()));
    bytes
}

fn put_optional(buffer: &mut Vec<u8>, bytes: Option<&[u8]>) {
    put_varint(buffer, bytes.map_or(-1, |bytes| length_of(bytes.len())));
    buffer.extend_from_slice(bytes.unwrap_or_default());
}

fn optional_bytes(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(varint_bytes(-1), |bytes| varint_bytes(length_of(bytes.len())) + bytes.len())
}

fn length_of(length: usize) -> i32 {
    i32::try_from(length).expect("a record is far smaller than 2 GiB")
}
