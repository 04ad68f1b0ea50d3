//! What the end-to-end tests stand on: brokers as processes, clients as processes, requests as bytes.
//!
//! Nothing here links the broker: it is built, started and judged from outside, as a user meets it. Kafka's messages are
//! encoded and decoded by the crate `kafka-protocol` and batches by [`batch`], never by our own `protocol`: a mistake made
//! there must not judge itself. (The native client, which is made of it, and native batches, which nobody else writes, are under
//! test here, and are held to others by what they read and write.) Every wait is for an event, with a deadline.

pub mod batch;
pub mod broker;
pub mod driver;
pub mod figures;
pub mod ledger;
pub mod process;
pub mod records;
pub mod segments;
pub mod volume;
pub mod wire;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long anything that should happen may take before the test gives up on it.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The project's top folder.
#[must_use]
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the project")
}

/// Where `tests/clients/install` puts what it installs outside the clients' own folders.
#[must_use]
pub fn cache() -> PathBuf {
    project().join("tests/.cache")
}

/// A topic name that no other test of this run has.
#[must_use]
pub fn unique(name: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
