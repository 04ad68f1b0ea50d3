//! The command line.

use clap::{Parser, Subcommand};

use crate::consume::ConsumeArgs;
use crate::log::LogArgs;
use crate::produce::ProduceArgs;
use crate::topics::TopicsArgs;

/// Ask a broker, and have it do things: topics and their records; look at what is on its disk.
///
/// For Iolite and for Apache Kafka alike, but for `log`.
#[derive(Debug, Parser)]
#[command(name = "iolite", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What every `--help` of the top ends with.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 the broker or the system refused, 2 wrong arguments, 3 no broker answers, \
4 what was named is not there, 5 what is on the disk \
is damaged.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List, describe, create, delete and alter topics.
    Topics(TopicsArgs),
    /// Send each line of standard input as a record.
    Produce(ProduceArgs),
    /// Print the records of a topic, and those that come, until Ctrl-C.
    Consume(ConsumeArgs),
    /// Look into a data directory of Iolite.
    Log(LogArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::exit::Exit;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_names_every_exit_code() {
        for number in 0..=Exit::Damaged.number() {
            assert!(EXIT_CODES.contains(&format!(" {number} ")), "{number}");
        }
    }
}
