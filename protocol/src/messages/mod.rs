//! Kafka's messages, one file per API, request and response in every version of the API table.
//!
//! A message borrows strings, bytes and record payloads from the frame it was read from. Field names, versions, tags and
//! defaults are Kafka's (`clients/src/main/resources/common/message` there); where a version lacks a field, reading
//! gives the default.

use crate::api::ApiKey;
use crate::wire::{DecodeError, Field, Reader, Writer};

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod alter_configs;
pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_topic_partitions;
pub mod describe_transactions;
pub mod end_txn;
pub mod fetch;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_transactions;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
pub mod sync_group;
pub mod txn_offset_commit;
pub mod update_features;
pub mod write_txn_markers;

#[cfg(test)]
mod tests;

/// The body of a request or a response.
pub trait Message<'a>: Field<'a> {
    /// The API it belongs to.
    const API: ApiKey;

    /// Reads a body. `budget_bytes` bounds the memory that arrays may take. The version must be one of the API's:
    /// whoever read the header has checked that. Bytes behind the body are ignored, as Kafka's broker and clients do.
    fn decode(bytes: &'a [u8], version: i16, budget_bytes: usize) -> Result<Self, DecodeError> {
        Self::decode_counted(bytes, version, budget_bytes).map(|(message, _)| message)
    }

    /// As [`Message::decode`], and how much memory its arrays take.
    fn decode_counted(
        bytes: &'a [u8],
        version: i16,
        budget_bytes: usize,
    ) -> Result<(Self, usize), DecodeError> {
        assert!(Self::API.supports(version), "{} has no version {version}", Self::API);
        let mut reader = Reader::new(bytes, budget_bytes);
        let message = Self::read(&mut reader, Self::API.format(version))?;
        Ok((message, budget_bytes - reader.budget_bytes()))
    }

    /// Writes the body; a value that the version can't carry fails the frame when it is finished.
    fn encode(&self, writer: &mut Writer, version: i16) {
        assert!(Self::API.supports(version), "{} has no version {version}", Self::API);
        self.write(writer, Self::API.format(version));
    }
}

/// The body of a request.
pub trait Request<'a>: Message<'a> {}

/// The body of a response.
pub trait Response<'a>: Message<'a> {}
