//! Why a transaction's coordinator refuses.

use thiserror::Error;

/// Why a request about a transaction fails. Nothing has changed then, but where it says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransactionError {
    /// The transactional id is empty, or longer than a record's key can carry.
    #[error("not a transactional id")]
    InvalidId,
    /// The timeout is not above 0, or above what the broker allows.
    #[error("a transaction's timeout is between 1 and {timeout_ms_max} milliseconds")]
    InvalidTimeout {
        /// What the broker allows.
        timeout_ms_max: i32,
    },
    /// The transactional id is not known, or belongs to another producer id.
    #[error("the transactional id has no such producer id")]
    UnknownMapping,
    /// A newer instance of the producer has taken over.
    #[error("a newer instance of the producer has taken over")]
    Fenced,
    /// Something is under way for this transactional id: the client tries again. Where an initialisation has begun to
    /// abort an open transaction, it says this as well.
    #[error("a transaction of this id is being changed")]
    Concurrent,
    /// The transaction's state has no such end.
    #[error("the transaction's state does not allow that")]
    InvalidState,
    /// The transaction can't be described: there is none.
    #[error("no such transactional id")]
    NotFound,
    /// The record could not be appended.
    #[error("the transaction's record could not be appended")]
    NotAvailable,
    /// This coordinator has ended.
    #[error("another broker coordinates this transactional id")]
    NotCoordinator,
    /// The transaction has more partitions than a record can carry.
    #[error("the transaction has too many partitions")]
    TooManyPartitions,
    /// There are more transactional ids than memory is meant for.
    #[error("too many transactional ids")]
    TooManyIds,
    /// Ask again, with a fresh producer id: one is needed. No client is told of this.
    #[error("a fresh producer id is needed")]
    NeedsProducerId,
}
