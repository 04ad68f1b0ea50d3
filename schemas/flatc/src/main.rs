//! Runs the FlatBuffers compiler of the `flatc-fork` crate with the arguments given.

use std::process::{Command, exit};

fn main() {
    let status = Command::new(flatc_fork::flatc()).args(std::env::args_os().skip(1)).status();
    match status {
        Ok(status) => exit(status.code().unwrap_or(1)),
        Err(error) => {
            eprintln!("{}: {error}", flatc_fork::flatc().display());
            exit(1);
        }
    }
}
