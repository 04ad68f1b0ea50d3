//! Reads that meet segments' ends, gaps, and what compaction leaves of emptied batches.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::disk::fault::{FaultDisk, Faults, OperationKind};

/// Batches of ten offsets, each in a segment of its own: first base, and sizes.
fn one_a_segment(parts: &[(i64, usize)]) -> (MemoryDisk, PartitionLog<MemoryDisk>, Vec<Bytes>) {
    let disk = MemoryDisk::default();
    let (log, batches) = one_a_segment_on(&disk, parts);
    (disk, log, batches)
}

fn one_a_segment_on<D: Disk>(disk: &D, parts: &[(i64, usize)]) -> (PartitionLog<D>, Vec<Bytes>) {
    let config = LogConfig { segment_ms: 100, ..config() };
    let log = PartitionLog::create(&open_files(disk), KEY, directory(), config, Offset(0));
    let batches: Vec<Bytes> =
        (1..).zip(parts).map(|(number, &(base, size))| batch(base, 10, number * 1000, size)).collect();
    block_on(log.append(&batches)).expect("no faults");
    assert_eq!(block_on(log.summaries()).expect("no faults").len(), parts.len());
    (log, batches)
}

/// A disk whose reads wait until they are let go.
fn slow_reads() -> (FaultDisk<MemoryDisk>, Rc<Cell<bool>>) {
    let (faults, are_let_go) = (Faults::new(1), Rc::new(Cell::new(false)));
    let waits_for = Rc::clone(&are_let_go);
    faults.set_delay(move |kind| {
        let waits_for = Rc::clone(&waits_for);
        let is_ready = move || kind != OperationKind::Read || waits_for.get();
        Box::pin(poll_fn(move |_| if is_ready() { Poll::Ready(()) } else { Poll::Pending }))
    });
    (FaultDisk::new(MemoryDisk::default(), faults), are_let_go)
}

/// One read: its bytes, and where to go on.
fn read(
    log: &PartitionLog<MemoryDisk>,
    from: i64,
    limit: i64,
    bytes_max: usize,
) -> Result<(Vec<u8>, i64), SegmentError> {
    let read = block_on(log.read(Offset(from), Offset(limit), bytes_max))?;
    assert_eq!(read.bytes, read.chunks.iter().map(Bytes::len).sum::<usize>());
    Ok((read.chunks.concat(), read.next.get()))
}

#[test]
fn a_read_goes_on_behind_segments_of_which_only_headers_are_left() {
    let parts: Vec<(i64, usize)> =
        (0..20).map(|number| (number * 10, if number == 18 { 1500 } else { 61 })).collect();
    let (_, log, batches) = one_a_segment(&parts);
    assert_eq!(read(&log, 0, 200, 4000).expect("no faults"), (batches.concat(), 200));
    assert_eq!(read(&log, 0, 185, 4000).expect("no faults"), (batches[..19].concat(), 190));
    assert_eq!(read(&log, 0, 200, 3 * 61).expect("no faults"), (batches[..3].concat(), 30));
    assert_eq!(read(&log, 0, 200, 4 * 61 - 1).expect("no faults"), (batches[..3].concat(), 30));
    assert_eq!(read(&log, 175, 200, 61).expect("no faults"), (batches[17].to_vec(), 180));
    assert_eq!(read(&log, 180, 200, 61).expect("no faults"), (batches[18].to_vec(), 190), "at least one");
}

#[test]
fn a_read_in_a_gap_ends_where_the_next_batch_is_not_to_be_read() {
    let (_, log, batches) = one_a_segment(&[(0, 100), (50, 100), (60, 100)]);
    assert_eq!(read(&log, 20, 40, 1000).expect("no faults"), (vec![], 20), "the gap ends behind the limit");
    assert_eq!(read(&log, 20, 50, 1000).expect("no faults"), (vec![], 20), "and at it");
    assert_eq!(read(&log, 20, 51, 1000).expect("no faults"), (batches[1].to_vec(), 60));
    assert_eq!(read(&log, 0, 50, 1000).expect("no faults"), (batches[0].to_vec(), 10));
    assert_eq!(read(&log, 5, 70, 1000).expect("no faults"), (batches.concat(), 70));

    let disk = MemoryDisk::default();
    let log = create(&disk);
    let batches = [batch(0, 10, 0, 100), batch(50, 10, 0, 100)];
    block_on(log.append(&batches)).expect("no faults");
    assert_eq!(read(&log, 20, 50, 1000).expect("no faults"), (vec![], 20), "in one segment");
    assert_eq!(read(&log, 20, 60, 1000).expect("no faults"), (batches[1].to_vec(), 60));
}

#[test]
fn damage_in_the_next_segment_is_for_the_read_that_begins_there() {
    let (disk, log, batches) = one_a_segment(&[(0, 100), (10, 100), (20, 100)]);
    block_on(log.sync()).expect("no faults");
    disk.rot(&directory().join("00000000000000000010.log"), 16, 0x55).expect("it is there");
    assert_eq!(read(&log, 0, 30, 1000).expect("it is sound"), (batches[0].to_vec(), 10));
    let error = read(&log, 10, 30, 1000).expect_err("no batch begins there");
    assert!(matches!(error, SegmentError::Corrupt { offset: Offset(10), .. }), "{error:?}");
    assert_eq!(read(&log, 20, 30, 1000).expect("it is sound"), (batches[2].to_vec(), 30));
}

#[test]
fn retention_may_overtake_a_read() {
    for dropped in 1..=4 {
        let (disk, are_let_go) = slow_reads();
        let (log, _) = one_a_segment_on(&disk, &[(0, 100), (10, 100), (20, 100), (30, 100), (40, 100)]);
        let mut reading = pin!(log.read(Offset(5), Offset(50), 1000));
        let begun = reading.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(begun.is_pending(), "it waits for the disk");
        let segments = (0..dropped).map(|number| Offset(number * 10)).collect();
        let plan = RetentionPlan { log_start: Offset(dropped * 10), segments };
        block_on(log.drop_segments(&plan)).expect("no faults");
        are_let_go.set(true);
        let error = block_on(reading).expect_err("what it asked for is gone");
        let start_now = Offset(dropped * 10);
        assert!(
            matches!(error, SegmentError::OutOfRange { start, .. } if start == start_now),
            "{dropped} segments: {error:?}"
        );
    }
}

#[test]
fn a_read_under_a_cut_leaves_no_place_to_go_on_from() {
    let (disk, are_let_go) = slow_reads();
    let log = create(&disk);
    let long: Vec<Bytes> = (0..4).map(|number| batch(number * 10, 10, 0, 1500)).collect();
    block_on(log.append(&long)).expect("no faults");
    let mut reading = pin!(log.read(Offset(0), Offset(40), 1500));
    let begun = reading.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(begun.is_pending(), "it waits for the disk");
    are_let_go.set(true);
    block_on(log.truncate(Offset(0))).expect("no faults");
    let short: Vec<Bytes> = (0..4).map(|number| batch(number * 10, 10, 0, 100)).collect();
    block_on(log.append(&short)).expect("no faults");
    assert_eq!(block_on(reading).expect("it looks again").chunks.concat(), short.concat());
    for from in [10, 20, 30] {
        let read = block_on(log.read(Offset(from), Offset(40), 1)).expect("no place is left from before");
        assert_eq!(read.chunks.concat(), batch(from, 10, 0, 100));
    }
}
