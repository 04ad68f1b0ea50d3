use super::*;
use crate::types::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
use embedded::{Assignment, Subscription};

#[test]
fn keys_as_kafka_writes_them() {
    let group = "g";
    let cases: [(Key<'_>, &[u8]); 8] = [
        (
            Key::Offset { group, topic: "to", partition: PartitionIndex(7) },
            b"\0\x01\0\x01g\0\x02to\0\0\0\x07",
        ),
        (Key::ClassicGroup { group }, b"\0\x02\0\x01g"),
        (Key::ConsumerGroup { group }, b"\0\x03\0\x01g"),
        (Key::ConsumerMember { group, member: "m" }, b"\0\x05\0\x01g\0\x01m"),
        (Key::ConsumerTarget { group }, b"\0\x06\0\x01g"),
        (Key::ConsumerTargetMember { group, member: "m" }, b"\0\x07\0\x01g\0\x01m"),
        (Key::ConsumerCurrentMember { group, member: "m" }, b"\0\x08\0\x01g\0\x01m"),
        (Key::ConsumerRegularExpression { group, expression: "a.*" }, b"\0\x10\0\x01g\0\x03a.*"),
    ];
    for (key, bytes) in cases {
        assert_eq!(key.encode().expect("short strings"), bytes);
        assert_eq!(Key::decode(bytes), Ok(key));
        for end in 0..bytes.len() {
            assert!(Key::decode(&bytes[..end]).is_err(), "{key:?} cut at {end}");
        }
    }
    let legacy = b"\0\0\0\x01g\0\x02to\0\0\0\x07";
    assert_eq!(
        Key::decode(legacy),
        Ok(Key::Offset { group, topic: "to", partition: PartitionIndex(7) }),
        "what Kafka 0.8 wrote"
    );
    assert_eq!(Key::decode(b"\0\x0b\0\x01g"), Ok(Key::Unknown(11)), "a share group's");
}

#[test]
fn an_offset_in_each_version() {
    let plain = OffsetCommitValue {
        offset: Offset(258),
        leader_epoch: LeaderEpoch(3),
        metadata: "hi",
        commit_timestamp: Timestamp(0x0102),
        ..OffsetCommitValue::default()
    };
    assert_eq!(plain.version(), 3);
    check(&plain, 3, b"\0\x03\0\0\0\0\0\0\x01\x02\0\0\0\x03\0\x02hi\0\0\0\0\0\0\x01\x02");
    let expiring = OffsetCommitValue {
        leader_epoch: LeaderEpoch::UNKNOWN,
        expire_timestamp: Timestamp(0x0304),
        ..plain.clone()
    };
    assert_eq!(expiring.version(), 1);
    check(&expiring, 1, b"\0\x01\0\0\0\0\0\0\x01\x02\0\x02hi\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\x03\x04");
    let identified = OffsetCommitValue { topic_id: TopicId([9; 16]), ..plain.clone() };
    assert_eq!(identified.version(), 4);
    check(
        &identified,
        4,
        b"\0\x04\0\0\0\0\0\0\x01\x02\0\0\0\x03\x03hi\0\0\0\0\0\0\x01\x02\x01\0\x10\
          \x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09",
    );
    let old = OffsetCommitValue { leader_epoch: LeaderEpoch::UNKNOWN, ..plain };
    check(&old, 0, b"\0\0\0\0\0\0\0\0\x01\x02\0\x02hi\0\0\0\0\0\0\x01\x02");
    check(&old, 2, b"\0\x02\0\0\0\0\0\0\x01\x02\0\x02hi\0\0\0\0\0\0\x01\x02");
}

fn check<'a, T: Value<'a> + PartialEq + std::fmt::Debug>(value: &T, version: i16, bytes: &'a [u8]) {
    assert_eq!(value.encode(version).expect("short strings"), bytes, "version {version}");
    assert_eq!(T::decode(bytes).as_ref(), Ok(value), "version {version}");
    for end in 0..bytes.len() {
        assert!(T::decode(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn a_version_of_later_kafka_is_refused() {
    assert_eq!(OffsetCommitValue::decode(b"\0\x05"), Err(RecordError::Version(5)));
    assert_eq!(GroupMetadataValue::decode(b"\xff\xff"), Err(RecordError::Version(-1)));
}

#[test]
fn a_classic_group() {
    let value = GroupMetadataValue {
        protocol_type: "consumer",
        generation: 5,
        protocol: Some("range"),
        leader: Some("m"),
        current_state_timestamp: Timestamp(9),
        members: vec![MemberMetadata {
            member_id: "m",
            group_instance_id: Some("i"),
            client_id: "c",
            client_host: "/h",
            rebalance_timeout: 300_000,
            session_timeout: 45_000,
            subscription: &[1],
            assignment: &[2, 3],
        }],
    };
    assert_eq!(value.version(), 3);
    check(
        &value,
        3,
        b"\0\x03\0\x08consumer\0\0\0\x05\0\x05range\0\x01m\0\0\0\0\0\0\0\x09\0\0\0\x01\
          \0\x01m\0\x01i\0\x01c\0\x02/h\0\x04\x93\xe0\0\0\xaf\xc8\0\0\0\x01\x01\0\0\0\x02\x02\x03",
    );
    let empty = GroupMetadataValue { current_state_timestamp: Timestamp(9), ..GroupMetadataValue::default() };
    check(&empty, 3, b"\0\x03\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\x09\0\0\0\0");
    let first = GroupMetadataValue { current_state_timestamp: Timestamp(-1), ..empty };
    check(&first, 0, b"\0\0\0\0\0\0\0\0\xff\xff\xff\xff\0\0\0\0");
}

#[test]
fn the_values_of_a_consumer_group() {
    check(&ConsumerGroupMetadataValue { epoch: 4, metadata_hash: 0 }, 0, b"\0\0\0\0\0\x04\0");
    check(
        &ConsumerGroupMetadataValue { epoch: 4, metadata_hash: 1 },
        0,
        b"\0\0\0\0\0\x04\x01\0\x08\0\0\0\0\0\0\0\x01",
    );
    check(
        &ConsumerGroupTargetAssignmentMetadataValue { assignment_epoch: 4, ..Default::default() },
        0,
        b"\0\0\0\0\0\x04\0",
    );
    let partitions = vec![PartitionIndex(1)];
    check(
        &ConsumerGroupTargetAssignmentMemberValue {
            topic_partitions: vec![TargetTopicPartitions { topic_id: TopicId([7; 16]), partitions }],
        },
        0,
        b"\0\0\x02\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x02\0\0\0\x01\0\0",
    );
    let partitions = vec![PartitionIndex(1)];
    check(
        &ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: 4,
            previous_member_epoch: 3,
            state: 1,
            assigned_partitions: vec![],
            partitions_pending_revocation: vec![CurrentTopicPartitions {
                topic_id: TopicId([7; 16]),
                partitions,
                assignment_epochs: Some(vec![2]),
            }],
        },
        0,
        b"\0\0\0\0\0\x04\0\0\0\x03\x01\x01\x02\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\x07\
          \x02\0\0\0\x01\x01\0\x05\x02\0\0\0\x02\0",
    );
    check(
        &ConsumerGroupRegularExpressionValue { topics: vec!["a"], version: 2, timestamp: Timestamp(3) },
        0,
        b"\0\0\x02\x02a\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\0",
    );
}

#[test]
fn a_member_of_a_consumer_group() {
    let value = ConsumerGroupMemberMetadataValue {
        instance_id: None,
        rack_id: Some("r"),
        client_id: "c",
        client_host: "h",
        subscribed_topic_names: vec!["t"],
        subscribed_topic_regex: None,
        rebalance_timeout_ms: 1,
        server_assignor: None,
        classic_member_metadata: None,
    };
    check(&value, 0, b"\0\0\0\x02r\x02c\x02h\x02\x02t\0\0\0\0\x01\0\x01\0\x01\0");
    let without = b"\0\0\0\x02r\x02c\x02h\x02\x02t\0\0\0\0\x01\0\0";
    assert_eq!(ConsumerGroupMemberMetadataValue::decode(without), Ok(value.clone()));
    let classic = ConsumerGroupMemberMetadataValue {
        classic_member_metadata: Some(ClassicMemberMetadata {
            session_timeout_ms: 2,
            supported_protocols: vec![ClassicProtocol { name: "p", metadata: &[5] }],
        }),
        ..value
    };
    check(
        &classic,
        0,
        b"\0\0\0\x02r\x02c\x02h\x02\x02t\0\0\0\0\x01\0\x01\0\x0c\x01\0\0\0\x02\x02\x02p\x02\x05\0\0",
    );
}

#[test]
fn what_consumers_say_to_each_other() {
    let bytes = b"\0\x01\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x02";
    let (version, subscription) = Subscription::decode(bytes).expect("a subscription");
    assert_eq!(version, 1);
    assert_eq!(subscription.topics, ["t"]);
    assert_eq!(subscription.owned_partitions[0].partitions, [PartitionIndex(2)]);
    assert_eq!(subscription.generation_id, -1);
    assert_eq!(subscription.encode(1).expect("short strings"), &bytes[..]);
    assert_eq!(Subscription::decode_topics(bytes), Ok(vec!["t"]));

    let later = [&subscription.encode(3).expect("short strings")[..], b"more"].concat();
    let later = [b"\0\x07", &later[2..]].concat();
    assert_eq!(Subscription::decode(&later), Ok((7, subscription)), "fields that follow are not read");
    assert_eq!(Subscription::decode_topics(b"\xff\xff\0\0\0\0"), Err(RecordError::Version(-1)));

    let bytes = b"\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x02\0\0\0\x01x";
    let (version, assignment) = Assignment::decode(bytes).expect("an assignment");
    assert_eq!((version, assignment.user_data), (0, Some(&b"x"[..])));
    assert_eq!(assignment.encode(version).expect("short strings"), &bytes[..]);
}
