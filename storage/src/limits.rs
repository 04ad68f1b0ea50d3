//! Every limit of the crate in one place. Relations between limits are asserted at compile time.

/// The alignment and grain of buffers for direct I/O: no device this crate runs on has a larger logical block.
pub const BUFFER_ALIGN_BYTES: usize = 4096;

/// Below this length the size classes of buffers are the multiples of [`BUFFER_ALIGN_BYTES`].
pub const BUFFER_CLASS_EXACT_BYTES_MAX: usize = 64 * 1024;

/// From there on, so many classes lie between a power of two and the next.
pub const BUFFER_CLASSES_PER_DOUBLING: usize = 8;

/// The largest buffer; a longer one is refused by an assertion.
pub const BUFFER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a thread keeps for reuse unless told otherwise.
pub const BUFFER_POOL_BYTES_DEFAULT: usize = 16 * 1024 * 1024;

const _: () = assert!(BUFFER_ALIGN_BYTES.is_power_of_two());
const _: () = assert!(BUFFER_CLASS_EXACT_BYTES_MAX.is_power_of_two());
const _: () = assert!(BUFFER_BYTES_MAX.is_power_of_two());
const _: () = assert!(BUFFER_CLASS_EXACT_BYTES_MAX < BUFFER_BYTES_MAX);
// Every class is a whole number of blocks, the smallest step between two classes included.
const _: () =
    assert!((BUFFER_CLASS_EXACT_BYTES_MAX / BUFFER_CLASSES_PER_DOUBLING).is_multiple_of(BUFFER_ALIGN_BYTES));
const _: () = assert!(BUFFER_POOL_BYTES_DEFAULT <= BUFFER_BYTES_MAX);

/// The most entries in a journal frame: bounds the table that a restart allocates for.
pub const FRAME_ENTRIES_MAX: usize = 64 * 1024;

/// How many emptied open frames a shard keeps for their memory.
pub const OPEN_FRAMES_SPARE_MAX: usize = 8;

/// The longest batch or group of batches that one append takes.
pub const APPEND_BYTES_MAX: usize = 192 * 1024 * 1024;

/// Room in the journal for what a start writes: a few dozen bytes for each partition that is led.
pub const START_ROOM_BYTES: u64 = 4 << 20;

/// How much a new journal file is zeroed by one write.
pub const ZERO_WRITE_BYTES: usize = 1024 * 1024;

/// How many frames may be under way at once, whatever the option says.
pub const FRAMES_IN_FLIGHT_MAX: usize = 16;

/// The longest checkpoint: beyond it, a slot is taken for damaged before memory is allocated for it.
pub const CHECKPOINT_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// How much a restart reads of a journal file at once.
pub const REPLAY_READ_BYTES: usize = 4 * 1024 * 1024;

/// How much is read at once to look at batches one by one.
pub const SCAN_READ_BYTES: usize = 1024 * 1024;

// The table of a full frame and the longest append fit in one buffer.
const _: () = assert!(APPEND_BYTES_MAX + (FRAME_ENTRIES_MAX + 2) * 48 < BUFFER_BYTES_MAX);
const _: () = assert!(ZERO_WRITE_BYTES.is_multiple_of(BUFFER_ALIGN_BYTES));

/// The longest segment file: positions in an offset index have 31 bits.
pub const SEGMENT_BYTES_MAX: u64 = 0x7fff_ffff;

/// The longest write to a segment file.
pub const SEGMENT_WRITE_BYTES: usize = 1024 * 1024;

/// Up to this length a write to a segment or an index does not open its file for direct I/O.
pub const SEGMENT_WRITE_SMALL_BYTES_MAX: usize = 256 * 1024;

/// How many small writes to files are handed to the blocking thread at once.
pub const SMALL_WRITES_PER_JOB_MAX: usize = 64;

/// The longest read of a segment file, unless one batch is longer.
pub const SEGMENT_READ_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The shortest read of a segment file: smaller ones cost a device no less.
pub const SEGMENT_READ_BYTES_MIN: usize = 16 * 1024;

/// How much of a segment is read at once to walk over its headers.
pub const SEGMENT_WALK_BYTES: usize = 256 * 1024;

/// From this length on, a segment's space is allocated ahead, by as much as it is long.
pub const SEGMENT_ALLOCATE_BYTES_MIN: u64 = 1024 * 1024;

/// A segment's space is allocated ahead by no more than this.
pub const SEGMENT_ALLOCATE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// So many entries of an offset index may exist in memory only; a restart walks over what they would have pointed to.
pub const INDEX_ENTRIES_UNWRITTEN_MAX: u32 = 16;

/// An index file longer than this is damaged.
pub const INDEX_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How many partitions are opened at once at a start.
pub const OPEN_CONCURRENT_MAX: usize = 64;

/// Up to this length the indexes of a partition's last segment are read together with its directory at a start.
pub const SURVEYED_FILE_BYTES_MAX: usize = 64 * 1024;

/// How many readers of one partition find the place where they stopped without looking it up.
pub const READ_CURSORS: usize = 4;

const _: () = assert!(SEGMENT_WRITE_BYTES.is_power_of_two());
const _: () = assert!(SEGMENT_WRITE_SMALL_BYTES_MAX <= SEGMENT_WRITE_BYTES);
const _: () = assert!(SEGMENT_WRITE_BYTES <= BUFFER_BYTES_MAX);
const _: () = assert!(SEGMENT_READ_BYTES_MIN <= SEGMENT_WALK_BYTES);
const _: () = assert!(SEGMENT_WALK_BYTES <= SEGMENT_READ_BYTES_MAX);

/// The file that the device is probed with.
pub const PROBE_FILE_BYTES: usize = 64 * 1024;

/// How many durable writes a probe makes at most, in each of the two ways.
pub const PROBE_WRITES_MAX: usize = 64;

/// After so many steps of work that nothing waits for, a shard's other tasks get a turn.
pub const STEPS_BETWEEN_YIELDS: usize = 128;

/// So many pieces of work begin in one turn of those that run at the same time: each may have a megabyte to copy before it
/// first waits.
pub const BEGINNINGS_BETWEEN_YIELDS: usize = 4;

/// How many partitions a round of destaging that takes its time works on at once, where each gets long writes: what it has
/// under way, a synced frame waits for at the device.
pub const DESTAGE_PACED_CONCURRENT_MAX: usize = 2;

/// How much of a producers' state goes into a checkpoint in one step.
pub const ENCODE_PIECE_BYTES: usize = 4 * 1024;

/// Up to so many logs are synced file by file; more of them by one sync of the filesystem.
pub const SYNC_EACH_MAX: usize = 8;

/// How much compaction reads of a log before others get their turn.
pub const COMPACTION_READ_BYTES: usize = 256 * 1024;

/// Up to so many bytes of records compaction works on where it runs; more is done beside its thread: packing them again
/// takes about a millisecond.
pub const COMPACTION_IN_PASSING_BYTES_MAX: usize = 32 * 1024;

/// A batch whose records take more memory than this, decompressed, is left as it is: no broker would have taken it.
pub const COMPACTION_RECORDS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Compaction makes no segment of segments that are longer than this together: a delete horizon may make records longer.
pub const COMPACTION_SEGMENT_BYTES_MAX: u64 = SEGMENT_BYTES_MAX / 2;

const _: () = assert!(COMPACTION_IN_PASSING_BYTES_MAX <= COMPACTION_RECORDS_BYTES_MAX);
