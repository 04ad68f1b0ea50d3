//! The pump writes everything in order, and waits for nobody.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::pump::Pump;
use crate::config::BrokerConfig;
use crate::exit::ExitCode;
use crate::limits::LOG_LINES_WAITING_MAX;

/// Sends what is written on, but only after it was allowed to.
struct Gated {
    allowed: Receiver<()>,
    written: Sender<String>,
}

impl Write for Gated {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An ended gate is an open one.
        let _ = self.allowed.recv();
        self.written.send(String::from_utf8_lossy(bytes).into_owned()).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gated() -> (Pump, Sender<()>, Receiver<String>) {
    let (allow, allowed) = channel();
    let (written, read) = channel();
    (Pump::start(Gated { allowed, written }).unwrap(), allow, read)
}

#[test]
fn lines_arrive_in_order_before_a_flush_returns() {
    let (pump, allow, read) = gated();
    drop(allow);
    for number in 0..100 {
        let mut line = pump.line();
        write!(line, "line ").unwrap();
        writeln!(line, "{number}").unwrap();
    }
    pump.flush();
    let lines: Vec<_> = read.try_iter().collect();
    let expected: Vec<_> = (0..100).map(|number| format!("line {number}\n")).collect();
    assert_eq!(lines, expected);
}

#[test]
fn a_stuck_reader_costs_lines_and_no_time() {
    let (pump, allow, read) = gated();
    let sent = LOG_LINES_WAITING_MAX + 100;
    for number in 0..sent {
        writeln!(pump.line(), "{number}").unwrap();
    }
    drop(allow);
    drop(pump);
    let written: Vec<_> = read.iter().collect();
    let (told, lines): (Vec<_>, Vec<_>) = written.iter().partition(|line| line.contains("dropped"));
    let lost = sent - lines.len();
    assert!((99..=100).contains(&lost), "one may have been taken before the reader stuck: {lost}");
    assert_eq!(told, [&format!("{lost} log lines were dropped: standard error is read too slowly\n")]);
}

#[test]
fn a_level_that_is_none_is_refused() {
    let mut config = BrokerConfig::embedded();
    config.logging_level = "iolite=loud".to_owned();
    let error = super::start(&config).unwrap_err();
    assert_eq!(error.code, ExitCode::Configuration);
    assert!(error.message.starts_with("logging.level: \"iolite=loud\" is not a level"), "{error}");
}
