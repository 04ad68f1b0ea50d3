//! DescribeLogDirs (key 35): directories and the space in them.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::PartitionIndex;

/// Asks what is in the broker's directories.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = DescribeLogDirs)]
pub struct DescribeLogDirsRequest<'a> {
    /// The partitions asked for; null for all.
    pub topics: Option<Vec<DescribableLogDirTopic<'a>>>,
}

/// Partitions asked for.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribableLogDirTopic<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// What is in the broker's directories.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = DescribeLogDirs)]
pub struct DescribeLogDirsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome.
    #[wire(versions = "3+", ignorable)]
    pub error_code: ErrorCode,
    /// The outcome, item by item.
    pub results: Vec<DescribeLogDirsResult<'a>>,
}

/// A directory and what is in it.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeLogDirsResult<'a> {
    /// The outcome.
    pub error_code: ErrorCode,
    /// The directory.
    pub log_dir: &'a str,
    /// What is asked or told, by topic.
    pub topics: Vec<DescribeLogDirsTopic<'a>>,
    /// The size of the volume; -1 where unknown.
    #[wire(versions = "4+", default = -1, ignorable)]
    pub total_bytes: i64,
    /// What is free on the volume; -1 where unknown.
    #[wire(versions = "4+", default = -1, ignorable)]
    pub usable_bytes: i64,
    /// Whether the directory takes no new partitions.
    #[wire(versions = "5+", ignorable)]
    pub is_cordoned: bool,
}

/// A topic in a directory.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeLogDirsTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<DescribeLogDirsPartition>,
}

/// A partition in a directory.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeLogDirsPartition {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The size of the partition's segments, in bytes.
    pub partition_size: i64,
    /// How far the log is behind the high watermark, or behind the log it is to replace.
    pub offset_lag: i64,
    /// Whether the log is to replace the current one once it has caught up.
    pub is_future_key: bool,
}
