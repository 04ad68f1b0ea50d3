//! Answers to what the journal has synced.
//!
//! To answer all that was in a frame takes a shard longer than to seal the next one. So the next one, where there is one, goes
//! to the device first, and the device works while the shard answers.

use std::cell::RefCell;
use std::rc::Rc;

use protocol::types::Offset;

use super::Shard;
use super::partition::Partition;
use crate::runtime::{Signal, Submission};

/// The partitions in which something was synced since the last answers: at most those of the frames that were under way.
#[derive(Default)]
pub struct DueAnswers {
    synced: RefCell<Vec<(Rc<Partition>, Offset)>>,
    added: Signal,
}

impl DueAnswers {
    /// The batches of a partition below `end` are on stable media, and its replica knows.
    pub fn add(&self, partition: Rc<Partition>, end: Offset) {
        self.synced.borrow_mut().push((partition, end));
        self.added.raise();
    }

    /// What was added; waits until there is something.
    async fn take(&self) -> Vec<(Rc<Partition>, Offset)> {
        let added = self.added.next();
        if self.synced.borrow().is_empty() {
            added.wait().await;
        }
        self.synced.take()
    }
}

/// Answers as long as the shard lives.
pub async fn answer(shard: Rc<Shard>, submission: Submission) {
    loop {
        let synced = shard.due.take().await;
        let journal = shard.store.stats();
        if journal.sealed_below > journal.synced_below {
            submission.wait().await.expect("the ring takes what it is asked");
        }
        for (partition, end) in synced {
            shard.answer_due(&partition);
            partition.note_synced(end);
        }
    }
}
