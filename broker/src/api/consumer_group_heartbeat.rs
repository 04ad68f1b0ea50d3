//! ConsumerGroupHeartbeat (key 68): a member of a consumer group joins, stays, moves to its assignment, leaves.

use std::rc::Rc;

use logic::group::{ConsumerBeat, ConsumerHeartbeat, GroupError, Reply as GroupReply, Request};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};

use super::coordinate::{Client, ask_group, has_consumer_groups};
use super::errors::{group_error, told};
use super::reply::Reply;
use crate::shard::Shard;

/// From this version on the client chooses the member's id.
const CLIENT_CHOOSES_ID_VERSION_MIN: i16 = 1;

/// Answers.
pub async fn handle(
    shard: &Rc<Shard>,
    client: Client<'_>,
    request: &ConsumerGroupHeartbeatRequest<'_>,
    reply: Reply,
) {
    if !has_consumer_groups(shard) {
        let error = KafkaError::UnsupportedVersion;
        return reply.send(&refusal(error, &error.to_string()));
    }
    let beat = heartbeat(&client, request, shard.random_bits(), reply.version());
    match ask_group(shard, request.group_id, Request::ConsumerHeartbeat(Box::new(beat))).await {
        Ok(GroupReply::ConsumerHeartbeat(Ok(beat))) => reply.send(&response(&beat)),
        Ok(GroupReply::ConsumerHeartbeat(Err(error))) => {
            reply.send(&refusal(group_error(&error), &message(request.group_id, &error)));
        }
        Ok(_) => unreachable!("a heartbeat is answered as such"),
        Err(error) => reply.send(&refusal(error, &error.to_string())),
    }
}

fn heartbeat(
    client: &Client<'_>,
    request: &ConsumerGroupHeartbeatRequest<'_>,
    fresh_id: u128,
    version: i16,
) -> ConsumerHeartbeat {
    let owned = |topic: &TopicPartitions| (topic.topic_id, topic.partitions.iter().copied().collect());
    ConsumerHeartbeat {
        group: request.group_id.into(),
        member_id: request.member_id.into(),
        member_epoch: request.member_epoch,
        requires_member_id: version >= CLIENT_CHOOSES_ID_VERSION_MIN,
        instance_id: request.instance_id.map(Into::into),
        rack_id: request.rack_id.map(Into::into),
        client_id: client.id(),
        client_host: client.host(),
        fresh_id,
        rebalance_timeout_ms: Some(request.rebalance_timeout_ms).filter(|ms| *ms >= 0),
        topics: request
            .subscribed_topic_names
            .as_ref()
            .map(|topics| topics.iter().map(|topic| (*topic).into()).collect()),
        expression: request.subscribed_topic_regex.map(Into::into),
        assignor: request.server_assignor.map(Into::into),
        owned: request.topic_partitions.as_ref().map(|topics| topics.iter().map(owned).collect()),
    }
}

/// The sentence for people.
fn message(group: &str, error: &GroupError) -> String {
    match error {
        GroupError::GroupNotFound => format!("Consumer group {group} not found."),
        other => other.to_string(),
    }
}

fn response(beat: &ConsumerBeat) -> ConsumerGroupHeartbeatResponse<'_> {
    let assignment = beat.assignment.as_ref().map(|topics| Assignment {
        topic_partitions: topics
            .iter()
            .map(|topic| TopicPartitions { topic_id: topic.topic_id, partitions: topic.partitions.clone() })
            .collect(),
    });
    ConsumerGroupHeartbeatResponse {
        throttle_time_ms: 0,
        error_code: KafkaError::None.into(),
        error_message: None,
        member_id: Some(&beat.member_id),
        member_epoch: beat.member_epoch,
        heartbeat_interval_ms: beat.heartbeat_interval_ms,
        assignment,
    }
}

fn refusal(error: KafkaError, message: &str) -> ConsumerGroupHeartbeatResponse<'_> {
    ConsumerGroupHeartbeatResponse {
        throttle_time_ms: 0,
        error_code: told(ApiKey::ConsumerGroupHeartbeat, error),
        error_message: Some(message),
        member_id: None,
        member_epoch: 0,
        heartbeat_interval_ms: 0,
        assignment: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use logic::group::OwnedTopic;
    use protocol::types::PartitionIndex;

    use super::*;
    use crate::api::testing::{in_every_version, topic_id};

    #[test]
    fn what_is_not_told_stays_as_it_was() {
        let client = Client { id: None, peer: ([127, 0, 0, 1], 4).into() };
        let mut request = ConsumerGroupHeartbeatRequest {
            group_id: "g",
            member_id: "m",
            member_epoch: 3,
            instance_id: None,
            rack_id: None,
            rebalance_timeout_ms: -1,
            subscribed_topic_names: None,
            subscribed_topic_regex: None,
            server_assignor: None,
            topic_partitions: None,
        };
        let short = ConsumerHeartbeat {
            group: "g".into(),
            member_id: "m".into(),
            member_epoch: 3,
            client_host: "/127.0.0.1".into(),
            fresh_id: 7,
            ..ConsumerHeartbeat::default()
        };
        assert_eq!(heartbeat(&client, &request, 7, 0), short);
        request.rebalance_timeout_ms = 5;
        request.subscribed_topic_names = Some(vec!["t"]);
        request.subscribed_topic_regex = Some("");
        request.topic_partitions =
            Some(vec![TopicPartitions { topic_id: topic_id(1), partitions: vec![PartitionIndex(2)] }]);
        let full = ConsumerHeartbeat {
            requires_member_id: true,
            rebalance_timeout_ms: Some(5),
            topics: Some(vec!["t".into()]),
            expression: Some("".into()),
            owned: Some(BTreeMap::from([(topic_id(1), BTreeSet::from([PartitionIndex(2)]))])),
            ..short
        };
        assert_eq!(heartbeat(&client, &request, 7, 1), full);
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let beat = ConsumerBeat {
            member_id: "m".into(),
            member_epoch: 3,
            heartbeat_interval_ms: 5_000,
            assignment: Some(vec![OwnedTopic {
                topic_id: topic_id(1),
                partitions: vec![PartitionIndex(0), PartitionIndex(2)],
            }]),
        };
        in_every_version!(
            ConsumerGroupHeartbeatResponse<'_>,
            |_version| response(&beat),
            |_version, read| {
                assert_eq!((read.member_id, read.member_epoch), (Some("m"), 3));
                let assignment = read.assignment.expect("it changes");
                assert_eq!(assignment.topic_partitions[0].topic_id, topic_id(1));
                assert_eq!(assignment.topic_partitions[0].partitions.len(), 2);
            }
        );
        in_every_version!(
            ConsumerGroupHeartbeatResponse<'_>,
            |_version| refusal(KafkaError::FencedMemberEpoch, "why"),
            |_version, read| {
                assert_eq!(read.error_code, KafkaError::FencedMemberEpoch.into());
                assert_eq!((read.error_message, read.assignment), (Some("why"), None));
            }
        );
    }
}
