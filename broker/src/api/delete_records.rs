//! DeleteRecords (key 21): logs begin at a later offset. Answered once that is on stable media: a record that is told to
//! be gone never comes back.

use std::rc::Rc;

use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};
use protocol::types::{Offset, PartitionIndex, PartitionKey};

use super::errors::{partition_error, told};
use super::once::each_once;
use super::reply::Reply;
use super::scatter::scatter;
use crate::shard::Shard;
use crate::shard::internal_topics::is_internal;
use crate::shard::messages::{Answer, DeleteRecords, Question};

/// As an offset: all that is committed.
const ALL_COMMITTED: Offset = Offset(-1);
/// Where the log begins is not told with an error.
const NO_LOW_WATERMARK: Offset = Offset(-1);

/// A partition of the answer, and the offset that its log begins at now.
struct Line<'a> {
    topic: &'a str,
    partition: PartitionIndex,
    outcome: Result<Offset, KafkaError>,
}

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &DeleteRecordsRequest<'_>, reply: Reply) {
    let image = shard.image();
    let (mut lines, mut items, mut places) = (Vec::new(), Vec::new(), Vec::new());
    for (topic, asked) in last_of_each(request) {
        let found = image.topic(topic).filter(|topic| !is_internal(&topic.name));
        let found = found.filter(|found| found.partition(asked.partition_index).is_some());
        if let Some(found) = found {
            let key = PartitionKey { topic_id: found.id, partition: asked.partition_index };
            items.push((key, wish(key, asked)));
            places.push(lines.len());
        }
        let missing = if is_internal(topic) {
            KafkaError::InvalidTopicException
        } else {
            KafkaError::UnknownTopicOrPartition
        };
        lines.push(Line { topic, partition: asked.partition_index, outcome: Err(missing) });
    }
    let starts = scatter(shard, items, Question::DeleteRecords, |answer| match answer {
        Answer::LogStarts(starts) => starts,
        _ => unreachable!("deleted records are answered by log starts"),
    })
    .await;
    for (place, start) in places.into_iter().zip(starts) {
        lines[place].outcome = start.map_err(|error| partition_error(&error));
    }
    reply.send(&response(&lines));
}

/// Each partition of a request, once: what is said of it last counts, as it does to Kafka.
fn last_of_each<'r, 'a>(
    request: &'r DeleteRecordsRequest<'a>,
) -> impl Iterator<Item = (&'a str, &'r DeleteRecordsPartition)> {
    let backwards = request
        .topics
        .iter()
        .rev()
        .flat_map(|topic| topic.partitions.iter().rev().map(|partition| (topic.name, partition)));
    each_once(backwards, |(topic, partition)| (*topic, partition.partition_index)).into_iter().rev()
}

fn wish(key: PartitionKey, asked: &DeleteRecordsPartition) -> DeleteRecords {
    DeleteRecords { key, below: (asked.offset != ALL_COMMITTED).then_some(asked.offset) }
}

fn response<'a>(lines: &[Line<'a>]) -> DeleteRecordsResponse<'a> {
    let result = |line: &Line<'_>| DeleteRecordsPartitionResult {
        partition_index: line.partition,
        low_watermark: line.outcome.unwrap_or(NO_LOW_WATERMARK),
        error_code: told(ApiKey::DeleteRecords, line.outcome.err().unwrap_or(KafkaError::None)),
    };
    let topics = lines.chunk_by(|one, next| one.topic == next.topic).map(|lines| DeleteRecordsTopicResult {
        name: lines[0].topic,
        partitions: lines.iter().map(result).collect(),
    });
    DeleteRecordsResponse { throttle_time_ms: 0, topics: topics.collect() }
}

#[cfg(test)]
mod tests {
    use protocol::messages::delete_records::DeleteRecordsTopic;
    use protocol::types::TopicId;

    use super::*;
    use crate::api::testing::in_every_version;

    fn partition(index: i32, offset: i64) -> DeleteRecordsPartition {
        DeleteRecordsPartition { partition_index: PartitionIndex(index), offset: Offset(offset) }
    }

    #[test]
    fn minus_one_is_all_that_is_committed_and_any_other_number_is_an_offset() {
        let key = PartitionKey { topic_id: TopicId([1; 16]), partition: PartitionIndex(0) };
        assert_eq!(wish(key, &partition(0, -1)).below, None);
        assert_eq!(wish(key, &partition(0, 0)).below, Some(Offset(0)));
        assert_eq!(wish(key, &partition(0, -2)).below, Some(Offset(-2)));
    }

    #[test]
    fn what_is_said_of_a_partition_last_counts() {
        let topic = |name, partitions| DeleteRecordsTopic { name, partitions };
        let topics = vec![
            topic("one", vec![partition(0, 7), partition(1, 9), partition(0, 5)]),
            topic("two", vec![partition(0, 1)]),
            topic("one", vec![partition(1, 2)]),
        ];
        let request = DeleteRecordsRequest { topics, timeout_ms: 0 };
        let left = last_of_each(&request)
            .map(|(topic, asked)| (topic, asked.partition_index.get(), asked.offset.get()));
        assert_eq!(left.collect::<Vec<_>>(), [("one", 0, 5), ("two", 0, 1), ("one", 1, 2)]);
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let line = |index, outcome| Line { topic: "one", partition: PartitionIndex(index), outcome };
        let lines = [line(0, Ok(Offset(7))), line(1, Err(KafkaError::OffsetOutOfRange))];
        in_every_version!(DeleteRecordsResponse<'_>, |_version| response(&lines), |_version, read| {
            let [cut, refused] = read.topics[0].partitions.as_slice() else { panic!("two: {read:?}") };
            assert_eq!((cut.low_watermark, cut.error_code.is_none()), (Offset(7), true));
            assert_eq!(refused.low_watermark, NO_LOW_WATERMARK);
            assert_eq!(refused.error_code, KafkaError::OffsetOutOfRange.into());
        });
    }
}
