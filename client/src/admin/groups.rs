//! Which groups there are, and who is in them.
//!
//! Each broker lists the groups that it coordinates, and describes them in one of two ways, by the protocol that a group's
//! members speak: it is asked for the newer one first, as Kafka's own clients do.

use protocol::api::ApiKey;
use protocol::coordinator::embedded;
use protocol::error::KafkaError;
use protocol::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};
use protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse};

use super::{Admin, Partition};
use crate::connection::Connection;
use crate::coordinator::{Coordinator, Kind};
use crate::error::ClientError;

/// What members of classic groups that consume call their protocol.
const CONSUMERS: &str = "consumer";
/// The state of a classic group that there is not, where the broker has no error for it.
const DEAD: &str = "Dead";

/// How a group's members agree on who reads what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupKind {
    /// One of them decides (JoinGroup, SyncGroup), or there are only offsets.
    Classic,
    /// The broker decides (KIP-848).
    Consumer,
    /// In a way that this client does not know.
    Unknown,
}

impl GroupKind {
    fn of(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "classic" => Self::Classic,
            "consumer" => Self::Consumer,
            _ => Self::Unknown,
        }
    }
}

/// How far a group has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupState {
    /// It has offsets, and no members.
    Empty,
    /// Classic: members are joining.
    PreparingRebalance,
    /// Classic: they wait for what their leader decides.
    CompletingRebalance,
    /// Consumer: the broker is about to decide.
    Assigning,
    /// Consumer: members are on their way to what was decided.
    Reconciling,
    /// Each member has what it is to have.
    Stable,
    /// It is being deleted.
    Dead,
    /// One that this client does not know.
    Unknown,
}

impl GroupState {
    fn of(name: &str) -> Self {
        match name {
            "Empty" => Self::Empty,
            "PreparingRebalance" => Self::PreparingRebalance,
            "CompletingRebalance" => Self::CompletingRebalance,
            "Assigning" => Self::Assigning,
            "Reconciling" => Self::Reconciling,
            "Stable" => Self::Stable,
            DEAD => Self::Dead,
            _ => Self::Unknown,
        }
    }
}

/// A group as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its name.
    pub name: String,
    /// What its members do together: `consumer`, `connect`, ...; empty where there are only offsets.
    pub protocol_type: String,
    /// How far it has come; none where the broker is too old to say so in a list.
    pub state: Option<GroupState>,
    /// How its members agree; none where the broker is too old to say so.
    pub kind: Option<GroupKind>,
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub name: String,
    /// How its members agree.
    pub kind: GroupKind,
    /// How far it has come.
    pub state: GroupState,
    /// The assignor in use; empty where none is yet.
    pub assignor: String,
    /// Its members, by their ids.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The name that it has in the group.
    pub id: String,
    /// The name that a static member has given itself.
    pub instance_id: Option<String>,
    /// What its client calls itself.
    pub client_id: String,
    /// Where its client is.
    pub client_host: String,
    /// The partitions that it has, in order; none where the group is not one of consumers.
    pub assignment: Vec<Partition>,
}

impl Admin {
    /// The groups of the cluster, by name.
    ///
    /// # Errors
    /// A broker can't be asked.
    pub async fn list_groups(&self) -> Result<Vec<ListedGroup>, ClientError> {
        const STATE_VERSION_MIN: i16 = 4;
        const KIND_VERSION_MIN: i16 = 5;
        let doing = "list groups";
        let mut groups = self
            .on_each_broker(doing, async |connection| {
                let version = connection.version(ApiKey::ListGroups)?;
                let request = ListGroupsRequest { states_filter: Vec::new(), types_filter: Vec::new() };
                let answer = connection.call(&request).await?;
                let response: ListGroupsResponse<'_> = answer.decode()?;
                self.client.check(doing, response.error_code, None)?;
                let listed = response.groups.iter().map(|group| ListedGroup {
                    name: group.group_id.to_owned(),
                    protocol_type: group.protocol_type.to_owned(),
                    state: (version >= STATE_VERSION_MIN).then(|| GroupState::of(group.group_state)),
                    kind: (version >= KIND_VERSION_MIN).then(|| GroupKind::of(group.group_type)),
                });
                Ok(listed.collect())
            })
            .await?;
        groups.sort_unstable_by(|one: &ListedGroup, other| one.name.cmp(&other.name));
        // One that has moved meanwhile may have been listed by both brokers.
        groups.dedup_by(|one, other| one.name == other.name);
        Ok(groups)
    }

    /// Groups with their members, in the order of their names here.
    ///
    /// # Errors
    /// There is no such group ([`KafkaError::GroupIdNotFound`]), or its coordinator can't be asked.
    pub async fn describe_groups(&self, names: &[&str]) -> Result<Vec<GroupDescription>, ClientError> {
        let mut groups = Vec::with_capacity(names.len());
        for name in names {
            groups.push(self.describe_group(name).await?);
        }
        Ok(groups)
    }

    async fn describe_group(&self, name: &str) -> Result<GroupDescription, ClientError> {
        let coordinator = Coordinator::new(&self.client, Kind::Group, name);
        let doing = format!("describe group {name}");
        let mut group = coordinator
            .until_done(&doing, async |connection| {
                if connection.version(ApiKey::ConsumerGroupDescribe).is_ok() {
                    match self.describe_as_consumer(&doing, name, &connection).await {
                        Err(error) if is_of_other_kind(&error) => {}
                        outcome => return outcome,
                    }
                }
                self.describe_as_classic(&doing, name, &connection).await
            })
            .await?;
        group.members.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        Ok(group)
    }

    async fn describe_as_consumer(
        &self,
        doing: &str,
        name: &str,
        connection: &Connection,
    ) -> Result<GroupDescription, ClientError> {
        let request =
            ConsumerGroupDescribeRequest { group_ids: vec![name], include_authorized_operations: false };
        let answer = connection.call(&request).await?;
        let response: ConsumerGroupDescribeResponse<'_> = answer.decode()?;
        let group = response.groups.first().ok_or_else(|| not_found(doing))?;
        self.client.check(doing, group.error_code, group.error_message)?;
        let members = group.members.iter().map(|member| GroupMember {
            id: member.member_id.to_owned(),
            instance_id: member.instance_id.map(str::to_owned),
            client_id: member.client_id.to_owned(),
            client_host: member.client_host.to_owned(),
            assignment: assigned(&member.assignment),
        });
        Ok(GroupDescription {
            name: name.to_owned(),
            kind: GroupKind::Consumer,
            state: GroupState::of(group.group_state),
            assignor: group.assignor_name.to_owned(),
            members: members.collect(),
        })
    }

    async fn describe_as_classic(
        &self,
        doing: &str,
        name: &str,
        connection: &Connection,
    ) -> Result<GroupDescription, ClientError> {
        let request = DescribeGroupsRequest { groups: vec![name], include_authorized_operations: false };
        let answer = connection.call(&request).await?;
        let response: DescribeGroupsResponse<'_> = answer.decode()?;
        let group = response.groups.first().ok_or_else(|| not_found(doing))?;
        self.client.check(doing, group.error_code, group.error_message)?;
        if group.group_state == DEAD {
            return Err(not_found(doing));
        }
        let members = group.members.iter().map(|member| GroupMember {
            id: member.member_id.to_owned(),
            instance_id: member.group_instance_id.map(str::to_owned),
            client_id: member.client_id.to_owned(),
            client_host: member.client_host.to_owned(),
            assignment: assigned_classically(group, member),
        });
        Ok(GroupDescription {
            name: name.to_owned(),
            kind: GroupKind::Classic,
            state: GroupState::of(group.group_state),
            assignor: group.protocol_data.to_owned(),
            members: members.collect(),
        })
    }
}

/// Whether the group may be one of the classic protocol.
fn is_of_other_kind(error: &ClientError) -> bool {
    matches!(error.kafka(), Some(KafkaError::GroupIdNotFound | KafkaError::UnsupportedVersion))
}

fn not_found(doing: &str) -> ClientError {
    ClientError::Kafka { doing: doing.to_owned(), error: KafkaError::GroupIdNotFound, message: None }
}

fn assigned(assignment: &Assignment<'_>) -> Vec<Partition> {
    let topics = assignment.topic_partitions.iter();
    in_order(topics.map(|topic| (topic.topic_name, topic.partitions.as_slice())))
}

/// What a member's leader has given it, where they are consumers: others have formats of their own.
fn assigned_classically(group: &DescribedGroup<'_>, member: &DescribedGroupMember<'_>) -> Vec<Partition> {
    if group.protocol_type != CONSUMERS || member.member_assignment.is_empty() {
        return Vec::new();
    }
    let Ok((_, assignment)) = embedded::Assignment::decode(member.member_assignment) else {
        return Vec::new();
    };
    let topics = assignment.assigned_partitions.iter();
    in_order(topics.map(|topic| (topic.topic, topic.partitions.as_slice())))
}

/// Partitions by topic, one by one.
pub(super) fn in_order<'t>(
    topics: impl Iterator<Item = (&'t str, &'t [protocol::types::PartitionIndex])>,
) -> Vec<Partition> {
    let one_by_one = topics.flat_map(|(topic, indexes)| {
        indexes.iter().map(|index| Partition { topic: topic.to_owned(), index: *index })
    });
    let mut partitions: Vec<Partition> = one_by_one.collect();
    partitions.sort_unstable();
    partitions
}
