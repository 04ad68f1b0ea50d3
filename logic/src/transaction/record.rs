//! A transactional id as a record of `__transaction_state`, and back.

use super::error::TransactionError;
use super::partitions::PartitionSet;
use super::state::TransactionState;
use super::transition::{Producer, Transaction};
use crate::limits::{TRANSACTION_VALUE_BYTES_MAX, TRANSACTION_VALUE_DECODED_BYTES_MAX};
use bytes::Bytes;
use protocol::transaction_log::{self, PartitionsSchema, RecordError, TransactionLogValue};
use protocol::types::{PartitionIndex, ProducerEpoch, TransactionVersion};
use std::collections::BTreeSet;
use thiserror::Error;

/// Why a record of `__transaction_state` can't be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// The bytes are no such record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The record says what no coordinator writes.
    #[error("a transaction's record that contradicts itself: {what}")]
    Inconsistent {
        /// What is wrong.
        what: &'static str,
    },
}

impl Transaction {
    /// The record's value; a cluster below `transaction.version` 1 reads the first form only.
    pub(super) fn encode(&self, version: TransactionVersion) -> Result<Bytes, TransactionError> {
        let schema_of = |(topic, partitions): (_, &BTreeSet<PartitionIndex>)| PartitionsSchema {
            topic,
            partition_ids: partitions.iter().copied().collect(),
        };
        let schemas = self.partitions.topics().map(schema_of).collect();
        let value = TransactionLogValue {
            producer_id: self.producer.id,
            previous_producer_id: self.previous_id,
            next_producer_id: self.next_id,
            producer_epoch: self.producer.epoch,
            transaction_timeout_ms: self.timeout_ms,
            transaction_status: self.state.number(),
            transaction_partitions: (self.state != TransactionState::Empty).then_some(schemas),
            transaction_last_update_timestamp_ms: self.updated_at,
            transaction_start_timestamp_ms: self.started_at,
            client_transaction_version: self.version.level(),
        };
        let encoded = transaction_log::encode_value(&value, i16::from(version >= TransactionVersion::V1));
        if encoded.len() > TRANSACTION_VALUE_BYTES_MAX {
            return Err(TransactionError::TooManyPartitions);
        }
        Ok(encoded)
    }

    /// What a record's value says.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, LoadError> {
        let value = transaction_log::decode_value(bytes, TRANSACTION_VALUE_DECODED_BYTES_MAX)?;
        let inconsistent = |what| LoadError::Inconsistent { what };
        let state = TransactionState::from_number(value.transaction_status);
        let state = state.ok_or(inconsistent("an unknown state"))?;
        let version = TransactionVersion::from_level(value.client_transaction_version);
        let producer = Producer { id: value.producer_id, epoch: value.producer_epoch };
        if producer.id.get() < 0 || producer.epoch.get() < 0 {
            return Err(inconsistent("no producer"));
        }
        let topics = value.transaction_partitions.unwrap_or_default();
        let partitions: PartitionSet = topics
            .iter()
            .flat_map(|topic| topic.partition_ids.iter().map(move |partition| (topic.topic, *partition)))
            .collect();
        let may_have_partitions = state == TransactionState::Ongoing || state.is_prepared();
        if !may_have_partitions && !partitions.is_empty() {
            return Err(inconsistent("partitions without a transaction"));
        }
        Ok(Self {
            producer,
            previous_id: value.previous_producer_id,
            next_id: value.next_producer_id,
            last_epoch: ProducerEpoch::NONE,
            timeout_ms: value.transaction_timeout_ms,
            state,
            partitions,
            started_at: value.transaction_start_timestamp_ms,
            updated_at: value.transaction_last_update_timestamp_ms,
            version: version.ok_or(inconsistent("an unknown transaction version"))?,
        })
    }
}
