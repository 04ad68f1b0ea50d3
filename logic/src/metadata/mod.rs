//! The cluster's metadata as a state machine: commands in, an immutable [`Image`] out.
//!
//! [`Image::apply`] is a function of the image and the command alone, so every member of the quorum that applies
//! the same log holds the same image. What is random or from a clock (topic ids, incarnations) comes inside the
//! command. A command is checked when it is applied, against everything that was applied before it; a command
//! that is refused changes nothing. Commands and images are FlatBuffers outside ([`codec`]).
//!
//! Images share structure: cloning one is a few reference counts, and a changed topic costs the path to it.
//! This module must not know how commands are agreed on, kept or sent, nor Kafka's error codes.

mod apply;
pub mod codec;
mod command;
mod delta;
mod feature;
mod image;
mod name;
mod placement;

#[cfg(test)]
mod tests;

pub use command::{
    Alteration, Assignment, Command, ConfigChange, Direction, FeatureUpdate, MetadataError, MorePartitions,
    NewTopic, ProducerIdBlock, RegisterBroker, Resource, Response, TopicReference, TopicShape,
};
pub use delta::{Delta, TopicChange};
pub use feature::{Feature, Levels};
pub use image::{Broker, BrokerEpoch, Image, Incarnation, Listener, Partition, Topic};
pub use name::validate_topic_name;
pub use placement::shard_of;
