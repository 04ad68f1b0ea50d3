//! What shards say to each other: a closed set. Bytes go by reference, never by copy.

use bytes::{Bytes, BytesMut};
use logic::group::{Reply as GroupReply, Request as GroupRequest};
use logic::replica::{Acks, EpochEnd, ReplicaError};
use protocol::types::{LeaderEpoch, Offset, PartitionKey, Timestamp};
use storage::store::{ReadError, StoreError};

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
        items: Vec<ProduceItem>,
    },
    /// What became of the batches.
    Produced {
        /// The asker's name for it.
        call: CallId,
        /// The outcomes.
        outcomes: Vec<ProduceOutcome>,
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
}

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
    /// To [`Question::Group`].
    Group(GroupAnswer),
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
    /// What is committed.
    pub high_watermark: Offset,
    /// How far consumers may read.
    pub readable_end: Offset,
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
