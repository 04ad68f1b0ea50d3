//! What is handed out of what was fetched, and what is not; against made-up answers.

use protocol::batch::BatchHeader;
use protocol::compression::Compression;
use protocol::records::{BatchBuilder, BatchOptions, ProducerStamp, control_batch};
use protocol::types::{LeaderEpoch, ProducerEpoch, Sequence, Timestamp};

use super::*;

/// A batch of records with these values from an offset on.
fn batch(base: i64, options: BatchOptions, values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions { base_offset: Offset(base), ..options });
    values.iter().for_each(|value| builder.append(Timestamp(1), None, Some(value.as_bytes()), &[]));
    builder.build()
}

fn of_producer(id: i64) -> BatchOptions {
    let producer = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(0), base_sequence: Sequence(0) };
    BatchOptions { producer, transactional: true, ..BatchOptions::default() }
}

fn marker(offset: i64, id: i64, kind: ControlKind) -> Vec<u8> {
    let marker = ControlRecord { kind, coordinator_epoch: 0 };
    let producer = (ProducerId(id), ProducerEpoch(0));
    let mut bytes = control_batch(producer, LeaderEpoch(0), Timestamp(1), marker);
    let header = BatchHeader::from_prefix_mut(&mut bytes).expect("a header");
    header.set_position(Offset(offset), LeaderEpoch(0));
    bytes
}

fn fetched(from: i64, bytes: Vec<u8>) -> Fetched {
    Fetched::new("t".into(), PartitionIndex(0), bytes.into(), Offset(from), ReadLimits::default())
        .expect("batches")
}

fn values(fetched: &Fetched) -> Vec<String> {
    let mut values = Vec::new();
    let each = |record: &Record<'_>| {
        let value = String::from_utf8(record.value.expect("a value").to_vec()).expect("text");
        values.push(format!("{}{value}", record.offset));
    };
    fetched.for_each(each).expect("readable");
    values
}

#[test]
fn records_before_the_position_are_passed_over() {
    let bytes = [
        batch(10, BatchOptions::default(), &["a", "b"]),
        batch(12, BatchOptions::default(), &["c", "d", "e"]),
    ];
    let fetched = fetched(13, bytes.concat());
    assert_eq!(values(&fetched), ["13d", "14e"]);
    assert_eq!(fetched.next_offset(), Offset(15));
}

#[test]
fn a_batch_cut_off_at_the_end_is_left_away() {
    let whole = batch(0, BatchOptions::default(), &["a"]);
    let cut = batch(1, BatchOptions::default(), &["b"]);
    let fetched = fetched(0, [&whole[..], &cut[..cut.len() - 1]].concat());
    assert_eq!(values(&fetched), ["0a"]);
    assert_eq!(fetched.size_bytes(), whole.len());
    assert_eq!(fetched.next_offset(), Offset(1));
}

#[test]
fn every_compression_is_undone() {
    for compression in Compression::ALL {
        let options = BatchOptions { compression, ..BatchOptions::default() };
        assert_eq!(values(&fetched(0, batch(0, options, &["a", "b"]))), ["0a", "1b"], "{compression}");
    }
}

#[test]
fn a_batch_that_does_not_fit_its_crc_is_an_error_after_all_before_it() {
    let mut bytes = [batch(0, BatchOptions::default(), &["a"]), batch(1, BatchOptions::default(), &["b"])];
    *bytes[1].last_mut().expect("bytes") ^= 1;
    let fetched = fetched(0, bytes.concat());
    let mut batches = fetched.batches();
    assert!(batches.next().expect("the first").is_ok());
    let error = batches.next().expect("the second").expect_err("it is damaged");
    assert!(matches!(error, FetchedError::Batch { offset: Offset(1), .. }), "{error}");
    assert!(batches.next().is_none());
}

#[test]
fn what_is_no_batch_is_an_error() {
    let mut bytes = batch(0, BatchOptions::default(), &["a"]);
    bytes[16] = 1;
    let refused = Fetched::new("t".into(), PartitionIndex(0), bytes.into(), Offset(0), ReadLimits::default());
    assert!(matches!(refused, Err(FetchedError::Framing(FramingError::Magic(1)))));
}

/// Two producers' transactions: 7 aborts, then commits; 8 commits across both.
fn transactions() -> Vec<u8> {
    [
        batch(0, of_producer(7), &["aborted"]),
        batch(1, of_producer(8), &["kept"]),
        batch(2, BatchOptions::default(), &["plain"]),
        marker(3, 7, ControlKind::Abort),
        batch(4, of_producer(7), &["again"]),
        marker(5, 8, ControlKind::Commit),
        marker(6, 7, ControlKind::Commit),
    ]
    .concat()
}

#[test]
fn aborted_transactions_and_markers_are_not_handed_out() {
    let aborted = vec![AbortedTransaction { producer_id: ProducerId(7), first_offset: Offset(0) }];
    let round_trip = RoundTrip { sent_at: Instant::now(), answered_at: Instant::now() };
    let fetched = fetched(0, transactions()).with_answer(Offset(7), aborted, 0, round_trip);
    assert_eq!(values(&fetched), ["1kept", "2plain", "4again"]);
    assert_eq!(fetched.next_offset(), Offset(7));
}

#[test]
fn who_reads_everything_gets_all_but_markers() {
    assert_eq!(values(&fetched(0, transactions())), ["0aborted", "1kept", "2plain", "4again"]);
}
