//! Destaging: what is synced in the journal moves to the partitions' segments, oldest first; then a checkpoint says
//! so, and journal files are free again.
//!
//! A round begins when there is a good deal to do (`StoreOptions::destage_round_bytes`): a small write costs a device
//! and a filesystem hardly less than a large one, and the more the journal has gathered, the more each partition gets
//! at once. Until then the tail is in memory and safe in the journal.
//!
//! A round: takes snapshots of the producers; appends to each partition's segments what the frames of the round hold
//! of it; syncs all of them; writes a checkpoint; recycles files below where a replay from the *older* of the two
//! checkpoints would begin, and removes those that the journal is better off without. One round at a time. What it finds in the state may change while it waits, so each
//! partition's part is planned when its turn has come: a truncation either came before it, or waits.
//!
//! A full disk ends a round without harm, and so does a process that can open no more files: what was appended stays, and
//! the next round goes on behind it. Any other failed write or sync is final.

use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;
use protocol::types::Offset;

use super::errors::{StoreError, StoreFailure, While};
use super::observe::Frames;
use super::state::{Segments, Warmth};
use super::types::{Admission, DestageOutcome, PartitionSlot};
use super::{ShardStore, Shared};
use crate::checkpoint::{PartitionState, ProducerSnapshot, ReplayFrom, slots};
use crate::disk::Disk;
use crate::journal::FrameSequence;
use crate::journal::ring;
use crate::limits::{
    DESTAGE_PACED_CONCURRENT_MAX, SEGMENT_WRITE_BYTES, SEGMENT_WRITE_SMALL_BYTES_MAX, STEPS_BETWEEN_YIELDS,
};
use crate::segment::{PartitionLog, SegmentError, sync_logs};
use crate::tail::{Run, Wanted, select};
use crate::wait::{for_each_within, yield_now};

/// How far a round goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Over everything that is synced, once it is enough to be worth it.
    Ripe,
    /// Over everything that is synced.
    All,
}

/// The frames of a round.
struct Round {
    from: FrameSequence,
    below: FrameSequence,
    bytes: u64,
    slots: BTreeSet<PartitionSlot>,
    /// Where a replay begins when the round is done.
    replay_from: ReplayFrom,
    /// Whether it takes its time as long as there is some.
    is_paced: bool,
}

impl<D: Disk> ShardStore<D> {
    /// One round of background work: destages, recycles, and grows the journal ahead of need. The caller paces it:
    /// again at once where there is more, otherwise after a while.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] where there is no room, [`StoreError::OutOfFiles`] where no file can be opened (later
    /// again); [`StoreError::Failed`] is final.
    pub async fn destage_round(&self) -> Result<DestageOutcome, StoreError> {
        self.shared.round(Reach::Ripe).await
    }

    /// Destages everything that is synced by now.
    ///
    /// # Errors
    /// As [`ShardStore::destage_round`].
    pub async fn destage_all(&self) -> Result<(), StoreError> {
        while self.shared.round(Reach::All).await?.has_more {}
        Ok(())
    }

    /// Whether a round of destaging need not hurry: everybody is let in, and no frame waits for a free file.
    #[must_use]
    pub fn has_time(&self) -> bool {
        self.shared.has_time()
    }

    /// Whether a produced batch of so many bytes may come in now.
    #[must_use]
    pub fn admit(&self, bytes: usize) -> Admission {
        self.shared.admit(bytes)
    }
}

impl<D: Disk> Shared<D> {
    fn has_time(&self) -> bool {
        !self.state.borrow().is_stalled && self.admit(0) == Admission::Admit
    }

    fn admit(&self, bytes: usize) -> Admission {
        let state = self.state.borrow();
        let is_full = state.room_bytes < i64::try_from(bytes).unwrap_or(i64::MAX);
        if is_full && !state.is_making_room {
            return Admission::Full;
        }
        let pending = state.collector.pending_bytes() as u64;
        let (used, total) = state.ring.occupancy();
        // A disk that doesn't answer is noticed by what waits for it. It counts as full at half of what may wait: the rest
        // is for those who were let in at the same moment.
        let pending_max = state.options.pending_bytes_max as u64 / 2;
        let (missing, kept) = state.room_missing();
        // Who deletes needs a moment for it, and is waited for as long as there is something to delete.
        let room = if is_full { 1000 } else { thousandths(missing, kept).min(999) };
        let thousandths = thousandths(used + pending, total).max(thousandths(pending, pending_max)).max(room);
        if thousandths < 500 {
            Admission::Admit
        } else {
            Admission::Slow(f32::from(thousandths - 500) / 500.0)
        }
    }

    /// How many partitions a round works on at once, as things are now.
    fn concurrent_max(&self, round: &Round) -> usize {
        let takes_its_time = round.is_paced && self.has_time();
        let options = &self.state.borrow().options;
        if round.bytes <= (round.slots.len() * SEGMENT_WRITE_SMALL_BYTES_MAX) as u64 {
            options.destage_small_concurrent_max
        } else if takes_its_time {
            options.destage_concurrent_max.min(DESTAGE_PACED_CONCURRENT_MAX)
        } else {
            options.destage_concurrent_max
        }
    }

    pub(super) async fn round(&self, reach: Reach) -> Result<DestageOutcome, StoreError> {
        let _turn = self.destaging.enter().await;
        self.check_failure()?;
        self.shrink_journal().await;
        self.measure_room().await?;
        let mut outcome =
            DestageOutcome { added_files: self.grow_journal().await?, ..DestageOutcome::default() };
        // Needs no room, and may be all that can be done on a full disk.
        outcome.recycled_files = self.free_files().await?;
        if let Some(round) = self.plan_round(reach) {
            outcome.destaged_bytes = round.bytes;
            outcome.partitions = round.slots.len();
            self.destage(&round).await?;
            outcome.recycled_files += self.checkpoint(round.replay_from).await?;
            outcome.recycled_files += self.free_files().await?;
        }
        self.measure_room().await?;
        let grows_on = outcome.added_files > 0 && self.state.borrow().ring.wanted_file().is_some();
        outcome.has_more = grows_on || self.round_end(reach).is_some();
        Ok(outcome)
    }

    pub(super) fn check_failure(&self) -> Result<(), StoreError> {
        match &self.state.borrow().failure {
            Some(failure) => Err(StoreError::Failed(failure.clone())),
            None => Ok(()),
        }
    }

    /// A failed write or sync is final; what passes is not.
    fn segment_failed(&self, error: &SegmentError) -> StoreError {
        if let Some(passing) = error.io().and_then(StoreError::passing) {
            return passing;
        }
        let failure = StoreFailure { what: "destaging".to_owned(), reason: error.to_string() };
        self.fail(failure.clone());
        StoreError::Failed(failure)
    }

    /// Notes how many bytes may still be taken in: those of what is not destaged are spoken for.
    pub(super) async fn measure_room(&self) -> Result<(), StoreError> {
        let available = self.disk.available_bytes().await.doing("asking for free space")?;
        let mut state = self.state.borrow_mut();
        let spoken_for = state.tail.undestaged_bytes()
            + state.collector.pending_bytes() as u64
            + state.options.reserve_bytes;
        state.room_bytes = i64::try_from(available).unwrap_or(i64::MAX).saturating_sub_unsigned(spoken_for);
        let is_wanted = state.is_room_wanted();
        drop(state);
        if is_wanted {
            self.room_wanted.notify();
        }
        Ok(())
    }

    /// Removes the files that have left the journal. One that can't be removed only takes room until its number is used again.
    async fn shrink_journal(&self) {
        let directory = {
            let options = &self.state.borrow().options;
            ring::directory(options.shard, options.shard_count)
        };
        loop {
            let Some(number) = self.state.borrow_mut().ring.retired() else { return };
            if let Err(error) = ring::remove_file(&self.disk, &directory, number).await {
                tracing::warn!(number, %error, "a journal file that is not needed any more can't be removed");
            }
        }
    }

    /// Adds a file to the journal, if it should have more and the disk has room for it.
    async fn grow_journal(&self) -> Result<usize, StoreError> {
        let (number, file_bytes, shard, shard_count, method) = {
            let state = self.state.borrow();
            let Some(number) = state.ring.wanted_file() else { return Ok(0) };
            let options = &state.options;
            // A journal that can't go on could not delete anything either: that is what the reserve is for.
            let reserve_bytes = if state.ring.is_single() { options.reserve_bytes } else { 0 };
            let room_bytes = state.room_bytes.saturating_add_unsigned(reserve_bytes);
            if room_bytes < i64::try_from(options.journal_file_bytes).unwrap_or(i64::MAX) {
                return Ok(0);
            }
            (number, options.journal_file_bytes, options.shard, options.shard_count, options.sync_method)
        };
        let directory = ring::directory(shard, shard_count);
        match ring::create_file(&self.disk, &directory, number, file_bytes, method).await {
            Ok(file) => {
                self.state.borrow_mut().ring.add(number, file, file_bytes);
                self.writer_wanted.notify();
                Ok(1)
            }
            Err(error) if StoreError::passing(&error).is_some() => Ok(0),
            Err(error) => {
                let failure = StoreFailure::new("making a journal file", &error);
                self.fail(failure.clone());
                Err(StoreError::Failed(failure))
            }
        }
    }

    /// Up to which frame there is something to destage.
    fn round_end(&self, reach: Reach) -> Option<FrameSequence> {
        let state = self.state.borrow();
        let from = state.replay_from.sequence;
        let first_mark = state.marks.iter().copied().min();
        let synced = state.window.synced_below().min(first_mark.unwrap_or(FrameSequence(u64::MAX)));
        // A journal that cannot go on destages what there is.
        let is_due = reach == Reach::All
            || state.is_stalled
            || state.tail.undestaged_bytes() >= state.options.destage_batch_bytes();
        (is_due && from < synced).then_some(synced)
    }

    fn plan_round(&self, reach: Reach) -> Option<Round> {
        let end = self.round_end(reach)?;
        let state = self.state.borrow();
        let from = state.replay_from.sequence;
        let mut round = Round {
            from,
            below: from,
            bytes: 0,
            slots: BTreeSet::new(),
            replay_from: state.replay_from,
            is_paced: reach == Reach::Ripe && !state.is_stalled,
        };
        let bytes_max = state.options.destage_batch_bytes();
        let mut is_lost = false;
        // Never up to a frame that is lost: it has no place where a replay could begin.
        while round.below < end && (round.bytes < bytes_max || is_lost) {
            let frame = state.tail.frame(round.below);
            is_lost = frame.length_bytes == 0;
            round.below = round.below.next();
            round.bytes += u64::from(frame.length_bytes);
            round.slots.extend(&frame.slots);
            round.replay_from =
                ReplayFrom { sequence: round.below, location: frame.end(), previous_crc: frame.crc };
        }
        assert!(
            state.tail.frame(FrameSequence(round.below.0 - 1)).length_bytes > 0,
            "it ends behind a real frame"
        );
        Some(round)
    }

    async fn destage(&self, round: &Round) -> Result<(), StoreError> {
        for (index, &slot) in round.slots.iter().enumerate() {
            if index % STEPS_BETWEEN_YIELDS == STEPS_BETWEEN_YIELDS - 1 {
                yield_now().await;
            }
            self.take_producer_snapshot(slot).await;
        }
        let frames = self.load_frames(round.from, round.below).await.doing("reading the journal")?;
        let parts = round.slots.iter().map(|&slot| self.destage_partition(slot, round, &frames));
        for_each_within(parts, || self.concurrent_max(round)).await?;
        drop(frames);
        self.sync_partitions(&round.slots, self.concurrent_max(round)).await
    }

    /// Asks for the producers' state, where no snapshot is waiting to be destaged.
    pub(super) async fn take_producer_snapshot(&self, slot: PartitionSlot) {
        let wanted = {
            let state = self.state.borrow();
            let partition = state.partition(slot).filter(|found| found.producers_next.is_none());
            partition.map(|found| found.forgotten)
        };
        let Some(forgotten) = wanted else { return };
        // While the store is opened nobody listens, and what the last checkpoint says stays.
        let Some(listener) = self.listener() else { return };
        let taken = listener.producer_snapshot(slot).await;
        let mut state = self.state.borrow_mut();
        let Some(partition) = state.partition_mut(slot) else { return };
        // Without a state there is nothing to rebuild from what lies before.
        let (at, state) = taken.unwrap_or((partition.appended_end, Bytes::new()));
        // The log may have been cut while the snapshot was made: it stands for nothing then.
        if at <= partition.appended_end {
            partition.producers_next = Some(Rc::new(ProducerSnapshot { at, state }));
            partition.producers_next_forgotten = forgotten;
        }
    }

    /// Moves a partition's part of a round, a step at a time: between two of them others have their turn.
    async fn destage_partition(
        &self,
        slot: PartitionSlot,
        round: &Round,
        frames: &Frames,
    ) -> Result<(), StoreError> {
        loop {
            let bytes = self.destage_step(slot, round, frames).await?;
            if bytes == 0 {
                return Ok(());
            }
            match self.listener().filter(|_| round.is_paced) {
                Some(listener) => listener.pause_destaging(bytes).await,
                None => yield_now().await,
            }
        }
    }

    /// Appends about one long write to a partition's segments; who appends many megabytes at once reads the headers of all
    /// of them first, and lets nobody else on meanwhile. Returns how many bytes that are: none where all is done.
    async fn destage_step(
        &self,
        slot: PartitionSlot,
        round: &Round,
        frames: &Frames,
    ) -> Result<usize, StoreError> {
        let Some(segments) = self.segments(slot) else { return Ok(0) };
        let _turn = segments.turn.enter().await;
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        {
            let mut state = self.state.borrow_mut();
            let Some(partition) = state.partition_mut(slot) else { return Ok(0) };
            partition.is_touched = true;
            partition.warmth = Warmth::Written;
            let end = segments.log.end();
            for run in partition.runs.from(end).take_while(|run| run.frame < round.below) {
                let whole = frames.bytes(run.frame).slice(run.range());
                let Some(chunk) = part_of_run(run, &whole, end) else { continue };
                bytes += chunk.len();
                chunks.push(chunk);
                if bytes >= SEGMENT_WRITE_BYTES {
                    break;
                }
            }
        }
        if bytes > 0 {
            segments.log.append(&chunks).await.map_err(|error| self.segment_failed(&error))?;
        }
        Ok(bytes)
    }

    /// Syncs the segments of many partitions. Their turns are taken in the order of the slots and kept until all are
    /// synced; whoever else works on a partition has the turn of that one only.
    async fn sync_partitions(
        &self,
        slots: &BTreeSet<PartitionSlot>,
        concurrent_max: usize,
    ) -> Result<(), StoreError> {
        let all: Vec<(PartitionSlot, Rc<Segments<D>>)> =
            slots.iter().filter_map(|&slot| Some((slot, self.segments(slot)?))).collect();
        let mut turns = Vec::with_capacity(all.len());
        for (_, segments) in &all {
            turns.push(segments.turn.enter().await);
        }
        // A partition may have been deleted while its turn was waited for.
        let is_there = |slot| self.state.borrow().partition(slot).is_some();
        let there = all.iter().filter(|(slot, _)| is_there(*slot));
        let logs: Vec<&PartitionLog<D>> = there.map(|(_, segments)| &segments.log).collect();
        sync_logs(&self.disk, &logs, concurrent_max).await.map_err(|error| self.segment_failed(&error))
    }

    pub(super) fn segments(&self, slot: PartitionSlot) -> Option<Rc<Segments<D>>> {
        self.state.borrow().partition(slot).map(|partition| Rc::clone(&partition.segments))
    }

    /// What a checkpoint says of each partition. Their states are taken a few at a time: no state depends on another
    /// partition's, and what changes one in between is an entry of the journal behind the place where a replay begins.
    pub(super) async fn checkpoint_partitions(&self) -> Vec<PartitionState> {
        let mut found = Vec::new();
        let mut slot = 0;
        loop {
            {
                let mut state = self.state.borrow_mut();
                let number = state.checkpoint_number + 1;
                let rest = state.partitions.get_mut(slot..).unwrap_or_default();
                if rest.is_empty() {
                    return found;
                }
                for partition in rest.iter_mut().take(STEPS_BETWEEN_YIELDS).flatten() {
                    partition.advance_producers();
                    partition.vouched.note(number, partition.vouched_now());
                    found.extend(partition.checkpoint());
                }
            }
            slot += STEPS_BETWEEN_YIELDS;
            yield_now().await;
        }
    }

    /// Frees what was kept from being free when the last checkpoint was written. Returns how many files that are.
    ///
    /// Both checkpoints must have gone by before a file is free: where room is wanted soon, the second follows at once. A file
    /// that was being read is free once it is not.
    async fn free_files(&self) -> Result<usize, StoreError> {
        let is_late = {
            let state = self.state.borrow();
            let is_pressed = state.is_filling() || state.is_stalled;
            is_pressed && state.older_replay_from.sequence < state.replay_from.sequence
        };
        if is_late {
            let replay_from = self.state.borrow().replay_from;
            return self.checkpoint(replay_from).await;
        }
        Ok(self.recycle())
    }

    /// Writes a checkpoint, and frees what no checkpoint needs any more. Returns how many files that are.
    pub(super) async fn checkpoint(&self, replay_from: ReplayFrom) -> Result<usize, StoreError> {
        let partitions = self.checkpoint_partitions().await;
        let checkpoint = self.state.borrow().next_checkpoint(replay_from, partitions);
        if let Err(error) = slots::write(&self.disk, &checkpoint).await {
            if let Some(passing) = StoreError::passing(&error) {
                return Err(passing);
            }
            let failure = StoreFailure::new("writing a checkpoint", &error);
            self.fail(failure.clone());
            return Err(StoreError::Failed(failure));
        }
        let mut state = self.state.borrow_mut();
        assert_eq!(checkpoint.number, state.checkpoint_number + 1);
        state.checkpoint_number = checkpoint.number;
        state.lives = checkpoint.lives;
        let older = std::mem::replace(&mut state.replay_from, replay_from);
        state.older_replay_from = older;
        state.tail.set_destaged_below(replay_from.sequence);
        state.forget_frames();
        drop(state);
        Ok(self.recycle())
    }

    /// Frees the journal's files that neither checkpoint needs, and tells the writer. Returns how many.
    fn recycle(&self) -> usize {
        let mut state = self.state.borrow_mut();
        let (older, last) = (state.older_replay_from, state.replay_from);
        let recycled = state.ring.recycle(older.sequence, [older.location.file, last.location.file]);
        drop(state);
        if recycled > 0 {
            self.writer_wanted.notify();
        }
        recycled
    }
}

/// How full something is: thousandths, so that nothing is lost on the way to a small float.
fn thousandths(used: u64, total: u64) -> u16 {
    u16::try_from(used.saturating_mul(1000) / total.max(1)).unwrap_or(u16::MAX).min(1000)
}

/// The bytes of a run from an offset on, as far as they count.
fn part_of_run(run: &Run, bytes: &Bytes, from: Offset) -> Option<Bytes> {
    if from <= run.base && !run.is_cut {
        return Some(bytes.clone());
    }
    let wanted = Wanted { from, limit: run.end, bytes_max: usize::MAX, at_least_one: true };
    let (range, _) = select(bytes, wanted);
    (!range.is_empty()).then(|| bytes.slice(range))
}
