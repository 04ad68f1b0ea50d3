//! Every decision of the broker as state machines: no I/O, no clock, no executor.
//!
//! A machine takes `(now, input)` and changes its state or says what its caller has to do. Times arrive as
//! [`protocol::types::Timestamp`] from a clock that never goes backwards; errors are each machine's own and know nothing
//! of Kafka's error codes; nothing here knows how bytes reach a disk or a socket.

pub mod admission;
pub mod config;
pub mod fetch;
pub mod group;
pub mod limits;
pub mod metadata;
pub mod producer;
pub mod replica;
pub mod transaction;
