use super::*;
use crate::api::testing::{BROKER, as_client, in_every_version, make_topic, one_broker, read, topic_id};

fn request(topics: Option<Vec<MetadataRequestTopic<'_>>>, operations: bool) -> MetadataRequest<'_> {
    MetadataRequest {
        topics,
        allow_auto_topic_creation: true,
        include_cluster_authorized_operations: operations,
        include_topic_authorized_operations: operations,
    }
}

fn by_id(id: u8) -> MetadataRequestTopic<'static> {
    MetadataRequestTopic { topic_id: topic_id(id), name: None }
}

fn by_name(name: &str) -> MetadataRequestTopic<'_> {
    MetadataRequestTopic { topic_id: TopicId::ZERO, name: Some(name) }
}

#[test]
fn the_answer_goes_into_every_version() {
    let mut image = one_broker();
    make_topic(&mut image, "orders", 1, 2);
    let found = Entry::Found(Arc::clone(image.topic("orders").expect("it was made")));
    let error = KafkaError::UnknownTopicOrPartition;
    let entries = [found, Entry::Missing { name: Some("none"), id: TopicId::ZERO, error }];
    let asked = request(None, false);
    in_every_version!(
        MetadataResponse<'_>,
        |_version| response(&image, BROKER, &asked, &entries),
        |version, read| {
            assert_eq!((read.brokers[0].host, read.brokers[0].port), ("localhost", 9092));
            let [orders, none] = read.topics.as_slice() else { panic!("two topics: {read:?}") };
            assert_eq!((orders.name, orders.partitions.len()), (Some("orders"), 2));
            assert_eq!(orders.topic_id, if version >= 10 { topic_id(1) } else { TopicId::ZERO });
            assert_eq!(none.error_code, error.into());
        }
    );
}

#[test]
fn what_a_client_may_do_is_told_where_it_asks() {
    let mut image = one_broker();
    make_topic(&mut image, "orders", 1, 1);
    let entries = [Entry::Found(Arc::clone(image.topic("orders").expect("it was made")))];
    for (version, cluster) in
        [(8, operations::CLUSTER), (10, operations::CLUSTER), (13, operations::NOT_ASKED)]
    {
        let asked = MetadataRequest {
            // Versions from 11 on have no such field: it is read as false.
            include_cluster_authorized_operations: version <= 10,
            ..request(None, true)
        };
        let bytes = as_client(&response(&image, BROKER, &asked, &entries), version);
        let told: MetadataResponse<'_> = read(&bytes, version);
        assert_eq!(told.cluster_authorized_operations, cluster);
        assert_eq!(told.topics[0].topic_authorized_operations, operations::TOPIC);
    }
}

#[test]
fn ids_are_for_versions_that_ask_by_them() {
    let ids = request(Some(vec![by_name("orders"), by_id(7)]), false);
    for version in [10, 11] {
        let refused = refused(&ids, version).expect("ids come later");
        let bytes = as_client(&refused, version);
        let told: MetadataResponse<'_> = read(&bytes, version);
        let topics: Vec<_> = told.topics.iter().map(|topic| (topic.name, topic.error_code)).collect();
        let invalid = KafkaError::InvalidRequest.into();
        assert_eq!(topics, [(Some("orders"), invalid), (Some(""), invalid)]);
    }
    assert!(refused(&ids, 12).is_none());
    assert!(refused(&request(Some(vec![by_name("orders")]), false), 10).is_none());
    assert!(refused(&request(None, false), 0).is_none());
}
