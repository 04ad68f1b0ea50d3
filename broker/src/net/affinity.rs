//! Where a connection's data is: which shard owns the partitions that its requests are about, most of the time.
//!
//! A majority vote in two words (Boyer and Moore, 1981): each request whose partitions all belong to one shard votes for
//! it, each other one against whoever leads. The lead is bounded, so that a connection that changes its mind is followed
//! soon, and one whose requests go to several shards alike stays where it is.

use std::cell::Cell;

use crate::limits::AFFINITY_LEAD_REQUESTS;

/// The vote over one connection's requests.
#[derive(Default)]
pub struct Affinity {
    leader: Cell<usize>,
    lead: Cell<u32>,
}

impl Affinity {
    /// A request was about partitions of one shard, or of several.
    pub fn note(&self, owner: Option<usize>) {
        let lead = self.lead.get();
        if owner == Some(self.leader.get()) {
            self.lead.set((lead + 1).min(AFFINITY_LEAD_REQUESTS));
        } else if lead > 0 {
            self.lead.set(lead - 1);
        } else if let Some(owner) = owner {
            self.leader.set(owner);
            self.lead.set(1);
        }
    }

    /// The shard that the connection belongs to, once that is beyond doubt.
    #[must_use]
    pub fn settled(&self) -> Option<usize> {
        (self.lead.get() == AFFINITY_LEAD_REQUESTS).then(|| self.leader.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(owners: impl IntoIterator<Item = Option<usize>>) -> Affinity {
        let affinity = Affinity::default();
        owners.into_iter().for_each(|owner| affinity.note(owner));
        affinity
    }

    fn requests(owner: Option<usize>) -> impl Iterator<Item = Option<usize>> {
        std::iter::repeat_n(owner, AFFINITY_LEAD_REQUESTS as usize)
    }

    #[test]
    fn a_connection_of_one_shard_settles_there() {
        assert_eq!(after([]).settled(), None);
        assert_eq!(after(requests(Some(3)).skip(1)).settled(), None);
        assert_eq!(after(requests(Some(3))).settled(), Some(3));
        assert_eq!(after(requests(Some(0))).settled(), Some(0));
    }

    #[test]
    fn a_connection_of_several_shards_settles_nowhere() {
        let in_turn = (0..1_000).map(|request| Some(request % 2));
        assert_eq!(after(in_turn).settled(), None);
        assert_eq!(after(std::iter::repeat_n(None, 1_000)).settled(), None);
    }

    #[test]
    fn a_change_of_mind_is_followed() {
        let affinity = after(requests(Some(1)).chain(requests(Some(2))).chain(requests(Some(2))));
        assert_eq!(affinity.settled(), Some(2));
    }
}
