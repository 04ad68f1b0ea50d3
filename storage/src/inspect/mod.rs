//! Looking into a data directory without opening it: for tools, beside a broker or without one.
//!
//! Nothing here writes, cuts, recycles or decides: files are opened for reading only, and every byte format is read by the
//! module that owns it. [`journal`](self::shard_journal) follows the chain of frames as a restart would; [`segment`] walks one
//! segment, [`judge`] says what of a partition's segments a restart, or a reader, would stumble over.
//!
//! What counts and what does not is told by the checkpoints: a batch at or past the offset that they vouch for is in the
//! journal, too, and what is wrong with its segment is of no consequence ([`CheckpointView::destaged`]).

mod journal;
mod judge;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

use protocol::types::{Offset, PartitionKey};

use crate::checkpoint::slots::{self, Slot};
use crate::checkpoint::{Checkpoint, EpochStart};
use crate::disk::Disk;
use crate::journal::{FrameSequence, Generation};
pub use crate::store::OpenError;

pub use crate::segment::inspect::{
    BatchBytes, Behind, PartitionFiles, SegmentBatch, SegmentFiles, SegmentView, partitions, segment,
};
pub use journal::{Entry, EntryKind, FrameView, JournalView, Tail, shard_journal};
pub use judge::{Fault, Finding, Judgement, judge};

/// What a checkpoint's slot holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotView {
    /// Nothing was ever written to it.
    Empty,
    /// Something that is not whole: torn, or rotten.
    Damaged,
    /// A whole checkpoint.
    Valid(CheckpointView),
}

/// A checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointView {
    /// Counts the shard's checkpoints.
    pub number: u64,
    /// The first frame that a restart replays.
    pub replay_from: FrameSequence,
    /// The file of the journal in which that frame is.
    pub file: u32,
    /// And where in it.
    pub position: u64,
    /// The lives of the shard, each with the first frame that it may write.
    pub lives: Vec<(Generation, FrameSequence)>,
    /// Its partitions.
    pub partitions: Vec<CheckpointedPartition>,
}

/// What a checkpoint says of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointedPartition {
    /// Which.
    pub key: PartitionKey,
    /// All records below are in segments and synced.
    pub destaged: Offset,
    /// Where its log starts.
    pub log_start: Offset,
    /// Its leaderships.
    pub epochs: Vec<EpochStart>,
    /// Bytes of what its producers had done.
    pub producers_bytes: usize,
}

impl CheckpointView {
    fn of(checkpoint: &Checkpoint) -> Self {
        let partitions = checkpoint.partitions.iter().map(|partition| CheckpointedPartition {
            key: partition.key,
            destaged: partition.destaged,
            log_start: partition.log_start,
            epochs: partition.epochs.clone(),
            producers_bytes: partition.producers.as_ref().map_or(0, |snapshot| snapshot.state.len()),
        });
        Self {
            number: checkpoint.number,
            replay_from: checkpoint.replay_from.sequence,
            file: checkpoint.replay_from.location.file,
            position: checkpoint.replay_from.location.position,
            lives: checkpoint.lives.iter().map(|life| (life.generation, life.first)).collect(),
            partitions: partitions.collect(),
        }
    }
}

/// The shards that the directory has journals or checkpoints of: pairs of how many it is, or was, laid out for, and which.
///
/// # Errors
/// What the disk says.
pub async fn shards<D: Disk>(disk: &D) -> io::Result<Vec<(u16, u16)>> {
    let mut found = Vec::new();
    for parent in ["checkpoint", "journal"] {
        for name in disk.list(Path::new(parent)).await? {
            let Ok(count) = name.parse::<u16>() else { continue };
            for name in disk.list(&Path::new(parent).join(name)).await? {
                let shard = name.split('.').next().and_then(|shard| shard.parse::<u16>().ok());
                found.extend(shard.filter(|shard| *shard < count).map(|shard| (count, shard)));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Both checkpoint slots of a shard. The valid one with the higher number counts.
///
/// # Errors
/// What the disk says.
pub async fn checkpoints<D: Disk>(disk: &D, shard_count: u16, shard: u16) -> io::Result<[SlotView; 2]> {
    let mut views = [SlotView::Empty, SlotView::Empty];
    for (place, view) in views.iter_mut().enumerate() {
        *view = match slots::read(disk, shard, shard_count, place).await? {
            Slot::Empty => SlotView::Empty,
            Slot::Damaged => SlotView::Damaged,
            Slot::Valid(checkpoint) => SlotView::Valid(CheckpointView::of(&checkpoint)),
        };
    }
    Ok(views)
}

/// The checkpoint that counts of a shard's two; none where neither is whole.
#[must_use]
pub fn counting(slots: &[SlotView; 2]) -> Option<&CheckpointView> {
    let valid = slots.iter().filter_map(|slot| match slot {
        SlotView::Valid(checkpoint) => Some(checkpoint),
        SlotView::Empty | SlotView::Damaged => None,
    });
    valid.max_by_key(|checkpoint| checkpoint.number)
}
