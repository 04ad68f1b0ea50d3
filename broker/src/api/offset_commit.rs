//! OffsetCommit (key 8): a group remembers how far it has come.

use std::rc::Rc;

use logic::group::{
    Commit, CommitPartition, CommitTopic, GroupError, MemberName, Reply as GroupReply, Request,
};
use logic::metadata::Image;
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
};

use super::coordinate::{ask_group, find_topic};
use super::errors::{group_error, told};
use super::reply::Reply;
use crate::shard::Shard;

/// From this version on topics are named by id.
const TOPIC_ID_VERSION_MIN: i16 = 10;
/// From this version on a member may tell its epoch.
const EPOCH_VERSION_MIN: i16 = 9;
/// Before this version a group that there is not has another generation.
const NOT_FOUND_VERSION_MIN: i16 = 9;

/// One error for each partition of the request, topic by topic.
type Errors = Vec<Vec<KafkaError>>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &OffsetCommitRequest<'_>, reply: Reply) {
    let version = reply.version();
    let (topics, mut errors) = sort_out(&shard.image(), request, version);
    if !topics.is_empty() || request.topics.is_empty() {
        let commit = Commit {
            group: request.group_id.into(),
            member: MemberName {
                id: request.member_id.into(),
                instance_id: request.group_instance_id.map(Into::into),
            },
            generation: request.generation_id_or_member_epoch,
            tells_epoch: version >= EPOCH_VERSION_MIN,
            retention_ms: Some(request.retention_time_ms).filter(|ms| *ms >= 0),
            topics,
        };
        let outcome = match ask_group(shard, request.group_id, Request::Commit(commit)).await {
            Ok(GroupReply::Commit(outcome)) => outcome.map_err(|error| commit_error(&error, version)),
            Ok(_) => unreachable!("a commit is answered as such"),
            Err(error) => Err(error),
        };
        note(&mut errors, outcome, version);
    }
    reply.send(&response(request, &errors));
}

/// What is to be committed, and the errors of what is not there.
fn sort_out(image: &Image, request: &OffsetCommitRequest<'_>, version: i16) -> (Vec<CommitTopic>, Errors) {
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut errors = Vec::with_capacity(request.topics.len());
    for line in &request.topics {
        let found = find_topic(image, line.name, line.topic_id, version >= TOPIC_ID_VERSION_MIN);
        let mut committed = Vec::with_capacity(line.partitions.len());
        let mut line_errors = Vec::with_capacity(line.partitions.len());
        for partition in &line.partitions {
            let known = found.and_then(|topic| {
                topic.partition(partition.partition_index).ok_or(KafkaError::UnknownTopicOrPartition)
            });
            line_errors.push(known.err().unwrap_or(KafkaError::None));
            if known.is_ok() {
                committed.push(CommitPartition {
                    partition: partition.partition_index,
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.unwrap_or_default().into(),
                });
            }
        }
        errors.push(line_errors);
        if let (Ok(topic), false) = (found, committed.is_empty()) {
            topics.push(CommitTopic {
                topic: std::sync::Arc::clone(&topic.name),
                topic_id: topic.id,
                partitions: committed,
            });
        }
    }
    (topics, errors)
}

/// Puts the outcomes where there is no error yet: they come in the request's order.
fn note(errors: &mut Errors, outcome: Result<Vec<Vec<Result<(), GroupError>>>, KafkaError>, version: i16) {
    let open = errors.iter_mut().flatten().filter(|error| **error == KafkaError::None);
    match outcome {
        Err(error) => open.for_each(|place| *place = error),
        Ok(outcomes) => {
            for (place, outcome) in open.zip(outcomes.into_iter().flatten()) {
                if let Err(error) = outcome {
                    *place = commit_error(&error, version);
                }
            }
        }
    }
}

fn commit_error(error: &GroupError, version: i16) -> KafkaError {
    match error {
        GroupError::GroupNotFound if version < NOT_FOUND_VERSION_MIN => KafkaError::IllegalGeneration,
        GroupError::StaleMemberEpoch if version < EPOCH_VERSION_MIN => KafkaError::UnsupportedVersion,
        GroupError::RecordTooLarge => KafkaError::InvalidCommitOffsetSize,
        other => group_error(other),
    }
}

fn response<'a>(request: &OffsetCommitRequest<'a>, errors: &Errors) -> OffsetCommitResponse<'a> {
    let topic =
        |(line, errors): (&OffsetCommitRequestTopic<'a>, &Vec<KafkaError>)| OffsetCommitResponseTopic {
            name: line.name,
            topic_id: line.topic_id,
            partitions: line
                .partitions
                .iter()
                .zip(errors)
                .map(|(partition, error)| OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: told(ApiKey::OffsetCommit, *error),
                })
                .collect(),
        };
    OffsetCommitResponse {
        throttle_time_ms: 0,
        topics: request.topics.iter().zip(errors).map(topic).collect(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::messages::offset_commit::OffsetCommitRequestPartition;
    use protocol::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

    use super::*;
    use crate::api::testing::{in_every_version, make_topic, one_broker, topic_id};

    fn request(version: i16) -> OffsetCommitRequest<'static> {
        let by_id = version >= TOPIC_ID_VERSION_MIN;
        let line = |name: &'static str, id| OffsetCommitRequestTopic {
            name: if by_id { "" } else { name },
            topic_id: if by_id { topic_id(id) } else { TopicId::ZERO },
            partitions: [0, 7]
                .map(|index| OffsetCommitRequestPartition {
                    partition_index: PartitionIndex(index),
                    committed_offset: Offset(5),
                    committed_leader_epoch: LeaderEpoch::UNKNOWN,
                    committed_metadata: None,
                })
                .to_vec(),
        };
        OffsetCommitRequest {
            group_id: "g",
            generation_id_or_member_epoch: -1,
            member_id: "",
            group_instance_id: None,
            retention_time_ms: -1,
            topics: vec![line("unknown", 9), line("known", 1)],
        }
    }

    #[test]
    fn what_is_not_there_is_told_so_and_the_rest_committed() {
        let mut image = one_broker();
        make_topic(&mut image, "known", 1, 2);
        for version in ApiKey::OffsetCommit.versions() {
            let (topics, mut errors) = sort_out(&image, &request(version), version);
            assert_eq!(topics.len(), 1);
            assert_eq!((&*topics[0].topic, topics[0].partitions.len()), ("known", 1));
            note(&mut errors, Ok(vec![vec![Err(GroupError::GroupNotFound)]]), version);
            let unknown =
                if version >= 10 { KafkaError::UnknownTopicId } else { KafkaError::UnknownTopicOrPartition };
            let refused =
                if version >= 9 { KafkaError::GroupIdNotFound } else { KafkaError::IllegalGeneration };
            let expected = vec![vec![unknown, unknown], vec![refused, KafkaError::UnknownTopicOrPartition]];
            assert_eq!(errors, expected);
        }
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let errors = vec![vec![KafkaError::UnknownTopicOrPartition; 2], vec![KafkaError::None; 2]];
        in_every_version!(
            OffsetCommitResponse<'_>,
            |version| response(&request(version), &errors),
            |_version, read| {
                assert_eq!(read.topics.len(), 2);
                assert_eq!(
                    read.topics[0].partitions[1].error_code,
                    KafkaError::UnknownTopicOrPartition.into()
                );
            }
        );
    }
}
