use super::*;

const WHOSE: (u32, i32) = (3, 1);

fn stamp(producer: u32, number: u64) -> Stamp {
    Stamp { incarnation: WHOSE.0, partition: WHOSE.1, producer, number }
}

fn log(start: i64, stamps: &[Stamp]) -> Vec<Read> {
    let read = |(offset, stamp): (i64, &Stamp)| Read { offset, value: stamp.value().into(), producer_id: -1 };
    (start..).zip(stamps).map(read).collect()
}

/// Acknowledges `acked`, serves `served` from `start`, and expects the one complaint that contains `wrong`, or none.
fn check(acked: &[(i64, Stamp)], start: i64, served: Vec<Read>, wrong: &str) {
    let mut ledger = Ledger::default();
    for (offset, stamp) in acked {
        ledger.ack(*offset, *stamp).expect("one record an offset");
    }
    check_ledger(ledger, start, served, wrong);
}

fn check_ledger(mut ledger: Ledger, start: i64, served: Vec<Read>, wrong: &str) {
    let end = served.last().map_or(start, |last| last.offset + 1);
    let judged = ledger.judge(WHOSE, start, end, &served).err().unwrap_or_default().join("\n");
    assert_eq!(wrong.is_empty(), judged.is_empty(), "{judged}");
    assert!(judged.contains(wrong), "{judged}");
}

#[test]
fn a_value_names_its_stamp() {
    for number in 0..2_000 {
        let stamp = stamp(7, number);
        let value = stamp.value();
        assert_eq!(Stamp::of(&value), Some(stamp));
        for at in [0, value.len() - 1] {
            let mut altered = value.clone();
            altered[at] ^= 1;
            assert_ne!(Stamp::of(&altered), Some(stamp), "{value:?}");
        }
    }
    assert_eq!(Stamp::of(b""), None);
}

#[test]
fn everything_acknowledged_is_there() {
    check(&[(0, stamp(1, 0)), (1, stamp(2, 0))], 0, log(0, &[stamp(1, 0), stamp(2, 0)]), "");
}

#[test]
fn what_was_sent_but_not_acknowledged_may_appear() {
    check(&[(0, stamp(1, 0))], 0, log(0, &[stamp(1, 0), stamp(1, 1)]), "");
}

#[test]
fn a_lost_record_is_seen() {
    check(
        &[(0, stamp(1, 0)), (1, stamp(1, 1))],
        0,
        log(0, &[stamp(1, 0)]),
        "1 acknowledged records are lost",
    );
}

#[test]
fn a_record_elsewhere_is_seen() {
    let acked = [(0, stamp(1, 0)), (1, stamp(2, 0))];
    check(&acked, 0, log(0, &[stamp(2, 0), stamp(1, 0)]), "was acknowledged");
}

#[test]
fn a_gap_is_seen() {
    let mut served = log(0, &[stamp(1, 0), stamp(1, 1), stamp(1, 2)]);
    served.remove(1);
    check(&[], 0, served, "offset 1 is missing");
}

#[test]
fn a_record_twice_is_seen() {
    check(&[], 0, log(0, &[stamp(1, 0), stamp(1, 0)]), "twice or out of order");
}

#[test]
fn a_swap_within_a_producer_is_seen() {
    check(&[], 0, log(0, &[stamp(1, 1), stamp(1, 0)]), "twice or out of order");
}

#[test]
fn an_altered_record_is_seen() {
    let mut served = log(0, &[stamp(1, 4)]);
    let mut value = served[0].value.to_vec();
    *value.last_mut().expect("a value") ^= 1;
    served[0].value = value.into();
    check(&[], 0, served, "altered");
}

#[test]
fn a_record_of_a_deleted_topic_is_seen() {
    let other = Stamp { incarnation: 2, ..stamp(1, 0) };
    check(&[], 0, log(0, &[other]), "does not belong");
}

#[test]
fn deleted_records_stay_deleted_and_no_others_go() {
    let mut ledger = Ledger::default();
    for number in 0..5_u32 {
        ledger.ack(i64::from(number), stamp(1, number.into())).expect("one record an offset");
    }
    ledger.ask_deletion(4);
    ledger.ack_deletion(2);
    let stamps: Vec<Stamp> = (0..5).map(|number| stamp(1, number)).collect();
    check_ledger(ledger.clone(), 2, log(2, &stamps[2..]), "");
    check_ledger(ledger.clone(), 4, log(4, &stamps[4..]), "");
    check_ledger(ledger.clone(), 1, log(1, &stamps[1..]), "all below 2 was deleted");
    check_ledger(ledger, 5, Vec::new(), "nobody deleted past 4");
}

#[test]
fn retention_keeps_what_it_must() {
    let stamps: Vec<Stamp> = (0..50).map(|number| stamp(1, number)).collect();
    let bytes = |from: usize| stamps[from..].iter().map(|stamp| stamp.value().len()).sum::<usize>();
    let ledger = Ledger::retaining(bytes(20));
    check_ledger(ledger.clone(), 20, log(20, &stamps[20..]), "");
    check_ledger(ledger, 21, log(21, &stamps[21..]), "to be retained");
}

#[test]
fn one_offset_is_not_acknowledged_twice() {
    let mut ledger = Ledger::default();
    ledger.ack(0, stamp(1, 0)).expect("the first");
    ledger.ack(0, stamp(1, 0)).expect("a retry's answer");
    ledger.ack(0, stamp(2, 0)).expect_err("another record");
}
