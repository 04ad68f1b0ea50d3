//! The 61 bytes in front of every batch, read and patched in place.
//!
//! All integers are big-endian.
//!
//! | offset | bytes | field | covered by the CRC |
//! | --- | --- | --- | --- |
//! | 0 | 8 | base offset | no |
//! | 8 | 4 | length of all that follows this field | no |
//! | 12 | 4 | partition leader epoch | no |
//! | 16 | 1 | magic | no |
//! | 17 | 4 | CRC-32C of all from offset 21 on | no |
//! | 21 | 2 | attributes | yes |
//! | 23 | 4 | last offset delta | yes |
//! | 27 | 8 | base timestamp | yes |
//! | 35 | 8 | maximum timestamp | yes |
//! | 43 | 8 | producer id | yes |
//! | 51 | 2 | producer epoch | yes |
//! | 53 | 4 | base sequence | yes |
//! | 57 | 4 | record count | yes |
//! | 61 | | records | yes |
//!
//! Magic 2 is Kafka's, 73 (`I`) is a native batch: all but the records is the same.
//!
//! Attributes: bits 0 to 2 compression, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon (the base timestamp
//! is then the horizon, KIP-534).

use crc_fast::{CrcAlgorithm, Digest};
use zerocopy::big_endian::{I16, I32, I64, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::compression::Compression;
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 61;

/// Bytes that the length field does not count: the base offset and itself.
pub const OVERHEAD_BYTES: usize = 12;

/// The length field of a batch without records.
pub const LENGTH_BYTES_MIN: usize = HEADER_BYTES - OVERHEAD_BYTES;

/// The format that Kafka's clients write.
pub const MAGIC: i8 = 2;

/// The format of native clients: `I`, far from what Kafka may count up to.
pub const MAGIC_NATIVE: i8 = 73;

/// Where the CRC's coverage begins.
pub(super) const CRC_START: usize = 21;

/// Where the magic is, in this and in the older formats.
pub(super) const MAGIC_AT: usize = 16;

const COMPRESSION_BITS: i16 = 0b111;
const APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// How the records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As Kafka's clients do: varints.
    #[default]
    Kafka,
    /// A FlatBuffers table, for native clients.
    Native,
}

impl Encoding {
    /// The encoding that a magic stands for.
    #[must_use]
    pub const fn from_magic(magic: i8) -> Option<Self> {
        match magic {
            MAGIC => Some(Self::Kafka),
            MAGIC_NATIVE => Some(Self::Native),
            _ => None,
        }
    }

    /// The magic in a batch's header.
    #[must_use]
    pub const fn magic(self) -> i8 {
        match self {
            Self::Kafka => MAGIC,
            Self::Native => MAGIC_NATIVE,
        }
    }
}

/// Who gave the records their timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer.
    #[default]
    CreateTime,
    /// The broker, when it appended; all records share the batch's maximum timestamp.
    LogAppendTime,
}

/// A batch's header, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct BatchHeader {
    base_offset: I64,
    length: I32,
    leader_epoch: I32,
    magic: i8,
    crc: U32,
    attributes: I16,
    last_offset_delta: I32,
    base_timestamp: I64,
    max_timestamp: I64,
    producer_id: I64,
    producer_epoch: I16,
    base_sequence: I32,
    record_count: I32,
}

const _: () = assert!(size_of::<BatchHeader>() == HEADER_BYTES);

/// What a new header is made of. Length and CRC follow from the records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderFields {
    pub base_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub encoding: Encoding,
    pub compression: Compression,
    pub timestamp_type: TimestampType,
    pub transactional: bool,
    pub control: bool,
    pub last_offset_delta: i32,
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: Sequence,
    pub record_count: i32,
}

impl BatchHeader {
    /// A header for `records`, with its length and CRC.
    pub(crate) fn new(fields: &HeaderFields, records: &[u8]) -> Self {
        let mut header = Self {
            base_offset: fields.base_offset.0.into(),
            length: 0.into(),
            leader_epoch: fields.leader_epoch.0.into(),
            magic: fields.encoding.magic(),
            crc: 0.into(),
            attributes: 0.into(),
            last_offset_delta: fields.last_offset_delta.into(),
            base_timestamp: fields.base_timestamp.0.into(),
            max_timestamp: fields.max_timestamp.0.into(),
            producer_id: fields.producer_id.0.into(),
            producer_epoch: fields.producer_epoch.0.into(),
            base_sequence: fields.base_sequence.0.into(),
            record_count: fields.record_count.into(),
        };
        header.set_bit(APPEND_TIME_BIT, fields.timestamp_type == TimestampType::LogAppendTime);
        header.set_bit(TRANSACTIONAL_BIT, fields.transactional);
        header.set_bit(CONTROL_BIT, fields.control);
        header.set_compression(fields.compression, records);
        header
    }

    /// The header at the front of `bytes`, if there are enough.
    #[must_use]
    pub fn from_prefix(bytes: &[u8]) -> Option<&Self> {
        Self::ref_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// The header at the front of `bytes`, to be patched.
    #[must_use]
    pub fn from_prefix_mut(bytes: &mut [u8]) -> Option<&mut Self> {
        Self::mut_from_prefix(bytes).ok().map(|(header, _)| header)
    }

    /// The offset of the first record, whether it is still there or compacted away.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset(self.base_offset.get())
    }

    /// The length field as it stands: outside input until it is checked.
    #[must_use]
    pub fn length(&self) -> i32 {
        self.length.get()
    }

    /// Bytes of the whole batch, header included; none where the length field can't be true.
    #[must_use]
    pub fn size_bytes(&self) -> Option<usize> {
        let length = usize::try_from(self.length.get()).ok()?;
        (length >= LENGTH_BYTES_MIN).then_some(OVERHEAD_BYTES + length)
    }

    /// The epoch of the leader that appended the batch.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.leader_epoch.get())
    }

    /// The format.
    #[must_use]
    pub const fn magic(&self) -> i8 {
        self.magic
    }

    /// How the records are written; none for a format that is not known here.
    #[must_use]
    pub const fn encoding(&self) -> Option<Encoding> {
        Encoding::from_magic(self.magic)
    }

    /// The CRC-32C stored.
    #[must_use]
    pub fn crc(&self) -> u32 {
        self.crc.get()
    }

    /// All attributes as they stand.
    #[must_use]
    pub fn attributes(&self) -> i16 {
        self.attributes.get()
    }

    /// How the records are compressed; none for a number that Kafka has not given out.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        let [_, low] = (self.attributes.get() & COMPRESSION_BITS).to_be_bytes();
        Compression::from_bits(low)
    }

    /// Who gave the records their timestamps.
    #[must_use]
    pub fn timestamp_type(&self) -> TimestampType {
        if self.bit(APPEND_TIME_BIT) { TimestampType::LogAppendTime } else { TimestampType::CreateTime }
    }

    /// Whether the batch belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.bit(TRANSACTIONAL_BIT)
    }

    /// Whether the batch holds a marker that only brokers write.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.bit(CONTROL_BIT)
    }

    /// When compaction may drop the batch's tombstones; none where it has not been decided.
    #[must_use]
    pub fn delete_horizon(&self) -> Option<Timestamp> {
        self.bit(DELETE_HORIZON_BIT).then(|| Timestamp(self.base_timestamp.get()))
    }

    /// How far the last offset is from the base offset.
    #[must_use]
    pub fn last_offset_delta(&self) -> i32 {
        self.last_offset_delta.get()
    }

    /// The offset of the last record, whether it is still there or compacted away.
    #[must_use]
    pub fn last_offset(&self) -> Offset {
        self.base_offset().plus(i64::from(self.last_offset_delta.get()))
    }

    /// The offset after the last record.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// What the records' timestamp deltas count from; the horizon, if there is a delete horizon.
    #[must_use]
    pub fn base_timestamp(&self) -> Timestamp {
        Timestamp(self.base_timestamp.get())
    }

    /// The records' maximum timestamp.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        Timestamp(self.max_timestamp.get())
    }

    /// The producer, if it is idempotent.
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId(self.producer_id.get())
    }

    /// The producer's epoch.
    #[must_use]
    pub fn producer_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.producer_epoch.get())
    }

    /// The producer's sequence of the first record.
    #[must_use]
    pub fn base_sequence(&self) -> Sequence {
        Sequence(self.base_sequence.get())
    }

    /// How many records are in the batch.
    #[must_use]
    pub fn record_count(&self) -> i32 {
        self.record_count.get()
    }

    /// Says where the batch stands in its partition. Both fields are outside of the CRC.
    pub fn set_position(&mut self, base_offset: Offset, leader_epoch: LeaderEpoch) {
        self.base_offset = base_offset.0.into();
        self.leader_epoch = leader_epoch.0.into();
    }

    /// Gives all records the broker's time, and the batch the CRC that goes with it. `records` is the body that follows
    /// this header, compressed or not.
    pub fn set_append_time(&mut self, now: Timestamp, records: &[u8]) {
        self.set_bit(APPEND_TIME_BIT, true);
        self.max_timestamp = now.0.into();
        self.crc = crc(self, records).into();
    }

    /// Sets the records' maximum timestamp, and the CRC that goes with it. `records` is the body that follows this header.
    pub fn set_max_timestamp(&mut self, largest: Timestamp, records: &[u8]) {
        self.max_timestamp = largest.0.into();
        self.crc = crc(self, records).into();
    }

    /// Says which producer the batch comes from, and sets the CRC that goes with it. `records` is the body that follows
    /// this header.
    pub(crate) fn set_producer(
        &mut self,
        id: ProducerId,
        epoch: ProducerEpoch,
        base_sequence: Sequence,
        records: &[u8],
    ) {
        self.producer_id = id.0.into();
        self.producer_epoch = epoch.0.into();
        self.base_sequence = base_sequence.0.into();
        self.crc = crc(self, records).into();
    }

    /// Says how `records`, the new body, is compressed; length and CRC follow.
    pub(crate) fn set_compression(&mut self, compression: Compression, records: &[u8]) {
        let attributes = self.attributes.get() & !COMPRESSION_BITS;
        self.attributes = (attributes | i16::from(compression.bits())).into();
        let length = LENGTH_BYTES_MIN + records.len();
        self.length = i32::try_from(length).expect("a batch is far smaller than 2 GiB").into();
        self.crc = crc(self, records).into();
    }

    /// Says how `records`, the new body, is written and compressed; length and CRC follow.
    pub(crate) fn set_encoding(&mut self, encoding: Encoding, compression: Compression, records: &[u8]) {
        self.magic = encoding.magic();
        self.set_compression(compression, records);
    }

    /// Puts the header where room was left for it.
    pub(crate) fn write_to_front(&self, batch: &mut [u8]) {
        batch[..HEADER_BYTES].copy_from_slice(self.as_bytes());
    }

    /// Says what `records`, the new body in the same compression, holds; a horizon takes the place of the base timestamp.
    pub(crate) fn set_records(
        &mut self,
        record_count: i32,
        max_timestamp: Timestamp,
        horizon: Option<Timestamp>,
        records: &[u8],
    ) {
        self.record_count = record_count.into();
        self.max_timestamp = max_timestamp.0.into();
        if let Some(horizon) = horizon {
            self.set_bit(DELETE_HORIZON_BIT, true);
            self.base_timestamp = horizon.0.into();
        }
        self.set_compression(self.compression().unwrap_or_default(), records);
    }

    /// Says that nothing follows: no record, no timestamp.
    pub(crate) fn set_no_records(&mut self) {
        self.magic = MAGIC;
        self.set_bit(DELETE_HORIZON_BIT, false);
        self.base_timestamp = Timestamp(-1).0.into();
        self.set_records(0, Timestamp(-1), None, &[]);
    }

    fn bit(&self, bit: i16) -> bool {
        self.attributes.get() & bit != 0
    }

    fn set_bit(&mut self, bit: i16, on: bool) {
        let others = self.attributes.get() & !bit;
        self.attributes = if on { others | bit } else { others }.into();
    }
}

/// The CRC-32C of a batch in two pieces.
#[must_use]
pub fn crc(header: &BatchHeader, records: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&header.as_bytes()[CRC_START..]);
    digest.update(records);
    u32::try_from(digest.finalize()).expect("a CRC of 32 bits has 32 bits")
}

/// The CRC-32C of a batch in one piece.
pub(super) fn crc_of_batch(batch: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(&batch[CRC_START..])
}
