//! What is checked before a shard starts, so that a mistake is told in one line with its remedy and its own exit code.
//!
//! Invariants: nothing here changes data in a directory that another broker holds; what is claimed (ports, the
//! directory's lock) stays claimed for as long as [`Prepared`] lives. Runs once, on the main thread, before any other.

mod banner;
mod directory;
mod limits;
mod machine;
mod ports;
mod ring;

#[cfg(test)]
mod tests;

pub use banner::Banner;
pub use directory::{DataDirectory, Filesystem};
pub use limits::OpenFilesShare;
pub use machine::detect as detect_machine;
pub use ports::ClaimedPort;

use crate::config::{BrokerConfig, Endpoint};
use crate::exit::ExitCode;
use std::fmt;
use std::net::TcpListener;

/// Why the broker can't start: one line, with what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub struct StartupError {
    /// What the process ends with.
    pub code: ExitCode,
    /// What is wrong; what to do.
    pub message: String,
}

impl StartupError {
    pub(crate) fn new(code: ExitCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

impl fmt::Display for StartupError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl std::error::Error for StartupError {}

/// What a checked machine gives a broker; dropping it gives it back.
#[derive(Debug)]
pub struct Prepared {
    /// The data directory, locked.
    pub data: DataDirectory,
    /// The Kafka port, held so that shards of this process may listen and no other broker may.
    pub kafka: ClaimedPort,
    /// The admin port, listening; none where the configuration names none.
    pub admin: Option<TcpListener>,
    /// What the files that the process may have open are for.
    pub open_files: OpenFilesShare,
}

/// Checks the machine for `shard_count` shards and claims what they need.
///
/// # Errors
/// The first thing that is wrong. What is merely not as good as it could be is logged as a warning.
pub fn prepare(config: &BrokerConfig, shard_count: u16) -> Result<Prepared, StartupError> {
    let open_files = limits::raise_open_files(limits::OpenFilesWanted {
        connections: config.max_connections,
        shard_count,
        journal_files: config.journal_files(),
    })?;
    limits::raise_locked_memory(shard_count)?;
    ring::check()?;
    let data = DataDirectory::claim(&config.log_dirs)?;
    let kafka = ClaimedPort::claim(&config.listeners.0, "--listen")?;
    let admin = config.admin_listener.as_ref().map(listen_for_admin).transpose()?;
    Ok(Prepared { data, kafka, admin, open_files })
}

fn listen_for_admin(endpoint: &Endpoint) -> Result<TcpListener, StartupError> {
    ports::listen_alone(endpoint, "--admin")
}
