//! Each state with each request, by Kafka's tables.

mod upkeep;

use super::*;

/// Runs a script, one command a line, and compares what it prints.
///
/// ```text
///  init ID TIMEOUT [EXPECTED_ID EXPECTED_EPOCH]
///  add ID PRODUCER EPOCH TOPIC PARTITION    verify (the same)
///  commit1 ID PRODUCER EPOCH   abort1: a client before KIP-890; commit2, abort2: one of KIP-890
///  sync      the next record is committed        refuse    the last one is refused
///  written   all markers are answered            retry, stale, gone, fenced: other answers
///  settle    all of that, to the end, quietly    crash     another coordinator takes up the log
///  at MS     the time, and what is due           state ID    busy ID
///  epoch ID EPOCH   as if the epoch had been raised that often
/// ```
struct Script {
    harness: Harness,
    printed: Vec<String>,
}

#[track_caller]
fn check(level: i16, script: &str, expected: &str) {
    let version = TransactionVersion::from_level(level).expect("a level");
    let mut run = Script { harness: Harness::new(version), printed: Vec::new() };
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        run.line(line);
        run.tell();
    }
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(run.printed, expected);
}

/// The errors by their variants' names; replies by what they tell.
fn told(outcome: &Outcome) -> String {
    match outcome {
        Ok(Reply::Initialised(producer)) => format!("initialised {} {}", producer.id, producer.epoch),
        Ok(Reply::Added) => "added".to_owned(),
        Ok(Reply::Ended(Producer::NONE)) => "ended".to_owned(),
        Ok(Reply::Ended(producer)) => format!("ended {} {}", producer.id, producer.epoch),
        Err(error) => format!("{error:?}"),
    }
}

impl Script {
    fn tell(&mut self) {
        for (_, outcome) in std::mem::take(&mut self.harness.replies) {
            self.printed.push(told(&outcome));
        }
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |place: usize| words[place].parse::<i64>().expect("a number");
        let small = |place: usize| words[place].parse::<i32>().expect("a number");
        let who = |place: usize| producer(number(place), words[place + 1].parse().expect("an epoch"));
        let harness = &mut self.harness;
        match words[0] {
            "init" => {
                let expected = (words.len() > 3).then(|| who(3));
                harness.initialise(words[1], small(2), expected);
            }
            "add" => drop(harness.add(words[1], who(2), words[4], small(5))),
            "verify" => {
                let partitions = PartitionSet::from_iter([(words[4], PartitionIndex(small(5)))]);
                let answer = match harness.coordinator.verify((words[1], who(2)), &partitions) {
                    Ok(found) => format!("{}", found[0].2),
                    Err(error) => format!("{error:?}"),
                };
                self.printed.push(answer);
            }
            "commit1" => drop(harness.end(words[1], who(2), End::Commit, TransactionVersion::V0)),
            "abort1" => drop(harness.end(words[1], who(2), End::Abort, TransactionVersion::V0)),
            "commit2" => drop(harness.end(words[1], who(2), End::Commit, TransactionVersion::V2)),
            "abort2" => drop(harness.end(words[1], who(2), End::Abort, TransactionVersion::V2)),
            "sync" => assert!(harness.commit(), "no record is under way"),
            "refuse" => harness.refuse(),
            "settle" => harness.settle(),
            "crash" => harness.crash(),
            "written" => self.markers(MarkerAnswer::Written),
            "retry" => self.markers(MarkerAnswer::Retry),
            "stale" => self.markers(MarkerAnswer::StaleProducer),
            "gone" => self.markers(MarkerAnswer::Gone),
            "fenced" => self.markers(MarkerAnswer::StaleCoordinator),
            "at" => {
                harness.now = number(1);
                harness.tick();
            }
            "state" => self.state(words[1]),
            "busy" => self.printed.push(format!("{}", harness.coordinator.is_busy(words[1]))),
            "epoch" => {
                let slot = harness.coordinator.slots.get_mut(words[1]).expect("known");
                slot.transaction.producer.epoch = ProducerEpoch(words[2].parse().expect("an epoch"));
            }
            other => panic!("not a command: {other}"),
        }
    }

    fn markers(&mut self, answer: MarkerAnswer) {
        let markers = std::mem::take(&mut self.harness.markers);
        assert!(!markers.is_empty(), "no marker is under way");
        for one in &markers {
            let to: Vec<_> = one.partitions.iter().map(|(topic, index)| format!("{topic}-{index}")).collect();
            let (who, level) = (one.producer, one.version.level());
            let end = format!("{:?}", one.end).to_lowercase();
            self.printed.push(format!("{end} {} {} v{level} to {}", who.id, who.epoch, to.join(" ")));
            self.harness.answer(one, answer);
        }
    }

    fn state(&mut self, id: &str) {
        let state = match self.harness.coordinator.describe(id) {
            Ok(found) => {
                let (who, count) = (found.producer, found.partitions.len());
                format!("{} {} {} with {count}", found.state.name(), who.id, who.epoch)
            }
            Err(error) => format!("{error:?}"),
        };
        self.printed.push(state);
    }
}

#[test]
fn a_transaction_from_its_beginning_to_its_end() {
    check(
        0,
        "init a 60000
         state a
         sync
         add a 100 0 t 0
         sync
         add a 100 0 t 1
         sync
         add a 100 0 t 0
         state a
         commit1 a 100 0
         sync
         state a
         written
         state a
         sync
         state a
         add a 100 0 t 0
         sync
         abort1 a 100 0
         sync
         written
         sync
         state a",
        "Empty 100 -1 with 0
         initialised 100 0
         added
         added
         added
         Ongoing 100 0 with 2
         ended
         PrepareCommit 100 0 with 2
         commit 100 0 v0 to t-0 t-1
         PrepareCommit 100 0 with 2
         CompleteCommit 100 0 with 0
         added
         ended
         abort 100 0 v0 to t-0
         CompleteAbort 100 0 with 0",
    );
}

/// Who waits for an id to be idle asks again then, and is not sent away.
#[test]
fn an_id_is_busy_while_it_takes_no_change() {
    check(
        2,
        "busy a
         init a 60000
         busy a
         sync
         busy a
         add a 100 0 t 0
         busy a
         add a 100 0 t 1
         sync
         busy a
         commit2 a 100 0
         busy a
         sync
         busy a
         add a 100 1 t 0
         written
         busy a
         add a 100 1 t 0
         sync
         busy a
         add a 100 1 t 0
         refuse
         busy a",
        "false
         true
         initialised 100 0
         false
         true
         Concurrent
         added
         false
         true
         ended 100 1
         true
         Concurrent
         commit 100 1 v2 to t-0
         true
         Concurrent
         false
         NotAvailable
         false",
    );
}

#[test]
fn with_kip_890_each_end_raises_the_epoch() {
    check(
        2,
        "init a 60000
         sync
         add a 100 0 t 0
         sync
         commit2 a 100 0
         sync
         written
         sync
         state a
         add a 100 0 t 0
         add a 100 1 t 0
         sync
         abort2 a 100 1
         sync
         written
         sync
         state a",
        "initialised 100 0
         added
         ended 100 1
         commit 100 1 v2 to t-0
         CompleteCommit 100 1 with 0
         Fenced
         added
         ended 100 2
         abort 100 2 v2 to t-0
         CompleteAbort 100 2 with 0",
    );
}

#[test]
fn initialisation_checks_what_it_is_asked() {
    check(
        2,
        "init  60000
         init a 0
         init a 900001
         init a 900000
         init a 900000
         sync",
        "InvalidId
         InvalidTimeout { timeout_ms_max: 900000 }
         InvalidTimeout { timeout_ms_max: 900000 }
         Concurrent
         initialised 100 0",
    );
}

#[test]
fn a_second_instance_fences_the_first() {
    check(
        0,
        "init a 60000
         sync
         init a 60000
         sync
         add a 100 0 t 0
         commit1 a 100 0
         add a 100 1 t 0
         sync
         add a 99 1 t 0
         commit1 a 99 1
         add b 100 1 t 0
         commit1 b 100 1
         verify b 100 1 t 0",
        "initialised 100 0
         initialised 100 1
         Fenced
         Fenced
         added
         UnknownMapping
         UnknownMapping
         UnknownMapping
         UnknownMapping
         UnknownMapping",
    );
}

/// The open transaction is aborted with an epoch that nobody was given, then the client comes back.
#[test]
fn an_initialisation_aborts_the_open_transaction_first() {
    for level in [0, 1, 2] {
        let marker_level = if level == 2 { 2 } else { 0 };
        check(
            level,
            "init a 60000
             sync
             add a 100 0 t 0
             sync
             init a 60000
             init a 60000
             add a 100 0 t 1
             sync
             state a
             init a 60000
             written
             init a 60000
             sync
             state a
             init a 60000
             sync",
            &format!(
                "initialised 100 0
                 added
                 Concurrent
                 Concurrent
                 Concurrent
                 PrepareAbort 100 1 with 1
                 Concurrent
                 abort 100 1 v{marker_level} to t-0
                 Concurrent
                 CompleteAbort 100 1 with 0
                 initialised 100 2"
            ),
        );
    }
}

/// KIP-360: a producer that goes on after an error says who it was.
#[test]
fn a_producer_that_says_who_it_was_goes_on() {
    check(
        0,
        "init a 60000
         sync
         init a 60000 100 0
         sync
         init a 60000 100 0
         sync
         init a 60000 100 1
         sync
         init a 60000 100 0
         init a 60000 99 2
         init a 60000
         sync
         init a 60000 100 2",
        "initialised 100 0
         initialised 100 1
         initialised 100 1
         initialised 100 2
         Fenced
         Fenced
         initialised 100 3
         Fenced",
    );
}

#[test]
fn an_unknown_id_of_one_who_says_who_it_was_is_begun() {
    check(0, "init a 60000 55 7\n sync", "initialised 100 0");
}

#[test]
fn an_exhausted_epoch_gets_another_producer_id() {
    check(
        0,
        "init a 60000
         sync
         epoch a 32766
         init a 60000 100 32766
         sync
         init a 60000 100 32766
         sync
         init a 60000 100 32765
         state a",
        "initialised 100 0
         initialised 101 0
         initialised 101 0
         Fenced
         Empty 101 0 with 0",
    );
}

#[test]
fn fencing_uses_the_last_epoch_up_and_the_client_gets_another_id() {
    check(
        0,
        "init a 60000
         sync
         epoch a 32766
         add a 100 32766 t 0
         sync
         init a 60000
         sync
         written
         sync
         state a
         init a 60000
         sync",
        "initialised 100 0
         added
         Concurrent
         abort 100 32767 v0 to t-0
         CompleteAbort 100 32767 with 0
         initialised 101 0",
    );
}

#[test]
fn with_kip_890_the_end_brings_another_id_when_the_epoch_is_exhausted() {
    check(
        2,
        "init a 60000
         sync
         epoch a 32766
         add a 100 32766 t 0
         sync
         commit2 a 100 32766
         commit2 a 100 32766
         sync
         commit2 a 100 32766
         add a 101 0 t 0
         written
         sync
         state a
         commit2 a 100 32766
         abort2 a 100 32766
         add a 101 0 t 0
         sync",
        "initialised 100 0
         added
         Concurrent
         ended 101 0
         Concurrent
         Concurrent
         commit 100 32767 v2 to t-0
         CompleteCommit 101 0 with 0
         ended 101 0
         InvalidState
         added",
    );
}

/// The same where the answer is lost with the coordinator.
#[test]
fn the_next_id_survives_a_crash() {
    check(
        2,
        "init a 60000
         sync
         epoch a 32766
         add a 100 32766 t 0
         sync
         commit2 a 100 32766
         sync
         crash
         written
         sync
         crash
         commit2 a 100 32766",
        "initialised 100 0
         added
         ended 101 0
         commit 100 32767 v2 to t-0
         ended 101 0",
    );
}

#[test]
fn ends_by_the_classic_table() {
    let empty = "init a 1\n sync\n";
    for request in ["commit1 a 100 0", "abort1 a 100 0"] {
        check(0, &format!("{empty} {request}"), "initialised 100 0\n InvalidState");
    }
    let ongoing = format!("{empty} add a 100 0 t 0\n sync\n");
    let begun = "initialised 100 0\n added\n";
    // While it is being ended.
    let script =
        format!("{ongoing} commit1 a 100 0\n commit1 a 100 0\n sync\n commit1 a 100 0\n abort1 a 100 0");
    check(0, &script, &format!("{begun} Concurrent\n ended\n Concurrent\n Concurrent"));
    for (end, again, other) in [("commit1", "commit1", "abort1"), ("abort1", "abort1", "commit1")] {
        let ended = format!("{ongoing} {end} a 100 0\n settle\n");
        for (request, outcome) in [
            (format!("{again} a 100 0"), "ended"),
            (format!("{other} a 100 0"), "InvalidState"),
            (format!("{again} a 100 1"), "Fenced"),
        ] {
            check(0, &format!("{ended} {request}"), &format!("{begun} ended\n {outcome}"));
        }
    }
}

/// KIP-890's table: retried (with the epoch before) and current, abort and commit.
#[test]
fn ends_by_the_table_of_kip_890() {
    let begin = "init a 1\n sync\n init a 1\n sync\n";
    let begun = "initialised 100 0\n initialised 100 1\n";
    for (request, outcome) in
        [("abort2 a 100 0", "Fenced"), ("commit2 a 100 0", "Fenced"), ("commit2 a 100 1", "InvalidState")]
    {
        check(2, &format!("{begin} {request}"), &format!("{begun} {outcome}"));
    }
    // An abort without a transaction raises the epoch, and needs no marker.
    check(
        2,
        &format!("{begin} abort2 a 100 1\n sync\n sync\n state a"),
        &format!("{begun} ended 100 2\n CompleteAbort 100 2 with 0"),
    );
    let aborted = format!("{begin} abort2 a 100 1\n settle\n");
    let committed = format!("{begin} add a 100 1 t 0\n sync\n commit2 a 100 1\n settle\n");
    for (request, outcome) in [
        ("abort2 a 100 1", "ended 100 2"),
        ("abort2 a 100 2\n sync\n sync", "ended 100 3"),
        ("commit2 a 100 1", "InvalidState"),
        ("commit2 a 100 2", "InvalidState"),
        ("commit2 a 100 0", "Fenced"),
    ] {
        check(2, &format!("{aborted} {request}"), &format!("{begun} ended 100 2\n {outcome}"));
    }
    for (request, outcome) in [
        ("abort2 a 100 1", "InvalidState"),
        ("abort2 a 100 2\n sync\n sync", "ended 100 3"),
        ("commit2 a 100 1", "ended 100 2"),
        ("commit2 a 100 2", "InvalidState"),
        ("commit2 a 100 3", "Fenced"),
    ] {
        check(2, &format!("{committed} {request}"), &format!("{begun} added\n ended 100 2\n {outcome}"));
    }
}

#[test]
fn partitions_are_verified_against_what_is_committed() {
    check(
        0,
        "init a 1000
         sync
         verify a 100 0 t 0
         add a 100 0 t 0
         verify a 100 0 t 0
         sync
         verify a 100 0 t 0
         verify a 100 0 t 1
         verify a 100 1 t 0
         verify a 101 0 t 0
         verify  100 0 t 0
         commit1 a 100 0
         sync
         verify a 100 0 t 0
         settle
         verify a 100 0 t 0",
        "initialised 100 0
         false
         false
         added
         true
         false
         Fenced
         UnknownMapping
         InvalidId
         ended
         Concurrent
         false",
    );
}

#[test]
fn a_transaction_whose_time_is_up_is_aborted() {
    check(
        0,
        "init a 1000
         sync
         at 500
         add a 100 0 t 0
         sync
         at 1500
         state a
         at 1501
         sync
         commit1 a 100 0
         written
         sync
         state a
         commit1 a 100 0",
        "initialised 100 0
         added
         Ongoing 100 0 with 1
         Fenced
         abort 100 1 v0 to t-0
         CompleteAbort 100 1 with 0
         Fenced",
    );
}

/// KIP-890: the abort uses up the last epoch, so the id that follows must be there first.
#[test]
fn a_timeout_with_an_exhausted_epoch_waits_for_a_producer_id() {
    check(
        2,
        "init a 1000
         sync
         epoch a 32766
         add a 100 32766 t 0
         sync
         at 1001
         sync
         written
         sync
         state a",
        "initialised 100 0
         added
         abort 100 32767 v2 to t-0
         CompleteAbort 101 0 with 0",
    );
}
