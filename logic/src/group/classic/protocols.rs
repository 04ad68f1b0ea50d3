//! Which assignors all members of a group support, and for which one they vote.

use super::Name;
use bytes::Bytes;
use std::collections::BTreeMap;

/// How many members support each assignor.
#[derive(Debug, Default)]
pub(super) struct Protocols {
    supporters: BTreeMap<Name, usize>,
}

impl Protocols {
    pub(super) fn add(&mut self, protocols: &[(Name, Bytes)]) {
        for (name, _) in protocols {
            *self.supporters.entry(name.clone()).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, protocols: &[(Name, Bytes)]) {
        for (name, _) in protocols {
            let count = self.supporters.get_mut(name).expect("it was counted");
            *count -= 1;
            if *count == 0 {
                self.supporters.remove(name);
            }
        }
    }

    /// Whether `members_count` members, all there are, support the assignor.
    pub(super) fn is_supported_by_all(&self, name: &str, members_count: usize) -> bool {
        self.supporters.get(name).copied().unwrap_or(0) == members_count
    }

    /// The assignor with most votes, each member's for the first of its own that all support; of equals, the first by
    /// name.
    pub(super) fn elect<'a>(
        &self,
        members: impl ExactSizeIterator<Item = &'a [(Name, Bytes)]>,
    ) -> Option<Name> {
        let members_count = members.len();
        let mut votes: BTreeMap<&Name, usize> = BTreeMap::new();
        for protocols in members {
            let choice = protocols.iter().find(|(name, _)| self.is_supported_by_all(name, members_count));
            let (name, _) = choice.expect("a member joins only if there is an assignor that all support");
            *votes.entry(name).or_default() += 1;
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.clone())
    }
}
