//! DescribeProducers (key 61): who writes to partitions, and whose transactions are open there.

use std::rc::Rc;

use logic::producer::ProducerState as State;
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, PartitionResponse, ProducerState, TopicRequest,
    TopicResponse,
};
use protocol::types::{Offset, PartitionKey};

use super::errors::{partition_error, told};
use super::once::each_once;
use super::reply::Reply;
use super::scatter::scatter;
use crate::shard::Shard;
use crate::shard::messages::{Answer, Question};

type Outcome = Result<Vec<State>, KafkaError>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &DescribeProducersRequest<'_>, reply: Reply) {
    let request = &without_repeats(request);
    let image = shard.image();
    let mut keys = Vec::new();
    let mut outcomes: Vec<Option<KafkaError>> = Vec::new();
    for line in &request.topics {
        let topic = image.topic(line.name);
        for partition in &line.partition_indexes {
            let known = topic.filter(|topic| topic.partition(*partition).is_some());
            outcomes.push(known.is_none().then_some(KafkaError::UnknownTopicOrPartition));
            if let Some(topic) = known {
                let key = PartitionKey { topic_id: topic.id, partition: *partition };
                keys.push((key, key));
            }
        }
    }
    let found = scatter(shard, keys, Question::Producers, |answer| match answer {
        Answer::Producers(states) => states,
        _ => unreachable!("producers are answered as such"),
    });
    let mut found = found.await.into_iter();
    let outcomes: Vec<Outcome> = outcomes
        .into_iter()
        .map(|unknown| match unknown {
            Some(error) => Err(error),
            None => found.next().expect("each has an answer").map_err(|error| partition_error(&error)),
        })
        .collect();
    reply.send(&response(request, &outcomes));
}

fn without_repeats<'a>(request: &DescribeProducersRequest<'a>) -> DescribeProducersRequest<'a> {
    let topic = |topic: &TopicRequest<'a>| TopicRequest {
        name: topic.name,
        partition_indexes: each_once(topic.partition_indexes.iter().copied(), |index| *index),
    };
    let topics = each_once(&request.topics, |topic| topic.name);
    DescribeProducersRequest { topics: topics.into_iter().map(topic).collect() }
}

fn response<'a>(
    request: &DescribeProducersRequest<'a>,
    outcomes: &[Outcome],
) -> DescribeProducersResponse<'a> {
    let mut outcomes = outcomes.iter();
    let topics = request.topics.iter().map(|topic| TopicResponse {
        name: topic.name,
        partitions: topic
            .partition_indexes
            .iter()
            .map(|partition_index| {
                let outcome = outcomes.next().expect("each partition has an outcome");
                let error = outcome.as_ref().err().copied().unwrap_or(KafkaError::None);
                PartitionResponse {
                    partition_index: *partition_index,
                    error_code: told(ApiKey::DescribeProducers, error),
                    error_message: None,
                    active_producers: outcome.iter().flatten().map(producer).collect(),
                }
            })
            .collect(),
    });
    DescribeProducersResponse { throttle_time_ms: 0, topics: topics.collect() }
}

fn producer(state: &State) -> ProducerState {
    ProducerState {
        producer_id: state.producer_id,
        producer_epoch: i32::from(state.epoch.get()),
        last_sequence: state.last_sequence,
        last_timestamp: state.last_timestamp,
        coordinator_epoch: state.coordinator_epoch,
        current_txn_start_offset: state.open_from.unwrap_or(Offset(-1)),
    }
}

#[cfg(test)]
mod tests {
    use protocol::types::{PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp};

    use super::*;
    use crate::api::testing::in_every_version;

    #[test]
    fn what_is_asked_again_is_answered_once() {
        let partition_indexes = vec![PartitionIndex(1), PartitionIndex(0), PartitionIndex(1)];
        let topic = TopicRequest { name: "orders", partition_indexes };
        let request = DescribeProducersRequest { topics: vec![topic.clone(), topic] };
        let once = without_repeats(&request);
        assert_eq!(once.topics.len(), 1);
        assert_eq!(once.topics[0].partition_indexes, [PartitionIndex(1), PartitionIndex(0)]);
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let request = DescribeProducersRequest {
            topics: vec![TopicRequest {
                name: "orders",
                partition_indexes: vec![PartitionIndex(0), PartitionIndex(9)],
            }],
        };
        let state = State {
            producer_id: ProducerId(1),
            epoch: ProducerEpoch(2),
            last_sequence: Sequence(3),
            last_timestamp: Timestamp(4),
            coordinator_epoch: 5,
            open_from: None,
        };
        let outcomes = [Ok(vec![state]), Err(KafkaError::UnknownTopicOrPartition)];
        in_every_version!(
            DescribeProducersResponse<'_>,
            |_version| response(&request, &outcomes),
            |_version, read| {
                let [known, unknown] = read.topics[0].partitions.as_slice() else { panic!("two lines") };
                assert_eq!(known.active_producers[0].current_txn_start_offset, Offset(-1));
                assert_eq!(unknown.error_code, KafkaError::UnknownTopicOrPartition.into());
            }
        );
    }
}
