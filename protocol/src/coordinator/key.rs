//! What a record of `__consumer_offsets` is about.

use bytes::Bytes;

use super::{RecordError, decode_budget_bytes, finish};
use crate::types::PartitionIndex;
use crate::wire::{EncodeError, Field, Format, Reader, Writer};

/// A record's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    /// A committed offset; type 0 means the same as type 1 and is not written any more.
    Offset {
        /// The group.
        group: &'a str,
        /// The topic.
        topic: &'a str,
        /// The partition.
        partition: PartitionIndex,
    },
    /// A classic group.
    ClassicGroup {
        /// The group.
        group: &'a str,
    },
    /// The epoch of a consumer group.
    ConsumerGroup {
        /// The group.
        group: &'a str,
    },
    /// What a member of a consumer group wants.
    ConsumerMember {
        /// The group.
        group: &'a str,
        /// The member.
        member: &'a str,
    },
    /// The epoch of a consumer group's target assignment.
    ConsumerTarget {
        /// The group.
        group: &'a str,
    },
    /// What a member of a consumer group is to own in the end.
    ConsumerTargetMember {
        /// The group.
        group: &'a str,
        /// The member.
        member: &'a str,
    },
    /// What a member of a consumer group owns.
    ConsumerCurrentMember {
        /// The group.
        group: &'a str,
        /// The member.
        member: &'a str,
    },
    /// The topics that match a regular expression of a consumer group.
    ConsumerRegularExpression {
        /// The group.
        group: &'a str,
        /// The expression.
        expression: &'a str,
    },
    /// A key of a type that is not known: share groups, streams groups, later Kafka.
    Unknown(i16),
}

const LEGACY_OFFSET: i16 = 0;
const OFFSET: i16 = 1;
const CLASSIC_GROUP: i16 = 2;
const CONSUMER_GROUP: i16 = 3;
const CONSUMER_MEMBER: i16 = 5;
const CONSUMER_TARGET: i16 = 6;
const CONSUMER_TARGET_MEMBER: i16 = 7;
const CONSUMER_CURRENT_MEMBER: i16 = 8;
const CONSUMER_REGULAR_EXPRESSION: i16 = 16;

/// No key is flexible.
const FORMAT: Format = Format { version: 0, flexible: false };

impl<'a> Key<'a> {
    /// Reads a key.
    ///
    /// # Errors
    /// [`RecordError::Decode`] where the bytes are not a key.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes, decode_budget_bytes(bytes));
        let kind = reader.i16()?;
        let mut text = || <&'a str>::read(&mut reader, FORMAT);
        Ok(match kind {
            LEGACY_OFFSET | OFFSET => Key::Offset {
                group: text()?,
                topic: text()?,
                partition: PartitionIndex::read(&mut reader, FORMAT)?,
            },
            CLASSIC_GROUP => Key::ClassicGroup { group: text()? },
            CONSUMER_GROUP => Key::ConsumerGroup { group: text()? },
            CONSUMER_MEMBER => Key::ConsumerMember { group: text()?, member: text()? },
            CONSUMER_TARGET => Key::ConsumerTarget { group: text()? },
            CONSUMER_TARGET_MEMBER => Key::ConsumerTargetMember { group: text()?, member: text()? },
            CONSUMER_CURRENT_MEMBER => Key::ConsumerCurrentMember { group: text()?, member: text()? },
            CONSUMER_REGULAR_EXPRESSION => {
                Key::ConsumerRegularExpression { group: text()?, expression: text()? }
            }
            unknown => Key::Unknown(unknown),
        })
    }

    /// Writes the key.
    ///
    /// # Errors
    /// [`EncodeError`] where a string is longer than 32767 bytes.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let (kind, first, second) = match *self {
            Key::Offset { group, topic, .. } => (OFFSET, group, Some(topic)),
            Key::ClassicGroup { group } => (CLASSIC_GROUP, group, None),
            Key::ConsumerGroup { group } => (CONSUMER_GROUP, group, None),
            Key::ConsumerMember { group, member } => (CONSUMER_MEMBER, group, Some(member)),
            Key::ConsumerTarget { group } => (CONSUMER_TARGET, group, None),
            Key::ConsumerTargetMember { group, member } => (CONSUMER_TARGET_MEMBER, group, Some(member)),
            Key::ConsumerCurrentMember { group, member } => (CONSUMER_CURRENT_MEMBER, group, Some(member)),
            Key::ConsumerRegularExpression { group, expression } => {
                (CONSUMER_REGULAR_EXPRESSION, group, Some(expression))
            }
            Key::Unknown(kind) => panic!("a key of the unknown type {kind} is never written"),
        };
        let mut writer = Writer::new();
        writer.i16(kind);
        first.write(&mut writer, FORMAT);
        if let Some(second) = second {
            second.write(&mut writer, FORMAT);
        }
        if let Key::Offset { partition, .. } = *self {
            partition.write(&mut writer, FORMAT);
        }
        finish(&mut writer)
    }
}
