use logic::config::{GroupTerms, Kind, Operation, Source};
use logic::metadata::{Alteration, Command, ConfigChange, Resource, Response};

use super::*;
use crate::api::testing::{BROKER, apply, in_every_version, make_topic, one_broker};

const TOPIC: i8 = 2;
const OF_BROKER: i8 = 4;
const GROUP: i8 = 32;

fn set(image: &mut Image, resource: Resource, name: &str, value: &str) {
    let change =
        ConfigChange { name: name.to_owned(), operation: Operation::Set, value: Some(value.to_owned()) };
    let alteration = Alteration { resource, replace: false, changes: vec![change] };
    let Response::AlterConfigs(outcomes) = apply(image, &Command::AlterConfigs(vec![alteration])) else {
        panic!("AlterConfigs is answered by its own response");
    };
    assert_eq!(outcomes, [Ok(())]);
}

/// The topic `orders` sets retention.ms, the group `billing` its session timeout, every broker log.retention.ms, this one segments' size.
fn image() -> Image {
    let mut image = one_broker();
    make_topic(&mut image, "orders", 1, 1);
    set(&mut image, Resource::Topic("orders".to_owned()), "retention.ms", "1000");
    let billing = Resource::Group { name: "billing".to_owned(), terms: GroupTerms::default() };
    set(&mut image, billing, "consumer.session.timeout.ms", "50000");
    set(&mut image, Resource::Cluster, "log.retention.ms", "2000");
    set(&mut image, Resource::Broker(BROKER), "log.segment.bytes", "2097152");
    image
}

fn local() -> Described {
    Described {
        name: "shards",
        value: Some("2".to_owned()),
        source: Source::File,
        kind: Kind::Int,
        read_only: true,
        sensitive: false,
        documentation: "How many shards.",
        synonyms: Vec::new(),
    }
}

fn ask<'a>(resource_type: i8, name: &'a str, keys: Option<Vec<&'a str>>) -> Line<'a> {
    let image = image();
    let local = [local()];
    let file = logic::config::ConfigMap::new();
    let layers = BrokerLayers {
        dynamic_broker: image.broker_settings(BROKER).expect("one is set"),
        dynamic_default: image.cluster_settings(),
        file: &file,
    };
    let group_terms = GroupTerms::default();
    let known = Known { image: &image, layers, local: &local, broker: BROKER, group_terms };
    known.line(&DescribeConfigsResource { resource_type, resource_name: name, configuration_keys: keys })
}

fn check(resource_type: i8, name: &str, key: &str, expected: Option<(&str, Source)>) {
    let line = ask(resource_type, name, Some(vec![key]));
    let described = line.outcome.expect("the resource is there");
    let shown = described.first().map(|config| (config.value.as_deref().unwrap_or_default(), config.source));
    assert_eq!(shown, expected);
}

fn refused(resource_type: i8, name: &str) -> KafkaError {
    ask(resource_type, name, None).outcome.expect_err("the resource is refused").error
}

#[test]
fn each_value_comes_from_its_strongest_place() {
    check(TOPIC, "orders", "retention.ms", Some(("1000", Source::DynamicTopic)));
    check(TOPIC, "orders", "segment.bytes", Some(("2097152", Source::DynamicBroker)));
    check(TOPIC, "orders", "max.message.bytes", Some(("1048588", Source::Default)));
    check(OF_BROKER, "1", "log.retention.ms", Some(("2000", Source::DynamicDefault)));
    check(OF_BROKER, "1", "shards", Some(("2", Source::File)));
    check(OF_BROKER, "", "log.retention.ms", Some(("2000", Source::DynamicDefault)));
    check(OF_BROKER, "", "log.segment.bytes", None);
    check(TOPIC, "orders", "no.such.key", None);
    check(GROUP, "billing", "consumer.session.timeout.ms", Some(("50000", Source::DynamicGroup)));
    check(GROUP, "nobody", "consumer.session.timeout.ms", Some(("45000", Source::Default)));
    check(GROUP, "nobody", "share.session.timeout.ms", None);
}

#[test]
fn no_key_and_every_key_are_the_same_wish() {
    let all = ask(OF_BROKER, "1", None).outcome.expect("this broker");
    let empty = ask(OF_BROKER, "1", Some(Vec::new())).outcome.expect("this broker");
    assert_eq!(all, empty);
    assert!(all.is_sorted_by_key(|config| config.name));
    assert!(all.iter().any(|config| config.name == "node.id" && config.read_only));
}

#[test]
fn what_is_not_here_is_refused() {
    assert_eq!(refused(TOPIC, "none"), KafkaError::UnknownTopicOrPartition);
    assert_eq!(refused(TOPIC, "not/a/name"), KafkaError::InvalidTopicException);
    for (resource_type, name) in
        [(OF_BROKER, "2"), (OF_BROKER, "one"), (8, "1"), (16, "a"), (GROUP, ""), (3, "")]
    {
        assert_eq!(refused(resource_type, name), KafkaError::InvalidRequest);
    }
}

#[test]
fn the_answer_goes_into_every_version() {
    let lines = [ask(TOPIC, "orders", Some(vec!["retention.ms"])), ask(TOPIC, "none", None)];
    let full = Detail { synonyms: true, documentation: true };
    in_every_version!(DescribeConfigsResponse<'_>, |_version| response(&lines, full), |version, read| {
        let [orders, none] = read.results.as_slice() else { panic!("two resources: {read:?}") };
        let [retention] = orders.configs.as_slice() else { panic!("one config: {orders:?}") };
        assert_eq!((retention.value, retention.config_source), (Some("1000"), 1));
        let sources: Vec<i8> = retention.synonyms.iter().map(|synonym| synonym.source).collect();
        assert_eq!(sources, [1, 3, 5]);
        assert_eq!(retention.config_type, if version >= 3 { 5 } else { 0 });
        assert_eq!(retention.documentation.is_some(), version >= 3);
        assert_eq!(none.error_code, KafkaError::UnknownTopicOrPartition.into());
    });
    let bare = Detail { synonyms: false, documentation: false };
    in_every_version!(DescribeConfigsResponse<'_>, |_version| response(&lines, bare), |_version, read| {
        assert!(read.results[0].configs[0].synonyms.is_empty());
        assert_eq!(read.results[0].configs[0].documentation, None);
    });
}
