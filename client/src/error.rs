//! What can go wrong, typed: on a connection, in a call, with a batch, in what was fetched.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use protocol::api::ApiKey;
use protocol::batch::{BatchError, FramingError};
use protocol::compression::DecompressError;
use protocol::error::KafkaError;
use protocol::records::RecordProblem;
use protocol::types::{BrokerId, Offset, PartitionIndex};
use protocol::wire::{DecodeError, EncodeError};

use crate::admin::Partition;

/// Why a connection can't be made, or has ended. All requests that wait on it are told the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The host's name leads nowhere.
    #[error("{host} can't be resolved: {reason}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver says.
        reason: Arc<io::Error>,
    },
    /// Nobody answers there.
    #[error("can't connect to {address}: {reason}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        reason: Arc<io::Error>,
    },
    /// The peer ended the connection.
    #[error("{address} closed the connection")]
    ClosedByPeer {
        /// Who.
        address: SocketAddr,
    },
    /// The connection was closed here.
    #[error("the connection was closed")]
    Closed,
    /// The transport failed.
    #[error("the connection to {address} failed: {reason}")]
    Transport {
        /// Where to.
        address: SocketAddr,
        /// What the system says.
        reason: Arc<io::Error>,
    },
    /// An answer took too long; the connection is given up, since all later answers wait behind it.
    #[error("{address} did not answer {api} within {after:?}")]
    TimedOut {
        /// Who.
        address: SocketAddr,
        /// Which request.
        api: ApiKey,
        /// How long it had.
        after: Duration,
    },
    /// An answer's size is negative or past the limit.
    #[error("{address} announces an answer of {size} bytes where {size_max} are allowed")]
    AnswerSize {
        /// Who.
        address: SocketAddr,
        /// What it announced.
        size: i32,
        /// The limit (`answer_bytes_max`).
        size_max: usize,
    },
    /// An answer is not the one that is due.
    #[error("{address} answers request {found} where {expected:?} is due")]
    OutOfTurn {
        /// Who.
        address: SocketAddr,
        /// The correlation id that came.
        found: i32,
        /// The one that is due; none where nothing was asked.
        expected: Option<i32>,
    },
    /// An answer can't be read.
    #[error("{address} answers {api} with what can't be read: {reason}")]
    Malformed {
        /// Who.
        address: SocketAddr,
        /// Which request.
        api: ApiKey,
        /// What is wrong with the answer.
        reason: DecodeError,
    },
    /// The broker and this client know no version of the API in common.
    #[error("{address} offers no version of {api} that this client knows")]
    Unsupported {
        /// Who.
        address: SocketAddr,
        /// Which API.
        api: ApiKey,
    },
}

/// Why a request was not sent.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// As many requests, or bytes, are under way as may be; try again when one was answered.
    #[error("the connection has as much under way as it may")]
    Full,
    /// The request can't be written in the version that both sides know.
    #[error("the request can't be written: {0}")]
    Encode(#[from] EncodeError),
    /// The connection has ended, or doesn't know the API.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
}

/// Why a call of the client failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// No bootstrap server was named.
    #[error("no bootstrap server is named: give at least one host:port")]
    NoBootstrap,
    /// A bootstrap server is not `host:port`.
    #[error("{0:?} is not an address: it must be host:port")]
    Address(String),
    /// None of the brokers known can be reached.
    #[error("no broker can be reached; the last one tried: {0}")]
    NoBroker(ConnectionError),
    /// A request was not sent.
    #[error(transparent)]
    Send(SendError),
    /// The connection failed while a request waited.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The broker refused.
    #[error("{doing}: {error}{}", .message.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Kafka {
        /// What was asked.
        doing: String,
        /// What the broker said.
        error: KafkaError,
        /// What it said for people.
        message: Option<String>,
    },
    /// There is no such topic.
    #[error("there is no topic {0:?}")]
    UnknownTopic(String),
    /// The topic has no such partition.
    #[error("topic {topic:?} has no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: PartitionIndex,
    },
    /// The consumer does not read this partition.
    #[error("partition {} of topic {:?} is not assigned", .0.index, .0.topic)]
    NotAssigned(Partition),
    /// The broker named as a partition's leader is not in the metadata.
    #[error("broker {0} is not known")]
    UnknownBroker(BrokerId),
    /// It went on failing for too long; the last reason.
    #[error("{doing} did not succeed within {after:?}: {last}")]
    TimedOut {
        /// What was asked.
        doing: String,
        /// How long it was tried.
        after: Duration,
        /// Why the last try failed.
        last: Box<ClientError>,
    },
    /// A change was taken, and the cluster does not describe it yet.
    #[error("it was taken, and the cluster does not describe it yet")]
    NotDescribed,
    /// More topics than a client keeps in mind.
    #[error("a client keeps at most {0} topics in mind")]
    TooManyTopics(usize),
}

impl ClientError {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Kafka { error, .. } => error.retriable(),
            Self::Connection(error) | Self::NoBroker(error) | Self::Send(SendError::Connection(error)) => {
                !matches!(error, ConnectionError::Unsupported { .. })
            }
            Self::UnknownTopic(_)
            | Self::UnknownBroker(_)
            | Self::NotDescribed
            | Self::Send(SendError::Full) => true,
            Self::TimedOut { last, .. } => last.is_retriable(),
            _ => false,
        }
    }

    /// Whether no broker could be reached, or one that was reached fell silent.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        match self {
            Self::Connection(error) | Self::NoBroker(error) | Self::Send(SendError::Connection(error)) => {
                !matches!(error, ConnectionError::Unsupported { .. } | ConnectionError::Malformed { .. })
            }
            Self::TimedOut { last, .. } => last.is_unreachable(),
            _ => false,
        }
    }

    /// Whether the topic or partition that was named is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::UnknownTopic(_) | Self::UnknownPartition { .. } => true,
            Self::Kafka { error, .. } => {
                matches!(error, KafkaError::UnknownTopicOrPartition | KafkaError::UnknownTopicId)
            }
            Self::TimedOut { last, .. } => last.is_not_found(),
            _ => false,
        }
    }

    /// Whether what was to be made is there already.
    #[must_use]
    pub fn is_there_already(&self) -> bool {
        self.kafka() == Some(KafkaError::TopicAlreadyExists)
    }

    /// What a Kafka error code means for a call, if it is one.
    #[must_use]
    pub const fn kafka(&self) -> Option<KafkaError> {
        match self {
            Self::Kafka { error, .. } => Some(*error),
            _ => None,
        }
    }
}

impl From<SendError> for ClientError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Connection(error) => Self::Connection(error),
            other => Self::Send(other),
        }
    }
}

/// Why a record was not taken, or not delivered.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProduceError {
    /// The producer was closed.
    #[error("the producer is closed")]
    Closed,
    /// The topic has no such partition.
    #[error("there is no partition {0}")]
    UnknownPartition(PartitionIndex),
    /// The record alone is larger than a request may be.
    #[error("a record of {bytes} bytes is larger than the {bytes_max} that a batch may have")]
    RecordTooLarge {
        /// What the record takes.
        bytes: usize,
        /// What there may be (`request_bytes_max`).
        bytes_max: usize,
    },
    /// The batch waited for longer than it may. Whether it was appended is unknown if it had been sent.
    #[error("not delivered within {after:?}{}", if *.was_sent { "; it may or may not have been appended" } else { "" })]
    Expired {
        /// How long it had (`delivery_timeout`).
        after: Duration,
        /// Whether it had been sent, so that its fate is unknown.
        was_sent: bool,
    },
    /// The broker refused the batch.
    #[error("the broker refused: {error}{}", .message.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// What it said.
        error: KafkaError,
        /// What it said for people.
        message: Option<Arc<str>>,
    },
    /// The batch can't be written in the version that the broker knows.
    #[error("the batch can't be sent: {0}")]
    Unsendable(EncodeError),
    /// An attempt was not answered, the next was refused as out of order, and the broker can't say which batches it has.
    #[error("the broker can't say whether it has the batch; it may or may not have been appended")]
    Unclear,
    /// The transaction that the record belongs to is aborted, or can't be committed any more.
    #[error("the transaction is not going to be committed")]
    Aborted,
    /// The partition's epochs are used up, after 32,766 breaks of its chain: a new producer is needed.
    #[error("the producer's epochs are used up; make a new producer")]
    EpochsUsedUp,
}

/// Why a transaction was not committed, or can't be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransactionError {
    /// Another producer has begun with the transactional id since, or the transaction took longer than it may. This producer
    /// is done for; who is sure to be the rightful owner of the id makes a new one.
    #[error("another producer has the transactional id now, or the transaction took longer than its timeout")]
    Fenced,
    /// A record was not delivered, for this reason: nothing of the transaction is committed.
    #[error("a record was not delivered: {0}")]
    Undelivered(ProduceError),
    /// The member of the group does not have this partition any more: what was read of it, another one reads.
    #[error("partition {} of topic {:?} is not the member's any more", .0.index, .0.topic)]
    NotAssigned(Partition),
    /// A call failed, or was refused: nothing of the transaction is committed.
    #[error(transparent)]
    Call(ClientError),
    /// The broker did not say whether the transaction is committed.
    #[error("whether the transaction is committed is not known: {0}")]
    InDoubt(ClientError),
}

impl TransactionError {
    /// Whether the producer is good for another transaction.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Fenced)
    }

    /// What a call's failure means for the transaction.
    pub(crate) fn of(error: ClientError) -> Self {
        match error.kafka() {
            Some(KafkaError::ProducerFenced | KafkaError::InvalidProducerEpoch) => Self::Fenced,
            _ => Self::Call(error),
        }
    }
}

/// What is wrong with what was fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchedError {
    /// It can't be cut into batches.
    #[error("what was fetched is no batch: {0}")]
    Framing(#[from] FramingError),
    /// A batch is not what its CRC was made of.
    #[error("the batch at offset {offset}: {reason}")]
    Batch {
        /// Its first offset.
        offset: Offset,
        /// What is wrong.
        reason: BatchError,
    },
    /// Its records can't be decompressed.
    #[error("the batch at offset {offset}: {reason}")]
    Compression {
        /// Its first offset.
        offset: Offset,
        /// What is wrong.
        reason: DecompressError,
    },
    /// A record can't be read.
    #[error("the batch at offset {offset}: {reason}")]
    Record {
        /// The batch's first offset.
        offset: Offset,
        /// What is wrong.
        reason: RecordProblem,
    },
}
