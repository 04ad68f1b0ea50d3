//! iolite-bench: load, latency and reports against any broker that speaks Kafka's protocol.
//!
//! `modes` set up sessions and run rounds, `load` is what runs in a round, `report` shows it. `workload`, `pace`,
//! `payload`, `stamp`, `verify` and `measure` decide without I/O.

mod cli;
mod exit;
mod limits;
mod load;
mod machine;
mod measure;
mod modes;
mod pace;
mod payload;
mod report;
mod stamp;
mod target;
mod verify;
mod workload;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    client::executor::interrupt::install();
    modes::run(cli::Cli::parse()).unwrap_or_else(|error| {
        eprintln!("iolite-bench: {error:#}");
        exit::FAILED.into()
    })
}
