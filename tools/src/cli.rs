//! The command line.

use clap::{Parser, Subcommand};

use crate::consume::ConsumeArgs;
use crate::produce::ProduceArgs;
use crate::topics::TopicsArgs;

/// Ask a broker, and have it do things: topics and their records.
///
/// For Iolite and for Apache Kafka alike.
#[derive(Debug, Parser)]
#[command(name = "iolite", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What every `--help` of the top ends with.
const EXIT_CODES: &str = "Exit codes: 0 done, 1 the broker or the system refused, 2 wrong arguments, 3 no broker answers, \
4 the topic or partition is not there.";

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List, describe, create, delete and alter topics.
    Topics(TopicsArgs),
    /// Send each line of standard input as a record.
    Produce(ProduceArgs),
    /// Print the records of a topic, and those that come, until Ctrl-C.
    Consume(ConsumeArgs),
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
        for number in 0..=Exit::NotFound.number() {
            assert!(EXIT_CODES.contains(&format!(" {number} ")), "{number}");
        }
    }
}
