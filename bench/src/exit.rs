//! What the process ends with: scripts can tell a void run from a broken broker.

use std::process::ExitCode;

use crate::report::Status;

/// The tool could not run at all (2 is what wrong arguments end with).
pub const FAILED: u8 = 1;
/// Records were lost, came twice or out of order.
pub const VOID: u8 = 3;
/// The run ended before its time.
pub const PARTIAL: u8 = 4;
/// A rate that was asked for was not reached.
pub const RATE_MISSED: u8 = 5;

/// The exit code of a run that ended so.
pub fn of(status: Status) -> ExitCode {
    match status {
        Status::Complete => ExitCode::SUCCESS,
        Status::RateMissed => RATE_MISSED.into(),
        Status::Partial => PARTIAL.into(),
        Status::Void => VOID.into(),
    }
}
