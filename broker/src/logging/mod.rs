//! The log: `tracing` on standard error, for people or (`--log-format json`) for machines.
//!
//! Whoever logs never waits for the terminal, pipe or disk behind standard error: lines go through a bounded queue to a
//! thread that writes them. Where it can't keep up, lines are dropped, and a line says how many.

mod pump;

#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{BrokerConfig, LogFormat};
use crate::exit::ExitCode;
use crate::startup::StartupError;
use pump::Pump;

static STANDARD_ERROR: OnceLock<Pump> = OnceLock::new();

/// Starts logging as configured; once in the life of the process.
///
/// # Errors
/// `logging.level` is not a filter, or no thread can be made.
pub fn start(config: &BrokerConfig) -> Result<(), StartupError> {
    // The quorum's library tells of its inner life at the level of news.
    let filter = EnvFilter::try_new(format!("openraft=warn,{}", config.logging_level)).map_err(|error| {
        let level = &config.logging_level;
        let message = format!(
            "logging.level: {level:?} is not a level ({error}): \
             use error, warn, info, debug, trace, or a filter such as info,iolite_broker=debug"
        );
        StartupError { code: ExitCode::Configuration, message }
    })?;
    let pump = Pump::start(io::stderr()).map_err(|error| StartupError {
        code: ExitCode::Unexpected,
        message: format!("no thread for the log can be made: {error}"),
    })?;
    let pump = STANDARD_ERROR.get_or_init(|| pump);
    let colours = io::stderr().is_terminal();
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines(pump)).with_ansi(colours);
    let started = match config.logging_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| StartupError { code: ExitCode::Unexpected, message: error.to_string() })
}

/// Waits, for a bounded time, until what was logged so far is written. Before the process ends.
pub fn flush() {
    if let Some(pump) = STANDARD_ERROR.get() {
        pump.flush();
    }
}

/// Gives each event a buffer that is sent as one piece.
struct Lines(&'static Pump);

impl<'a> MakeWriter<'a> for Lines {
    type Writer = pump::Line<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        self.0.line()
    }
}
