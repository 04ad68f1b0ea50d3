use super::*;
use crate::api::testing::{BROKER, make_topic, one_broker};

const TOPIC: i8 = 2;
const OF_BROKER: i8 = 4;
const GROUP: i8 = 32;

fn set<'a>(name: &'a str, value: &'a str) -> Change<'a> {
    Change { name, operation: Ok(Operation::Set), value: Some(value) }
}

fn asked<'a>(resource_type: i8, name: &'a str, changes: &[Change<'a>]) -> Asked<'a> {
    Asked { resource_type, name, replace: false, changes: changes.to_vec() }
}

/// What an image with the topic `orders` answers.
fn ask(asked: &[Asked<'_>]) -> Vec<Result<(), KafkaError>> {
    let mut image = one_broker();
    make_topic(&mut image, "orders", 1, 1);
    let here = Here { broker: BROKER, group_terms: GroupTerms::default() };
    let (planned, alterations) = plan(asked, here);
    let outcomes = gather(asked, planned, Ok(image.dry_run(&Command::AlterConfigs(alterations))));
    outcomes.into_iter().map(|outcome| outcome.map_err(|refused| refused.error)).collect()
}

fn check(resource_type: i8, name: &str, changes: &[Change<'_>], expected: Result<(), KafkaError>) {
    assert_eq!(ask(&[asked(resource_type, name, changes)]), [expected]);
}

#[test]
fn topics_brokers_and_all_brokers_can_be_altered() {
    check(TOPIC, "orders", &[set("retention.ms", "1000")], Ok(()));
    check(OF_BROKER, "1", &[set("log.retention.ms", "1000")], Ok(()));
    check(OF_BROKER, "", &[set("log.retention.ms", "1000")], Ok(()));
    check(TOPIC, "none", &[set("retention.ms", "1000")], Err(KafkaError::UnknownTopicOrPartition));
}

#[test]
fn a_wrong_value_is_an_invalid_config_of_a_topic_and_an_invalid_request_of_a_broker() {
    check(TOPIC, "orders", &[set("retention.ms", "soon")], Err(KafkaError::InvalidConfig));
    check(OF_BROKER, "1", &[set("log.retention.ms", "soon")], Err(KafkaError::InvalidRequest));
    check(OF_BROKER, "1", &[set("num.partitions", "3")], Err(KafkaError::InvalidRequest));
    let append = Change { operation: Ok(Operation::Append), ..set("log.retention.ms", "1") };
    check(OF_BROKER, "1", &[append], Err(KafkaError::InvalidConfig));
}

#[test]
fn groups_can_be_altered_whether_they_exist_or_not() {
    check(GROUP, "billing", &[set("consumer.session.timeout.ms", "50000")], Ok(()));
    let wrong = Err(KafkaError::InvalidConfig);
    check(GROUP, "billing", &[set("consumer.session.timeout.ms", "1")], wrong);
    check(GROUP, "billing", &[set("consumer.session.timeout.ms", "soon")], wrong);
    check(GROUP, "billing", &[set("share.session.timeout.ms", "50000")], wrong);
    check(GROUP, "billing", &[set("no.such.config", "1")], wrong);
    check(GROUP, "", &[set("consumer.session.timeout.ms", "50000")], Err(KafkaError::InvalidRequest));
}

#[test]
fn only_what_has_configs_here_can_be_altered() {
    let invalid = Err(KafkaError::InvalidRequest);
    check(OF_BROKER, "2", &[set("log.retention.ms", "1")], invalid);
    check(OF_BROKER, "one", &[set("log.retention.ms", "1")], invalid);
    check(8, "1", &[set("root", "DEBUG")], invalid);
    check(16, "metrics", &[set("interval.ms", "1")], invalid);
    check(3, "what", &[set("a", "b")], invalid);
}

#[test]
fn a_change_is_whole_or_refused() {
    let invalid = Err(KafkaError::InvalidRequest);
    let (one, other) = (set("retention.ms", "1"), set("retention.ms", "2"));
    check(TOPIC, "orders", &[one, other], invalid);
    check(TOPIC, "orders", &[Change { value: None, ..one }], invalid);
    check(TOPIC, "orders", &[Change { operation: Err(9), ..one }], invalid);
    check(TOPIC, "orders", &[Change { operation: Ok(Operation::Delete), value: None, ..one }], Ok(()));
}

#[test]
fn a_resource_named_twice_is_refused_each_time_and_hinders_no_other() {
    let changes = [set("retention.ms", "1")];
    let twice = || asked(TOPIC, "twice", &changes);
    let outcomes = ask(&[twice(), asked(TOPIC, "orders", &changes), twice()]);
    let invalid = Err(KafkaError::InvalidRequest);
    assert_eq!(outcomes, [invalid, Ok(()), invalid]);
}
