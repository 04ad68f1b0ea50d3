//! LeaveGroup (key 13): members leave a classic group.

use std::rc::Rc;

use logic::group::{GroupError, Leave, MemberName, Reply as GroupReply, Request};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::leave_group::{LeaveGroupRequest, LeaveGroupResponse, MemberResponse};

use super::coordinate::{ask_group, decided};
use super::errors::told;
use super::reply::Reply;
use crate::shard::Shard;

/// From this version on several members may leave at a time.
const LIST_VERSION_MIN: i16 = 3;

/// What became of each member, or why of none.
type Outcome = Result<Vec<Result<(), GroupError>>, KafkaError>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &LeaveGroupRequest<'_>, reply: Reply) {
    let version = reply.version();
    let leave = Leave { group: request.group_id.into(), members: members(request, version) };
    let outcome = match ask_group(shard, request.group_id, Request::Leave(leave)).await {
        Ok(GroupReply::Leave(Ok(outcomes))) => Ok(outcomes),
        Ok(GroupReply::Leave(Err(error))) => Err(super::errors::group_error(&error)),
        Ok(_) => unreachable!("a leave is answered as such"),
        Err(error) => Err(error),
    };
    reply.send(&response(request, &outcome, version));
}

fn members(request: &LeaveGroupRequest<'_>, version: i16) -> Vec<MemberName> {
    if version < LIST_VERSION_MIN {
        return vec![MemberName { id: request.member_id.into(), instance_id: None }];
    }
    let name = |id: &str, instance: Option<&str>| MemberName {
        id: id.into(),
        instance_id: instance.map(Into::into),
    };
    request.members.iter().map(|member| name(member.member_id, member.group_instance_id)).collect()
}

fn response<'a>(request: &LeaveGroupRequest<'a>, outcome: &Outcome, version: i16) -> LeaveGroupResponse<'a> {
    let error = match outcome {
        Err(error) => *error,
        Ok(outcomes) if version < LIST_VERSION_MIN => outcomes.first().map_or(KafkaError::None, decided),
        Ok(_) => KafkaError::None,
    };
    let members = match outcome {
        Ok(outcomes) if version >= LIST_VERSION_MIN => request
            .members
            .iter()
            .zip(outcomes)
            .map(|(member, outcome)| MemberResponse {
                member_id: member.member_id,
                group_instance_id: member.group_instance_id,
                error_code: told(ApiKey::LeaveGroup, decided(outcome)),
            })
            .collect(),
        _ => Vec::new(),
    };
    LeaveGroupResponse { throttle_time_ms: 0, error_code: told(ApiKey::LeaveGroup, error), members }
}

#[cfg(test)]
mod tests {
    use protocol::messages::leave_group::MemberIdentity;

    use super::*;
    use crate::api::testing::in_every_version;

    #[test]
    fn the_answer_goes_into_every_version() {
        let request = |version| LeaveGroupRequest {
            group_id: "g",
            member_id: if version < LIST_VERSION_MIN { "m" } else { "" },
            members: if version < LIST_VERSION_MIN {
                Vec::new()
            } else {
                vec![MemberIdentity { member_id: "m", group_instance_id: Some("i"), reason: None }]
            },
        };
        let outcome: Outcome = Ok(vec![Err(GroupError::UnknownMember)]);
        in_every_version!(
            LeaveGroupResponse<'_>,
            |version| response(&request(version), &outcome, version),
            |version, read| {
                let unknown = KafkaError::UnknownMemberId.into();
                if version < LIST_VERSION_MIN {
                    assert_eq!(read.error_code, unknown);
                } else {
                    assert_eq!(read.error_code, KafkaError::None.into());
                    assert_eq!((read.members[0].member_id, read.members[0].error_code), ("m", unknown));
                }
            }
        );
    }
}
