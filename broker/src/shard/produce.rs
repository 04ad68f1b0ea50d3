//! Produce requests under way: one call collects the outcomes of all its partitions, on whichever shards they are.
//!
//! A call completes when its last outcome is known; then the client is answered, or the shard that asked. Appending
//! is synchronous: what arrives in order is appended in order. Only the outcome waits.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use logic::producer::ProducerError;
use logic::replica::ReplicaError;
use protocol::types::{Offset, Timestamp};
use storage::store::StoreError;

use super::messages::{CallId, ProduceOutcome, ProduceOutcomes};
use super::prepare::BatchRefusal;

/// Where the batches of one partition were appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// The offset of the first record.
    pub base_offset: Offset,
    /// The time that the broker put on the records, where the topic wants that.
    pub append_time: Option<Timestamp>,
    /// The first offset of the log.
    pub log_start: Offset,
}

/// Why batches were not appended, or not known to be committed in time.
#[derive(Debug, thiserror::Error)]
pub enum ProduceRefusal {
    /// The shard has no such partition (any more, or yet).
    #[error("the partition is not here")]
    Unknown,
    /// The replica refuses.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// A batch breaks a rule.
    #[error(transparent)]
    Batch(#[from] BatchRefusal),
    /// The producer's epoch or sequence doesn't fit.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// The store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no room to store it.
    #[error("the disk is full")]
    DiskFull,
    /// Appended, but not committed in time.
    #[error("not committed within the request's timeout")]
    TimedOut,
}

/// Who hears of a completed call.
pub enum Listener {
    /// The client, by way of its request.
    Client(Box<dyn FnOnce(ProduceOutcomes)>),
    /// The shard that asked.
    Shard {
        /// Its index.
        from: usize,
        /// Its name for the call.
        call: CallId,
    },
}

/// A produce under way.
pub struct ProduceCall {
    open: Cell<usize>,
    outcomes: RefCell<ProduceOutcomes>,
    listener: Cell<Option<Listener>>,
}

/// What remains to be known of one partition's batches: it waits in the partition until they are committed.
pub struct Pending {
    /// The call it belongs to.
    pub call: Rc<ProduceCall>,
    /// Where in the request it stood.
    pub place: u32,
    /// What to say if all goes well.
    pub produced: Produced,
    /// When it was appended.
    pub appended: Instant,
}

impl ProduceCall {
    /// A call that completes after `count` outcomes.
    #[must_use]
    pub fn new(count: usize, listener: Listener) -> Rc<Self> {
        assert!(count > 0, "a call without partitions is answered at once");
        Rc::new(Self {
            open: Cell::new(count),
            outcomes: RefCell::new(ProduceOutcomes::with_capacity(count)),
            listener: Cell::new(Some(listener)),
        })
    }

    /// Notes an outcome; after the last one, returns all of them and who is to hear them.
    #[must_use]
    pub fn note(&self, outcome: ProduceOutcome) -> Option<(Listener, ProduceOutcomes)> {
        self.outcomes.borrow_mut().push(outcome);
        let open = self.open.get().checked_sub(1).expect("no more outcomes than partitions");
        self.open.set(open);
        if open > 0 {
            return None;
        }
        let listener = self.listener.take().expect("a call completes once");
        Some((listener, self.outcomes.take()))
    }
}
