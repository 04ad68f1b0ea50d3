//! The one table of Kafka's APIs: key, name, versions, where the flexible encodings begin.
//!
//! It holds every API that has messages in this crate, whether or not the broker offers it.

use std::fmt;
use std::ops::RangeInclusive;

use crate::wire::Format;

macro_rules! apis {
    ($($name:ident = $key:literal, $versions:expr, $flexible:expr;)*) => {
        /// An API, by its key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $(
                #[doc = concat!("Key ", stringify!($key), ".")]
                $name = $key,
            )*
        }

        impl ApiKey {
            /// Every API of the table, in order of their keys.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The API with this key, if there is one.
            #[must_use]
            pub const fn from_key(key: i16) -> Option<Self> {
                match key {
                    $($key => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Kafka's name for it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The versions that this crate reads and writes.
            #[must_use]
            pub const fn versions(self) -> RangeInclusive<i16> {
                match self {
                    $(Self::$name => $versions,)*
                }
            }

            /// The first version with compact lengths and tagged fields; none where no version has them.
            #[must_use]
            pub const fn flexible_from(self) -> Option<i16> {
                match self {
                    $(Self::$name => $flexible,)*
                }
            }
        }
    };
}

// API = key, versions, first flexible version.
apis! {
    Produce = 0, 3..=13, Some(9);
    Fetch = 1, 4..=18, Some(12);
    ListOffsets = 2, 1..=11, Some(6);
    Metadata = 3, 0..=13, Some(9);
    OffsetCommit = 8, 2..=10, Some(8);
    OffsetFetch = 9, 1..=10, Some(6);
    FindCoordinator = 10, 0..=6, Some(3);
    JoinGroup = 11, 0..=9, Some(6);
    Heartbeat = 12, 0..=4, Some(4);
    LeaveGroup = 13, 0..=5, Some(4);
    SyncGroup = 14, 0..=5, Some(4);
    DescribeGroups = 15, 0..=6, Some(5);
    ListGroups = 16, 0..=5, Some(3);
    ApiVersions = 18, 0..=5, Some(3);
    CreateTopics = 19, 2..=7, Some(5);
    DeleteTopics = 20, 1..=6, Some(4);
    DeleteRecords = 21, 0..=2, Some(2);
    InitProducerId = 22, 0..=5, Some(2);
    OffsetForLeaderEpoch = 23, 2..=4, Some(4);
    AddPartitionsToTxn = 24, 0..=5, Some(3);
    AddOffsetsToTxn = 25, 0..=4, Some(3);
    EndTxn = 26, 0..=5, Some(3);
    WriteTxnMarkers = 27, 1..=2, Some(1);
    TxnOffsetCommit = 28, 0..=5, Some(3);
    DescribeConfigs = 32, 1..=4, Some(4);
    AlterConfigs = 33, 0..=2, Some(2);
    DescribeLogDirs = 35, 1..=5, Some(2);
    CreatePartitions = 37, 0..=3, Some(2);
    DeleteGroups = 42, 0..=2, Some(2);
    IncrementalAlterConfigs = 44, 0..=1, Some(1);
    OffsetDelete = 47, 0..=0, None;
    UpdateFeatures = 57, 0..=2, Some(0);
    DescribeCluster = 60, 0..=2, Some(0);
    DescribeProducers = 61, 0..=0, Some(0);
    DescribeTransactions = 65, 0..=0, Some(0);
    ListTransactions = 66, 0..=2, Some(0);
    ConsumerGroupHeartbeat = 68, 0..=1, Some(0);
    ConsumerGroupDescribe = 69, 0..=1, Some(0);
    ListConfigResources = 74, 0..=1, Some(0);
    DescribeTopicPartitions = 75, 0..=0, Some(0);
}

impl ApiKey {
    /// The key on the wire.
    #[must_use]
    pub const fn key(self) -> i16 {
        self as i16
    }

    /// Whether this crate reads and writes the version.
    #[must_use]
    pub fn supports(self, version: i16) -> bool {
        self.versions().contains(&version)
    }

    /// The lowest version to tell clients of.
    ///
    /// Produce says 0 although 3 is the lowest there is: librdkafka before 2.11.1 takes a range without 0 for a
    /// broker without compression (KAFKA-18659), and Kafka itself says 0 for that reason.
    #[must_use]
    pub const fn advertised_min(self) -> i16 {
        match self {
            Self::Produce => 0,
            _ => *self.versions().start(),
        }
    }

    /// How the body of a message is written in the version.
    #[must_use]
    pub const fn format(self, version: i16) -> Format {
        let flexible = match self.flexible_from() {
            Some(first) => version >= first,
            None => false,
        };
        Format { version, flexible }
    }

    /// Whether the header of a response ends with tagged fields. ApiVersions never does, so that a client can read
    /// the answer to a version that the broker doesn't know (KIP-511).
    #[must_use]
    pub fn response_header_is_flexible(self, version: i16) -> bool {
        self != Self::ApiVersions && self.format(version).flexible
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
