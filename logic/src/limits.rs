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

/// Groups with configs of their own: anybody may set some, for groups that never were.
pub const GROUPS_WITH_SETTINGS_MAX: usize = 100_000;

/// Producer ids handed out at a time; a broker asks again when its block is used up.
pub const PRODUCER_ID_BLOCK_COUNT: i64 = 1_000;

const _: () = assert!(PARTITIONS_PER_COMMAND_MAX <= PARTITIONS_PER_TOPIC_MAX);
const _: () = assert!(PARTITIONS_PER_TOPIC_MAX <= PARTITIONS_MAX);

/// Batches kept of each idempotent producer: as many as a producer has in flight at most (Kafka's five).
pub const PRODUCER_BATCHES_KEPT: usize = 5;

/// Idempotent producers that one partition knows; past it the ones that were silent for longest are forgotten.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 10_000_000;

/// Producers' entries that are allocated at a time once a partition has more than a few.
pub const PRODUCER_CHUNK_ENTRIES: usize = 256;

/// Bytes of a snapshot of one partition's producers: FlatBuffers' own limit.
pub const PRODUCER_SNAPSHOT_BYTES_MAX: usize = i32::MAX as usize;

/// Transactions that are open in one partition at a time; past it no other begins.
pub const TRANSACTIONS_OPEN_PER_PARTITION_MAX: usize = 100_000;

/// Aborted transactions of one partition whose records are still there; past it no transaction begins.
pub const TRANSACTIONS_ABORTED_PER_PARTITION_MAX: usize = 1_000_000;

/// Transactions that one partition waits for the coordinator's word on.
pub const VERIFICATIONS_PER_PARTITION_MAX: usize = 100_000;

/// Bytes of one producer in a snapshot: 24 for itself, 16 for its coordinator, 16 for its last time and 24 for each batch.
const PRODUCER_SNAPSHOT_ENTRY_BYTES_MAX: usize = 24 + 16 + 16 + 24 * PRODUCER_BATCHES_KEPT;

/// Bytes of transactions in a snapshot: 16 for an open one, 32 for an aborted one.
const PRODUCER_SNAPSHOT_TRANSACTIONS_BYTES_MAX: usize =
    16 * TRANSACTIONS_OPEN_PER_PARTITION_MAX + 32 * TRANSACTIONS_ABORTED_PER_PARTITION_MAX;

const _: () = assert!(PRODUCERS_PER_PARTITION_MAX < u32::MAX as usize);
const _: () = assert!(TRANSACTIONS_OPEN_PER_PARTITION_MAX < PRODUCERS_PER_PARTITION_MAX);
const _: () = assert!(
    PRODUCERS_PER_PARTITION_MAX * PRODUCER_SNAPSHOT_ENTRY_BYTES_MAX
        + PRODUCER_SNAPSHOT_TRANSACTIONS_BYTES_MAX
        + 1024
        <= PRODUCER_SNAPSHOT_BYTES_MAX
);

/// Fetch sessions of one shard: an eviction looks at each of them.
pub const FETCH_SESSION_SLOTS_MAX: usize = 10_000;

/// Shards that share out the ids of fetch sessions.
pub const FETCH_SESSION_SHARDS_MAX: u16 = 4_096;

/// The longest that a fetch waits, whatever the client says.
pub const FETCH_WAIT_MS_MAX: i64 = 10 * 60 * 1_000;

/// Bytes of a group's id, a member's, a topic's name or an offset's metadata: what a string of Kafka's records holds.
pub const GROUP_TEXT_BYTES_MAX: usize = 32_767;

/// Bytes of the client's id or the static member's name that go into a new member's id.
pub const GROUP_CLIENT_ID_BYTES_IN_MEMBER_ID_MAX: usize = 256;

/// Ids that one group has given out and with which nobody has joined yet.
pub const GROUP_EXPECTED_MEMBERS_MAX: usize = 10_000;

/// How long a member that has joined for the first time may wait for the others: it sends no heartbeats meanwhile.
pub const GROUP_NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1_000;

/// Expired offsets that one turn removes; the next turn follows soon.
pub const GROUP_EXPIRED_OFFSETS_PER_TURN_MAX: usize = 10_000;

/// How soon the next turn follows.
pub const GROUP_EXPIRY_TURN_DELAY_MS: i32 = 1_000;

/// Memory of a group, besides names, members and offsets. An estimate.
pub const GROUP_BYTES: usize = 512;

/// Memory of a member, besides its names, subscriptions and assignment. An estimate.
pub const GROUP_MEMBER_BYTES: usize = 512;

/// Memory of a committed offset, besides its metadata. An estimate.
pub const GROUP_OFFSET_BYTES: usize = 128;

const _: () = assert!(TOPIC_NAME_BYTES_MAX <= GROUP_TEXT_BYTES_MAX);
const _: () = assert!(GROUP_CLIENT_ID_BYTES_IN_MEMBER_ID_MAX + 37 <= GROUP_TEXT_BYTES_MAX);

/// Transactional ids of one partition of `__transaction_state`.
pub const TRANSACTIONAL_IDS_PER_PARTITION_MAX: usize = 200_000;

/// Bytes of a transaction's record: it fits in a batch of the least that topics allow by default (1 MiB).
pub const TRANSACTION_VALUE_BYTES_MAX: usize = 900_000;

/// Memory that one record's lists may take when it is read: a topic of one letter and one partition takes 48 bytes of
/// memory and 7 of a record.
pub const TRANSACTION_VALUE_DECODED_BYTES_MAX: usize = 16 << 20;

const _: () = assert!(TRANSACTION_VALUE_BYTES_MAX / 7 * 48 < TRANSACTION_VALUE_DECODED_BYTES_MAX);

/// Timers that a coordinator looks at in one step.
pub const TRANSACTION_TIMERS_PER_STEP_MAX: usize = 1_000;

/// After how long a marker that was not written, or a record that was not appended, is tried again.
pub const TRANSACTION_RETRY_MS: i64 = 100;

/// Memory of a partition that a member of a consumer group owns, among the member's and among the owners. An estimate.
pub const GROUP_OWNED_PARTITION_BYTES: usize = 128;

/// Bytes of a regular expression that topics are subscribed to by.
pub const GROUP_EXPRESSION_BYTES_MAX: usize = 4_096;

/// Memory of such an expression while it is in use: what counts against expressions like `(((a{9}){9}){9}){9}`.
pub const GROUP_EXPRESSION_COMPILED_BYTES_MAX: usize = 1 << 20;

/// How often the expressions of a group are looked up again at most, while topics come and go.
pub const GROUP_EXPRESSION_REFRESH_MS_MIN: i64 = 10_000;

/// How many records of one batch are told to be wrong, each by itself.
pub const RECORD_ERRORS_MAX: usize = 100;
