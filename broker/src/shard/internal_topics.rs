//! Topics that the broker keeps its own state in.

use logic::metadata::{NewTopic, TopicShape};
use protocol::types::TopicId;

use super::ShardConfig;

/// Where consumer groups and their offsets are kept.
pub const GROUPS_TOPIC: &str = "__consumer_offsets";

/// Whether a topic is the broker's own: clients may read it and not write to it.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    name == GROUPS_TOPIC
}

/// The groups' topic as it is made when the first client looks for a coordinator.
#[must_use]
pub fn groups_topic(config: &ShardConfig, id: TopicId) -> NewTopic {
    let setting = |key: &str, value: String| (key.to_owned(), Some(value));
    NewTopic {
        name: GROUPS_TOPIC.to_owned(),
        id,
        shape: TopicShape::Counts {
            partition_count: config.groups_partition_count,
            replication_factor: config.groups_replication_factor,
        },
        settings: vec![
            // Nothing of it may go by age or size: what a group has committed last is wanted for ever.
            setting("retention.ms", "-1".to_owned()),
            setting("retention.bytes", "-1".to_owned()),
            setting("segment.bytes", config.groups_segment_bytes.to_string()),
        ],
    }
}
