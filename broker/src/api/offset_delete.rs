//! OffsetDelete (key 47): a group forgets how far it has come in partitions that none of its members reads.

use std::rc::Rc;

use logic::group::{DeleteOffsets, GroupError, Reply as GroupReply, Request, TopicPartitions};
use logic::metadata::Image;
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
};
use protocol::types::TopicId;

use super::coordinate::{ask_group, find_topic};
use super::errors::{group_error, told};
use super::reply::Reply;
use crate::shard::Shard;

/// One error for each partition of the request, topic by topic.
type Errors = Vec<Vec<KafkaError>>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &OffsetDeleteRequest<'_>, reply: Reply) {
    let (topics, mut errors) = sort_out(&shard.image(), request);
    let deletion = DeleteOffsets { group: request.group_id.into(), topics };
    let refused = match ask_group(shard, request.group_id, Request::DeleteOffsets(deletion)).await {
        Ok(GroupReply::DeleteOffsets(Ok(outcomes))) => {
            note(&mut errors, &outcomes);
            None
        }
        Ok(GroupReply::DeleteOffsets(Err(error))) => Some(group_error(&error)),
        Ok(_) => unreachable!("a deletion of offsets is answered as such"),
        Err(error) => Some(error),
    };
    reply.send(&match refused {
        None => response(request, &errors),
        Some(error) => OffsetDeleteResponse {
            error_code: told(ApiKey::OffsetDelete, error),
            throttle_time_ms: 0,
            topics: Vec::new(),
        },
    });
}

/// The partitions that there are, and the errors of those that there are not.
fn sort_out(image: &Image, request: &OffsetDeleteRequest<'_>) -> (Vec<TopicPartitions>, Errors) {
    let mut topics = Vec::with_capacity(request.topics.len());
    let mut errors = Vec::with_capacity(request.topics.len());
    for line in &request.topics {
        let found = find_topic(image, line.name, TopicId::ZERO, false);
        let has = |index| found.is_ok_and(|topic| topic.partition(index).is_some());
        let indexes = || line.partitions.iter().map(|partition| partition.partition_index);
        let error = |index| if has(index) { KafkaError::None } else { KafkaError::UnknownTopicOrPartition };
        errors.push(indexes().map(error).collect());
        if let Ok(topic) = found {
            topics.push(TopicPartitions {
                topic: std::sync::Arc::clone(&topic.name),
                topic_id: topic.id,
                partitions: indexes().filter(|index| has(*index)).collect(),
            });
        }
    }
    (topics, errors)
}

/// Puts the outcomes where there is no error yet: they come in the request's order.
fn note(errors: &mut Errors, outcomes: &[Vec<Result<(), GroupError>>]) {
    let open = errors.iter_mut().flatten().filter(|error| **error == KafkaError::None);
    for (place, outcome) in open.zip(outcomes.iter().flatten()) {
        if let Err(error) = outcome {
            *place = group_error(error);
        }
    }
}

fn response<'a>(request: &OffsetDeleteRequest<'a>, errors: &Errors) -> OffsetDeleteResponse<'a> {
    let topic =
        |(line, errors): (&OffsetDeleteRequestTopic<'a>, &Vec<KafkaError>)| OffsetDeleteResponseTopic {
            name: line.name,
            partitions: line
                .partitions
                .iter()
                .zip(errors)
                .map(|(partition, error)| OffsetDeleteResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: told(ApiKey::OffsetDelete, *error),
                })
                .collect(),
        };
    OffsetDeleteResponse {
        error_code: KafkaError::None.into(),
        throttle_time_ms: 0,
        topics: request.topics.iter().zip(errors).map(topic).collect(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::messages::offset_delete::OffsetDeleteRequestPartition;
    use protocol::types::PartitionIndex;

    use super::*;
    use crate::api::testing::{make_topic, one_broker};

    #[test]
    fn what_is_not_there_is_told_so_and_the_rest_deleted() {
        let mut image = one_broker();
        make_topic(&mut image, "known", 1, 2);
        let line = |name| OffsetDeleteRequestTopic {
            name,
            partitions: [0, 7]
                .map(|index| OffsetDeleteRequestPartition { partition_index: PartitionIndex(index) })
                .to_vec(),
        };
        let request = OffsetDeleteRequest { group_id: "g", topics: vec![line("unknown"), line("known")] };
        let (topics, mut errors) = sort_out(&image, &request);
        assert_eq!(topics.len(), 1);
        assert_eq!(topics[0].partitions, [PartitionIndex(0)]);
        note(&mut errors, &[vec![Err(GroupError::SubscribedToTopic)]]);
        let unknown = KafkaError::UnknownTopicOrPartition;
        assert_eq!(errors, [[unknown, unknown], [KafkaError::GroupSubscribedToTopic, unknown]]);
    }
}
