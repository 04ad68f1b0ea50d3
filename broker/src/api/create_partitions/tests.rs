use protocol::error::ErrorCode;
use protocol::messages::create_partitions::CreatePartitionsAssignment;
use protocol::types::BrokerId;

use super::*;
use crate::api::testing::{in_every_version, make_topic, one_broker};

fn topic(name: &str, count: i32) -> CreatePartitionsTopic<'_> {
    CreatePartitionsTopic { name, count, assignments: None }
}

/// What an image with the topic `three`, of three partitions, answers.
fn ask<'a>(topics: Vec<CreatePartitionsTopic<'a>>) -> Vec<Line<'a>> {
    let mut image = one_broker();
    make_topic(&mut image, "three", 1, 3);
    let request = CreatePartitionsRequest { topics, timeout_ms: 1_000, validate_only: true };
    let (lines, wanted) = plan(&request);
    gather(lines, Ok(image.dry_run(&Command::CreatePartitions(wanted))))
}

fn check(topic: CreatePartitionsTopic<'_>, expected: Result<(), KafkaError>) {
    let lines = ask(vec![topic]);
    let outcome = lines[0].outcome.clone();
    assert_eq!(outcome.map_err(|refused| refused.error), expected);
}

#[test]
fn a_topic_grows_and_never_shrinks() {
    check(topic("three", 4), Ok(()));
    check(topic("three", 3), Err(KafkaError::InvalidPartitions));
    check(topic("three", 2), Err(KafkaError::InvalidPartitions));
    check(topic("three", 0), Err(KafkaError::InvalidPartitions));
    check(topic("missing", 4), Err(KafkaError::UnknownTopicOrPartition));
    check(topic("__consumer_offsets", 60), Err(KafkaError::InvalidTopicException));
    check(topic("__transaction_state", 60), Err(KafkaError::InvalidTopicException));
}

#[test]
fn new_partitions_may_be_placed_by_the_client() {
    let placed = |brokers: &[i32]| CreatePartitionsTopic {
        assignments: Some(
            brokers
                .iter()
                .map(|broker| CreatePartitionsAssignment { broker_ids: vec![BrokerId(*broker)] })
                .collect(),
        ),
        ..topic("three", 5)
    };
    check(placed(&[1, 1]), Ok(()));
    check(placed(&[1]), Err(KafkaError::InvalidReplicaAssignment));
    check(placed(&[1, 9]), Err(KafkaError::InvalidReplicaAssignment));
}

#[test]
fn a_topic_named_twice_is_refused_once_and_hinders_no_other() {
    let lines = ask(vec![topic("twice", 1), topic("three", 4), topic("twice", 1)]);
    let seen: Vec<(&str, bool)> = lines.iter().map(|line| (line.name, line.outcome.is_ok())).collect();
    assert_eq!(seen, [("twice", false), ("three", true)]);
}

#[test]
fn the_answer_goes_into_every_version() {
    let lines = ask(vec![topic("three", 4), topic("missing", 4)]);
    in_every_version!(CreatePartitionsResponse<'_>, |_version| response(&lines), |_version, read| {
        let [grown, missing] = read.results.as_slice() else { panic!("two topics: {read:?}") };
        assert_eq!((grown.name, grown.error_code, grown.error_message), ("three", ErrorCode::NONE, None));
        assert_eq!(missing.error_code, KafkaError::UnknownTopicOrPartition.into());
        assert!(missing.error_message.is_some());
    });
}
