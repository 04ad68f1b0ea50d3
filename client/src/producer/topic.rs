//! A topic as a producer sees it: its partitions' queues, and where a record without a partition goes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use protocol::types::{BrokerId, PartitionIndex, ProducerEpoch, ProducerId, TopicId};

use super::Record;
use super::queue::{Queue, QueueLimits};
use crate::cluster::{Cluster, Topic};
use crate::error::ProduceError;
use crate::partitioner::{Sticky, partition_of_key};

/// A topic to send to, through the producer that it was asked of. Cheap to clone; keep it for as long as records go there.
#[derive(Clone)]
pub struct ProducerTopic {
    pub(super) state: Rc<TopicState>,
}

impl ProducerTopic {
    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// How many partitions it has, as far as the client knows.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.state.count.get()
    }
}

/// What all handles of a topic share.
pub(super) struct TopicState {
    pub name: Rc<str>,
    partitions: RefCell<Vec<Rc<PartitionState>>>,
    /// How many partitions there are now.
    count: Cell<usize>,
    /// Partitions with a leader, or all where none has one.
    candidates: RefCell<Vec<PartitionIndex>>,
    sticky: RefCell<Sticky>,
    id: Cell<TopicId>,
    /// The snapshot that this was read from.
    generation: Cell<u64>,
    limits: QueueLimits,
    pub identity: SharedIdentity,
    epochs_are_given: bool,
}

/// Who the producer is now: in transactions, the coordinator says so anew from time to time.
pub(super) type SharedIdentity = Rc<Cell<Option<(ProducerId, ProducerEpoch)>>>;

/// A partition as its producer sees it.
pub(super) struct PartitionState {
    pub topic: Rc<TopicState>,
    pub index: PartitionIndex,
    pub queue: RefCell<Queue>,
    /// The last transaction that it was added to, by the producer's count.
    pub joined: Cell<u64>,
    leader: Cell<Option<BrokerId>>,
}

impl TopicState {
    pub(super) fn new(
        cluster: &Cluster,
        topic: &Topic,
        limits: QueueLimits,
        identity: &SharedIdentity,
        epochs_are_given: bool,
    ) -> Rc<Self> {
        let state = Rc::new(Self {
            name: Rc::clone(&topic.name),
            partitions: RefCell::default(),
            count: Cell::default(),
            candidates: RefCell::default(),
            sticky: RefCell::new(Sticky::new()),
            id: Cell::new(topic.id),
            generation: Cell::new(cluster.generation()),
            limits,
            identity: Rc::clone(identity),
            epochs_are_given,
        });
        state.take(topic);
        state
    }

    /// Looks whether the cluster has changed.
    pub(super) fn follow(self: &Rc<Self>, cluster: &Cluster) {
        if self.generation.replace(cluster.generation()) == cluster.generation() {
            return;
        }
        match cluster.known(&self.name) {
            Some(topic) => self.take(&topic),
            None => cluster.want(&self.name),
        }
    }

    fn take(self: &Rc<Self>, topic: &Topic) {
        self.id.set(topic.id);
        let mut partitions = self.partitions.borrow_mut();
        for described in &topic.partitions[partitions.len().min(topic.partitions.len())..] {
            partitions.push(Rc::new(PartitionState {
                topic: Rc::clone(self),
                index: described.index,
                queue: RefCell::new(match self.epochs_are_given {
                    true => Queue::in_transactions(self.limits, self.identity.get()),
                    false => Queue::new(self.limits, self.identity.get()),
                }),
                joined: Cell::new(0),
                leader: Cell::new(None),
            }));
        }
        // A topic that was made anew may have fewer: nobody leads those that are gone.
        for (place, partition) in partitions.iter().enumerate() {
            partition.leader.set(topic.partitions.get(place).and_then(|described| described.leader));
        }
        self.count.set(topic.partitions.len());
        let led = topic.partitions.iter().filter(|partition| partition.leader.is_some());
        let mut candidates: Vec<PartitionIndex> = led.map(|partition| partition.index).collect();
        if candidates.is_empty() {
            candidates = topic.partitions.iter().map(|partition| partition.index).collect();
        }
        self.candidates.replace(candidates);
    }

    /// The partitions that were ever seen.
    pub(super) fn partitions(&self) -> Vec<Rc<PartitionState>> {
        self.partitions.borrow().clone()
    }

    /// Lets go of the partitions, which hold on to this topic.
    pub(super) fn forget_partitions(&self) -> Vec<Rc<PartitionState>> {
        self.partitions.take()
    }

    pub(super) fn id(&self) -> TopicId {
        self.id.get()
    }

    /// The partition that a record goes to.
    pub(super) fn partition_for(
        &self,
        record: &Record<'_>,
        bytes: usize,
    ) -> Result<Rc<PartitionState>, ProduceError> {
        let (partitions, count) = (self.partitions.borrow(), self.count.get());
        let index = match (record.partition, record.key) {
            (Some(index), _) => index,
            (None, _) if count == 0 => PartitionIndex(0),
            (None, Some(key)) => partition_of_key(key, count),
            (None, None) => {
                let mut sticky = self.sticky.borrow_mut();
                sticky.next(&self.candidates.borrow(), bytes, self.limits.batch_bytes_max)
            }
        };
        let place = usize::try_from(index.0).ok().filter(|place| *place < count);
        let found = place.and_then(|place| partitions.get(place));
        found.cloned().ok_or(ProduceError::UnknownPartition(index))
    }
}

impl PartitionState {
    /// The partition's leader as the cluster knows it now.
    pub(super) fn leader(&self, cluster: &Cluster) -> Option<BrokerId> {
        self.topic.follow(cluster);
        self.leader.get()
    }
}
