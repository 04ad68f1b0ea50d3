//! What a coordinator does besides its clients' requests: markers, crashes, ids that expire, lists.

use super::*;

#[test]
fn markers_are_sent_until_they_are_answered() {
    check(
        0,
        "init a 1000
         sync
         add a 100 0 t 0
         sync
         add a 100 0 u 3
         sync
         commit1 a 100 0
         sync
         retry
         at 99
         at 100
         written
         sync
         state a",
        "initialised 100 0
         added
         added
         ended
         commit 100 0 v0 to t-0 u-3
         commit 100 0 v0 to t-0 u-3
         CompleteCommit 100 0 with 0",
    );
}

#[test]
fn a_partition_that_is_gone_or_past_the_transaction_needs_no_marker() {
    for answer in ["gone", "stale"] {
        let script = format!(
            "init a 1000\n sync\n add a 100 0 t 0\n sync\n commit1 a 100 0\n sync\n {answer}\n sync\n state a"
        );
        check(
            0,
            &script,
            "initialised 100 0\n added\n ended\n commit 100 0 v0 to t-0\n CompleteCommit 100 0 with 0",
        );
    }
}

/// The coordinator that follows finishes it.
#[test]
fn a_coordinator_whose_time_is_over_stops() {
    check(
        0,
        "init a 1000
         sync
         add a 100 0 t 0
         sync
         commit1 a 100 0
         sync
         fenced
         at 100000
         state a
         init a 1000
         crash
         written
         sync
         state a",
        "initialised 100 0
         added
         ended
         commit 100 0 v0 to t-0
         PrepareCommit 100 0 with 1
         Concurrent
         commit 100 0 v0 to t-0
         CompleteCommit 100 0 with 0",
    );
}

#[test]
fn what_was_not_committed_before_a_crash_never_was() {
    check(
        0,
        "init a 1000
         crash
         state a
         init a 1000
         sync
         add a 101 0 t 0
         crash
         state a
         add a 101 0 t 0
         sync
         commit1 a 101 0
         crash
         state a
         abort1 a 101 0
         sync
         crash
         state a
         written
         crash
         written
         sync
         crash
         state a",
        "NotFound
         initialised 101 0
         Empty 101 0 with 0
         added
         Ongoing 101 0 with 1
         ended
         PrepareAbort 101 0 with 1
         abort 101 0 v0 to t-0
         abort 101 0 v0 to t-0
         CompleteAbort 101 0 with 0",
    );
}

#[test]
fn a_refused_record_changes_nothing() {
    check(
        0,
        "init a 1000
         refuse
         state a
         init a 1000
         sync
         add a 101 0 t 0
         refuse
         state a
         add a 101 0 t 0
         sync
         commit1 a 101 0
         refuse
         state a
         commit1 a 101 0
         sync
         written
         refuse
         at 100
         sync
         state a",
        "NotAvailable
         NotFound
         initialised 101 0
         NotAvailable
         Empty 101 0 with 0
         added
         NotAvailable
         Ongoing 101 0 with 1
         ended
         commit 101 0 v0 to t-0
         CompleteCommit 101 0 with 0",
    );
}

#[test]
fn an_id_that_is_not_used_is_forgotten() {
    check(
        0,
        "init a 1000
         sync
         at 999999
         state a
         at 1000000
         state a
         init a 1000
         refuse
         state a
         at 1000100
         sync
         state a
         crash
         state a",
        "initialised 100 0
         Empty 100 0 with 0
         NotFound
         Concurrent
         Empty 100 0 with 0
         NotFound
         NotFound",
    );
}

#[test]
fn ids_are_listed_by_what_is_asked_for() {
    let mut harness = Harness::new(TransactionVersion::V0);
    for (id, is_open) in [("a", true), ("b", false), ("ab", true)] {
        harness.initialise(id, 1_000, None);
        harness.settle();
        let who = harness.coordinator.describe(id).expect("known").producer;
        harness.now += 10;
        if is_open {
            harness.add(id, who, "t", 0);
            harness.settle();
        }
    }
    let listed = |filter: ListFilter<'_>| {
        let mut ids: Vec<_> =
            harness.coordinator.list(Timestamp(40), filter).map(|(id, _, _)| id.to_owned()).collect();
        ids.sort_unstable();
        ids.join(" ")
    };
    assert_eq!(listed(ListFilter::default()), "a ab b");
    assert_eq!(
        listed(ListFilter { states: Some(&[TransactionState::Ongoing]), ..ListFilter::default() }),
        "a ab"
    );
    assert_eq!(listed(ListFilter { states: Some(&[]), ..ListFilter::default() }), "");
    assert_eq!(listed(ListFilter { producer_ids: &[ProducerId(101)], ..ListFilter::default() }), "b");
    assert_eq!(listed(ListFilter { open_longer_than_ms: Some(10), ..ListFilter::default() }), "a b");
    let begins_with_a = |id: &str| id.starts_with('a');
    assert_eq!(listed(ListFilter { matches: Some(&begins_with_a), ..ListFilter::default() }), "a ab");
}

#[test]
fn a_transaction_of_too_many_partitions_is_refused_and_stays() {
    let mut harness = Harness::new(TransactionVersion::V0);
    harness.initialise("a", 1_000, None);
    harness.settle();
    harness.replies.clear();
    let many: PartitionSet = (0..250_000).map(|index| ("t", PartitionIndex(index))).collect();
    harness.ask(|coordinator, now, call, _| {
        coordinator.add_partitions(now, call, ("a", producer(100, 0)), &many, TransactionVersion::V0)
    });
    assert_eq!(harness.replies, [(CallId(2), Err(TransactionError::TooManyPartitions))]);
    assert_eq!(harness.coordinator.describe("a").expect("known").state, TransactionState::Empty);
}

#[test]
fn those_who_wait_hear_that_the_coordinator_has_resigned() {
    let mut harness = Harness::new(TransactionVersion::V0);
    let first = harness.initialise("a", 1_000, None);
    let second = harness.initialise("b", 1_000, None);
    let gone = Err(TransactionError::NotCoordinator);
    assert_eq!(harness.coordinator.resign(), [(first, gone), (second, gone)]);
}

#[test]
fn a_damaged_record_is_passed_over() {
    let mut loader = Loader::default();
    assert!(loader.replay(&[0, 9], None).is_err());
    let key = protocol::transaction_log::encode_key("a");
    assert!(loader.replay(&key, Some(&[0, 0, 1])).is_err());
    let (coordinator, effects) = loader.finish(Timestamp(0), config(TransactionVersion::V0), 0);
    assert!(coordinator.is_empty());
    assert_eq!(effects, Effects::default());
}

/// The hashes are those of Java's `String.hashCode`; the last one's is the number without a positive twin.
#[test]
fn an_id_is_kept_where_kafka_keeps_it() {
    for (id, hash) in [("", 0), ("a", 97), ("abc", 96_354), ("hello", 99_162_322), ("polygenelubricants", 0)]
    {
        for count in [1, 7, 50] {
            assert_eq!(partition_of(id, count), PartitionIndex(hash % count), "{id}");
        }
    }
    // A negative one loses its sign, not its upper bit: -862545276 for "Hello World".
    assert_eq!(partition_of("Hello World", 50), PartitionIndex(862_545_276 % 50));
}
