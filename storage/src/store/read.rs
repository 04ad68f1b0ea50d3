//! Reading: from frames in memory, from the journal, from segments.

use std::rc::Rc;

use bytes::Bytes;
use protocol::types::{Offset, Timestamp};

use super::errors::ReadError;
use super::state::State;
use super::types::PartitionSlot;
use super::{ShardStore, Shared};
use crate::batch::{BatchView, batches};
use crate::disk::{Disk, DiskFile};
use crate::limits::SCAN_READ_BYTES;
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
    /// there is, but nothing only where `limit` allows nothing. What comes from a device is held against its CRC.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] where the offset is not in the log; [`ReadError::Damaged`] where the batch at `from` is
    /// not what was written.
    pub async fn read(
        &self,
        slot: PartitionSlot,
        from: Offset,
        limit: Offset,
        bytes_max: usize,
    ) -> Result<ReadBatches, ReadError> {
        let wanted = Wanted { from, limit, bytes_max, at_least_one: true };
        // What is looked for may move to the segments while it is looked for in the journal: then it is there.
        loop {
            let (segments, is_in_journal, limit) = {
                let state = self.shared.state.borrow();
                let partition = state.partition(slot).ok_or(ReadError::Gone)?;
                if from < partition.log_start || from > partition.appended_end {
                    let (start, end) = (partition.log_start, partition.appended_end);
                    return Err(ReadError::OutOfRange { start, end });
                }
                let is_in_journal = from >= partition.segments.log.end()
                    || !partition.is_compacted_at(from)
                        && partition.runs.base().is_some_and(|base| base <= from);
                (Rc::clone(&partition.segments), is_in_journal, limit.min(partition.sealed_end))
            };
            if let Some(read) = self.read_cached(slot, from, limit, bytes_max) {
                return Ok(read);
            }
            if !is_in_journal {
                self.shared.state.borrow_mut().stats.reads_segment += 1;
                return sound(segments.log.read(from, limit, bytes_max).await?);
            }
            if let Some(read) = self.shared.read_journal(slot, wanted).await? {
                self.shared.state.borrow_mut().stats.reads_journal += 1;
                return sound(read);
            }
        }
    }

    /// The first batch whose max timestamp is at least `timestamp`, among those that end by `limit` and do not end
    /// below the log's start.
    ///
    /// # Errors
    /// What reading meets.
    pub async fn batch_at_time(
        &self,
        slot: PartitionSlot,
        timestamp: Timestamp,
        limit: Offset,
    ) -> Result<Option<Bytes>, ReadError> {
        let log_start = self.log_start(slot).ok_or(ReadError::Gone)?;
        let segments = self.shared.segments(slot).ok_or(ReadError::Gone)?;
        let destaged = segments.log.end();
        let found = segments.log.batch_at_time(timestamp, limit.min(destaged)).await?;
        if let Some(found) = found {
            check_crc(&found)?;
            let batch = BatchView::first(&found);
            if batch.is_some_and(|batch| batch.end_offset() > log_start) {
                return Ok(found_within(found, limit));
            }
        }
        // Below the log's start, or not in segments: what comes later is looked at batch by batch.
        let is_cut = segments.log.start() < log_start;
        let from = if is_cut { log_start } else { destaged.max(log_start) };
        self.scan(slot, from, limit, |batch| batch.max_timestamp() >= timestamp).await
    }

    /// The first batch with the highest max timestamp, among those that end by `limit` and do not end below the log's
    /// start.
    ///
    /// # Errors
    /// What reading meets.
    pub async fn batch_of_max_timestamp(
        &self,
        slot: PartitionSlot,
        limit: Offset,
    ) -> Result<Option<Bytes>, ReadError> {
        let log_start = self.log_start(slot).ok_or(ReadError::Gone)?;
        let segments = self.shared.segments(slot).ok_or(ReadError::Gone)?;
        let destaged = segments.log.end();
        let mut best = segments.log.batch_of_max_timestamp(limit.min(destaged)).await?;
        if let Some(found) = &best {
            check_crc(found)?;
        }
        let mut highest = Timestamp(-1);
        let mut from = destaged.max(log_start);
        match best.as_deref().and_then(BatchView::first) {
            Some(batch) if batch.end_offset() <= log_start => {
                best = None;
                from = log_start;
            }
            Some(batch) => highest = batch.max_timestamp(),
            None => {}
        }
        while let Some(found) = self.scan(slot, from, limit, |batch| batch.max_timestamp() > highest).await? {
            let batch = BatchView::first(&found).expect("it was looked at");
            highest = batch.max_timestamp();
            from = batch.end_offset();
            best = Some(found);
        }
        Ok(best.and_then(|found| found_within(found, limit)))
    }

    /// The first batch from an offset on that a test wants.
    async fn scan(
        &self,
        slot: PartitionSlot,
        mut from: Offset,
        limit: Offset,
        test: impl Fn(BatchView<'_>) -> bool,
    ) -> Result<Option<Bytes>, ReadError> {
        loop {
            let read = self.read(slot, from, limit, SCAN_READ_BYTES).await?;
            for chunk in &read.chunks {
                if let Some(batch) = find_batch(chunk, limit, &test) {
                    return Ok(Some(batch));
                }
            }
            if read.chunks.is_empty() {
                return Ok(None);
            }
            from = read.next;
        }
    }
}

impl ReadBatches {
    /// What `read` would have answered for less, where that begins in these batches; empty where it does not.
    #[must_use]
    pub fn part(&self, from: Offset, limit: Offset, bytes_max: usize) -> Self {
        let mut part = Self { next: from, ..Self::default() };
        for chunk in &self.chunks {
            let left = bytes_max.saturating_sub(part.bytes);
            let is_first = part.bytes == 0;
            let wanted = Wanted { from: part.next, limit, bytes_max: left, at_least_one: is_first };
            let (range, next) = select(chunk, wanted);
            if range.is_empty() {
                if is_first {
                    continue;
                }
                break;
            }
            let is_whole = range.end == chunk.len();
            part.next = next;
            push(&mut part, chunk.slice(range), self.has_native);
            if !is_whole {
                break;
            }
        }
        part
    }
}

/// What came from a device, up to the first batch that is not what was written: who reads on meets it then.
fn sound(mut read: ReadBatches) -> Result<ReadBatches, ReadError> {
    let mut bytes = 0;
    for index in 0..read.chunks.len() {
        let chunk = read.chunks[index].clone();
        let mut length = 0;
        for batch in batches(&chunk) {
            if !batch.crc_fits() {
                if bytes == 0 {
                    return Err(damaged(batch));
                }
                read.next = batch.base_offset();
                read.bytes = bytes;
                read.chunks.truncate(index);
                if length > 0 {
                    read.chunks.push(chunk.slice(..length));
                }
                return Ok(read);
            }
            length += batch.length_bytes();
            bytes += batch.length_bytes();
        }
    }
    assert_eq!(bytes, read.bytes, "whole batches were read");
    Ok(read)
}

fn check_crc(bytes: &[u8]) -> Result<(), ReadError> {
    match BatchView::first(bytes) {
        Some(batch) if !batch.crc_fits() => Err(damaged(batch)),
        _ => Ok(()),
    }
}

fn damaged(batch: BatchView<'_>) -> ReadError {
    let last = batch.end_offset().get() - 1;
    ReadError::Damaged { place: format!("the batch of offsets {} to {last}", batch.base_offset()) }
}

/// A batch, unless it ends past the limit.
fn found_within(batch: Bytes, limit: Offset) -> Option<Bytes> {
    let is_within = BatchView::first(&batch).is_some_and(|view| view.end_offset() <= limit);
    is_within.then_some(batch)
}

/// What the frames in memory have of what is wanted, from its beginning on.
fn cached<D: Disk>(state: &State<D>, slot: PartitionSlot, wanted: Wanted) -> Option<ReadBatches> {
    let partition = state.partition(slot)?;
    if wanted.from < partition.log_start {
        return None;
    }
    let limit = wanted.limit.min(partition.sealed_end);
    let mut read = ReadBatches { next: wanted.from, ..ReadBatches::default() };
    if wanted.from >= limit {
        return (wanted.from <= partition.appended_end).then_some(read);
    }
    if partition.runs.base().is_none_or(|base| base > wanted.from) || partition.is_compacted_at(wanted.from) {
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
            push(&mut read, bytes, run.has_native);
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
    push(read, run_bytes.slice(range), run.has_native);
    next == run.end
}

fn push(read: &mut ReadBatches, chunk: Bytes, has_native: bool) {
    read.has_native |= has_native;
    read.bytes += chunk.len();
    read.chunks.push(chunk);
}

impl<D: Disk> Shared<D> {
    /// Reads batches that are in the journal and not all in memory. `None` where they have moved to the segments.
    async fn read_journal(
        &self,
        slot: PartitionSlot,
        wanted: Wanted,
    ) -> Result<Option<ReadBatches>, ReadError> {
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
            let Some(bytes) = self.run_bytes(&run).await? else {
                return Ok((read.bytes > 0).then_some(read));
            };
            if !take(&mut read, &bytes, &run, Wanted { limit, ..wanted }) {
                break;
            }
        }
        Ok(Some(read))
    }

    /// The bytes of a run, from memory or from the journal. `None` where its frame is forgotten: it is destaged.
    async fn run_bytes(&self, run: &Run) -> Result<Option<Bytes>, ReadError> {
        let range = run.range();
        let (file, position) = {
            let state = self.state.borrow();
            let Some(frame) = state.tail.remembered(run.frame) else { return Ok(None) };
            if let Some(bytes) = state.tail.bytes(run.frame) {
                return Ok(Some(bytes.slice(range)));
            }
            (state.ring.pin(frame.location.file), frame.location.position + range.start as u64)
        };
        let bytes = file.read_at(position, range.len()).await?;
        let is_right = BatchView::first(&bytes).is_some_and(|batch| batch.base_offset() == run.base);
        if bytes.len() != range.len() || !is_right {
            return Err(ReadError::Damaged { place: format!("journal frame {}", run.frame) });
        }
        Ok(Some(bytes))
    }
}
