//! What shards say to each other: a closed set. Bytes go by reference, never by copy.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use logic::group::{Reply as GroupReply, Request as GroupRequest, TransactionalCommit};
use logic::producer::{ProducerBatch, ProducerError, ProducerState, TransactionMarker, VerificationGuard};
use logic::replica::{Acks, EpochEnd, ReplicaError};
use logic::transaction::{End, PartitionSet, Producer, Reply, TransactionError, TransactionState};
use protocol::aborted::AbortedTransaction;
use protocol::types::{LeaderEpoch, Offset, PartitionKey, ProducerId, Timestamp, TransactionVersion};
use smallvec::SmallVec;
use storage::store::{ReadError, StoreError};

use super::partition::MarkRefusal;
use super::produce::{ProduceRefusal, Produced};
use crate::net::stream::MovedSocket;

/// Names a question of one shard until its answer comes.
pub type CallId = u64;

/// A message to a shard.
pub enum Message {
    /// Something is asked; the answer names the same call.
    Ask {
        /// The asker's name for it.
        call: CallId,
        /// What is asked.
        question: Question,
    },
    /// The answer to a question.
    Answer {
        /// The asker's name for it.
        call: CallId,
        /// The answer.
        answer: Answer,
    },
    /// Batches to append. Apart from the questions, because they must be taken in the order in which they came.
    Produce {
        /// The asker's name for it.
        call: CallId,
        /// How.
        terms: ProduceTerms,
        /// The batches.
        items: ProduceItems,
    },
    /// What became of the batches.
    Produced {
        /// The asker's name for it.
        call: CallId,
        /// The outcomes.
        outcomes: ProduceOutcomes,
    },
    /// A connection whose requests are about the receiver's partitions.
    TakeOver {
        /// The connection.
        socket: MovedSocket,
        /// What was received and not served.
        received: BytesMut,
    },
}

/// What a produce request says of all its batches.
#[derive(Clone, Copy, Debug)]
pub struct ProduceTerms {
    /// The request's version.
    pub version: i16,
    /// When to answer.
    pub acks: Acks,
    /// When to answer at the latest.
    pub deadline: Timestamp,
}

/// The batches of one partition in a produce request.
pub struct ProduceItem {
    /// Where in the request it stood.
    pub place: u32,
    /// The partition.
    pub key: PartitionKey,
    /// Its batches, end to end.
    pub records: Bytes,
    /// What the partition gave out before the coordinator was asked, for the first batch of a transaction.
    pub guard: Option<VerificationGuard>,
}

/// What of a request goes to one shard: nearly always one partition.
pub type ProduceItems = SmallVec<[ProduceItem; 1]>;

/// What became of them.
pub type ProduceOutcomes = SmallVec<[ProduceOutcome; 1]>;

/// What became of one [`ProduceItem`].
pub struct ProduceOutcome {
    /// Where in the request it stood.
    pub place: u32,
    /// Where it was appended, or why not.
    pub result: Result<Produced, ProduceRefusal>,
}

/// What can be asked of a shard about its partitions.
pub enum Question {
    /// Read batches.
    Read {
        /// Where, in the order in which they share the bytes.
        items: Vec<ReadItem>,
        /// The most to read from all; the first batch of all may be larger.
        bytes_max: usize,
    },
    /// Say when something can be read past the named offsets, or at the deadline.
    Watch {
        /// Partitions, and how far each was readable.
        seen: Vec<(PartitionKey, Offset)>,
        /// For whom.
        isolation: Isolation,
        /// When to answer although nothing has happened.
        deadline: Timestamp,
    },
    /// Find offsets.
    FindOffsets(Vec<FindOffset>),
    /// Where leader epochs end.
    EpochEnds(Vec<EpochQuestion>),
    /// Bytes of partitions' batches.
    Sizes(Vec<PartitionKey>),
    /// Let logs begin later, durably.
    DeleteRecords(Vec<DeleteRecords>),
    /// Whether the coordinator of a transaction has to be asked before a batch is appended.
    Verifications(Vec<Verification>),
    /// A coordinator has refused these producers: what their partitions gave out before it was asked is void.
    ForgetVerifications(Vec<(PartitionKey, ProducerId)>),
    /// Write the marker of a transaction's end.
    Mark {
        /// The marker.
        marker: TransactionMarker,
        /// Where.
        keys: Vec<PartitionKey>,
    },
    /// What is known of the producers of partitions.
    Producers(Vec<PartitionKey>),
    /// Ask the coordinator of the transactional ids in a partition.
    Transaction {
        /// The partition.
        key: PartitionKey,
        /// What it is asked.
        request: TransactionRequest,
    },
    /// Commit offsets in a transaction.
    CommitInTransaction {
        /// The partition of the group's coordinator.
        key: PartitionKey,
        /// The offsets.
        commit: TransactionalCommit,
        /// As in [`ProduceItem::guard`].
        guard: Option<VerificationGuard>,
    },
    /// Ask the coordinator of groups in a partition.
    Group {
        /// The partition.
        key: PartitionKey,
        /// What it is asked.
        request: GroupRequest,
    },
}

/// The answer to a [`Question`], element by element.
pub enum Answer {
    /// To [`Question::Read`].
    Read(Vec<ReadOutcome>),
    /// To [`Question::Watch`].
    Watched,
    /// To [`Question::FindOffsets`].
    Offsets(Vec<Result<FoundOffset, PartitionError>>),
    /// To [`Question::EpochEnds`].
    EpochEnds(Vec<Result<Option<EpochEnd>, PartitionError>>),
    /// To [`Question::Sizes`]; none where the partition is not here.
    Sizes(Vec<Option<u64>>),
    /// To [`Question::DeleteRecords`]: where the logs begin now.
    LogStarts(Vec<Result<Offset, PartitionError>>),
    /// To [`Question::Verifications`]: what to show with the batch; none where nobody has to be asked.
    Verifications(Vec<Result<Option<VerificationGuard>, ProduceRefusal>>),
    /// To [`Question::ForgetVerifications`]: how many were named.
    Forgotten(usize),
    /// To [`Question::Mark`].
    Marked(Vec<Result<(), MarkRefusal>>),
    /// To [`Question::Producers`].
    Producers(Vec<Result<Vec<ProducerState>, PartitionError>>),
    /// To [`Question::Transaction`].
    Transaction(TransactionAnswer),
    /// To [`Question::Group`] and [`Question::CommitInTransaction`].
    Group(GroupAnswer),
}

/// What a coordinator of transactions answers.
pub type TransactionAnswer = Result<TransactionReply, TransactionRefusal>;

/// What the coordinator of transactional ids is asked.
#[derive(Clone, Debug)]
pub enum TransactionRequest {
    /// InitProducerId.
    Initialise {
        /// The transactional id.
        id: Arc<str>,
        /// After how long an open transaction is aborted.
        timeout_ms: i32,
        /// What the client says to have been.
        expected: Option<Producer>,
    },
    /// Partitions join the transaction.
    Add {
        /// The transactional id.
        id: Arc<str>,
        /// Who asks.
        producer: Producer,
        /// The partitions.
        partitions: PartitionSet,
        /// What the client goes by.
        version: TransactionVersion,
        /// Whether to wait for a while where something is under way for the id.
        waits: bool,
    },
    /// Whether partitions are in the transaction.
    Verify {
        /// The transactional id.
        id: Arc<str>,
        /// Who asks.
        producer: Producer,
        /// The partitions.
        partitions: PartitionSet,
    },
    /// The transaction ends.
    End {
        /// The transactional id.
        id: Arc<str>,
        /// Who asks.
        producer: Producer,
        /// How.
        end: End,
        /// What the client goes by.
        version: TransactionVersion,
    },
    /// What is known of an id.
    Describe(Arc<str>),
    /// Which ids there are.
    List(Arc<ListRequest>),
}

/// Which transactional ids are listed.
#[derive(Debug, Default)]
pub struct ListRequest {
    /// Their states; none for all.
    pub states: Option<Vec<TransactionState>>,
    /// Their producers; empty for all.
    pub producer_ids: Vec<ProducerId>,
    /// For how long they have been going on, at least.
    pub open_longer_than_ms: Option<i64>,
    /// Which names.
    pub pattern: Option<regex::Regex>,
}

/// An answer of the coordinator of transactional ids.
#[derive(Clone, Debug)]
pub enum TransactionReply {
    /// To what changes a transaction.
    Changed(Reply),
    /// To [`TransactionRequest::Verify`]: those that are in it.
    Verified(PartitionSet),
    /// To [`TransactionRequest::Describe`].
    Described(Box<DescribedTransaction>),
    /// To [`TransactionRequest::List`].
    Listed(Vec<ListedTransaction>),
}

/// What is told of a transactional id.
#[derive(Clone, Debug)]
pub struct DescribedTransaction {
    /// Its state.
    pub state: TransactionState,
    /// Its producer.
    pub producer: Producer,
    /// After how long an open transaction is aborted.
    pub timeout_ms: i32,
    /// When the transaction began; -1 without one.
    pub started_at: Timestamp,
    /// The partitions of the transaction.
    pub partitions: PartitionSet,
}

/// A line of a list.
#[derive(Clone, Debug)]
pub struct ListedTransaction {
    /// The transactional id.
    pub id: Box<str>,
    /// Its producer.
    pub producer_id: ProducerId,
    /// Its state.
    pub state: TransactionState,
}

/// Why the coordinator of transactional ids has not done what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionRefusal {
    /// Its log is being read.
    #[error("the transactional ids are being loaded")]
    Loading,
    /// It is not on this broker (any more).
    #[error("the transactional ids are coordinated elsewhere")]
    NotHere,
    /// Its log takes no records for now, or no producer id is to be had.
    #[error("nothing about transactions can be stored for now")]
    Unavailable,
    /// It refuses.
    #[error(transparent)]
    Refused(#[from] TransactionError),
}

/// A batch that is to be appended in a transaction.
#[derive(Clone, Copy, Debug)]
pub struct Verification {
    /// The partition.
    pub key: PartitionKey,
    /// The batch.
    pub batch: ProducerBatch,
    /// Whether the client goes by KIP-890.
    pub bumps_epoch: bool,
}

/// Which records a reader wants to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// All that are committed by the log.
    #[default]
    Uncommitted,
    /// None of open transactions; those of aborted ones are told of.
    Committed,
}

impl Isolation {
    /// What a request's level means: 1 is for committed records.
    #[must_use]
    pub fn of_request(level: i8) -> Self {
        if level == 1 { Self::Committed } else { Self::Uncommitted }
    }

    /// How far to read, where all could be read up to `end`.
    #[must_use]
    pub fn limit(self, end: Offset, last_stable: Offset) -> Offset {
        match self {
            Self::Uncommitted => end,
            Self::Committed => end.min(last_stable),
        }
    }
}

/// What a coordinator answers.
pub type GroupAnswer = Result<GroupReply, GroupRefusal>;

/// Why a coordinator can't be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupRefusal {
    /// Its log is being read.
    #[error("the groups are being loaded")]
    Loading,
    /// It is not on this broker (any more).
    #[error("the groups are coordinated elsewhere")]
    NotHere,
    /// Its log takes no records for now.
    #[error("nothing about groups can be stored for now")]
    Unavailable,
    /// Its log takes no records of this transaction.
    #[error(transparent)]
    Producer(#[from] ProducerError),
}

/// A read of one partition.
#[derive(Clone, Copy, Debug)]
pub struct ReadItem {
    /// The partition.
    pub key: PartitionKey,
    /// Where to start.
    pub from: Offset,
    /// The epoch the reader believes in.
    pub epoch: LeaderEpoch,
    /// The epoch of the last batch that the reader has.
    pub last_fetched_epoch: LeaderEpoch,
    /// The most to read; the first batch of all may be larger.
    pub bytes_max: usize,
    /// Which records are wanted.
    pub isolation: Isolation,
}

/// What came of a read of one partition.
pub type ReadOutcome = Result<ReadDone, PartitionError>;

/// What was read of one partition.
#[derive(Default)]
pub struct ReadDone {
    /// Whole batches, in order.
    pub chunks: Vec<Bytes>,
    /// Bytes of them.
    pub bytes: usize,
    /// Whether there may be native ones among them.
    pub has_native: bool,
    /// What is committed.
    pub high_watermark: Offset,
    /// Where the first open transaction begins.
    pub last_stable: Offset,
    /// How far this reader may read.
    pub readable_end: Offset,
    /// The aborted transactions among what was read, for who wants committed records only.
    pub aborted: Vec<AbortedTransaction>,
    /// The first offset there is.
    pub log_start: Offset,
    /// Where the reader's log leaves this one, where it does: there are no records then.
    pub diverging: Option<EpochEnd>,
}

/// A search for an offset.
#[derive(Clone, Copy, Debug)]
pub struct FindOffset {
    /// The partition.
    pub key: PartitionKey,
    /// The epoch the client believes in.
    pub epoch: LeaderEpoch,
    /// What is looked for.
    pub target: OffsetTarget,
    /// Among which records.
    pub isolation: Isolation,
}

/// What [`FindOffset`] looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetTarget {
    /// The first offset.
    Earliest,
    /// The offset after the last committed record.
    Latest,
    /// The first record with the largest timestamp.
    MaxTimestamp,
    /// The first record with at least this timestamp.
    AtTime(Timestamp),
}

/// An offset that was looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset; none where no record fits.
    pub offset: Option<Offset>,
    /// The record's timestamp; none where no record was looked for.
    pub timestamp: Option<Timestamp>,
    /// The leader epoch of the offset.
    pub epoch: LeaderEpoch,
}

/// A question about a leader epoch.
#[derive(Clone, Copy, Debug)]
pub struct EpochQuestion {
    /// The partition.
    pub key: PartitionKey,
    /// The epoch the client believes in.
    pub current: LeaderEpoch,
    /// The epoch it asks about.
    pub asked: LeaderEpoch,
}

/// A wish to delete the first records of a partition.
#[derive(Clone, Copy, Debug)]
pub struct DeleteRecords {
    /// The partition.
    pub key: PartitionKey,
    /// The first offset to keep; none deletes all that is committed.
    pub below: Option<Offset>,
}

/// Why a question about a partition has no answer.
#[derive(Debug, thiserror::Error)]
pub enum PartitionError {
    /// The shard has no such partition (any more, or yet).
    #[error("the partition is not here")]
    Unknown,
    /// The replica refuses.
    #[error(transparent)]
    Replica(#[from] ReplicaError),
    /// The log can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log can't be changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A batch can't be decompressed or walked to answer.
    #[error("a stored batch can't be read: {0}")]
    Batch(String),
}
