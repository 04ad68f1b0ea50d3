use protocol::messages::describe_topic_partitions::TopicRequest;

use super::*;
use crate::api::testing::{in_every_version, make_topic, one_broker};

/// Topics `a` of 2 partitions, `b` of 3 and `c` of 1.
fn image() -> Image {
    let mut image = one_broker();
    for (name, id, partition_count) in [("b", 2, 3), ("a", 1, 2), ("c", 3, 1)] {
        make_topic(&mut image, name, id, partition_count);
    }
    image
}

fn request<'a>(names: &[&'a str], cursor: Option<(&'a str, i32)>) -> DescribeTopicPartitionsRequest<'a> {
    DescribeTopicPartitionsRequest {
        topics: names.iter().map(|name| TopicRequest { name }).collect(),
        response_partition_limit: 2_000,
        cursor: cursor
            .map(|(topic_name, partition)| Cursor { topic_name, partition_index: PartitionIndex(partition) }),
    }
}

/// A page as text: `a:0-1 b:0 next b:1`; a topic with an error as `!d`.
fn check(names: &[&str], cursor: Option<(&str, i32)>, count_max: i32, expected: &str) {
    let (image, request) = (image(), request(names, cursor));
    let candidates = candidates(&image, &request).expect("the cursor is right");
    let page = page(&candidates, request.cursor.as_ref(), count_max);
    let mut words: Vec<String> = page
        .topics
        .iter()
        .map(|topic| {
            let name = topic.name.expect("named");
            match topic.partitions.as_slice() {
                _ if !topic.error_code.is_none() => format!("!{name}"),
                [] => format!("{name}:"),
                [only] => format!("{name}:{}", only.partition_index),
                [first, .., last] => format!("{name}:{}-{}", first.partition_index, last.partition_index),
            }
        })
        .collect();
    words.extend(
        page.next_cursor.iter().map(|next| format!("next {}:{}", next.topic_name, next.partition_index)),
    );
    assert_eq!(words.join(" "), expected);
}

#[test]
fn all_topics_come_in_the_order_of_names() {
    check(&[], None, 100, "a:0-1 b:0-2 c:0");
}

#[test]
fn a_full_page_says_where_the_next_one_begins() {
    check(&[], None, 1, "a:0 next a:1");
    check(&[], None, 2, "a:0-1 next b:0");
    check(&[], None, 4, "a:0-1 b:0-1 next b:2");
    check(&[], Some(("b", 2)), 1, "b:2 next c:0");
    check(&[], Some(("b", 2)), 2, "b:2 c:0");
    check(&[], None, 0, "a:0 next a:1");
    check(&[], None, -5, "a:0 next a:1");
}

#[test]
fn a_cursor_may_name_what_is_gone() {
    check(&[], Some(("aa", 7)), 100, "b:0-2 c:0");
    check(&[], Some(("b", 3)), 100, "b: c:0");
}

#[test]
fn named_topics_come_once_each_and_missing_ones_with_an_error() {
    check(&["c", "a", "c", "d", "not/a/name"], None, 100, "a:0-1 c:0 !d !not/a/name");
    check(&["c", "a"], Some(("c", 0)), 100, "c:0");
    check(&["d"], None, 100, "!d");
}

#[test]
fn a_cursor_outside_of_the_list_is_refused() {
    let image = image();
    let refused = |names: &[&'static str], cursor| candidates(&image, &request(names, Some(cursor))).err();
    assert_eq!(refused(&["a", "c"], ("b", 0)), Some(KafkaError::InvalidRequest));
    assert_eq!(refused(&[], ("a", -1)), Some(KafkaError::InvalidRequest));
}

#[test]
fn the_answer_goes_into_every_version() {
    let (image, request) = (image(), request(&["a", "d"], None));
    let candidates = candidates(&image, &request).expect("there is no cursor");
    in_every_version!(
        DescribeTopicPartitionsResponse<'_>,
        |_version| page(&candidates, None, 1),
        |_version, read| {
            assert_eq!(read.topics[0].partitions[0].replica_nodes, [BrokerId(1)]);
            // Kafka's bits of a topic without an authorizer.
            assert_eq!(read.topics[0].topic_authorized_operations, 3576);
            assert_eq!(read.next_cursor.as_ref().map(|next| next.topic_name), Some("a"));
        }
    );
    in_every_version!(
        DescribeTopicPartitionsResponse<'_>,
        |_version| refused(&request, KafkaError::InvalidRequest),
        |_version, read| {
            assert_eq!(read.topics.len(), 2);
            assert!(read.topics.iter().all(|topic| topic.error_code == KafkaError::InvalidRequest.into()));
        }
    );
}
