//! Sockets: listening, framing, ordered replies. Knows frames, never what is in them.

pub mod affinity;
pub mod budget;
pub mod connection;
pub mod frames;
pub mod listener;
pub mod poller;
pub mod replies;
pub mod reply_budget;
pub mod seats;
pub mod stream;
