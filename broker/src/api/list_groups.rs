//! ListGroups (key 16): the groups that this broker coordinates.

use std::rc::Rc;

use logic::group::{GroupFilter, ListedGroup as Listed, Reply as GroupReply, Request};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};

use super::coordinate::ask_all_groups;
use super::errors::told;
use super::reply::Reply;
use crate::shard::Shard;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &ListGroupsRequest<'_>, reply: Reply) {
    let names = |names: &[&str]| names.iter().map(|name| (*name).into()).collect();
    let filter = GroupFilter { states: names(&request.states_filter), types: names(&request.types_filter) };
    let mut groups: Vec<Listed> = Vec::new();
    let mut error = KafkaError::None;
    for answer in ask_all_groups(shard, || Request::List(filter.clone())).await {
        match answer {
            Ok(GroupReply::List(listed)) => groups.extend(listed),
            Ok(_) => unreachable!("a list is answered as such"),
            Err(refused) => error = refused,
        }
    }
    reply.send(&response(error, &groups));
}

fn response(error: KafkaError, groups: &[Listed]) -> ListGroupsResponse<'_> {
    ListGroupsResponse {
        throttle_time_ms: 0,
        error_code: told(ApiKey::ListGroups, error),
        groups: groups
            .iter()
            .map(|group| ListedGroup {
                group_id: &group.group,
                protocol_type: &group.protocol_type,
                group_state: group.state,
                group_type: group.kind,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::in_every_version;

    #[test]
    fn the_answer_goes_into_every_version() {
        let listed = [Listed {
            group: "g".into(),
            protocol_type: "consumer".into(),
            state: "Stable",
            kind: "classic",
        }];
        in_every_version!(
            ListGroupsResponse<'_>,
            |_version| response(KafkaError::None, &listed),
            |version, read| {
                assert_eq!((read.groups[0].group_id, read.groups[0].protocol_type), ("g", "consumer"));
                assert_eq!(read.groups[0].group_state, if version >= 4 { "Stable" } else { "" });
                assert_eq!(read.groups[0].group_type, if version >= 5 { "classic" } else { "" });
            }
        );
    }
}
