//! Why a group refuses what it is asked.

use thiserror::Error;

/// Why a request is refused. Nothing has changed then, but for [`GroupError::RecordTooLarge`]: what members said counts.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum GroupError {
    /// The group's id is empty where it must not be, or longer than a record can say.
    #[error("a group's id is needed, of at most 32767 bytes")]
    InvalidGroupId,
    /// Something in the request can't be.
    #[error("{0}")]
    InvalidRequest(&'static str),
    /// The session timeout is shorter or longer than the broker allows.
    #[error("the session timeout is not within what the broker allows")]
    InvalidSessionTimeout,
    /// The member is not in the group.
    #[error("the group has no such member")]
    UnknownMember,
    /// The member is to join again, with the id that it is given.
    #[error("the member is to join with the id that it is given")]
    MemberIdRequired,
    /// Another process has taken over the static member.
    #[error("another process has taken over the static member")]
    FencedInstance,
    /// The generation is not the group's.
    #[error("the generation is not the group's")]
    IllegalGeneration,
    /// The members are to join again.
    #[error("the group is rebalancing")]
    RebalanceInProgress,
    /// The protocol's type differs from the group's, or no assignor is supported by all.
    #[error("the protocols are not those of the group")]
    InconsistentProtocol,
    /// The group has as many members as it may have.
    #[error("the group is full")]
    GroupFull,
    /// There is no such group.
    #[error("there is no such group")]
    GroupNotFound,
    /// The member's epoch is not the one that it was told: it is to give everything up and join again.
    #[error("the member's epoch is not the one that it was told")]
    FencedMemberEpoch,
    /// The member's epoch is not its newest one.
    #[error("the member's epoch is not its newest")]
    StaleMemberEpoch,
    /// Another process is the static member, and has not said that it is away.
    #[error("the static member's name is in use")]
    UnreleasedInstance,
    /// There is no such assignor.
    #[error("the assignor is not offered")]
    UnsupportedAssignor,
    /// The regular expression is none, or too costly.
    #[error("the regular expression is not valid")]
    InvalidRegularExpression,
    /// The group still has members.
    #[error("the group has members")]
    NonEmptyGroup,
    /// A member of the group reads the topic.
    #[error("the group is subscribed to the topic")]
    SubscribedToTopic,
    /// What the client wants to remember with an offset is too long.
    #[error("an offset's metadata is too long")]
    OffsetMetadataTooLarge,
    /// A transaction that is not finished holds the offset open.
    #[error("a transaction holds the offset open")]
    UnstableOffset,
    /// The group does not fit into a record.
    #[error("the group is larger than a record may be")]
    RecordTooLarge,
    /// This coordinator has no memory left for more.
    #[error("the coordinator's memory is used up")]
    OutOfMemory,
    /// This coordinator is one no longer.
    #[error("the group has moved to another coordinator")]
    NotCoordinator,
}
