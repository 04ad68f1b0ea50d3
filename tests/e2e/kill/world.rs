//! What the kill test knows of the broker: its topics, their incarnations, and a ledger for each partition.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use e2e::ledger::{Ledger, Stamp};

/// What is done to a topic besides producing to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing: every record stays.
    Kept,
    /// Its old records go by `retention.bytes`.
    Retained,
    /// Its old records go by DeleteRecords.
    Trimmed,
    /// It is deleted and made again, again and again.
    Churned,
}

/// A topic's name, partitions and configuration; they stay the same over its incarnations.
pub struct Plan {
    pub name: &'static str,
    pub fate: Fate,
    pub partitions: i32,
    pub configs: &'static [(&'static str, &'static str)],
}

/// Bytes that retention must keep of each partition of the retained topic. Values are a little less than the log's bytes.
const RETENTION_BYTES: (&str, usize) = ("200000", 100_000);

/// The topics of the test. Segments roll all the time.
pub const PLANS: [Plan; 4] = [
    Plan {
        name: "kept",
        fate: Fate::Kept,
        partitions: 5,
        configs: &[("segment.bytes", "1048576"), ("retention.ms", "-1")],
    },
    Plan {
        name: "retained",
        fate: Fate::Retained,
        partitions: 2,
        configs: &[("segment.ms", "100"), ("retention.ms", "-1"), ("retention.bytes", RETENTION_BYTES.0)],
    },
    Plan {
        name: "trimmed",
        fate: Fate::Trimmed,
        partitions: 2,
        configs: &[("segment.ms", "100"), ("retention.ms", "-1")],
    },
    Plan { name: "churned", fate: Fate::Churned, partitions: 3, configs: &[("retention.ms", "-1")] },
];

/// One life of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Index into [`PLANS`].
    pub plan: usize,
    /// Counts the lives of all topics.
    pub incarnation: u32,
    /// As the broker told it.
    pub id: [u8; 16],
    /// Its deletion was asked for; whether it happened is not known.
    pub doomed: bool,
}

/// Shared by the producers, the chores and the judge.
#[derive(Default)]
pub struct World {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
pub struct State {
    /// The live topics by the index of their plan.
    pub topics: BTreeMap<usize, Topic>,
    /// By incarnation and partition.
    pub ledgers: BTreeMap<(u32, i32), Ledger>,
    /// The next incarnation's number.
    next_incarnation: u32,
    /// Records acknowledged so far.
    pub acked: u64,
    /// Promises broken while the broker ran: wrong answers, refusals that may not be.
    pub wrongs: Vec<String>,
    /// The round's end: the broker is dead or about to be.
    pub stopping: bool,
}

impl World {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Puts a batch's acknowledgement into the books.
    pub fn acked(&self, base_offset: i64, stamps: impl Iterator<Item = Stamp>) {
        let mut state = self.lock();
        for (offset, stamp) in (base_offset..).zip(stamps) {
            // A topic that is known to be gone promises nothing any more.
            if let Some(ledger) = state.ledgers.get_mut(&(stamp.incarnation, stamp.partition)) {
                let put = ledger.ack(offset, stamp);
                state.wrongs.extend(put.err());
            }
            state.acked += 1;
        }
        self.changed.notify_all();
    }

    /// Notes that the broker did what it may not do.
    pub fn wrong(&self, what: String) {
        self.lock().wrongs.push(what);
        self.changed.notify_all();
    }

    /// Waits until `count` more records are acknowledged, or something went wrong.
    pub fn wait_for_acks(&self, count: u64, deadline: Duration) {
        let end = Instant::now() + deadline;
        let mut state = self.lock();
        let wanted = state.acked + count;
        while state.acked < wanted && state.wrongs.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {wanted} records acknowledged in {deadline:?}", state.acked);
            state = self.changed.wait_timeout(state, left).expect("no holder panics").0;
        }
    }
}

impl State {
    /// Takes a topic that the broker made into the books.
    pub fn adopt(&mut self, plan: usize, id: [u8; 16]) {
        let incarnation = self.next_incarnation;
        self.next_incarnation += 1;
        self.topics.insert(plan, Topic { plan, incarnation, id, doomed: false });
        for partition in 0..PLANS[plan].partitions {
            let ledger = match PLANS[plan].fate {
                Fate::Retained => Ledger::retaining(RETENTION_BYTES.1),
                Fate::Kept | Fate::Trimmed | Fate::Churned => Ledger::default(),
            };
            self.ledgers.insert((incarnation, partition), ledger);
        }
    }

    /// Strikes a topic that the broker has deleted from the books.
    pub fn bury(&mut self, plan: usize) {
        if let Some(topic) = self.topics.remove(&plan) {
            self.ledgers.retain(|(incarnation, _), _| *incarnation != topic.incarnation);
        }
    }
}
