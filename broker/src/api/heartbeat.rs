//! Heartbeat (key 12): a member of a classic group is alive.

use std::rc::Rc;

use logic::group::{Heartbeat, MemberName, Reply as GroupReply, Request};
use protocol::api::ApiKey;
use protocol::messages::heartbeat::{HeartbeatRequest, HeartbeatResponse};

use super::coordinate::{ask_group, decided};
use super::errors::told;
use super::reply::Reply;
use crate::shard::Shard;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &HeartbeatRequest<'_>, reply: Reply) {
    let heartbeat = Heartbeat {
        group: request.group_id.into(),
        member: MemberName {
            id: request.member_id.into(),
            instance_id: request.group_instance_id.map(Into::into),
        },
        generation: request.generation_id,
    };
    let error = match ask_group(shard, request.group_id, Request::Heartbeat(heartbeat)).await {
        Ok(GroupReply::Heartbeat(outcome)) => decided(&outcome),
        Ok(_) => unreachable!("a heartbeat is answered as such"),
        Err(error) => error,
    };
    reply.send(&HeartbeatResponse { throttle_time_ms: 0, error_code: told(ApiKey::Heartbeat, error) });
}
