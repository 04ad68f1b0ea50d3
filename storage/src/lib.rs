//! Logs on disks: journal, segments, indexes, recovery. Generic over [`disk::Disk`].

#![allow(async_fn_in_trait, reason = "a shard is one thread: its futures are never sent")]

pub mod disk;
pub mod limits;
pub mod store;
