//! The header's bytes, cutting payloads, and each rule that a batch may break.

use proptest::collection::vec;
use proptest::prelude::*;
use zerocopy::IntoBytes;

use super::*;
use crate::compression::Compression;
use crate::records::{BatchBuilder, BatchOptions, Header, ProducerStamp, RecordProblem};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

const LIMITS: BatchLimits = BatchLimits { bytes_max: 1 << 20 };

fn build(options: BatchOptions, count: u8) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for index in 0..count {
        let headers = [Header { key: b"h", value: Some(b"v") }, Header { key: b"h", value: None }];
        builder.append(
            Timestamp(1000 + i64::from(index)),
            Some(b"key"),
            (index % 2 == 0).then_some(b"value".as_slice()),
            &headers,
        );
    }
    builder.build()
}

fn plain(count: u8) -> Vec<u8> {
    build(BatchOptions::default(), count)
}

fn only_batch(bytes: &[u8]) -> Batch<'_> {
    let mut batches = BatchIter::new(bytes);
    let batch = batches.next().expect("there is a batch").expect("its length is true");
    assert!(batches.rest().is_empty());
    batch
}

fn check(bytes: &[u8]) -> Result<BatchSummary, BatchError> {
    validate(only_batch(bytes), LIMITS)
}

/// Changes a batch and makes its CRC true again.
fn forge(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut bytes);
    let crc = header::crc_of_batch(&bytes);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// A header whose every byte tells where it is.
fn counted_header() -> [u8; HEADER_BYTES] {
    std::array::from_fn(|index| u8::try_from(index).expect("61 is small"))
}

#[test]
fn the_header_is_where_the_table_says() {
    let bytes = counted_header();
    let header = BatchHeader::from_prefix(&bytes).expect("61 bytes are enough");
    let at = |start: usize, count: usize| {
        bytes[start..start + count].iter().fold(0_i64, |value, &byte| value << 8 | i64::from(byte))
    };
    assert_eq!(header.base_offset().0, at(0, 8));
    assert_eq!(i64::from(header.length()), at(8, 4));
    assert_eq!(i64::from(header.leader_epoch().0), at(12, 4));
    assert_eq!(i64::from(header.magic()), at(16, 1));
    assert_eq!(i64::from(header.crc()), at(17, 4));
    assert_eq!(i64::from(header.attributes()), at(21, 2));
    assert_eq!(i64::from(header.last_offset_delta()), at(23, 4));
    assert_eq!(header.base_timestamp().0, at(27, 8));
    assert_eq!(header.max_timestamp().0, at(35, 8));
    assert_eq!(header.producer_id().0, at(43, 8));
    assert_eq!(i64::from(header.producer_epoch().0), at(51, 2));
    assert_eq!(i64::from(header.base_sequence().0), at(53, 4));
    assert_eq!(i64::from(header.record_count()), at(57, 4));
    assert_eq!(header.as_bytes(), bytes);
}

#[test]
fn attributes_are_where_the_table_says() {
    let with = |attributes: i16| {
        let mut bytes = counted_header();
        bytes[21..23].copy_from_slice(&attributes.to_be_bytes());
        *BatchHeader::from_prefix(&bytes).expect("61 bytes are enough")
    };
    for codec in Compression::ALL {
        assert_eq!(with(i16::from(codec.bits())).compression(), Some(codec));
    }
    assert_eq!(with(5).compression(), None);
    assert_eq!(with(7).compression(), None);
    assert_eq!(with(1 << 3).timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(with(!(1 << 3)).timestamp_type(), TimestampType::CreateTime);
    assert!(with(1 << 4).is_transactional());
    assert!(!with(!(1 << 4)).is_transactional());
    assert!(with(1 << 5).is_control());
    assert!(!with(!(1 << 5)).is_control());
    assert_eq!(with(1 << 6).delete_horizon(), Some(with(0).base_timestamp()));
    assert_eq!(with(!(1 << 6)).delete_horizon(), None);
}

/// One record with everything: kept so that no change of code changes it. Its CRC was summed bit by bit elsewhere.
#[test]
fn golden_batch() {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: Offset(5),
        leader_epoch: LeaderEpoch(3),
        producer: ProducerStamp { id: ProducerId(9), epoch: ProducerEpoch(1), base_sequence: Sequence(7) },
        ..BatchOptions::default()
    });
    builder.append(Timestamp(1000), None, Some(b"hi"), &[Header { key: b"k", value: None }]);
    let golden =
        b"\0\0\0\0\0\0\0\x05\0\0\0\x3d\0\0\0\x03\x02\x61\x05\x2a\xdf\0\0\0\0\0\0\0\0\0\0\0\0\x03\xe8\
        \0\0\0\0\0\0\x03\xe8\0\0\0\0\0\0\0\x09\0\x01\0\0\0\x07\0\0\0\x01\
        \x16\0\0\0\x01\x04hi\x02\x02k\x01";
    let bytes = builder.build();
    assert_eq!(bytes, golden);
}

#[test]
fn a_payload_is_cut_into_its_batches() {
    let payload = [plain(1), plain(3), plain(2)].concat();
    let counts: Vec<i32> = BatchIter::new(&payload)
        .map(|batch| batch.expect("all lengths are true").header().record_count())
        .collect();
    assert_eq!(counts, [1, 3, 2]);
}

#[test]
fn a_payload_that_ends_inside_of_a_batch_is_told() {
    let batch = plain(1);
    let whole = batch.len();
    for cut in 1..whole {
        let mut batches = BatchIter::new(&batch[..cut]);
        let needed = if cut < HEADER_BYTES { HEADER_BYTES } else { whole };
        let error = batches.next().expect("there are bytes").expect_err("but not enough");
        assert_eq!(error, FramingError::Truncated { needed, remaining: cut });
        assert!(batches.next().is_none());
    }
}

#[test]
fn lengths_that_can_not_be_true_are_told() {
    for length in [i32::MIN, -1, 0, 48] {
        let mut batch = plain(1);
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        let error = BatchIter::new(&batch).next().expect("there are bytes").expect_err("no such batch");
        assert_eq!(error, FramingError::Length(length));
    }
}

#[test]
fn messages_of_the_older_formats_are_told() {
    for magic in [0, 1] {
        // offset, size, crc, magic, attributes, [timestamp,] null key, null value: shorter than a batch header.
        let mut message = vec![0; 26];
        message[16] = magic;
        let error = BatchIter::new(&message).next().expect("there are bytes").expect_err("not a batch");
        assert_eq!(error, FramingError::Magic(magic.cast_signed()));
    }
}

#[test]
fn a_good_batch_is_taken() {
    for codec in Compression::ALL {
        let bytes = build(BatchOptions { compression: codec, ..BatchOptions::default() }, 4);
        let summary = check(&bytes).expect("it is good");
        assert_eq!(summary.compression, codec);
        let timestamps = (codec == Compression::None).then_some((Timestamp(1000), Timestamp(1003)));
        assert_eq!(summary.timestamps, timestamps);
    }
}

#[test]
fn a_batch_larger_than_the_limit_is_refused() {
    let bytes = plain(2);
    let limits = BatchLimits { bytes_max: bytes.len() - 1 };
    assert_eq!(
        validate(only_batch(&bytes), limits),
        Err(BatchError::TooLarge { size_bytes: bytes.len(), bytes_max: bytes.len() - 1 })
    );
}

#[test]
fn every_flipped_bit_under_the_crc_is_found() {
    let bytes = plain(1);
    for at in 21..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            assert!(matches!(check(&bad), Err(BatchError::Crc { .. })), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn another_format_is_refused() {
    let bad = forge(plain(1), |bytes| bytes[16] = 3);
    assert_eq!(check(&bad), Err(BatchError::Magic(3)));
}

#[test]
fn an_unknown_compression_is_refused() {
    let bad = forge(plain(1), |bytes| bytes[22] = 5);
    assert_eq!(check(&bad), Err(BatchError::Compression(5)));
}

#[test]
fn a_count_that_differs_from_the_offsets_is_refused() {
    for (count, last_offset_delta) in [(0, 0), (-1, -2), (0, -1), (2, 2), (i32::MIN, i32::MAX)] {
        let bad = forge(plain(2), |bytes| {
            bytes[57..61].copy_from_slice(&i32::to_be_bytes(count));
            bytes[23..27].copy_from_slice(&i32::to_be_bytes(last_offset_delta));
        });
        assert_eq!(check(&bad), Err(BatchError::Count { count, last_offset_delta }));
    }
}

#[test]
fn a_control_batch_is_refused() {
    let bad = build(BatchOptions { control: true, ..BatchOptions::default() }, 1);
    assert_eq!(check(&bad), Err(BatchError::Control));
}

#[test]
fn producer_fields_that_do_not_fit_together_are_refused() {
    let with = |id, epoch, sequence, transactional| {
        let producer = ProducerStamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(sequence),
        };
        check(&build(BatchOptions { producer, transactional, ..BatchOptions::default() }, 1)).map(|_| ())
    };
    assert_eq!(with(1, 0, 0, false), Ok(()));
    assert_eq!(with(1, 0, 0, true), Ok(()));
    assert_eq!(with(-1, -1, -1, false), Ok(()));
    assert_eq!(with(1, 0, -1, false), Err(BatchError::Producer));
    assert_eq!(with(1, -1, 0, false), Err(BatchError::Producer));
    assert_eq!(with(-2, 0, 0, false), Err(BatchError::Producer));
    assert_eq!(with(-1, -1, -1, true), Err(BatchError::Producer));
}

/// A batch that says to hold `count` records, with this body.
fn with_body(count: u8, body: &[u8]) -> Vec<u8> {
    forge(plain(count), |bytes| {
        bytes.truncate(HEADER_BYTES);
        bytes.extend_from_slice(body);
        let length = i32::try_from(bytes.len() - OVERHEAD_BYTES).expect("small");
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
    })
}

#[track_caller]
fn check_record(body: &[u8], problem: RecordProblem) {
    let expected = Err(BatchError::Record(RecordError { index: 0, problem }));
    assert_eq!(check(&with_body(1, body)), expected);
}

#[test]
fn the_framing_of_records_is_walked() {
    assert!(check(&with_body(1, b"\x0c\0\0\0\x01\x01\0")).is_ok());
    check_record(b"", RecordProblem::Truncated);
    check_record(b"\x0e\0\0\0\x01\x01\0", RecordProblem::Truncated);
    check_record(b"\x0a\0\0\0\x01\x01\0", RecordProblem::Truncated);
    check_record(b"\x0e\0\0\0\x01\x01\0\0", RecordProblem::Trailing(1));
    check_record(b"\x01\0\0\0\x01\x01\0", RecordProblem::Length(-1));
    check_record(b"\x0c\0\0\0\x03\x01\0", RecordProblem::Length(-2));
    check_record(b"\x0c\0\0\0\x01\x01\x01", RecordProblem::Length(-1));
    check_record(b"\x0c\0\0\0\x01\x01\x02", RecordProblem::Truncated);
    check_record(b"\x0c\0\0\x02\x01\x01\0", RecordProblem::OffsetDelta { delta: 1 });
    check_record(b"\x10\0\0\0\x01\x01\x02\x01\x01", RecordProblem::Length(-1));
    check_record(b"\xff\xff\xff\xff\xff", RecordProblem::Varint);
    check_record(
        b"\x1e\0\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\0\x01\x01\0",
        RecordProblem::Timestamp(i64::MAX),
    );
}

#[test]
fn bytes_behind_the_last_record_are_refused() {
    assert_eq!(check(&with_body(1, b"\x0c\0\0\0\x01\x01\0\0\0")), Err(BatchError::Trailing(2)));
}

#[test]
fn a_position_is_patched_outside_of_the_crc() {
    let mut bytes = plain(3);
    let header = BatchHeader::from_prefix_mut(&mut bytes).expect("there is a header");
    header.set_position(Offset(1 << 40), LeaderEpoch(17));
    let header = *only_batch(&bytes).header();
    assert_eq!(header.base_offset(), Offset(1 << 40));
    assert_eq!(header.last_offset(), Offset((1 << 40) + 2));
    assert_eq!(header.next_offset(), Offset((1 << 40) + 3));
    assert_eq!(header.leader_epoch(), LeaderEpoch(17));
    assert!(check(&bytes).is_ok());
}

#[test]
fn append_time_is_patched_under_the_crc() {
    for codec in Compression::ALL {
        let mut bytes = build(BatchOptions { compression: codec, ..BatchOptions::default() }, 3);
        let (front, body) = bytes.split_at_mut(HEADER_BYTES);
        let header = BatchHeader::from_prefix_mut(front).expect("there is a header");
        header.set_append_time(Timestamp(5000), body);
        let header = *only_batch(&bytes).header();
        assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!(header.max_timestamp(), Timestamp(5000));
        assert_eq!(header.compression(), Some(codec));
        assert_eq!(check_crc(only_batch(&bytes)), Ok(()));
    }
}

proptest! {
    /// Whatever the bytes, walking a payload ends; what is taken has as many good records as it says.
    #[test]
    fn a_hostile_payload_is_refused_or_true(
        counts in vec(1_u8..6, 1..4),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        honest_crc in any::<bool>(),
    ) {
        let mut payload = counts.into_iter().flat_map(plain).collect::<Vec<u8>>();
        for (at, value) in flips {
            *at.get_mut(&mut payload) = value;
        }
        for batch in BatchIter::new(&payload) {
            let Ok(batch) = batch else { break };
            let bytes = batch.bytes().to_vec();
            let bytes = if honest_crc { forge(bytes, |_| {}) } else { bytes };
            let batch = only_batch(&bytes);
            let Ok(summary) = validate(batch, LIMITS) else { continue };
            if summary.compression == Compression::None {
                let records = crate::records::RecordIter::new(batch.body(), batch.header());
                let good = records.filter(Result::is_ok).count();
                prop_assert_eq!(i32::try_from(good), Ok(batch.header().record_count()));
            }
        }
    }
}
