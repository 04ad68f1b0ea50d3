//! DeleteGroups (key 42): groups without members go, with their offsets.

use std::rc::Rc;

use logic::group::{Reply as GroupReply, Request};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::delete_groups::{DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse};

use super::coordinate::{ask_group, decided};
use super::errors::told;
use super::reply::Reply;
use crate::runtime::join_all;
use crate::shard::Shard;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &DeleteGroupsRequest<'_>, reply: Reply) {
    let errors = join_all(request.groups_names.iter().map(|group| delete(shard, group))).await;
    let results = request
        .groups_names
        .iter()
        .zip(errors)
        .map(|(group_id, error)| DeletableGroupResult {
            group_id,
            error_code: told(ApiKey::DeleteGroups, error),
        })
        .collect();
    reply.send(&DeleteGroupsResponse { throttle_time_ms: 0, results });
}

async fn delete(shard: &Rc<Shard>, group: &str) -> KafkaError {
    match ask_group(shard, group, Request::Delete { group: group.into() }).await {
        Ok(GroupReply::Delete(outcome)) => decided(&outcome),
        Ok(_) => unreachable!("a deletion is answered as such"),
        Err(error) => error,
    }
}
