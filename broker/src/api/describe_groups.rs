//! DescribeGroups (key 15): state and members of classic groups.

use std::rc::Rc;

use logic::group::{DescribedGroup as Group, GroupError, Reply as GroupReply, Request};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::describe_groups::{
    DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup, DescribedGroupMember,
};

use super::coordinate::ask_group;
use super::errors::{group_error, told};
use super::once::each_once;
use super::operations;
use super::reply::Reply;
use crate::runtime::join_all;
use crate::shard::Shard;

/// Before this version a group that there is not is one in state Dead.
const NOT_FOUND_VERSION_MIN: i16 = 6;
const DEAD: &str = "Dead";

/// What is known of a group, or why nothing: the code and a sentence.
type Outcome = Result<Box<Group>, (KafkaError, String)>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &DescribeGroupsRequest<'_>, reply: Reply) {
    let version = reply.version();
    let groups = each_once(request.groups.iter().copied(), |group| *group);
    let outcomes = join_all(groups.iter().map(|group| describe(shard, group, version))).await;
    let operations =
        if request.include_authorized_operations { operations::GROUP } else { operations::NOT_ASKED };
    let lines = groups.iter().zip(&outcomes);
    let groups = lines.map(|(group, outcome)| line(group, outcome, operations, version)).collect();
    reply.send(&DescribeGroupsResponse { throttle_time_ms: 0, groups });
}

async fn describe(shard: &Rc<Shard>, group: &str, version: i16) -> Outcome {
    match ask_group(shard, group, Request::Describe { group: group.into() }).await {
        Ok(GroupReply::Describe(Ok(described))) => Ok(described),
        Ok(GroupReply::Describe(Err(GroupError::GroupNotFound))) if version < NOT_FOUND_VERSION_MIN => {
            Err((KafkaError::None, String::new()))
        }
        Ok(GroupReply::Describe(Err(error @ GroupError::GroupNotFound))) => {
            Err((group_error(&error), format!("Group {group} not found.")))
        }
        Ok(GroupReply::Describe(Err(error))) => Err((group_error(&error), error.to_string())),
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
            protocol_type: &group.protocol_type,
            protocol_data: &group.protocol,
            members: group
                .members
                .iter()
                .map(|member| DescribedGroupMember {
                    member_id: &member.member_id,
                    group_instance_id: member.instance_id.as_deref(),
                    client_id: &member.client_id,
                    client_host: &member.client_host,
                    member_metadata: &member.metadata,
                    member_assignment: &member.assignment,
                })
                .collect(),
            authorized_operations: operations,
        },
        Err((error, message)) => DescribedGroup {
            error_code: told(ApiKey::DescribeGroups, *error),
            error_message: (version >= NOT_FOUND_VERSION_MIN).then_some(message),
            group_id,
            group_state: if matches!(error, KafkaError::None | KafkaError::GroupIdNotFound) {
                DEAD
            } else {
                ""
            },
            protocol_type: "",
            protocol_data: "",
            members: Vec::new(),
            authorized_operations: operations::NOT_ASKED,
        },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use logic::group::DescribedMember;

    use super::*;
    use crate::api::testing::in_every_version;

    #[test]
    fn the_answer_goes_into_every_version() {
        let known: Outcome = Ok(Box::new(Group {
            state: "Stable",
            protocol_type: "consumer".into(),
            protocol: "range".into(),
            members: vec![DescribedMember {
                member_id: "m".into(),
                instance_id: None,
                client_id: "c".into(),
                client_host: "/127.0.0.1".into(),
                metadata: Bytes::from_static(b"subscription"),
                assignment: Bytes::from_static(b"partitions"),
            }],
        }));
        let unknown: Outcome = Err((KafkaError::GroupIdNotFound, "Group u not found.".to_owned()));
        let response = |version: i16| DescribeGroupsResponse {
            throttle_time_ms: 0,
            groups: vec![
                line("g", &known, operations::NOT_ASKED, version),
                line("u", &unknown, operations::NOT_ASKED, version),
            ],
        };
        in_every_version!(DescribeGroupsResponse<'_>, |version| response(version), |version, read| {
            assert_eq!((read.groups[0].group_state, read.groups[0].protocol_data), ("Stable", "range"));
            assert_eq!(read.groups[0].members[0].member_assignment, b"partitions");
            assert_eq!(read.groups[1].group_state, DEAD);
            assert_eq!(read.groups[1].error_message.is_some(), version >= NOT_FOUND_VERSION_MIN);
        });
    }
}
