//! OffsetForLeaderEpoch (key 23): where leader epochs end, so that a consumer notices a log that was cut under it.

use std::rc::Rc;

use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::offset_for_leader_epoch::{
    EpochEndOffset, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey};

use super::errors::{partition_error, told};
use super::reply::Reply;
use super::scatter::scatter;
use crate::shard::Shard;
use crate::shard::messages::{Answer, EpochQuestion, Question};

/// An end that is not known: no error, and nothing found.
const UNKNOWN_END: Offset = Offset(-1);

/// What became of one partition.
type Outcome = Result<(LeaderEpoch, Offset), KafkaError>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &OffsetForLeaderEpochRequest<'_>, reply: Reply) {
    let image = shard.image();
    let (mut outcomes, mut items) = (Vec::<Outcome>::new(), Vec::new());
    let mut places = Vec::new();
    for topic in &request.topics {
        let found = image.topic(topic.topic);
        for asked in &topic.partitions {
            if let Some(found) = found.filter(|found| found.partition(asked.partition).is_some()) {
                let key = PartitionKey { topic_id: found.id, partition: asked.partition };
                let (current, asked) = (asked.current_leader_epoch, asked.leader_epoch);
                items.push((key, EpochQuestion { key, current, asked }));
                places.push(outcomes.len());
            }
            outcomes.push(Err(KafkaError::UnknownTopicOrPartition));
        }
    }
    let ends = scatter(shard, items, Question::EpochEnds, |answer| match answer {
        Answer::EpochEnds(ends) => ends,
        _ => unreachable!("epochs are answered by their ends"),
    })
    .await;
    for (place, end) in places.into_iter().zip(ends) {
        outcomes[place] = end
            .map(|end| end.map_or((LeaderEpoch::UNKNOWN, UNKNOWN_END), |end| (end.epoch, end.end)))
            .map_err(|error| partition_error(&error));
    }
    reply.send(&response(request, outcomes));
}

/// The outcomes stand in the order of the request's partitions.
fn response<'a>(
    request: &OffsetForLeaderEpochRequest<'a>,
    outcomes: Vec<Outcome>,
) -> OffsetForLeaderEpochResponse<'a> {
    let mut outcomes = outcomes.into_iter();
    let mut line = |partition: PartitionIndex| {
        let outcome = outcomes.next().expect("each partition has an outcome");
        let (leader_epoch, end_offset) = outcome.unwrap_or((LeaderEpoch::UNKNOWN, UNKNOWN_END));
        EpochEndOffset { error_code: code(outcome), partition, leader_epoch, end_offset }
    };
    let topics = request.topics.iter().map(|topic| OffsetForLeaderTopicResult {
        topic: topic.topic,
        partitions: topic.partitions.iter().map(|asked| line(asked.partition)).collect(),
    });
    OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn code(outcome: Outcome) -> ErrorCode {
    told(ApiKey::OffsetForLeaderEpoch, outcome.err().unwrap_or(KafkaError::None))
}

#[cfg(test)]
mod tests {
    use protocol::messages::offset_for_leader_epoch::{OffsetForLeaderPartition, OffsetForLeaderTopic};
    use protocol::types::BrokerId;

    use super::*;
    use crate::api::testing::in_every_version;

    fn topic(topic: &str, partitions: i32) -> OffsetForLeaderTopic<'_> {
        let partition = |index| OffsetForLeaderPartition {
            partition: PartitionIndex(index),
            current_leader_epoch: LeaderEpoch::UNKNOWN,
            leader_epoch: LeaderEpoch(3),
        };
        OffsetForLeaderTopic { topic, partitions: (0..partitions).map(partition).collect() }
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let request = OffsetForLeaderEpochRequest {
            replica_id: BrokerId(-1),
            topics: vec![topic("one", 2), topic("none", 1)],
        };
        let outcomes = vec![
            Ok((LeaderEpoch(2), Offset(40))),
            Ok((LeaderEpoch::UNKNOWN, UNKNOWN_END)),
            Err(KafkaError::UnknownTopicOrPartition),
        ];
        in_every_version!(
            OffsetForLeaderEpochResponse<'_>,
            |_version| response(&request, outcomes.clone()),
            |_version, read| {
                let [known, unknown] = read.topics[0].partitions.as_slice() else { panic!("two: {read:?}") };
                assert_eq!((known.leader_epoch, known.end_offset), (LeaderEpoch(2), Offset(40)));
                assert_eq!((unknown.error_code, unknown.end_offset), (ErrorCode::NONE, UNKNOWN_END));
                let missing = &read.topics[1].partitions[0];
                assert_eq!(missing.error_code, KafkaError::UnknownTopicOrPartition.into());
            }
        );
    }
}
