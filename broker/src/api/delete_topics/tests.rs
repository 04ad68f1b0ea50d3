use protocol::error::ErrorCode;
use protocol::messages::delete_topics::DeleteTopicState;

use super::*;
use crate::api::testing::{in_every_version, make_topic, one_broker, topic_id};

fn by_name(name: &str) -> Asked<'_> {
    Asked { name: Some(name), id: TopicId::ZERO }
}

fn by_id(id: u8) -> Asked<'static> {
    Asked { name: None, id: topic_id(id) }
}

/// What an image with the topics `one` and `two`, of ids 1 and 2, answers.
fn ask(asked: &[Asked<'_>]) -> Vec<Line> {
    let mut image = one_broker();
    make_topic(&mut image, "one", 1, 1);
    make_topic(&mut image, "two", 2, 1);
    let (lines, references) = plan(asked, &image);
    gather(lines, Ok(image.dry_run(&Command::DeleteTopics(references))))
}

fn check(asked: &[Asked<'_>], expected: &[Result<(&str, u8), KafkaError>]) {
    let lines = ask(asked);
    let seen: Vec<_> = lines
        .iter()
        .map(|line| match &line.outcome {
            Ok(()) => Ok((line.name.as_deref().expect("what is gone has a name"), line.id.0[0])),
            Err(refused) => Err(refused.error),
        })
        .collect();
    assert_eq!(seen, expected);
}

#[test]
fn topics_go_by_name_and_by_id() {
    check(&[by_name("one"), by_id(2)], &[Ok(("one", 1)), Ok(("two", 2))]);
    check(&[by_name("none")], &[Err(KafkaError::UnknownTopicOrPartition)]);
    check(&[by_id(3)], &[Err(KafkaError::UnknownTopicId)]);
}

#[test]
fn a_topic_is_named_once_and_one_way() {
    let invalid = Err(KafkaError::InvalidRequest);
    check(&[by_name("one"), by_name("one"), by_id(2)], &[invalid, Ok(("two", 2))]);
    check(&[by_id(1), by_id(1)], &[invalid]);
    check(&[by_id(1), by_name("one")], &[invalid]);
    check(&[by_name("none"), by_name("none")], &[invalid]);
    check(&[Asked { name: None, id: TopicId::ZERO }], &[invalid]);
    check(&[Asked { name: Some("one"), id: topic_id(1) }], &[invalid]);
}

#[test]
fn disabled_deletion_is_told_in_words_that_the_version_knows() {
    let error = |version| {
        let line = disabled(&[by_name("one")], version).remove(0);
        line.outcome.map_err(|refused| refused.error)
    };
    assert_eq!(error(2), Err(KafkaError::InvalidRequest));
    assert_eq!(error(3), Err(KafkaError::TopicDeletionDisabled));
}

#[test]
fn each_version_has_its_own_list_of_topics() {
    let request = DeleteTopicsRequest {
        topics: vec![DeleteTopicState { name: Some("new"), topic_id: TopicId::ZERO }],
        topic_names: vec!["old"],
        timeout_ms: 0,
    };
    assert_eq!(asked(&request, 5)[0].name, Some("old"));
    assert_eq!(asked(&request, 6)[0].name, Some("new"));
}

#[test]
fn the_answer_goes_into_every_version() {
    let lines = ask(&[by_name("one"), by_name("none")]);
    in_every_version!(DeleteTopicsResponse<'_>, |_version| response(&lines), |version, read| {
        let [gone, unknown] = read.responses.as_slice() else { panic!("two topics: {read:?}") };
        assert_eq!((gone.name, gone.error_code), (Some("one"), ErrorCode::NONE));
        assert_eq!(gone.topic_id, if version >= 6 { topic_id(1) } else { TopicId::ZERO });
        assert_eq!(
            (unknown.name, unknown.error_code),
            (Some("none"), KafkaError::UnknownTopicOrPartition.into())
        );
    });
    let by_id = ask(&[by_id(9)]);
    let version = 6;
    let bytes = crate::api::testing::as_client(&response(&by_id), version);
    let read: DeleteTopicsResponse<'_> = crate::api::testing::read(&bytes, version);
    assert_eq!((read.responses[0].name, read.responses[0].topic_id), (None, topic_id(9)));
}
