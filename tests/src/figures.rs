//! What a broker says of itself on its admin port.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::DEADLINE;
use crate::broker::Broker;

/// Between two looks at a page.
const LOOK_PAUSE: Duration = Duration::from_millis(20);

/// A page of the admin port, its head included.
///
/// # Panics
/// When there is no admin port, or it does not answer.
#[must_use]
pub fn page(broker: &Broker, path: &str) -> String {
    let mut stream = TcpStream::connect(broker.admin().expect("there is an admin port")).expect("it listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket takes a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("the request is sent");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("a page of text");
    page
}

/// Asks `/readyz` until the answer is as wanted.
///
/// # Panics
/// When that takes too long.
pub fn await_readiness(broker: &Broker, wanted: impl Fn(&str) -> bool) {
    let began = Instant::now();
    loop {
        let answer = page(broker, "/readyz");
        if wanted(&answer) {
            return;
        }
        assert!(began.elapsed() < DEADLINE, "{answer}\n{}", broker.process().last_lines());
        // A page has no news to wait for: it is looked at again, without taking the core from who makes the news.
        thread::park_timeout(LOOK_PAUSE);
    }
}

/// A counter or gauge of `/metrics` whose name ends so, summed up over the shards.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn figure(broker: &Broker, name: &str) -> u64 {
    let page = page(broker, "/metrics");
    let of_name = |line: &&str| line.split(['{', ' ']).next().is_some_and(|series| series.ends_with(name));
    let values: Vec<f64> =
        page.lines().filter(of_name).filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    assert!(!values.is_empty(), "{name} is told");
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count, below 2^53")]
    let sum = values.iter().sum::<f64>() as u64;
    sum
}

/// How many requests of an API the broker has had, by Kafka's name of it.
#[must_use]
pub fn requests(broker: &Broker, api: &str) -> u64 {
    let page = page(broker, "/metrics");
    let label = format!("api=\"{api}\"");
    let is_of_api = |line: &&str| line.starts_with("iolite_requests_total{") && line.contains(&label);
    let count = |line: &str| line.rsplit(' ').next().and_then(|count| count.parse::<u64>().ok());
    page.lines().filter(is_of_api).map(|line| count(line).expect("a count")).sum()
}

/// Asks for a figure until it is as wanted, and returns it.
///
/// # Panics
/// When that takes too long.
pub fn await_figure(broker: &Broker, name: &str, wanted: impl Fn(u64) -> bool) -> u64 {
    let began = Instant::now();
    loop {
        let value = figure(broker, name);
        if wanted(value) {
            return value;
        }
        assert!(began.elapsed() < DEADLINE, "{name} stays at {value}");
    }
}

/// The highest value of a figure that was seen until something is over.
///
/// # Panics
/// When that takes too long.
pub fn figure_max(broker: &Broker, name: &str, is_over: impl Fn() -> bool) -> u64 {
    let began = Instant::now();
    let mut highest = 0;
    loop {
        highest = highest.max(figure(broker, name));
        if is_over() {
            return highest;
        }
        assert!(began.elapsed() < DEADLINE, "it is not over; {name} was up to {highest}");
        thread::park_timeout(LOOK_PAUSE);
    }
}
