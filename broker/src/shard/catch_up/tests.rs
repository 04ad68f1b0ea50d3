//! What is kept of what was read, and what of it is found again.

use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use protocol::records::{BatchBuilder, BatchOptions};
use protocol::types::{PartitionIndex, Timestamp, TopicId};

use super::*;
use crate::limits::CATCH_UP_READS_MAX;

/// Batches of one record each, from one offset to another.
fn batches(from: i64, to: i64) -> ReadBatches {
    let mut bytes = Vec::new();
    for offset in from..to {
        let options = BatchOptions { base_offset: Offset(offset), ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        builder.append(Timestamp(0), None, Some(b"a value"), &[]);
        bytes.extend_from_slice(&builder.build());
    }
    ReadBatches { bytes: bytes.len(), chunks: vec![Bytes::from(bytes)], next: Offset(to), has_native: false }
}

fn batch_bytes() -> usize {
    batches(0, 1).bytes
}

fn key(partition: i32) -> PartitionKey {
    PartitionKey { topic_id: TopicId([1; 16]), partition: PartitionIndex(partition) }
}

fn place(partition: i32, from: i64, limit: i64) -> Place {
    Place {
        key: key(partition),
        slot: PartitionSlot(0),
        from: Offset(from),
        limit: Offset(limit),
        patient_until: Instant::now(),
    }
}

/// What is found, as offset to go on at and whether it was the last; none where nothing is.
fn found(pieces: &mut Pieces, place: Place, bytes_max: usize) -> Option<(i64, bool)> {
    match pieces.find(place, bytes_max) {
        Found::Kept { part, is_last } => Some((part.next.get(), is_last)),
        Found::OnItsWay | Found::Nothing => None,
    }
}

#[test]
fn a_piece_is_found_from_any_of_its_batches_within_limit_and_size() {
    let mut pieces = Pieces::new(1 << 20);
    pieces.keep(key(0), Offset(10), batches(10, 20));
    assert_eq!(found(&mut pieces, place(0, 10, 100), usize::MAX), Some((20, true)));
    assert_eq!(found(&mut pieces, place(0, 14, 100), usize::MAX), Some((20, true)));
    assert_eq!(found(&mut pieces, place(0, 14, 16), usize::MAX), Some((16, false)));
    assert_eq!(found(&mut pieces, place(0, 14, 100), 2 * batch_bytes()), Some((16, false)));
    assert_eq!(found(&mut pieces, place(0, 14, 100), 1), Some((15, false)), "one batch at least");
    assert_eq!(found(&mut pieces, place(0, 20, 100), usize::MAX), None);
    assert_eq!(found(&mut pieces, place(0, 9, 100), usize::MAX), None);
    assert_eq!(found(&mut pieces, place(1, 10, 100), usize::MAX), None);
}

#[test]
fn what_is_kept_of_a_partition_is_forgotten_and_its_room_is_free() {
    let mut pieces = Pieces::new(20 * batch_bytes());
    pieces.keep(key(0), Offset(0), batches(0, 10));
    pieces.keep(key(1), Offset(0), batches(0, 10));
    pieces.forget(key(0));
    assert_eq!(found(&mut pieces, place(0, 0, 10), usize::MAX), None);
    pieces.keep(key(2), Offset(0), batches(0, 10));
    assert!(found(&mut pieces, place(1, 0, 10), usize::MAX).is_some(), "there is room for two");
}

#[test]
fn what_was_being_read_when_its_partition_was_forgotten_is_read_again() {
    let mut pieces = Pieces::new(1 << 20);
    let life = pieces.life;
    assert!(pieces.expect(key(0), Offset(10)));
    pieces.forget(key(0));
    pieces.settle(life, key(0), Offset(10), Some(batches(10, 12)));
    assert!(matches!(pieces.find(place(0, 10, 20), 1), Found::Nothing), "it came too late");
    assert!(!pieces.keep_of(life, key(0), Offset(10), batches(10, 12)));
    assert!(matches!(pieces.find(place(0, 10, 20), 1), Found::Nothing));
    let life = pieces.life;
    assert!(pieces.keep_of(life, key(0), Offset(10), batches(10, 12)));
    assert_eq!(found(&mut pieces, place(0, 10, 20), usize::MAX), Some((12, true)));
}

#[test]
fn what_was_being_read_when_another_partition_was_forgotten_is_kept_unless_that_is_long_ago() {
    let mut pieces = Pieces::new(1 << 20);
    let life = pieces.life;
    pieces.forget(key(0));
    for _ in 1..FORGETTINGS_KNOWN_MAX {
        pieces.forget(key(1));
    }
    assert!(pieces.keep_of(life, key(2), Offset(10), batches(10, 12)));
    assert!(!pieces.keep_of(life, key(0), Offset(10), batches(10, 12)), "its own is still known");
    pieces.forget(key(1));
    assert!(!pieces.keep_of(life, key(2), Offset(10), batches(10, 12)), "one of them is not known any more");
}

#[test]
fn what_was_not_used_for_longest_makes_room() {
    let mut pieces = Pieces::new(20 * batch_bytes());
    pieces.keep(key(0), Offset(0), batches(0, 10));
    pieces.keep(key(1), Offset(0), batches(0, 10));
    assert!(found(&mut pieces, place(0, 0, 10), usize::MAX).is_some());
    pieces.keep(key(2), Offset(0), batches(0, 5));
    assert!(found(&mut pieces, place(1, 0, 10), usize::MAX).is_none());
    assert!(found(&mut pieces, place(0, 0, 10), usize::MAX).is_some());
    assert!(found(&mut pieces, place(2, 0, 10), usize::MAX).is_some());
    assert_eq!(pieces.bytes, 15 * batch_bytes());
    pieces.keep(key(3), Offset(0), batches(0, 21));
    assert!(found(&mut pieces, place(3, 0, 10), usize::MAX).is_none(), "larger than all room");
}

#[test]
fn a_piece_is_read_once() {
    let mut pieces = Pieces::new(1 << 20);
    assert!(pieces.expect(key(0), Offset(10)));
    assert!(!pieces.expect(key(0), Offset(10)), "it is on its way");
    assert!(matches!(pieces.find(place(0, 10, 20), 1), Found::OnItsWay));
    pieces.settle(0, key(0), Offset(10), Some(batches(10, 12)));
    assert!(!pieces.expect(key(0), Offset(11)), "it is there");
    assert!(pieces.expect(key(0), Offset(12)));
    pieces.settle(0, key(0), Offset(12), None);
    assert!(matches!(pieces.find(place(0, 12, 20), 1), Found::Nothing), "it did not come");
}

/// Polls once.
fn poll<'a>(turn: Pin<&mut impl Future<Output = Reading<'a>>>) -> Poll<Reading<'a>> {
    turn.poll(&mut Context::from_waker(Waker::noop()))
}

fn begun<'a>(turn: Pin<&mut impl Future<Output = Reading<'a>>>) -> Reading<'a> {
    match poll(turn) {
        Poll::Ready(reading) => reading,
        Poll::Pending => panic!("its turn has come"),
    }
}

#[test]
fn turns_come_in_order_and_one_who_leaves_the_line_holds_nobody_up() {
    executor::run(None, || async {
        let catch_up = CatchUp::new(1 << 20);
        let long_ago = Instant::now();
        let patient_until = long_ago + Duration::from_secs(3_600);
        let mut reads: Vec<_> =
            (0..CATCH_UP_READS_MAX).map(|_| begun(pin!(catch_up.turn(patient_until)))).collect();
        let (mut second, mut third) =
            (pin!(catch_up.turn(patient_until)), pin!(catch_up.turn(patient_until)));
        let mut first = Box::pin(catch_up.turn(patient_until));
        assert!(poll(first.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        drop(first);
        drop(reads.pop());
        assert!(poll(third.as_mut()).is_pending(), "the second was there before");
        let reading = begun(second.as_mut());
        assert!(poll(third.as_mut()).is_pending(), "all turns are taken");
        drop(reading);
        drop(begun(third.as_mut()));
        assert!(catch_up.line.borrow().is_empty());
        drop(reads);
    })
    .expect("an executor");
}

#[test]
fn those_before_one_without_patience_make_way_for_nobody() {
    executor::run(None, || async {
        let catch_up = CatchUp::new(1 << 20);
        let now = Instant::now();
        let patient_until = now + Duration::from_secs(3_600);
        let mut quick = begun(pin!(catch_up.turn(patient_until)));
        quick.bytes = 1 << 20;
        drop(quick);
        let reading = begun(pin!(catch_up.turn(patient_until)));
        catch_up.note_produced(1);
        let (mut first, mut second) = (pin!(catch_up.turn(patient_until)), pin!(catch_up.turn(now)));
        assert!(poll(first.as_mut()).is_pending(), "a read goes alone beside producers");
        assert!(poll(second.as_mut()).is_pending(), "it is not its turn");
        let before = begun(first.as_mut());
        drop(begun(second.as_mut()));
        drop((before, reading));
    })
    .expect("an executor");
}
