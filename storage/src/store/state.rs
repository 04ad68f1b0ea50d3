//! The state of an open store: its partitions and what is under way. Changed in short steps, never across an await.

use std::collections::VecDeque;
use std::rc::Rc;

use protocol::types::{LeaderEpoch, Offset, PartitionKey};
use rustc_hash::FxHashMap;

use super::compact::Vouched;
use super::errors::{StoreError, StoreFailure};
use super::types::{BatchAppend, PartitionSlot, PartitionSpec, StoreOptions, StoreStats};
use crate::batch::batches;
use crate::checkpoint::{Checkpoint, EpochStart, Life, PartitionState, ProducerSnapshot, ReplayFrom};
use crate::disk::{Disk, SharedBuffer};
use crate::journal::collector::{Collector, PendingBatches, SealedFrame, SealedRun, SlotCursor};
use crate::journal::frame::{FrameIdentity, Mark};
use crate::journal::ring::{FrameLocation, Ring};
use crate::journal::window::Window;
use crate::journal::{FrameSequence, Generation};
use crate::limits::FRAME_ENTRIES_MAX;
use crate::segment::{LogConfig, PartitionLog};
use crate::tail::{Frame, Run, Runs, Tail};
use crate::wait::Turnstile;

/// The segments of a partition. Who changes them takes the turn first, and looks at the state only then.
pub(super) struct Segments<D: Disk> {
    pub(super) log: PartitionLog<D>,
    pub(super) turn: Turnstile,
}

/// A partition of the store. `synced_end <= sealed_end <= appended_end`, and the segments end at or below the first.
pub(super) struct Partition<D: Disk> {
    pub(super) key: PartitionKey,
    pub(super) config: LogConfig,
    pub(super) segments: Rc<Segments<D>>,
    pub(super) log_start: Offset,
    pub(super) appended_end: Offset,
    pub(super) sealed_end: Offset,
    pub(super) synced_end: Offset,
    pub(super) epochs: Vec<EpochStart>,
    pub(super) runs: Runs,
    pub(super) cursor: SlotCursor,
    /// Set while a truncation is on its way: nothing may be appended.
    pub(super) is_barred: bool,
    /// What the next checkpoint says of the producers: it stands for an offset that is destaged.
    pub(super) producers: Option<Rc<ProducerSnapshot>>,
    /// Taken already, but not destaged yet.
    pub(super) producers_next: Option<Rc<ProducerSnapshot>>,
    /// How many aborted transactions compaction has found to have no batch left, in this life.
    pub(super) forgotten: u64,
    /// How many that were when these snapshots were taken.
    pub(super) producers_forgotten: u64,
    pub(super) producers_next_forgotten: u64,
    /// The segments have been written to in this life.
    pub(super) is_touched: bool,
    pub(super) warmth: Warmth,
    pub(super) vouched: Vouched,
}

/// Whether a partition needs the memory that writing to its segments takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Warmth {
    /// Written to since somebody looked.
    Written,
    /// Not since; the next look gives its memory back.
    Cooling,
    /// It has none.
    Cold,
}

impl<D: Disk> Partition<D> {
    pub(super) fn new(
        spec: &PartitionSpec,
        log: PartitionLog<D>,
        log_start: Offset,
        end: Offset,
        epochs: Vec<EpochStart>,
    ) -> Self {
        Self {
            key: spec.key,
            config: spec.config,
            segments: Rc::new(Segments { log, turn: Turnstile::default() }),
            log_start,
            appended_end: end,
            sealed_end: end,
            synced_end: end,
            epochs,
            runs: Runs::default(),
            cursor: SlotCursor::default(),
            is_barred: false,
            producers: None,
            producers_next: None,
            forgotten: 0,
            producers_forgotten: 0,
            producers_next_forgotten: 0,
            is_touched: false,
            warmth: Warmth::Cooling,
            vouched: Vouched::default(),
        }
    }

    /// Uses the snapshot that was taken last, once what it stands for is destaged.
    pub(super) fn advance_producers(&mut self) {
        let destaged = self.segments.log.end();
        if let Some(next) = self.producers_next.take_if(|next| next.at <= destaged) {
            self.producers = Some(next);
            self.producers_forgotten = self.producers_next_forgotten;
        }
    }

    /// What a checkpoint says of it; nothing where nothing ever happened.
    pub(super) fn checkpoint(&self) -> Option<PartitionState> {
        let destaged = self.segments.log.end();
        let is_new = destaged == Offset(0) && self.log_start == Offset(0) && self.epochs.is_empty();
        (!is_new).then(|| PartitionState {
            key: self.key,
            destaged,
            log_start: self.log_start,
            epochs: self.epochs.clone(),
            producers: self.producers.clone(),
        })
    }

    /// Notes a leadership, unless it is known.
    pub(super) fn note_epoch(&mut self, epoch: LeaderEpoch, start: Offset) {
        note_epoch(&mut self.epochs, epoch, start);
    }
}

/// Adds an epoch that is higher than the last; it starts there.
pub(crate) fn note_epoch(epochs: &mut Vec<EpochStart>, epoch: LeaderEpoch, start: Offset) {
    if epoch.get() < 0 || epochs.last().is_some_and(|last| last.epoch >= epoch) {
        return;
    }
    // An epoch in which nothing was written is overtaken where it stands.
    while epochs.last().is_some_and(|last| last.start >= start) {
        epochs.pop();
    }
    epochs.push(EpochStart { epoch, start });
}

/// All that changes in an open store.
pub(super) struct State<D: Disk> {
    pub(super) options: StoreOptions,
    pub(super) partitions: Vec<Option<Box<Partition<D>>>>,
    pub(super) by_key: FxHashMap<PartitionKey, PartitionSlot>,
    pub(super) collector: Collector,
    pub(super) window: Window,
    pub(super) ring: Ring<D::File>,
    pub(super) tail: Tail,
    pub(super) generation: Generation,
    pub(super) lives: Vec<Life>,
    /// The CRC of the last frame sealed: the next one names it.
    pub(super) previous_crc: u32,
    /// What the frames from the synced prefix on hold.
    pub(super) unsynced: VecDeque<Vec<SealedRun>>,
    /// Set where the ring had no place for the next frame.
    pub(super) is_stalled: bool,
    /// The number of the last checkpoint, and where a replay from it begins.
    pub(super) checkpoint_number: u64,
    pub(super) replay_from: ReplayFrom,
    /// Where a replay from the checkpoint before that one begins.
    pub(super) older_replay_from: ReplayFrom,
    /// Frames with an entry that has not taken effect yet. No checkpoint goes beyond: it would have to show the effect.
    pub(super) marks: Vec<FrameSequence>,
    /// Bytes that may still be taken in: the disk has room to destage them.
    pub(super) room_bytes: i64,
    /// Whether there is something to delete for room, as far as is known.
    pub(super) is_making_room: bool,
    pub(super) is_closing: bool,
    pub(super) failure: Option<StoreFailure>,
    pub(super) stats: StoreStats,
}

/// A frame on its way.
pub(super) struct Departure {
    pub(super) sequence: FrameSequence,
    pub(super) location: FrameLocation,
    pub(super) buffer: SharedBuffer,
    /// The new readable ends.
    pub(super) ends: Vec<(PartitionSlot, Offset)>,
}

impl<D: Disk> State<D> {
    pub(super) fn partition(&self, slot: PartitionSlot) -> Option<&Partition<D>> {
        self.partitions.get(slot_index(slot))?.as_deref()
    }

    pub(super) fn partition_mut(&mut self, slot: PartitionSlot) -> Option<&mut Partition<D>> {
        self.partitions.get_mut(slot_index(slot))?.as_deref_mut()
    }

    /// Adds a partition under a slot of its own.
    pub(super) fn insert(&mut self, partition: Partition<D>) -> PartitionSlot {
        let slot = PartitionSlot(u32::try_from(self.partitions.len()).expect("fewer partitions than slots"));
        let before = self.by_key.insert(partition.key, slot);
        assert!(before.is_none(), "a key names one partition");
        self.partitions.push(Some(Box::new(partition)));
        slot
    }

    /// Whether anything may be appended at all.
    pub(super) fn check_open(&self) -> Result<(), StoreError> {
        if let Some(failure) = &self.failure {
            return Err(StoreError::Failed(failure.clone()));
        }
        if self.is_closing { Err(StoreError::Closed) } else { Ok(()) }
    }

    /// Remembers batches for the next frame.
    pub(super) fn append(&mut self, slot: PartitionSlot, append: BatchAppend) -> Result<(), StoreError> {
        self.check_open()?;
        let bytes = append.records.len();
        let bytes_max = self.options.append_bytes_max();
        let (batch_count, end) = measure(&append);
        if bytes > bytes_max || batch_count > FRAME_ENTRIES_MAX {
            return Err(StoreError::TooLarge { bytes, bytes_max });
        }
        if self.collector.pending_bytes() + bytes > self.options.pending_bytes_max.max(bytes) {
            return Err(StoreError::Overloaded);
        }
        let partition = self
            .partitions
            .get_mut(slot_index(slot))
            .and_then(Option::as_deref_mut)
            .ok_or(StoreError::Gone)?;
        assert_eq!(append.base_offset, partition.appended_end, "offsets have no gaps");
        assert!(!partition.is_barred, "nothing is appended while the log is cut");
        partition.appended_end = end;
        partition.note_epoch(append.leader_epoch, append.base_offset);
        self.stats.batch_bytes += bytes as u64;
        self.room_bytes = self.room_bytes.saturating_sub_unsigned(bytes as u64);
        self.collector.append(
            slot,
            partition.key,
            &mut partition.cursor,
            PendingBatches {
                records: append.records,
                batch_count,
                base_offset: append.base_offset,
                leader_epoch: append.leader_epoch,
                log_append_time: append.log_append_time,
            },
        );
        Ok(())
    }

    /// Adds an entry other than a batch to the next frame.
    pub(super) fn append_mark(
        &mut self,
        slot: PartitionSlot,
        mark: Mark,
    ) -> Result<FrameSequence, StoreError> {
        self.check_open()?;
        let partition = self
            .partitions
            .get_mut(slot_index(slot))
            .and_then(Option::as_deref_mut)
            .ok_or(StoreError::Gone)?;
        let sequence = self.collector.append_mark(slot, partition.key, &mut partition.cursor, mark);
        self.marks.push(sequence);
        Ok(sequence)
    }

    /// Whether the pump has something to seal now.
    pub(super) fn wants_seal(&self) -> bool {
        !self.collector.is_empty()
            && self.failure.is_none()
            && self.window.wants(self.collector.pending_bytes(), self.collector.has_full_frame())
    }

    /// Seals the next frame, if it is time and the ring has a place.
    pub(super) fn seal_next(&mut self) -> Option<Departure> {
        if !self.wants_seal() {
            return None;
        }
        let sequence = self.window.next();
        let filled_bytes = self.collector.front_filled_bytes()?;
        let length_bytes = crate::disk::buffer::size_class_bytes(filled_bytes) as u64;
        let Some(location) = self.ring.place(length_bytes, sequence) else {
            self.is_stalled = true;
            return None;
        };
        self.is_stalled = false;
        let identity = FrameIdentity {
            shard: self.options.shard,
            generation: self.generation,
            sequence,
            synced_below: self.window.synced_below(),
            previous_crc: self.previous_crc,
        };
        let sealed = self.collector.seal(identity);
        assert_eq!(sealed.buffer.padded_bytes() as u64, length_bytes);
        self.window.begin(sequence);
        self.previous_crc = sealed.crc;
        self.stats.frames += 1;
        self.stats.frame_bytes += length_bytes;
        Some(self.depart(sealed, location))
    }

    /// Makes a sealed frame readable.
    fn depart(&mut self, sealed: SealedFrame, location: FrameLocation) -> Departure {
        let SealedFrame { sequence, buffer, crc, runs } = sealed;
        let mut ends = Vec::with_capacity(runs.len());
        for run in &runs {
            let Some(partition) = self.partition_mut(run.slot) else { continue };
            partition.runs.push(Run::of(sequence, run));
            partition.sealed_end = run.end;
            ends.push((run.slot, run.end));
        }
        let slots = runs.iter().map(|run| run.slot).collect();
        let length_bytes = u32::try_from(buffer.padded_bytes()).expect("a buffer's length");
        self.tail.push(sequence, Frame::new(location, length_bytes, crc, buffer.bytes(), slots));
        self.tail.evict(self.window.synced_below());
        self.forget_frames();
        self.unsynced.push_back(runs);
        Departure { sequence, location, buffer, ends }
    }

    /// A frame is on stable media. Returns the synced ends that moved.
    pub(super) fn complete(&mut self, sequence: FrameSequence) -> Vec<(PartitionSlot, Offset)> {
        let mut ends = Vec::new();
        for _ in self.window.complete(sequence) {
            for run in self.unsynced.pop_front().expect("a frame under way") {
                let Some(partition) = self.partition_mut(run.slot) else { continue };
                assert!(partition.synced_end <= run.end);
                partition.synced_end = run.end;
                ends.push((run.slot, run.end));
            }
        }
        ends
    }

    /// Whether there is less room than is kept for what is produced.
    pub(super) fn is_room_wanted(&self) -> bool {
        let kept = i64::try_from(self.options.room_bytes_kept()).unwrap_or(i64::MAX);
        kept > 0 && self.room_bytes < kept
    }

    /// How much of the room that is kept is taken, and how much is kept.
    pub(super) fn room_missing(&self) -> (u64, u64) {
        let kept = self.options.room_bytes_kept();
        (kept.saturating_sub(u64::try_from(self.room_bytes).unwrap_or(0)), kept)
    }

    /// How much must go for twice the room that is kept.
    pub(super) fn room_goal_bytes(&self) -> u64 {
        let goal = i64::try_from(self.options.room_bytes_kept().saturating_mul(2)).unwrap_or(i64::MAX);
        u64::try_from(goal.saturating_sub(self.room_bytes)).unwrap_or(0)
    }

    /// Whether room in the journal will be wanted soon.
    pub(super) fn is_filling(&self) -> bool {
        let (used, total) = self.ring.occupancy();
        self.ring.is_tight() || used >= total / 4
    }

    /// The checkpoint that follows the last one, with the replay beginning at `replay_from`.
    pub(super) fn next_checkpoint(
        &self,
        replay_from: ReplayFrom,
        partitions: Vec<PartitionState>,
    ) -> Checkpoint {
        Checkpoint {
            number: self.checkpoint_number + 1,
            shard: self.options.shard,
            shard_count: self.options.shard_count,
            replay_from,
            lives: lives_from(&self.lives, replay_from.sequence),
            partitions,
        }
    }

    /// Forgets frames that are neither in memory nor needed from the journal.
    pub(super) fn forget_frames(&mut self) {
        while let Some((sequence, slots)) = self.tail.forget() {
            for slot in slots {
                if let Some(partition) = self.partition_mut(slot) {
                    partition.runs.forget(sequence);
                }
            }
        }
    }
}

/// The lives that frames from a number on may be of.
pub(super) fn lives_from(lives: &[Life], first: FrameSequence) -> Vec<Life> {
    let over = lives.iter().skip(1).take_while(|life| life.first <= first).count();
    lives[over..].to_vec()
}

/// How many batches an append holds, and the offset behind them.
fn measure(append: &BatchAppend) -> (usize, Offset) {
    let mut count = 0;
    let mut bytes = 0;
    let mut end = append.base_offset;
    for batch in batches(&append.records) {
        count += 1;
        bytes += batch.length_bytes();
        end = end.plus(i64::from(batch.last_offset_delta()) + 1);
    }
    assert!(count > 0, "an append has a batch");
    assert_eq!(bytes, append.records.len(), "whole batches, checked by the caller");
    (count, end)
}

pub(super) fn slot_index(slot: PartitionSlot) -> usize {
    usize::try_from(slot.0).expect("an index")
}
