//! A member of a consumer group by KIP-848: heartbeats out, assignments in, partitions fetched from where they were committed.
//!
//! One task sends heartbeats, on a connection of its own, whatever else the member does. Each says all that the member wants
//! and owns, and each answer may carry a new assignment: what is no longer the member's is let go of at once. Another task
//! begins what is new at its committed offset, which may take its time. The next heartbeat says either at once. A member
//! that the coordinator does not know (any more) lets go of everything and joins anew; what was being begun until then is
//! not begun. Offsets are committed by the application alone, for what it was handed: who commits after its work is done
//! has every record worked on at least once.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::error::KafkaError;
use protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use protocol::types::{Offset, PartitionIndex, TopicId};

use super::{Group, Membership};
use crate::Client;
use crate::admin::Partition;
use crate::cluster::Topic;
use crate::consumer::{ConsumeError, Consumer, ConsumerOptions, Fetched, Start};
use crate::error::ClientError;
use crate::links::Links;
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

/// A member of a group. It stays one for as long as its executor gets its turn: who works on records for longer than a
/// session lasts without awaiting anything is taken for dead by the group. Dropped without [`leave`](Self::leave), it is missed only when its session runs out.
pub struct GroupConsumer {
    shared: Rc<Shared>,
}

struct Shared {
    client: Client,
    group: Group,
    /// Heartbeats have a connection of their own: nothing that takes long is answered before them.
    links: Links,
    consumer: Consumer,
    options: GroupOptions,
    topics: Vec<String>,
    member_id: String,
    epoch: Cell<i32>,
    /// The partitions that are read, each with its topic's id: the name may come to mean another topic.
    owned: RefCell<BTreeMap<Partition, TopicId>>,
    /// What the member is to own.
    target: RefCell<Option<Rc<Assignment>>>,
    /// Raised when the target may not be reached yet.
    told: Signal,
    /// Raised when the coordinator is to hear something at once.
    news: Signal,
    failure: RefCell<Option<Rc<ClientError>>>,
    has_ended: Cell<bool>,
    /// Raised after each answer to a heartbeat, and when the member ends.
    beat: Signal,
}

impl Drop for GroupConsumer {
    fn drop(&mut self) {
        self.shared.has_ended.set(true);
        self.shared.beat.raise();
        self.shared.told.raise();
        self.shared.news.raise();
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
            links: client.links(),
            consumer: client.consumer(options.consumer.clone()),
            options,
            topics: topics.iter().map(ToString::to_string).collect(),
            member_id: random_id(),
            epoch: Cell::new(JOINING),
            owned: RefCell::default(),
            target: RefCell::default(),
            told: Signal::default(),
            news: Signal::default(),
            failure: RefCell::default(),
            has_ended: Cell::new(false),
            beat: Signal::default(),
        });
        glommio::spawn_local(Rc::clone(&shared).stay()).detach();
        glommio::spawn_local(Rc::clone(&shared).begin()).detach();
        Ok(Self { shared })
    }

    /// The partitions that the member has now.
    #[must_use]
    pub fn owned(&self) -> Vec<Partition> {
        self.shared.owned.borrow().keys().cloned().collect()
    }

    /// Waits for records of any partition.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn next(&self) -> Result<Fetched, GroupError> {
        let outcome = self.next_until(None).await;
        outcome.expect("without a deadline there is an outcome")
    }

    /// The same, but not past `deadline`: none then.
    ///
    /// # Errors
    /// See [`GroupError`].
    pub async fn next_before(&self, deadline: Instant) -> Option<Result<Fetched, GroupError>> {
        self.next_until(Some(deadline)).await
    }

    async fn next_until(&self, deadline: Option<Instant>) -> Option<Result<Fetched, GroupError>> {
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

    /// The partitions that the member has now, and the offset after the last that [`Self::next`] handed out of each.
    #[must_use]
    pub fn positions(&self) -> Vec<(Partition, Offset)> {
        self.shared.consumer.positions()
    }

    /// Goes on elsewhere in a partition that the member has: past a record that can't be read, for one.
    ///
    /// # Errors
    /// The member does not have the partition (any more), or no broker says where that is.
    pub async fn seek(&self, partition: &Partition, to: Start) -> Result<(), ClientError> {
        self.shared.consumer.seek(partition, to).await
    }

    /// Stops fetching a partition, or goes on; what is buffered is still handed out.
    pub fn pause(&self, partition: &Partition, paused: bool) {
        self.shared.consumer.pause(partition, paused);
    }

    /// Commits the offsets after everything handed out of the partitions owned now.
    ///
    /// # Errors
    /// The member was thrown out, or no broker answers in time.
    pub async fn commit(&self) -> Result<(), ClientError> {
        let positions = || self.shared.consumer.positions();
        self.as_member(async |group, member| group.commit_as(member, &positions()).await).await
    }

    /// Commits the offsets after these pieces, which the member was handed. Those of partitions that it has lost since are
    /// passed over: whoever has them now reads them again.
    ///
    /// # Errors
    /// See [`commit`](Self::commit).
    pub async fn commit_after<'f>(
        &self,
        pieces: impl IntoIterator<Item = &'f Fetched>,
    ) -> Result<(), ClientError> {
        let pieces: Vec<&Fetched> = pieces.into_iter().collect();
        let attempt = async |group: &Group, member: Membership<'_>| {
            let kept = pieces.iter().copied().filter(|piece| self.still_has(piece));
            group.commit_as(member, &ends_of(kept)).await
        };
        self.as_member(attempt).await
    }

    /// Does something as the member, again where its epoch has moved on.
    pub(crate) async fn as_member<T>(
        &self,
        attempt: impl AsyncFn(&Group, Membership<'_>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        let shared = &self.shared;
        let deadline = Instant::now() + shared.client.cluster().options().call_timeout;
        loop {
            let beat = shared.beat.next();
            let member = Membership { member_id: &shared.member_id, epoch: shared.epoch.get() };
            let outcome = attempt(&shared.group, member).await;
            // The epoch has moved on, or a joining member has none yet: the next answer to a heartbeat tells it.
            let is_stale = outcome.as_ref().is_err_and(is_of_membership);
            if !is_stale || Instant::now() >= deadline || shared.has_ended.get() {
                return outcome;
            }
            beat.wait_until(Some(deadline)).await;
        }
    }

    /// Whether the member has had the partition without a break since it was handed this piece of it.
    pub(crate) fn still_has(&self, piece: &Fetched) -> bool {
        self.shared.consumer.still_reads(piece)
    }

    /// Leaves the group, so that its partitions go to others at once. What is not committed is read again by them.
    ///
    /// # Errors
    /// No broker answers; the group notices in time.
    pub async fn leave(self) -> Result<(), ClientError> {
        let shared = Rc::clone(&self.shared);
        drop(self);
        shared.epoch.set(LEAVING);
        shared.let_go_of_all();
        shared.heartbeat().await.map(drop)
    }
}

impl Shared {
    /// Sends heartbeats until the member ends.
    async fn stay(self: Rc<Self>) {
        let mut failures = 0;
        while !self.has_ended.get() {
            let news = self.news.next();
            let pause = match self.heartbeat().await {
                _ if self.has_ended.get() => return,
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
                        // The next heartbeat tells the epoch.
                        Some(KafkaError::StaleMemberEpoch) => {}
                        _ if error.is_retriable() => self.group.coordinator().forget(),
                        _ => self.fail(error),
                    }
                    self.client.cluster().backoff(failures)
                }
            };
            self.beat.raise();
            // News waits where heartbeats fail, for nobody to hear it sooner.
            if failures == 0 {
                news.wait_until(Some(Instant::now() + pause)).await
            } else {
                sleep(pause).await
            }
        }
    }

    fn fail(&self, error: ClientError) {
        self.failure.replace(Some(Rc::new(error)));
        self.has_ended.set(true);
        self.beat.raise();
        self.told.raise();
        self.news.raise();
        self.consumer.wake();
    }

    /// The coordinator does not know this member: everything may be someone else's by now.
    fn start_over(&self) {
        self.let_go_of_all();
        self.epoch.set(JOINING);
    }

    fn let_go_of_all(&self) {
        self.target.replace(None);
        self.consumer.remove(&self.owned.take().into_keys().collect());
    }

    /// Says what the member wants and owns, and notes what it is to own; the pause until the next time.
    async fn heartbeat(&self) -> Result<Duration, ClientError> {
        let timeout = self.options.rebalance_timeout.as_millis();
        let connection = self.links.connect(self.group.coordinator().broker().await?).await?;
        let mut owned: BTreeMap<TopicId, TopicPartitions> = BTreeMap::new();
        for (partition, id) in self.owned.borrow().iter() {
            let none = || TopicPartitions { topic_id: *id, partitions: Vec::new() };
            owned.entry(*id).or_insert_with(none).partitions.push(partition.index);
        }
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
        let answer = connection.call(&request).await?;
        let response: ConsumerGroupHeartbeatResponse<'_> = answer.decode()?;
        let doing = format!("stay in group {}", self.group.name());
        self.client.check(&doing, response.error_code, response.error_message)?;
        if self.epoch.get() != LEAVING {
            self.epoch.set(response.member_epoch);
            if let Some(assignment) = response.assignment {
                self.follow(assignment);
            }
        }
        let pause = u64::try_from(response.heartbeat_interval_ms).unwrap_or_default();
        Ok(Duration::from_millis(pause))
    }

    /// Lets go of what is no longer the member's; what is new is begun by another task.
    fn follow(&self, assignment: Assignment) {
        let is_told = self.target.borrow().as_deref() == Some(&assignment);
        if is_told {
            return;
        }
        let owned = self.owned.borrow();
        let goes = owned.iter().filter(|(partition, id)| !is_in(&assignment, **id, partition.index));
        let revoked: BTreeSet<Partition> = goes.map(|(partition, _)| partition.clone()).collect();
        drop(owned);
        self.target.replace(Some(Rc::new(assignment)));
        if !revoked.is_empty() {
            self.consumer.remove(&revoked);
            self.owned.borrow_mut().retain(|partition, _| !revoked.contains(partition));
            self.news.raise();
        }
        self.told.raise();
    }

    /// Begins what the member is to own and does not yet, until it ends.
    async fn begin(self: Rc<Self>) {
        let mut failures = 0;
        loop {
            let told = self.told.next();
            if self.has_ended.get() {
                return;
            }
            let target = self.target.borrow().clone();
            let outcome = match target {
                Some(target) => self.begin_those_of(&target).await,
                None => Ok(true),
            };
            match outcome {
                Ok(true) => {
                    failures = 0;
                    told.wait().await;
                }
                // The cluster does not describe all of it yet.
                Ok(false) => {
                    failures += 1;
                    sleep(self.client.cluster().backoff(failures)).await;
                }
                Err(error) if error.is_retriable() || is_of_membership(&error) => {
                    failures += 1;
                    // If the member is none any more, the next heartbeat finds out.
                    self.news.raise();
                    sleep(self.client.cluster().backoff(failures)).await;
                }
                Err(error) => return self.fail(error),
            }
        }
    }

    /// Begins what is new; whether that is all of it.
    async fn begin_those_of(&self, target: &Rc<Assignment>) -> Result<bool, ClientError> {
        let (named, is_whole) = self.partitions_of(target).await?;
        let is_new = |(partition, _): &(&Partition, &TopicId)| !self.owned.borrow().contains_key(*partition);
        let added: Vec<Partition> =
            named.iter().filter(is_new).map(|(partition, _)| partition.clone()).collect();
        if added.is_empty() {
            return Ok(is_whole);
        }
        let member = Membership { member_id: &self.member_id, epoch: self.epoch.get() };
        let committed = self.group.committed_as(member, &added).await?;
        let starts: Vec<(Partition, Start)> = added
            .into_iter()
            .zip(committed)
            .map(|(partition, committed)| (partition, committed.map_or(self.options.start, Start::Offset)))
            .collect();
        let begun = self.consumer.resolve(&starts).await?;
        // Heartbeats went on meanwhile. What was found counts only for the target that it was looked for.
        let is_still_due = self.target.borrow().as_ref().is_some_and(|latest| Rc::ptr_eq(latest, target));
        if !is_still_due {
            return Ok(true);
        }
        self.consumer.add(&begun);
        let begun = begun.into_iter().map(|(partition, _)| {
            let id = named[&partition];
            (partition, id)
        });
        self.owned.borrow_mut().extend(begun);
        self.news.raise();
        Ok(is_whole)
    }

    /// The partitions of an assignment by names, as far as the cluster describes them; whether it describes all.
    async fn partitions_of(
        &self,
        assignment: &Assignment,
    ) -> Result<(BTreeMap<Partition, TopicId>, bool), ClientError> {
        for name in &self.topics {
            match self.client.topic(name).await {
                // Those that are there are read nevertheless.
                Ok(_) | Err(ClientError::UnknownTopic(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let named = self.named(assignment);
        if named.1 {
            return Ok(named);
        }
        self.client.refresh().await?;
        Ok(self.named(assignment))
    }

    fn named(&self, assignment: &Assignment) -> (BTreeMap<Partition, TopicId>, bool) {
        let mut partitions = BTreeMap::new();
        let mut is_whole = true;
        let topics: Vec<Rc<Topic>> =
            self.topics.iter().filter_map(|name| self.client.cluster().known(name)).collect();
        for assigned in &assignment.topic_partitions {
            let topic = topics.iter().find(|topic| topic.id == assigned.topic_id);
            for index in &assigned.partitions {
                match topic.filter(|topic| topic.partition(*index).is_ok()) {
                    Some(topic) => {
                        let partition = Partition { topic: topic.name.to_string(), index: *index };
                        partitions.insert(partition, topic.id);
                    }
                    None => is_whole = false,
                }
            }
        }
        (partitions, is_whole)
    }
}

fn is_in(assignment: &Assignment, id: TopicId, index: PartitionIndex) -> bool {
    let mut topics = assignment.topic_partitions.iter().filter(|topic| topic.topic_id == id);
    topics.any(|topic| topic.partitions.contains(&index))
}

/// The offsets after these pieces, one for each of their partitions.
pub(crate) fn ends_of<'f>(pieces: impl Iterator<Item = &'f Fetched>) -> Vec<(Partition, Offset)> {
    let mut ends: BTreeMap<Partition, Offset> = BTreeMap::new();
    for piece in pieces {
        let end = ends.entry(piece.place()).or_insert(piece.next_offset());
        *end = (*end).max(piece.next_offset());
    }
    ends.into_iter().collect()
}

/// Whether an error says that the member's epoch is not what the coordinator has: a matter of heartbeats.
fn is_of_membership(error: &ClientError) -> bool {
    matches!(
        error.kafka(),
        Some(
            KafkaError::FencedMemberEpoch
                | KafkaError::UnknownMemberId
                | KafkaError::StaleMemberEpoch
                | KafkaError::IllegalGeneration
        )
    )
}

/// An id that no other member has: 128 random bits.
fn random_id() -> String {
    let random = RandomState::new();
    format!("{:016x}{:016x}", random.hash_one(1), random.hash_one(2))
}

#[cfg(test)]
mod tests;
