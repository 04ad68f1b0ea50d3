//! What a restart makes of checkpoints and journal. Decides; reads and writes nothing.
//!
//! Which checkpoint counts:
//!
//! | slot a | slot b | frames in the journal | then |
//! | --- | --- | --- | --- |
//! | valid | valid | any | the one with the higher number |
//! | valid | empty or damaged | any | the valid one: the other was torn while it was written, or is the first's turn |
//! | not valid | not valid | none | a fresh shard: no frame is written before a checkpoint is durable |
//! | not valid | not valid | some | refuse: acked records may be in the journal, and nobody knows where it begins |
//!
//! What becomes of a partition, from the checkpoint's state on, frame by frame and entry by entry:
//!
//! | entry | effect |
//! | --- | --- |
//! | batch, of a partition that is not live | none: metadata comes first, the partition is deleted |
//! | batch that begins at the end | the partition grows |
//! | batch that begins past the end | the partition grows; what lies between is lost, unless cut off or below the log start later |
//! | batch that begins below the end | none: it is in the segments, from before a cut that follows |
//! | batch that is damaged (proven) | as if it were not there, and lost |
//! | truncate | what is past the offset is gone, in segments too; so are epochs that begin there |
//! | log start | the log starts there, never earlier than before |
//! | epoch start | noted, if it is higher than the last one |
//! | topic gone | everything of the partition is void |
//!
//! Afterwards each partition's segments are cut at the checkpoint's offset, or lower where it was truncated: what
//! lies past it in segments is in the journal too, and may be half written.

use std::rc::Rc;

use protocol::batch::MAGIC_NATIVE;
use protocol::types::{Offset, PartitionKey, Timestamp};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::checkpoint::slots::Slot;
use crate::checkpoint::{Checkpoint, EpochStart, PartitionState, ProducerSnapshot};
use crate::journal::FrameSequence;
use crate::journal::frame::{BatchEntry, Entry, EntryBody, Mark};
use crate::journal::replay::FoundFrame;
use crate::store::state::note_epoch;
use crate::tail::{Run, Runs};

/// Which checkpoint counts.
#[derive(Debug)]
pub(crate) enum Choice {
    /// This one.
    Checkpoint(Checkpoint),
    /// None is needed: nothing was ever acked.
    Fresh,
    /// None is readable, and something may have been acked.
    Refuse,
}

/// See the module's first table.
pub(crate) fn choose(a: Slot, b: Slot, journal_has_frames: bool) -> Choice {
    match (a, b) {
        (Slot::Valid(a), Slot::Valid(b)) => Choice::Checkpoint(if a.number > b.number { a } else { b }),
        (Slot::Valid(one), _) | (_, Slot::Valid(one)) => Choice::Checkpoint(one),
        _ if journal_has_frames => Choice::Refuse,
        _ => Choice::Fresh,
    }
}

/// A partition while it is recovered.
#[derive(Default)]
pub(crate) struct RecoveringPartition {
    /// Up to where its segments count.
    pub(crate) cut: Offset,
    pub(crate) log_start: Offset,
    pub(crate) end: Offset,
    pub(crate) epochs: Vec<EpochStart>,
    pub(crate) producers: Option<Rc<ProducerSnapshot>>,
    pub(crate) runs: Runs,
    /// Offsets that were acked and are in no frame.
    pub(crate) lost: Vec<(Offset, Offset)>,
}

impl RecoveringPartition {
    fn of(state: PartitionState) -> Self {
        Self {
            cut: state.destaged,
            log_start: state.log_start,
            end: state.destaged,
            epochs: state.epochs,
            producers: state.producers,
            runs: Runs::default(),
            lost: Vec::new(),
        }
    }

    fn batch(&mut self, frame: FrameSequence, batch: &BatchEntry) {
        if batch.base < self.end {
            return;
        }
        if batch.base > self.end {
            self.lost.push((self.end, batch.base));
        }
        self.runs.grow(Run {
            base: batch.base,
            end: batch.end(),
            frame,
            start: batch.start,
            length_bytes: batch.length_bytes,
            // The entry does not say it; found in the batch when the frame is walked.
            max_timestamp: Timestamp(i64::MAX),
            has_native: batch.magic == MAGIC_NATIVE.unsigned_abs(),
            is_cut: false,
        });
        self.end = batch.end();
        note_epoch(&mut self.epochs, batch.leader_epoch, batch.base);
    }

    fn mark(&mut self, mark: Mark) {
        match mark {
            Mark::Truncate(offset) => self.truncate(offset),
            Mark::LogStart(offset) => self.log_start = self.log_start.max(offset),
            Mark::EpochStart(epoch, offset) => note_epoch(&mut self.epochs, epoch, offset),
            Mark::TopicGone => *self = Self::default(),
        }
    }

    fn truncate(&mut self, offset: Offset) {
        self.cut = self.cut.min(offset);
        self.end = self.end.min(offset);
        self.runs.truncate(offset);
        truncate_epochs(&mut self.epochs, offset);
        self.producers.take_if(|snapshot| snapshot.at > offset);
        self.lost.retain(|(from, _)| *from < offset);
        for (_, end) in &mut self.lost {
            *end = (*end).min(offset);
        }
    }

    /// Ends the replay: what is lost below the log start does not matter, nor do epochs that never had a record.
    fn finish(&mut self) {
        let log_start = self.log_start;
        self.lost.retain(|(_, end)| *end > log_start);
        for (from, _) in &mut self.lost {
            *from = (*from).max(log_start);
        }
        let end = self.end;
        self.epochs.retain(|entry| entry.start <= end);
    }
}

/// Forgets the epochs that begin at or past an offset.
pub(crate) fn truncate_epochs(epochs: &mut Vec<EpochStart>, offset: Offset) {
    epochs.retain(|entry| entry.start < offset);
}

/// The partitions of a shard while the journal is replayed.
pub(crate) struct Recovery {
    /// None where every partition counts that is named.
    live: Option<FxHashSet<PartitionKey>>,
    pub(crate) partitions: FxHashMap<PartitionKey, RecoveringPartition>,
    /// The live partitions with batches in each frame that was replayed.
    pub(crate) frames: Vec<(FrameSequence, Vec<PartitionKey>)>,
}

impl Recovery {
    /// Begins with the state of a checkpoint.
    pub(crate) fn new(live: impl Iterator<Item = PartitionKey>, checkpointed: Vec<PartitionState>) -> Self {
        let live: FxHashSet<_> = live.collect();
        let partitions = checkpointed
            .into_iter()
            .filter(|state| live.contains(&state.key))
            .map(|state| (state.key, RecoveringPartition::of(state)))
            .collect();
        Self { live: Some(live), partitions, frames: Vec::new() }
    }

    /// The same for whoever does not know which partitions are live.
    pub(crate) fn of_all(checkpointed: Vec<PartitionState>) -> Self {
        let states = checkpointed.into_iter().map(|state| (state.key, RecoveringPartition::of(state)));
        Self { live: None, partitions: states.collect(), frames: Vec::new() }
    }

    /// Applies a frame's entries.
    pub(crate) fn frame(&mut self, found: &FoundFrame) {
        let sequence = found.front.identity.sequence;
        let mut keys = Vec::new();
        let mut damaged = found.damaged_entries.iter().copied().peekable();
        for (index, Entry { key, body }) in found.front.entries.iter().enumerate() {
            let is_damaged = damaged.next_if_eq(&index).is_some();
            if self.live.as_ref().is_some_and(|live| !live.contains(key)) {
                continue;
            }
            let partition = self.partitions.entry(*key).or_default();
            match body {
                EntryBody::Mark(mark) => partition.mark(*mark),
                EntryBody::Batch(batch) if is_damaged => {
                    // Its end is known: what follows begins there, or the loss is longer.
                    if batch.end() > partition.end {
                        partition.lost.push((batch.base.max(partition.end), batch.end()));
                        partition.end = batch.end();
                    }
                }
                EntryBody::Batch(batch) => {
                    partition.batch(sequence, batch);
                    if keys.last() != Some(key) {
                        keys.push(*key);
                    }
                }
            }
        }
        self.frames.push((sequence, keys));
    }

    /// Ends the replay.
    pub(crate) fn finish(&mut self) {
        self.partitions.values_mut().for_each(RecoveringPartition::finish);
    }
}

#[cfg(test)]
mod tests;
