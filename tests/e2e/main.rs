//! The built broker, real clients, real kill -9.
//!
//! `suite` holds what every client must do; `clients` runs it for each of them. Clients that `tests/clients/install` left
//! out are passed over by `./check`, which says so; run by hand, their tests fail.

mod applications;
mod bad_input;
mod bench;
mod clients;
mod compaction;
mod consumer_groups;
mod cooperative;
mod examples;
mod group_records;
mod groups;
mod house;
mod internal_topics;
mod interop;
mod iolite_tool;
mod java_members;
mod kcat;
mod kill;
mod memory;
mod moving;
mod native;
mod native_client;
mod native_transactions;
mod oracle;
mod soak;
mod static_members;
mod suite;
mod tools;
mod trace;
mod transactions;
mod trouble;
