//! Reading: from frames in memory, from the journal, from segments.

use bytes::Bytes;
use protocol::types::{Offset, Timestamp};

use super::errors::ReadError;
use super::state::State;
use super::types::{PartitionSlot, ReadClass};
use super::{ShardStore, Shared};
use crate::batch::BatchView;
use crate::disk::{Disk, DiskFile};
use crate::journal::ring::Pinned;
use crate::segment::ReadBatches;
use crate::tail::{Run, Wanted, find_batch, select};

impl<D: Disk> ShardStore<D> {
    /// Reads from memory alone, or not at all: `None` where a device would have to be asked, or the offset is not in
    /// the log.
    ///
    /// Whole batches, from the one that holds `from` on; none that ends past `limit`; at least one, even where it is
    /// longer than `bytes_max`.
    #[must_use]
    pub fn read_cached(
        &self,
        slot: PartitionSlot,
        from: Offset,
        limit: Offset,
        bytes_max: usize,
    ) -> Option<ReadBatches> {
        let mut state = self.shared.state.borrow_mut();
        let read = cached(&state, slot, Wanted { from, limit, bytes_max, at_least_one: true })?;
        state.stats.reads_cached += 1;
        Some(read)
    }

    /// Reads from wherever the batches are; what is read is as for [`ShardStore::read_cached`]. May return less than
    /// there is, but nothing only where `limit` allows nothing.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] where the offset is not in the log.
    pub async fn read(
        &self,
        slot: PartitionSlot,
        from: Offset,
        limit: Offset,
        bytes_max: usize,
        _class: ReadClass,
    ) -> Result<ReadBatches, ReadError> {
        {
            let state = self.shared.state.borrow();
            let partition = state.partition(slot).ok_or(ReadError::Gone)?;
            if from < partition.log_start || from > partition.appended_end {
                return Err(ReadError::OutOfRange {
                    start: partition.log_start,
                    end: partition.appended_end,
                });
            }
        }
        if let Some(read) = self.read_cached(slot, from, limit, bytes_max) {
            return Ok(read);
        }
        let wanted = Wanted { from, limit, bytes_max, at_least_one: true };
        self.shared.state.borrow_mut().stats.reads_journal += 1;
        self.shared.read_journal(slot, wanted).await
    }

    /// The first batch whose max timestamp is at least `timestamp`, among those that end by `limit`.
    ///
    /// # Errors
    /// What reading meets.
    pub async fn batch_at_time(
        &self,
        slot: PartitionSlot,
        timestamp: Timestamp,
        limit: Offset,
    ) -> Result<Option<Bytes>, ReadError> {
        let runs = self.runs_from(slot, Offset(0))?;
        for run in runs.iter().filter(|run| run.max_timestamp >= timestamp) {
            let bytes = self.shared.run_bytes(run).await?;
            let limit = limit.min(run.end);
            let log_start = self.log_start(slot).ok_or(ReadError::Gone)?;
            let test =
                |batch: BatchView<'_>| batch.max_timestamp() >= timestamp && batch.end_offset() > log_start;
            if let Some(batch) = find_batch(&bytes, limit, test) {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// The first batch with the highest max timestamp, among those that end by `limit`.
    ///
    /// # Errors
    /// What reading meets.
    pub async fn batch_of_max_timestamp(
        &self,
        slot: PartitionSlot,
        limit: Offset,
    ) -> Result<Option<Bytes>, ReadError> {
        let runs = self.runs_from(slot, Offset(0))?;
        let mut best: Option<(Timestamp, Bytes)> = None;
        for run in runs.iter().filter(|run| run.base < limit) {
            if best.as_ref().is_some_and(|(timestamp, _)| run.max_timestamp <= *timestamp) {
                continue;
            }
            let bytes = self.shared.run_bytes(run).await?;
            let limit = limit.min(run.end);
            let above = best.as_ref().map(|(timestamp, _)| *timestamp);
            let mut highest: Option<Timestamp> = above;
            let mut found = None;
            find_batch(&bytes, limit, |batch| {
                if highest.is_none_or(|highest| batch.max_timestamp() > highest) {
                    highest = Some(batch.max_timestamp());
                    found = Some(batch.base_offset());
                }
                false
            });
            if let (Some(base), Some(timestamp)) = (found, highest) {
                let batch = find_batch(&bytes, limit, |batch| batch.base_offset() == base);
                best = batch.map(|batch| (timestamp, batch));
            }
        }
        Ok(best.map(|(_, batch)| batch))
    }

    fn runs_from(&self, slot: PartitionSlot, from: Offset) -> Result<Vec<Run>, ReadError> {
        let state = self.shared.state.borrow();
        let partition = state.partition(slot).ok_or(ReadError::Gone)?;
        Ok(partition.runs.from(from).copied().collect())
    }
}

/// What the frames in memory have of what is wanted, from its beginning on.
fn cached<F: DiskFile>(state: &State<F>, slot: PartitionSlot, wanted: Wanted) -> Option<ReadBatches> {
    let partition = state.partition(slot)?;
    if wanted.from < partition.log_start {
        return None;
    }
    let limit = wanted.limit.min(partition.sealed_end);
    let mut read = ReadBatches { next: wanted.from, ..ReadBatches::default() };
    if wanted.from >= limit {
        return (wanted.from <= partition.appended_end).then_some(read);
    }
    if partition.runs.base().is_none_or(|base| base > wanted.from) {
        return None;
    }
    for run in partition.runs.from(wanted.from) {
        let Some(frame) = state.tail.bytes(run.frame) else { break };
        let left = wanted.bytes_max.saturating_sub(read.bytes);
        if run.base >= limit || (left == 0 && read.bytes > 0) {
            break;
        }
        let bytes = frame.slice(run.range());
        let is_whole = run.base >= read.next && run.end <= limit && !run.is_cut && bytes.len() <= left;
        let is_all = if is_whole {
            read.next = run.end;
            push(&mut read, bytes);
            true
        } else {
            take(&mut read, &bytes, run, Wanted { limit, ..wanted })
        };
        if !is_all {
            break;
        }
    }
    (!read.chunks.is_empty()).then_some(read)
}

/// Adds what is wanted of a run to what was read. Returns whether there may be more behind it.
fn take(read: &mut ReadBatches, run_bytes: &Bytes, run: &Run, wanted: Wanted) -> bool {
    let (range, next) = select(
        run_bytes,
        Wanted {
            from: read.next,
            limit: wanted.limit.min(run.end),
            bytes_max: wanted.bytes_max.saturating_sub(read.bytes),
            at_least_one: wanted.at_least_one && read.bytes == 0,
        },
    );
    if range.is_empty() {
        return false;
    }
    read.next = next;
    push(read, run_bytes.slice(range));
    next == run.end
}

fn push(read: &mut ReadBatches, chunk: Bytes) {
    read.bytes += chunk.len();
    read.chunks.push(chunk);
}

impl<D: Disk> Shared<D> {
    /// Reads batches that are in the journal and not all in memory.
    async fn read_journal(&self, slot: PartitionSlot, wanted: Wanted) -> Result<ReadBatches, ReadError> {
        let mut read = ReadBatches { next: wanted.from, ..ReadBatches::default() };
        loop {
            let (run, limit) = {
                let state = self.state.borrow();
                let partition = state.partition(slot).ok_or(ReadError::Gone)?;
                let limit = wanted.limit.min(partition.sealed_end);
                let run = partition.runs.from(read.next).next().copied();
                (run.filter(|run| run.base < limit), limit)
            };
            let Some(run) = run else { break };
            if read.bytes >= wanted.bytes_max && read.bytes > 0 {
                break;
            }
            let bytes = self.run_bytes(&run).await?;
            if !take(&mut read, &bytes, &run, Wanted { limit, ..wanted }) {
                break;
            }
        }
        Ok(read)
    }

    /// The bytes of a run, from memory or from the journal.
    pub(super) async fn run_bytes(&self, run: &Run) -> Result<Bytes, ReadError> {
        let range = run.range();
        let (file, position) = {
            let state = self.state.borrow();
            if let Some(frame) = state.tail.bytes(run.frame) {
                return Ok(frame.slice(range));
            }
            let location = state.tail.frame(run.frame).location;
            (state.ring.pin(location.file), location.position + range.start as u64)
        };
        let bytes = read_pinned(&file, position, range.len()).await?;
        let is_right = BatchView::first(&bytes).is_some_and(|batch| batch.base_offset() == run.base);
        if bytes.len() != range.len() || !is_right {
            return Err(ReadError::Damaged { place: format!("journal frame {}", run.frame) });
        }
        Ok(bytes)
    }
}

async fn read_pinned<F: DiskFile>(file: &Pinned<F>, position: u64, length: usize) -> std::io::Result<Bytes> {
    file.read_at(position, length).await
}
