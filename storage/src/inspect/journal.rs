//! A shard's journal as a restart would find it: the chain of frames from the checkpoint on, and how it ends.

use protocol::types::{LeaderEpoch, Offset, PartitionKey};

use super::{checkpoints, counting};
use crate::checkpoint::Checkpoint;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::journal::frame::{EntryBody, FRAME_HEADER_BYTES, Mark, claimed};
use crate::journal::replay::{FoundFrame, LostFrames, ReplayFile, replay};
use crate::journal::ring;
use crate::journal::{FrameSequence, Generation};
use crate::recovery::Recovery;
use crate::store::errors::{OpenError, While};
use crate::store::open::choose_checkpoint;

/// A frame of the chain.
#[derive(Debug)]
pub struct FrameView<'a> {
    /// Its number.
    pub sequence: FrameSequence,
    /// The life that wrote it.
    pub generation: Generation,
    /// The file that it is in.
    pub file: u32,
    /// Where in it.
    pub position: u64,
    /// Its length, padding included.
    pub length_bytes: u32,
    /// Without.
    pub filled_bytes: u32,
    /// All frames below were on stable media when it was written.
    pub synced_below: FrameSequence,
    /// What it says, in order.
    pub entries: Vec<Entry<'a>>,
}

/// An entry of a frame.
#[derive(Debug)]
pub struct Entry<'a> {
    /// The partition that it is about.
    pub key: PartitionKey,
    /// What it says.
    pub kind: EntryKind<'a>,
}

/// What an entry says.
#[derive(Debug, PartialEq, Eq)]
pub enum EntryKind<'a> {
    /// A batch.
    Batch {
        /// Its first offset.
        base: Offset,
        /// The offset behind its last.
        end: Offset,
        /// The leadership in which it was appended.
        epoch: LeaderEpoch,
        /// Its bytes, as they are there.
        bytes: &'a [u8],
        /// Whether they are no longer those that were written: rotten, since a later frame proves that they were synced.
        is_damaged: bool,
    },
    /// All records at and past the offset are gone.
    Truncate(Offset),
    /// The log starts here.
    LogStart(Offset),
    /// A leadership begins, and its first record will be at this offset or later.
    EpochStart(LeaderEpoch, Offset),
    /// The partition is deleted.
    TopicGone,
}

/// A journal as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalView {
    /// Its files and their sizes.
    pub files: Vec<(u32, u64)>,
    /// How many frames a restart replays.
    pub frames: u64,
    /// The number of the frame that would come next.
    pub next: FrameSequence,
    /// Where that would be.
    pub next_file: u32,
    /// And where in it.
    pub next_position: u64,
    /// Frames that were synced once, as later ones prove, and can't be read: rotten.
    pub lost: Vec<LostFrames>,
    /// Records that were acknowledged once and are in no frame that can be read: partition, first offset, the one behind the
    /// last.
    pub lost_records: Vec<(PartitionKey, Offset, Offset)>,
    /// How the chain ends.
    pub tail: Tail,
}

/// How a chain of frames ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tail {
    /// Nothing of the next frame is there.
    #[default]
    Clean,
    /// The next frame was begun and is not whole: its write was under way when the power went or the broker was killed. It was
    /// never acknowledged, and nothing tells it from a last frame that rotted.
    Torn,
}

/// Follows the chain from the checkpoint that counts; `each` gets every frame that does, in order.
///
/// # Errors
/// Neither checkpoint is whole although there are frames, the file where the chain begins is not there, or what the disk says.
pub async fn shard_journal<D: Disk>(
    disk: &D,
    shard_count: u16,
    shard: u16,
    each: &mut dyn FnMut(&FrameView<'_>),
) -> Result<JournalView, OpenError> {
    let directory = ring::directory(shard, shard_count);
    let mut files = Vec::new();
    for entry in disk.list_sized(&directory).await.opening("listing the journal")? {
        let Some(number) = ring::file_number(&entry.name) else { continue };
        let opened = disk.open(&directory.join(&entry.name), OpenMode::Read).await;
        files.push((number, opened.opening("opening the journal")?, entry.size_bytes));
    }
    let checkpoint = match choose_checkpoint(disk, shard_count, shard, &files).await {
        // A layout that was just made has checkpoints and no journal yet.
        Err(OpenError::JournalMissing { .. })
            if files.is_empty() && is_new(disk, shard_count, shard).await? =>
        {
            return Ok(JournalView::default());
        }
        chosen => chosen?,
    };
    let replay_files: Vec<_> = files
        .iter()
        .map(|(number, file, size_bytes)| ReplayFile { number: *number, file, size_bytes: *size_bytes })
        .collect();
    let mut frames = 0;
    let mut recovery = Recovery::of_all(checkpoint.partitions.clone());
    let mut sink = |found: FoundFrame, bytes: bytes::Bytes| {
        frames += 1;
        recovery.frame(&found);
        each(&view(&found, &bytes));
    };
    let replayed = replay(&replay_files, shard, &checkpoint.lives, checkpoint.replay_from, &mut sink).await;
    let replayed = replayed.opening("reading the journal")?;
    recovery.finish();
    let lost = recovery
        .partitions
        .iter()
        .flat_map(|(key, partition)| partition.lost.iter().map(move |(from, end)| (*key, *from, *end)));
    let mut lost_records: Vec<_> = lost.collect();
    lost_records.sort_unstable();
    let next = replayed.next;
    // The next frame would be where the chain ends, or at the beginning of a file that it does not use.
    let mut tail = Tail::Clean;
    let wanted = Checkpoint::generation_of(&checkpoint.lives, next.sequence);
    for (number, file, _) in &files {
        let position = match () {
            () if *number == next.location.file => next.location.position,
            () if replayed.files.contains(number) => continue,
            () => 0,
        };
        let head = file.read_at(position, FRAME_HEADER_BYTES).await.opening("reading the journal")?;
        if claimed(&head)
            .is_some_and(|(generation, sequence)| sequence == next.sequence && Some(generation) == wanted)
        {
            tail = Tail::Torn;
        }
    }
    Ok(JournalView {
        files: files.iter().map(|(number, _, size_bytes)| (*number, *size_bytes)).collect(),
        frames,
        next: next.sequence,
        next_file: next.location.file,
        next_position: next.location.position,
        lost: replayed.lost,
        lost_records,
        tail,
    })
}

/// Whether the shard never had a frame.
async fn is_new<D: Disk>(disk: &D, shard_count: u16, shard: u16) -> Result<bool, OpenError> {
    let slots = checkpoints(disk, shard_count, shard).await.opening("reading a checkpoint")?;
    Ok(counting(&slots).is_some_and(|checkpoint| checkpoint.replay_from == FrameSequence(0)))
}

fn view<'a>(found: &FoundFrame, frame: &'a [u8]) -> FrameView<'a> {
    let identity = found.front.identity;
    let entries = found.front.entries.iter().enumerate().map(|(index, entry)| Entry {
        key: entry.key,
        kind: match entry.body {
            EntryBody::Batch(batch) => {
                let start = usize::try_from(batch.start).expect("32 bits fit");
                let length = usize::try_from(batch.length_bytes).expect("32 bits fit");
                EntryKind::Batch {
                    base: batch.base,
                    end: batch.end(),
                    epoch: batch.leader_epoch,
                    bytes: frame.get(start..start + length).unwrap_or_default(),
                    is_damaged: found.damaged_entries.contains(&index),
                }
            }
            EntryBody::Mark(Mark::Truncate(offset)) => EntryKind::Truncate(offset),
            EntryBody::Mark(Mark::LogStart(offset)) => EntryKind::LogStart(offset),
            EntryBody::Mark(Mark::EpochStart(epoch, offset)) => EntryKind::EpochStart(epoch, offset),
            EntryBody::Mark(Mark::TopicGone) => EntryKind::TopicGone,
        },
    });
    FrameView {
        sequence: identity.sequence,
        generation: identity.generation,
        file: found.location.file,
        position: found.location.position,
        length_bytes: found.front.length_bytes,
        filled_bytes: found.front.filled_bytes,
        synced_below: identity.synced_below,
        entries: entries.collect(),
    }
}
