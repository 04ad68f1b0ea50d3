//! What a coordinator answers, and what is to be done before the answer leaves.

use super::request::Ticket;
use super::{GroupError, Name};
use bytes::Bytes;
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId};

/// What one input asks of its caller.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use = "records that are not appended leave the log behind the state"]
pub struct Effects {
    /// To be appended in this order, in one batch where they fit into one.
    pub records: Vec<Record>,
    /// The records belong to this producer's transaction.
    pub transaction: Option<(ProducerId, ProducerEpoch)>,
    /// Who is answered: the one who asked, and others that have waited.
    pub answers: Vec<Answer>,
}

impl Effects {
    /// Answers at once.
    pub(super) fn answer(&mut self, ticket: Ticket, reply: Reply) {
        self.answers.push(Answer { ticket, reply, when: When::Now });
    }

    /// Answers when all that was appended so far is committed.
    pub(super) fn answer_committed(&mut self, ticket: Ticket, reply: Reply) {
        self.answers.push(Answer { ticket, reply, when: When::Committed });
    }
}

/// A record of `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it is about.
    pub key: Bytes,
    /// What holds from now on; none if it is gone.
    pub value: Option<Bytes>,
}

/// An answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The request.
    pub ticket: Ticket,
    /// The answer.
    pub reply: Reply,
    /// When it may leave.
    pub when: When,
}

/// When an answer may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once.
    Now,
    /// When all that has been appended so far, this input's records included, is committed.
    Committed,
}

/// An answer, of the request's kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To a join.
    Join(Result<Box<Joined>, JoinRefused>),
    /// To a sync.
    Sync(Result<Synced, GroupError>),
    /// To a heartbeat.
    Heartbeat(Result<(), GroupError>),
    /// To a leave: for each member in the order of the request, whether it has left. Versions before 3 name one
    /// member, whose outcome is the whole's.
    Leave(Result<Vec<Result<(), GroupError>>, GroupError>),
    /// To a heartbeat of a consumer group.
    ConsumerHeartbeat(Result<Box<ConsumerBeat>, GroupError>),
    /// To both commits: for each partition in the order of the request.
    Commit(Result<Vec<Vec<Result<(), GroupError>>>, GroupError>),
    /// To a fetch of offsets.
    FetchOffsets(Result<Vec<FetchedTopic>, GroupError>),
    /// To a deletion of offsets: for each partition in the order of the request.
    DeleteOffsets(Result<Vec<Vec<Result<(), GroupError>>>, GroupError>),
    /// To a list.
    List(Vec<ListedGroup>),
    /// To a description.
    Describe(Result<Box<DescribedGroup>, GroupError>),
    /// To a description of a consumer group.
    DescribeConsumers(Result<Box<DescribedConsumerGroup>, GroupError>),
    /// To a deletion.
    Delete(Result<(), GroupError>),
    /// To what has no answer of its own.
    Done,
}

/// The group as it was joined.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// The member's id.
    pub member_id: Name,
    /// The generation.
    pub generation: i32,
    /// What the group does.
    pub protocol_type: Option<Name>,
    /// The assignor chosen.
    pub protocol_name: Option<Name>,
    /// The member that assigns; empty if there is none.
    pub leader: Name,
    /// Whether the leader is to leave the assignment as it is.
    pub skip_assignment: bool,
    /// For the leader: all members.
    pub members: Vec<JoinedMember>,
}

/// A member, as told to the leader.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinedMember {
    /// The member's id.
    pub member_id: Name,
    /// The static member's own name.
    pub instance_id: Option<Name>,
    /// Its subscription.
    pub metadata: Bytes,
}

/// A join refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// The id that the member is told; the one to come back with for [`GroupError::MemberIdRequired`].
    pub member_id: Name,
    /// Why.
    pub error: GroupError,
}

/// A member's assignment.
#[derive(Clone, Debug, PartialEq)]
pub struct Synced {
    /// What the group does.
    pub protocol_type: Option<Name>,
    /// The assignor chosen.
    pub protocol_name: Option<Name>,
    /// The assignment.
    pub assignment: Bytes,
}

/// Committed offsets of a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedTopic {
    /// The topic.
    pub topic: Name,
    /// The id asked for, or the one that was committed where all are asked for.
    pub topic_id: TopicId,
    /// The offsets.
    pub partitions: Vec<FetchedPartition>,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq)]
pub struct FetchedPartition {
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset; -1 where none is committed.
    pub offset: Offset,
    /// The epoch of the last record consumed; -1 where unknown.
    pub leader_epoch: LeaderEpoch,
    /// What the client wanted to remember.
    pub metadata: Box<str>,
    /// Why there is none, if that is not for lack of a commit.
    pub error: Option<GroupError>,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// The group.
    pub group: Name,
    /// What it does; empty where no member said so.
    pub protocol_type: Name,
    /// Its state, in Kafka's words.
    pub state: &'static str,
    /// Its type, in Kafka's words.
    pub kind: &'static str,
}

/// A classic group.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedGroup {
    /// Its state, in Kafka's words.
    pub state: &'static str,
    /// What it does; empty where no member said so.
    pub protocol_type: Name,
    /// The assignor chosen; empty while there is none.
    pub protocol: Name,
    /// The members.
    pub members: Vec<DescribedMember>,
}

/// A member of a classic group.
#[derive(Clone, Debug, PartialEq)]
pub struct DescribedMember {
    /// The member's id.
    pub member_id: Name,
    /// The static member's own name.
    pub instance_id: Option<Name>,
    /// The client's id.
    pub client_id: Name,
    /// The client's address.
    pub client_host: Name,
    /// Its subscription, while the group is stable.
    pub metadata: Bytes,
    /// Its assignment.
    pub assignment: Bytes,
}

/// What a member of a consumer group is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerBeat {
    /// The member's id.
    pub member_id: Name,
    /// Its epoch.
    pub member_epoch: i32,
    /// How often to send a heartbeat; 0 to one that leaves.
    pub heartbeat_interval_ms: i32,
    /// What it is to own; none for no change.
    pub assignment: Option<Vec<OwnedTopic>>,
}

/// Partitions of one topic that a member is to own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedTopic {
    /// The topic.
    pub topic_id: TopicId,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumerGroup {
    /// Its state, in Kafka's words.
    pub state: &'static str,
    /// Its epoch.
    pub epoch: i32,
    /// The epoch of the target assignment.
    pub target_epoch: i32,
    /// The assignor.
    pub assignor: &'static str,
    /// The members.
    pub members: Vec<DescribedConsumer>,
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConsumer {
    /// The member's id.
    pub member_id: Name,
    /// The static member's own name.
    pub instance_id: Option<Name>,
    /// Its rack.
    pub rack_id: Option<Name>,
    /// Its epoch.
    pub epoch: i32,
    /// The client's id.
    pub client_id: Name,
    /// The client's address.
    pub client_host: Name,
    /// The topics subscribed to.
    pub topics: Vec<Name>,
    /// The pattern subscribed to.
    pub expression: Option<Name>,
    /// Whether it speaks the classic protocol.
    pub speaks_classic: bool,
    /// What it owns.
    pub assignment: Vec<DescribedTopic>,
    /// What it is to own in the end.
    pub target: Vec<DescribedTopic>,
}

/// Partitions of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedTopic {
    /// The topic.
    pub topic_id: TopicId,
    /// Its name.
    pub topic: Name,
    /// The partitions.
    pub partitions: Vec<PartitionIndex>,
}
