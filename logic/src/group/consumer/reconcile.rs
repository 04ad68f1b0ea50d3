//! A member's next step towards its target.

use super::{Current, Member, MemberState, Owned, Partitions};
use protocol::types::{PartitionIndex, TopicId};
use std::collections::BTreeSet;

/// All that decides a member's next step.
pub(super) struct Step<'a> {
    pub(super) member: &'a Member,
    pub(super) target_epoch: i32,
    pub(super) target: &'a Partitions,
    /// The topics that the member subscribes to now.
    pub(super) subscribed: &'a BTreeSet<TopicId>,
    pub(super) subscription_changed: bool,
    /// What the member says that it owns; none if it says nothing.
    pub(super) owned: Option<&'a Partitions>,
    /// Whether nobody else owns a partition.
    pub(super) is_free: &'a dyn Fn(TopicId, PartitionIndex) -> bool,
}

impl Step<'_> {
    /// Where the member is after the step; none if it stays where it is.
    pub(super) fn next(&self) -> Option<Current> {
        let current = &self.member.current;
        let next = match current.state {
            MemberState::Stable if current.epoch != self.target_epoch => self.towards_target(),
            MemberState::Stable if self.subscription_changed => self.within_subscription()?,
            MemberState::Stable => return None,
            MemberState::Revoking if self.still_owns(&current.revoking) => {
                if !self.subscription_changed {
                    return None;
                }
                self.within_subscription()?
            }
            MemberState::Revoking | MemberState::Releasing => self.towards_target(),
        };
        let differs = (next.epoch, next.state) != (current.epoch, current.state)
            || (&next.assigned, &next.revoking) != (&current.assigned, &current.revoking);
        differs.then_some(next)
    }

    /// Whether the member, as far as it says, still owns some of it.
    fn still_owns(&self, asked_back: &Owned) -> bool {
        let Some(owned) = self.owned else { return true };
        let has_any = |(topic, partitions): (&TopicId, &BTreeSet<PartitionIndex>)| {
            let asked = asked_back.get(topic);
            asked.is_some_and(|asked| partitions.iter().any(|partition| asked.contains_key(partition)))
        };
        owned.iter().any(has_any)
    }

    /// What of the present assignment belongs to topics that the member reads no longer is asked back, nothing else.
    fn within_subscription(&self) -> Option<Current> {
        let current = &self.member.current;
        let mut assigned = current.assigned.clone();
        let mut revoking = current.revoking.clone();
        assigned.retain(|topic, partitions| {
            let stays = self.subscribed.contains(topic);
            if !stays {
                revoking.entry(*topic).or_default().extend(partitions.iter());
            }
            stays
        });
        if assigned == current.assigned {
            return None;
        }
        let (epoch, previous_epoch) = (current.epoch, current.epoch);
        Some(if self.still_owns(&revoking) {
            Current { epoch, previous_epoch, state: MemberState::Revoking, assigned, revoking }
        } else {
            let (state, revoking) = (current.state, current.revoking.clone());
            Current { epoch, previous_epoch, state, assigned, revoking }
        })
    }

    fn towards_target(&self) -> Current {
        let current = &self.member.current;
        let (mut assigned, mut revoking) = (Owned::new(), Owned::new());
        for (topic, partitions) in &current.assigned {
            for (partition, epoch) in partitions {
                let to = if self.is_wanted(*topic, *partition) { &mut assigned } else { &mut revoking };
                to.entry(*topic).or_default().insert(*partition, *epoch);
            }
        }
        let previous_epoch = current.epoch;
        if !revoking.is_empty() && self.still_owns(&revoking) {
            let epoch = current.epoch;
            return Current { epoch, previous_epoch, state: MemberState::Revoking, assigned, revoking };
        }
        let mut state = MemberState::Stable;
        for (topic, partitions) in self.target.iter().filter(|(topic, _)| self.subscribed.contains(topic)) {
            for partition in partitions {
                let has = |owned: &Owned| owned.get(topic).is_some_and(|had| had.contains_key(partition));
                if has(&assigned) {
                    continue;
                }
                if (self.is_free)(*topic, *partition) {
                    assigned.entry(*topic).or_default().insert(*partition, self.target_epoch);
                } else {
                    state = MemberState::Releasing;
                }
            }
        }
        Current { epoch: self.target_epoch, previous_epoch, state, assigned, revoking: Owned::new() }
    }

    /// Whether a partition is in the target, and its topic still subscribed to.
    fn is_wanted(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.subscribed.contains(&topic)
            && self.target.get(&topic).is_some_and(|partitions| partitions.contains(&partition))
    }
}
