use logic::config::{GroupTerms, Operation};
use logic::metadata::{Alteration, Command, ConfigChange, Resource};

use super::*;
use crate::api::testing::{apply, in_every_version, make_topic, one_broker};

fn ask(resource_types: &[i8], version: i16) -> Result<Vec<(String, ResourceKind)>, KafkaError> {
    let mut image = one_broker();
    make_topic(&mut image, "orders", 1, 1);
    let change = ConfigChange {
        name: "consumer.session.timeout.ms".to_owned(),
        operation: Operation::Set,
        value: Some("50000".to_owned()),
    };
    let resource = Resource::Group { name: "billing".to_owned(), terms: GroupTerms::default() };
    let alteration = Alteration { resource, replace: false, changes: vec![change] };
    apply(&mut image, &Command::AlterConfigs(vec![alteration]));
    find(&image, &ListConfigResourcesRequest { resource_types: resource_types.to_vec() }, version)
}

#[test]
fn brokers_topics_and_groups_have_configs() {
    let broker = ("1".to_owned(), ResourceKind::Broker);
    let topic = ("orders".to_owned(), ResourceKind::Topic);
    let group = ("billing".to_owned(), ResourceKind::Group);
    assert_eq!(ask(&[], 1), Ok(vec![group.clone(), broker.clone(), topic.clone()]));
    assert_eq!(ask(&[32], 1), Ok(vec![group]));
    assert_eq!(ask(&[2], 1), Ok(vec![topic]));
    assert_eq!(ask(&[4], 1), Ok(vec![broker]));
    assert_eq!(ask(&[8, 16], 1), Ok(Vec::new()));
}

#[test]
fn a_kind_that_is_not_known_is_refused() {
    assert_eq!(ask(&[2, 3], 1), Err(KafkaError::UnsupportedVersion));
}

#[test]
fn the_answer_goes_into_every_version() {
    in_every_version!(
        ListConfigResourcesResponse<'_>,
        |version| response(&ask(&[], version)),
        |version, read| {
            assert!(read.error_code.is_none());
            assert_eq!(read.config_resources.len(), if version >= KINDS_VERSION_MIN { 3 } else { 0 });
        }
    );
    let refused = ask(&[1], 1);
    in_every_version!(ListConfigResourcesResponse<'_>, |_version| response(&refused), |_version, read| {
        assert_eq!(read.error_code, KafkaError::UnsupportedVersion.into());
    });
}
