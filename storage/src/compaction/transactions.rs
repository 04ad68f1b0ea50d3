//! Which batches were aborted, and which markers are still needed, along one walk through a log.
//!
//! - The records of an aborted transaction go at once.
//! - A marker is needed as long as the walk meets batches of its transaction. Where consumers are told of an abort and the
//!   walk meets none, they need not be told any more; until they aren't, the marker is needed, because they leave out what a
//!   producer wrote until they meet it.

use std::collections::VecDeque;

use protocol::aborted::AbortedTransaction;
use protocol::batch::BatchHeader;
use protocol::records::ControlKind;
use protocol::types::{Offset, ProducerId};
use rustc_hash::{FxHashMap, FxHashSet};

/// The transactions of a walk.
pub(super) struct Transactions {
    /// Aborted ones that the walk has not come to, by their first offset.
    ahead: VecDeque<AbortedTransaction>,
    /// Producers of aborted ones that it is in, and whether it has met batches of them.
    aborted: FxHashMap<ProducerId, bool>,
    /// Producers of which it has met batches that were not aborted, since their last marker.
    others: FxHashSet<ProducerId>,
    /// Markers of aborted ones of which it has met no batch.
    without_batches: Vec<Offset>,
}

/// What a marker is still for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// It ends batches that are there.
    Needed,
    /// It ends none, but consumers are told of the transaction that it aborted.
    Told,
    /// Nothing.
    Over,
}

impl Transactions {
    /// For a walk over the log from the first of these transactions' records on.
    pub(super) fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_by_key(|transaction| transaction.first_offset);
        Self {
            ahead: aborted.into(),
            aborted: FxHashMap::default(),
            others: FxHashSet::default(),
            without_batches: Vec::new(),
        }
    }

    fn come_to(&mut self, offset: Offset) {
        while let Some(next) = self.ahead.pop_front_if(|next| next.first_offset <= offset) {
            self.aborted.insert(next.producer_id, false);
        }
    }

    /// Whether the records of a batch were aborted.
    pub(super) fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        assert!(!header.is_control());
        self.come_to(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        if let Some(is_met) = self.aborted.get_mut(&header.producer_id()) {
            *is_met = true;
            return true;
        }
        self.others.insert(header.producer_id());
        false
    }

    /// What a marker is still for; `kind` is none for one that has no record left, or is of no known kind.
    pub(super) fn marker(&mut self, header: &BatchHeader, kind: Option<ControlKind>) -> Marker {
        assert!(header.is_control());
        self.come_to(header.last_offset());
        let is_needed = match kind {
            Some(ControlKind::Abort) => match self.aborted.remove(&header.producer_id()) {
                Some(false) => {
                    self.without_batches.push(header.last_offset());
                    return Marker::Told;
                }
                found => found.is_some(),
            },
            Some(ControlKind::Commit) => self.others.remove(&header.producer_id()),
            None => header.record_count() > 0,
        };
        if is_needed { Marker::Needed } else { Marker::Over }
    }

    /// The markers below an offset of aborted transactions of which the walk has met no batch, going up.
    pub(super) fn without_batches_below(&self, end: Offset) -> &[Offset] {
        &self.without_batches[..self.without_batches.partition_point(|marker| *marker < end)]
    }
}

#[cfg(test)]
mod tests {
    use protocol::batch::BatchIter;
    use protocol::records::{BatchBuilder, BatchOptions, ProducerStamp};
    use protocol::types::{ProducerEpoch, Sequence, Timestamp};

    use super::*;

    /// A walk over single records: `d` a record outside of transactions, `t` one inside, `c` a commit, `a` an abort, each
    /// with its producer. Says of each whether it is kept (upper case), only told of (`!`), or not.
    fn check(walk: &[(char, i64)], aborted: &[(i64, i64, i64)], expected: &str) {
        let aborted = aborted.iter().map(|&(producer, first, last)| AbortedTransaction {
            producer_id: ProducerId(producer),
            first_offset: Offset(first),
            last_offset: Offset(last),
            last_stable_offset: Offset(last),
        });
        let mut transactions = Transactions::new(aborted.collect());
        let shown: String = (0..)
            .zip(walk)
            .map(|(offset, &(what, producer))| {
                let mut builder = BatchBuilder::new(BatchOptions {
                    base_offset: Offset(offset),
                    producer: ProducerStamp {
                        id: ProducerId(producer),
                        epoch: ProducerEpoch(0),
                        base_sequence: Sequence(0),
                    },
                    transactional: what != 'd',
                    control: matches!(what, 'a' | 'c'),
                    ..BatchOptions::default()
                });
                builder.append(Timestamp(0), None, None, &[]);
                let bytes = builder.build();
                let batch = BatchIter::new(&bytes).next().expect("one").expect("whole");
                let marker = match what {
                    'a' => transactions.marker(batch.header(), Some(ControlKind::Abort)),
                    'c' => transactions.marker(batch.header(), Some(ControlKind::Commit)),
                    _ if transactions.is_aborted(batch.header()) => Marker::Over,
                    _ => Marker::Needed,
                };
                match marker {
                    Marker::Needed => what.to_ascii_uppercase(),
                    Marker::Told => '!',
                    Marker::Over => what,
                }
            })
            .collect();
        assert_eq!(shown, expected);
        let told: Vec<_> = (0..).zip(expected.chars()).filter(|(_, what)| *what == '!').collect();
        let limit = told.last().map_or(0, |(offset, _)| *offset);
        let below: Vec<Offset> = told.iter().map(|(offset, _)| Offset(*offset)).collect();
        assert_eq!(transactions.without_batches_below(Offset(limit + 1)), below);
        assert_eq!(
            transactions.without_batches_below(Offset(limit)),
            &below[..below.len().saturating_sub(1)]
        );
    }

    #[test]
    fn what_is_committed_stays_with_its_marker() {
        check(&[('d', 1), ('t', 1), ('t', 1), ('c', 1)], &[], "DTTC");
    }

    #[test]
    fn what_is_aborted_goes_and_its_marker_stays_until_it_is_gone() {
        check(
            &[('t', 1), ('t', 2), ('t', 1), ('a', 1), ('t', 1), ('c', 1), ('c', 2)],
            &[(1, 0, 3)],
            "tTtATCC",
        );
        check(&[('d', 9), ('a', 1)], &[], "Da");
        check(&[('d', 9), ('a', 1), ('t', 1), ('a', 1)], &[(1, -3, 1), (1, 2, 3)], "D!tA");
    }

    #[test]
    fn a_commit_without_records_is_over() {
        check(&[('t', 1), ('c', 1), ('c', 1), ('c', 2)], &[], "TCcc");
    }

    #[test]
    fn one_producer_aborts_and_commits_in_turn() {
        let walk = [('t', 1), ('a', 1), ('t', 1), ('c', 1), ('t', 1), ('a', 1), ('d', 1)];
        check(&walk, &[(1, 0, 1), (1, 4, 5)], "tATCtAD");
    }
}
