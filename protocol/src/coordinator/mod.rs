//! The records of `__consumer_offsets`, in Kafka's own schemas: what lag exporters, formatters and migrations read.
//!
//! A key says what the record is about, a value what holds from now on; no value (a tombstone) means that it is gone.
//! Both begin with 16 bits: a key with its type, a value with its version.
//!
//! | bytes of a key | field |
//! | --- | --- |
//! | 2 | type: 0 and 1 an offset, 2 a classic group, 3 to 8 and 16 a consumer group (KIP-848) |
//! | 2 + n | the group |
//! | 2 + n | types 0 and 1: the topic; 5, 7 and 8: the member; 16: the regular expression |
//! | 4 | types 0 and 1: the partition |
//!
//! | type | value | versions, first flexible one |
//! | --- | --- | --- |
//! | 0, 1 | [`OffsetCommitValue`] | 0-4, 4 |
//! | 2 | [`GroupMetadataValue`] | 0-4, 4 |
//! | 3 | [`ConsumerGroupMetadataValue`] | 0, 0 |
//! | 4 | not written any more by Kafka 4.1, ignored | |
//! | 5 | [`ConsumerGroupMemberMetadataValue`] | 0, 0 |
//! | 6 | [`ConsumerGroupTargetAssignmentMetadataValue`] | 0, 0 |
//! | 7 | [`ConsumerGroupTargetAssignmentMemberValue`] | 0, 0 |
//! | 8 | [`ConsumerGroupCurrentMemberAssignmentValue`] | 0, 0 |
//! | 16 | [`ConsumerGroupRegularExpressionValue`] | 0, 0 |
//!
//! The fields of each value stand in the order of its struct. Here too are the two structures that consumers of the
//! classic protocol exchange through the coordinator ([`embedded`]). Knows nothing of what a group does.

mod classic;
mod consumer;
pub mod embedded;
mod key;

#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::wire::{DecodeError, EncodeError, Field, Format, Reader, Writer};

pub use classic::{GroupMetadataValue, MemberMetadata, OffsetCommitValue};
pub use consumer::{
    ClassicMemberMetadata, ClassicProtocol, ConsumerGroupCurrentMemberAssignmentValue,
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue, ConsumerGroupRegularExpressionValue,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataValue,
    CurrentTopicPartitions, TargetTopicPartitions,
};
pub use key::Key;

/// Why bytes are not the key or value that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// They end early or hold what can't be.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The value's version is not one that is known.
    #[error("version {0} of a value is not known")]
    Version(i16),
}

/// A value of a record, in any of its versions.
pub trait Value<'a>: Field<'a> {
    /// The newest version that can be read.
    const VERSION_MAX: i16;

    /// The first version with compact lengths and tagged fields.
    const FLEXIBLE_FROM: i16;

    /// Reads a value with its version.
    ///
    /// # Errors
    /// [`RecordError`] where the version is not known or the bytes are not such a value.
    fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes, decode_budget_bytes(bytes));
        let version = reader.i16()?;
        if !(0..=Self::VERSION_MAX).contains(&version) {
            return Err(RecordError::Version(version));
        }
        Ok(Self::read(&mut reader, Self::format(version))?)
    }

    /// Writes the value in a version, with the version in front.
    ///
    /// # Errors
    /// [`EncodeError`] where a string is longer than its encoding can say.
    fn encode(&self, version: i16) -> Result<Bytes, EncodeError> {
        assert!((0..=Self::VERSION_MAX).contains(&version));
        let mut writer = Writer::new();
        writer.i16(version);
        self.write(&mut writer, Self::format(version));
        finish(&mut writer)
    }

    /// How a version is written.
    #[must_use]
    fn format(version: i16) -> Format {
        Format { version, flexible: version >= Self::FLEXIBLE_FROM }
    }
}

/// What decoding may take in memory: the costliest array, of empty strings, takes 16 bytes for one.
fn decode_budget_bytes(bytes: &[u8]) -> usize {
    64 * bytes.len()
}

fn finish(writer: &mut Writer) -> Result<Bytes, EncodeError> {
    let mut chunks: Vec<Bytes> = Vec::new();
    writer.finish(&mut chunks)?;
    assert_eq!(chunks.len(), 1, "a record holds no payload that is not copied");
    Ok(chunks.remove(0))
}
