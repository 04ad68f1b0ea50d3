use super::*;

const RUN: u32 = 7;

/// Reads records with these numbers, of which `sent` were acknowledged; the faults in words.
fn check(numbers: &[u64], sent: u64, expected: &[&str]) {
    let mut reading = Reading::new(RUN);
    for sequence in numbers {
        reading.note(3, Some(Stamp { run: RUN, worker: 1, sequence: *sequence, due_ns: 0 }));
    }
    let lane = Lane { worker: 1, partition: 3 };
    let lines = reading.finish(&HashMap::from([(lane, sent)])).lines();
    assert_eq!(lines, expected);
}

#[test]
fn all_in_order_is_no_fault() {
    check(&[0, 1, 2], 3, &[]);
}

#[test]
fn more_than_was_acknowledged_is_no_fault() {
    check(&[0, 1, 2], 2, &[]);
}

#[test]
fn a_gap_is_a_loss() {
    check(&[0, 3], 4, &["LOST: 2 record(s) of producer 1 in partition 3, from number 1 on"]);
}

#[test]
fn a_missing_end_is_a_loss() {
    check(&[0], 3, &["LOST: 2 record(s) of producer 1 in partition 3, from number 1 on"]);
}

#[test]
fn a_lane_without_any_is_a_loss() {
    check(&[], 1, &["LOST: 1 record(s) of producer 1 in partition 3, from number 0 on"]);
}

#[test]
fn the_same_again_is_a_duplicate() {
    check(&[0, 1, 1], 2, &["DUPLICATE: record 1 of producer 1 in partition 3 came twice"]);
}

#[test]
fn a_late_one_is_out_of_order_and_not_lost() {
    check(&[0, 2, 1], 3, &["OUT OF ORDER: record 1 of producer 1 in partition 3 came after a later one"]);
}

#[test]
fn a_late_one_twice_is_also_a_duplicate() {
    let expected = [
        "OUT OF ORDER: record 1 of producer 1 in partition 3 came after a later one",
        "DUPLICATE: record 1 of producer 1 in partition 3 came twice",
    ];
    check(&[0, 2, 1, 1], 3, &expected);
}

#[test]
fn another_runs_record_is_foreign() {
    let mut reading = Reading::new(RUN);
    reading.note(3, Some(Stamp { run: RUN + 1, worker: 0, sequence: 0, due_ns: 0 }));
    reading.note(4, None);
    let lines = reading.finish_anywhere().lines();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line.starts_with("FOREIGN")), "{lines:?}");
}

#[test]
fn what_retention_deleted_is_not_lost() {
    let mut reading = Reading::from_middle(RUN, HashSet::from([0]));
    for sequence in [5, 6, 8] {
        reading.note(0, Some(Stamp { run: RUN, worker: 1, sequence, due_ns: 0 }));
    }
    let sent = HashMap::from([(Lane { worker: 1, partition: 0 }, 9), (Lane { worker: 2, partition: 0 }, 4)]);
    let lines = reading.finish(&sent).lines();
    assert_eq!(lines, ["LOST: 1 record(s) of producer 1 in partition 0, from number 7 on"]);
}

#[test]
fn a_partition_that_is_whole_must_have_every_lane_whatever_retention_does_elsewhere() {
    let reading = Reading::from_middle(RUN, HashSet::from([0]));
    let sent = HashMap::from([(Lane { worker: 1, partition: 0 }, 9), (Lane { worker: 1, partition: 1 }, 4)]);
    let lines = reading.finish(&sent).lines();
    assert_eq!(lines, ["LOST: 4 record(s) of producer 1 in partition 1, from number 0 on"]);
}

#[test]
fn what_retention_deletes_while_it_is_read_is_not_lost() {
    let mut reading = Reading::new(RUN);
    let note = |reading: &mut Reading, worker, sequence| {
        reading.note(0, Some(Stamp { run: RUN, worker, sequence, due_ns: 0 }));
    };
    note(&mut reading, 1, 0);
    note(&mut reading, 2, 0);
    reading.jump(0);
    note(&mut reading, 1, 7);
    note(&mut reading, 1, 9);
    note(&mut reading, 3, 5);
    let lane = |worker| Lane { worker, partition: 0 };
    let lines = reading.finish(&HashMap::from([(lane(1), 10), (lane(2), 4), (lane(3), 6)])).lines();
    assert_eq!(lines, ["LOST: 1 record(s) of producer 1 in partition 0, from number 8 on"]);
}

#[test]
fn what_compaction_took_is_not_lost_but_what_is_left_comes_in_order_and_once() {
    let mut reading = Reading::new(RUN).of_compacted(true);
    for sequence in [2, 5, 9, 9, 6] {
        reading.note(3, Some(Stamp { run: RUN, worker: 1, sequence, due_ns: 0 }));
    }
    let lane = |worker| Lane { worker, partition: 3 };
    let lines = reading.finish(&HashMap::from([(lane(1), 12), (lane(2), 4)])).lines();
    let expected = [
        "DUPLICATE: record 9 of producer 1 in partition 3 came twice",
        "DUPLICATE: record 6 of producer 1 in partition 3 came twice",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn a_follower_that_lacks_the_end_of_a_lane_or_a_whole_one_has_lost_records() {
    let lane = |worker| Lane { worker, partition: 3 };
    let mut reading = Reading::new(RUN);
    for sequence in 0..4 {
        reading.note(3, Some(Stamp { run: RUN, worker: 1, sequence, due_ns: 0 }));
    }
    assert!(unread(&HashMap::from([(lane(1), 4)]), &reading.ends()).is_empty());
    let cut = unread(&HashMap::from([(lane(1), 6)]), &reading.ends()).lines();
    assert_eq!(cut, ["LOST: 2 record(s) of producer 1 in partition 3, from number 4 on"]);
    let whole = unread(&HashMap::from([(lane(1), 4), (lane(2), 3)]), &reading.ends()).lines();
    assert_eq!(whole, ["LOST: 3 record(s) of producer 2 in partition 3, from number 0 on"]);
}

#[test]
fn many_faults_are_counted_beyond_those_told() {
    let mut faults = Faults::default();
    for sequence in 0..20 {
        faults.push(Fault::Repeated { lane: Lane { worker: 0, partition: 0 }, sequence });
    }
    let mut all = Faults::default();
    all.merge(faults.clone());
    all.merge(faults);
    assert_eq!(all.lines().len(), FAULTS_TOLD_MAX + 1);
    assert_eq!(all.lines().last().map(String::as_str), Some("and 32 more"));
}

fn offsets(batches: &[(i64, u32)]) -> Option<Fault> {
    let mut offsets = Offsets::default();
    for (base, count) in batches {
        let mut one = Offsets::default();
        one.note(*base, *count);
        offsets.merge(&one);
    }
    offsets.check(0)
}

#[test]
fn dense_offsets_are_no_fault() {
    assert_eq!(offsets(&[]), None);
    assert_eq!(offsets(&[(5, 2), (8, 1), (7, 1)]), None);
}

#[test]
fn an_offset_given_twice_or_not_at_all_is_a_fault() {
    assert!(offsets(&[(0, 2), (1, 2)]).is_some());
    assert!(offsets(&[(0, 1), (2, 1)]).is_some());
    assert!(offsets(&[(0, 1), (0, 1), (2, 1)]).is_some());
}
