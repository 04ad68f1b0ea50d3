use std::io::{BufRead, Write};

use super::*;

fn options() -> LocalOptions {
    LocalOptions {
        limit_bytes: None,
        directory: std::env::temp_dir(),
        cores: None,
        shards: None,
        settings: Vec::new(),
        memory_bytes: 1 << 30,
        iolite_binary: None,
        kafka_jars: None,
        tansu_binary: None,
        admin: None,
    }
}

fn refused(kind: &Kind, options: &LocalOptions, word: &str) {
    let Err(error) = Target::open(kind, options) else { panic!("it must be refused") };
    assert!(error.to_string().contains(word), "{error}");
}

#[test]
fn nobody_at_an_address_is_told() {
    let free = process::free_port().expect("a free port");
    refused(&Kind::Running(free.to_string()), &options(), "no broker answers at");
}

/// Nobody but this test's own listener is there, which takes no notice of anybody.
#[test]
fn metrics_that_are_not_there_are_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let bootstrap = listener.local_addr().expect("it has an address").to_string();
    let free = process::free_port().expect("a free port");
    let options = LocalOptions { admin: Some(free.to_string()), ..options() };
    refused(&Kind::Running(bootstrap), &options, &format!("the broker's side can't be read from {free}"));
}

#[test]
fn what_is_no_address_is_told() {
    refused(&Kind::Running("nowhere".into()), &options(), "is no HOST:PORT");
}

#[test]
fn a_missing_binary_is_told() {
    let options = LocalOptions { iolite_binary: Some("/nowhere/iolite-broker".into()), ..options() };
    refused(&Kind::Iolite, &options, "there is no broker at /nowhere/iolite-broker");
}

#[test]
fn a_tansu_that_is_missing_or_none_is_told() {
    let named = |binary: &str| LocalOptions { tansu_binary: Some(binary.into()), ..options() };
    refused(&Kind::Tansu, &named("/nowhere/tansu"), "there is no tansu at /nowhere/tansu");
    refused(&Kind::Tansu, &named("/bin/false"), "/bin/false does not tell its version (exit status: 1)");
    // It tells its version, and then takes the arguments of a broker for wrong ones.
    refused(&Kind::Tansu, &named("/bin/ls"), "tansu did not start (exit status: 2)");
}

#[test]
fn a_binary_that_is_no_broker_is_told_with_its_end() {
    let options = LocalOptions { iolite_binary: Some("/bin/false".into()), ..options() };
    refused(&Kind::Iolite, &options, "did not start (exit status: 1)");
}

#[test]
fn metrics_that_are_not_iolites_are_read_all_the_same() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address");
    let target = Target {
        facts: Facts::default(),
        address,
        journal_bytes: None,
        process: None,
        metrics: Some(Metrics::at(address)),
    };
    let server = std::thread::spawn(move || {
        for answer in ["200 OK\r\n\r\nprocess_cpu_seconds_total 2\n", "503 Service Unavailable\r\n\r\n"] {
            let (guest, _) = listener.accept().expect("a guest");
            let mut lines = std::io::BufReader::new(&guest).lines();
            while lines.next().expect("a line").is_ok_and(|line| !line.is_empty()) {}
            (&guest).write_all(format!("HTTP/1.0 {answer}").as_bytes()).expect("it listens");
        }
    });
    assert_eq!(target.counters(), Counters { cpu_seconds: Some(2.0), ..Counters::default() });
    assert_eq!(target.counters(), Counters { is_unread: true, ..Counters::default() });
    server.join().expect("it was asked twice");
}
