//! Finding offsets: by position, by time, by the largest time. Looks into batches, compressed ones included, within a
//! bound, and away from the shard's thread, since decompressing one may take longer than a producer should wait.

use bytes::Bytes;
use protocol::batch::BatchIter;
use protocol::records::RecordIter;
use protocol::types::{LeaderEpoch, Offset, Timestamp};

use super::Store;
use super::messages::{FindOffset, FoundOffset, OffsetTarget, PartitionError};
use super::partition::Partition;
use crate::limits::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::runtime::run_blocking;

impl Partition {
    /// Finds an offset.
    ///
    /// # Errors
    /// The replica refuses, or the log can't be read.
    pub async fn find_offset(&self, store: &Store, item: FindOffset) -> Result<FoundOffset, PartitionError> {
        // What a follower of the log may see bounds every answer.
        let latest = self.replica().latest_offset(item.epoch)?;
        let latest = item.isolation.limit(latest, self.last_stable_offset());
        match item.target {
            OffsetTarget::Earliest => Ok(self.at(self.replica().log_start())),
            OffsetTarget::Latest => Ok(self.at(latest)),
            OffsetTarget::AtTime(wanted) => {
                let batch = store.batch_at_time(self.slot, wanted, latest).await;
                let batch = batch.map_err(|error| self.tell(error))?;
                self.find_record(batch, move |timestamp, _| timestamp >= wanted).await
            }
            OffsetTarget::MaxTimestamp => {
                let batch = store.batch_of_max_timestamp(self.slot, latest).await;
                let batch = batch.map_err(|error| self.tell(error))?;
                self.find_record(batch, |timestamp, max| timestamp == max).await
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
    async fn find_record(
        &self,
        batch: Option<Bytes>,
        fits: impl Fn(Timestamp, Timestamp) -> bool + Send + 'static,
    ) -> Result<FoundOffset, PartitionError> {
        let nothing = FoundOffset { offset: None, timestamp: None, epoch: LeaderEpoch::UNKNOWN };
        let Some(batch) = batch else { return Ok(nothing) };
        let log_start = self.replica().log_start();
        let found = run_blocking(move || first_record(&batch, log_start, fits)).await?;
        Ok(found.unwrap_or(nothing))
    }
}

/// The first record of a batch that fits and has not been deleted.
fn first_record(
    batch: &[u8],
    log_start: Offset,
    fits: impl Fn(Timestamp, Timestamp) -> bool,
) -> Result<Option<FoundOffset>, PartitionError> {
    let broken = |error: &dyn std::fmt::Display| PartitionError::Batch(error.to_string());
    let batch =
        BatchIter::new(batch).next().ok_or(PartitionError::Unknown)?.map_err(|error| broken(&error))?;
    let body = batch.records(DECOMPRESSED_BATCH_BYTES_MAX).map_err(|error| broken(&error))?;
    let max = batch.header().max_timestamp();
    for record in RecordIter::new(&body, batch.header()) {
        let record = record.map_err(|error| broken(&error))?;
        if record.offset >= log_start && fits(record.timestamp, max) {
            return Ok(Some(FoundOffset {
                offset: Some(record.offset),
                timestamp: Some(record.timestamp),
                epoch: batch.header().leader_epoch(),
            }));
        }
    }
    Ok(None)
}
