//! What consumers of the classic protocol put into JoinGroup's metadata and SyncGroup's assignments.
//!
//! | bytes | field |
//! | --- | --- |
//! | 2 | version, 0 to 3 |
//! | ... | [`Subscription`] or [`Assignment`], in the order of its fields, never flexible |
//!
//! Later versions only add fields at the end, so a version that is not known is read as the newest that is.

use protocol_derive::Message;

use super::{RecordError, decode_budget_bytes, finish};
use crate::types::PartitionIndex;
use crate::wire::{EncodeError, Field, Format, Reader, Writer};
use bytes::Bytes;

/// The newest version known here.
const VERSION_MAX: i16 = 3;

/// What a consumer subscribes to.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct Subscription<'a> {
    /// The topics.
    pub topics: Vec<&'a str>,
    /// The assignor's own.
    pub user_data: Option<&'a [u8]>,
    /// What the consumer owns at the moment.
    #[wire(versions = "1+", ignorable)]
    pub owned_partitions: Vec<TopicPartitions<'a>>,
    /// The generation in which it got them.
    #[wire(versions = "2+", default = -1, ignorable)]
    pub generation_id: i32,
    /// The consumer's rack.
    #[wire(versions = "3+", ignorable)]
    pub rack_id: Option<&'a str>,
}

/// What a consumer is to read.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct Assignment<'a> {
    /// The partitions by topic.
    pub assigned_partitions: Vec<TopicPartitions<'a>>,
    /// The assignor's own.
    pub user_data: Option<&'a [u8]>,
}

/// A topic's partitions.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicPartitions<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}

impl<'a> Subscription<'a> {
    /// Reads a subscription and says in which version it was written.
    ///
    /// # Errors
    /// [`RecordError`] where the bytes are no subscription.
    pub fn decode(bytes: &'a [u8]) -> Result<(i16, Self), RecordError> {
        decode(bytes)
    }

    /// Writes the subscription.
    ///
    /// # Errors
    /// [`EncodeError`] where a string is longer than 32767 bytes.
    pub fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
        encode(self, version)
    }

    /// Reads the topics alone, which stand in front whatever the version: what a group is subscribed to.
    ///
    /// # Errors
    /// [`RecordError`] where the bytes are no subscription.
    pub fn decode_topics(bytes: &'a [u8]) -> Result<Vec<&'a str>, RecordError> {
        let (mut reader, _) = begin(bytes)?;
        let format = Format { version: 0, flexible: false };
        Ok(Self::read(&mut reader, format)?.topics)
    }
}

impl<'a> Assignment<'a> {
    /// Reads an assignment and says in which version it was written.
    ///
    /// # Errors
    /// [`RecordError`] where the bytes are no assignment.
    pub fn decode(bytes: &'a [u8]) -> Result<(i16, Self), RecordError> {
        decode(bytes)
    }

    /// Writes the assignment.
    ///
    /// # Errors
    /// [`EncodeError`] where a string is longer than 32767 bytes.
    pub fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
        encode(self, version)
    }
}

fn begin(bytes: &[u8]) -> Result<(Reader<'_>, i16), RecordError> {
    let mut reader = Reader::new(bytes, decode_budget_bytes(bytes));
    let version = reader.i16()?;
    if version < 0 { Err(RecordError::Version(version)) } else { Ok((reader, version)) }
}

fn decode<'a, T: Field<'a>>(bytes: &'a [u8]) -> Result<(i16, T), RecordError> {
    let (mut reader, version) = begin(bytes)?;
    let format = Format { version: version.min(VERSION_MAX), flexible: false };
    Ok((version, T::read(&mut reader, format)?))
}

fn encode<'a, T: Field<'a>>(value: &T, version: i16) -> Result<Bytes, EncodeError> {
    let version = version.clamp(0, VERSION_MAX);
    let mut writer = Writer::new();
    writer.i16(version);
    value.write(&mut writer, Format { version, flexible: false });
    finish(&mut writer)
}
