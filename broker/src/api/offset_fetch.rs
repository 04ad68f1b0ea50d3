//! OffsetFetch (key 9): how far groups have come.

use std::rc::Rc;

use logic::group::{FetchOffsets, FetchedTopic, Reply as GroupReply, Request, TopicPartitions};
use logic::metadata::Image;
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchResponse,
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};

use super::coordinate::{ask_group, find_topic};
use super::errors::{group_error, told};
use super::once::each_once;
use super::reply::Reply;
use crate::runtime::join_all;
use crate::shard::Shard;

/// From this version on an error of the whole has its own field.
const ERROR_VERSION_MIN: i16 = 2;
/// From this version on a request is about several groups.
const GROUPS_VERSION_MIN: i16 = 8;
/// From this version on topics are named by id.
const TOPIC_ID_VERSION_MIN: i16 = 10;

/// What is asked of one group, whatever the version.
struct Asked<'a> {
    group: &'a str,
    member: Option<(&'a str, i32)>,
    /// Name, id, and partitions of each topic; none for all.
    topics: Option<Vec<(&'a str, TopicId, Vec<PartitionIndex>)>>,
}

/// One line of an answer.
struct Line {
    name: Box<str>,
    id: TopicId,
    partitions: Vec<Place>,
}

struct Place {
    partition: PartitionIndex,
    offset: Offset,
    leader_epoch: LeaderEpoch,
    metadata: Box<str>,
    error: KafkaError,
}

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &OffsetFetchRequest<'_>, reply: Reply) {
    let version = reply.version();
    let asked = asked(request, version);
    let stable = request.require_stable;
    let outcomes = join_all(asked.iter().map(|asked| fetch(shard, asked, stable, version))).await;
    reply.send(&response(&asked, &outcomes, version));
}

fn asked<'a>(request: &'a OffsetFetchRequest<'a>, version: i16) -> Vec<Asked<'a>> {
    if version < GROUPS_VERSION_MIN {
        let topics = request.topics.as_ref().map(|topics| {
            let line = |topic: &'a OffsetFetchRequestTopic<'a>| {
                (topic.name, TopicId::ZERO, once(&topic.partition_indexes))
            };
            each_once(topics, |topic| topic.name).into_iter().map(line).collect()
        });
        return vec![Asked { group: request.group_id, member: None, topics }];
    }
    let group = |group: &'a OffsetFetchRequestGroup<'a>| Asked {
        group: group.group_id,
        member: group.member_id.map(|member| (member, group.member_epoch)),
        topics: group.topics.as_ref().map(|topics| {
            each_once(topics, |topic| (topic.name, topic.topic_id))
                .into_iter()
                .map(|topic| (topic.name, topic.topic_id, once(&topic.partition_indexes)))
                .collect()
        }),
    };
    each_once(&request.groups, |group| group.group_id).into_iter().map(group).collect()
}

fn once(partitions: &[PartitionIndex]) -> Vec<PartitionIndex> {
    each_once(partitions.iter().copied(), |partition| *partition)
}

/// The lines about one group, or why there are none.
async fn fetch(
    shard: &Rc<Shard>,
    asked: &Asked<'_>,
    require_stable: bool,
    version: i16,
) -> Result<Vec<Line>, KafkaError> {
    let by_id = version >= TOPIC_ID_VERSION_MIN;
    let (topics, unknown) = sort_out(&shard.image(), asked, by_id);
    let request = Request::FetchOffsets(FetchOffsets {
        group: asked.group.into(),
        member: asked.member.map(|(member, epoch)| (member.into(), epoch)),
        topics,
        require_stable,
    });
    match ask_group(shard, asked.group, request).await? {
        GroupReply::FetchOffsets(Ok(fetched)) => Ok(fetched.iter().map(line).chain(unknown).collect()),
        GroupReply::FetchOffsets(Err(error)) => Err(group_error(&error)),
        _ => unreachable!("a fetch of offsets is answered as such"),
    }
}

/// The topics to ask the coordinator for, and the lines about those whose ids nobody knows. A name need not be known: a
/// group may have committed for a topic that has gone since.
fn sort_out(image: &Image, asked: &Asked<'_>, by_id: bool) -> (Option<Vec<TopicPartitions>>, Vec<Line>) {
    let Some(topics) = &asked.topics else { return (None, Vec::new()) };
    let mut known = Vec::with_capacity(topics.len());
    let mut unknown = Vec::new();
    for (name, id, partitions) in topics {
        let topic = if by_id {
            match find_topic(image, name, *id, true) {
                Ok(topic) => std::sync::Arc::clone(&topic.name),
                Err(error) => {
                    unknown.push(Line {
                        name: (*name).into(),
                        id: *id,
                        partitions: partitions.iter().map(|partition| nothing(*partition, error)).collect(),
                    });
                    continue;
                }
            }
        } else {
            (*name).into()
        };
        known.push(TopicPartitions { topic, topic_id: *id, partitions: partitions.to_vec() });
    }
    (Some(known), unknown)
}

fn nothing(partition: PartitionIndex, error: KafkaError) -> Place {
    Place {
        partition,
        offset: Offset(-1),
        leader_epoch: LeaderEpoch::UNKNOWN,
        metadata: Box::default(),
        error,
    }
}

fn line(fetched: &FetchedTopic) -> Line {
    let partitions = fetched.partitions.iter().map(|found| Place {
        partition: found.partition,
        offset: found.offset,
        leader_epoch: found.leader_epoch,
        metadata: found.metadata.clone(),
        error: found.error.as_ref().map_or(KafkaError::None, group_error),
    });
    Line { name: (*fetched.topic).into(), id: fetched.topic_id, partitions: partitions.collect() }
}

fn response<'a>(
    asked: &'a [Asked<'a>],
    outcomes: &'a [Result<Vec<Line>, KafkaError>],
    version: i16,
) -> OffsetFetchResponse<'a> {
    let code = |error| told(ApiKey::OffsetFetch, error);
    let mut response = OffsetFetchResponse {
        throttle_time_ms: 0,
        topics: Vec::new(),
        error_code: KafkaError::None.into(),
        groups: Vec::new(),
    };
    if version >= GROUPS_VERSION_MIN {
        response.groups = asked
            .iter()
            .zip(outcomes)
            .map(|(asked, outcome)| OffsetFetchResponseGroup {
                group_id: asked.group,
                topics: outcome.iter().flatten().map(|line| topics_line(line, version)).collect(),
                error_code: code(outcome.as_ref().err().copied().unwrap_or(KafkaError::None)),
            })
            .collect();
        return response;
    }
    match &outcomes[0] {
        Ok(lines) => response.topics = lines.iter().map(topic_line).collect(),
        Err(error) if version >= ERROR_VERSION_MIN => response.error_code = code(*error),
        Err(error) => {
            response.topics = asked[0]
                .topics
                .iter()
                .flatten()
                .map(|(name, _, partitions)| refused(name, partitions, *error))
                .collect();
        }
    }
    response
}

/// Before there was a field for it, every partition carries the error.
fn refused<'a>(
    name: &'a str,
    partitions: &[PartitionIndex],
    error: KafkaError,
) -> OffsetFetchResponseTopic<'a> {
    let partition = |partition: &PartitionIndex| OffsetFetchResponsePartition {
        partition_index: *partition,
        committed_offset: Offset(-1),
        committed_leader_epoch: LeaderEpoch::UNKNOWN,
        metadata: Some(""),
        error_code: told(ApiKey::OffsetFetch, error),
    };
    OffsetFetchResponseTopic { name, partitions: partitions.iter().map(partition).collect() }
}

fn topic_line(line: &Line) -> OffsetFetchResponseTopic<'_> {
    let partitions = line
        .partitions
        .iter()
        .map(|place| OffsetFetchResponsePartition {
            partition_index: place.partition,
            committed_offset: place.offset,
            committed_leader_epoch: place.leader_epoch,
            metadata: Some(&place.metadata),
            error_code: told(ApiKey::OffsetFetch, place.error),
        })
        .collect();
    OffsetFetchResponseTopic { name: &line.name, partitions }
}

fn topics_line(line: &Line, version: i16) -> OffsetFetchResponseTopics<'_> {
    let by_id = version >= TOPIC_ID_VERSION_MIN;
    let partitions = line
        .partitions
        .iter()
        .map(|place| OffsetFetchResponsePartitions {
            partition_index: place.partition,
            committed_offset: place.offset,
            committed_leader_epoch: place.leader_epoch,
            metadata: Some(&place.metadata),
            error_code: told(ApiKey::OffsetFetch, place.error),
        })
        .collect();
    OffsetFetchResponseTopics {
        name: if by_id { "" } else { &line.name },
        topic_id: if by_id { line.id } else { TopicId::ZERO },
        partitions,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{in_every_version, make_topic, one_broker, topic_id};

    fn asked_of(topics: Vec<(&'static str, TopicId, &'static [PartitionIndex])>) -> Asked<'static> {
        let topics = topics.into_iter().map(|(name, id, partitions)| (name, id, once(partitions)));
        Asked { group: "g", member: None, topics: Some(topics.collect()) }
    }

    #[test]
    fn ids_that_nobody_knows_are_told_so() {
        let mut image = one_broker();
        make_topic(&mut image, "known", 1, 2);
        let partitions: &[PartitionIndex] = &[PartitionIndex(0)];
        let asked = asked_of(vec![("", topic_id(1), partitions), ("", topic_id(9), partitions)]);
        let (known, unknown) = sort_out(&image, &asked, true);
        assert_eq!(&*known.expect("not all")[0].topic, "known");
        assert_eq!(unknown[0].partitions[0].error, KafkaError::UnknownTopicId);
        let asked = asked_of(vec![("gone", TopicId::ZERO, partitions)]);
        let (known, unknown) = sort_out(&image, &asked, false);
        assert_eq!(&*known.expect("not all")[0].topic, "gone");
        assert!(unknown.is_empty());
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        const PARTITIONS: &[PartitionIndex] = &[PartitionIndex(3)];
        let asked = [asked_of(vec![("t", TopicId::ZERO, PARTITIONS)])];
        let found = [Ok(vec![Line {
            name: "t".into(),
            id: topic_id(1),
            partitions: vec![Place {
                offset: Offset(42),
                leader_epoch: LeaderEpoch(2),
                metadata: "note".into(),
                ..nothing(PartitionIndex(3), KafkaError::None)
            }],
        }])];
        in_every_version!(
            OffsetFetchResponse<'_>,
            |version| response(&asked, &found, version),
            |version, read| {
                let (offset, note) = if version >= GROUPS_VERSION_MIN {
                    let place = &read.groups[0].topics[0].partitions[0];
                    (place.committed_offset, place.metadata)
                } else {
                    let place = &read.topics[0].partitions[0];
                    (place.committed_offset, place.metadata)
                };
                assert_eq!((offset, note), (Offset(42), Some("note")));
            }
        );
        let refused = [Err(KafkaError::NotCoordinator)];
        in_every_version!(
            OffsetFetchResponse<'_>,
            |version| response(&asked, &refused, version),
            |version, read| {
                let error = match version {
                    ..ERROR_VERSION_MIN => read.topics[0].partitions[0].error_code,
                    ERROR_VERSION_MIN..GROUPS_VERSION_MIN => read.error_code,
                    GROUPS_VERSION_MIN.. => read.groups[0].error_code,
                };
                assert_eq!(error, KafkaError::NotCoordinator.into());
            }
        );
    }
}
