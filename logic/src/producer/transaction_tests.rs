//! What a partition promises of transactions, as scripts; `model` holds it against a naive one that goes through the log.

mod model;

use super::*;
use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::records::{BatchBuilder, BatchOptions, ControlKind, ProducerStamp};
use protocol::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TransactionVersion};
use std::collections::BTreeMap;

fn batch(id: i64, epoch: i16, base: i32, count: i32, is_transactional: bool) -> ProducerBatch {
    ProducerBatch {
        producer_id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(base),
        last_offset_delta: count - 1,
        is_transactional,
    }
}

fn marker(id: i64, epoch: i16, coordinator_epoch: i32, kind: ControlKind, level: i16) -> TransactionMarker {
    TransactionMarker {
        producer_id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
        kind,
        coordinator_epoch,
        version: TransactionVersion::from_level(level).expect("a level"),
        told_by: Teller::Sender,
    }
}

/// The bytes of a batch as the log has them.
fn bytes_of(batch: &ProducerBatch, timestamp: Timestamp) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions {
        producer: ProducerStamp {
            id: batch.producer_id,
            epoch: batch.epoch,
            base_sequence: batch.base_sequence,
        },
        transactional: batch.is_transactional,
        ..BatchOptions::default()
    });
    for _ in 0..=batch.last_offset_delta {
        builder.append(timestamp, None, None, &[]);
    }
    builder.build()
}

/// A partition: its table, and the log from which the table can be made again.
#[derive(Default)]
struct Partition {
    table: ProducerTable,
    log: Vec<Vec<u8>>,
    end: i64,
    now: i64,
    guards: BTreeMap<i64, VerificationGuard>,
}

impl Partition {
    fn append(&mut self, mut bytes: Vec<u8>) -> Offset {
        let base_offset = Offset(self.end);
        let header = BatchHeader::from_prefix_mut(&mut bytes).expect("a header");
        header.set_position(base_offset, protocol::types::LeaderEpoch(0));
        self.end = header.next_offset().get();
        self.log.push(bytes);
        base_offset
    }

    fn write(
        &mut self,
        batch: &ProducerBatch,
        guard: Option<VerificationGuard>,
    ) -> Result<Verdict, ProducerError> {
        let verdict = self.table.check_verified(batch, guard)?;
        if verdict == Verdict::New {
            let now = Timestamp(self.now);
            let base_offset = self.append(bytes_of(batch, now));
            self.table.record(now, batch, AppendedAt { base_offset, timestamp: now });
        }
        Ok(verdict)
    }

    fn end_transaction(
        &mut self,
        marker: &TransactionMarker,
    ) -> Result<Option<CompletedTransaction>, MarkerError> {
        self.table.check_marker(marker)?;
        let offset = self.append(marker.batch(Timestamp(self.now)));
        Ok(self.table.record_marker(Timestamp(self.now), marker, offset))
    }

    /// The table of the log from its start.
    fn replayed(&self) -> ProducerTable {
        let mut table = ProducerTable::default();
        for bytes in &self.log {
            let header = BatchHeader::from_prefix(bytes).expect("a header");
            table.replay(Timestamp(self.now), header, &bytes[HEADER_BYTES..]);
        }
        table
    }

    fn cut(&mut self, end: i64) -> Truncation {
        let base_of = |bytes: &Vec<u8>| BatchHeader::from_prefix(bytes).expect("a header").base_offset();
        self.log.retain(|bytes| base_of(bytes).get() < end);
        self.end = self.end.min(end);
        let outcome = self.table.truncate(Offset(self.end));
        if outcome == Truncation::Rebuild {
            self.table = self.replayed();
        }
        outcome
    }

    /// What a start makes of the last checkpoint: of an empty table there is none.
    fn reload(&mut self) {
        if self.table.is_empty() {
            self.table = ProducerTable::default();
            return;
        }
        let bytes = self.table.encode_snapshot(Offset(self.end));
        self.table = ProducerTable::decode_snapshot(&bytes, Timestamp(self.now)).expect("its own").0;
        assert_eq!(self.table.encode_snapshot(Offset(self.end)), bytes);
    }

    /// One line of a script; what it prints.
    fn run(&mut self, line: &str) -> Option<String> {
        let (command, numbers) = line.split_once(' ').unwrap_or((line, ""));
        let numbers: Vec<i64> = numbers.split(' ').filter_map(|word| word.parse().ok()).collect();
        let small = |place: usize| i32::try_from(numbers[place]).expect("a small number");
        let epoch = || i16::try_from(numbers[1]).expect("a small number");
        let batch_of = |is_transactional| batch(numbers[0], epoch(), small(2), small(3), is_transactional);
        Some(match command {
            "ask" | "ask2" => {
                let asked = batch(numbers[0], epoch(), small(2), 1, true);
                match self.table.verification(Timestamp(self.now), &asked, command == "ask2") {
                    Ok(Some(guard)) => {
                        self.guards.insert(numbers[0], guard);
                        return None;
                    }
                    Ok(None) => "known".to_owned(),
                    Err(error) => error.to_string(),
                }
            }
            "write" | "bare" | "plain" => {
                let guard = self.guards.get(&numbers[0]).copied().filter(|_| command == "write");
                match self.write(&batch_of(command != "plain"), guard) {
                    Ok(Verdict::New) => format!("to {}", self.end),
                    Ok(Verdict::Duplicate(original)) => format!("duplicate of {}", original.base_offset),
                    Err(error) => error.to_string(),
                }
            }
            "commit" | "abort" => {
                let kind = if command == "abort" { ControlKind::Abort } else { ControlKind::Commit };
                let level = i16::try_from(numbers.get(3).copied().unwrap_or(0)).expect("a level");
                match self.end_transaction(&marker(numbers[0], epoch(), small(2), kind, level)) {
                    Ok(Some(done)) => format!("ended {} to {}", done.first_offset, done.last_offset),
                    Ok(None) => "ended nothing".to_owned(),
                    Err(error) => error.to_string(),
                }
            }
            "stable" => format!("stable {}", self.table.last_stable_offset(Offset(numbers[0]))),
            "aborted" => {
                let found = self.table.aborted(Offset(numbers[0]), Offset(numbers[1]));
                let told = found.iter().map(|one| {
                    format!(
                        "{}:{}-{}<{}",
                        one.producer_id, one.first_offset, one.last_offset, one.last_stable_offset
                    )
                });
                format!("aborted [{}]", told.collect::<Vec<_>>().join(" "))
            }
            "cut" => format!("{:?}", self.cut(numbers[0])),
            "start" => {
                self.table.start_at(Offset(numbers[0]));
                return None;
            }
            "at" => {
                self.now = numbers[0];
                return None;
            }
            "expire" => format!("{} left", {
                let _ = self.table.expire(Timestamp(self.now), numbers[0], usize::MAX);
                self.table.len()
            }),
            "refuse" => {
                self.table.forget_verification(ProducerId(numbers[0]));
                return None;
            }
            "reload" => {
                self.reload();
                return None;
            }
            "rebuild" => {
                self.table = self.replayed();
                return None;
            }
            other => panic!("not a command: {other}"),
        })
    }
}

/// Runs a script, one command a line, and compares what it prints.
///
/// ```text
///  ask ID EPOCH SEQUENCE            the coordinator is asked (ask2: by a client of KIP-890) and says yes
///  refuse ID                        ... and says no
///  write ID EPOCH SEQUENCE COUNT    a transactional batch with the guard of the last ask; bare: without
///  plain ID EPOCH SEQUENCE COUNT    a batch outside of transactions
///  commit ID EPOCH COORDINATOR [VERSION]   a marker; abort
///  stable HIGH_WATERMARK   aborted FROM LIMIT   cut OFFSET   start OFFSET   at MS   expire MS   reload   rebuild
/// ```
#[track_caller]
fn check(script: &str, expected: &str) {
    let mut partition = Partition::default();
    let mut printed = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        printed.extend(partition.run(line));
        partition.table.entries.assert_invariants();
    }
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(printed, expected);
}

#[test]
fn a_transaction_holds_the_stable_offset_until_its_marker_is_committed() {
    check(
        "plain 1 0 0 3
         stable 3
         ask 7 0 0
         write 7 0 0 2
         bare 7 0 2 1
         plain 1 0 3 1
         stable 7
         commit 7 0 5
         stable 7
         stable 8",
        "to 3
         stable 3
         to 5
         to 6
         to 7
         stable 3
         ended 3 to 7
         stable 3
         stable 8",
    );
}

#[test]
fn the_earliest_of_several_holds_it() {
    check(
        "ask 7 0 0
         write 7 0 0 1
         ask 8 0 0
         write 8 0 0 1
         commit 7 0 1
         stable 3
         abort 8 0 1
         stable 3
         stable 4",
        "to 1
         to 2
         ended 0 to 2
         stable 1
         ended 1 to 3
         stable 1
         stable 4",
    );
}

#[test]
fn an_unverified_batch_is_refused_and_one_of_an_open_transaction_is_known() {
    check(
        "bare 7 0 0 1
         write 7 0 0 1
         ask 7 0 0
         bare 7 0 0 1
         write 7 0 0 1
         ask 7 0 1
         bare 7 0 1 1
         commit 7 0 1
         bare 7 0 2 1",
        "no transaction of producer 7 is open here
         no transaction of producer 7 is open here
         no transaction of producer 7 is open here
         to 1
         known
         to 2
         ended 0 to 2
         no transaction of producer 7 is open here",
    );
}

/// The coordinator's yes is on its way when the transaction is aborted: it must open nothing.
#[test]
fn a_marker_takes_the_guard_back() {
    check(
        "ask 7 0 0
         abort 7 0 1
         write 7 0 0 1
         ask 7 0 0
         write 7 0 0 1",
        "ended nothing
         no transaction of producer 7 is open here
         to 2",
    );
}

/// The next transaction is asked for in the epoch that the marker of the one before brings.
#[test]
fn a_marker_leaves_the_guard_of_the_transaction_that_follows() {
    check(
        "ask2 7 0 0
         write 7 0 0 1
         ask2 7 1 0
         commit 7 1 1 2
         write 7 1 0 1
         stable 3",
        "to 1
         ended 0 to 1
         to 3
         stable 2",
    );
}

#[test]
fn a_repeated_batch_is_recognised_after_the_transactions_end() {
    check(
        "ask 7 0 0
         write 7 0 0 2
         commit 7 0 1
         bare 7 0 0 2
         ask 7 0 2
         write 7 0 2 1",
        "to 2
         ended 0 to 2
         duplicate of 0
         to 4",
    );
}

#[test]
fn a_batch_outside_of_the_open_transaction_is_refused() {
    check(
        "ask 7 0 0
         write 7 0 0 1
         plain 7 0 1 1
         commit 7 0 1
         plain 7 0 1 1",
        "to 1
         producer 7 writes outside of its open transaction
         ended 0 to 1
         to 3",
    );
}

#[test]
fn markers_of_old_producers_and_old_coordinators_are_refused() {
    check(
        "ask 7 3 0
         write 7 3 0 1
         abort 7 2 5
         abort 7 3 5
         abort 7 3 4
         abort 7 4 6
         abort 7 3 7",
        "to 1
         a marker with epoch 2 of producer 7, which is at 3
         ended 0 to 1
         a marker of coordinator epoch 4 for producer 7, which 5 has written for
         ended nothing
         a marker with epoch 3 of producer 7, which is at 4",
    );
}

/// KIP-890: a marker that comes late can't end the transaction that follows.
#[test]
fn with_epochs_bumped_a_late_marker_ends_nothing() {
    check(
        "ask2 7 0 0
         write 7 0 0 1
         commit 7 0 1 2
         commit 7 1 1 2
         commit 7 1 1 2
         ask2 7 1 0
         write 7 1 0 1
         commit 7 1 1 2
         abort 7 2 1 2",
        "to 1
         a marker with epoch 0 of producer 7, which is at 0
         ended 0 to 1
         ended nothing
         to 4
         a marker with epoch 1 of producer 7, which is at 1
         ended 3 to 4",
    );
}

#[test]
fn a_bumped_epoch_begins_at_zero_and_fences_the_old_one() {
    check(
        "ask2 7 0 0
         write 7 0 0 3
         commit 7 1 1 2
         ask2 7 0 3
         ask2 7 1 3
         write 7 1 3 1
         ask2 7 1 0
         write 7 1 0 1
         bare 7 0 3 1",
        "to 3
         ended 0 to 3
         epoch 0 of producer 7 is fenced by 1
         sequence 3 of producer 7 is out of order, 0 is next
         to 5
         epoch 0 of producer 7 is fenced by 1",
    );
}

/// A batch that failed its verification is tried again: what follows it must wait, or it would never fit.
#[test]
fn nothing_overtakes_a_batch_that_waits_for_its_verification() {
    check(
        "ask 7 0 0
         ask 7 0 5
         write 7 0 5 1
         write 7 0 0 5
         bare 7 0 5 1",
        "sequence 5 of producer 7 is out of order, 0 is next
         to 5
         to 6",
    );
}

#[test]
fn an_unknown_producer_of_kip_890_begins_at_zero() {
    check(
        "ask2 7 4 9
         write 7 4 9 1
         ask 8 4 9
         write 8 4 9 1",
        "sequence 9 of producer 7 is out of order, 0 is next
         to 1",
    );
}

#[test]
fn a_group_coordinators_batches_have_no_sequence() {
    check(
        "ask 7 0 -1
         write 7 0 -1 2
         bare 7 0 -1 2
         stable 4
         reload
         bare 7 0 -1 1
         commit 7 0 1
         ask 7 1 -1
         write 7 1 -1 1
         bare 7 0 -1 1
         stable 7
         cut 6
         stable 6",
        "to 2
         to 4
         stable 0
         to 5
         ended 0 to 5
         to 7
         epoch 0 of producer 7 is fenced by 1
         stable 6
         Rebuild
         stable 6",
    );
}

#[test]
fn aborted_transactions_are_listed_where_they_overlap() {
    check(
        "ask 7 0 0
         write 7 0 0 2
         ask 8 0 0
         write 8 0 0 2
         abort 8 0 1
         abort 7 0 1
         ask 8 0 2
         write 8 0 2 1
         abort 8 0 1
         aborted 0 1
         aborted 0 3
         aborted 0 9
         aborted 5 6
         aborted 6 7
         aborted 8 9
         aborted 9 20",
        "to 2
         to 4
         ended 2 to 4
         ended 0 to 5
         to 7
         ended 6 to 7
         aborted [7:0-5<6]
         aborted [8:2-4<0 7:0-5<6]
         aborted [8:2-4<0 7:0-5<6 8:6-7<8]
         aborted [7:0-5<6]
         aborted [8:6-7<8]
         aborted []
         aborted []",
    );
}

#[test]
fn the_logs_start_takes_aborted_transactions_along() {
    check(
        "ask 7 0 0
         write 7 0 0 1
         abort 7 0 1
         ask 7 0 1
         write 7 0 1 1
         abort 7 0 1
         start 2
         aborted 0 9
         ask 7 0 2
         write 7 0 2 3
         start 6
         stable 7",
        "to 1
         ended 0 to 1
         to 3
         ended 2 to 3
         aborted [7:2-3<4]
         to 7
         stable 6",
    );
}

#[test]
fn open_and_aborted_transactions_survive_a_restart() {
    let script = |restart: &str| {
        format!(
            "ask 7 0 0
             write 7 0 0 1
             abort 7 0 3
             ask 8 0 0
             write 8 0 0 2
             {restart}
             stable 4
             bare 8 0 2 1
             abort 7 0 2
             commit 8 0 3
             stable 6
             aborted 0 9"
        )
    };
    let expected = "to 1
         ended 0 to 1
         to 4
         stable 2
         to 5
         a marker of coordinator epoch 2 for producer 7, which 3 has written for
         ended 2 to 5
         stable 6
         aborted [7:0-1<2]";
    check(&script("reload"), expected);
    check(&script("rebuild"), expected);
}

#[test]
fn what_was_aborted_is_remembered_longer_than_its_producer() {
    check(
        "ask 7 0 0
         write 7 0 0 1
         abort 7 0 1
         at 100
         expire 10
         reload
         aborted 0 9
         start 2
         aborted 0 9
         reload",
        "to 1
         ended 0 to 1
         0 left
         aborted [7:0-1<2]
         aborted []",
    );
}

#[test]
fn a_guard_is_void_once_the_coordinator_has_refused() {
    check(
        "ask 7 0 0
         refuse 7
         write 7 0 0 1
         ask 7 0 0
         write 7 0 0 1",
        "no transaction of producer 7 is open here
         to 1",
    );
}

#[test]
fn a_producer_with_an_open_transaction_does_not_expire() {
    check(
        "ask 7 0 0
         write 7 0 0 1
         plain 8 0 0 1
         at 100
         expire 10
         commit 7 0 1
         at 200
         expire 10",
        "to 1
         to 2
         1 left
         ended 0 to 2
         0 left",
    );
}

#[test]
fn a_cut_takes_an_open_transaction_back_and_below_a_marker_asks_for_a_rebuild() {
    check(
        "ask 7 0 0
         write 7 0 0 2
         ask 8 0 0
         write 8 0 0 2
         cut 2
         stable 2
         abort 7 0 1
         aborted 0 9
         cut 2
         aborted 0 9
         stable 2
         bare 7 0 2 1",
        "to 2
         to 4
         Exact
         stable 0
         ended 0 to 2
         aborted [7:0-2<3]
         Rebuild
         aborted []
         stable 0
         to 3",
    );
}

#[test]
fn a_compacted_away_marker_is_forgotten() {
    let mut partition = Partition::default();
    for line in ["ask 7 0 0", "write 7 0 0 1", "abort 7 0 1"] {
        partition.run(line);
    }
    assert_eq!(partition.table.aborted_ended_in(Offset(0), Offset(1)).count(), 0);
    assert_eq!(partition.table.aborted_ended_in(Offset(1), Offset(2)).count(), 1);
    partition.table.forget_markers(&[Offset(1), Offset(5)]);
    assert_eq!(partition.run("aborted 0 9"), Some("aborted []".to_owned()));
}

#[test]
fn an_invented_coordinators_epoch_does_not_keep_the_leader_from_ending_transactions() {
    let mut partition = Partition::default();
    partition.run("ask 7 0 0");
    partition.run("write 7 0 0 1");
    let invented = marker(7, 0, i32::MAX, ControlKind::Abort, 0);
    partition.end_transaction(&invented).expect("nobody has written for it before");
    partition.run("ask 7 0 1");
    assert_eq!(partition.run("write 7 0 1 1").as_deref(), Some("to 3"));
    let commit = marker(7, 0, 3, ControlKind::Commit, 0);
    let refused = partition.end_transaction(&commit);
    assert!(matches!(refused, Err(MarkerError::StaleCoordinator { .. })), "{refused:?}");
    let commit = TransactionMarker { told_by: Teller::Leader, ..commit };
    let ended = partition.end_transaction(&commit).expect("nobody is later").expect("it was open");
    assert_eq!((ended.first_offset, ended.kind), (Offset(2), ControlKind::Commit));
    // From then on its epoch is the one that others are held against, after a restart as well.
    let epoch =
        |table: &ProducerTable| table.states().map(|state| state.coordinator_epoch).collect::<Vec<_>>();
    assert_eq!(epoch(&partition.table), [3]);
    assert_eq!(epoch(&partition.replayed()), [3]);
    assert!(partition.table.check_marker(&marker(7, 0, 2, ControlKind::Abort, 0)).is_err());
}

#[test]
fn an_empty_control_batch_means_nothing() {
    let mut partition = Partition::default();
    partition.run("ask 7 0 0");
    partition.run("write 7 0 0 1");
    let mut bytes = marker(7, 0, 1, ControlKind::Commit, 0).batch(Timestamp(0));
    let header = BatchHeader::from_prefix_mut(&mut bytes).expect("a header");
    header.set_position(Offset(1), protocol::types::LeaderEpoch(0));
    partition.table.replay(Timestamp(0), header, &[]);
    assert_eq!(partition.table.open_transaction_count(), 1);
}

#[test]
fn each_producer_is_described() {
    let mut partition = Partition::default();
    for line in ["at 30", "ask 7 2 0", "write 7 2 0 3", "plain 8 0 5 1", "at 40", "commit 9 1 4"] {
        partition.run(line);
    }
    let told: Vec<_> = partition.table.states().collect();
    let state =
        |id: i64, epoch: i16, last: i32, timestamp: i64, coordinator_epoch, open_from| ProducerState {
            producer_id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            last_sequence: Sequence(last),
            last_timestamp: Timestamp(timestamp),
            coordinator_epoch,
            open_from,
        };
    let expected =
        [state(7, 2, 2, 30, -1, Some(Offset(0))), state(8, 0, 5, 30, -1, None), state(9, 1, -1, 40, 4, None)];
    assert_eq!(told, expected);
}

/// Kafka's `LastTimestamp`: of batches with and without sequence numbers, of markers, and of what a cut leaves.
#[test]
fn the_time_of_the_last_batch_or_marker_is_told() {
    let check = |script: &str, expected: i64| {
        let mut partition = Partition::default();
        for line in script.lines().map(str::trim) {
            partition.run(line);
        }
        let times = |table: &ProducerTable| {
            table.states().map(|state| state.last_timestamp.get()).collect::<Vec<_>>()
        };
        assert_eq!(times(&partition.table), [expected], "{script}");
        assert_eq!(times(&partition.replayed()), [expected], "replayed: {script}");
        partition.reload();
        assert_eq!(times(&partition.table), [expected], "reloaded: {script}");
    };
    let written = "at 10\nask 7 0 0\nwrite 7 0 0 1";
    check(written, 10);
    check(&format!("{written}\nat 20\ncommit 7 0 1"), 20);
    check(&format!("{written}\nat 20\ncommit 7 1 1 2"), 20);
    check(&format!("{written}\nat 20\nabort 7 0 1\nat 25\nplain 7 0 1 1"), 25);
    check("at 10\nask 7 0 -1\nwrite 7 0 -1 1", 10);
    check(&format!("{written}\nat 20\nbare 7 0 1 1\ncut 1"), 10);
    check(&format!("{written}\nat 20\ncommit 7 0 1\nat 30\nplain 7 0 1 1\ncut 2"), 20);
    check(&format!("{written}\nat 20\ncommit 7 0 1\ncut 1"), 10);
    check(&format!("{written}\nat 20\nwrite 7 0 -1 1\nat 30\nwrite 7 0 1 1\ncut 2"), 20);
}
