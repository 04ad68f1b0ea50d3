//! A whole cluster in one process: a coordinator, partitions, producers with zombies, and crashes between any two steps.
//!
//! Whatever happens, in the end every record of a transaction has one fate in all partitions, the one that its client was told
//! of, and no partition holds its readers back.

use super::super::transition::Transaction;
use super::*;
use crate::producer::{
    AppendedAt, MarkerError, ProducerBatch, ProducerTable, Teller, TransactionMarker, Verdict,
    VerificationGuard,
};
use proptest::prelude::*;
use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::records::{BatchBuilder, BatchOptions, ControlKind, ProducerStamp};
use protocol::types::{LeaderEpoch, Offset, Sequence};
use std::collections::BTreeMap;

const TOPIC: &str = "t";
const TIMEOUT_MS: i32 = 100;
const PARTITIONS: usize = 3;

/// One partition: its table, its log, and of which transaction each record is.
#[derive(Default)]
struct Partition {
    table: ProducerTable,
    log: Vec<Vec<u8>>,
    end: i64,
}

impl Partition {
    fn append(&mut self, mut bytes: Vec<u8>) -> Offset {
        let base_offset = Offset(self.end);
        let header = BatchHeader::from_prefix_mut(&mut bytes).expect("a header");
        header.set_position(base_offset, LeaderEpoch(0));
        self.end = header.next_offset().get();
        self.log.push(bytes);
        base_offset
    }

    fn restart(&mut self, by_snapshot: bool) {
        if by_snapshot {
            let bytes = self.table.encode_snapshot(Offset(self.end));
            self.table = ProducerTable::decode_snapshot(&bytes, Timestamp(0)).expect("its own").0;
        } else {
            self.table = ProducerTable::default();
            for bytes in &self.log {
                let header = BatchHeader::from_prefix(bytes).expect("a header");
                self.table.replay(Timestamp(0), header, &bytes[HEADER_BYTES..]);
            }
        }
    }

    /// How the transaction of the producer that wrote at `offset` ended.
    fn fate(&self, producer_id: ProducerId, offset: Offset) -> Option<ControlKind> {
        let headers =
            self.log.iter().map(|bytes| (BatchHeader::from_prefix(bytes).expect("a header"), bytes));
        let mut markers = headers.filter(|(header, _)| {
            header.is_control() && header.producer_id() == producer_id && header.base_offset() > offset
        });
        // The key: version, kind.
        let is_commit = |bytes: &Vec<u8>| bytes[HEADER_BYTES + 8] == 1;
        let (_, bytes) = markers.next()?;
        Some(if is_commit(bytes) { ControlKind::Commit } else { ControlKind::Abort })
    }
}

/// A transaction as its client knows it.
#[derive(Default)]
struct Serial {
    told: Option<End>,
    writes: Vec<(usize, ProducerId, Offset)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    /// Asks for a producer, as who it was or as a new one.
    Start {
        again: bool,
    },
    Starting(CallId),
    Idle,
    Adding(CallId, usize, Option<VerificationGuard>),
    /// The coordinator has said yes; the partition has not been asked again.
    Writing(usize, Option<VerificationGuard>),
    End(End),
    Ending(CallId, End),
}

/// One instance of a producer; two share a transactional id.
struct Instance {
    id: &'static str,
    producer: Producer,
    doing: Doing,
    transaction: Option<usize>,
    added: Vec<usize>,
    must_abort: bool,
    /// A write of it is still on the network: it does not know what became of it.
    has_late_write: bool,
    sequences: BTreeMap<usize, i32>,
}

impl Instance {
    fn become_producer(&mut self, producer: Producer) {
        if self.producer != producer {
            self.sequences.clear();
        }
        self.producer = producer;
    }

    fn over(&mut self) {
        self.transaction = None;
        self.added.clear();
        self.must_abort = false;
        self.has_late_write = false;
    }

    fn fail(&mut self, again: bool) {
        self.over();
        self.doing = Doing::Start { again };
    }
}

struct Cluster {
    harness: Harness,
    partitions: Vec<Partition>,
    instances: Vec<Instance>,
    serials: Vec<Serial>,
    /// Markers on the network, one by one.
    network: Vec<(Markers, PartitionIndex)>,
    /// Batches on the network whose producers have given up waiting.
    late_writes: Vec<Write>,
}

/// A batch on its way to a partition.
#[derive(Clone, Copy)]
struct Write {
    serial: usize,
    partition: usize,
    batch: ProducerBatch,
    guard: Option<VerificationGuard>,
}

#[derive(Clone, Debug)]
enum Step {
    Client {
        instance: usize,
        partition: usize,
        end: bool,
        abort: bool,
    },
    /// The instance waits no longer for what it wrote.
    GiveUp {
        instance: usize,
    },
    LateWrite {
        which: usize,
    },
    Commit,
    Refuse,
    Marker {
        which: usize,
        lose: bool,
    },
    CrashCoordinator,
    RestartPartition {
        partition: usize,
        by_snapshot: bool,
    },
    Wait(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let client = (0..4_usize, 0..PARTITIONS, prop::bool::weighted(0.3), prop::bool::weighted(0.3));
    prop_oneof![
        14 => client.prop_map(|(instance, partition, end, abort)| Step::Client { instance, partition, end, abort }),
        2 => (0..4_usize).prop_map(|instance| Step::GiveUp { instance }),
        1 => (0..4_usize).prop_map(|which| Step::LateWrite { which }),
        10 => Just(Step::Commit),
        1 => Just(Step::Refuse),
        6 => (0..8_usize, prop::bool::weighted(0.2)).prop_map(|(which, lose)| Step::Marker { which, lose }),
        1 => Just(Step::CrashCoordinator),
        1 => (0..PARTITIONS, any::<bool>())
            .prop_map(|(partition, by_snapshot)| Step::RestartPartition { partition, by_snapshot }),
        2 => (1..90_i64).prop_map(Step::Wait),
    ]
}

impl Cluster {
    fn new(version: TransactionVersion, first_epoch: i16) -> Self {
        let mut harness = Harness::new(version);
        // As if both ids had been used that often.
        for (id, producer_id) in [("a", 50), ("b", 51)] {
            let mut transaction = Transaction::new(Timestamp(0), ProducerId(producer_id), TIMEOUT_MS);
            transaction.producer.epoch = ProducerEpoch(first_epoch);
            let value = transaction.encode(version).expect("it is small");
            harness.log.push((protocol::transaction_log::encode_key(id), Some(value)));
        }
        harness.crash();
        let instance = |id| Instance {
            id,
            producer: Producer::NONE,
            doing: Doing::Start { again: false },
            transaction: None,
            added: Vec::new(),
            must_abort: false,
            has_late_write: false,
            sequences: BTreeMap::new(),
        };
        Self {
            harness,
            partitions: (0..PARTITIONS).map(|_| Partition::default()).collect(),
            instances: ["a", "a", "b", "b"].map(instance).into(),
            serials: Vec::new(),
            network: Vec::new(),
            late_writes: Vec::new(),
        }
    }

    fn bumps_epoch(&self) -> bool {
        self.harness.config.version.bumps_epoch()
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Client { instance, partition, end, abort } => self.client(instance, partition, end, abort),
            Step::GiveUp { instance } => self.give_up(instance),
            Step::LateWrite { .. } if self.late_writes.is_empty() => {}
            Step::LateWrite { which } => {
                let write = self.late_writes.remove(which % self.late_writes.len());
                self.write(write);
            }
            Step::Commit => drop(self.harness.commit()),
            Step::Refuse if self.harness.appended.is_empty() => {}
            Step::Refuse => self.harness.refuse(),
            Step::Marker { .. } if self.network.is_empty() => {}
            Step::Marker { which, lose } => {
                let (markers, partition) = self.network.remove(which % self.network.len());
                let answer = if lose { MarkerAnswer::Retry } else { self.write_marker(&markers, partition) };
                let (time, to) = (self.harness.time(), (TOPIC, partition));
                let effects = self.harness.coordinator.marker_answered(time, markers.id, to, answer);
                self.harness.take(effects);
            }
            Step::CrashCoordinator => {
                // What is on the network arrives all the same.
                self.harness.crash();
                self.instances.iter_mut().for_each(lose_call);
            }
            Step::RestartPartition { partition, by_snapshot } => {
                self.partitions[partition].restart(by_snapshot)
            }
            Step::Wait(ms) => {
                self.harness.now += ms;
                self.harness.tick();
            }
        }
        for markers in std::mem::take(&mut self.harness.markers) {
            let indexes: Vec<_> = markers.partitions.iter().map(|(_, index)| index).collect();
            self.network.extend(indexes.into_iter().map(|index| (markers.clone(), index)));
        }
        for (call, outcome) in std::mem::take(&mut self.harness.replies) {
            self.reply(call, outcome);
        }
    }

    fn write_marker(&mut self, markers: &Markers, partition: PartitionIndex) -> MarkerAnswer {
        let partition = &mut self.partitions[usize::try_from(partition.get()).expect("positive")];
        let marker = TransactionMarker {
            producer_id: markers.producer.id,
            epoch: markers.producer.epoch,
            kind: if markers.end == End::Commit { ControlKind::Commit } else { ControlKind::Abort },
            coordinator_epoch: markers.coordinator_epoch,
            version: markers.version,
            told_by: Teller::Sender,
        };
        match partition.table.check_marker(&marker) {
            Ok(()) => {
                let offset = partition.append(marker.batch(Timestamp(0)));
                partition.table.record_marker(Timestamp(0), &marker, offset);
                MarkerAnswer::Written
            }
            Err(error) => {
                // The coordinator that is never meets a partition that is past its transaction.
                assert!(markers.coordinator_epoch < self.harness.epoch, "{error}");
                match error {
                    MarkerError::StaleEpoch { .. } => MarkerAnswer::StaleProducer,
                    MarkerError::StaleCoordinator { .. } => MarkerAnswer::StaleCoordinator,
                }
            }
        }
    }

    fn client(&mut self, which: usize, partition: usize, end: bool, abort: bool) {
        let (id, producer, doing) = {
            let instance = &self.instances[which];
            (instance.id, instance.producer, instance.doing)
        };
        match doing {
            Doing::Start { again } => {
                let expected = (again && producer != Producer::NONE).then_some(producer);
                let call = self.harness.initialise(id, TIMEOUT_MS, expected);
                self.instances[which].doing = Doing::Starting(call);
            }
            Doing::Starting(_) | Doing::Adding(..) | Doing::Ending(..) => {}
            Doing::Idle => self.idle(which, partition, end, abort),
            Doing::Writing(partition, guard) => self.write_now(which, partition, guard),
            Doing::End(end) => {
                let call = self.harness.end(id, producer, end, self.harness.config.version);
                self.instances[which].doing = Doing::Ending(call, end);
            }
        }
    }

    fn idle(&mut self, which: usize, partition: usize, end: bool, abort: bool) {
        let bumps_epoch = self.bumps_epoch();
        let instance = &mut self.instances[which];
        if end || instance.must_abort {
            let end = if abort || instance.must_abort { End::Abort } else { End::Commit };
            // With KIP-890 an abort may come without a transaction that the coordinator knows.
            let may_abort = bumps_epoch && end == End::Abort && instance.transaction.is_some();
            if may_abort || !instance.added.is_empty() {
                instance.doing = Doing::End(end);
            } else if instance.must_abort {
                instance.fail(true);
            }
            return;
        }
        if instance.transaction.is_none() {
            instance.transaction = Some(self.serials.len());
            self.serials.push(Serial::default());
        }
        let (id, producer) = (instance.id, instance.producer);
        let index = i32::try_from(partition).expect("small");
        if !bumps_epoch && !instance.added.contains(&partition) {
            let call = self.harness.add(id, producer, TOPIC, index);
            self.instances[which].doing = Doing::Adding(call, partition, None);
            return;
        }
        // The partition's leader asks the coordinator before it takes the first batch.
        let batch = self.batch(which, partition);
        let guard = match self.partitions[partition].table.verification(Timestamp(0), &batch, bumps_epoch) {
            Ok(guard) => guard,
            Err(_) => return self.instances[which].must_abort = true,
        };
        if guard.is_none() {
            return self.write_now(which, partition, None);
        }
        if bumps_epoch {
            let call = self.harness.add(id, producer, TOPIC, index);
            self.instances[which].doing = Doing::Adding(call, partition, guard);
        } else {
            let asked = PartitionSet::from_iter([(TOPIC, PartitionIndex(index))]);
            let is_in = match self.harness.coordinator.verify((id, producer), &asked) {
                Ok(found) => found[0].2,
                Err(_) => false,
            };
            let instance = &mut self.instances[which];
            instance.doing = if is_in { Doing::Writing(partition, guard) } else { Doing::Idle };
            instance.must_abort = !is_in;
        }
    }

    fn batch(&self, which: usize, partition: usize) -> ProducerBatch {
        let instance = &self.instances[which];
        let sequence = instance.sequences.get(&partition).copied().unwrap_or(0);
        ProducerBatch {
            producer_id: instance.producer.id,
            epoch: instance.producer.epoch,
            base_sequence: Sequence(sequence),
            last_offset_delta: 0,
            is_transactional: true,
        }
    }

    fn write_now(&mut self, which: usize, partition: usize, guard: Option<VerificationGuard>) {
        let batch = self.batch(which, partition);
        let serial = self.instances[which].transaction.expect("it writes in a transaction");
        let is_written = self.write(Write { serial, partition, batch, guard });
        let instance = &mut self.instances[which];
        instance.doing = Doing::Idle;
        instance.must_abort |= !is_written;
        if is_written {
            *instance.sequences.entry(partition).or_insert(0) += 1;
        }
    }

    fn give_up(&mut self, which: usize) {
        let Doing::Writing(partition, guard) = self.instances[which].doing else { return };
        let batch = self.batch(which, partition);
        let instance = &mut self.instances[which];
        let serial = instance.transaction.expect("it writes in a transaction");
        instance.doing = Doing::Idle;
        instance.must_abort = true;
        instance.has_late_write = true;
        self.late_writes.push(Write { serial, partition, batch, guard });
    }

    fn write(&mut self, write: Write) -> bool {
        let Write { serial, partition: place, batch, guard } = write;
        let partition = &mut self.partitions[place];
        if partition.table.check_verified(&batch, guard) != Ok(Verdict::New) {
            return false;
        }
        let mut builder = BatchBuilder::new(BatchOptions {
            producer: ProducerStamp {
                id: batch.producer_id,
                epoch: batch.epoch,
                base_sequence: batch.base_sequence,
            },
            transactional: true,
            ..BatchOptions::default()
        });
        builder.append(Timestamp(0), None, None, &[]);
        let base_offset = partition.append(builder.build());
        partition.table.record(Timestamp(0), &batch, AppendedAt { base_offset, timestamp: Timestamp(0) });
        self.serials[serial].writes.push((place, batch.producer_id, base_offset));
        true
    }

    fn reply(&mut self, call: CallId, outcome: Outcome) {
        let bumps_epoch = self.bumps_epoch();
        let is_caller = |instance: &&mut Instance| match instance.doing {
            Doing::Starting(waits) | Doing::Adding(waits, ..) | Doing::Ending(waits, _) => waits == call,
            _ => false,
        };
        let Some(instance) = self.instances.iter_mut().find(is_caller) else { return };
        let doing = instance.doing;
        match (doing, outcome) {
            (Doing::Starting(_), Ok(Reply::Initialised(producer))) => {
                instance.become_producer(producer);
                instance.doing = Doing::Idle;
            }
            (Doing::Adding(_, partition, guard), Ok(Reply::Added)) => {
                instance.added.push(partition);
                let is_asked = guard.is_some();
                instance.doing = if is_asked { Doing::Writing(partition, guard) } else { Doing::Idle };
            }
            (Doing::Ending(_, end), Ok(Reply::Ended(producer))) => {
                if let Some(serial) = instance.transaction {
                    self.serials[serial].told = Some(end);
                }
                if producer != Producer::NONE {
                    instance.become_producer(producer);
                }
                // Before KIP-890 a client whose write may yet come gets another epoch (KIP-360).
                let begins_anew = instance.has_late_write && !bumps_epoch;
                instance.over();
                instance.doing = if begins_anew { Doing::Start { again: true } } else { Doing::Idle };
            }
            (_, Err(TransactionError::Concurrent | TransactionError::NotAvailable)) => lose_call(instance),
            // Fenced, or out of step: it begins anew.
            (_, Err(_)) => instance.fail(false),
            (doing, reply) => panic!("{reply:?} to {doing:?}"),
        }
    }

    /// Nobody asks for anything more; what is under way ends, and what is open is aborted in time.
    fn settle(&mut self) {
        for _ in 0..2_000 {
            let is_quiet =
                self.network.is_empty() && self.late_writes.is_empty() && self.harness.appended.is_empty();
            let is_over = |state: TransactionState| state.may_expire();
            let list = |cluster: &Self| {
                let coordinator = &cluster.harness.coordinator;
                coordinator.list(Timestamp(0), ListFilter::default()).all(|(_, _, state)| is_over(state))
            };
            if is_quiet && list(self) {
                return;
            }
            self.run(&Step::Commit);
            self.run(&Step::LateWrite { which: 0 });
            self.run(&Step::Marker { which: 0, lose: false });
            self.run(&Step::Wait(10));
        }
        panic!("it does not come to rest");
    }

    fn check(&mut self) {
        for (number, serial) in self.serials.iter().enumerate() {
            let mut fates = serial.writes.iter().map(|(place, producer_id, offset)| {
                let fate = self.partitions[*place].fate(*producer_id, *offset);
                fate.unwrap_or_else(|| panic!("{offset} of {place} has no end"))
            });
            let Some(first) = fates.next() else { continue };
            assert!(fates.all(|fate| fate == first), "half of transaction {number} counts");
            match serial.told {
                Some(End::Commit) => assert_eq!(first, ControlKind::Commit, "transaction {number}"),
                Some(End::Abort) => assert_eq!(first, ControlKind::Abort, "transaction {number}"),
                None => {}
            }
        }
        for partition in &mut self.partitions {
            let end = Offset(partition.end);
            assert_eq!(partition.table.last_stable_offset(end), end);
            assert_eq!(partition.table.open_transaction_count(), 0);
        }
        assert_eq!(self.harness.coordinator.deliveries_count(), 0);
    }
}

/// The answer to what an instance asked will not come, or was to try again.
fn lose_call(instance: &mut Instance) {
    instance.doing = match instance.doing {
        Doing::Starting(_) => Doing::Start { again: false },
        Doing::Adding(..) => Doing::Idle,
        Doing::Ending(_, end) => Doing::End(end),
        other => other,
    };
}

fn run(version: TransactionVersion, first_epoch: i16, steps: &[Step]) {
    let mut cluster = Cluster::new(version, first_epoch);
    for step in steps {
        cluster.run(step);
    }
    cluster.settle();
    cluster.check();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_transaction_ends_the_same_everywhere(
        level in 0..3_i16,
        first_epoch in prop_oneof![3 => Just(0_i16), 1 => 32_760..32_767_i16],
        steps in prop::collection::vec(step(), 1..300),
    ) {
        run(TransactionVersion::from_level(level).expect("a level"), first_epoch, &steps);
    }
}
