//! WriteTxnMarkers (key 27): a coordinator on another broker, or an operator, ends transactions in partitions here.

use std::rc::Rc;

use logic::producer::{MarkerError, Teller, TransactionMarker};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::write_txn_markers::{
    WritableTxnMarker, WritableTxnMarkerPartitionResult, WritableTxnMarkerResult,
    WritableTxnMarkerTopicResult, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use protocol::records::ControlKind;
use protocol::types::{PartitionKey, TransactionVersion};

use super::errors::told;
use super::reply::Reply;
use super::scatter::scatter;
use crate::runtime::join_all;
use crate::shard::Shard;
use crate::shard::messages::{Answer, Question};
use crate::shard::partition::MarkRefusal;

/// One error for each partition of a marker, topic by topic.
type Errors = Vec<Vec<KafkaError>>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &WriteTxnMarkersRequest<'_>, reply: Reply) {
    let errors = join_all(request.markers.iter().map(|marker| write(shard, marker))).await;
    reply.send(&response(request, &errors));
}

async fn write(shard: &Rc<Shard>, asked: &WritableTxnMarker<'_>) -> Errors {
    let image = shard.image();
    let mut errors: Errors = Vec::with_capacity(asked.topics.len());
    let mut keys = Vec::new();
    for line in &asked.topics {
        let topic = image.topic(line.name);
        let mut line_errors = Vec::with_capacity(line.partition_indexes.len());
        for partition in &line.partition_indexes {
            let known = topic.filter(|topic| topic.partition(*partition).is_some());
            line_errors.push(known.map_or(KafkaError::UnknownTopicOrPartition, |_| KafkaError::None));
            if let Some(topic) = known {
                let key = PartitionKey { topic_id: topic.id, partition: *partition };
                keys.push((key, key));
            }
        }
        errors.push(line_errors);
    }
    let Some(marker) = marker(asked) else {
        errors.iter_mut().flatten().for_each(|error| *error = KafkaError::InvalidRequest);
        return errors;
    };
    let outcomes = scatter(
        shard,
        keys,
        |keys| Question::Mark { marker, keys },
        |answer| match answer {
            Answer::Marked(outcomes) => outcomes,
            _ => unreachable!("markers are answered as such"),
        },
    )
    .await;
    let open = errors.iter_mut().flatten().filter(|error| **error == KafkaError::None);
    for (place, outcome) in open.zip(&outcomes) {
        if let Err(refusal) = outcome {
            *place = mark_refusal(refusal);
        }
    }
    errors
}

/// The marker; none where it is of no producer.
fn marker(asked: &WritableTxnMarker<'_>) -> Option<TransactionMarker> {
    let is_producer = asked.producer_id.get() >= 0 && asked.producer_epoch.get() >= 0;
    is_producer.then(|| TransactionMarker {
        producer_id: asked.producer_id,
        epoch: asked.producer_epoch,
        kind: if asked.transaction_result { ControlKind::Commit } else { ControlKind::Abort },
        coordinator_epoch: asked.coordinator_epoch,
        version: TransactionVersion::from_level(i16::from(asked.transaction_version)).unwrap_or_default(),
        told_by: Teller::Sender,
    })
}

fn mark_refusal(refusal: &MarkRefusal) -> KafkaError {
    match refusal {
        MarkRefusal::Unknown => KafkaError::NotLeaderOrFollower,
        MarkRefusal::Marker(MarkerError::StaleEpoch { .. }) => KafkaError::InvalidProducerEpoch,
        MarkRefusal::Marker(MarkerError::StaleCoordinator { .. }) => KafkaError::TransactionCoordinatorFenced,
        MarkRefusal::Unavailable => KafkaError::KafkaStorageError,
    }
}

fn response<'a>(request: &WriteTxnMarkersRequest<'a>, errors: &[Errors]) -> WriteTxnMarkersResponse<'a> {
    let marker = |(marker, errors): (&WritableTxnMarker<'a>, &Errors)| WritableTxnMarkerResult {
        producer_id: marker.producer_id,
        topics: marker
            .topics
            .iter()
            .zip(errors)
            .map(|(topic, errors)| WritableTxnMarkerTopicResult {
                name: topic.name,
                partitions: topic
                    .partition_indexes
                    .iter()
                    .zip(errors)
                    .map(|(partition, error)| WritableTxnMarkerPartitionResult {
                        partition_index: *partition,
                        error_code: told(ApiKey::WriteTxnMarkers, *error),
                    })
                    .collect(),
            })
            .collect(),
    };
    WriteTxnMarkersResponse { markers: request.markers.iter().zip(errors).map(marker).collect() }
}

#[cfg(test)]
mod tests {
    use protocol::messages::write_txn_markers::WritableTxnMarkerTopic;
    use protocol::types::{PartitionIndex, ProducerEpoch, ProducerId};

    use super::*;
    use crate::api::testing::in_every_version;

    fn asked(producer_id: i64) -> WritableTxnMarker<'static> {
        WritableTxnMarker {
            producer_id: ProducerId(producer_id),
            producer_epoch: ProducerEpoch(0),
            transaction_result: false,
            topics: vec![WritableTxnMarkerTopic {
                name: "orders",
                partition_indexes: vec![PartitionIndex(0), PartitionIndex(4)],
            }],
            coordinator_epoch: 3,
            transaction_version: 2,
        }
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let request = WriteTxnMarkersRequest { markers: vec![asked(9)] };
        let errors = [vec![vec![KafkaError::None, KafkaError::UnknownTopicOrPartition]]];
        in_every_version!(
            WriteTxnMarkersResponse<'_>,
            |_version| response(&request, &errors),
            |_version, read| {
                let lines = &read.markers[0].topics[0].partitions;
                assert_eq!(lines[1].error_code, KafkaError::UnknownTopicOrPartition.into());
            }
        );
    }

    #[test]
    fn a_marker_is_of_a_producer() {
        assert!(marker(&asked(-1)).is_none());
        let made = marker(&asked(9)).expect("a producer's");
        assert_eq!((made.kind, made.version), (ControlKind::Abort, TransactionVersion::V2));
    }
}
