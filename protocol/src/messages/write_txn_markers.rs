//! WriteTxnMarkers (key 27): write the ends of transactions into partitions, broker to broker.

use protocol_derive::Message;

use crate::error::ErrorCode;
use crate::types::{PartitionIndex, ProducerEpoch, ProducerId};

/// Writes markers.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = WriteTxnMarkers)]
pub struct WriteTxnMarkersRequest<'a> {
    /// The markers, by transaction.
    pub markers: Vec<WritableTxnMarker<'a>>,
}

/// A transaction's end and where to write it.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct WritableTxnMarker<'a> {
    /// The producer.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub producer_epoch: ProducerEpoch,
    /// Whether the transaction is committed; otherwise it is aborted.
    pub transaction_result: bool,
    /// What is asked or told, by topic.
    pub topics: Vec<WritableTxnMarkerTopic<'a>>,
    /// The coordinator's epoch.
    pub coordinator_epoch: i32,
    /// The transaction protocol in force.
    #[wire(versions = "2+", ignorable)]
    pub transaction_version: i8,
}

/// Partitions that get the marker.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct WritableTxnMarkerTopic<'a> {
    /// The topic.
    pub name: &'a str,
    /// The partitions.
    pub partition_indexes: Vec<PartitionIndex>,
}

/// The outcome for each partition.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = WriteTxnMarkers)]
pub struct WriteTxnMarkersResponse<'a> {
    /// The markers, by transaction.
    pub markers: Vec<WritableTxnMarkerResult<'a>>,
}

/// The outcome for a transaction.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct WritableTxnMarkerResult<'a> {
    /// The producer.
    pub producer_id: ProducerId,
    /// What is asked or told, by topic.
    pub topics: Vec<WritableTxnMarkerTopicResult<'a>>,
}

/// The outcome for a topic.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct WritableTxnMarkerTopicResult<'a> {
    /// The topic.
    pub name: &'a str,
    /// What is asked or told, by partition.
    pub partitions: Vec<WritableTxnMarkerPartitionResult>,
}

/// The outcome for a partition.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct WritableTxnMarkerPartitionResult {
    /// The partition.
    pub partition_index: PartitionIndex,
    /// The outcome.
    pub error_code: ErrorCode,
}
