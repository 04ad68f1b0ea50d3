//! What went wrong, in Kafka's words: one exhaustive match for each kind of refusal.

use logic::admission::AdmissionError;
use logic::group::GroupError;
use logic::metadata::MetadataError;
use logic::producer::ProducerError;
use logic::replica::ReplicaError;
use protocol::api::ApiKey;
use protocol::batch::{BatchError, FramingError};
use protocol::error::{ErrorCode, KafkaError};
use storage::store::{ReadError, StoreError};

use crate::metrics;
use crate::quorum::QuorumError;
use crate::shard::messages::{GroupRefusal, PartitionError};
use crate::shard::prepare::BatchRefusal;
use crate::shard::produce::ProduceRefusal;

/// The code that an answer carries, counted where it is an error.
pub fn told(api: ApiKey, error: KafkaError) -> ErrorCode {
    if error != KafkaError::None {
        metrics::count_error(api, error.code().0);
    }
    error.into()
}

/// Why one resource of a request was refused: the code and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Kafka's error.
    pub error: KafkaError,
    /// The sentence.
    pub message: String,
}

impl Refused {
    /// A refusal in these words.
    pub fn new(error: KafkaError, message: impl Into<String>) -> Self {
        Self { error, message: message.into() }
    }
}

impl From<&MetadataError> for Refused {
    fn from(error: &MetadataError) -> Self {
        Self::new(metadata_error(error), error.to_string())
    }
}

/// The code for what became of one resource, counted where it was refused.
pub fn told_of<T>(api: ApiKey, outcome: &Result<T, Refused>) -> ErrorCode {
    told(api, outcome.as_ref().map_or_else(|refused| refused.error, |_| KafkaError::None))
}

/// A refused produce.
pub fn produce_refusal(refusal: &ProduceRefusal) -> KafkaError {
    match refusal {
        ProduceRefusal::Unknown => KafkaError::NotLeaderOrFollower,
        ProduceRefusal::Replica(error) => replica_error(*error),
        ProduceRefusal::Batch(refusal) => batch_refusal(refusal),
        ProduceRefusal::Producer(error) => producer_error(error),
        ProduceRefusal::Store(error) => store_error(error),
        ProduceRefusal::DiskFull => KafkaError::KafkaStorageError,
        ProduceRefusal::TimedOut => KafkaError::RequestTimedOut,
    }
}

/// A refused question about a partition.
pub fn partition_error(error: &PartitionError) -> KafkaError {
    match error {
        PartitionError::Unknown => KafkaError::NotLeaderOrFollower,
        PartitionError::Replica(error) => replica_error(*error),
        PartitionError::Read(error) => read_error(error),
        PartitionError::Batch(_) => KafkaError::CorruptMessage,
        PartitionError::Store(error) => store_error(error),
    }
}

fn replica_error(error: ReplicaError) -> KafkaError {
    match error {
        ReplicaError::NotLeader { .. } | ReplicaError::NotFollower | ReplicaError::EpochNotDurable { .. } => {
            KafkaError::NotLeaderOrFollower
        }
        ReplicaError::FencedEpoch { .. } => KafkaError::FencedLeaderEpoch,
        ReplicaError::UnknownEpoch { .. } => KafkaError::UnknownLeaderEpoch,
        ReplicaError::OffsetOutOfRange { .. } => KafkaError::OffsetOutOfRange,
        ReplicaError::OffsetNotAvailable { .. } => KafkaError::OffsetNotAvailable,
        ReplicaError::NotEnoughReplicas { .. } => KafkaError::NotEnoughReplicas,
        ReplicaError::UnknownReplica { .. }
        | ReplicaError::NotContiguous { .. }
        | ReplicaError::NotSettled => KafkaError::ReplicaNotAvailable,
    }
}

fn batch_refusal(refusal: &BatchRefusal) -> KafkaError {
    match refusal {
        BatchRefusal::Decompress(_) => KafkaError::CorruptMessage,
        BatchRefusal::Admission(error) => match error {
            // An older format is no damage: sending it again is no use.
            AdmissionError::Framing(FramingError::Magic(0 | 1)) => KafkaError::InvalidRecord,
            AdmissionError::Framing(_) => KafkaError::CorruptMessage,
            AdmissionError::Batch(error) => match error {
                BatchError::TooLarge { .. } => KafkaError::MessageTooLarge,
                BatchError::Crc { .. } => KafkaError::CorruptMessage,
                BatchError::Magic(_)
                | BatchError::Compression(_)
                | BatchError::Count { .. }
                | BatchError::Control
                | BatchError::Producer
                | BatchError::Record(_)
                | BatchError::Trailing(_) => KafkaError::InvalidRecord,
            },
            AdmissionError::LargerThanSegment { .. } => KafkaError::RecordListTooLarge,
            AdmissionError::CompressionTooNew { .. } => KafkaError::UnsupportedCompressionType,
            AdmissionError::TimestampOutOfRange { .. } | AdmissionError::AppendTimeFromProducer => {
                KafkaError::InvalidTimestamp
            }
            AdmissionError::Empty
            | AdmissionError::SeveralBatches { .. }
            | AdmissionError::Record(_)
            | AdmissionError::WithoutKey { .. }
            | AdmissionError::BaseOffset { .. } => KafkaError::InvalidRecord,
        },
    }
}

fn producer_error(error: &ProducerError) -> KafkaError {
    match error {
        ProducerError::OutOfOrderSequence { .. } => KafkaError::OutOfOrderSequenceNumber,
        ProducerError::StaleEpoch { .. } => KafkaError::InvalidProducerEpoch,
        ProducerError::NotInTransaction { .. } | ProducerError::OutsideTransaction { .. } => {
            KafkaError::InvalidTxnState
        }
        // Retried by every client: there will be room once open transactions have ended.
        ProducerError::TooManyTransactions => KafkaError::ConcurrentTransactions,
    }
}

fn store_error(error: &StoreError) -> KafkaError {
    match error {
        StoreError::Gone => KafkaError::NotLeaderOrFollower,
        StoreError::TooLarge { .. } => KafkaError::MessageTooLarge,
        StoreError::Overloaded
        | StoreError::DiskFull
        | StoreError::OutOfFiles
        | StoreError::Closed
        | StoreError::Failed(_)
        | StoreError::Io { .. } => KafkaError::KafkaStorageError,
    }
}

fn read_error(error: &ReadError) -> KafkaError {
    match error {
        ReadError::Gone => KafkaError::NotLeaderOrFollower,
        ReadError::OutOfRange { .. } => KafkaError::OffsetOutOfRange,
        ReadError::Damaged { .. } => KafkaError::CorruptMessage,
        ReadError::Io(_) => KafkaError::KafkaStorageError,
    }
}

/// A group's refusal. Of a commit, see its file.
pub fn group_error(error: &GroupError) -> KafkaError {
    match error {
        GroupError::InvalidGroupId => KafkaError::InvalidGroupId,
        GroupError::InvalidRequest(_) => KafkaError::InvalidRequest,
        GroupError::InvalidSessionTimeout => KafkaError::InvalidSessionTimeout,
        GroupError::UnknownMember => KafkaError::UnknownMemberId,
        GroupError::MemberIdRequired => KafkaError::MemberIdRequired,
        GroupError::FencedInstance => KafkaError::FencedInstanceId,
        GroupError::IllegalGeneration => KafkaError::IllegalGeneration,
        GroupError::RebalanceInProgress => KafkaError::RebalanceInProgress,
        GroupError::InconsistentProtocol => KafkaError::InconsistentGroupProtocol,
        GroupError::GroupFull => KafkaError::GroupMaxSizeReached,
        GroupError::GroupNotFound => KafkaError::GroupIdNotFound,
        GroupError::FencedMemberEpoch => KafkaError::FencedMemberEpoch,
        GroupError::StaleMemberEpoch => KafkaError::StaleMemberEpoch,
        GroupError::UnreleasedInstance => KafkaError::UnreleasedInstanceId,
        GroupError::UnsupportedAssignor => KafkaError::UnsupportedAssignor,
        GroupError::InvalidRegularExpression => KafkaError::InvalidRegularExpression,
        GroupError::NonEmptyGroup => KafkaError::NonEmptyGroup,
        GroupError::SubscribedToTopic => KafkaError::GroupSubscribedToTopic,
        GroupError::OffsetMetadataTooLarge => KafkaError::OffsetMetadataTooLarge,
        GroupError::UnstableOffset => KafkaError::UnstableOffsetCommit,
        GroupError::RecordTooLarge => KafkaError::UnknownServerError,
        GroupError::OutOfMemory => KafkaError::CoordinatorNotAvailable,
        GroupError::NotCoordinator => KafkaError::NotCoordinator,
    }
}

/// A coordinator that can't be asked.
pub fn group_refusal(refusal: GroupRefusal) -> KafkaError {
    match refusal {
        GroupRefusal::Loading => KafkaError::CoordinatorLoadInProgress,
        GroupRefusal::NotHere => KafkaError::NotCoordinator,
        GroupRefusal::Unavailable => KafkaError::CoordinatorNotAvailable,
        GroupRefusal::Producer(error) => producer_error(&error),
    }
}

/// A refused change of the metadata.
pub fn metadata_error(error: &MetadataError) -> KafkaError {
    match error {
        MetadataError::InvalidTopicName(_) => KafkaError::InvalidTopicException,
        MetadataError::TopicExists(_) => KafkaError::TopicAlreadyExists,
        MetadataError::UnknownTopic(_) => KafkaError::UnknownTopicOrPartition,
        MetadataError::UnknownTopicId(_) => KafkaError::UnknownTopicId,
        MetadataError::InvalidPartitions(_) => KafkaError::InvalidPartitions,
        MetadataError::InvalidReplicationFactor(_) => KafkaError::InvalidReplicationFactor,
        MetadataError::InvalidReplicaAssignment(_) => KafkaError::InvalidReplicaAssignment,
        MetadataError::InvalidConfig(_) => KafkaError::InvalidConfig,
        MetadataError::InvalidFeatureUpdate(_) => KafkaError::InvalidUpdateVersion,
        MetadataError::InvalidRequest(_) => KafkaError::InvalidRequest,
        MetadataError::LimitExceeded(_) => KafkaError::PolicyViolation,
        MetadataError::BrokerNotRegistered(_) => KafkaError::BrokerIdNotRegistered,
        MetadataError::StaleBrokerEpoch { .. } => KafkaError::StaleBrokerEpoch,
        MetadataError::InconsistentClusterId { .. } => KafkaError::InconsistentClusterId,
    }
}

/// A change that the metadata quorum did not take.
pub fn quorum_error(error: &QuorumError) -> KafkaError {
    match error {
        // Clients look for the controller again.
        QuorumError::Stopped | QuorumError::NotLeader => KafkaError::NotController,
        QuorumError::DiskFull => KafkaError::KafkaStorageError,
    }
}
