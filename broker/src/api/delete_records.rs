//! DeleteRecords (key 21): logs begin at a later offset. Answered once that is on stable media: a record that is told to
//! be gone never comes back.

use std::rc::Rc;

use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsPartitionResult, DeleteRecordsRequest, DeleteRecordsResponse,
    DeleteRecordsTopicResult,
};
use protocol::types::{Offset, PartitionKey};

use super::errors::{partition_error, told};
use super::reply::Reply;
use super::scatter::scatter;
use crate::shard::Shard;
use crate::shard::internal_topics::is_internal;
use crate::shard::messages::{Answer, DeleteRecords, Question};

/// As an offset: all that is committed.
const ALL_COMMITTED: Offset = Offset(-1);
/// Where the log begins is not told with an error.
const NO_LOW_WATERMARK: Offset = Offset(-1);

/// The offset that a partition's log begins at now.
type Outcome = Result<Offset, KafkaError>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &DeleteRecordsRequest<'_>, reply: Reply) {
    let image = shard.image();
    let (mut outcomes, mut items) = (Vec::<Outcome>::new(), Vec::new());
    let mut places = Vec::new();
    for topic in &request.topics {
        let found = image.topic(topic.name).filter(|topic| !is_internal(&topic.name));
        let missing = if is_internal(topic.name) {
            KafkaError::InvalidTopicException
        } else {
            KafkaError::UnknownTopicOrPartition
        };
        for asked in &topic.partitions {
            if let Some(found) = found.filter(|found| found.partition(asked.partition_index).is_some()) {
                let key = PartitionKey { topic_id: found.id, partition: asked.partition_index };
                items.push((key, wish(key, asked)));
                places.push(outcomes.len());
            }
            outcomes.push(Err(missing));
        }
    }
    let starts = scatter(shard, items, Question::DeleteRecords, |answer| match answer {
        Answer::LogStarts(starts) => starts,
        _ => unreachable!("deleted records are answered by log starts"),
    })
    .await;
    for (place, start) in places.into_iter().zip(starts) {
        outcomes[place] = start.map_err(|error| partition_error(&error));
    }
    reply.send(&response(request, outcomes));
}

fn wish(key: PartitionKey, asked: &DeleteRecordsPartition) -> DeleteRecords {
    DeleteRecords { key, below: (asked.offset != ALL_COMMITTED).then_some(asked.offset) }
}

/// The outcomes stand in the order of the request's partitions.
fn response<'a>(request: &DeleteRecordsRequest<'a>, outcomes: Vec<Outcome>) -> DeleteRecordsResponse<'a> {
    let mut outcomes = outcomes.into_iter();
    let mut line = |asked: &DeleteRecordsPartition| {
        let outcome = outcomes.next().expect("each partition has an outcome");
        let error = outcome.err().unwrap_or(KafkaError::None);
        DeleteRecordsPartitionResult {
            partition_index: asked.partition_index,
            low_watermark: outcome.unwrap_or(NO_LOW_WATERMARK),
            error_code: told(ApiKey::DeleteRecords, error),
        }
    };
    let topics = request.topics.iter().map(|topic| DeleteRecordsTopicResult {
        name: topic.name,
        partitions: topic.partitions.iter().map(&mut line).collect(),
    });
    DeleteRecordsResponse { throttle_time_ms: 0, topics: topics.collect() }
}

#[cfg(test)]
mod tests {
    use protocol::messages::delete_records::DeleteRecordsTopic;
    use protocol::types::{PartitionIndex, TopicId};

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
    fn the_answer_goes_into_every_version() {
        let topic = DeleteRecordsTopic { name: "one", partitions: vec![partition(0, 7), partition(1, 9)] };
        let request = DeleteRecordsRequest { topics: vec![topic], timeout_ms: 0 };
        let outcomes = vec![Ok(Offset(7)), Err(KafkaError::OffsetOutOfRange)];
        in_every_version!(
            DeleteRecordsResponse<'_>,
            |_version| response(&request, outcomes.clone()),
            |_version, read| {
                let [cut, refused] = read.topics[0].partitions.as_slice() else { panic!("two: {read:?}") };
                assert_eq!((cut.low_watermark, cut.error_code.is_none()), (Offset(7), true));
                assert_eq!(refused.low_watermark, NO_LOW_WATERMARK);
                assert_eq!(refused.error_code, KafkaError::OffsetOutOfRange.into());
            }
        );
    }
}
