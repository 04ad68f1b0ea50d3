//! Pieces and budgets: what an answer holds after transcoding, and where it is cut.

use protocol::records::{BatchBuilder, BatchOptions};
use protocol::types::{Offset, Timestamp};

use super::*;

/// A batch of one record with a value of so many bytes.
fn batch(encoding: Encoding, compression: Compression, base: i64, value_bytes: usize) -> Vec<u8> {
    let options =
        BatchOptions { encoding, compression, base_offset: Offset(base), ..BatchOptions::default() };
    let mut builder = BatchBuilder::new(options);
    builder.append(Timestamp(5), None, Some(&vec![7; value_bytes]), &[]);
    builder.build()
}

fn native_batch(base: i64, value_bytes: usize) -> Vec<u8> {
    batch(Encoding::Native, Compression::None, base, value_bytes)
}

fn kafka_batch(base: i64, value_bytes: usize) -> Vec<u8> {
    batch(Encoding::Kafka, Compression::None, base, value_bytes)
}

const AMPLE: Budget = Budget { bytes_left: 1 << 30, body_bytes_left: 1 << 30, is_first: true };

/// What all pieces of a chunk become.
fn transcoded(chunk: &[u8], mut budget: Budget) -> (Vec<u8>, End) {
    let chunk = Bytes::copy_from_slice(chunk);
    let mut all = Vec::new();
    for piece in pieces(&chunk) {
        let made = make(&piece, budget);
        budget = made.budget;
        all.extend_from_slice(&made.batches);
        if made.end != End::Reached {
            return (all, made.end);
        }
    }
    (all, End::Reached)
}

#[test]
fn native_and_kafkas_batches_come_in_their_order() {
    let chunk = [kafka_batch(0, 10), native_batch(1, 20), native_batch(2, 30), kafka_batch(3, 40)].concat();
    let expected = [kafka_batch(0, 10), kafka_batch(1, 20), kafka_batch(2, 30), kafka_batch(3, 40)].concat();
    assert_eq!(transcoded(&chunk, AMPLE), (expected, End::Reached));
}

#[test]
fn every_compression_stays_what_it_is() {
    for codec in Compression::ALL {
        let chunk = batch(Encoding::Native, codec, 9, 500);
        assert_eq!(
            transcoded(&chunk, AMPLE),
            (batch(Encoding::Kafka, codec, 9, 500), End::Reached),
            "{codec}"
        );
    }
}

#[test]
fn an_answer_ends_with_the_last_batch_that_fits_but_holds_one() {
    let chunk = [native_batch(0, 100), native_batch(1, 100), kafka_batch(2, 100)].concat();
    let one = kafka_batch(0, 100);
    for (bytes_left, batches) in [(1, 1), (one.len() * 2 - 1, 1), (one.len() * 2, 2), (one.len() * 3, 3)] {
        let (made, end) = transcoded(&chunk, Budget { bytes_left, ..AMPLE });
        assert_eq!(made.len(), batches * one.len(), "{bytes_left}");
        assert_eq!(end == End::Reached, batches == 3);
    }
    let none = Budget { bytes_left: 1, is_first: false, ..AMPLE };
    assert_eq!(transcoded(&chunk, none), (Vec::new(), End::BudgetSpent));
}

/// What is small on the wire may be large when it is opened.
#[test]
fn an_answer_is_bounded_by_what_its_bodies_take() {
    let zeros = |base| batch(Encoding::Native, Compression::Zstd, base, 1 << 20);
    let chunk = [zeros(0), zeros(1), zeros(2)].concat();
    assert!(chunk.len() < 1 << 12);
    let (made, end) = transcoded(&chunk, Budget { body_bytes_left: 5 << 19, ..AMPLE });
    assert_eq!(BatchIter::new(&made).count(), 2);
    assert_eq!(end, End::BudgetSpent);
}

#[test]
fn what_is_kafkas_is_not_copied_and_what_is_much_is_not_done_in_passing() {
    let chunk = Bytes::from([kafka_batch(0, 10), kafka_batch(1, 10)].concat());
    let all = pieces(&chunk);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].effort, Effort::None);
    assert_eq!(make(&all[0], AMPLE).batches.as_ptr(), chunk.as_ptr());

    let effort = |batches: &[u8]| pieces(&Bytes::copy_from_slice(batches))[0].effort;
    assert_eq!(effort(&native_batch(0, 10)), Effort::Little);
    assert_eq!(effort(&native_batch(0, TRANSCODED_IN_PASSING_BYTES_MAX)), Effort::Much);
    let packed = batch(Encoding::Native, Compression::Lz4, 0, 10);
    assert_eq!(effort(&packed), Effort::Much);
    assert_eq!(effort(&[packed, native_batch(1, 10)].concat()), Effort::Much);
}

/// The newest records lie in many small chunks, each a piece of its own.
#[test]
fn little_again_and_again_is_not_done_in_passing() {
    let chunk = Bytes::from(native_batch(0, 10));
    let mut left = TRANSCODED_IN_PASSING_BYTES_MAX;
    let in_passing = (0..1000).filter(|_| pieces(&chunk)[0].is_done_in_passing(&mut left)).count();
    assert_eq!(in_passing, TRANSCODED_IN_PASSING_BYTES_MAX / chunk.len());
    let kafkas = Bytes::from(kafka_batch(0, 10));
    assert!(pieces(&kafkas)[0].is_done_in_passing(&mut left), "what is Kafka's costs nothing");
}

#[test]
fn pieces_are_bounded_and_hold_whole_batches() {
    let large = native_batch(0, TRANSCODED_PIECE_BYTES + 1);
    let half = native_batch(1, TRANSCODED_PIECE_BYTES / 2);
    let chunk = Bytes::from([&large[..], &half, &half, &half].concat());
    let lengths: Vec<usize> = pieces(&chunk).iter().map(|piece| piece.batches.len()).collect();
    assert_eq!(lengths, [large.len(), half.len(), half.len(), half.len()]);
    let small = vec![native_batch(2, 10); 1000].concat();
    assert_eq!(pieces(&Bytes::from(small)).len(), 1);
}

#[test]
fn a_bad_batch_ends_the_answer() {
    let mut bad = native_batch(1, 100);
    let body = bad.len() - 20;
    bad[61..body].fill(0xff);
    let (made, end) = transcoded(&[native_batch(0, 10), bad].concat(), AMPLE);
    assert_eq!(made, kafka_batch(0, 10));
    assert!(matches!(end, End::Bad(_)));
}
