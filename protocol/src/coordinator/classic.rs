//! The values of classic groups and of committed offsets.

use protocol_derive::Message;

use super::Value;
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicId};

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetCommitValue<'a> {
    /// The offset committed.
    pub offset: Offset,
    /// The epoch of the last record consumed; -1 where unknown.
    #[wire(versions = "3+", default = LeaderEpoch::UNKNOWN, ignorable)]
    pub leader_epoch: LeaderEpoch,
    /// What the client wants to remember with it.
    pub metadata: &'a str,
    /// When it was committed.
    pub commit_timestamp: Timestamp,
    /// When it expires, where the client said so; otherwise -1.
    #[wire(versions = "1", default = Timestamp(-1), ignorable)]
    pub expire_timestamp: Timestamp,
    /// The topic's id; zero where the client named the topic.
    #[wire(versions = "4+", tag = 0, ignorable)]
    pub topic_id: TopicId,
}

impl OffsetCommitValue<'_> {
    /// The version that every reader knows and that still carries what the value holds.
    #[must_use]
    pub fn version(&self) -> i16 {
        if self.expire_timestamp.get() >= 0 {
            1
        } else if self.topic_id == TopicId::ZERO {
            3
        } else {
            4
        }
    }
}

impl<'a> Value<'a> for OffsetCommitValue<'a> {
    const VERSION_MAX: i16 = 4;
    const FLEXIBLE_FROM: i16 = 4;
}

/// A classic group as it was when its last rebalance was completed.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct GroupMetadataValue<'a> {
    /// What the group does: `consumer`, `connect`, ...; empty where no member said so.
    pub protocol_type: &'a str,
    /// The group's generation.
    pub generation: i32,
    /// The assignor chosen; null for a group without members.
    pub protocol: Option<&'a str>,
    /// The member that assigns; null for a group without members.
    pub leader: Option<&'a str>,
    /// When the group's state changed last; -1 where unknown.
    #[wire(versions = "2+", default = Timestamp(-1), ignorable)]
    pub current_state_timestamp: Timestamp,
    /// The members.
    pub members: Vec<MemberMetadata<'a>>,
}

/// The version of [`GroupMetadataValue`] that is written.
const GROUP_METADATA_VERSION: i16 = 3;

impl GroupMetadataValue<'_> {
    /// The version that is written: the newest that every reader knows.
    #[must_use]
    pub const fn version(&self) -> i16 {
        GROUP_METADATA_VERSION
    }
}

impl<'a> Value<'a> for GroupMetadataValue<'a> {
    const VERSION_MAX: i16 = 4;
    const FLEXIBLE_FROM: i16 = 4;
}

/// A member of a classic group.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct MemberMetadata<'a> {
    /// The member.
    pub member_id: &'a str,
    /// The static member's own name; null for a dynamic member.
    #[wire(versions = "3+", ignorable)]
    pub group_instance_id: Option<&'a str>,
    /// The client's id.
    pub client_id: &'a str,
    /// The client's address.
    pub client_host: &'a str,
    /// How long the member may take to rejoin, in milliseconds.
    #[wire(versions = "1+", default = -1, ignorable)]
    pub rebalance_timeout: i32,
    /// After how long without a heartbeat the member is out, in milliseconds.
    pub session_timeout: i32,
    /// The member's subscription under the assignor chosen.
    pub subscription: &'a [u8],
    /// The member's assignment.
    pub assignment: &'a [u8],
}
