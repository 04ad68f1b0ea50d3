//! Logs on disks: journal, segments, indexes, recovery. Generic over [`disk::Disk`].

#![allow(async_fn_in_trait, reason = "a shard is one thread: its futures are never sent")]

mod batch;
mod checkpoint;
pub mod compaction;
pub mod disk;
pub mod inspect;
mod journal;
pub mod limits;
mod recovery;
pub mod segment;
pub mod store;
mod tail;
mod wait;

pub use batch::BATCH_HEADER_BYTES;
