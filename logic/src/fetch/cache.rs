//! The fetch sessions of a shard: opening, epochs, eviction (KIP-227).
//!
//! A new session may take the place of another when all slots are in use, if
//!
//! | the new one is | the other | |
//! | --- | --- | --- |
//! | any | has not been used for the eviction time | the one unused for longest goes |
//! | a follower's | is a consumer's | the smallest goes |
//! | any | is older than the eviction time, of the same kind, and has fewer partitions | the smallest goes |
//!
//! Otherwise the client goes without a session, and asks for everything each time. So does one whose session would not
//! fit in the budget of partitions.

use super::session::{FetchSession, PartitionHandle, PartitionOutcome, PartitionRequest, TopicKey};
use crate::limits::{FETCH_SESSION_SHARDS_MAX, FETCH_SESSION_SLOTS_MAX};
use protocol::types::{PartitionIndex, Timestamp};
use rustc_hash::FxHashMap;
use thiserror::Error;

/// A request with this epoch opens a session.
const EPOCH_INITIAL: i32 = 0;

/// A request with this epoch closes its session, or does without one.
const EPOCH_FINAL: i32 = -1;

/// No session.
const SESSION_NONE: i32 = 0;

/// How many sessions a shard keeps, and whose ids are whose.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// Sessions at a time (`max.incremental.fetch.session.cache.slots`); 0 for none.
    pub slots_max: usize,
    /// Partitions, and names of topics, in all sessions together.
    pub partitions_max: usize,
    /// How long a session must be unused, or old, before it may make room for another.
    pub eviction_ms: i64,
    /// This shard: no two shards give out the same id, so the session of a connection that has moved is taken for nobody else's.
    pub shard: u16,
    /// How many shards there are.
    pub shard_count: u16,
    /// Makes the ids of this start unlike those of the last one; drawn at random by the caller.
    pub seed: u64,
}

/// What a fetch request says of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionRequest {
    /// The session; 0 for none.
    pub session_id: i32,
    /// Counts the session's requests; 0 opens one, -1 closes it or does without.
    pub session_epoch: i32,
    /// Whether the request names topics by id.
    pub uses_topic_ids: bool,
    /// Whether it comes from a follower.
    pub is_follower: bool,
}

/// How a fetch is to be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// The partitions of the request, all of which are answered, with session id 0.
    Sessionless,
    /// The partitions of the session, in its order; [`SessionCache::answer`] says which are answered.
    Session {
        /// The session's id, to be answered.
        id: i32,
        /// Proves at the time of the answer that no other request came in between.
        epoch: i32,
    },
}

/// Why a session can't be gone on with; the client then starts afresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SessionError {
    /// There is no session of this id: it was evicted, or the broker has been restarted.
    #[error("fetch session {id} is not known")]
    NotFound {
        /// The id asked for.
        id: i32,
    },
    /// A request was lost, repeated or overtaken.
    #[error("fetch session {id} is at epoch {expected}, not {got}")]
    InvalidEpoch {
        /// The session.
        id: i32,
        /// The epoch that would be next.
        expected: i32,
        /// The one that came.
        got: i32,
    },
    /// The session names topics by id and the request by name, or the other way round.
    #[error("fetch session {id} names topics in another way")]
    TopicIdMismatch {
        /// The session.
        id: i32,
    },
}

#[derive(Debug)]
struct Kept {
    session: FetchSession,
    uses_topic_ids: bool,
    is_follower: bool,
    created_at: Timestamp,
    used_at: Timestamp,
    /// What the next request must carry.
    epoch: i32,
}

/// The sessions of one shard.
#[derive(Debug)]
pub struct SessionCache {
    options: SessionOptions,
    sessions: FxHashMap<i32, Kept>,
    weight: usize,
    ids_given: u64,
    evictions: u64,
}

impl SessionCache {
    /// An empty cache.
    #[must_use]
    pub fn new(options: SessionOptions) -> Self {
        assert!(options.slots_max <= FETCH_SESSION_SLOTS_MAX);
        assert!(options.eviction_ms >= 0);
        assert!(options.shard < options.shard_count);
        assert!(options.shard_count <= FETCH_SESSION_SHARDS_MAX);
        Self { options, sessions: FxHashMap::default(), weight: 0, ids_given: 0, evictions: 0 }
    }

    /// How many sessions there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// How many sessions had to make room for others so far.
    #[must_use]
    pub const fn evictions(&self) -> u64 {
        self.evictions
    }

    /// How many partitions all sessions have.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.sessions.values().map(|kept| kept.session.len()).sum()
    }

    /// Opens, goes on with, or closes the session that a request names.
    ///
    /// `asked` and `forgotten` are the request's partitions: all of them where it opens a session, what changed where it
    /// goes on with one. A session that has just been opened has been told nothing, so its first answer is complete.
    pub fn open<'a>(
        &mut self,
        now: Timestamp,
        request: SessionRequest,
        asked: impl ExactSizeIterator<Item = (TopicKey<'a>, PartitionRequest)>,
        forgotten: impl Iterator<Item = (TopicKey<'a>, PartitionIndex)>,
    ) -> Result<Opened, SessionError> {
        match request.session_epoch {
            EPOCH_FINAL => {
                self.remove(request.session_id);
                Ok(Opened::Sessionless)
            }
            EPOCH_INITIAL => {
                self.remove(request.session_id);
                Ok(self.create(now, request, asked))
            }
            _ => self.resume(now, request, asked, forgotten),
        }
    }

    /// The session, if no other request for it has come since [`SessionCache::open`].
    pub fn session(&self, id: i32, epoch: i32) -> Result<&FetchSession, SessionError> {
        let kept = self.sessions.get(&id).ok_or(SessionError::NotFound { id })?;
        check_epoch(id, kept.epoch, epoch)?;
        Ok(&kept.session)
    }

    /// Whether a partition's outcome is news to the client; what is not is left out of the answer.
    ///
    /// To be asked once for every partition answered, when the answer is made. Partitions with records go to the end of
    /// the order.
    pub fn answer(
        &mut self,
        id: i32,
        epoch: i32,
        handle: PartitionHandle,
        outcome: &PartitionOutcome,
    ) -> Result<bool, SessionError> {
        let kept = self.sessions.get_mut(&id).ok_or(SessionError::NotFound { id })?;
        check_epoch(id, kept.epoch, epoch)?;
        Ok(kept.session.answer(handle, outcome))
    }

    /// Ends a session.
    pub fn remove(&mut self, id: i32) {
        if let Some(kept) = self.sessions.remove(&id) {
            self.weight -= kept.session.weight();
        }
        if self.sessions.is_empty() {
            assert_eq!(self.weight, 0);
        }
    }

    fn create<'a>(
        &mut self,
        now: Timestamp,
        request: SessionRequest,
        asked: impl ExactSizeIterator<Item = (TopicKey<'a>, PartitionRequest)>,
    ) -> Opened {
        // Each partition may name a topic of its own.
        let weight_max = asked.len().saturating_mul(2);
        let fits = self.weight.saturating_add(weight_max) <= self.options.partitions_max;
        if asked.len() == 0 || !fits || !self.make_room(now, request.is_follower, asked.len()) {
            return Opened::Sessionless;
        }
        let mut session = FetchSession::default();
        for (topic, partition) in asked {
            assert_eq!(matches!(topic, TopicKey::Id(_)), request.uses_topic_ids);
            session.put(topic, partition);
        }
        self.weight += session.weight();
        let id = self.next_id();
        let epoch = next_epoch(EPOCH_INITIAL);
        let SessionRequest { uses_topic_ids, is_follower, .. } = request;
        let kept = Kept { session, uses_topic_ids, is_follower, created_at: now, used_at: now, epoch };
        self.sessions.insert(id, kept);
        Opened::Session { id, epoch }
    }

    fn resume<'a>(
        &mut self,
        now: Timestamp,
        request: SessionRequest,
        asked: impl ExactSizeIterator<Item = (TopicKey<'a>, PartitionRequest)>,
        forgotten: impl Iterator<Item = (TopicKey<'a>, PartitionIndex)>,
    ) -> Result<Opened, SessionError> {
        let id = request.session_id;
        let kept = self.sessions.get_mut(&id).ok_or(SessionError::NotFound { id })?;
        check_epoch(id, kept.epoch, request.session_epoch)?;
        if kept.uses_topic_ids != request.uses_topic_ids {
            return Err(SessionError::TopicIdMismatch { id });
        }
        let weight_max = self.weight.saturating_add(asked.len().saturating_mul(2));
        if weight_max > self.options.partitions_max {
            // It has outgrown the budget: the client will ask for everything, and get no session.
            self.remove(id);
            return Err(SessionError::NotFound { id });
        }
        let weight_before = kept.session.weight();
        for (topic, partition) in asked {
            assert_eq!(matches!(topic, TopicKey::Id(_)), request.uses_topic_ids);
            kept.session.put(topic, partition);
        }
        for (topic, partition) in forgotten {
            kept.session.forget(topic, partition);
        }
        kept.used_at = now;
        kept.epoch = next_epoch(kept.epoch);
        let epoch = kept.epoch;
        self.weight += kept.session.weight() - weight_before;
        if kept.session.is_empty() {
            self.remove(id);
            return Ok(Opened::Sessionless);
        }
        Ok(Opened::Session { id, epoch })
    }

    /// Whether there is a slot for a session, after another has been evicted if need be.
    fn make_room(&mut self, now: Timestamp, is_follower: bool, size: usize) -> bool {
        if self.sessions.len() < self.options.slots_max {
            return true;
        }
        let Some(id) = self.make_room_victim(now, is_follower, size) else { return false };
        self.remove(id);
        self.evictions += 1;
        true
    }

    fn make_room_victim(&self, now: Timestamp, is_follower: bool, size: usize) -> Option<i32> {
        let unused = |at: Timestamp| now.get().saturating_sub(at.get()) > self.options.eviction_ms;
        let (&stalest, kept) = self.sessions.iter().min_by_key(|(id, kept)| (kept.used_at, **id))?;
        if unused(kept.used_at) {
            return Some(stalest);
        }
        let candidates = self
            .sessions
            .iter()
            .filter(|(_, kept)| unused(kept.created_at) || (is_follower && !kept.is_follower))
            .map(|(id, kept)| (kept.is_follower, kept.session.len(), *id));
        let (other_is_follower, other_size, id) = candidates.min()?;
        ((other_is_follower, other_size) < (is_follower, size)).then_some(id)
    }

    /// An id that no session has: positive, scattered, and in this shard's share of all numbers.
    fn next_id(&mut self) -> i32 {
        let shard_count = u64::from(self.options.shard_count);
        let share = u64::from(i32::MAX.unsigned_abs()) / shard_count;
        loop {
            self.ids_given += 1;
            let scattered = scatter(self.options.seed.wrapping_add(self.ids_given)) % share;
            let id = i32::try_from(scattered * shard_count + u64::from(self.options.shard));
            let id = id.expect("below share times shard_count");
            if id != SESSION_NONE && !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }
}

fn check_epoch(id: i32, expected: i32, got: i32) -> Result<(), SessionError> {
    if expected == got { Ok(()) } else { Err(SessionError::InvalidEpoch { id, expected, got }) }
}

/// The epoch after `epoch`; after the last one comes 1, because 0 opens a session.
fn next_epoch(epoch: i32) -> i32 {
    assert!(epoch >= 0);
    epoch.checked_add(1).unwrap_or(1)
}

/// Spreads consecutive numbers over all 64 bits (the finalizer of SplitMix64).
const fn scatter(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
