//! JoinGroup (key 11): become a member of a classic group; answered when the group has gathered.

use std::rc::Rc;

use bytes::Bytes;
use logic::group::{Join, JoinRefused, Joined, Protocol, Reply as GroupReply, Request};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};

use super::coordinate::{Client, ask_group};
use super::errors::{group_error, told};
use super::reply::Reply;
use crate::shard::Shard;

/// Before this version a member has one timeout for both.
const REBALANCE_TIMEOUT_VERSION_MIN: i16 = 1;
/// From this version on a new member comes back with the id that it is told.
const MEMBER_ID_VERSION_MIN: i16 = 4;
/// From this version on the answer may leave out which assignor was chosen.
const PROTOCOL_OPTIONAL_VERSION_MIN: i16 = 7;
/// From this version on a leader may be told not to assign.
const SKIP_ASSIGNMENT_VERSION_MIN: i16 = 9;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, client: Client<'_>, request: &JoinGroupRequest<'_>, reply: Reply) {
    let version = reply.version();
    let join = join(shard, &client, request, version);
    let outcome = match ask_group(shard, request.group_id, Request::Join(Box::new(join))).await {
        Ok(GroupReply::Join(Ok(joined))) => return reply.send(&joined_response(&joined, version)),
        Ok(GroupReply::Join(Err(refused))) => refused,
        Ok(_) => unreachable!("a join is answered as such"),
        Err(error) => return reply.send(&refusal(error, request.member_id, version)),
    };
    let JoinRefused { member_id, error } = outcome;
    reply.send(&refusal(group_error(&error), &member_id, version));
}

fn join(shard: &Shard, client: &Client<'_>, request: &JoinGroupRequest<'_>, version: i16) -> Join {
    let protocol = |protocol: &JoinGroupRequestProtocol<'_>| Protocol {
        name: protocol.name.into(),
        metadata: Bytes::copy_from_slice(protocol.metadata),
    };
    Join {
        group: request.group_id.into(),
        member_id: request.member_id.into(),
        instance_id: request.group_instance_id.map(Into::into),
        client_id: client.id(),
        client_host: client.host(),
        fresh_id: shard.random_bits(),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if version < REBALANCE_TIMEOUT_VERSION_MIN {
            request.session_timeout_ms
        } else {
            request.rebalance_timeout_ms
        },
        protocol_type: request.protocol_type.into(),
        protocols: request.protocols.iter().map(protocol).collect(),
        requires_member_id: version >= MEMBER_ID_VERSION_MIN,
        may_skip_assignment: version >= SKIP_ASSIGNMENT_VERSION_MIN,
    }
}

fn joined_response(joined: &Joined, version: i16) -> JoinGroupResponse<'_> {
    JoinGroupResponse {
        throttle_time_ms: 0,
        error_code: KafkaError::None.into(),
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.as_deref(),
        protocol_name: named(joined.protocol_name.as_deref(), version),
        leader: &joined.leader,
        skip_assignment: joined.skip_assignment,
        member_id: &joined.member_id,
        members: joined
            .members
            .iter()
            .map(|member| JoinGroupResponseMember {
                member_id: &member.member_id,
                group_instance_id: member.instance_id.as_deref(),
                metadata: &member.metadata,
            })
            .collect(),
    }
}

fn refusal(error: KafkaError, member_id: &str, version: i16) -> JoinGroupResponse<'_> {
    JoinGroupResponse {
        throttle_time_ms: 0,
        error_code: told(ApiKey::JoinGroup, error),
        generation_id: -1,
        protocol_type: None,
        protocol_name: named(None, version),
        leader: "",
        skip_assignment: false,
        member_id,
        members: Vec::new(),
    }
}

fn named(protocol: Option<&str>, version: i16) -> Option<&str> {
    if version < PROTOCOL_OPTIONAL_VERSION_MIN { Some(protocol.unwrap_or_default()) } else { protocol }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::in_every_version;

    #[test]
    fn the_answer_goes_into_every_version() {
        let joined = Joined {
            member_id: "m".into(),
            generation: 3,
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            leader: "m".into(),
            skip_assignment: false,
            members: vec![logic::group::JoinedMember {
                member_id: "m".into(),
                instance_id: Some("i".into()),
                metadata: Bytes::from_static(b"subscription"),
            }],
        };
        in_every_version!(
            JoinGroupResponse<'_>,
            |version| joined_response(&joined, version),
            |version, read| {
                assert_eq!((read.generation_id, read.protocol_name), (3, Some("range")));
                assert_eq!(read.members[0].metadata, b"subscription");
                assert_eq!(read.members[0].group_instance_id, (version >= 5).then_some("i"));
            }
        );
        in_every_version!(
            JoinGroupResponse<'_>,
            |version| refusal(KafkaError::MemberIdRequired, "new", version),
            |version, read| {
                assert_eq!(read.error_code, KafkaError::MemberIdRequired.into());
                assert_eq!(read.member_id, "new");
                assert_eq!(read.protocol_name.is_none(), version >= PROTOCOL_OPTIONAL_VERSION_MIN);
            }
        );
    }
}
