//! What a request may name.

use protocol::wire::Payload;

use super::*;

/// The partitions of a request, topic by topic, and whether each brings a batch, before and after the repeated ones went.
fn check(topics: &[(&str, &[i32])], expected: &[(&str, &[(i32, bool)])]) {
    let mut request =
        ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 0, topic_data: Vec::new() };
    for (name, partitions) in topics {
        let line = |index: &i32| PartitionProduceData {
            index: PartitionIndex(*index),
            records: Some(Payload::Borrowed(b"a batch")),
        };
        let partition_data = partitions.iter().map(line).collect();
        request.topic_data.push(TopicProduceData { name, topic_id: TopicId::ZERO, partition_data });
    }
    refuse_repeated(&mut request);
    let left = request.topic_data.iter().map(|topic| {
        let lines = topic.partition_data.iter().map(|line| (line.index.get(), line.records.is_some()));
        (topic.name, lines.collect::<Vec<_>>())
    });
    let expected = expected.iter().map(|(name, lines)| (*name, lines.to_vec()));
    assert_eq!(left.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
}

#[test]
fn a_partition_that_is_named_again_is_refused_once() {
    check(&[("a", &[0])], &[("a", &[(0, true)])]);
    check(&[("a", &[1, 0]), ("b", &[0])], &[("a", &[(1, true), (0, true)]), ("b", &[(0, true)])]);
    check(&[("a", &[1, 0, 1, 1])], &[("a", &[(1, false), (0, true)])]);
    check(&[("a", &[0]), ("a", &[1, 0])], &[("a", &[(0, false)]), ("a", &[(1, true)])]);
}
