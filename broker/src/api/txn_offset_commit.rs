//! TxnOffsetCommit (key 28): how far a group has come, if a transaction commits.

use std::rc::Rc;

use logic::group::{
    CommitPartition, CommitTopic, GroupError, MemberName, Reply as GroupReply, TransactionalCommit,
    partition_of_group,
};
use logic::metadata::Image;
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestTopic, TxnOffsetCommitResponse,
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use protocol::types::{PartitionKey, TopicId};

use super::errors::{group_error, group_refusal, told};
use super::reply::Reply;
use super::verify::{Batch, Support, verify};
use crate::shard::Shard;
use crate::shard::coordinator_log::stamp;
use crate::shard::internal_topics::GROUPS_TOPIC;
use crate::shard::messages::{Answer, Question};

/// From this version on clients know an error after which they abort.
const ABORTABLE_VERSION_MIN: i16 = 4;
/// From this version on the group's partition joins the transaction by this request.
const ADDS_PARTITIONS_VERSION_MIN: i16 = 5;

/// One error for each partition of the request, topic by topic.
type Errors = Vec<Vec<KafkaError>>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &TxnOffsetCommitRequest<'_>, reply: Reply) {
    let (topics, mut errors) = sort_out(&shard.image(), request);
    if !topics.is_empty() {
        let outcome = commit(shard, request, topics, reply.version()).await;
        note(&mut errors, outcome);
    }
    reply.send(&response(request, &errors));
}

/// What is to be committed, and the errors of what is not there.
fn sort_out(image: &Image, request: &TxnOffsetCommitRequest<'_>) -> (Vec<CommitTopic>, Errors) {
    let (mut topics, mut errors) = (Vec::new(), Vec::new());
    for line in &request.topics {
        let topic = image.topic(line.name);
        let mut partitions = Vec::with_capacity(line.partitions.len());
        let mut line_errors = Vec::with_capacity(line.partitions.len());
        for asked in &line.partitions {
            let is_known = topic.is_some_and(|topic| topic.partition(asked.partition_index).is_some());
            line_errors.push(if is_known { KafkaError::None } else { KafkaError::UnknownTopicOrPartition });
            if is_known {
                partitions.push(CommitPartition {
                    partition: asked.partition_index,
                    offset: asked.committed_offset,
                    leader_epoch: asked.committed_leader_epoch,
                    metadata: asked.committed_metadata.unwrap_or_default().into(),
                });
            }
        }
        errors.push(line_errors);
        if !partitions.is_empty() {
            topics.push(CommitTopic { topic: line.name.into(), topic_id: TopicId::ZERO, partitions });
        }
    }
    (topics, errors)
}

async fn commit(
    shard: &Rc<Shard>,
    request: &TxnOffsetCommitRequest<'_>,
    topics: Vec<CommitTopic>,
    version: i16,
) -> Result<Vec<Vec<Result<(), GroupError>>>, KafkaError> {
    if request.producer_id.get() < 0 || request.producer_epoch.get() < 0 {
        return Err(KafkaError::InvalidProducerIdMapping);
    }
    let image = shard.image();
    let topic = image.topic(GROUPS_TOPIC).ok_or(KafkaError::NotCoordinator)?;
    let partition = partition_of_group(request.group_id, topic.partition_count());
    let key = PartitionKey { topic_id: topic.id, partition };
    let support = match version {
        ADDS_PARTITIONS_VERSION_MIN.. => Support::AddsPartitions,
        ABORTABLE_VERSION_MIN.. => Support::Abortable,
        _ => Support::Classic,
    };
    let batch =
        Batch { topic: GROUPS_TOPIC, key, batch: stamp((request.producer_id, request.producer_epoch), 1) };
    let verified = verify(shard, request.transactional_id, support, &[batch]).await;
    let guard = verified.into_iter().next().expect("one batch was asked for").map_err(unverified)?;
    let commit = TransactionalCommit {
        group: request.group_id.into(),
        producer_id: request.producer_id,
        producer_epoch: request.producer_epoch,
        member: MemberName {
            id: request.member_id.into(),
            instance_id: request.group_instance_id.map(Into::into),
        },
        generation: request.generation_id_or_member_epoch,
        topics,
    };
    match shard.ask(shard.owner_of(key), Question::CommitInTransaction { key, commit, guard }).await {
        Answer::Group(Ok(GroupReply::Commit(outcome))) => outcome.map_err(|error| commit_error(&error)),
        Answer::Group(Err(refusal)) => Err(group_refusal(refusal)),
        _ => unreachable!("a commit is answered as such"),
    }
}

/// A client that commits looks for the coordinator again, where one that writes tries the same broker.
fn unverified(error: KafkaError) -> KafkaError {
    match error {
        KafkaError::NotEnoughReplicas => KafkaError::CoordinatorNotAvailable,
        KafkaError::NotLeaderOrFollower => KafkaError::NotCoordinator,
        other => other,
    }
}

fn commit_error(error: &GroupError) -> KafkaError {
    match error {
        // To this request there is no group without the generation that it names.
        GroupError::GroupNotFound | GroupError::StaleMemberEpoch => KafkaError::IllegalGeneration,
        GroupError::RecordTooLarge => KafkaError::InvalidCommitOffsetSize,
        other => group_error(other),
    }
}

/// Puts the outcomes where there is no error yet: they come in the request's order.
fn note(errors: &mut Errors, outcome: Result<Vec<Vec<Result<(), GroupError>>>, KafkaError>) {
    let open = errors.iter_mut().flatten().filter(|error| **error == KafkaError::None);
    match outcome {
        Err(error) => open.for_each(|place| *place = error),
        Ok(outcomes) => {
            for (place, outcome) in open.zip(outcomes.into_iter().flatten()) {
                *place = outcome.err().map_or(KafkaError::None, |error| commit_error(&error));
            }
        }
    }
}

fn response<'a>(request: &TxnOffsetCommitRequest<'a>, errors: &Errors) -> TxnOffsetCommitResponse<'a> {
    let topic = |(line, errors): (&TxnOffsetCommitRequestTopic<'a>, &Vec<KafkaError>)| {
        let lines = line.partitions.iter().zip(errors);
        TxnOffsetCommitResponseTopic {
            name: line.name,
            partitions: lines
                .map(|(partition, error)| TxnOffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: told(ApiKey::TxnOffsetCommit, *error),
                })
                .collect(),
        }
    };
    TxnOffsetCommitResponse {
        throttle_time_ms: 0,
        topics: request.topics.iter().zip(errors).map(topic).collect(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::messages::txn_offset_commit::TxnOffsetCommitRequestPartition;
    use protocol::types::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId};

    use super::*;
    use crate::api::testing::{in_every_version, make_topic, one_broker};

    fn request() -> TxnOffsetCommitRequest<'static> {
        let line = |name: &'static str| TxnOffsetCommitRequestTopic {
            name,
            partitions: [0, 7]
                .map(|index| TxnOffsetCommitRequestPartition {
                    partition_index: PartitionIndex(index),
                    committed_offset: Offset(5),
                    committed_leader_epoch: LeaderEpoch::UNKNOWN,
                    committed_metadata: None,
                })
                .to_vec(),
        };
        TxnOffsetCommitRequest {
            transactional_id: "t",
            group_id: "g",
            producer_id: ProducerId(1),
            producer_epoch: ProducerEpoch(0),
            generation_id_or_member_epoch: -1,
            member_id: "",
            group_instance_id: None,
            topics: vec![line("unknown"), line("known")],
        }
    }

    #[test]
    fn what_is_not_there_is_told_so_and_the_rest_committed() {
        let mut image = one_broker();
        make_topic(&mut image, "known", 1, 2);
        let (topics, mut errors) = sort_out(&image, &request());
        assert_eq!(topics.len(), 1);
        assert_eq!((&*topics[0].topic, topics[0].partitions.len()), ("known", 1));
        note(&mut errors, Ok(vec![vec![Err(GroupError::GroupNotFound)]]));
        let unknown = KafkaError::UnknownTopicOrPartition;
        assert_eq!(errors, vec![vec![unknown, unknown], vec![KafkaError::IllegalGeneration, unknown]]);
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let errors = vec![vec![KafkaError::UnknownTopicOrPartition; 2], vec![KafkaError::None; 2]];
        in_every_version!(
            TxnOffsetCommitResponse<'_>,
            |_version| response(&request(), &errors),
            |_version, read| {
                let unknown = KafkaError::UnknownTopicOrPartition.into();
                assert_eq!(read.topics[0].partitions[1].error_code, unknown);
            }
        );
    }
}
