//! Why the process ended, as a number: one exit code for each kind of trouble, so that scripts and service managers
//! can tell a mistake of the operator from a broken disk.
//!
//! Invariants: a number is never given a second meaning; `docs/operations.md` carries the same table (tested).

use std::fmt;

/// The exit codes of `iolite-broker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExitCode {
    /// Stopped because it was asked to.
    Clean,
    /// Something nobody foresaw.
    Unexpected,
    /// A flag, an environment variable or a line of the configuration file is wrong.
    Configuration,
    /// Another process listens on the Kafka or admin port.
    PortTaken,
    /// The address to listen on can't be resolved or isn't this machine's.
    Address,
    /// Another broker runs in the data directory.
    DataLocked,
    /// The data directory can't be made, read or written.
    DataNotWritable,
    /// The data directory was written by an older or newer format, or isn't a broker's.
    DataFormat,
    /// The kernel, or a container's seccomp profile, refuses io_uring.
    IoUring,
    /// Too little memory may be locked for the rings.
    LockedMemory,
    /// Too few files may be open at once.
    OpenFiles,
    /// Acknowledged data is damaged and no flag allows going on without it.
    Damaged,
    /// A write or a sync failed while running: what was acknowledged is safe, nothing more is promised.
    StorageFailed,
    /// The metadata quorum's log can't be read or written.
    QuorumFailed,
}

impl ExitCode {
    /// Every code, in the order of the numbers.
    pub const ALL: [Self; 14] = [
        Self::Clean,
        Self::Unexpected,
        Self::Configuration,
        Self::PortTaken,
        Self::Address,
        Self::DataLocked,
        Self::DataNotWritable,
        Self::DataFormat,
        Self::IoUring,
        Self::LockedMemory,
        Self::OpenFiles,
        Self::Damaged,
        Self::StorageFailed,
        Self::QuorumFailed,
    ];

    /// The number that the parent process sees. 3 to 9 and everything from 64 on are left free: shells, service
    /// managers and signals have meanings of their own there.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Unexpected => 1,
            Self::Configuration => 2,
            Self::PortTaken => 10,
            Self::Address => 11,
            Self::DataLocked => 12,
            Self::DataNotWritable => 13,
            Self::DataFormat => 14,
            Self::IoUring => 15,
            Self::LockedMemory => 16,
            Self::OpenFiles => 17,
            Self::Damaged => 20,
            Self::StorageFailed => 21,
            Self::QuorumFailed => 22,
        }
    }

    /// What it means, in one line for the operator.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Clean => "stopped because it was asked to",
            Self::Unexpected => "an error nobody foresaw; the log has it",
            Self::Configuration => {
                "a flag, an environment variable or a line of the configuration file is wrong"
            }
            Self::PortTaken => "another process listens on the Kafka or admin port",
            Self::Address => "the address to listen on can't be resolved or isn't this machine's",
            Self::DataLocked => "another broker runs in the data directory",
            Self::DataNotWritable => "the data directory can't be made, read or written",
            Self::DataFormat => "the data directory has an older or newer format, or isn't a broker's",
            Self::IoUring => "the kernel, or a container's seccomp profile, refuses io_uring",
            Self::LockedMemory => "too little memory may be locked (memlock)",
            Self::OpenFiles => "too few files may be open at once (nofile)",
            Self::Damaged => "acknowledged data is damaged; the log lists partitions and offsets",
            Self::StorageFailed => "a write or a sync failed; what was acknowledged is safe",
            Self::QuorumFailed => "the metadata quorum's log can't be read or written",
        }
    }
}

impl fmt::Display for ExitCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.number(), self.meaning())
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

/// Ends the process at once, without destructors and without syncing anything: what isn't synced was not acknowledged.
///
/// For trouble that no caller can heal: a lost write, a failed sync. May be called on any thread.
pub fn fatal(code: ExitCode, reason: &dyn fmt::Display) -> ! {
    tracing::error!(exit_code = code.number(), "stopping: {reason}");
    crate::logging::flush();
    // SAFETY: `_exit` takes a plain number and doesn't return; no invariant of ours survives it.
    unsafe { libc::_exit(i32::from(code.number())) }
}

#[cfg(test)]
mod tests {
    use super::ExitCode;

    #[test]
    fn the_documentation_lists_every_code_as_it_is() {
        let documentation = include_str!("../../docs/operations.md");
        let rows = ExitCode::ALL.iter().map(|code| format!("| {} | {} |\n", code.number(), code.meaning()));
        let rows: String = rows.collect();
        assert!(documentation.contains(&rows), "docs/operations.md lacks exactly these rows:\n{rows}");
    }

    #[test]
    fn every_trouble_has_a_number_of_its_own() {
        let mut numbers: Vec<_> = ExitCode::ALL.iter().map(|code| code.number()).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), ExitCode::ALL.len(), "{numbers:?}");
        assert!(numbers.is_sorted());
    }
}
