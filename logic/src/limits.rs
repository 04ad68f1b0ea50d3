//! Every limit of this crate. Relations between limits are asserted where they are defined.

/// Bytes of a config's value (Kafka's `Short.MAX_VALUE`).
pub const CONFIG_VALUE_BYTES_MAX: usize = 32_767;

/// Bytes of a topic's name: with partition and suffix it must fit a file name of 255 bytes.
pub const TOPIC_NAME_BYTES_MAX: usize = 249;

/// Partitions of one topic.
pub const PARTITIONS_PER_TOPIC_MAX: usize = 100_000;

/// Partitions that one command makes, over all its topics.
pub const PARTITIONS_PER_COMMAND_MAX: usize = 10_000;

/// Partitions of a cluster. Snapshots and images are tested up to it.
pub const PARTITIONS_MAX: usize = 1_000_000;

/// Replicas of one partition.
pub const REPLICAS_PER_PARTITION_MAX: usize = 64;

/// Resources (topics, configs) that one command names.
pub const RESOURCES_PER_COMMAND_MAX: usize = 100_000;

/// Producer ids handed out at a time; a broker asks again when its block is used up.
pub const PRODUCER_ID_BLOCK_COUNT: i64 = 1_000;

const _: () = assert!(PARTITIONS_PER_COMMAND_MAX <= PARTITIONS_PER_TOPIC_MAX);
const _: () = assert!(PARTITIONS_PER_TOPIC_MAX <= PARTITIONS_MAX);
