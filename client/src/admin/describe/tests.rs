//! What a broker tells of its topics, as the client understands it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::create_topics::{CreatableTopicResult, CreateTopicsResponse};
use protocol::messages::describe_configs::DescribeConfigsResult;
use protocol::messages::incremental_alter_configs::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};

use super::*;
use crate::admin::NewTopic;
use crate::mock::{Answered, Asked, Mock, TOPIC_ID};
use crate::{Client, ClientOptions};

async fn silent(_: &Mock, _: &Asked) -> Answered {
    None
}

fn names(topics: &[TopicDescription]) -> Vec<&str> {
    topics.iter().map(|topic| topic.name.as_str()).collect()
}

#[test]
fn topics_come_by_name_or_as_they_were_named() {
    let mock = Mock::with_topic("b", 2);
    mock.topics.borrow_mut().insert("a".to_owned(), Ok(1));
    mock.run(
        |_| (),
        silent,
        async |_, client| {
            let admin = client.admin();
            assert_eq!(names(&admin.topics().await.expect("an answer")), ["a", "b"]);
            let described = admin.describe_topics(&["b", "a", "b"]).await.expect("an answer");
            assert_eq!(names(&described), ["b", "a", "b"]);
            let expected = |index| PartitionDescription {
                index: PartitionIndex(index),
                leader: Some(BrokerId(1)),
                leader_epoch: LeaderEpoch(0),
                replicas: vec![BrokerId(1)],
                in_sync: vec![BrokerId(1)],
                offline: Vec::new(),
            };
            let topic = TopicDescription {
                name: "b".to_owned(),
                id: TOPIC_ID,
                is_internal: false,
                partitions: vec![expected(0), expected(1)],
            };
            assert_eq!(described[0], topic);
        },
    );
}

#[test]
fn a_topic_that_is_not_there_is_told_from_other_trouble() {
    let mock = Mock::with_topic("there", 1);
    mock.topics.borrow_mut().insert("broken".to_owned(), Err(KafkaError::UnknownServerError));
    mock.run(
        |_| (),
        silent,
        async |_, client| {
            let admin = client.admin();
            let missing = admin.describe_topics(&["there", "missing"]).await.expect_err("one is missing");
            assert!(matches!(&missing, ClientError::UnknownTopic(name) if name == "missing"), "{missing}");
            assert!(missing.is_not_found() && !missing.is_unreachable() && !missing.is_there_already());
            let broken = admin.describe_topics(&["broken"]).await.expect_err("it is broken");
            assert_eq!(broken.kafka(), Some(KafkaError::UnknownServerError));
            assert!(!broken.is_not_found() && !broken.is_unreachable());
        },
    );
}

fn config<'a>(name: &'a str, value: Option<&'a str>, config_source: i8) -> DescribeConfigsResourceResult<'a> {
    DescribeConfigsResourceResult {
        name,
        value,
        read_only: false,
        config_source,
        is_sensitive: false,
        synonyms: Vec::new(),
        config_type: 2,
        documentation: None,
    }
}

fn answer_configs(asked: &Asked, configs: Vec<DescribeConfigsResourceResult<'_>>) -> Answered {
    let result = DescribeConfigsResult {
        error_code: ErrorCode::NONE,
        error_message: None,
        resource_type: RESOURCE_TOPIC,
        resource_name: "t",
        configs,
    };
    asked.answer(&DescribeConfigsResponse { throttle_time_ms: 0, results: vec![result] })
}

#[test]
fn values_have_their_sources() {
    let answer = async |_: &Mock, asked: &Asked| {
        assert_eq!(asked.api, ApiKey::DescribeConfigs);
        let configs = vec![
            config("set", Some("1"), 1),
            config("dynamic", Some("2"), 2),
            config("file", None, 4),
            config("default", Some(""), 5),
            config("group", Some("5"), 8),
        ];
        answer_configs(asked, configs)
    };
    Mock::with_topic("t", 1).run(
        |_| (),
        answer,
        async |_, client| {
            let configs = client.admin().describe_topic_configs("t").await.expect("an answer");
            let told: Vec<(&str, Option<&str>, ConfigSource)> = configs
                .iter()
                .map(|config| (config.name.as_str(), config.value.as_deref(), config.source))
                .collect();
            let expected = [
                ("default", Some(""), ConfigSource::Default),
                ("dynamic", Some("2"), ConfigSource::Broker),
                ("file", None, ConfigSource::Broker),
                ("group", Some("5"), ConfigSource::Other(8)),
                ("set", Some("1"), ConfigSource::Topic),
            ];
            assert_eq!(told, expected);
            let values = client.admin().topic_configs("t").await.expect("an answer");
            assert_eq!(values.get("set"), Some(&Some("1".to_owned())));
            assert_eq!(values.get("file"), Some(&None));
        },
    );
}

/// A broker that takes a change and describes it only when it was asked so many times.
fn slow_to_describe(asked_before: u32) -> (Rc<Cell<u32>>, impl AsyncFn(&Mock, &Asked) -> Answered + 'static) {
    let described = Rc::new(Cell::new(0));
    let count = Rc::clone(&described);
    let script = async move |_: &Mock, asked: &Asked| match asked.api {
        ApiKey::IncrementalAlterConfigs => {
            let taken = AlterConfigsResourceResponse {
                error_code: ErrorCode::NONE,
                error_message: None,
                resource_type: RESOURCE_TOPIC,
                resource_name: "t",
            };
            asked.answer(&IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses: vec![taken] })
        }
        ApiKey::DescribeConfigs => {
            count.update(|count| count + 1);
            let configs = match count.get() {
                before if before <= asked_before => {
                    vec![config("a", Some("1"), 1), config("b", Some("2"), 1)]
                }
                _ => vec![config("a", Some("9"), 1), config("b", Some("0"), 5)],
            };
            answer_configs(asked, configs)
        }
        other => panic!("{other} is not asked for"),
    };
    (described, script)
}

#[test]
fn a_change_of_a_configuration_is_waited_for() {
    let changes = [("a", Some("9")), ("b", None), ("never.described", Some("x"))];
    let (described, script) = slow_to_describe(2);
    Mock::with_topic("t", 1).run(
        |_| (),
        script,
        async |_, client| client.admin().set_topic_configs("t", &changes).await.expect("it is described"),
    );
    assert_eq!(described.get(), 3);

    let (_, script) = slow_to_describe(u32::MAX);
    let given_up = Mock::with_topic("t", 1).run(
        |options| options.call_timeout = Duration::from_millis(20),
        script,
        async |_, client| client.admin().set_topic_configs("t", &changes).await.expect_err("it never is"),
    );
    assert!(
        matches!(&given_up, ClientError::TimedOut { last, .. } if matches!(**last, ClientError::NotDescribed)),
        "{given_up}"
    );
}

#[test]
fn values_are_compared_as_brokers_read_them() {
    for (one, other, is_same) in [
        ("1", "1", true),
        ("1", " 01", true),
        ("9223372036854775807", "9223372036854775806", false),
        ("0.5", "0.50", true),
        ("0.5", "0.6", false),
        ("TRUE", "true", true),
        ("compact, delete", "delete,compact", true),
        ("compact,delete", "compact", false),
        ("", "", true),
        ("zstd", "lz4", false),
    ] {
        assert_eq!(is_same_value(one, other), is_same, "{one:?} and {other:?}");
        assert_eq!(is_same_value(other, one), is_same, "{other:?} and {one:?}");
    }
}

#[test]
fn a_topic_that_is_there_already_is_told_as_such() {
    let answer = async |_: &Mock, asked: &Asked| {
        let result = CreatableTopicResult {
            name: "t",
            topic_id: TopicId::ZERO,
            error_code: KafkaError::TopicAlreadyExists.code(),
            error_message: Some("there it is"),
            topic_config_error_code: ErrorCode::NONE,
            num_partitions: -1,
            replication_factor: -1,
            configs: None,
        };
        asked.answer(&CreateTopicsResponse { throttle_time_ms: 0, topics: vec![result] })
    };
    Mock::with_topic("t", 1).run(
        |_| (),
        answer,
        async |_, client| {
            let error =
                client.admin().create_topics(&[NewTopic::new("t", 1)]).await.expect_err("it is there");
            assert!(error.is_there_already() && !error.is_not_found() && !error.is_unreachable(), "{error}");
        },
    );
}

#[test]
fn nobody_there_is_told_as_such() {
    let main = || async {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let mut options = ClientOptions::new([address.to_string()]);
        options.connection.connect_timeout = Duration::from_secs(30);
        let refused = Client::connect(options).await.err().expect("nobody listens there");
        assert!(refused.is_unreachable() && !refused.is_not_found(), "{refused}");
    };
    executor::run(None, main).expect("an executor");
}
