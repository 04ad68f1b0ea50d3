//! What holds for every message: one list of them all, and the tests that walk it.

mod hostile;
mod oracle;

use bytes::Bytes;

use super::Message;
use crate::wire::Writer;

/// How long a tape is drawn: enough for three levels of full arrays.
const TAPE_BYTES_MAX: usize = 1024;

fn encode<'a, M: Message<'a>>(message: &M, version: i16) -> Vec<u8> {
    let mut writer = Writer::new();
    let mut chunks = Vec::<Bytes>::new();
    message.encode(&mut writer, version);
    let bytes = writer.finish(&mut chunks).expect("a message drawn for this version can be written in it");
    let body = chunks.concat();
    assert_eq!(body.len(), bytes);
    body
}

/// Hands every message, with its module, to another macro: one row per API.
macro_rules! each_message {
    ($callback:ident) => {
        $callback! {
            add_offsets_to_txn: AddOffsetsToTxnRequest<'_>, AddOffsetsToTxnResponse;
            add_partitions_to_txn: AddPartitionsToTxnRequest<'_>, AddPartitionsToTxnResponse<'_>;
            alter_configs: AlterConfigsRequest<'_>, AlterConfigsResponse<'_>;
            api_versions: ApiVersionsRequest<'_>, ApiVersionsResponse<'_>;
            consumer_group_describe: ConsumerGroupDescribeRequest<'_>, ConsumerGroupDescribeResponse<'_>;
            consumer_group_heartbeat: ConsumerGroupHeartbeatRequest<'_>, ConsumerGroupHeartbeatResponse<'_>;
            create_partitions: CreatePartitionsRequest<'_>, CreatePartitionsResponse<'_>;
            create_topics: CreateTopicsRequest<'_>, CreateTopicsResponse<'_>;
            delete_groups: DeleteGroupsRequest<'_>, DeleteGroupsResponse<'_>;
            delete_records: DeleteRecordsRequest<'_>, DeleteRecordsResponse<'_>;
            delete_topics: DeleteTopicsRequest<'_>, DeleteTopicsResponse<'_>;
            describe_cluster: DescribeClusterRequest, DescribeClusterResponse<'_>;
            describe_configs: DescribeConfigsRequest<'_>, DescribeConfigsResponse<'_>;
            describe_groups: DescribeGroupsRequest<'_>, DescribeGroupsResponse<'_>;
            describe_log_dirs: DescribeLogDirsRequest<'_>, DescribeLogDirsResponse<'_>;
            describe_producers: DescribeProducersRequest<'_>, DescribeProducersResponse<'_>;
            describe_topic_partitions: DescribeTopicPartitionsRequest<'_>, DescribeTopicPartitionsResponse<'_>;
            describe_transactions: DescribeTransactionsRequest<'_>, DescribeTransactionsResponse<'_>;
            end_txn: EndTxnRequest<'_>, EndTxnResponse;
            fetch: FetchRequest<'_>, FetchResponse<'_>;
            find_coordinator: FindCoordinatorRequest<'_>, FindCoordinatorResponse<'_>;
            heartbeat: HeartbeatRequest<'_>, HeartbeatResponse;
            incremental_alter_configs: IncrementalAlterConfigsRequest<'_>, IncrementalAlterConfigsResponse<'_>;
            init_producer_id: InitProducerIdRequest<'_>, InitProducerIdResponse;
            join_group: JoinGroupRequest<'_>, JoinGroupResponse<'_>;
            leave_group: LeaveGroupRequest<'_>, LeaveGroupResponse<'_>;
            list_config_resources: ListConfigResourcesRequest, ListConfigResourcesResponse<'_>;
            list_groups: ListGroupsRequest<'_>, ListGroupsResponse<'_>;
            list_offsets: ListOffsetsRequest<'_>, ListOffsetsResponse<'_>;
            list_transactions: ListTransactionsRequest<'_>, ListTransactionsResponse<'_>;
            metadata: MetadataRequest<'_>, MetadataResponse<'_>;
            offset_commit: OffsetCommitRequest<'_>, OffsetCommitResponse<'_>;
            offset_delete: OffsetDeleteRequest<'_>, OffsetDeleteResponse<'_>;
            offset_fetch: OffsetFetchRequest<'_>, OffsetFetchResponse<'_>;
            offset_for_leader_epoch: OffsetForLeaderEpochRequest<'_>, OffsetForLeaderEpochResponse<'_>;
            produce: ProduceRequest<'_>, ProduceResponse<'_>;
            sync_group: SyncGroupRequest<'_>, SyncGroupResponse<'_>;
            txn_offset_commit: TxnOffsetCommitRequest<'_>, TxnOffsetCommitResponse<'_>;
            update_features: UpdateFeaturesRequest<'_>, UpdateFeaturesResponse<'_>;
            write_txn_markers: WriteTxnMarkersRequest<'_>, WriteTxnMarkersResponse<'_>;
        }
    };
}
use each_message;
