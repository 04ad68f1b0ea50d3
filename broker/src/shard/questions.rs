//! What a shard can say about its partitions: reads, watches, offsets, epochs, sizes.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use logic::fetch::Share;
use logic::producer::VerificationGuard;
use protocol::types::{Offset, PartitionKey, Timestamp};

use super::messages::{
    Answer, DeleteRecords, FindOffset, FoundOffset, Isolation, OffsetTarget, PartitionError, Question,
    ReadItem, ReadOutcome, Verification,
};
use super::partition::Partition;
use super::produce::ProduceRefusal;
use super::{Shard, Store};
use crate::limits::{CATCH_UP_PATIENCE, WATCH_SECONDS_MAX};
use crate::runtime::{Queue, Wait, join_all, run_in, sleep};

impl Shard {
    /// Answers a question about this shard's partitions.
    pub(super) async fn answer(self: &Rc<Self>, question: Question) -> Answer {
        match question {
            Question::Read { items, bytes_max } => Answer::Read(self.read_all(items, bytes_max).await),
            Question::Watch { seen, isolation, deadline } => {
                self.watch(&seen, isolation, deadline).await;
                Answer::Watched
            }
            Question::FindOffsets(items) => {
                let mut found = Vec::with_capacity(items.len());
                for item in items {
                    found.push(match self.partitions.get(item.key) {
                        Some(partition) => find_offset(partition, self.store.clone(), item).await,
                        None => Err(PartitionError::Unknown),
                    });
                }
                Answer::Offsets(found)
            }
            Question::EpochEnds(items) => {
                let end = |partition: Rc<Partition>, current, asked| {
                    partition.replica().epoch_end(current, asked).map_err(PartitionError::from)
                };
                let ends = items.into_iter().map(|item| {
                    let partition = self.partitions.get(item.key).ok_or(PartitionError::Unknown)?;
                    end(partition, item.current, item.asked)
                });
                Answer::EpochEnds(ends.collect())
            }
            Question::Sizes(keys) => {
                let size = |key| self.store.size_bytes(self.partitions.get(key)?.slot);
                Answer::Sizes(keys.into_iter().map(size).collect())
            }
            Question::Verifications(items) => {
                Answer::Verifications(items.into_iter().map(|item| self.verification(item)).collect())
            }
            Question::ForgetVerifications(places) => {
                for (key, producer) in &places {
                    if let Some(partition) = self.partitions.get(*key) {
                        partition.change_producers(|table| table.forget_verification(*producer));
                    }
                }
                Answer::Forgotten(places.len())
            }
            Question::Mark { marker, keys } => Answer::Marked(self.mark_all(marker, keys).await),
            Question::Producers(keys) => {
                let states = |key| {
                    let partition = self.partitions.get(key).ok_or(PartitionError::Unknown)?;
                    Ok(partition.producer_states())
                };
                Answer::Producers(keys.into_iter().map(states).collect())
            }
            Question::Transaction { key, request } => {
                Answer::Transaction(self.transactions.ask(self, key, request).await)
            }
            Question::CommitInTransaction { key, commit, guard } => {
                Answer::Group(self.groups.commit_in_transaction(self, key, commit, guard).await)
            }
            Question::Group { key, request } => Answer::Group(self.groups.ask(self, key, request).await),
            Question::DeleteRecords(wishes) => {
                // Side by side: what the journal takes in one frame costs one sync.
                Answer::LogStarts(join_all(wishes.into_iter().map(|wish| self.delete_records(wish))).await)
            }
        }
    }

    fn verification(&self, item: Verification) -> Result<Option<VerificationGuard>, ProduceRefusal> {
        let partition = self.partitions.get(item.key).ok_or(ProduceRefusal::Unknown)?;
        Ok(partition.verification(self.now(), &item.batch, item.bumps_epoch)?)
    }

    /// Lets a log begin later; the answer says where, once that is durable.
    async fn delete_records(&self, wish: DeleteRecords) -> Result<Offset, PartitionError> {
        let partition = self.partitions.get(wish.key).ok_or(PartitionError::Unknown)?;
        let start = partition.replica().check_delete_records(wish.below)?;
        self.store.set_log_start(partition.slot, start).await?;
        let begins = partition.replica().log_start();
        Ok(begins)
    }

    /// Reads from partitions of this shard without waiting; `None` where any of it needs the disk.
    pub fn read_all_now(&self, items: &[ReadItem], bytes_max: usize) -> Option<Vec<ReadOutcome>> {
        let mut share = Share::new(bytes_max);
        let mut outcomes = Vec::with_capacity(items.len());
        for item in items {
            let outcome = match self.partitions.get(item.key) {
                Some(partition) => partition.read_now(&self.store, limited(&share, *item))?,
                None => Err(PartitionError::Unknown),
            };
            outcomes.push(take(&mut share, item.bytes_max, outcome));
        }
        Some(outcomes)
    }

    async fn read_all(self: &Rc<Self>, items: Vec<ReadItem>, bytes_max: usize) -> Vec<ReadOutcome> {
        let mut share = Share::new(bytes_max);
        let mut outcomes = Vec::with_capacity(items.len());
        // A fetch from many partitions makes way for producers once, not at each of them.
        let patient_until = Instant::now() + CATCH_UP_PATIENCE;
        for item in items {
            let outcome = match self.partitions.get(item.key) {
                Some(partition) => partition.read(self, limited(&share, item), patient_until).await,
                None => Err(PartitionError::Unknown),
            };
            outcomes.push(take(&mut share, item.bytes_max, outcome));
        }
        outcomes
    }

    /// Waits until one of the partitions can be read further than was seen, or is gone, or until the deadline.
    pub async fn watch(&self, seen: &[(PartitionKey, Offset)], isolation: Isolation, deadline: Timestamp) {
        let watched: Vec<(Rc<Partition>, Offset)> =
            seen.iter().filter_map(|(key, end)| Some((self.partitions.get(*key)?, *end))).collect();
        let has_moved = || {
            let is_further =
                |(partition, end): &(Rc<Partition>, Offset)| partition.readable_end(isolation) > *end;
            watched.len() < seen.len() || watched.iter().any(is_further)
        };
        let _parked = self.fetches_parked.one_more();
        let left = u64::try_from(deadline.get() - self.now().get()).unwrap_or(0);
        let mut timer = pin!(sleep(Duration::from_millis(left.min(WATCH_SECONDS_MAX * 1_000))));
        loop {
            let mut waits: Vec<Wait<'_>> =
                watched.iter().map(|(partition, _)| partition.advanced.next()).collect();
            // What moved between the read and now, or is gone, is answered at once: the waits count from here on.
            if has_moved() {
                return;
            }
            let is_woken = poll_fn(|context| {
                if waits.iter_mut().any(|wait| wait.poll(context).is_ready()) {
                    return Poll::Ready(true);
                }
                timer.as_mut().poll(context).map(|()| false)
            })
            .await;
            // An open transaction may hold back what was committed by the log: then nothing is told yet. A partition that
            // goes is told of.
            let is_gone =
                |(partition, _): &(Rc<Partition>, Offset)| self.partitions.get(partition.key).is_none();
            if !is_woken || isolation == Isolation::Uncommitted || watched.iter().any(is_gone) {
                return;
            }
        }
    }
}

/// Finds an offset; a search through the log runs behind what producers wait for.
async fn find_offset(
    partition: Rc<Partition>,
    store: Store,
    item: FindOffset,
) -> Result<FoundOffset, PartitionError> {
    match item.target {
        OffsetTarget::Earliest | OffsetTarget::Latest => partition.find_offset(&store, item).await,
        OffsetTarget::MaxTimestamp | OffsetTarget::AtTime(_) => {
            run_in(Queue::CatchUp, async move { partition.find_offset(&store, item).await }).await
        }
    }
}

/// The read of a partition with as much as is left for it.
fn limited(share: &Share, item: ReadItem) -> ReadItem {
    ReadItem { bytes_max: share.limit(item.bytes_max), ..item }
}

/// Takes what was read into a share, or drops it where it is too much.
pub fn take(share: &mut Share, bytes_max: usize, mut outcome: ReadOutcome) -> ReadOutcome {
    if let Ok(done) = &mut outcome
        && !share.take(bytes_max, done.bytes)
    {
        done.chunks.clear();
        done.bytes = 0;
    }
    outcome
}
