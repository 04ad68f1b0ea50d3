//! SyncGroup (key 14): a member of a classic group asks for its assignment; the leader brings those of all.

use std::rc::Rc;

use bytes::Bytes;
use logic::group::{MemberName, Reply as GroupReply, Request, Sync, Synced};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::sync_group::{SyncGroupRequest, SyncGroupResponse};

use super::coordinate::ask_group;
use super::errors::{group_error, told};
use super::reply::Reply;
use crate::shard::Shard;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &SyncGroupRequest<'_>, reply: Reply) {
    let sync = Sync {
        group: request.group_id.into(),
        member: MemberName {
            id: request.member_id.into(),
            instance_id: request.group_instance_id.map(Into::into),
        },
        generation: request.generation_id,
        protocol_type: request.protocol_type.map(Into::into),
        protocol_name: request.protocol_name.map(Into::into),
        assignments: request
            .assignments
            .iter()
            .map(|line| (line.member_id.into(), Bytes::copy_from_slice(line.assignment)))
            .collect(),
    };
    let error = match ask_group(shard, request.group_id, Request::Sync(sync)).await {
        Ok(GroupReply::Sync(Ok(synced))) => return reply.send(&response(KafkaError::None, Some(&synced))),
        Ok(GroupReply::Sync(Err(error))) => group_error(&error),
        Ok(_) => unreachable!("a sync is answered as such"),
        Err(error) => error,
    };
    reply.send(&response(error, None));
}

fn response(error: KafkaError, synced: Option<&Synced>) -> SyncGroupResponse<'_> {
    SyncGroupResponse {
        throttle_time_ms: 0,
        error_code: told(ApiKey::SyncGroup, error),
        protocol_type: synced.and_then(|synced| synced.protocol_type.as_deref()),
        protocol_name: synced.and_then(|synced| synced.protocol_name.as_deref()),
        assignment: synced.map_or(&[], |synced| &synced.assignment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::in_every_version;

    #[test]
    fn the_answer_goes_into_every_version() {
        let synced = Synced {
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignment: Bytes::from_static(b"partitions"),
        };
        in_every_version!(
            SyncGroupResponse<'_>,
            |_version| response(KafkaError::None, Some(&synced)),
            |version, read| {
                assert_eq!(read.assignment, b"partitions");
                assert_eq!(read.protocol_name, (version >= 5).then_some("range"));
            }
        );
        in_every_version!(
            SyncGroupResponse<'_>,
            |_version| response(KafkaError::IllegalGeneration, None),
            |_version, read| {
                assert_eq!(read.error_code, KafkaError::IllegalGeneration.into());
            }
        );
    }
}
