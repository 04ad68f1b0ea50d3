//! The small types that every crate speaks: offsets, epochs, ids.
//!
//! Each is a newtype over the integer that Kafka puts on the wire, so that an offset can't be passed
//! where an epoch is meant. Arithmetic is limited to what makes sense for the thing.

use std::fmt;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub $inner);

        impl $name {
            /// The integer as it stands on the wire.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(formatter)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

newtype! {
    /// The position of a record in its partition, from 0, without gaps when it is assigned.
    Offset(i64)
}
newtype! {
    /// Counts the leaderships of a partition (KIP-101); -1 where it is unknown.
    LeaderEpoch(i32)
}
newtype! {
    /// The index of a partition in its topic, from 0.
    PartitionIndex(i32)
}
newtype! {
    /// Names a broker in its cluster.
    BrokerId(i32)
}
newtype! {
    /// Names an idempotent or transactional producer (KIP-98); -1 for neither.
    ProducerId(i64)
}
newtype! {
    /// Fences older incarnations of one producer id; -1 for none.
    ProducerEpoch(i16)
}
newtype! {
    /// A producer's count of its records in one partition; wraps from `i32::MAX` to 0; -1 for none.
    Sequence(i32)
}
newtype! {
    /// Milliseconds since 1970-01-01 UTC; -1 where a record has none.
    Timestamp(i64)
}

impl Offset {
    /// The offset `count` records later.
    #[must_use]
    pub const fn plus(self, count: i64) -> Self {
        Self(self.0 + count)
    }

    /// How many records lie from `earlier` (included) to `self` (excluded).
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl LeaderEpoch {
    /// No epoch is known, or the client asked for no epoch check.
    pub const UNKNOWN: Self = Self(-1);
}

impl ProducerId {
    /// The batch's producer is not idempotent.
    pub const NONE: Self = Self(-1);
}

impl ProducerEpoch {
    /// No epoch: of no producer, or of one that has not begun.
    pub const NONE: Self = Self(-1);

    /// The last epoch that a client is given: one more is kept for fencing it.
    pub const LAST_GIVEN: Self = Self(i16::MAX - 1);

    /// Whether the producer needs another id before its epoch can be raised for a client again.
    #[must_use]
    pub const fn is_exhausted(self) -> bool {
        self.0 >= Self::LAST_GIVEN.0
    }

    /// The epoch after this one; there is none after the very last.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        match self.0.checked_add(1) {
            Some(next) => Some(Self(next)),
            None => None,
        }
    }
}

/// The protocol that a transaction goes by: the levels of the feature `transaction.version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionVersion {
    /// KIP-98: an epoch lasts from one initialisation to the next.
    #[default]
    V0,
    /// The same, with coordinators' records in a form that can be extended.
    V1,
    /// KIP-890: each end of a transaction raises the epoch, and partitions join by being written to.
    V2,
}

impl TransactionVersion {
    /// The level.
    #[must_use]
    pub const fn level(self) -> i16 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    /// The version of this level.
    #[must_use]
    pub const fn from_level(level: i16) -> Option<Self> {
        match level {
            0 => Some(Self::V0),
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }

    /// Whether the end of a transaction raises the producer's epoch.
    #[must_use]
    pub const fn bumps_epoch(self) -> bool {
        matches!(self, Self::V2)
    }
}

/// A topic's identity for its whole life: a topic deleted and made again under its name has another id (KIP-516).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// The id that stands for "no id" on the wire.
    pub const ZERO: Self = Self([0; 16]);

    /// The id as Kafka's tools and files have it.
    #[must_use]
    pub fn text(self) -> String {
        crate::uuid::text(self.0)
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TopicId({self})")
    }
}

/// Names one partition for ever, in memory and on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// The topic.
    pub topic_id: TopicId,
    /// The partition's index in the topic.
    pub partition: PartitionIndex,
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.topic_id, self.partition)
    }
}
