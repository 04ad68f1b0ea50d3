//! Finding offsets: by position, by time, by the largest time. Looks into batches, compressed ones included, within a
//! bound; runs in the asker's task, so that producers don't wait for it.

use protocol::batch::BatchIter;
use protocol::records::RecordIter;
use protocol::types::{LeaderEpoch, Offset, Timestamp};

use super::Store;
use super::messages::{FindOffset, FoundOffset, OffsetTarget, PartitionError};
use super::partition::Partition;
use crate::limits::DECOMPRESSED_BATCH_BYTES_MAX;

impl Partition {
    /// Finds an offset.
    ///
    /// # Errors
    /// The replica refuses, or the log can't be read.
    pub async fn find_offset(&self, store: &Store, item: FindOffset) -> Result<FoundOffset, PartitionError> {
        // What a follower of the log may see bounds every answer.
        let latest = self.replica().latest_offset(item.epoch)?;
        match item.target {
            OffsetTarget::Earliest => Ok(self.at(self.replica().log_start())),
            OffsetTarget::Latest => Ok(self.at(latest)),
            OffsetTarget::AtTime(wanted) => {
                let batch = store.batch_at_time(self.slot, wanted, latest).await?;
                self.find_record(batch.as_deref(), |timestamp, _| timestamp >= wanted)
            }
            OffsetTarget::MaxTimestamp => {
                let batch = store.batch_of_max_timestamp(self.slot, latest).await?;
                self.find_record(batch.as_deref(), |timestamp, max| timestamp == max)
            }
        }
    }

    fn at(&self, offset: Offset) -> FoundOffset {
        FoundOffset { offset: Some(offset), timestamp: None, epoch: self.epoch_of(offset) }
    }

    fn epoch_of(&self, offset: Offset) -> LeaderEpoch {
        let replica = self.replica();
        replica.epochs().epoch_at(offset).unwrap_or(LeaderEpoch::UNKNOWN)
    }

    /// The first record of a batch that fits; `fits` is asked with its timestamp and the largest of the batch.
    fn find_record(
        &self,
        batch: Option<&[u8]>,
        fits: impl Fn(Timestamp, Timestamp) -> bool,
    ) -> Result<FoundOffset, PartitionError> {
        let nothing = FoundOffset { offset: None, timestamp: None, epoch: LeaderEpoch::UNKNOWN };
        let Some(bytes) = batch else { return Ok(nothing) };
        let broken = |error: &dyn std::fmt::Display| PartitionError::Batch(error.to_string());
        let batch =
            BatchIter::new(bytes).next().ok_or(PartitionError::Unknown)?.map_err(|error| broken(&error))?;
        let body = batch.records(DECOMPRESSED_BATCH_BYTES_MAX).map_err(|error| broken(&error))?;
        let max = batch.header().max_timestamp();
        for record in RecordIter::new(&body, batch.header()) {
            let record = record.map_err(|error| broken(&error))?;
            if record.offset >= self.replica().log_start() && fits(record.timestamp, max) {
                let epoch = batch.header().leader_epoch();
                return Ok(FoundOffset {
                    offset: Some(record.offset),
                    timestamp: Some(record.timestamp),
                    epoch,
                });
            }
        }
        Ok(nothing)
    }
}
