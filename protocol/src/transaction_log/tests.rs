//! The bytes are put together by hand from Kafka's schemas, as its own serializer lays them out.

use super::*;
use proptest::prelude::*;

fn value<'a>() -> TransactionLogValue<'a> {
    TransactionLogValue {
        producer_id: ProducerId(4000),
        previous_producer_id: ProducerId::NONE,
        next_producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch(2),
        transaction_timeout_ms: 60_000,
        transaction_status: 1,
        transaction_partitions: Some(vec![PartitionsSchema {
            topic: "ab",
            partition_ids: vec![PartitionIndex(0), PartitionIndex(7)],
        }]),
        transaction_last_update_timestamp_ms: Timestamp(0x0102_0304_0506),
        transaction_start_timestamp_ms: Timestamp(0x0102_0304_0500),
        client_transaction_version: 0,
    }
}

const KEY: &[u8] = &[0, 0, 0, 4, b'p', b'a', b'y', b'1'];

const VALUE_0: &[u8] = &[
    0, 0, // version
    0, 0, 0, 0, 0, 0, 0x0f, 0xa0, // producer id
    0, 2, // producer epoch
    0, 0, 0xea, 0x60, // timeout
    1,    // Ongoing
    0, 0, 0, 1, // one topic
    0, 2, b'a', b'b', // its name
    0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, // its partitions
    0, 0, 1, 2, 3, 4, 5, 6, // last update
    0, 0, 1, 2, 3, 4, 5, 0, // start
];

const VALUE_1: &[u8] = &[
    0, 1, // version
    0, 0, 0, 0, 0, 0, 0x0f, 0xa0, // producer id
    0, 2, // producer epoch
    0, 0, 0xea, 0x60, // timeout
    1,    // Ongoing
    2,    // one topic
    3, b'a', b'b', // its name
    3, 0, 0, 0, 0, 0, 0, 0, 7, // its partitions
    0, // no tagged fields of the topic
    0, 0, 1, 2, 3, 4, 5, 6, // last update
    0, 0, 1, 2, 3, 4, 5, 0, // start
    3, // tagged fields
    0, 8, 0, 0, 0, 0, 0, 0, 0x0b, 0xb8, // previous producer id
    1, 8, 0, 0, 0, 0, 0, 0, 0x13, 0x88, // next producer id
    2, 2, 0, 2, // the client's transaction version
];

const VALUE_1_EMPTY: &[u8] = &[
    0, 1, // version
    0, 0, 0, 0, 0, 0, 0x0f, 0xa0, // producer id
    0, 0, // producer epoch
    0, 0, 0xea, 0x60, // timeout
    0,    // Empty
    0,    // no topics
    0, 0, 1, 2, 3, 4, 5, 6, // last update
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, // no start
    0,    // no tagged fields
];

#[track_caller]
fn check(value: &TransactionLogValue<'_>, version: i16, bytes: &[u8]) {
    assert_eq!(encode_value(value, version), bytes);
    assert_eq!(decode_value(bytes, 1 << 16).as_ref(), Ok(value));
}

#[test]
fn a_key_has_kafkas_bytes() {
    assert_eq!(encode_key("pay1"), KEY);
    assert_eq!(decode_key(KEY), Ok("pay1"));
}

#[test]
fn a_value_of_version_0_has_kafkas_bytes() {
    check(&value(), 0, VALUE_0);
}

#[test]
fn a_value_of_version_1_has_kafkas_bytes() {
    let with_tags = TransactionLogValue {
        previous_producer_id: ProducerId(3000),
        next_producer_id: ProducerId(5000),
        client_transaction_version: 2,
        ..value()
    };
    check(&with_tags, 1, VALUE_1);
}

#[test]
fn a_value_without_a_transaction_has_no_partitions() {
    let empty = TransactionLogValue {
        producer_epoch: ProducerEpoch(0),
        transaction_status: 0,
        transaction_partitions: None,
        transaction_start_timestamp_ms: Timestamp(-1),
        ..value()
    };
    check(&empty, 1, VALUE_1_EMPTY);
}

#[test]
fn what_version_0_can_not_carry_is_left_out() {
    let with_tags = TransactionLogValue { client_transaction_version: 2, ..value() };
    assert_eq!(encode_value(&with_tags, 0), VALUE_0);
}

/// The tag that KIP-939 adds: read over.
#[test]
fn a_tagged_field_that_came_later_is_passed_over() {
    let mut bytes = VALUE_1_EMPTY[..VALUE_1_EMPTY.len() - 1].to_vec();
    bytes.extend_from_slice(&[1, 3, 2, 0, 9]);
    assert_eq!(decode_value(&bytes, 0).expect("a value").producer_id, ProducerId(4000));
}

#[test]
fn later_versions_are_told_apart_from_damage() {
    let unknown = |part| RecordError::UnknownVersion { part, version: 2 };
    assert_eq!(decode_key(&[0, 2, 0, 0]), Err(unknown("key")));
    assert_eq!(decode_value(&[0, 2, 0, 0], 0), Err(unknown("value")));
    for length in 0..VALUE_0.len() {
        assert!(matches!(decode_value(&VALUE_0[..length], 1 << 16), Err(RecordError::Malformed(_))));
    }
}

#[test]
fn a_count_larger_than_the_budget_allocates_nothing() {
    let mut bytes = VALUE_0.to_vec();
    bytes[17..21].copy_from_slice(&i32::MAX.to_be_bytes());
    assert!(decode_value(&bytes, 1 << 16).is_err());
}

proptest! {
    #[test]
    fn no_bytes_break_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = decode_key(&bytes);
        let _ = decode_value(&bytes, 1 << 12);
    }
}
