//! A group of either kind: what both can be asked.

use super::classic::{ClassicGroup, RetentionBase};
use super::consumer::ConsumerGroup;
use super::request::{CommitTerms, CommitTopic, Heartbeat, Join, MemberName, Sync, Ticket};
use super::timers::Awaited;
use super::turn::Turn;
use super::{GroupError, ListedGroup, Name, Record};
use crate::metadata::Image;
use protocol::coordinator::Key;

/// A group of either kind.
#[derive(Debug)]
pub(super) enum Group {
    /// Its members assign.
    Classic(ClassicGroup),
    /// The coordinator assigns (KIP-848).
    Consumer(ConsumerGroup),
}

/// Asks the group, whichever it is.
macro_rules! either {
    ($group:expr, $inner:ident => $question:expr) => {
        match $group {
            Group::Classic($inner) => $question,
            Group::Consumer($inner) => $question,
        }
    };
}

impl Group {
    /// Whether nobody is in the group, and nobody about to be.
    pub(super) fn is_deserted(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty() && !group.has_expected_members(),
            Self::Consumer(group) => group.is_empty(),
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        either!(self, group => group.memory_bytes())
    }

    pub(super) fn list(&self) -> ListedGroup {
        either!(self, group => group.list())
    }

    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        either!(self, group => group.is_subscribed_to(topic))
    }

    pub(super) fn retention_base(&self) -> Option<RetentionBase> {
        either!(self, group => group.retention_base())
    }

    pub(super) fn check_deletion(&self) -> Result<(), GroupError> {
        either!(self, group => group.check_deletion())
    }

    pub(super) fn check_offset_deletion(&self) -> Result<(), GroupError> {
        match self {
            Self::Classic(group) => group.check_offset_deletion(),
            Self::Consumer(_) => Ok(()),
        }
    }

    pub(super) fn start(&mut self, turn: &mut Turn<'_>) {
        either!(self, group => group.start(turn));
    }

    /// Answers everything parked with an error and stops all timers: the group is about to go.
    pub(super) fn dissolve(&mut self, turn: &mut Turn<'_>, error: &GroupError) {
        match self {
            Self::Classic(group) => group.dissolve(turn, error),
            Self::Consumer(group) => group.dissolve(turn),
        }
    }

    /// The records that take the group out of the log.
    pub(super) fn tombstones(&self, id: &str) -> Vec<Record> {
        match self {
            Self::Classic(_) => {
                let key = Key::ClassicGroup { group: id }.encode().expect("the group's id was checked");
                vec![Record { key, value: None }]
            }
            Self::Consumer(group) => group.tombstones(),
        }
    }

    /// A member joins by the classic protocol.
    pub(super) fn join(&mut self, turn: &mut Turn<'_>, ticket: Ticket, join: &Join) {
        match self {
            Self::Classic(group) => group.join(turn, ticket, join),
            Self::Consumer(group) => group.join(turn, ticket, join),
        }
    }

    /// A member of the classic protocol asks for its assignment.
    pub(super) fn sync(&mut self, turn: &mut Turn<'_>, ticket: Ticket, sync: &Sync) {
        match self {
            Self::Classic(group) => group.sync(turn, ticket, sync),
            Self::Consumer(group) => group.sync(turn, ticket, sync),
        }
    }

    /// A member of the classic protocol is alive.
    pub(super) fn heartbeat(&mut self, turn: &mut Turn<'_>, beat: &Heartbeat) -> Result<(), GroupError> {
        match self {
            Self::Classic(group) => group.heartbeat(turn, beat),
            Self::Consumer(group) => group.classic_heartbeat(turn, beat),
        }
    }

    /// Members leave by the classic protocol's request.
    pub(super) fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        members: &[MemberName],
    ) -> Vec<Result<(), GroupError>> {
        match self {
            Self::Classic(group) => group.leave(turn, members),
            Self::Consumer(group) => group.leave_by_name(turn, members),
        }
    }

    /// Whether a member, or somebody outside of the group, may commit these offsets.
    pub(super) fn check_commit(
        &self,
        image: &Image,
        member: &MemberName,
        generation: i32,
        terms: CommitTerms,
        topics: &[CommitTopic],
    ) -> Result<(), GroupError> {
        match self {
            Self::Classic(group) => {
                group.check_commit(member, generation, terms == CommitTerms::Transactional)
            }
            Self::Consumer(group) => group.check_commit(image, member, generation, terms, topics),
        }
    }

    /// A member has committed offsets.
    pub(super) fn committed(&mut self, turn: &mut Turn<'_>, member: &MemberName) {
        if let Self::Classic(group) = self {
            group.committed(turn, member);
        }
    }

    /// Whether a member may fetch offsets. Who tells no member may, and so may any of a classic group.
    pub(super) fn check_fetch(&self, member: Option<&(Name, i32)>) -> Result<(), GroupError> {
        match (self, member) {
            (Self::Consumer(group), Some((id, epoch))) => group.check_fetch(id, *epoch),
            (Self::Consumer(_), None) | (Self::Classic(_), _) => Ok(()),
        }
    }

    pub(super) fn on_session_timer(&mut self, turn: &mut Turn<'_>, member: &Name) {
        either!(self, group => group.on_session_timer(turn, member));
    }

    pub(super) fn on_member_timer(&mut self, turn: &mut Turn<'_>, member: &Name, awaited: Awaited) {
        match self {
            Self::Consumer(group) => group.on_member_timer(turn, member, awaited),
            Self::Classic(_) => unreachable!("a classic group waits for all of its members at once"),
        }
    }

    pub(super) fn on_join_timer(&mut self, turn: &mut Turn<'_>) {
        self.classic().on_join_timer(turn);
    }

    pub(super) fn on_sync_timer(&mut self, turn: &mut Turn<'_>) {
        self.classic().on_sync_timer(turn);
    }

    /// The group, of which it is known that it is a classic one: a timer of one goes with it.
    fn classic(&mut self) -> &mut ClassicGroup {
        match self {
            Self::Classic(group) => group,
            Self::Consumer(_) => unreachable!("a consumer group waits for no joins and syncs"),
        }
    }
}
