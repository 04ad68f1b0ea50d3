//! DeleteTopics (key 20): delete topics.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::TopicId;

/// Deletes topics.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = DeleteTopics)]
pub struct DeleteTopicsRequest<'a> {
    /// The topics to delete, by name or id.
    #[wire(versions = "6+")]
    pub topics: Vec<DeleteTopicState<'a>>,
    /// The topics to delete.
    #[wire(versions = "0-5", ignorable)]
    pub topic_names: Vec<&'a str>,
    /// How long the broker may take, in milliseconds.
    pub timeout_ms: i32,
}

/// A topic to delete.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeleteTopicState<'a> {
    /// The topic.
    pub name: Option<&'a str>,
    /// The topic's id.
    pub topic_id: TopicId,
}

/// The outcome for each topic.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = DeleteTopics)]
pub struct DeleteTopicsResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome, item by item.
    pub responses: Vec<DeletableTopicResult<'a>>,
}

/// The outcome for a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeletableTopicResult<'a> {
    /// The topic.
    #[wire(nullable = "6+")]
    pub name: Option<&'a str>,
    /// The topic's id.
    #[wire(versions = "6+", ignorable)]
    pub topic_id: TopicId,
    /// The outcome.
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    #[wire(versions = "5+", ignorable)]
    pub error_message: Option<&'a str>,
}
