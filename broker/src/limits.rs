//! Every bound of the broker that is not a setting. Relations between bounds are asserted when it is compiled.

use protocol::limits::NATIVE_BODY_BYTES_MAX;

/// What a shard receives into before it knows whose bytes they are.
pub const SCRATCH_BYTES: usize = 64 * 1024;
/// How much of a frame is received with its head when a large one is expected: the rest is received in place.
pub const FRAME_PEEK_BYTES: usize = 4 * 1024;
/// From this size on a frame is large.
pub const FRAME_LARGE_BYTES: usize = 32 * 1024;
/// How much is allocated for a frame ahead of its bytes, at most, or as much again as has come in.
pub const FRAME_GROWTH_BYTES_MAX: usize = 1024 * 1024;
/// Connections that the kernel holds until a shard accepts them.
pub const LISTEN_BACKLOG: i32 = 1024;
/// Changes of sockets' readiness that are taken from the kernel in one call.
pub const READINESS_EVENTS_MAX: usize = 64;
/// Requests of one connection that may be open at a time; more are not read.
pub const REQUESTS_OPEN_PER_CONNECTION_MAX: usize = 256;
/// Slices that one write to a socket gathers.
pub const SLICES_PER_WRITE_MAX: usize = 64;
/// Messages from one shard to another that may wait.
pub const MESH_QUEUE_MESSAGES_MAX: usize = 1024;
/// By how many requests one shard must lead in a connection's traffic before the connection is handed over to it.
pub const AFFINITY_LEAD_REQUESTS: u32 = 64;
/// Small frames have one part in so many of the memory of requests to themselves.
pub const SMALL_FRAMES_PART: usize = 8;
/// How often a frame that has begun must have brought [`FRAME_PROGRESS_BYTES_MIN`] or its end, in seconds.
pub const FRAME_PROGRESS_SECONDS: u64 = 30;
/// What it must bring in that time: about what a modem did.
pub const FRAME_PROGRESS_BYTES_MIN: u64 = 64 * 1024;
/// The same while others wait for memory, in seconds.
pub const FRAME_PROGRESS_SHORT_SECONDS: u64 = 1;
/// What it must bring in that time.
pub const FRAME_PROGRESS_SHORT_BYTES_MIN: u64 = 64 * 1024;
/// Replies of one connection that have not left; more requests are not read.
pub const REPLY_BYTES_PER_CONNECTION_MAX: usize = 16 * 1024 * 1024;
/// Less room than this is not worth a read, unless less is wanted.
pub const REPLY_ROOM_BYTES_MIN: usize = 1024 * 1024;
/// One reply has one part in so many of the memory of replies at most, and less where more than so many wait.
pub const REPLY_ROOM_PART: usize = 4;
/// How long a client may leave its replies unread while others wait for their memory, in seconds.
pub const REPLY_UNREAD_SECONDS_MAX: u64 = 5;
/// What a client must take of its replies in that time to count as one that reads them.
pub const REPLY_TAKEN_BYTES_MIN: u64 = 64 * 1024;
/// A produce that takes more memory than this once it is decoded, for more than a thousand partitions, waits for room for its
/// reply, which is large, before it is decoded.
pub const PRODUCE_DECODED_UNASKED_BYTES_MAX: usize = 64 * 1024;

const _: () = assert!(PRODUCE_DECODED_UNASKED_BYTES_MAX < DECODE_BYTES_MAX);
const _: () = assert!(DECODE_WAITING_BYTES_MAX < DECODE_BYTES_MAX);
const _: () = assert!(FRAME_PEEK_BYTES < FRAME_LARGE_BYTES);
const _: () = assert!(FRAME_LARGE_BYTES <= SCRATCH_BYTES);
const _: () = assert!(FRAME_PROGRESS_SHORT_SECONDS < FRAME_PROGRESS_SECONDS);
/// Submission slots of a shard's rings.
pub const RING_DEPTH: usize = 512;
/// Registered memory of a shard's ring: the least that it takes, since long-lived buffers come from the allocator.
pub const RING_MEMORY_BYTES: usize = 64 * 1024;
/// Series that `/metrics` shows at most.
pub const METRICS_SERIES_MAX: usize = 5_000;
/// Shards that are shown one by one; more are summed up.
pub const METRICS_SHARDS_SHOWN_MAX: usize = 30;
/// Histograms (an API's stage each) that are shown one by one; more are summed up.
pub const METRICS_HISTOGRAMS_MAX: usize = 110;
/// Errors by API and code that are shown; more are summed up.
pub const METRICS_ERROR_SERIES_MAX: usize = 200;

/// Jobs that may wait for the quorum's writer thread; each of its callers waits for its own.
pub const QUORUM_WRITES_MAX: usize = 16;
/// Commands that may be open at the metadata quorum; more wait to be taken.
pub const QUORUM_COMMANDS_OPEN_MAX: usize = 1024;
/// Changes that may wait for a subscriber; the quorum waits for it then.
pub const QUORUM_CHANGES_WAITING_MAX: usize = 1024;
/// The size of the quorum's log below which no snapshot is taken.
pub const QUORUM_LOG_BYTES_MIN: u64 = 4 << 20;
/// Space kept allocated ahead of the quorum's log, for what heals a full disk.
pub const QUORUM_RESERVE_BYTES: u64 = 1 << 20;
/// Below this much space, metadata only changes to free more.
pub const QUORUM_SPACE_LOW_BYTES: u64 = 8 << 20;
/// How long a start waits for the quorum to lead itself, in seconds: a few writes on the slowest disk.
pub const QUORUM_START_SECONDS_MAX: u64 = 60;

const _: () = assert!(QUORUM_RESERVE_BYTES < QUORUM_SPACE_LOW_BYTES);

/// How long one shard watches partitions for another before it says so, in seconds: a reader that has gone is then
/// forgotten.
pub const WATCH_SECONDS_MAX: u64 = 5;
/// Memory that decoding any request may take.
pub const DECODE_BYTES_MIN: usize = 16 * 1024;
/// Memory that decoding may take for each byte of a request.
pub const DECODE_EXPANSION_MAX: usize = 16;
/// Memory that decoding one request may take, however long it is: what large requests carry is records, which are not decoded,
/// and ten thousand partitions take a few megabytes.
pub const DECODE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Memory that decoding a request may take that its client lets wait for as long as it likes.
pub const DECODE_WAITING_BYTES_MAX: usize = 1024 * 1024;
/// Topics that one command to the quorum makes for a request for metadata; for more there is another one.
pub const TOPICS_CREATED_AT_ONCE_MAX: usize = 1000;
/// How many questions of one request are asked at the same time.
pub const JOINED_FUTURES_MAX: usize = 256;
/// A frame that is so many times as long as what is appended of it is not kept for that: it is copied.
pub const FRAME_BYTES_PER_APPENDED_BYTE_MAX: usize = 8;
/// How long accepting pauses when descriptors have run out, in milliseconds.
pub const ACCEPT_PAUSE_MILLISECONDS: u64 = 100;
/// How long the device is tried at start for the better way to write durably, in milliseconds.
pub const DEVICE_PROBE_MILLISECONDS: u64 = 10;
/// How often a shard publishes the figures of its store, in milliseconds.
pub const FIGURES_MILLISECONDS: u64 = 250;
/// A disk with less room counts as full: batches of the default `message.max.bytes` are refused.
pub const ROOM_BYTES_MIN: usize = 1_048_588;
/// How long the space of deleted segments is given to show before more of them go for it, in milliseconds.
pub const ROOM_PAUSE_MILLISECONDS: u64 = 250;
/// How often something to delete is looked for while the disk is full and nothing was, in milliseconds.
pub const ROOM_RETRY_MILLISECONDS: u64 = 1_000;
/// How often idle connections and overdue produces are looked for, in milliseconds.
pub const SWEEP_MILLISECONDS: u64 = 500;
/// Producer ids that a shard has left when it asks for more: what its producers take while the quorum answers.
pub const PRODUCER_IDS_LEFT_MIN: i64 = 250;
/// Producers that are forgotten between two chances for other tasks.
pub const PRODUCERS_EXPIRED_PER_STEP_MAX: usize = 256;
/// Producers that go into a snapshot between two chances for other tasks: well below a millisecond.
pub const PRODUCERS_PER_SNAPSHOT_STEP: usize = 2_048;
/// Messages of the control thread that wait for a shard.
pub const MAILBOX_MESSAGES_MAX: usize = 64;
/// How much is read ahead for a consumer that catches up, at a time.
pub const READ_AHEAD_CHUNK_BYTES: usize = 1024 * 1024;
/// Reads for consumers that catch up that are under way at a time.
pub const CATCH_UP_READS_MAX: usize = 4;
/// A read for consumers that catch up is followed by a pause of so many times its length while producers are at work.
pub const CATCH_UP_PAUSES: u32 = 4;
/// No such pause is longer.
pub const CATCH_UP_PAUSE_MAX: std::time::Duration = std::time::Duration::from_millis(20);
/// So long after they have sent something producers count as at work.
pub const PRODUCERS_AT_WORK: std::time::Duration = std::time::Duration::from_millis(50);
/// How long one pass of a fetch makes way for producers, with all its reads on a shard.
pub const CATCH_UP_PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);
/// There is no pause where a read brings less than so many times what producers sent meanwhile, for each who waits.
pub const CATCH_UP_PER_INFLOW: u64 = 2;
/// Pieces of logs that are kept for consumers that catch up; their bytes have a budget besides.
pub const READ_AHEAD_PIECES_MAX: usize = 256;
/// How many of the last times that pieces of a partition were let go are known one by one; a read that began earlier is made again.
pub const FORGETTINGS_KNOWN_MAX: usize = 256;
/// How much of a coordinator's log is read at a time when it is loaded.
pub const COORDINATOR_LOAD_BYTES: usize = 1024 * 1024;
/// How long a coordinator whose log can't be read waits before it tries again, in seconds.
pub const COORDINATOR_RETRY_SECONDS: u64 = 1;
/// Memory that each coordinator of groups may take in any case, about.
pub const COORDINATOR_BYTES_MIN: u64 = 16 << 20;
/// What a regular expression of a client may take once it is compiled.
pub const PATTERN_BYTES_MAX: usize = 1024 * 1024;
/// What a produced batch may decompress to where it must be looked into. A native one must always be open to being
/// transcoded.
pub const PRODUCED_BATCH_DECOMPRESSED_BYTES_MAX: usize = NATIVE_BODY_BYTES_MAX;
/// How much of the records of one request a shard works on itself, where they must be looked into: about a fifth of a
/// millisecond.
pub const PRODUCED_IN_PASSING_BYTES_MAX: usize = 64 * 1024;
/// Threads beside a shard's, for what takes long without waiting: while one works on a produced batch and one compacts, files
/// are still renamed and removed.
pub const BLOCKING_THREADS: usize = 3;
/// What a stored batch may decompress to when it is looked into.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;
/// How much of a log is transcoded at a time: a few milliseconds of a thread.
pub const TRANSCODED_PIECE_BYTES: usize = 1024 * 1024;
/// How much of an answer is transcoded on the shard's own thread: not worth a way to another one.
pub const TRANSCODED_IN_PASSING_BYTES_MAX: usize = 16 * 1024;
/// What the bodies of the native batches of one answer take together, decompressed, while they are transcoded; one comes
/// in any case.
pub const TRANSCODED_BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Connections of the admin port at a time.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// How long a connection of the admin port may be quiet, in seconds: longer than Prometheus usually waits between looks.
pub const ADMIN_QUIET_SECONDS_MAX: u64 = 75;
/// Log lines that may wait to be written; more are dropped and counted, since a shard must not wait for a terminal.
pub const LOG_LINES_WAITING_MAX: usize = 4096;
/// How long the end of the process waits for its last log lines, in seconds.
pub const LOG_FLUSH_SECONDS_MAX: u64 = 2;
/// Partitions, and names of topics, in all fetch sessions of a shard.
pub const FETCH_SESSION_PARTITIONS_MAX: usize = 1_000_000;
/// How long a fetch session must be unused, or old, before it may make room for another, in milliseconds.
pub const FETCH_SESSION_EVICTION_MILLISECONDS: i64 = 120_000;
/// How long destaging rests when there is nothing to do, in milliseconds.
pub const DESTAGE_PAUSE_MILLISECONDS: u64 = 100;
/// Where nothing happens at all, a round of destaging comes after so many pauses.
pub const DESTAGE_IDLE_PAUSES: u32 = 10;
/// How long a producer's connection is held back when the journal is full, before it is looked at again.
pub const INFLOW_FULL_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
/// The longest that a producer waits for its turn while the journal fills up.
pub const INFLOW_TURN_MAX: std::time::Duration = std::time::Duration::from_millis(200);
/// While there is time a round of destaging moves so many bytes for each that is appended: it takes that fraction of the
/// time to the next round.
pub const DESTAGE_PER_INFLOW: u64 = 2;
/// The slowest that a round goes, in bytes a second.
pub const DESTAGE_BYTES_PER_SECOND_MIN: u64 = 33_554_432;
/// A pause of a round that is shorter than this is not made.
pub const DESTAGE_AHEAD_MAX: std::time::Duration = std::time::Duration::from_millis(1);
/// How often a round that pauses looks whether the journal fills up.
pub const DESTAGE_LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(20);
/// A turn that is no further away than this is taken at once: a timer for each small request would cost more than it.
pub const INFLOW_AHEAD_MAX: std::time::Duration = std::time::Duration::from_millis(1);
/// At which rate destaging is believed to free the journal before a round has shown it, in bytes a second.
pub const DESTAGE_BYTES_PER_SECOND_FIRST: f64 = 134_217_728.0;
/// How far compaction may be ahead of the bandwidth it has before it waits.
pub const COMPACTION_AHEAD_MAX: std::time::Duration = std::time::Duration::from_millis(5);
/// How long a log rests of which a part was too long to be compacted: the next round goes over the same once more.
pub const COMPACTION_LEFT_OUT_PAUSE: std::time::Duration = std::time::Duration::from_hours(1);
/// Of the memory for the tail, one byte in so many is for buffers that wait to be used again: frames come in many sizes,
/// and fresh memory costs a page fault for each page.
pub const TAIL_BYTES_PER_SPARE_BYTE: usize = 8;
