//! What goes in and out of a shard's store: options, specifications, results.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use protocol::types::{LeaderEpoch, Offset, PartitionKey, Timestamp};

use super::errors::StoreFailure;
use crate::batch::BATCH_HEADER_BYTES;
use crate::checkpoint::EpochStart;
use crate::disk::probe::DurableWrite;
use crate::journal::FrameSequence;
use crate::journal::replay::LostFrames;
use crate::limits::{APPEND_BYTES_MAX, FRAMES_IN_FLIGHT_MAX};
use crate::segment::LogConfig;

/// Names a partition within its shard's store, as long as the store is open. Never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionSlot(pub u32);

/// How a frame gets on stable media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncMethod {
    /// Each write is durable by itself (`O_DSYNC`).
    Dsync,
    /// A plain write, then a sync of the file.
    WriteThenSync,
}

impl From<DurableWrite> for SyncMethod {
    fn from(chosen: DurableWrite) -> Self {
        match chosen {
            DurableWrite::Synced => Self::Dsync,
            DurableWrite::ThenSync => Self::WriteThenSync,
        }
    }
}

/// How a shard's store works.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// This shard's index.
    pub shard: u16,
    /// How many shards the data directory is for.
    pub shard_count: u16,
    /// The length of the files of the journal's ring, but for short ones that it was begun with.
    pub journal_file_bytes: u64,
    /// The length of a new journal's first file, which a start waits for; no more than that of the others.
    pub journal_first_file_bytes: u64,
    /// How many files the ring may grow to.
    pub journal_files_max: usize,
    /// From this length on a frame gets no further appends.
    pub frame_bytes_max: usize,
    /// How many frames may be on their way to the device at once.
    pub frames_in_flight_max: usize,
    /// From so many waiting bytes on a frame is written although another one is under way.
    pub frame_eager_bytes: usize,
    /// Batches that are not in a frame yet; beyond, appends are refused.
    pub pending_bytes_max: usize,
    /// Frames kept in memory for readers.
    pub tail_cache_bytes: usize,
    /// How frames get on stable media.
    pub sync_method: SyncMethod,
    /// Go on although acked records are proven to be damaged.
    pub accept_damage: bool,
    /// What destaging never uses of the disk, so that a full one can still be healed.
    pub reserve_bytes: u64,
    /// On a full disk the oldest segments go, where their topics allow it, rather than that produces are refused.
    pub deletes_when_full: bool,
    /// A round of destaging waits for so many bytes in the journal, and takes about as many: what it holds in memory
    /// beside the tail. Never more than a quarter of the journal, so that there is room to go on meanwhile.
    pub destage_round_bytes: u64,
    /// How many partitions' segments are written or synced at once.
    pub destage_concurrent_max: usize,
    /// As many where each gets so little that the disk does many at one go.
    pub destage_small_concurrent_max: usize,
    /// How many files of segments are kept open.
    pub open_files_max: usize,
}

impl StoreOptions {
    /// Sensible values for one shard of several.
    #[must_use]
    pub fn new(shard: u16, shard_count: u16) -> Self {
        Self {
            shard,
            shard_count,
            journal_file_bytes: 32 << 20,
            journal_first_file_bytes: 8 << 20,
            journal_files_max: 32,
            frame_bytes_max: 1 << 20,
            frames_in_flight_max: 2,
            frame_eager_bytes: 256 << 10,
            pending_bytes_max: 64 << 20,
            tail_cache_bytes: 128 << 20,
            sync_method: SyncMethod::Dsync,
            accept_damage: false,
            reserve_bytes: 64 << 20,
            deletes_when_full: false,
            destage_round_bytes: 128 << 20,
            destage_concurrent_max: 16,
            destage_small_concurrent_max: 256,
            open_files_max: 4096,
        }
    }

    /// The longest append: its frame fits in a journal file.
    #[must_use]
    pub fn append_bytes_max(&self) -> usize {
        let half_file = usize::try_from(self.journal_file_bytes / 2).unwrap_or(usize::MAX);
        half_file.min(APPEND_BYTES_MAX)
    }

    /// How much of the journal a round of destaging waits for and takes.
    pub(crate) fn destage_batch_bytes(&self) -> u64 {
        let files = u64::try_from(self.journal_files_max).unwrap_or(u64::MAX);
        self.destage_round_bytes.min(self.journal_file_bytes.saturating_mul(files) / 4)
    }

    /// How much room is kept for what is produced while old segments are deleted: two rounds of destaging of each shard,
    /// since each of them sees the others' only once they are on the disk. None where nothing is deleted for it.
    pub(crate) fn room_bytes_kept(&self) -> u64 {
        let rounds = if self.deletes_when_full { 2 * u64::from(self.shard_count) } else { 0 };
        self.destage_batch_bytes().saturating_mul(rounds)
    }

    /// Whoever makes options makes sane ones.
    ///
    /// # Panics
    /// If the options contradict each other.
    pub fn assert_sane(&self) {
        assert!(self.shard < self.shard_count);
        assert!(self.journal_files_max >= 2, "one file is written while another is destaged");
        assert!(self.journal_file_bytes.is_multiple_of(4096));
        assert!(self.journal_first_file_bytes.is_multiple_of(4096) && self.journal_first_file_bytes > 0);
        assert!((1..=FRAMES_IN_FLIGHT_MAX).contains(&self.frames_in_flight_max));
        assert!(self.frame_bytes_max <= self.append_bytes_max());
        assert!(self.destage_round_bytes > 0);
        assert!(self.destage_concurrent_max > 0);
        assert!(self.destage_small_concurrent_max > 0);
    }
}

/// A partition that a store holds.
#[derive(Clone, Debug)]
pub struct PartitionSpec {
    /// Its identity.
    pub key: PartitionKey,
    /// Its topic's name, which with the index names its directory.
    pub topic_name: String,
    /// How its log is kept.
    pub config: LogConfig,
}

/// Batches to be appended to one partition.
#[derive(Clone, Debug)]
pub struct BatchAppend {
    /// One or more whole wire batches, valid in themselves. Copied once, later; shared until then.
    pub records: Bytes,
    /// The offset of the first record: the partition's end.
    pub base_offset: Offset,
    /// The leadership under which they are appended.
    pub leader_epoch: LeaderEpoch,
    /// The records' time, where the topic wants the time of the append.
    pub log_append_time: Option<Timestamp>,
}

/// Whether a produced batch may come in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Admission {
    /// At once.
    Admit,
    /// Slowed down: 0 where it begins, 1 where the journal is full.
    Slow(f32),
    /// Refused: the disk has no room to destage it.
    Full,
}

/// What a round of destaging did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DestageOutcome {
    /// Bytes of the journal that are in segments now.
    pub destaged_bytes: u64,
    /// Partitions that were written to.
    pub partitions: usize,
    /// Journal files that can be written again.
    pub recycled_files: usize,
    /// Files that the journal grew by.
    pub added_files: usize,
    /// Whether another round would find work at once.
    pub has_more: bool,
}

/// A partition whose log starts later, by retention or for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    /// The partition.
    pub slot: PartitionSlot,
    /// Its new start.
    pub log_start: Offset,
    /// Segments that were removed.
    pub segments: usize,
}

/// What a restart found of a partition.
#[derive(Clone, Debug)]
pub struct RecoveredPartition {
    /// Its identity.
    pub key: PartitionKey,
    /// Its name in this store.
    pub slot: PartitionSlot,
    /// The first offset.
    pub log_start: Offset,
    /// The offset behind the last record.
    pub end: Offset,
    /// The leaderships it went through.
    pub epochs: Vec<EpochStart>,
}

/// Records that were acked and cannot be read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostRecords {
    /// The partition.
    pub key: PartitionKey,
    /// Its topic's name.
    pub topic_name: String,
    /// The first offset lost.
    pub from: Offset,
    /// The offset behind the last one lost.
    pub end: Offset,
}

/// Proven damage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// By partition and offsets.
    pub records: Vec<LostRecords>,
    /// Frames of the journal of which nothing is known but that they were synced.
    pub frames: Vec<LostFrames>,
}

impl Damage {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.frames.is_empty()
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for lost in &self.records {
            let LostRecords { key, topic_name, from, end } = lost;
            write!(formatter, "{topic_name}-{}: offsets {from} to {}; ", key.partition, end.get() - 1)?;
        }
        for lost in &self.frames {
            let LostFrames { first, end, file, position } = lost;
            write!(formatter, "journal frames {first} to {} (file {file} at {position}); ", end.0 - 1)?;
        }
        Ok(())
    }
}

/// What a restart found.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The live partitions, in the order asked for.
    pub partitions: Vec<RecoveredPartition>,
    /// Proven damage, where the operator chose to go on.
    pub damage: Damage,
    /// Frames that were replayed.
    pub frames: u64,
    /// Bytes of the journal that were read.
    pub journal_bytes_read: u64,
}

/// Rebuilds what the store knows nothing of (the producers' state), partition by partition in log order.
pub trait RecoveryObserver {
    /// The state as it was at an offset: batches from there on follow.
    fn producer_snapshot(&mut self, key: PartitionKey, at: Offset, snapshot: &[u8]);
    /// A batch in the log: its header, and what follows it, which is as it was sent unless the log is damaged.
    fn batch(&mut self, key: PartitionKey, header: &[u8; BATCH_HEADER_BYTES], body: &[u8]);
}

/// An observer of nothing.
impl RecoveryObserver for () {
    fn producer_snapshot(&mut self, _key: PartitionKey, _at: Offset, _snapshot: &[u8]) {}
    fn batch(&mut self, _key: PartitionKey, _header: &[u8; BATCH_HEADER_BYTES], _body: &[u8]) {}
}

/// A snapshot of a partition's producers in the making, with the end offset it stands for; nothing where there are none.
pub type TakenSnapshot = Pin<Box<dyn Future<Output = Option<(Offset, Bytes)>>>>;

/// A pause of destaging.
pub type DestagePause = Pin<Box<dyn Future<Output = ()>>>;

/// Hears what becomes of appends and logs. Called on the shard's thread; it may append and read what is cached, and must not
/// drop the store.
pub trait StoreListener {
    /// Batches below `end` can be read.
    fn sealed(&self, slot: PartitionSlot, end: Offset);
    /// Batches below `end` are on stable media, and so is all that was appended before them.
    fn synced(&self, slot: PartitionSlot, end: Offset);
    /// The log starts at `start` now, and stable media say so. From here on nobody can read what lies before.
    fn started(&self, slot: PartitionSlot, start: Offset);
    /// The producers' state of a partition as it is now, with the end offset it stands for; taken for a checkpoint. Large
    /// ones are made step by step.
    fn producer_snapshot(&self, slot: PartitionSlot) -> TakenSnapshot;
    /// A round of destaging in the background has moved so many bytes more, and goes on after the pause. A round at one go
    /// is felt by whoever appends meanwhile; the pause should end early where the journal fills up.
    fn pause_destaging(&self, bytes: usize) -> DestagePause;
    /// A write or sync failed. Nothing more will be acked: the process must stop.
    fn failed(&self, failure: &StoreFailure);
}

/// Numbers to watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Frames sealed since the store was opened.
    pub frames: u64,
    /// Bytes of frames, padding included.
    pub frame_bytes: u64,
    /// Bytes of batches appended.
    pub batch_bytes: u64,
    /// Bytes waiting for their frame.
    pub pending_bytes: usize,
    /// Bytes of frames in memory.
    pub tail_cached_bytes: usize,
    /// Bytes of the journal in use.
    pub journal_used_bytes: u64,
    /// Bytes it may use.
    pub journal_bytes_max: u64,
    /// Reads served from memory alone.
    pub reads_cached: u64,
    /// Reads that went to the journal.
    pub reads_journal: u64,
    /// Reads that went to segments.
    pub reads_segment: u64,
    /// The first frame that is not sealed; those from `synced_below` to here are on their way to the device.
    pub sealed_below: FrameSequence,
    /// The first frame that is not synced.
    pub synced_below: FrameSequence,
    /// The first frame that is not destaged.
    pub destaged_below: FrameSequence,
}
