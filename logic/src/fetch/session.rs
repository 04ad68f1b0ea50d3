//! One fetch session: its partitions in the order in which they are served, and what the client was last told of each.
//!
//! Invariants: each partition is in the list and in the index once; topics without partitions stay listed until the
//! session ends, which their number bounds.

use protocol::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use std::collections::BTreeMap;
use std::sync::Arc;

const NO_PLACE: u32 = u32::MAX;

/// What is remembered when the client has been told nothing, or an error: everything is news.
const NOT_TOLD: Offset = Offset(-1);

/// A topic as a request names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKey<'a> {
    /// By name, up to version 12.
    Name(&'a str),
    /// By id, from version 13.
    Id(TopicId),
}

/// A topic as a session keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionTopic {
    /// By name, up to version 12.
    Name(Arc<str>),
    /// By id, from version 13.
    Id(TopicId),
}

impl SessionTopic {
    /// The same, borrowed.
    #[must_use]
    pub fn key(&self) -> TopicKey<'_> {
        match self {
            Self::Name(name) => TopicKey::Name(name),
            Self::Id(id) => TopicKey::Id(*id),
        }
    }
}

/// What a client asks of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionRequest {
    /// The partition.
    pub partition: PartitionIndex,
    /// Where to read from.
    pub fetch_offset: Offset,
    /// The most bytes to answer with.
    pub bytes_max: i32,
    /// The leadership that the client knows.
    pub leader_epoch: LeaderEpoch,
    /// The epoch of the record before `fetch_offset`.
    pub last_fetched_epoch: LeaderEpoch,
    /// A follower's log start; -1 from a consumer.
    pub follower_log_start: Offset,
}

/// What a partition is answered with, as far as it decides whether to mention the partition at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOutcome {
    /// Whether there are records.
    pub has_records: bool,
    /// What is committed.
    pub high_watermark: Offset,
    /// The first offset of the log.
    pub log_start: Offset,
    /// An error, a diverging epoch or a better replica to read from: always told.
    pub must_tell: bool,
    /// Whether that is an error: when it goes away, the partition is told again.
    pub is_error: bool,
}

/// Where a partition is in its session, until the session's next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionHandle(u32);

/// A partition of a session.
#[derive(Debug)]
pub struct SessionPartition<'a> {
    /// Names the partition to [`super::SessionCache::answer`].
    pub handle: PartitionHandle,
    /// Its topic.
    pub topic: &'a SessionTopic,
    /// What the client asks of it.
    pub request: PartitionRequest,
}

#[derive(Debug)]
struct Slot {
    topic: u32,
    request: PartitionRequest,
    told_high_watermark: Offset,
    told_log_start: Offset,
    previous: u32,
    next: u32,
}

/// The partitions of one client, and what it was told.
#[derive(Debug)]
pub struct FetchSession {
    topics: Vec<SessionTopic>,
    topic_by_name: BTreeMap<Arc<str>, u32>,
    topic_by_id: BTreeMap<TopicId, u32>,
    /// Freed slots are reused.
    slots: Vec<Slot>,
    free: Vec<u32>,
    places: BTreeMap<(u32, PartitionIndex), u32>,
    first: u32,
    last: u32,
}

impl Default for FetchSession {
    fn default() -> Self {
        Self {
            topics: Vec::new(),
            topic_by_name: BTreeMap::new(),
            topic_by_id: BTreeMap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            places: BTreeMap::new(),
            first: NO_PLACE,
            last: NO_PLACE,
        }
    }
}

impl FetchSession {
    /// How many partitions it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// What the session weighs in the budget: partitions, and topics that were ever named in it.
    pub(super) fn weight(&self) -> usize {
        self.slots.len() + self.topics.len()
    }

    /// Its partitions, in the order in which they are to be served.
    pub fn partitions(&self) -> impl Iterator<Item = SessionPartition<'_>> {
        let mut next = self.first;
        std::iter::from_fn(move || {
            if next == NO_PLACE {
                return None;
            }
            let handle = PartitionHandle(next);
            let slot = self.slot(next);
            next = slot.next;
            Some(SessionPartition { handle, topic: &self.topics[slot.topic as usize], request: slot.request })
        })
    }

    /// Adds a partition at the end, or takes over what is asked of one that is there.
    pub(super) fn put(&mut self, topic: TopicKey<'_>, request: PartitionRequest) {
        let topic = self.find_topic(topic).unwrap_or_else(|| self.add_topic(topic));
        let key = (topic, request.partition);
        if let Some(&place) = self.places.get(&key) {
            self.slot_mut(place).request = request;
            return;
        }
        let slot = Slot {
            topic,
            request,
            told_high_watermark: NOT_TOLD,
            told_log_start: NOT_TOLD,
            previous: NO_PLACE,
            next: NO_PLACE,
        };
        let place = if let Some(place) = self.free.pop() {
            *self.slot_mut(place) = slot;
            place
        } else {
            let place = u32::try_from(self.slots.len()).expect("bounded by the cache's budget");
            self.slots.push(slot);
            place
        };
        self.places.insert(key, place);
        self.link_last(place);
    }

    /// Removes a partition, if it is there.
    pub(super) fn forget(&mut self, topic: TopicKey<'_>, partition: PartitionIndex) {
        let Some(topic) = self.find_topic(topic) else { return };
        if let Some(place) = self.places.remove(&(topic, partition)) {
            self.unlink(place);
            self.free.push(place);
        }
    }

    /// Whether an outcome is news to the client; if so, it counts as told.
    pub(super) fn answer(&mut self, handle: PartitionHandle, outcome: &PartitionOutcome) -> bool {
        let place = handle.0;
        let slot = self.slot_mut(place);
        let moved =
            slot.told_high_watermark != outcome.high_watermark || slot.told_log_start != outcome.log_start;
        slot.told_high_watermark = if outcome.is_error { NOT_TOLD } else { outcome.high_watermark };
        slot.told_log_start = outcome.log_start;
        if outcome.has_records && place != self.last {
            self.unlink(place);
            self.link_last(place);
        }
        moved || outcome.has_records || outcome.must_tell || outcome.is_error
    }

    fn find_topic(&self, topic: TopicKey<'_>) -> Option<u32> {
        match topic {
            TopicKey::Name(name) => self.topic_by_name.get(name).copied(),
            TopicKey::Id(id) => self.topic_by_id.get(&id).copied(),
        }
    }

    fn add_topic(&mut self, topic: TopicKey<'_>) -> u32 {
        let place = u32::try_from(self.topics.len()).expect("bounded by the cache's budget");
        let topic = match topic {
            TopicKey::Name(name) => {
                let name: Arc<str> = name.into();
                self.topic_by_name.insert(Arc::clone(&name), place);
                SessionTopic::Name(name)
            }
            TopicKey::Id(id) => {
                self.topic_by_id.insert(id, place);
                SessionTopic::Id(id)
            }
        };
        self.topics.push(topic);
        place
    }

    fn slot(&self, place: u32) -> &Slot {
        &self.slots[place as usize]
    }

    fn slot_mut(&mut self, place: u32) -> &mut Slot {
        &mut self.slots[place as usize]
    }

    fn link_last(&mut self, place: u32) {
        let previous = self.last;
        let slot = self.slot_mut(place);
        slot.previous = previous;
        slot.next = NO_PLACE;
        self.last = place;
        match previous {
            NO_PLACE => self.first = place,
            previous => self.slot_mut(previous).next = place,
        }
    }

    fn unlink(&mut self, place: u32) {
        let (previous, next) = (self.slot(place).previous, self.slot(place).next);
        match previous {
            NO_PLACE => self.first = next,
            previous => self.slot_mut(previous).next = next,
        }
        match next {
            NO_PLACE => self.last = previous,
            next => self.slot_mut(next).previous = previous,
        }
    }
}
