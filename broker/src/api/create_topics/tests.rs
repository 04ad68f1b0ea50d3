use protocol::messages::create_topics::{CreatableReplicaAssignment, CreatableTopicConfig};
use protocol::types::{BrokerId, PartitionIndex};

use super::*;
use crate::api::testing::{BARE, in_every_version, make_topic, one_broker, topic_id};

const DEFAULTS: Defaults = Defaults { partition_count: 3, replication_factor: 1 };

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic<'_> {
    CreatableTopic { name, num_partitions, replication_factor, assignments: Vec::new(), configs: Vec::new() }
}

fn assigned(name: &'static str, partitions: &[(i32, &[i32])]) -> CreatableTopic<'static> {
    let assignments = partitions.iter().map(|(partition, brokers)| CreatableReplicaAssignment {
        partition_index: PartitionIndex(*partition),
        broker_ids: brokers.iter().copied().map(BrokerId).collect(),
    });
    CreatableTopic { assignments: assignments.collect(), ..topic(name, -1, -1) }
}

/// What an image with the topic `there` answers.
fn ask<'a>(topics: Vec<CreatableTopic<'a>>) -> Vec<Line<'a>> {
    let mut image = one_broker();
    make_topic(&mut image, "there", 200, 1);
    let request = CreateTopicsRequest { topics, timeout_ms: 1_000, validate_only: false };
    let mut ids = 0;
    let (names, planned) = plan(&request, &DEFAULTS, || {
        ids += 1;
        topic_id(ids)
    });
    let topics = planned.iter().filter_map(|plan| plan.clone().ok()).collect();
    let outcomes = Ok(image.dry_run(&Command::CreateTopics(topics)));
    gather(&names, planned, outcomes, &BARE)
}

/// The error, and how many partitions were made.
fn check(topic: CreatableTopic<'_>, expected: Result<i32, KafkaError>) {
    let lines = ask(vec![topic]);
    let outcome = lines[0].outcome.as_ref();
    assert_eq!(outcome.map(|made| made.topic.partition_count()).map_err(|refused| refused.error), expected,);
}

#[test]
fn counts_are_taken_as_given_or_by_default() {
    check(topic("new", 5, 1), Ok(5));
    check(topic("new", -1, 1), Ok(DEFAULTS.partition_count));
    check(topic("new", -1, -1), Ok(DEFAULTS.partition_count));
    check(topic("new", 0, 1), Err(KafkaError::InvalidPartitions));
    check(topic("new", -2, 1), Err(KafkaError::InvalidPartitions));
    check(topic("new", 1, 0), Err(KafkaError::InvalidReplicationFactor));
    check(topic("new", 1, 2), Err(KafkaError::InvalidReplicationFactor));
}

#[test]
fn assignments_stand_alone_and_name_every_partition_once() {
    check(assigned("new", &[(0, &[1]), (1, &[1])]), Ok(2));
    check(assigned("new", &[(1, &[1]), (0, &[1])]), Ok(2));
    check(assigned("new", &[(0, &[1]), (2, &[1])]), Err(KafkaError::InvalidReplicaAssignment));
    check(assigned("new", &[(0, &[1]), (0, &[1])]), Err(KafkaError::InvalidReplicaAssignment));
    check(assigned("new", &[(0, &[7])]), Err(KafkaError::InvalidReplicaAssignment));
    check(
        CreatableTopic { num_partitions: 1, ..assigned("new", &[(0, &[1])]) },
        Err(KafkaError::InvalidRequest),
    );
    check(
        CreatableTopic { replication_factor: 1, ..assigned("new", &[(0, &[1])]) },
        Err(KafkaError::InvalidRequest),
    );
}

#[test]
fn names_and_configs_are_checked() {
    check(topic("there", 1, 1), Err(KafkaError::TopicAlreadyExists));
    check(topic("not/a/name", 1, 1), Err(KafkaError::InvalidTopicException));
    check(topic(CLUSTER_METADATA, 1, 1), Err(KafkaError::InvalidRequest));
    let with = |name, value| CreatableTopic {
        configs: vec![CreatableTopicConfig { name, value }],
        ..topic("new", 1, 1)
    };
    check(with("retention.ms", Some("1000")), Ok(1));
    check(with("retention.ms", Some("soon")), Err(KafkaError::InvalidConfig));
    check(with("retention.ms", None), Err(KafkaError::InvalidConfig));
    check(with("retention.sm", Some("1000")), Err(KafkaError::InvalidConfig));
}

#[test]
fn a_topic_named_twice_is_refused_once_and_hinders_no_other() {
    let lines = ask(vec![topic("twice", 1, 1), topic("once", 1, 1), topic("twice", 1, 1)]);
    let seen: Vec<(&str, bool)> = lines.iter().map(|line| (line.name, line.outcome.is_ok())).collect();
    assert_eq!(seen, [("twice", false), ("once", true)]);
}

#[test]
fn the_answer_goes_into_every_version() {
    let with_config = CreatableTopic {
        configs: vec![CreatableTopicConfig { name: "retention.ms", value: Some("1000") }],
        ..topic("new", 2, 1)
    };
    let lines = ask(vec![with_config, topic("there", 1, 1)]);
    in_every_version!(CreateTopicsResponse<'_>, |_version| response(&lines), |version, read| {
        let [made, refused] = read.topics.as_slice() else { panic!("two topics: {read:?}") };
        assert_eq!((made.name, made.error_code), ("new", ErrorCode::NONE));
        assert_eq!(made.topic_id, if version >= 7 { topic_id(1) } else { TopicId::ZERO });
        assert_eq!(made.num_partitions, if version >= 5 { 2 } else { -1 });
        let configs = made.configs.iter().flatten();
        let retention = configs.clone().find(|config| config.name == "retention.ms");
        let shown = retention.map(|config| (config.value, config.config_source));
        assert_eq!(shown, (version >= 5).then_some((Some("1000"), 1)));
        assert!(configs.clone().is_sorted_by_key(|config| config.name));
        assert_eq!(refused.error_code, KafkaError::TopicAlreadyExists.into());
        assert_eq!(refused.error_message, Some("Topic 'there' already exists."));
    });
}

#[test]
fn a_quorum_that_does_not_answer_refuses_every_topic() {
    let request =
        CreateTopicsRequest { topics: vec![topic("new", 1, 1)], timeout_ms: 0, validate_only: false };
    let (names, planned) = plan(&request, &DEFAULTS, || topic_id(1));
    let lines = gather(&names, planned, Err(KafkaError::RequestTimedOut), &BARE);
    assert_eq!(
        lines[0].outcome.as_ref().err().map(|refused| refused.error),
        Some(KafkaError::RequestTimedOut)
    );
}
