//! Bytes to types and back: Kafka's messages and record batches. No I/O.
//!
//! | module | owns |
//! | --- | --- |
//! | [`api`] | the one table of APIs: keys, names, versions |
//! | [`messages`] | one file per API: its request and its response in every version |
//! | [`frame`] | the 4-byte size and the headers around a message |
//! | [`batch`] | the 61-byte header of a record batch, walking and checking batches |
//! | [`native`] | batches of our own: a FlatBuffers body behind Kafka's header, and Kafka's records made of it |
//! | [`records`] | the records in a batch, and building batches |
//! | [`compression`] | gzip, snappy, lz4, zstd, bounded |
//! | [`aborted`] | an aborted transaction, as a partition knows it |
//! | [`coordinator`] | the records of `__consumer_offsets`, in Kafka's schemas |
//! | [`wire`] | bounded reading, writing without copies of record bytes |
//! | [`error`] | Kafka's error codes |
//! | [`generated`] | what flatc makes of `schemas/`: our own structured formats |
//! | [`transaction_log`] | the records of `__transaction_state`, in Kafka's schemas |
//! | [`types`] | offsets, epochs, ids |
//! | [`uuid`] | ids as people and files have them |
//! | [`limits`] | what is bounded, and by how much |
//!
//! Nothing here opens a file or a socket, reads a clock or draws a random number.

pub mod aborted;
#[cfg(test)]
mod allocation;
pub mod api;
#[cfg(test)]
mod arbitrary;
pub mod batch;
pub mod compression;
pub mod coordinator;
pub mod error;
pub mod frame;
pub mod generated;
pub mod limits;
pub mod messages;
pub mod native;
pub mod records;
pub mod transaction_log;
pub mod types;
pub mod uuid;
pub mod wire;
