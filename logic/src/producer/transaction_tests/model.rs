//! The same by definition: whatever happens to a log, the table knows what one finds who goes through all of it.

use super::*;
use proptest::prelude::*;

/// A transaction as someone finds it who goes through the whole log.
struct Found {
    id: i64,
    first: i64,
    end: Option<(i64, ControlKind)>,
}

/// The last stable offset and the aborted transactions, by definition.
fn transactions_of(log: &[Vec<u8>]) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for bytes in log {
        let header = BatchHeader::from_prefix(bytes).expect("a header");
        let id = header.producer_id().get();
        let open = found.iter_mut().find(|one| one.id == id && one.end.is_none());
        let base = header.base_offset().get();
        if header.is_control() {
            // Key: version, kind.
            let kind = if bytes[HEADER_BYTES + 8] == 1 { ControlKind::Commit } else { ControlKind::Abort };
            if let Some(open) = open {
                open.end = Some((base, kind));
            }
        } else if header.is_transactional() && open.is_none() {
            found.push(Found { id, first: base, end: None });
        }
    }
    found
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        id: i64,
        count: i32,
    },
    Plain {
        id: i64,
    },
    /// Without sequence numbers: what a coordinator writes for a transaction.
    Unsequenced {
        id: i64,
    },
    End {
        id: i64,
        abort: bool,
        bump: bool,
    },
    Cut {
        back: i64,
    },
    Reload,
    Rebuild,
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..4_i64;
    prop_oneof![
        6 => (id.clone(), 1..3_i32).prop_map(|(id, count)| Step::Write { id, count }),
        1 => id.clone().prop_map(|id| Step::Plain { id }),
        2 => id.clone().prop_map(|id| Step::Unsequenced { id }),
        4 => (id, any::<bool>(), any::<bool>()).prop_map(|(id, abort, bump)| Step::End { id, abort, bump }),
        1 => (0..6_i64).prop_map(|back| Step::Cut { back }),
        1 => Just(Step::Reload),
        1 => Just(Step::Rebuild),
    ]
}

impl Partition {
    fn next_of(&self, id: i64) -> (i16, i32) {
        self.table
            .find(ProducerId(id))
            .map_or((0, 0), |entry| (entry.epoch.get(), entry.next_sequence().get()))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Write { id, count } => {
                let (epoch, base) = self.next_of(id);
                let next = batch(id, epoch, base, count, true);
                let guard = self.table.verification(Timestamp(0), &next, false).expect("room");
                assert_eq!(self.write(&next, guard), Ok(Verdict::New));
            }
            Step::Plain { id } => {
                let (epoch, base) = self.next_of(id);
                let is_open = self.table.transactions.is_open(ProducerId(id));
                let outcome = self.write(&batch(id, epoch, base, 1, false), None);
                assert_eq!(outcome.is_err(), is_open);
            }
            Step::Unsequenced { id } => {
                let next = batch(id, self.next_of(id).0, -1, 1, true);
                let guard = self.table.verification(Timestamp(0), &next, false).expect("room");
                assert_eq!(self.write(&next, guard), Ok(Verdict::New));
            }
            Step::End { id, abort, bump } => {
                let (epoch, _) = self.next_of(id);
                let kind = if abort { ControlKind::Abort } else { ControlKind::Commit };
                let (epoch, level) = if bump { (epoch + 1, 2) } else { (epoch, 0) };
                self.end_transaction(&marker(id, epoch, 0, kind, level)).expect("in order");
            }
            Step::Cut { back } => {
                // A cut falls between batches.
                let target = (self.end - back).max(0);
                let bases = self.log.iter().map(|bytes| BatchHeader::from_prefix(bytes).expect("a header"));
                let end = bases.map(|header| header.next_offset().get()).filter(|end| *end <= target).max();
                let _ = self.cut(end.unwrap_or(0));
            }
            Step::Reload => self.reload(),
            Step::Rebuild => self.table = self.replayed(),
        }
    }

    fn compare(&mut self) {
        let found = transactions_of(&self.log);
        let open = found.iter().filter(|one| one.end.is_none());
        let stable = open.map(|one| one.first).min().unwrap_or(self.end);
        assert_eq!(self.table.last_stable_offset(Offset(self.end)), Offset(stable));
        for state in self.table.states() {
            let headers = self.log.iter().map(|bytes| BatchHeader::from_prefix(bytes).expect("a header"));
            let last = headers.rev().find(|header| header.producer_id() == state.producer_id);
            assert_eq!(Some(state.last_timestamp), last.map(BatchHeader::max_timestamp));
        }
        for from in 0..=self.end {
            for limit in from..=self.end {
                let mut expected: Vec<(i64, i64)> = found
                    .iter()
                    .filter_map(|one| match one.end {
                        Some((marker, ControlKind::Abort)) => Some((marker, one.first)),
                        _ => None,
                    })
                    .filter(|(marker, first)| *marker >= from && *first < limit)
                    .collect();
                expected.sort_unstable();
                let told = self.table.aborted(Offset(from), Offset(limit));
                let told: Vec<_> =
                    told.iter().map(|one| (one.last_offset.get(), one.first_offset.get())).collect();
                assert_eq!(told, expected, "in {from}..{limit}");
            }
        }
    }
}

proptest! {
    #[test]
    fn the_table_knows_what_a_walk_through_the_log_finds(steps in prop::collection::vec(step(), 1..60)) {
        let mut partition = Partition::default();
        for (number, step) in (1..).zip(&steps) {
            partition.now = number;
            partition.step(step);
            partition.table.entries.assert_invariants();
            partition.compare();
        }
    }

    #[test]
    fn no_bytes_break_the_decoder(flips in prop::collection::vec((0..600_usize, any::<u8>()), 1..5)) {
        let mut partition = Partition::default();
        for line in ["ask 7 0 0", "write 7 0 0 1", "abort 7 0 1", "ask 8 0 0", "write 8 0 0 1", "plain 9 0 0 1"] {
            partition.run(line);
        }
        let mut bytes = partition.table.encode_snapshot(Offset(partition.end));
        for (place, value) in flips {
            let length = bytes.len();
            bytes[place % length] = value;
        }
        if let Ok((decoded, at)) = ProducerTable::decode_snapshot(&bytes, Timestamp(0)) {
            decoded.entries.assert_invariants();
            prop_assert!(ProducerTable::decode_snapshot(&decoded.encode_snapshot(at), Timestamp(0)).is_ok());
        }
    }
}
