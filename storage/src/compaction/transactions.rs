//! Which batches were aborted, and which markers are still needed, along one walk through a log.
//!
//! - The records of an aborted transaction go at once.
//! - A marker is needed as long as the walk meets batches of its transaction, and an abort as long as consumers are told of
//!   it: they leave out what a producer wrote until they meet its marker.

use std::collections::VecDeque;

use protocol::batch::BatchHeader;
use protocol::records::ControlKind;
use protocol::transaction_index::AbortedTransaction;
use protocol::types::{Offset, ProducerId};
use rustc_hash::{FxHashMap, FxHashSet};

/// The transactions of a walk.
pub(super) struct Transactions {
    /// Aborted ones that the walk has not come to, by their first offset.
    ahead: VecDeque<AbortedTransaction>,
    /// Aborted ones that it is in, by producer.
    aborted: FxHashMap<ProducerId, AbortedTransaction>,
    /// Producers of which it has met batches that were not aborted, since their last marker.
    others: FxHashSet<ProducerId>,
}

impl Transactions {
    /// For a walk over the log from the first of these transactions' records on.
    pub(super) fn new(mut aborted: Vec<AbortedTransaction>) -> Self {
        aborted.sort_by_key(|transaction| transaction.first_offset);
        Self { ahead: aborted.into(), aborted: FxHashMap::default(), others: FxHashSet::default() }
    }

    fn come_to(&mut self, offset: Offset) {
        while let Some(next) = self.ahead.pop_front_if(|next| next.first_offset <= offset) {
            self.aborted.insert(next.producer_id, next);
        }
    }

    /// Whether the records of a batch were aborted.
    pub(super) fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        assert!(!header.is_control());
        self.come_to(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        if self.aborted.contains_key(&header.producer_id()) {
            return true;
        }
        self.others.insert(header.producer_id());
        false
    }

    /// Whether a marker is not needed any more; `None` for one that has no record left, or is of no known kind.
    pub(super) fn is_over(&mut self, header: &BatchHeader, kind: Option<ControlKind>) -> bool {
        assert!(header.is_control());
        self.come_to(header.last_offset());
        match kind {
            // Consumers are told of it.
            Some(ControlKind::Abort) => self.aborted.remove(&header.producer_id()).is_none(),
            Some(ControlKind::Commit) => !self.others.remove(&header.producer_id()),
            None => header.record_count() == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::batch::BatchIter;
    use protocol::records::{BatchBuilder, BatchOptions, ProducerStamp};
    use protocol::types::{ProducerEpoch, Sequence, Timestamp};

    use super::*;

    /// A walk over single records: `d` a record outside of transactions, `t` one inside, `c` a commit, `a` an abort, each
    /// with its producer. Says of each whether it is kept (upper case) or not.
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
                let is_gone = match what {
                    'a' => transactions.is_over(batch.header(), Some(ControlKind::Abort)),
                    'c' => transactions.is_over(batch.header(), Some(ControlKind::Commit)),
                    _ => transactions.is_aborted(batch.header()),
                };
                if is_gone { what } else { what.to_ascii_uppercase() }
            })
            .collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_committed_stays_with_its_marker() {
        check(&[('d', 1), ('t', 1), ('t', 1), ('c', 1)], &[], "DTTC");
    }

    #[test]
    fn what_is_aborted_goes_and_its_marker_stays_while_it_is_told() {
        check(
            &[('t', 1), ('t', 2), ('t', 1), ('a', 1), ('t', 1), ('c', 1), ('c', 2)],
            &[(1, 0, 3)],
            "tTtATCC",
        );
        check(&[('d', 9), ('a', 1)], &[], "Da");
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
