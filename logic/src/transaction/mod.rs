//! The coordinator of transactions (KIP-98, KIP-360, KIP-890): which producer a transactional id has, which partitions its
//! transaction writes to, and how it ends, everywhere or nowhere.
//!
//! There is one [`Coordinator`] for each partition of `__transaction_state`, on the shard that leads it. It decides; its
//! caller appends, answers and sends. A request's answer comes at once or when a record is committed, as [`Effects::replies`]
//! says it, by the request's [`CallId`].
//!
//! # For the caller
//!
//! - Becoming the leader of a partition: [`Loader::replay`] for each record of its log, then [`Loader::finish`] with the
//!   leader's epoch, and carry out the effects. Until then a client hears that the coordinator is loading.
//! - A request: the method named like it. An outcome of [`TransactionError::NeedsProducerId`] is not for the client: get a
//!   producer id from the metadata and call again with it. Few requests need one.
//! - [`Effects::records`]: append each, in order, as one batch per record or several together, to the coordinator's own partition, and
//!   call [`Coordinator::committed`] when it is committed there, in order. [`Coordinator::refused`] is for a record that is
//!   certain not to be in the log, now and later; one of unknown fate stays under way.
//! - [`Effects::markers`]: WriteTxnMarkers to the leader of each partition ([`crate::producer`] says what it does with
//!   one), and [`Coordinator::marker_answered`] for each: always, with [`MarkerAnswer::Retry`] where no answer came. A
//!   marker for a partition of `__consumer_offsets` also tells its group coordinator what became of offsets committed in
//!   the transaction, and is answered when that is done.
//! - A timer at [`Coordinator::next_tick`], asked for after each call: [`Coordinator::tick`].
//! - No leader any longer: [`Coordinator::resign`].
//!
//! | request | method | version |
//! | --- | --- | --- |
//! | InitProducerId with a transactional id | [`Coordinator::initialise`] | |
//! | AddPartitionsToTxn 0-3, and 4 and later without `verify_only` | [`Coordinator::add_partitions`] | V2 where a broker asks for a client of Produce 12 or later, else V0 |
//! | AddPartitionsToTxn with `verify_only` | [`Coordinator::verify`] | a partition that is not in it: TRANSACTION_ABORTABLE |
//! | AddOffsetsToTxn | [`Coordinator::add_partitions`] with the group's partition of `__consumer_offsets` | V0 |
//! | EndTxn | [`Coordinator::end`] | V2 from version 5 on |
//! | DescribeTransactions | [`Coordinator::describe`] | |
//! | ListTransactions | [`Coordinator::list`] | |
//!
//! [`TransactionError::Fenced`] is PRODUCER_FENCED, and INVALID_PRODUCER_EPOCH for clients that came before it: InitProducerId below
//! version 4, the other three below version 2.
//!
//! # What a crash leaves
//!
//! | the last record that is committed | after a restart |
//! | --- | --- |
//! | Ongoing | the transaction goes on, or its timeout aborts it |
//! | Prepare* | the markers are sent again, to all partitions: those that have theirs take it once more, and nothing changes |
//! | Complete* | nothing is left to do |
//!
//! The end is decided when Prepare* is committed, and by nothing else: so it is the same everywhere.
//!
//! It must not know: sockets, logs, who leads a partition, Kafka's error codes.

mod coordinator;
mod delivery;
mod effects;
mod error;
mod load;
mod partitions;
mod query;
mod record;
mod state;
mod transition;

#[cfg(test)]
mod tests;

pub use coordinator::{Coordinator, CoordinatorConfig, Initialise};
pub use effects::{AppendId, CallId, Effects, MarkerAnswer, Markers, MarkersId, NewRecord, Outcome, Reply};
pub use error::TransactionError;
pub use load::Loader;
pub use partitions::{PartitionSet, partition_of};
pub use query::{Description, ListFilter};
pub use record::LoadError;
pub use state::TransactionState;
pub use transition::{End, Producer};
