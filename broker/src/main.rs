//! The broker process.

mod allocator;

use std::process::ExitCode;
use std::time::Instant;

use iolite_broker::config::{Invocation, load};
use iolite_broker::{control, exit, logging, startup};

fn main() -> ExitCode {
    let began = Instant::now();
    allocator::keep_memory();
    allocator::take_small_pages();
    match load(std::env::args_os(), std::env::vars_os()) {
        Ok(Invocation::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Run(config)) => match control::run(&config, &startup::detect_machine(), began) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                logging::flush();
                eprintln!("iolite-broker: {failure}");
                failure.code.into()
            }
        },
        Err(errors) => {
            eprintln!("{errors}");
            exit::ExitCode::Configuration.into()
        }
    }
}
