//! ListOffsets (key 2): offsets by position and by time.

use std::rc::Rc;

use logic::metadata::Image;
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey, Timestamp};
use rustc_hash::FxHashSet;

use super::errors::{partition_error, told};
use super::reply::Reply;
use super::scatter::scatter;
use crate::shard::Shard;
use crate::shard::messages::{Answer, FindOffset, FoundOffset, Isolation, OffsetTarget, Question};

/// The first version whose answer can name a leader epoch.
const LEADER_EPOCH_VERSION_MIN: i16 = 4;

/// What a negative timestamp asks for.
enum Asked {
    Find(OffsetTarget),
    /// A position in tiered storage, of which there is none.
    Tiered,
    Invalid,
}

/// What is known of one partition: what the answer says, or that it is being looked for.
enum Line {
    Known(Result<FoundOffset, KafkaError>),
    Asked,
}

/// Where there is no offset to tell.
const NOWHERE: FoundOffset = FoundOffset { offset: None, timestamp: None, epoch: LeaderEpoch::UNKNOWN };

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &ListOffsetsRequest<'_>, reply: Reply) {
    let (lines, items) = sort_out(&shard.image(), request, reply.version());
    let found = scatter(shard, items, Question::FindOffsets, |answer| match answer {
        Answer::Offsets(found) => found,
        _ => unreachable!("a search is answered by offsets"),
    })
    .await;
    let mut found = found.into_iter().map(|found| found.map_err(|error| partition_error(&error)));
    let outcomes = lines.into_iter().map(|line| match line {
        Line::Known(outcome) => outcome,
        Line::Asked => found.next().expect("each search has an answer"),
    });
    let response = response(request, outcomes.collect(), reply.version());
    reply.send(&response);
}

/// A line for each partition in the request's order, and what is to be looked for.
fn sort_out(
    image: &Image,
    request: &ListOffsetsRequest<'_>,
    version: i16,
) -> (Vec<Line>, Vec<(PartitionKey, FindOffset)>) {
    let (mut lines, mut items) = (Vec::new(), Vec::new());
    let repeated = repeated(request);
    let isolation = Isolation::of_request(request.isolation_level);
    for topic in &request.topics {
        let found = image.topic(topic.name);
        for partition in &topic.partitions {
            let index = partition.partition_index;
            let known = found.filter(|found| found.partition(index).is_some());
            lines.push(match (known, asked(partition.timestamp, version)) {
                _ if repeated.contains(&(topic.name, index)) => Line::Known(Err(KafkaError::InvalidRequest)),
                (None, _) => Line::Known(Err(KafkaError::UnknownTopicOrPartition)),
                (Some(_), Asked::Tiered) => Line::Known(Ok(NOWHERE)),
                (Some(_), Asked::Invalid) => Line::Known(Err(KafkaError::UnsupportedVersion)),
                (Some(topic), Asked::Find(target)) => {
                    let key = PartitionKey { topic_id: topic.id, partition: index };
                    let epoch = partition.current_leader_epoch;
                    items.push((key, FindOffset { key, epoch, target, isolation }));
                    Line::Asked
                }
            });
        }
    }
    (lines, items)
}

/// The partitions that a request asks for more than once: a search each would be a lot for a few bytes.
fn repeated<'a>(request: &ListOffsetsRequest<'a>) -> FxHashSet<(&'a str, PartitionIndex)> {
    let mut seen = FxHashSet::default();
    let all = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name, partition.partition_index)));
    all.filter(|place| !seen.insert(*place)).collect()
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

/// The outcomes stand in the order of the request's partitions.
fn response<'a>(
    request: &ListOffsetsRequest<'a>,
    outcomes: Vec<Result<FoundOffset, KafkaError>>,
    version: i16,
) -> ListOffsetsResponse<'a> {
    let mut outcomes = outcomes.into_iter();
    let mut line = |partition_index| {
        let outcome = outcomes.next().expect("each partition has an outcome");
        let found = outcome.unwrap_or(NOWHERE);
        ListOffsetsPartitionResponse {
            partition_index,
            error_code: told(ApiKey::ListOffsets, outcome.err().unwrap_or(KafkaError::None)),
            timestamp: found.timestamp.unwrap_or(Timestamp(-1)),
            offset: found.offset.unwrap_or(Offset(-1)),
            leader_epoch: if version >= LEADER_EPOCH_VERSION_MIN {
                found.epoch
            } else {
                LeaderEpoch::UNKNOWN
            },
        }
    };
    let topics = request.topics.iter().map(|topic| ListOffsetsTopicResponse {
        name: topic.name,
        partitions: topic.partitions.iter().map(|asked| line(asked.partition_index)).collect(),
    });
    ListOffsetsResponse { throttle_time_ms: 0, topics: topics.collect() }
}

#[cfg(test)]
mod tests {
    use protocol::messages::list_offsets::{ListOffsetsPartition, ListOffsetsTopic};

    use super::*;
    use crate::api::testing::in_every_version;

    fn request() -> ListOffsetsRequest<'static> {
        let partition = |index| ListOffsetsPartition {
            partition_index: PartitionIndex(index),
            timestamp: Timestamp(-1),
            ..ListOffsetsPartition::default()
        };
        let topics = vec![ListOffsetsTopic { name: "orders", partitions: vec![partition(0), partition(1)] }];
        ListOffsetsRequest { topics, ..ListOffsetsRequest::default() }
    }

    #[test]
    fn the_answer_goes_into_every_version_and_errors_are_not_taken_for_open_lines() {
        let found = FoundOffset { offset: Some(Offset(5)), timestamp: None, epoch: LeaderEpoch(3) };
        let outcomes = || vec![Err(KafkaError::UnknownServerError), Ok(found)];
        in_every_version!(
            ListOffsetsResponse<'_>,
            |version| response(&request(), outcomes(), version),
            |version, read| {
                let [refused, answered] = read.topics[0].partitions.as_slice() else { panic!("two lines") };
                assert_eq!(refused.error_code, KafkaError::UnknownServerError.into());
                assert_eq!(answered.offset, Offset(5));
                let epoch = if version >= LEADER_EPOCH_VERSION_MIN { 3 } else { -1 };
                assert_eq!(answered.leader_epoch, LeaderEpoch(epoch));
            }
        );
    }
}
