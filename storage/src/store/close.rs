//! A clean stop: everything synced, destaged, and said so in a checkpoint.

use super::destage::Reach;
use super::errors::{StoreError, StoreFailure};
use super::types::PartitionSlot;
use super::{ShardStore, Shared};
use crate::disk::Disk;
use crate::segment::close_logs;

impl<D: Disk> ShardStore<D> {
    /// Stops taking appends, and returns when all that was appended is on stable media and in its segment. The pump
    /// must be running, and ends by itself.
    ///
    /// # Errors
    /// [`StoreError::DiskFull`] or [`StoreError::OutOfFiles`] where not everything could be destaged: it is in the
    /// journal, and nothing is lost.
    /// [`StoreError::Failed`] where what was appended may be lost.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.flush().await?;
        while self.shared.round(Reach::All).await?.has_more {}
        let _turn = self.shared.destaging.enter().await;
        self.shared.close_segments().await?;
        self.shared.take_last_snapshots().await;
        let replay_from = self.shared.state.borrow().replay_from;
        self.shared.checkpoint(replay_from).await?;
        Ok(())
    }

    /// Stops taking appends, and returns when all that was appended is on stable media.
    async fn flush(&self) -> Result<(), StoreError> {
        self.shared.state.borrow_mut().is_closing = true;
        self.shared.writer_wanted.notify();
        loop {
            let changed = self.shared.synced.changed();
            self.shared.check_failure()?;
            {
                let state = self.shared.state.borrow();
                if state.collector.is_empty() && state.window.is_idle() {
                    break;
                }
            }
            // The journal may be out of room: destaging makes some.
            let is_stalled = self.shared.state.borrow().is_stalled;
            if is_stalled {
                self.shared.round(Reach::All).await?;
            } else {
                changed.await;
            }
        }
        // The pump looks whether it is done.
        self.shared.writer_wanted.notify();
        Ok(())
    }
}

impl<D: Disk> Shared<D> {
    /// Leaves the segments' files as Kafka does when it stops.
    async fn close_segments(&self) -> Result<(), StoreError> {
        let (slots, concurrent_max) = {
            let state = self.state.borrow();
            let count = u32::try_from(state.partitions.len()).expect("slots");
            let slots: Vec<_> = (0..count).map(PartitionSlot).collect();
            let is_touched =
                |slot: &PartitionSlot| state.partition(*slot).is_some_and(|found| found.is_touched);
            let touched: Vec<_> = slots.into_iter().filter(is_touched).collect();
            (touched, state.options.destage_concurrent_max)
        };
        let all: Vec<_> = slots.into_iter().filter_map(|slot| self.segments(slot)).collect();
        let mut turns = Vec::with_capacity(all.len());
        for segments in &all {
            turns.push(segments.turn.enter().await);
        }
        let logs: Vec<_> = all.iter().map(|segments| &segments.log).collect();
        close_logs(&self.disk, &logs, concurrent_max).await.map_err(|error| {
            if let Some(StoreError::OutOfFiles) = error.io().and_then(StoreError::passing) {
                return StoreError::OutOfFiles;
            }
            let failure = StoreFailure { what: "closing segments".to_owned(), reason: error.to_string() };
            self.fail(failure.clone());
            StoreError::Failed(failure)
        })
    }

    /// Everything is destaged, so the producers' state as it is now can be used.
    async fn take_last_snapshots(&self) {
        let slots: Vec<_> = {
            let mut state = self.state.borrow_mut();
            let touched = state.partitions.iter_mut().flatten().filter(|found| found.is_touched);
            touched.for_each(|partition| partition.producers_next = None);
            (0..u32::try_from(state.partitions.len()).expect("slots")).map(PartitionSlot).collect()
        };
        let is_touched = |slot: &PartitionSlot| {
            self.state.borrow().partition(*slot).is_some_and(|partition| partition.is_touched)
        };
        for slot in slots.into_iter().filter(is_touched).collect::<Vec<_>>() {
            self.take_producer_snapshot(slot).await;
        }
    }
}
