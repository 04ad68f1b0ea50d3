//! ConsumerGroupDescribe (key 69): state, epochs and members of consumer groups.

use std::rc::Rc;

use logic::group::{
    DescribedConsumer, DescribedConsumerGroup, DescribedTopic, GroupError, Reply as GroupReply, Request,
};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribedGroup, Member,
    TopicPartitions,
};

use super::coordinate::{ask_group, has_consumer_groups};
use super::errors::{group_error, told};
use super::once::each_once;
use super::operations;
use super::reply::Reply;
use crate::runtime::join_all;
use crate::shard::Shard;

/// From this version on a member's protocol is told.
const MEMBER_TYPE_VERSION_MIN: i16 = 1;
/// A member that speaks the classic protocol.
const CLASSIC: i8 = 0;
/// A member that speaks the consumer protocol.
const CONSUMER: i8 = 1;
/// Not told.
const UNTOLD: i8 = -1;

/// What is known of a group, or why nothing: the code and a sentence.
type Outcome = Result<Box<DescribedConsumerGroup>, (KafkaError, String)>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &ConsumerGroupDescribeRequest<'_>, reply: Reply) {
    let groups = each_once(request.group_ids.iter().copied(), |group| *group);
    let outcomes = join_all(groups.iter().map(|group| describe(shard, group))).await;
    let operations =
        if request.include_authorized_operations { operations::GROUP } else { operations::NOT_ASKED };
    let lines = groups.iter().zip(&outcomes);
    let groups = lines.map(|(group, outcome)| line(group, outcome, operations, reply.version())).collect();
    reply.send(&ConsumerGroupDescribeResponse { throttle_time_ms: 0, groups });
}

async fn describe(shard: &Rc<Shard>, group: &str) -> Outcome {
    if !has_consumer_groups(shard) {
        let error = KafkaError::UnsupportedVersion;
        return Err((error, error.to_string()));
    }
    if group.is_empty() {
        let error = GroupError::InvalidGroupId;
        return Err((group_error(&error), error.to_string()));
    }
    match ask_group(shard, group, Request::DescribeConsumers { group: group.into() }).await {
        Ok(GroupReply::DescribeConsumers(Ok(described))) => Ok(described),
        Ok(GroupReply::DescribeConsumers(Err(error @ GroupError::GroupNotFound))) => {
            Err((group_error(&error), format!("Group {group} is not a consumer group.")))
        }
        Ok(GroupReply::DescribeConsumers(Err(error))) => Err((group_error(&error), error.to_string())),
        Ok(_) => unreachable!("a description is answered as such"),
        Err(error) => Err((error, error.to_string())),
    }
}

fn line<'a>(group_id: &'a str, outcome: &'a Outcome, operations: i32, version: i16) -> DescribedGroup<'a> {
    match outcome {
        Ok(group) => DescribedGroup {
            error_code: KafkaError::None.into(),
            error_message: None,
            group_id,
            group_state: group.state,
            group_epoch: group.epoch,
            assignment_epoch: group.target_epoch,
            assignor_name: group.assignor,
            members: group.members.iter().map(|described| member(described, version)).collect(),
            authorized_operations: operations,
        },
        Err((error, message)) => DescribedGroup {
            error_code: told(ApiKey::ConsumerGroupDescribe, *error),
            error_message: Some(message),
            group_id,
            group_state: "",
            group_epoch: 0,
            assignment_epoch: 0,
            assignor_name: "",
            members: Vec::new(),
            authorized_operations: operations::NOT_ASKED,
        },
    }
}

fn member(described: &DescribedConsumer, version: i16) -> Member<'_> {
    Member {
        member_id: &described.member_id,
        instance_id: described.instance_id.as_deref(),
        rack_id: described.rack_id.as_deref(),
        member_epoch: described.epoch,
        client_id: &described.client_id,
        client_host: &described.client_host,
        subscribed_topic_names: described.topics.iter().map(|topic| &**topic).collect(),
        subscribed_topic_regex: described.expression.as_deref(),
        assignment: assignment(&described.assignment),
        target_assignment: assignment(&described.target),
        member_type: match described.speaks_classic {
            _ if version < MEMBER_TYPE_VERSION_MIN => UNTOLD,
            true => CLASSIC,
            false => CONSUMER,
        },
    }
}

fn assignment(topics: &[DescribedTopic]) -> Assignment<'_> {
    Assignment {
        topic_partitions: topics
            .iter()
            .map(|topic| TopicPartitions {
                topic_id: topic.topic_id,
                topic_name: &topic.topic,
                partitions: topic.partitions.clone(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::types::PartitionIndex;

    use super::*;
    use crate::api::testing::{in_every_version, topic_id};

    #[test]
    fn the_answer_goes_into_every_version() {
        let owned = vec![DescribedTopic {
            topic_id: topic_id(1),
            topic: "t".into(),
            partitions: vec![PartitionIndex(4)],
        }];
        let known: Outcome = Ok(Box::new(DescribedConsumerGroup {
            state: "Stable",
            epoch: 3,
            target_epoch: 2,
            assignor: "range",
            members: vec![DescribedConsumer {
                member_id: "m".into(),
                instance_id: None,
                rack_id: None,
                epoch: 2,
                client_id: "c".into(),
                client_host: "/127.0.0.1".into(),
                topics: vec!["t".into()],
                expression: Some("t.*".into()),
                speaks_classic: false,
                assignment: owned,
                target: Vec::new(),
            }],
        }));
        let unknown: Outcome = Err((KafkaError::GroupIdNotFound, "not there".to_owned()));
        let response = |version: i16| ConsumerGroupDescribeResponse {
            throttle_time_ms: 0,
            groups: vec![
                line("g", &known, operations::NOT_ASKED, version),
                line("u", &unknown, operations::NOT_ASKED, version),
            ],
        };
        in_every_version!(ConsumerGroupDescribeResponse<'_>, |version| response(version), |version, read| {
            let group = &read.groups[0];
            assert_eq!((group.group_epoch, group.assignment_epoch, group.assignor_name), (3, 2, "range"));
            let member = &group.members[0];
            assert_eq!(member.assignment.topic_partitions[0].topic_name, "t");
            assert_eq!(member.subscribed_topic_regex, Some("t.*"));
            assert_eq!(member.member_type, if version >= 1 { CONSUMER } else { UNTOLD });
            assert_eq!(read.groups[1].error_message, Some("not there"));
        });
    }
}
