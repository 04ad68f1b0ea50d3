//! Groups: offsets kept under a name, and membership by KIP-848.
//!
//! [`Group`] commits and reads offsets for who assigns its partitions itself. [`GroupConsumer`] is a member: the broker
//! assigns, by heartbeats, and the member follows. Both ask the group's coordinator, a broker.

mod member;

use std::collections::BTreeMap;

use protocol::api::ApiKey;
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    OffsetFetchResponse,
};
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

use crate::Client;
use crate::admin::Partition;
use crate::coordinator::{Coordinator, Kind};
use crate::error::ClientError;

pub(crate) use member::ends_of;
pub use member::{GroupConsumer, GroupError, GroupOptions};

/// Offsets kept under a group's name.
pub struct Group {
    client: Client,
    coordinator: Coordinator,
}

/// Who commits and reads: a member in its epoch, or nobody in particular.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Membership<'a> {
    pub member_id: &'a str,
    pub epoch: i32,
}

impl Membership<'_> {
    /// Who assigns its partitions itself.
    pub(crate) const NONE: Self = Self { member_id: "", epoch: -1 };
}

impl Group {
    pub(crate) fn new(client: &Client, name: &str) -> Self {
        Self { client: client.clone(), coordinator: Coordinator::new(client, Kind::Group, name) }
    }

    /// The group's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.coordinator.name()
    }

    /// Commits offsets: of each partition the next to be read.
    ///
    /// # Errors
    /// The group has members (who alone may commit then), or no broker answers.
    pub async fn commit(&self, offsets: &[(Partition, Offset)]) -> Result<(), ClientError> {
        self.commit_as(Membership::NONE, offsets).await
    }

    /// The offsets committed, one for each partition asked for, in that order; none where none is.
    ///
    /// # Errors
    /// No broker answers in time.
    pub async fn committed(&self, partitions: &[Partition]) -> Result<Vec<Option<Offset>>, ClientError> {
        self.committed_as(Membership::NONE, partitions).await
    }

    pub(crate) async fn commit_as(
        &self,
        member: Membership<'_>,
        offsets: &[(Partition, Offset)],
    ) -> Result<(), ClientError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let ids = self.topic_ids(offsets.iter().map(|(partition, _)| partition)).await?;
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition<'_>>> = BTreeMap::new();
        for (partition, offset) in offsets {
            topics.entry(&partition.topic).or_default().push(OffsetCommitRequestPartition {
                partition_index: partition.index,
                committed_offset: *offset,
                committed_leader_epoch: LeaderEpoch::UNKNOWN,
                committed_metadata: None,
            });
        }
        let request = OffsetCommitRequest {
            group_id: self.name(),
            generation_id_or_member_epoch: member.epoch,
            member_id: member.member_id,
            group_instance_id: None,
            retention_time_ms: -1,
            topics: topics
                .into_iter()
                .map(|(name, partitions)| OffsetCommitRequestTopic { name, topic_id: ids[name], partitions })
                .collect(),
        };
        let doing = format!("commit offsets of group {}", self.name());
        self.coordinator
            .until_done(&doing, async |connection| {
                let answer = connection.call(&request).await?;
                let response: OffsetCommitResponse<'_> = answer.decode()?;
                let partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
                partitions
                    .map(|partition| partition.error_code)
                    .try_for_each(|code| self.client.check(&doing, code, None))
            })
            .await
    }

    pub(crate) async fn committed_as(
        &self,
        member: Membership<'_>,
        partitions: &[Partition],
    ) -> Result<Vec<Option<Offset>>, ClientError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let ids = self.topic_ids(partitions.iter()).await?;
        let mut topics: BTreeMap<&str, Vec<PartitionIndex>> = BTreeMap::new();
        for partition in partitions {
            topics.entry(&partition.topic).or_default().push(partition.index);
        }
        let doing = format!("read offsets of group {}", self.name());
        let found = self
            .coordinator
            .until_done(&doing, async |connection| {
                let version = connection.version(ApiKey::OffsetFetch)?;
                let request = self.offsets_request(version, member, &topics, &ids);
                let answer = connection.call(&request).await?;
                self.read_offsets(&doing, &answer.decode()?, &ids)
            })
            .await?;
        Ok(partitions.iter().map(|partition| found.get(partition).copied()).collect())
    }

    /// The request in one of its two shapes: one group, or a list of them.
    fn offsets_request<'a>(
        &'a self,
        version: i16,
        member: Membership<'a>,
        topics: &BTreeMap<&'a str, Vec<PartitionIndex>>,
        ids: &BTreeMap<&str, TopicId>,
    ) -> OffsetFetchRequest<'a> {
        if version < 8 {
            let topics = topics.iter().map(|(name, partitions)| OffsetFetchRequestTopic {
                name,
                partition_indexes: partitions.clone(),
            });
            let topics = Some(topics.collect());
            return OffsetFetchRequest {
                group_id: self.name(),
                topics,
                groups: Vec::new(),
                require_stable: version >= 7,
            };
        }
        let topics = topics.iter().map(|(name, partitions)| OffsetFetchRequestTopics {
            name,
            topic_id: ids[name],
            partition_indexes: partitions.clone(),
        });
        let group = OffsetFetchRequestGroup {
            group_id: self.name(),
            member_id: Some(member.member_id).filter(|id| !id.is_empty()),
            member_epoch: member.epoch,
            topics: Some(topics.collect()),
        };
        OffsetFetchRequest { group_id: "", topics: None, groups: vec![group], require_stable: true }
    }

    fn read_offsets(
        &self,
        doing: &str,
        response: &OffsetFetchResponse<'_>,
        ids: &BTreeMap<&str, TopicId>,
    ) -> Result<BTreeMap<Partition, Offset>, ClientError> {
        self.client.check(doing, response.error_code, None)?;
        let mut found = BTreeMap::new();
        let mut take = |name: &str, index: PartitionIndex, offset: Offset| {
            if offset >= Offset(0) {
                found.insert(Partition { topic: name.to_owned(), index }, offset);
            }
        };
        for topic in &response.topics {
            for partition in &topic.partitions {
                self.client.check(doing, partition.error_code, None)?;
                take(topic.name, partition.partition_index, partition.committed_offset);
            }
        }
        for group in &response.groups {
            self.client.check(doing, group.error_code, None)?;
            for topic in &group.topics {
                let by_id = || ids.iter().find(|(_, id)| **id == topic.topic_id).map(|(name, _)| *name);
                let name = if topic.name.is_empty() { by_id() } else { Some(topic.name) };
                for partition in &topic.partitions {
                    self.client.check(doing, partition.error_code, None)?;
                    take(name.unwrap_or_default(), partition.partition_index, partition.committed_offset);
                }
            }
        }
        Ok(found)
    }

    /// The ids of the partitions' topics.
    async fn topic_ids<'p>(
        &self,
        partitions: impl Iterator<Item = &'p Partition>,
    ) -> Result<BTreeMap<&'p str, TopicId>, ClientError> {
        let mut ids = BTreeMap::new();
        for partition in partitions {
            if !ids.contains_key(&*partition.topic) {
                ids.insert(&*partition.topic, self.client.topic(&partition.topic).await?.id);
            }
        }
        Ok(ids)
    }

    /// Who coordinates the group.
    pub(crate) fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }
}
