//! iolite: what an operator asks of a broker, from the command line. `cli` says what there is.
//!
//! Every command fills an [`output::Output`] and ends with nothing or a [`failure::Failure`], which knows the exit code. Knows
//! of a broker what every client knows, for Iolite and Apache Kafka alike; of its files what `storage` shows.

mod bytes_text;
mod cli;
mod cluster;
mod consume;
mod exit;
mod failure;
mod input;
mod limits;
mod log;
mod output;
mod produce;
mod topics;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use failure::Failure;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) | Err(Failure::Unread) => exit::Exit::Done.into(),
        Err(failure) => {
            eprintln!("iolite: {failure}");
            failure.exit().into()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Topics(arguments) => topics::run(&arguments),
        Command::Produce(arguments) => produce::run(&arguments),
        Command::Consume(arguments) => consume::run(&arguments),
        Command::Log(arguments) => log::run(&arguments),
    }
}
