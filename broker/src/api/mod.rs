//! Kafka's APIs, one file each. The only room of the broker that knows Kafka's error codes.
//!
//! Produce and Fetch overlap freely on a connection: their replies wait, their order is kept by the ticket. Everything
//! else runs alone, after all earlier requests of the connection are answered, so that a client sees its own effects.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use protocol::api::ApiKey;
use protocol::frame::{HeaderError, RequestHeader};
use protocol::messages::Message;
use protocol::messages::produce::ProduceRequest;
use protocol::wire::{DecodeError, Reader};

use crate::limits::{
    DECODE_BYTES_MAX, DECODE_BYTES_MIN, DECODE_EXPANSION_MAX, DECODE_WAITING_BYTES_MAX,
    PRODUCE_DECODED_UNASKED_BYTES_MAX,
};
use crate::metrics::{Activity, note};
use crate::net::connection::{Connection, ServeOutcome, Service};
use crate::net::replies::{Replies, Ticket};
use crate::net::reply_budget::{ReplyBudget, Room};
use crate::runtime::either;
use crate::shard::Shard;
use crate::shard::inflow::Sent;
use coordinate::Client;
use reply::Reply;

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod alter_configs;
mod api_versions;
mod config_changes;
mod config_codes;
mod consumer_group_describe;
mod consumer_group_heartbeat;
mod coordinate;
mod create_partitions;
mod create_topics;
mod delete_groups;
mod delete_records;
mod delete_topics;
mod describe_cluster;
mod describe_configs;
mod describe_groups;
mod describe_log_dirs;
mod describe_producers;
mod describe_topic_partitions;
mod describe_transactions;
mod end_txn;
mod endpoints;
mod errors;
mod fetch;
mod find_coordinator;
mod heartbeat;
mod incremental_alter_configs;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_config_resources;
mod list_groups;
mod list_offsets;
mod list_transactions;
mod metadata;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod offset_for_leader_epoch;
mod once;
mod operations;
mod produce;
mod reply;
mod scatter;
mod submit;
mod sync_group;
#[cfg(test)]
mod testing;
mod transact;
mod txn_offset_commit;
mod update_features;
mod verify;
mod write_txn_markers;

/// The APIs on offer, in order of their keys. What stands here works completely.
pub const OFFERED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::EndTxn,
    ApiKey::WriteTxnMarkers,
    ApiKey::TxnOffsetCommit,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::DescribeLogDirs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::OffsetDelete,
    ApiKey::UpdateFeatures,
    ApiKey::DescribeCluster,
    ApiKey::DescribeProducers,
    ApiKey::DescribeTransactions,
    ApiKey::ListTransactions,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
];

/// The undecoded body of a request. What decoding it has taken is charged for, beside the replies, as long as this is there.
struct Body<'a> {
    bytes: &'a [u8],
    version: i16,
    replies: &'a Rc<ReplyBudget>,
    held: Cell<Option<Room>>,
}

impl<'a> Body<'a> {
    fn read<M: Message<'a>>(&self) -> Result<M, DecodeError> {
        let (message, taken_bytes) = M::decode_counted(self.bytes, self.version, self.decoded_bytes_max())?;
        // All that is small is as good as nothing.
        if taken_bytes > DECODE_BYTES_MIN {
            self.held.set(Some(self.replies.charge(taken_bytes)));
        }
        Ok(message)
    }

    /// For what may wait for as long as a client likes, and others must not wait for: it is smaller.
    fn read_waiting<M: Message<'a>>(&self) -> Result<M, DecodeError> {
        self.read_within(DECODE_WAITING_BYTES_MAX)
    }

    fn read_within<M: Message<'a>>(&self, bytes_max: usize) -> Result<M, DecodeError> {
        M::decode(self.bytes, self.version, self.decoded_bytes_max().min(bytes_max))
    }

    fn decoded_bytes_max(&self) -> usize {
        // What arrays may take in memory grows with what came over the wire: a small request stays small.
        let expanded_bytes = self.bytes.len().saturating_mul(DECODE_EXPANSION_MAX);
        (DECODE_BYTES_MIN + expanded_bytes).min(DECODE_BYTES_MAX)
    }
}

/// Serves the requests of a shard's connections.
pub struct Api {
    shard: Rc<Shard>,
}

impl Api {
    /// The APIs, as served by `shard`.
    #[must_use]
    pub fn new(shard: Rc<Shard>) -> Self {
        Self { shard }
    }

    async fn dispatch(
        &self,
        connection: &Rc<Connection>,
        header: RequestHeader<'_>,
        frame: &Bytes,
        body: &[u8],
        mut ticket: Ticket,
    ) -> Result<Sent, DecodeError> {
        let (shard, version) = (&self.shard, header.version);
        ticket.begin(header.api);
        if !matches!(header.api, ApiKey::Produce | ApiKey::Fetch) {
            // This request's own ticket is the one that is left.
            poll_fn(|context| ticket.replies().poll_below(2, context)).await;
            if !self.room_for_reply(ticket.replies()).await {
                return Ok(Sent::default());
            }
        }
        let reply = Reply::new(Rc::clone(shard), ticket, header.correlation_id, version);
        let body = Body { bytes: body, version, replies: &shard.budget.replies, held: Cell::new(None) };
        match header.api {
            ApiKey::Produce => {
                let read: Result<ProduceRequest<'_>, _> =
                    match body.read_within(PRODUCE_DECODED_UNASKED_BYTES_MAX) {
                        Err(DecodeError::OverBudget { .. }) => {
                            if !self.room_for_reply(reply.ticket().replies()).await {
                                return Ok(Sent::default());
                            }
                            body.read()
                        }
                        read => read,
                    };
                let mut request = read?;
                produce::refuse_repeated(&mut request);
                let verified = produce::verify(shard, &request, version).await;
                let sent = produce::handle(shard, frame, &request, &verified, body.held.take(), reply);
                connection.affinity.note(sent.only_owner());
                return Ok(sent);
            }
            ApiKey::Fetch => {
                connection.affinity.note(fetch::handle(shard, connection, &body.read()?, reply));
            }
            ApiKey::ListOffsets => list_offsets::handle(shard, &body.read()?, reply).await,
            ApiKey::Metadata => metadata::handle(shard, &body.read()?, reply).await,
            ApiKey::ApiVersions => api_versions::handle(shard, &body.read()?, reply),
            ApiKey::CreateTopics => create_topics::handle(shard, &body.read()?, reply).await,
            ApiKey::DeleteTopics => delete_topics::handle(shard, &body.read()?, reply).await,
            ApiKey::CreatePartitions => create_partitions::handle(shard, &body.read()?, reply).await,
            ApiKey::FindCoordinator => find_coordinator::handle(shard, &body.read()?, reply).await,
            ApiKey::JoinGroup => {
                let client = Client { id: header.client_id, peer: connection.peer };
                join_group::handle(shard, client, &body.read_waiting()?, reply).await;
            }
            ApiKey::ConsumerGroupHeartbeat => {
                let client = Client { id: header.client_id, peer: connection.peer };
                consumer_group_heartbeat::handle(shard, client, &body.read()?, reply).await;
            }
            ApiKey::ConsumerGroupDescribe => {
                consumer_group_describe::handle(shard, &body.read()?, reply).await;
            }
            ApiKey::SyncGroup => sync_group::handle(shard, &body.read_waiting()?, reply).await,
            ApiKey::Heartbeat => heartbeat::handle(shard, &body.read()?, reply).await,
            ApiKey::LeaveGroup => leave_group::handle(shard, &body.read()?, reply).await,
            ApiKey::OffsetCommit => offset_commit::handle(shard, &body.read()?, reply).await,
            ApiKey::OffsetFetch => offset_fetch::handle(shard, &body.read()?, reply).await,
            ApiKey::OffsetDelete => offset_delete::handle(shard, &body.read()?, reply).await,
            ApiKey::ListGroups => list_groups::handle(shard, &body.read()?, reply).await,
            ApiKey::DescribeGroups => describe_groups::handle(shard, &body.read()?, reply).await,
            ApiKey::DeleteGroups => delete_groups::handle(shard, &body.read()?, reply).await,
            ApiKey::InitProducerId => init_producer_id::handle(shard, &body.read()?, reply).await,
            ApiKey::AddPartitionsToTxn => add_partitions_to_txn::handle(shard, &body.read()?, reply).await,
            ApiKey::AddOffsetsToTxn => add_offsets_to_txn::handle(shard, &body.read()?, reply).await,
            ApiKey::EndTxn => end_txn::handle(shard, &body.read()?, reply).await,
            ApiKey::WriteTxnMarkers => write_txn_markers::handle(shard, &body.read()?, reply).await,
            ApiKey::TxnOffsetCommit => txn_offset_commit::handle(shard, &body.read()?, reply).await,
            ApiKey::DescribeProducers => describe_producers::handle(shard, &body.read()?, reply).await,
            ApiKey::DescribeTransactions => describe_transactions::handle(shard, &body.read()?, reply).await,
            ApiKey::ListTransactions => list_transactions::handle(shard, &body.read()?, reply).await,
            ApiKey::DescribeConfigs => describe_configs::handle(shard, &body.read()?, reply),
            ApiKey::AlterConfigs => alter_configs::handle(shard, &body.read()?, reply).await,
            ApiKey::IncrementalAlterConfigs => {
                incremental_alter_configs::handle(shard, &body.read()?, reply).await;
            }
            ApiKey::ListConfigResources => list_config_resources::handle(shard, &body.read()?, reply),
            ApiKey::UpdateFeatures => update_features::handle(shard, &body.read()?, reply).await,
            ApiKey::DescribeCluster => describe_cluster::handle(shard, &body.read()?, reply),
            ApiKey::DescribeTopicPartitions => {
                describe_topic_partitions::handle(shard, &body.read()?, reply);
            }
            ApiKey::DescribeLogDirs => describe_log_dirs::handle(shard, &body.read()?, reply).await,
            ApiKey::OffsetForLeaderEpoch => {
                offset_for_leader_epoch::handle(shard, &body.read()?, reply).await;
            }
            ApiKey::DeleteRecords => delete_records::handle(shard, &body.read()?, reply).await,
        }
        Ok(Sent::default())
    }
}

impl Api {
    /// Waits until there is room for a reply that is charged for as it is; `false` where the connection ends before.
    async fn room_for_reply(&self, replies: &Replies) -> bool {
        either(self.shard.budget.replies.some_room(), replies.closing.next().wait()).await
            && !replies.is_closed()
    }
}

impl Service for Api {
    async fn serve(&self, connection: &Rc<Connection>, frame: Bytes, ticket: Ticket) -> ServeOutcome {
        let mut reader = Reader::new(&frame, DECODE_BYTES_MIN);
        let header = match RequestHeader::read(&mut reader) {
            Ok(header) if OFFERED.contains(&header.api) => header,
            Ok(header) => {
                tracing::debug!(peer = %connection.peer, api = %header.api, "not on offer");
                return ServeOutcome::Close;
            }
            Err(HeaderError::UnsupportedVersion { api: ApiKey::ApiVersions, correlation_id, .. }) => {
                let reply = Reply::new(Rc::clone(&self.shard), ticket, correlation_id, 0);
                api_versions::handle_unknown_version(reply);
                return ServeOutcome::Continue;
            }
            Err(error) => {
                tracing::debug!(peer = %connection.peer, %error, "not a request");
                return ServeOutcome::Close;
            }
        };
        let body = reader.rest();
        note(Activity::Api(header.api));
        let replies = Rc::clone(ticket.replies());
        match self.dispatch(connection, header, &frame, body, ticket).await {
            Ok(sent) => {
                // Nobody pays for the request's memory any more once it is answered.
                drop(frame);
                self.shard.hold_back(&sent, &replies).await;
                ServeOutcome::Continue
            }
            Err(error) => {
                tracing::debug!(peer = %connection.peer, api = %header.api, version = header.version, %error, "malformed");
                ServeOutcome::Close
            }
        }
    }

    fn destination(&self, connection: &Connection) -> Option<usize> {
        connection.affinity.settled().filter(|shard| *shard != self.shard.config.index)
    }
}
