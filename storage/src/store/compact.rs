//! Compaction as a store's callers see it: when a partition is worth a round, and the round.
//!
//! Compaction changes what lies below the offset that both checkpoints vouch for, and nothing else: a restart cuts a
//! partition there and needs all that the checkpoint says is destaged, and, from the offset of its producers' snapshot on,
//! every batch. The same holds for what it has a host forget: a marker goes only when no checkpoint would bring the aborted
//! transaction back that it ended.

use protocol::aborted::AbortedTransaction;
use protocol::batch::BatchHeader;
use protocol::types::{Offset, Timestamp};

use super::errors::{StoreError, StoreFailure};
use super::partitions::segment_error;
use super::state::Partition;
use super::types::PartitionSlot;
use super::{ShardStore, Shared};
use crate::compaction::{
    CompactionConfig, CompactionError, CompactionHost, CompactionInput, CompactionOutcome, CompactionPlan,
    Round, dirty_bases, plan_compaction,
};
use crate::disk::Disk;
use crate::limits::SEGMENT_BYTES_MAX;

/// What one checkpoint says of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// Up to where nothing is needed as it was.
    pub(super) end: Offset,
    /// How many times aborted transactions had been forgotten when its producers' snapshot was taken.
    pub(super) forgotten: u64,
}

/// What the checkpoints vouch for, of one partition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Vouched {
    /// The older one that may still be used, and the one after it, which may not have been written.
    by: [(u64, Said); 2],
}

impl Vouched {
    /// The checkpoint of this number was written, and says this.
    pub(super) fn found(number: u64, said: Said) -> Self {
        Self { by: [(number, said); 2] }
    }

    /// A checkpoint of this number is about to be written, perhaps again, and says this.
    pub(super) fn note(&mut self, number: u64, said: Said) {
        let [_, last] = self.by;
        assert!(number >= last.0, "checkpoints are numbered upwards");
        if number > last.0 {
            self.by[0] = last;
        }
        self.by[1] = (number, said);
    }

    pub(super) fn truncate(&mut self, cut: Offset) {
        for (_, said) in &mut self.by {
            said.end = said.end.min(cut);
        }
    }

    /// Up to where nothing is needed as it was.
    fn end(&self) -> Offset {
        self.by[0].1.end.min(self.by[1].1.end)
    }

    /// How much of what was forgotten no checkpoint brings back.
    fn forgotten(&self) -> u64 {
        self.by[0].1.forgotten.min(self.by[1].1.forgotten)
    }
}

impl<D: Disk> Partition<D> {
    /// Whether an offset is to be read from segments alone: what the journal and memory still have there is as it was before
    /// it was compacted.
    pub(super) fn is_compacted_at(&self, offset: Offset) -> bool {
        offset < self.segments.log.cleaned_known()
    }

    /// What a checkpoint of it says as it is now.
    pub(super) fn vouched_now(&self) -> Said {
        let observed = self.producers.as_ref().map_or(Offset(0), |snapshot| snapshot.at);
        Said { end: observed.min(self.segments.log.end()), forgotten: self.producers_forgotten }
    }
}

impl<D: Disk> ShardStore<D> {
    /// Whether a partition is worth a round of compaction, and over what. `stable_end` says up to where its records are
    /// committed and decided. None, too, for a partition that is not compacted at all.
    ///
    /// # Errors
    /// [`StoreError::Gone`], or what the disk says.
    pub async fn plan_compaction(
        &self,
        slot: PartitionSlot,
        now: Timestamp,
        stable_end: Offset,
    ) -> Result<Option<CompactionPlan>, StoreError> {
        let segments = self.shared.segments(slot).ok_or(StoreError::Gone)?;
        let (config, vouched) = {
            let state = self.shared.state.borrow();
            let partition = state.partition(slot).ok_or(StoreError::Gone)?;
            let Some(config) = partition.config.compaction else { return Ok(None) };
            (config, partition.vouched.end())
        };
        let log = &segments.log;
        let cleaned = log.cleaned().await.map_err(segment_error)?;
        let summaries = log.summaries().await.map_err(segment_error)?;
        let mut earliest_dirty_timestamp: Option<Timestamp> = None;
        // One that has waited too long decides.
        let overdue_below = now.get().saturating_sub(config.lag_ms_max);
        for base in dirty_bases(&summaries, cleaned).take_while(|_| config.lag_ms_max < i64::MAX) {
            // One that can't be read waits for the round that meets it, and the others don't.
            let Ok(Some(time)) = log.first_timestamp_of(base).await else { continue };
            let earlier = earliest_dirty_timestamp.map_or(time, |earliest| earliest.min(time));
            earliest_dirty_timestamp = Some(earlier);
            if time.get() < overdue_below {
                break;
            }
        }
        let end_max = stable_end.min(vouched);
        let input = CompactionInput { now, cleaned, end_max, earliest_dirty_timestamp, config };
        Ok(plan_compaction(&summaries, &input))
    }

    /// Runs a round of compaction, with so much memory for its table of keys. One at a time for each partition; it goes on
    /// beside anything else. What it did until it was ended early stays done.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] where there is no room for the new segments; [`StoreError::Io`] where the log is damaged or
    /// can't be read, and compacting it again is no use; [`StoreError::Failed`] is final.
    pub async fn compact<H: CompactionHost>(
        &self,
        slot: PartitionSlot,
        plan: &CompactionPlan,
        memory_bytes: usize,
        host: &H,
    ) -> Result<CompactionOutcome, StoreError> {
        self.shared.check_failure()?;
        let segments = self.shared.segments(slot).ok_or(StoreError::Gone)?;
        let (config, segment_bytes, forgets_durably) = {
            let state = self.shared.state.borrow();
            let partition = state.partition(slot).ok_or(StoreError::Gone)?;
            assert!(plan.end <= partition.vouched.end().max(plan.from), "what is vouched for only grows");
            let forgets_durably = partition.vouched.forgotten() == partition.forgotten;
            (partition.config.compaction, partition.config.segment_bytes_effective(), forgets_durably)
        };
        let CompactionConfig { delete_retention_ms, .. } = config.ok_or(StoreError::Gone)?;
        self.shared.measure_room().await?;
        let needed = segment_bytes.min(plan.clean_bytes + plan.dirty_bytes);
        if self.shared.state.borrow().room_bytes < i64::try_from(needed).unwrap_or(i64::MAX) {
            return Err(StoreError::DiskFull);
        }
        let host = Noting { host, shared: &self.shared, slot };
        let round = Round {
            log: &segments.log,
            turn: &segments.turn,
            host: &host,
            memory_bytes,
            segment_bytes,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            delete_retention_ms,
            forgets_durably,
        };
        round.run(plan).await.map_err(|error| match self.shared.segments(slot) {
            // Its files went while the round was at work on them.
            None => StoreError::Gone,
            Some(_) => self.shared.compaction_error(error),
        })
    }
}

/// A host, and the note of what it forgets: the checkpoints say otherwise for a while.
struct Noting<'a, D: Disk, H> {
    host: &'a H,
    shared: &'a Shared<D>,
    slot: PartitionSlot,
}

impl<D: Disk, H: CompactionHost> CompactionHost for Noting<'_, D, H> {
    fn now(&self) -> Timestamp {
        self.host.now()
    }

    fn aborted(&self, from: Offset, limit: Offset) -> Vec<AbortedTransaction> {
        self.host.aborted(from, limit)
    }

    fn forget_aborted(&self, markers: &[Offset]) {
        self.host.forget_aborted(markers);
        if let Some(partition) = self.shared.state.borrow_mut().partition_mut(self.slot) {
            partition.forgotten += markers.len() as u64;
        }
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        self.host.is_last_of_producer(header)
    }

    async fn pace(&self, bytes: u64) -> bool {
        self.host.pace(bytes).await
    }

    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.host.beside(work).await
    }
}

impl<D: Disk> Shared<D> {
    fn compaction_error(&self, error: CompactionError) -> StoreError {
        match error {
            CompactionError::Write(error) if error.io().and_then(StoreError::passing).is_some() => {
                segment_error(error)
            }
            CompactionError::Write(error) | CompactionError::Commit(error) => {
                let failure = StoreFailure { what: "compacting".to_owned(), reason: error.to_string() };
                self.fail(failure.clone());
                StoreError::Failed(failure)
            }
            CompactionError::Read(error) => segment_error(error),
            error @ CompactionError::Damaged { .. } => StoreError::Io {
                what: "compacting".to_owned(),
                source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_older_checkpoint_vouches_for_counts() {
        let said = |end| Said { end: Offset(end), forgotten: u64::try_from(end).expect("positive") / 5 };
        let mut vouched = Vouched::default();
        assert_eq!(vouched.end(), Offset(0));
        vouched.note(1, said(10));
        assert_eq!(vouched.end(), Offset(0), "the first one may not have been written");
        vouched.note(1, said(15));
        assert_eq!(vouched.end(), Offset(0), "tried again");
        vouched.note(2, said(20));
        assert_eq!((vouched.end(), vouched.forgotten()), (Offset(15), 3));
        vouched.truncate(Offset(12));
        assert_eq!(vouched.end(), Offset(12));
        vouched.note(3, said(30));
        assert_eq!((vouched.end(), vouched.forgotten()), (Offset(12), 4));
        assert_eq!(Vouched::found(7, said(70)).end(), Offset(70));
    }
}
