//! The executor of one round. It reads and writes a piece at a time and lets others go first; what takes long in between is
//! done beside its thread. What it does takes effect group by group.

use std::sync::Arc;

use bytes::Bytes;
use protocol::batch::BatchIter;
use protocol::types::Offset;

use super::batch::{Cleaned, Opened, Rules, Standing, open, open_in_passing};
use super::keys::Keys;
use super::plan::{CompactionPlan, Group, plan_groups};
use super::transactions::{Marker, Transactions};
use super::{CompactionError, CompactionHost, CompactionOutcome};
use crate::disk::Disk;
use crate::limits::COMPACTION_READ_BYTES;
use crate::segment::{PartitionLog, Replacement, SegmentError};
use crate::wait::{Turnstile, yield_now};

/// What a round works with.
pub(crate) struct Round<'a, D: Disk, H> {
    pub(crate) log: &'a PartitionLog<D>,
    /// Whoever holds it is the only one who writes to the log.
    pub(crate) turn: &'a Turnstile,
    pub(crate) host: &'a H,
    /// Of the table of keys.
    pub(crate) memory_bytes: usize,
    /// What segments are closed at.
    pub(crate) segment_bytes: u64,
    /// What no segment may be longer than.
    pub(crate) segment_bytes_max: u64,
    pub(crate) delete_retention_ms: i64,
    /// Whether a restart will know no aborted transaction but those that the host knows when the round begins.
    pub(crate) forgets_durably: bool,
}

/// What was written of a group.
#[derive(Default)]
struct Written {
    /// Something is not as it was.
    is_changed: bool,
    /// Not all of what stays had room, so nothing of it counts.
    is_too_long: bool,
}

/// The table of keys, and how far it goes.
struct Map {
    keys: Keys,
    end: Offset,
    bytes: u64,
}

/// What became of a group.
enum GroupEnd {
    /// It has so many bytes now.
    Done(u64),
    /// What stays of it is too long for one segment: it is as it was.
    TooLong,
    /// The host wants the round to end, or the log was cut.
    Interrupted,
}

impl<D: Disk, H: CompactionHost> Round<'_, D, H> {
    pub(crate) async fn run(&self, plan: &CompactionPlan) -> Result<CompactionOutcome, CompactionError> {
        let from = plan.from.max(self.log.start());
        let mut outcome =
            CompactionOutcome { cleaned: from, is_interrupted: true, ..CompactionOutcome::default() };
        // Below this, reads go to segments alone; above it, memory and journal still have what segments had before.
        let served_compacted = self.log.cleaned_known();
        let Some(map) = self.fill(from, plan.end).await? else { return Ok(outcome) };
        outcome.dirty_bytes = map.bytes;
        outcome.keys = map.keys.count();
        outcome.has_more = map.end < plan.end;
        let mapped_end = map.end;
        let mut rules = Arc::new(Rules {
            keys: map.keys,
            mapped_end,
            now: self.host.now(),
            delete_retention_ms: self.delete_retention_ms,
            removes_tombstones: true,
        });
        let summaries = self.log.summaries().await.map_err(CompactionError::Read)?;
        let mut transactions = Transactions::new(self.host.aborted(self.log.start(), plan.end));
        for group in plan_groups(&summaries, mapped_end, plan.end, self.segment_bytes) {
            match self.clean_group(&group, &rules, &mut transactions).await? {
                GroupEnd::Done(bytes) => {
                    outcome.before_bytes += group.bytes;
                    outcome.after_bytes += bytes;
                }
                GroupEnd::TooLong => {
                    outcome.left_out.get_or_insert(group.base);
                    // It may have what a later tombstone deletes.
                    let rules = Arc::get_mut(&mut rules).expect("nothing is under way between two groups");
                    rules.removes_tombstones = false;
                }
                GroupEnd::Interrupted => return Ok(outcome),
            }
        }
        if outcome.left_out.is_none() {
            let _turn = self.turn.enter().await;
            self.log.set_cleaned(mapped_end).await.map_err(CompactionError::Write)?;
            outcome.cleaned = mapped_end;
        }
        let untold = transactions.without_batches_below(served_compacted);
        if !untold.is_empty() {
            self.host.forget_aborted(untold);
        }
        outcome.is_interrupted = false;
        Ok(outcome)
    }

    /// Fills the table from the dirty part, as far as it takes it. None where the round is to end.
    async fn fill(&self, from: Offset, end: Offset) -> Result<Option<Map>, CompactionError> {
        let keys_max = u64::try_from(end.since(from)).expect("a plan goes forward");
        let mut map = Map { keys: Keys::new(self.memory_bytes, keys_max), end, bytes: 0 };
        let mut transactions = Transactions::new(self.host.aborted(from, end));
        let mut reader = Reader { log: self.log, next: from, end };
        while let Some((batches, bytes)) = reader.read().await? {
            map.bytes += bytes;
            if !self.host.pace(bytes).await {
                return Ok(None);
            }
            for batch in batches {
                let opened = self.open(&batch).await?;
                let mut full_at = None;
                if counts(&opened, &mut transactions) {
                    (map, full_at) = self.add(map, opened, from).await?;
                }
                if let Some(full_at) = full_at {
                    assert!(full_at > from, "the table takes some keys at least");
                    map.end = full_at;
                    return Ok(Some(map));
                }
                yield_now().await;
            }
        }
        Ok(Some(map))
    }

    async fn clean_group(
        &self,
        group: &Group,
        rules: &Arc<Rules>,
        transactions: &mut Transactions,
    ) -> Result<GroupEnd, CompactionError> {
        let begun = self.log.begin_replacement(group.base, group.end).await;
        let mut replacement = begun.map_err(CompactionError::Write)?;
        let outcome = self.write_group(group, rules, transactions, &mut replacement).await;
        let is_changed = match outcome {
            Ok(Some(Written { is_changed, is_too_long: false })) => is_changed,
            Ok(Some(Written { is_too_long: true, .. })) => {
                self.abandon(group).await?;
                return Ok(GroupEnd::TooLong);
            }
            Ok(None) => {
                self.abandon(group).await?;
                return Ok(GroupEnd::Interrupted);
            }
            Err(error) => {
                self.abandon(group).await?;
                return Err(error);
            }
        };
        let bytes = replacement.size_bytes();
        if !is_changed && group.segments == 1 {
            self.abandon(group).await?;
            return Ok(GroupEnd::Done(bytes));
        }
        let ready = match replacement.finish().await {
            Ok(ready) => ready,
            Err(error) => {
                self.abandon(group).await?;
                return Err(CompactionError::Write(error));
            }
        };
        let _turn = self.turn.enter().await;
        let is_done = ready.commit().await.map_err(CompactionError::Commit)?;
        Ok(if is_done { GroupEnd::Done(bytes) } else { GroupEnd::Interrupted })
    }

    async fn abandon(&self, group: &Group) -> Result<(), CompactionError> {
        self.log.abandon_replacement(group.base).await.map_err(CompactionError::Write)
    }

    /// Writes what stays of a group, and goes through all of it in any case: transactions may end in it. None where the round
    /// is to end.
    async fn write_group(
        &self,
        group: &Group,
        rules: &Arc<Rules>,
        transactions: &mut Transactions,
        replacement: &mut Replacement<'_, D>,
    ) -> Result<Option<Written>, CompactionError> {
        let mut reader = Reader { log: self.log, next: group.base, end: group.end };
        let mut written = Written::default();
        // One batch is held back: the last one stays.
        let mut held: Option<Bytes> = None;
        while let Some((batches, bytes)) = reader.read().await? {
            let before = replacement.size_bytes();
            for batch in batches {
                if let Some(batch) = held.replace(batch) {
                    let kept = self.clean_batch(batch, false, rules, transactions, &mut written).await?;
                    self.write_batch(kept, replacement, &mut written).await?;
                    yield_now().await;
                }
            }
            if !self.host.pace(bytes + replacement.size_bytes() - before).await {
                return Ok(None);
            }
        }
        // Cut away since the round was planned.
        let Some(last) = held else { return Ok(None) };
        let before = replacement.size_bytes();
        let kept = self.clean_batch(last, true, rules, transactions, &mut written).await?;
        self.write_batch(kept, replacement, &mut written).await?;
        let goes_on = self.host.pace(replacement.size_bytes() - before).await;
        Ok(goes_on.then_some(written))
    }

    /// What stays of a batch.
    async fn clean_batch(
        &self,
        batch: Bytes,
        is_last: bool,
        rules: &Arc<Rules>,
        transactions: &mut Transactions,
        written: &mut Written,
    ) -> Result<Option<Bytes>, CompactionError> {
        let opened = self.open(&batch).await?;
        let header = opened.header();
        let is_producers_last = header.producer_id().get() >= 0 && self.host.is_last_of_producer(header);
        let mut standing = Standing { must_stay: is_last || is_producers_last, ..Standing::default() };
        if header.is_control() {
            let marker = transactions.marker(header, opened.marker());
            standing.is_over = marker != Marker::Needed;
            standing.is_held = marker == Marker::Told || !self.forgets_durably;
        } else {
            standing.is_over = transactions.is_aborted(header);
        }
        let cleaned = if opened.is_little() {
            opened.clean(standing, rules)
        } else {
            let rules = Arc::clone(rules);
            self.host.beside(move || opened.clean(standing, &rules)).await
        };
        let cleaned = cleaned.map_err(|reason| damaged(&batch, reason))?;
        written.is_changed |= cleaned != Cleaned::Same;
        Ok(match cleaned {
            // A small batch must not hold on to all that was read with it.
            Cleaned::Same if batch.len() < COMPACTION_READ_BYTES / 4 => Some(Bytes::copy_from_slice(&batch)),
            Cleaned::Same => Some(batch),
            Cleaned::Changed(changed) => Some(changed),
            Cleaned::Gone => None,
        })
    }

    async fn write_batch(
        &self,
        kept: Option<Bytes>,
        replacement: &mut Replacement<'_, D>,
        written: &mut Written,
    ) -> Result<(), CompactionError> {
        let Some(kept) = kept else { return Ok(()) };
        let bytes = replacement.size_bytes() + kept.len() as u64;
        written.is_too_long |= bytes > self.segment_bytes_max;
        if written.is_too_long {
            return Ok(());
        }
        replacement.push(kept).await.map_err(CompactionError::Write)
    }
}

impl<D: Disk, H: CompactionHost> Round<'_, D, H> {
    async fn open(&self, batch: &Bytes) -> Result<Opened, CompactionError> {
        let opened = match open_in_passing(batch) {
            Some(opened) => opened,
            None => {
                let batch = batch.clone();
                self.host.beside(move || open(&batch)).await
            }
        };
        opened.map_err(|reason| damaged(batch, reason))
    }

    /// See [`Map::add`].
    async fn add(
        &self,
        mut map: Map,
        opened: Opened,
        from: Offset,
    ) -> Result<(Map, Option<Offset>), CompactionError> {
        let (map, full_at) = if opened.is_little() {
            let full_at = map.add(&opened, from);
            (map, full_at)
        } else {
            let add = move || {
                let full_at = map.add(&opened, from);
                (map, full_at)
            };
            self.host.beside(add).await
        };
        Ok((map, full_at?))
    }
}

/// Whether the keys of a batch count: those of an aborted one don't, and a marker has none.
fn counts(opened: &Opened, transactions: &mut Transactions) -> bool {
    let header = opened.header();
    if header.is_control() {
        transactions.marker(header, opened.marker());
        return false;
    }
    !transactions.is_aborted(header)
}

impl Map {
    /// Notes the keys of a batch from an offset on: what lies before was noted by an earlier round, and the table is not
    /// made for it. Where the table is full: the offset of the first record that is not in it.
    fn add(&mut self, opened: &Opened, from: Offset) -> Result<Option<Offset>, CompactionError> {
        for record in opened.keyed() {
            let (offset, key) = record.map_err(|reason| CompactionError::Damaged {
                offset: opened.header().base_offset(),
                reason,
            })?;
            if offset >= from && self.keys.put(key, offset).is_err() {
                return Ok(Some(offset));
            }
        }
        Ok(None)
    }
}

fn damaged(batch: &Bytes, reason: String) -> CompactionError {
    let offset =
        protocol::batch::BatchHeader::from_prefix(batch).map_or(Offset(-1), |header| header.base_offset());
    CompactionError::Damaged { offset, reason }
}

/// Reads batches in order, a piece at a time.
struct Reader<'a, D: Disk> {
    log: &'a PartitionLog<D>,
    next: Offset,
    end: Offset,
}

impl<D: Disk> Reader<'_, D> {
    /// Some batches, one by one, and their length; none at the end, or where the log was cut.
    async fn read(&mut self) -> Result<Option<(Vec<Bytes>, u64)>, CompactionError> {
        let read = match self.log.read(self.next, self.end, COMPACTION_READ_BYTES).await {
            Err(SegmentError::OutOfRange { .. }) => return Ok(None),
            read => read.map_err(CompactionError::Read)?,
        };
        if read.chunks.is_empty() {
            return Ok(None);
        }
        self.next = read.next;
        let mut batches = Vec::new();
        for chunk in read.chunks {
            let mut rest = chunk;
            while let Some(batch) = BatchIter::new(&rest).next() {
                let length = match batch {
                    Ok(batch) => batch.bytes().len(),
                    Err(error) => return Err(damaged(&rest, error.to_string())),
                };
                batches.push(rest.split_to(length));
            }
        }
        let bytes = u64::try_from(read.bytes).expect("usize has at most 64 bits");
        Ok(Some((batches, bytes)))
    }
}
