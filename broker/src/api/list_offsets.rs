//! ListOffsets (key 2): offsets by position and by time.

use std::rc::Rc;

use protocol::error::KafkaError;
use protocol::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopicResponse,
};
use protocol::types::{LeaderEpoch, Offset, PartitionKey, Timestamp};

use super::errors::partition_error;
use super::reply::Reply;
use super::scatter::scatter;
use crate::shard::Shard;
use crate::shard::messages::{Answer, FindOffset, FoundOffset, OffsetTarget, Question};

/// The first version whose answer can name a leader epoch.
const LEADER_EPOCH_VERSION_MIN: i16 = 4;

/// What a negative timestamp asks for.
enum Asked {
    Find(OffsetTarget),
    /// A position in tiered storage, of which there is none.
    Tiered,
    Invalid,
}

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &ListOffsetsRequest<'_>, reply: Reply) {
    let image = shard.image();
    let version = reply.version();
    let mut responses: Vec<ListOffsetsTopicResponse<'_>> = Vec::with_capacity(request.topics.len());
    let mut items = Vec::new();
    for topic in &request.topics {
        let found = image.topic(topic.name);
        let partitions = topic.partitions.iter().map(|partition| {
            let known = found.filter(|found| found.partition(partition.partition_index).is_some());
            let Some(known) = known else { return line(partition, KafkaError::UnknownTopicOrPartition) };
            let key = PartitionKey { topic_id: known.id, partition: partition.partition_index };
            match asked(partition.timestamp, version) {
                Asked::Find(target) => {
                    items.push((key, FindOffset { key, epoch: partition.current_leader_epoch, target }));
                    line(partition, KafkaError::UnknownServerError)
                }
                Asked::Tiered => line(partition, KafkaError::None),
                Asked::Invalid => line(partition, KafkaError::UnsupportedVersion),
            }
        });
        responses.push(ListOffsetsTopicResponse { name: topic.name, partitions: partitions.collect() });
    }
    let found = scatter(shard, items, Question::FindOffsets, |answer| match answer {
        Answer::Offsets(found) => found,
        _ => unreachable!("a search is answered by offsets"),
    })
    .await;
    let waiting = responses
        .iter_mut()
        .flat_map(|topic| &mut topic.partitions)
        .filter(|line| line.error_code == KafkaError::UnknownServerError.into());
    for (line, found) in waiting.zip(found) {
        match found {
            Ok(found) => fill(line, found, version),
            Err(error) => line.error_code = partition_error(&error).into(),
        }
    }
    reply.send(&ListOffsetsResponse { throttle_time_ms: 0, topics: responses });
}

/// -1 latest, -2 earliest, -3 largest timestamp (from version 7), -4 earliest here (8), -5 latest tiered (9), -6 earliest
/// not tiered yet (11).
fn asked(timestamp: Timestamp, version: i16) -> Asked {
    match (timestamp.get(), version) {
        (-1, _) => Asked::Find(OffsetTarget::Latest),
        (-2, _) | (-4, 8..) => Asked::Find(OffsetTarget::Earliest),
        (-3, 7..) => Asked::Find(OffsetTarget::MaxTimestamp),
        (-5, 9..) | (-6, 11..) => Asked::Tiered,
        (0.., _) => Asked::Find(OffsetTarget::AtTime(timestamp)),
        _ => Asked::Invalid,
    }
}

fn line(partition: &ListOffsetsPartition, error: KafkaError) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index: partition.partition_index,
        error_code: error.into(),
        timestamp: Timestamp(-1),
        offset: Offset(-1),
        leader_epoch: LeaderEpoch::UNKNOWN,
    }
}

fn fill(line: &mut ListOffsetsPartitionResponse, found: FoundOffset, version: i16) {
    line.error_code = KafkaError::None.into();
    line.offset = found.offset.unwrap_or(Offset(-1));
    line.timestamp = found.timestamp.unwrap_or(Timestamp(-1));
    if version >= LEADER_EPOCH_VERSION_MIN {
        line.leader_epoch = found.epoch;
    }
}
