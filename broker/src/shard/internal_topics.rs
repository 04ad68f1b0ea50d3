//! Topics that the broker keeps its own state in.

use logic::metadata::{NewTopic, TopicShape};
use protocol::types::TopicId;

use super::ShardConfig;

/// Where consumer groups and their offsets are kept.
pub const GROUPS_TOPIC: &str = "__consumer_offsets";

/// Where transactional ids are kept.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";

/// What an internal topic is like when it is made.
#[derive(Clone, Copy, Debug)]
pub struct InternalTopic {
    /// Its partitions.
    pub partition_count: i32,
    /// Replicas of each of them.
    pub replication_factor: i16,
    /// How large their segments get.
    pub segment_bytes: u32,
}

/// Whether a topic is the broker's own: clients may read it and not write to it.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    [GROUPS_TOPIC, TRANSACTIONS_TOPIC].contains(&name)
}

/// An internal topic as it is made when the first client looks for a coordinator; none where it is not one.
#[must_use]
pub fn internal_topic(config: &ShardConfig, name: &str, id: TopicId) -> Option<NewTopic> {
    let like = match name {
        GROUPS_TOPIC => config.groups_topic,
        TRANSACTIONS_TOPIC => config.transactions_topic,
        _ => return None,
    };
    let setting = |key: &str, value: String| (key.to_owned(), Some(value));
    Some(NewTopic {
        name: name.to_owned(),
        id,
        shape: TopicShape::Counts {
            partition_count: like.partition_count,
            replication_factor: like.replication_factor,
        },
        settings: vec![
            // Nothing of it may go by age or size: the last of each key is wanted for ever.
            setting("cleanup.policy", "compact".to_owned()),
            setting("segment.bytes", like.segment_bytes.to_string()),
        ],
    })
}
