//! The records of `__transaction_state`: one per transactional id, in Kafka's own schemas (`TransactionLogKey`,
//! `TransactionLogValue`), so that Kafka's tools read them.
//!
//! Key and value each begin with two bytes of version. A key has version 0; a value has version 0, or 1, which adds tagged
//! fields. A record without a value says that its transactional id is forgotten.
//!
//! | key | bytes |
//! | --- | --- |
//! | version | 2 |
//! | transactional id | 2 of length, then its bytes |
//!
//! | value, version 0 | bytes |
//! | --- | --- |
//! | version | 2 |
//! | producer id | 8 |
//! | producer epoch | 2 |
//! | timeout in milliseconds | 4 |
//! | state | 1 |
//! | topics, -1 for none | 4 of count, then of each: name (2 + length), 4 of count, 4 for each partition |
//! | last update, milliseconds since 1970 | 8 |
//! | start, or -1 | 8 |
//!
//! Version 1 has the same fields in the compact encodings, and behind each topic and behind all its tagged fields:
//! previous producer id (0), next producer id (1), the client's transaction version (2).

use bytes::Bytes;
use protocol_derive::Message;
use thiserror::Error;

use crate::types::{PartitionIndex, ProducerEpoch, ProducerId, Timestamp};
use crate::wire::{DecodeError, Field, Format, Reader, Writer};

/// The only version of the key.
const KEY_VERSION: i16 = 0;

/// The last version of the value, and the only one with tagged fields.
pub const VALUE_VERSION_MAX: i16 = 1;

/// The longest transactional id that a key can carry.
pub const TRANSACTIONAL_ID_BYTES_MAX: usize = crate::limits::SHORT_LENGTH_MAX;

/// What is known of one transactional id.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TransactionLogValue<'a> {
    /// The producer.
    pub producer_id: ProducerId,
    /// The id that the producer had before.
    #[wire(versions = "1+", tag = 0, default = ProducerId::NONE, ignorable)]
    pub previous_producer_id: ProducerId,
    /// The id that the producer has once the transaction's end is written everywhere.
    #[wire(versions = "1+", tag = 1, default = ProducerId::NONE, ignorable)]
    pub next_producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: ProducerEpoch,
    /// After how long an open transaction is aborted, in milliseconds.
    pub transaction_timeout_ms: i32,
    /// The state's number.
    pub transaction_status: i8,
    /// The partitions of the transaction; null without one.
    pub transaction_partitions: Option<Vec<PartitionsSchema<'a>>>,
    /// When the record was made.
    pub transaction_last_update_timestamp_ms: Timestamp,
    /// When the transaction began; -1 without one.
    pub transaction_start_timestamp_ms: Timestamp,
    /// The transaction protocol of the client.
    #[wire(versions = "1+", tag = 2, ignorable)]
    pub client_transaction_version: i16,
}

/// The partitions of one topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct PartitionsSchema<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partitions.
    pub partition_ids: Vec<PartitionIndex>,
}

/// Why bytes are not a record of `__transaction_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// A version that came later.
    #[error("version {version} of a transaction's {part} is not known")]
    UnknownVersion {
        /// Key or value.
        part: &'static str,
        /// Its version.
        version: i16,
    },
    /// They end too early, or say nonsense.
    #[error("not a transaction's record: {0}")]
    Malformed(#[from] DecodeError),
}

/// The key of a transactional id.
#[must_use]
pub fn encode_key(transactional_id: &str) -> Bytes {
    assert!(transactional_id.len() <= TRANSACTIONAL_ID_BYTES_MAX);
    encode(KEY_VERSION, |writer, format| transactional_id.write(writer, format))
}

/// The transactional id that a key names.
pub fn decode_key(bytes: &[u8]) -> Result<&str, RecordError> {
    let mut reader = Reader::new(bytes, 0);
    let version = reader.i16()?;
    if version != KEY_VERSION {
        return Err(RecordError::UnknownVersion { part: "key", version });
    }
    Ok(Field::read(&mut reader, format(version))?)
}

/// A value in this version.
#[must_use]
pub fn encode_value(value: &TransactionLogValue<'_>, version: i16) -> Bytes {
    assert!((0..=VALUE_VERSION_MAX).contains(&version));
    encode(version, |writer, format| value.write(writer, format))
}

/// What a value says. `budget_bytes` bounds the memory that its lists may take.
pub fn decode_value(bytes: &[u8], budget_bytes: usize) -> Result<TransactionLogValue<'_>, RecordError> {
    let mut reader = Reader::new(bytes, budget_bytes);
    let version = reader.i16()?;
    if !(0..=VALUE_VERSION_MAX).contains(&version) {
        return Err(RecordError::UnknownVersion { part: "value", version });
    }
    Ok(Field::read(&mut reader, format(version))?)
}

/// Tagged fields and compact lengths begin with version 1.
const fn format(version: i16) -> Format {
    Format { version, flexible: version >= 1 }
}

fn encode(version: i16, write: impl FnOnce(&mut Writer, Format)) -> Bytes {
    let mut writer = Writer::new();
    writer.i16(version);
    write(&mut writer, format(version));
    let mut chunks: Vec<Bytes> = Vec::with_capacity(1);
    writer.finish(&mut chunks).expect("its strings were bounded when they came in");
    assert_eq!(chunks.len(), 1, "nothing in it is passed on by reference");
    chunks.remove(0)
}

#[cfg(test)]
mod tests;
