//! Keeping a full disk serving, where the operator chose so: the oldest segments of partitions that may give some go before
//! produces have to be refused.
//!
//! A store frees of its own partitions only. What it goes by is the disk that all shards share, less what its own journal has yet
//! to put there: it begins early enough for the others to do so too. As with retention, the log's start is durable before a
//! segment goes, and nothing goes that is not committed and in segments.

use protocol::types::{Offset, Timestamp};

use super::ShardStore;
use super::errors::StoreError;
use super::types::{PartitionSlot, Retained};
use crate::disk::Disk;
use crate::limits::STEPS_BETWEEN_YIELDS;
use crate::segment::{RoomGiver, plan_room};
use crate::wait::yield_now;

impl<D: Disk> ShardStore<D> {
    /// Waits until there is less room than is kept for what is produced; for ever where none is kept.
    pub async fn room_wanted(&self) {
        loop {
            let changed = self.shared.room_wanted.changed();
            if self.shared.state.borrow().is_room_wanted() {
                return;
            }
            changed.await;
        }
    }

    /// Deletes the oldest segments until there is twice the room that is kept, or nothing more may go. Where something goes,
    /// producers that find no room wait for the next time; otherwise they are refused.
    /// `committed_end` says up to where a partition's records are committed.
    ///
    /// # Errors
    /// [`StoreError::Failed`], or what the disk says when it is asked for its free space.
    pub async fn make_room(
        &self,
        now: Timestamp,
        committed_end: impl Fn(PartitionSlot) -> Offset,
    ) -> Result<Vec<Retained>, StoreError> {
        let _turn = self.shared.retaining.enter().await;
        let made = self.delete_for_room(now, committed_end).await;
        let mut state = self.shared.state.borrow_mut();
        state.is_making_room = match &made {
            Ok(moved) => !moved.is_empty() || !state.is_room_wanted(),
            Err(_) => false,
        };
        made
    }

    async fn delete_for_room(
        &self,
        now: Timestamp,
        committed_end: impl Fn(PartitionSlot) -> Offset,
    ) -> Result<Vec<Retained>, StoreError> {
        self.shared.measure_room().await?;
        let wanted_bytes = {
            let state = self.shared.state.borrow();
            if !state.is_room_wanted() {
                return Ok(Vec::new());
            }
            state.room_goal_bytes()
        };
        let givers = self.room_givers(committed_end).await?;
        let mut all = Vec::new();
        for (slot, plan) in plan_room(&givers, now, wanted_bytes) {
            let segments = givers.iter().find(|giver| giver.key == slot).expect("planned from it");
            match self.drop_oldest(slot, plan, &segments.segments).await {
                // Deleted meanwhile.
                Err(StoreError::Gone) => {}
                retained => all.push(retained?),
            }
        }
        self.shared.measure_room().await?;
        Ok(all)
    }

    /// The partitions that may give segments. One whose segments can't be looked at gives none; the others do.
    async fn room_givers(
        &self,
        committed_end: impl Fn(PartitionSlot) -> Offset,
    ) -> Result<Vec<RoomGiver<PartitionSlot>>, StoreError> {
        let count = self.shared.state.borrow().partitions.len();
        let mut givers = Vec::new();
        for index in 0..count {
            if index % STEPS_BETWEEN_YIELDS == STEPS_BETWEEN_YIELDS - 1 {
                yield_now().await;
            }
            let slot = PartitionSlot(u32::try_from(index).expect("a slot"));
            let Some((config, log_start)) =
                self.of(slot, |partition| (partition.config, partition.log_start))
            else {
                continue;
            };
            let Some(segments) = self.shared.segments(slot).filter(|_| config.gives_room) else { continue };
            if segments.log.size_bytes() == 0 {
                continue;
            }
            let committed_end = committed_end(slot).min(segments.log.end());
            let Ok(summaries) = segments.log.summaries().await else { continue };
            givers.push(RoomGiver { key: slot, segments: summaries, log_start, committed_end, config });
        }
        self.shared.check_failure()?;
        Ok(givers)
    }
}
