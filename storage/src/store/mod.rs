//! The store of one shard: its journal, its tail in memory, its partitions' segments, behind one face.
//!
//! - An append is remembered at once and copied once, when its frame is sealed; then it can be read. It is synced when
//!   its frame and all frames before it are on stable media ([`StoreListener`]).
//! - What is read comes from memory, from the journal (neither in memory nor destaged), or from segments.
//! - A handle is cheap to clone; all of it lives on its shard's thread, without locks.
//!
//! The store knows no clock, no executor and no other shard. It must not know what a record is, who leads, or what
//! is committed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use protocol::types::{LeaderEpoch, Offset, PartitionKey};

use crate::disk::Disk;
use crate::journal::FrameSequence;
use crate::journal::frame::Mark;
use crate::segment::OpenFiles;
use crate::wait::{Notify, Turnstile};

mod close;
mod compact;
mod destage;
pub(crate) mod errors;
mod layout;
mod observe;
pub(crate) mod open;
mod partitions;
mod pump;
mod read;
mod room;
pub(crate) mod state;
#[cfg(test)]
pub(crate) mod testing;
mod types;

#[cfg(test)]
mod compact_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod destage_tests;
#[cfg(test)]
mod layout_tests;
#[cfg(test)]
mod marker_tests;
#[cfg(test)]
mod room_tests;
#[cfg(test)]
mod stall_tests;
#[cfg(test)]
mod tests;

pub use crate::checkpoint::EpochStart;
pub use crate::compaction::{CompactionConfig, CompactionHost, CompactionOutcome, CompactionPlan};
pub use crate::journal::FrameSequence as JournalSequence;
pub use crate::journal::replay::LostFrames;
pub use crate::segment::{LogConfig, ReadBatches};
pub use errors::{OpenError, ReadError, StoreError, StoreFailure};
pub use layout::{change_shard_count, remove_other_layouts, retire_strangers};
pub use types::{
    Admission, BatchAppend, Damage, DestageOutcome, DestagePause, LostRecords, PartitionSlot, PartitionSpec,
    Recovered, RecoveredPartition, RecoveryObserver, Retained, StoreListener, StoreOptions, StoreStats,
    SyncMethod, TakenSnapshot,
};

use state::{Partition, State};

/// A handle on the store of one shard.
#[derive(Clone)]
pub struct ShardStore<D: Disk> {
    shared: Rc<Shared<D>>,
}

struct Shared<D: Disk> {
    disk: D,
    state: RefCell<State<D>>,
    listener: RefCell<Option<Rc<dyn StoreListener>>>,
    /// Something waits for a frame, or for room.
    writer_wanted: Notify,
    /// The synced prefix moved, or never will again.
    synced: Notify,
    has_writer: Cell<bool>,
    /// The open files of segments.
    files: OpenFiles<D>,
    /// One round of destaging at a time.
    destaging: Turnstile,
    /// One round of retention, or of making room, at a time.
    retaining: Turnstile,
    /// There is less room than is kept.
    room_wanted: Notify,
}

impl<D: Disk> Shared<D> {
    fn listener(&self) -> Option<Rc<dyn StoreListener>> {
        self.listener.borrow().clone()
    }
}

impl<D: Disk> ShardStore<D> {
    /// Says who hears what becomes of appends.
    pub fn set_listener(&self, listener: Rc<dyn StoreListener>) {
        *self.shared.listener.borrow_mut() = Some(listener);
    }

    /// The slot of a partition.
    #[must_use]
    pub fn slot(&self, key: PartitionKey) -> Option<PartitionSlot> {
        self.shared.state.borrow().by_key.get(&key).copied()
    }

    /// Changes how a partition's log is kept, from the next segment on.
    pub fn update_config(&self, slot: PartitionSlot, config: LogConfig) {
        if let Some(partition) = self.shared.state.borrow_mut().partition_mut(slot) {
            partition.config = config;
            partition.segments.log.set_config(config);
        }
    }

    /// Appends batches: at once, in memory. They can be read when the listener hears `sealed`, and survive when it
    /// hears `synced`.
    ///
    /// # Errors
    /// Nothing is appended then.
    ///
    /// # Panics
    /// If the records are not whole batches, or do not begin at the partition's end.
    pub fn append(&self, slot: PartitionSlot, append: BatchAppend) -> Result<(), StoreError> {
        let (wants_seal, wants_room) = {
            let mut state = self.shared.state.borrow_mut();
            state.append(slot, append)?;
            (state.wants_seal(), state.is_room_wanted())
        };
        if wants_seal {
            self.shared.writer_wanted.notify();
        }
        if wants_room {
            self.shared.room_wanted.notify();
        }
        Ok(())
    }

    /// The offset behind the last record appended.
    #[must_use]
    pub fn end_offset(&self, slot: PartitionSlot) -> Option<Offset> {
        self.of(slot, |partition| partition.appended_end)
    }

    /// The offset behind the last record that can be read.
    #[must_use]
    pub fn sealed_end(&self, slot: PartitionSlot) -> Option<Offset> {
        self.of(slot, |partition| partition.sealed_end)
    }

    /// The offset behind the last record on stable media.
    #[must_use]
    pub fn synced_end(&self, slot: PartitionSlot) -> Option<Offset> {
        self.of(slot, |partition| partition.synced_end)
    }

    /// The first offset of the log.
    #[must_use]
    pub fn log_start(&self, slot: PartitionSlot) -> Option<Offset> {
        self.of(slot, |partition| partition.log_start)
    }

    fn of<T>(&self, slot: PartitionSlot, what: impl FnOnce(&Partition<D>) -> T) -> Option<T> {
        self.shared.state.borrow().partition(slot).map(what)
    }

    /// The largest epoch that is not above `epoch`, and the offset where it ends (KIP-101); `None` where all known
    /// epochs are above.
    #[must_use]
    pub fn epoch_end(&self, slot: PartitionSlot, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let state = self.shared.state.borrow();
        let partition = state.partition(slot)?;
        let behind = partition.epochs.partition_point(|entry| entry.epoch <= epoch);
        let found = partition.epochs.get(behind.checked_sub(1)?)?;
        let end = partition.epochs.get(behind).map_or(partition.appended_end, |next| next.start);
        Some((found.epoch, end))
    }

    /// The leaderships that the log knows, oldest first.
    #[must_use]
    pub fn epochs(&self, slot: PartitionSlot) -> Vec<EpochStart> {
        self.of(slot, |partition| partition.epochs.clone()).unwrap_or_default()
    }

    /// Puts an entry other than a batch on stable media. No checkpoint goes beyond it until the guard is dropped,
    /// which is when its effect is in the state.
    async fn mark(&self, slot: PartitionSlot, mark: Mark) -> Result<MarkGuard<'_, D>, StoreError> {
        let guard = self.append_mark(slot, mark)?;
        self.wait_synced(guard.sequence).await?;
        Ok(guard)
    }

    /// Adds an entry to the next frame, without waiting for it.
    fn append_mark(&self, slot: PartitionSlot, mark: Mark) -> Result<MarkGuard<'_, D>, StoreError> {
        let sequence = self.shared.state.borrow_mut().append_mark(slot, mark)?;
        self.shared.writer_wanted.notify();
        Ok(MarkGuard { shared: &self.shared, sequence })
    }

    /// Waits until a frame is on stable media.
    async fn wait_synced(&self, sequence: FrameSequence) -> Result<(), StoreError> {
        loop {
            let changed = self.shared.synced.changed();
            {
                let state = self.shared.state.borrow();
                if state.window.synced_below() > sequence {
                    return Ok(());
                }
                if let Some(failure) = &state.failure {
                    return Err(StoreError::Failed(failure.clone()));
                }
            }
            changed.await;
        }
    }

    /// Numbers to watch.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let state = self.shared.state.borrow();
        let (journal_used_bytes, journal_bytes_max) = state.ring.occupancy();
        StoreStats {
            pending_bytes: state.collector.pending_bytes(),
            tail_cached_bytes: state.tail.cached_bytes(),
            journal_used_bytes,
            journal_bytes_max,
            sealed_below: state.window.next(),
            synced_below: state.window.synced_below(),
            destaged_below: state.tail.destaged_below(),
            ..state.stats
        }
    }
}

/// Held while an entry is in the journal and its effect not in the state.
struct MarkGuard<'a, D: Disk> {
    shared: &'a Shared<D>,
    sequence: FrameSequence,
}

impl<D: Disk> Drop for MarkGuard<'_, D> {
    fn drop(&mut self) {
        let marks = &mut self.shared.state.borrow_mut().marks;
        let index =
            marks.iter().rposition(|mark| *mark == self.sequence).expect("noted when it was appended");
        marks.swap_remove(index);
    }
}
