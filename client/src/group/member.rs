//! A member of a consumer group by KIP-848: heartbeats out, assignments in, partitions fetched from where they were committed.
//!
//! One task sends heartbeats. Each says all that the member wants and owns, and each answer may carry a new assignment:
//! then what is no longer the member's is let go of first, then what is new is begun at its committed offset, and the next
//! heartbeat says so at once. A member that the coordinator does not know (any more) lets go of everything and joins
//! anew. Offsets are committed by the application alone, for what it was handed: who commits after its work is done has
//! every record worked on at least once.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::error::KafkaError;
use protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use protocol::types::{Offset, TopicId};

use super::{Group, Membership};
use crate::Client;
use crate::admin::Partition;
use crate::consumer::{ConsumeError, Consumer, ConsumerOptions, Fetched, Start};
use crate::error::ClientError;
use executor::{Signal, sleep};

/// The epoch of who joins.
const JOINING: i32 = 0;
/// The epoch of who leaves.
const LEAVING: i32 = -1;

/// How a member behaves.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// How it fetches.
    pub consumer: ConsumerOptions,
    /// Where a partition begins of which nothing was committed.
    pub start: Start,
    /// How long the member may take to let go of partitions.
    pub rebalance_timeout: Duration,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            consumer: ConsumerOptions::default(),
            start: Start::Latest,
            rebalance_timeout: Duration::from_secs(60),
        }
    }
}

/// Why a member gets no more records.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GroupError {
    /// One partition can't go on; the others do.
    #[error(transparent)]
    Partition(#[from] ConsumeError),
    /// The group is closed to this member.
    #[error(transparent)]
    Membership(Rc<ClientError>),
}

/// A member of a group. Dropped without [`leave`](Self::leave), it is missed only when its session runs out.
pub struct GroupConsumer {
    shared: Rc<Shared>,
}

struct Shared {
    client: Client,
    group: Group,
    consumer: Consumer,
    options: GroupOptions,
    topics: Vec<String>,
    member_id: String,
    epoch: Cell<i32>,
    owned: RefCell<BTreeSet<Partition>>,
    /// Told by the coordinator and not followed yet.
    pending: RefCell<Option<Assignment>>,
    failure: RefCell<Option<Rc<ClientError>>>,
    has_ended: Cell<bool>,
    /// Raised after each answer to a heartbeat, and when the member ends.
    beat: Signal,
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.shared.has_ended.set(true);
        self.shared.beat.raise();
    }
}

impl GroupConsumer {
    pub(crate) async fn join(
        client: &Client,
        group: &str,
        topics: &[&str],
        options: GroupOptions,
    ) -> Result<Self, ClientError> {
        for topic in topics {
            client.topic(topic).await?;
        }
        let shared = Rc::new(Shared {
            client: client.clone(),
            group: Group::new(client, group),
            consumer: client.consumer(options.consumer.clone()),
            options,
            topics: topics.iter().map(ToString::to_string).collect(),
            member_id: random_id(),
            epoch: Cell::new(JOINING),
            owned: RefCell::default(),
            pending: RefCell::default(),
            failure: RefCell::default(),
            has_ended: Cell::new(false),
            beat: Signal::default(),
        });
        glommio::spawn_local(Rc::clone(&shared).stay()).detach();
        Ok(Self { shared })
    }

    /// The partitions that the member has now.
    #[must_use]
    pub fn owned(&self) -> Vec<Partition> {
        self.shared.owned.borrow().iter().cloned().collect()
    }

    /// Waits for records of any partition.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn next(&self) -> Result<Fetched, GroupError> {
        let outcome = self.next_before(None).await;
        outcome.expect("without a deadline there is an outcome")
    }

    /// The same, but not past `deadline`: none then.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn next_before(&self, deadline: Option<Instant>) -> Option<Result<Fetched, GroupError>> {
        loop {
            let arrived = self.shared.consumer.arrived();
            if let Some(failure) = self.shared.failure.borrow().clone() {
                return Some(Err(GroupError::Membership(failure)));
            }
            if let Some(outcome) = self.shared.consumer.try_next() {
                return Some(outcome.map_err(GroupError::from));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            arrived.wait_until(deadline).await;
        }
    }

    /// Commits the offsets after everything handed out of the partitions owned now.
    ///
    /// # Errors
    /// The member was thrown out, or no broker answers in time.
    pub async fn commit(&self) -> Result<(), ClientError> {
        let shared = &self.shared;
        let deadline = Instant::now() + shared.client.cluster().options().call_timeout;
        loop {
            let positions: Vec<(Partition, Offset)> = shared.consumer.positions();
            let member = Membership { member_id: &shared.member_id, epoch: shared.epoch.get() };
            let outcome = shared.group.commit_as(member, &positions).await;
            // The epoch has moved on, or a joining member has none yet: the next answer to a heartbeat tells it.
            let is_stale = outcome.as_ref().is_err_and(|error| {
                matches!(error.kafka(), Some(KafkaError::StaleMemberEpoch | KafkaError::UnknownMemberId))
            });
            if !is_stale || Instant::now() >= deadline || shared.has_ended.get() {
                return outcome;
            }
            shared.beat.next().wait_until(Some(deadline)).await;
        }
    }

    /// Leaves the group, so that its partitions go to others at once. What is not committed is read again by them.
    ///
    /// # Errors
    /// No broker answers; the group notices in time.
    pub async fn leave(self) -> Result<(), ClientError> {
        let shared = Rc::clone(&self.shared);
        drop(self);
        shared.epoch.set(LEAVING);
        shared.consumer.remove(&shared.owned.take());
        shared.heartbeat().await.map(drop)
    }
}

impl Shared {
    /// Sends heartbeats until the member ends.
    async fn stay(self: Rc<Self>) {
        let mut failures = 0;
        while !self.has_ended.get() {
            let outcome = match self.heartbeat().await {
                _ if self.has_ended.get() => return,
                Ok(pause) => self.follow().await.map(|has_changed| {
                    // What changed is said at once.
                    if has_changed { Duration::ZERO } else { pause }
                }),
                Err(error) => Err(error),
            };
            let pause = match outcome {
                Ok(pause) => {
                    failures = 0;
                    pause
                }
                Err(error) => {
                    failures += 1;
                    match error.kafka() {
                        Some(KafkaError::FencedMemberEpoch | KafkaError::UnknownMemberId) => {
                            self.start_over()
                        }
                        // The next heartbeat tells the epoch, and what could not be followed is tried again.
                        Some(KafkaError::StaleMemberEpoch) => {}
                        _ if error.is_retriable() => self.group.forget_coordinator(),
                        _ => return self.fail(error),
                    }
                    self.client.cluster().backoff(failures)
                }
            };
            self.beat.raise();
            sleep(pause).await;
        }
    }

    fn fail(&self, error: ClientError) {
        self.failure.replace(Some(Rc::new(error)));
        self.has_ended.set(true);
        self.beat.raise();
        self.consumer.wake();
    }

    /// The coordinator does not know this member: everything may be someone else's by now.
    fn start_over(&self) {
        self.consumer.remove(&self.owned.take());
        self.pending.replace(None);
        self.epoch.set(JOINING);
    }

    /// Says what the member wants and owns, and notes what it is to own; the pause until the next time.
    async fn heartbeat(&self) -> Result<Duration, ClientError> {
        let mut owned: BTreeMap<TopicId, TopicPartitions> = BTreeMap::new();
        for partition in self.owned.borrow().iter() {
            let id = self.client.cluster().known(&partition.topic).map_or(TopicId::ZERO, |topic| topic.id);
            let topic =
                owned.entry(id).or_insert_with(|| TopicPartitions { topic_id: id, partitions: Vec::new() });
            topic.partitions.push(partition.index);
        }
        let timeout = self.options.rebalance_timeout.as_millis();
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.group.name(),
            member_id: &self.member_id,
            member_epoch: self.epoch.get(),
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: i32::try_from(timeout).unwrap_or(i32::MAX),
            subscribed_topic_names: Some(self.topics.iter().map(String::as_str).collect()),
            subscribed_topic_regex: None,
            server_assignor: None,
            topic_partitions: Some(owned.into_values().collect()),
        };
        let answer = self.group.coordinator().await?.call(&request).await?;
        let response: ConsumerGroupHeartbeatResponse<'_> = answer.decode()?;
        let doing = format!("stay in group {}", self.group.name());
        self.client.check(&doing, response.error_code, response.error_message)?;
        if self.epoch.get() != LEAVING {
            self.epoch.set(response.member_epoch);
        }
        if response.assignment.is_some() {
            self.pending.replace(response.assignment);
        }
        let pause = u64::try_from(response.heartbeat_interval_ms).unwrap_or_default();
        Ok(Duration::from_millis(pause))
    }

    /// Lets go of what is no longer the member's and begins what is new; whether anything changed.
    async fn follow(&self) -> Result<bool, ClientError> {
        let assignment = self.pending.borrow().clone();
        let Some(assignment) = assignment else { return Ok(false) };
        let target = self.partitions_of(&assignment).await?;
        let revoked: BTreeSet<Partition> = self.owned.borrow().difference(&target).cloned().collect();
        self.consumer.remove(&revoked);
        self.owned.borrow_mut().retain(|partition| target.contains(partition));
        let added: Vec<Partition> = target.difference(&self.owned.borrow()).cloned().collect();
        if !added.is_empty() {
            let member = Membership { member_id: &self.member_id, epoch: self.epoch.get() };
            let committed = self.group.committed_as(member, &added).await?;
            let starts = added.iter().zip(committed).map(|(partition, committed)| {
                (partition.clone(), committed.map_or(self.options.start, Start::Offset))
            });
            self.consumer.add(&starts.collect::<Vec<_>>()).await?;
            self.owned.borrow_mut().extend(added.iter().cloned());
        }
        self.pending.replace(None);
        Ok(!revoked.is_empty() || !added.is_empty())
    }

    /// An assignment by names. Topics that the client can't name yet come with a later heartbeat.
    async fn partitions_of(&self, assignment: &Assignment) -> Result<BTreeSet<Partition>, ClientError> {
        let mut names: BTreeMap<TopicId, &str> = BTreeMap::new();
        for name in &self.topics {
            names.insert(self.client.topic(name).await?.id, name);
        }
        if assignment.topic_partitions.iter().any(|topic| !names.contains_key(&topic.topic_id)) {
            self.client.refresh().await?;
            for name in &self.topics {
                names.insert(self.client.topic(name).await?.id, name);
            }
        }
        let partitions = assignment.topic_partitions.iter().flat_map(|topic| {
            let name = names.get(&topic.topic_id).copied();
            topic
                .partitions
                .iter()
                .filter_map(move |index| Some(Partition { topic: name?.to_owned(), index: *index }))
        });
        Ok(partitions.collect())
    }
}

/// An id that no other member has: 128 random bits.
fn random_id() -> String {
    let random = RandomState::new();
    format!("{:016x}{:016x}", random.hash_one(1), random.hash_one(2))
}
