//! What happens to a partition besides appends and reads: it is created, deleted, cut at either end, retained.
//!
//! What takes something away is synced in the journal before it takes effect, so that a restart never brings it back.

use std::rc::Rc;

use protocol::types::{LeaderEpoch, Offset, Timestamp};

use super::errors::{StoreError, StoreFailure, While};
use super::state::{Partition, Warmth};
use super::types::{PartitionSlot, PartitionSpec, Retained};
use super::{ShardStore, Shared};
use crate::batch::BatchView;
use crate::checkpoint::EpochStart;
use crate::disk::{Disk, is_out_of_files};
use crate::journal::FrameSequence;
use crate::journal::frame::Mark;
use crate::recovery::truncate_epochs;
use crate::segment::{
    PartitionLog, RetentionInput, RetentionPlan, SegmentError, SegmentSummary, partition_directory,
    plan_retention, remove_retired,
};

impl<D: Disk> ShardStore<D> {
    /// Adds a partition. What a deleted namesake left behind is out of the way when this returns.
    ///
    /// # Errors
    /// [`StoreError::Closed`], [`StoreError::DiskFull`], or what the disk says.
    ///
    /// # Panics
    /// If the partition is there.
    pub async fn create_partition(&self, spec: &PartitionSpec) -> Result<PartitionSlot, StoreError> {
        self.shared.state.borrow().check_open()?;
        let directory = partition_directory(&spec.topic_name, spec.key.partition);
        let files = &self.shared.files;
        let log = PartitionLog::open(files, spec.key, directory, spec.config, Offset(0), Offset(0))
            .await
            .map_err(segment_error)?;
        let mut state = self.shared.state.borrow_mut();
        state.check_open()?;
        Ok(state.insert(Partition::new(spec, log, Offset(0), Offset(0), Vec::new())))
    }

    /// Deletes a partition. It is gone at once and for ever when this returns; [`ShardStore::free_deleted`] gives its
    /// space back.
    ///
    /// # Errors
    /// [`StoreError::Gone`], [`StoreError::Failed`].
    pub async fn delete_partition(&self, slot: PartitionSlot) -> Result<(), StoreError> {
        let _guard = self.mark(slot, Mark::TopicGone).await?;
        let partition = {
            let mut state = self.shared.state.borrow_mut();
            let index = super::state::slot_index(slot);
            let partition = state.partitions[index].take().ok_or(StoreError::Gone)?;
            state.by_key.remove(&partition.key).expect("a partition has a key");
            partition
        };
        let segments = Rc::clone(&partition.segments);
        drop(partition);
        let _turn = segments.turn.enter().await;
        match segments.log.retire().await {
            // It is deleted all the same: the journal says so, and its directory is in nobody's way.
            Err(error) if error.io().is_some_and(is_out_of_files) => Ok(()),
            retired => retired.map_err(|error| self.shared.partition_failed(&error)),
        }
    }

    /// Frees the space of all deleted partitions of the data directory. Work for the background; one shard does it.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn free_deleted(&self) -> Result<(), StoreError> {
        remove_retired(&self.shared.disk).await.doing("removing deleted partitions")
    }

    /// Moves the log's start; what lies before is gone when this returns, and its space is free after the next round
    /// of retention. An offset below the start changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Gone`], [`StoreError::Failed`].
    pub async fn set_log_start(&self, slot: PartitionSlot, offset: Offset) -> Result<(), StoreError> {
        let start = self.log_start(slot).ok_or(StoreError::Gone)?;
        if offset <= start {
            return Ok(());
        }
        let _guard = self.mark(slot, Mark::LogStart(offset)).await?;
        {
            let mut state = self.shared.state.borrow_mut();
            let partition = state.partition_mut(slot).ok_or(StoreError::Gone)?;
            if offset <= partition.log_start {
                return Ok(());
            }
            partition.log_start = offset;
        }
        if let Some(listener) = self.shared.listener() {
            listener.started(slot, offset);
        }
        Ok(())
    }

    /// Cuts the log: everything at and past `offset` is gone when this returns, and a batch that holds it. Returns
    /// the new end.
    ///
    /// # Errors
    /// [`StoreError::Gone`], [`StoreError::Failed`].
    ///
    /// # Panics
    /// If something is appended to the partition meanwhile.
    pub async fn truncate(&self, slot: PartitionSlot, offset: Offset) -> Result<Offset, StoreError> {
        // Everything must be in a frame first: what waits for one cannot be cut.
        let pending = {
            let mut state = self.shared.state.borrow_mut();
            let partition = state.partition_mut(slot).ok_or(StoreError::Gone)?;
            if offset >= partition.appended_end {
                return Ok(partition.appended_end);
            }
            assert!(!partition.is_barred, "one truncation at a time");
            partition.is_barred = true;
            partition.cursor.frame()
        };
        let cut = self.truncate_barred(slot, offset, pending).await;
        if let Some(partition) = self.shared.state.borrow_mut().partition_mut(slot) {
            partition.is_barred = false;
        }
        cut
    }

    async fn truncate_barred(
        &self,
        slot: PartitionSlot,
        offset: Offset,
        pending: Option<FrameSequence>,
    ) -> Result<Offset, StoreError> {
        if let Some(sequence) = pending {
            self.wait_synced(sequence).await?;
        }
        let cut = self.batch_start(slot, offset).await?;
        let _guard = self.mark(slot, Mark::Truncate(cut)).await?;
        let segments = self.shared.segments(slot).ok_or(StoreError::Gone)?;
        let _turn = segments.turn.enter().await;
        {
            let mut state = self.shared.state.borrow_mut();
            let partition = state.partition_mut(slot).ok_or(StoreError::Gone)?;
            partition.runs.truncate(cut);
            partition.appended_end = cut;
            partition.sealed_end = cut;
            partition.synced_end = cut;
            truncate_epochs(&mut partition.epochs, cut);
            // A snapshot from past the cut knows of batches that never were.
            partition.producers.take_if(|snapshot| snapshot.at > cut);
            partition.producers_next.take_if(|snapshot| snapshot.at > cut);
            partition.vouched.truncate(cut);
        }
        segments.log.truncate(cut).await.map_err(|error| self.shared.partition_failed(&error))?;
        Ok(cut)
    }

    /// The offset, or where the batch begins that holds it.
    async fn batch_start(&self, slot: PartitionSlot, offset: Offset) -> Result<Offset, StoreError> {
        let start = self.log_start(slot).ok_or(StoreError::Gone)?;
        if offset <= start {
            return Ok(offset);
        }
        let end = self.sealed_end(slot).ok_or(StoreError::Gone)?;
        let read = self.read(slot, offset, end, 1).await.map_err(|error| {
            let failure = StoreFailure { what: "truncating".to_owned(), reason: error.to_string() };
            self.shared.fail(failure.clone());
            StoreError::Failed(failure)
        })?;
        let batch = read.chunks.first().and_then(|chunk| BatchView::first(chunk));
        Ok(batch.map_or(offset, |batch| batch.base_offset().min(offset)))
    }

    /// Begins a leadership; durable when this returns, and so before its first append.
    ///
    /// # Errors
    /// Nothing has begun then.
    pub async fn start_epoch(
        &self,
        slot: PartitionSlot,
        epoch: LeaderEpoch,
        start: Offset,
    ) -> Result<(), StoreError> {
        self.start_epochs(&[(slot, EpochStart { epoch, start })]).await
    }

    /// Begins the leaderships of many partitions, as [`ShardStore::start_epoch`] does one: their entries fill few frames, and
    /// those are waited for once.
    ///
    /// # Errors
    /// Not all have begun then.
    pub async fn start_epochs(&self, starts: &[(PartitionSlot, EpochStart)]) -> Result<(), StoreError> {
        let mut guards = Vec::with_capacity(starts.len());
        for (slot, EpochStart { epoch, start }) in starts {
            guards.push(self.append_mark(*slot, Mark::EpochStart(*epoch, *start))?);
        }
        let Some(last) = guards.last() else { return Ok(()) };
        // Whatever was appended before is synced before.
        self.wait_synced(last.sequence).await?;
        {
            let mut state = self.shared.state.borrow_mut();
            for (slot, EpochStart { epoch, start }) in starts {
                state.partition_mut(*slot).ok_or(StoreError::Gone)?.note_epoch(*epoch, *start);
            }
        }
        // The last first: each finds its frame at the end of the list.
        guards.into_iter().rev().for_each(drop);
        Ok(())
    }

    /// One round of retention: removes the segments that are too old, too much, or before the log's start. Partitions
    /// that were not written to since the round before last give memory back.
    /// `committed_end` says up to where a partition's records are committed.
    ///
    /// # Errors
    /// [`StoreError::Failed`], or what the disk says while it looks.
    pub async fn retain(
        &self,
        now: Timestamp,
        committed_end: impl Fn(PartitionSlot) -> Offset,
    ) -> Result<Vec<Retained>, StoreError> {
        let _turn = self.shared.retaining.enter().await;
        let count = self.shared.state.borrow().partitions.len();
        let mut all = Vec::new();
        for slot in (0..count).map(|index| PartitionSlot(u32::try_from(index).expect("a slot"))) {
            let end = committed_end(slot);
            match self.retain_partition(slot, now, end).await {
                // Deleted meanwhile.
                Err(StoreError::Gone) => {}
                retained => all.extend(retained?),
            }
            self.cool(slot).await?;
        }
        Ok(all)
    }

    /// Takes note of who is idle, and of who still is.
    async fn cool(&self, slot: PartitionSlot) -> Result<(), StoreError> {
        let segments = {
            let mut state = self.shared.state.borrow_mut();
            let Some(partition) = state.partition_mut(slot) else { return Ok(()) };
            let before = partition.warmth;
            partition.warmth = if before == Warmth::Written { Warmth::Cooling } else { Warmth::Cold };
            if before != Warmth::Cooling {
                return Ok(());
            }
            Rc::clone(&partition.segments)
        };
        let _turn = segments.turn.enter().await;
        match segments.log.release_memory().await {
            // It needed some more space, or a file, to do so; there is another time.
            Err(error) if error.io().and_then(StoreError::passing).is_some() => {
                if let Some(partition) = self.shared.state.borrow_mut().partition_mut(slot) {
                    partition.warmth = Warmth::Cooling;
                }
                Ok(())
            }
            released => released.map_err(|error| self.shared.partition_failed(&error)),
        }
    }

    async fn retain_partition(
        &self,
        slot: PartitionSlot,
        now: Timestamp,
        committed_end: Offset,
    ) -> Result<Option<Retained>, StoreError> {
        let Some(segments) = self.shared.segments(slot) else { return Ok(None) };
        if segments.log.size_bytes() == 0 {
            return Ok(None);
        }
        let summaries = segments.log.summaries().await.map_err(segment_error)?;
        let plan = {
            let state = self.shared.state.borrow();
            let partition = state.partition(slot).ok_or(StoreError::Gone)?;
            let destaged = segments.log.end();
            let input = RetentionInput {
                now,
                log_start: partition.log_start,
                committed_end: committed_end.min(destaged),
                tail_bytes: partition.runs.bytes_from(destaged),
                config: partition.config,
            };
            plan_retention(&summaries, &input)
        };
        if plan.is_empty() {
            return Ok(None);
        }
        self.drop_oldest(slot, plan, &summaries).await.map(Some)
    }

    /// Executes a plan that was made of these segments: the log starts later, durably, and then they go.
    pub(super) async fn drop_oldest(
        &self,
        slot: PartitionSlot,
        mut plan: RetentionPlan,
        planned_of: &[SegmentSummary],
    ) -> Result<Retained, StoreError> {
        let segments = self.shared.segments(slot).ok_or(StoreError::Gone)?;
        let planned_end = planned_of.last().map_or(Offset(0), |segment| segment.end);
        // The turn is not taken before this: the journal may have to wait for room, and so for the destager.
        self.set_log_start(slot, plan.log_start).await?;
        let _turn = segments.turn.enter().await;
        if plan.segments.len() == planned_of.len() && segments.log.end() != planned_end {
            // The last segment has grown meanwhile.
            plan.segments.pop();
        }
        if self.shared.state.borrow().partition(slot).is_none() {
            return Err(StoreError::Gone);
        }
        segments.log.drop_segments(&plan).await.map_err(|error| self.shared.partition_failed(&error))?;
        Ok(Retained { slot, log_start: plan.log_start, segments: plan.segments.len() })
    }

    /// Bytes of the partition's batches, wherever they are.
    #[must_use]
    pub fn size_bytes(&self, slot: PartitionSlot) -> Option<u64> {
        self.of(slot, |partition| {
            let log = &partition.segments.log;
            log.size_bytes() + partition.runs.bytes_from(log.end())
        })
    }
}

impl<D: Disk> Shared<D> {
    /// A change of a partition's files that failed half way is final.
    fn partition_failed(&self, error: &SegmentError) -> StoreError {
        let failure =
            StoreFailure { what: "changing a partition's files".to_owned(), reason: error.to_string() };
        self.fail(failure.clone());
        StoreError::Failed(failure)
    }
}

pub(super) fn segment_error(error: SegmentError) -> StoreError {
    if let Some(passing) = error.io().and_then(StoreError::passing) {
        return passing;
    }
    match error {
        SegmentError::Io { file, source } => StoreError::Io { what: file.display().to_string(), source },
        damaged => StoreError::Io {
            what: "the partition's segments".to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, damaged.to_string()),
        },
    }
}
