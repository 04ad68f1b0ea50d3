//! Requests at the edges: our answers' error codes must be those of Apache Kafka.
//!
//! A case builds its request for a topic made for it and returns what of the answer must agree. `answers/` holds what Apache
//! Kafka 4.1.1 said; a run with `IOLITE_E2E_TARGET=kafka` proves that it still does, and records it anew where
//! `IOLITE_E2E_RECORD` is set. Where we differ on purpose, [`ACCEPTED`] says so, with our answer and the reason; a
//! difference that is gone must go from the list as well.

mod admin;
mod data;
mod framing;

use std::fs;

use e2e::broker::{self, Broker, Target};
use e2e::wire::{self, Connection};
use e2e::{project, unique};

/// One broker under comparison, with a topic made for the case.
pub struct Side {
    pub connection: Connection,
    pub topic: String,
    pub topic_id: uuid::Uuid,
    pub broker: &'static Broker,
}

/// A named request and what its answer comes down to.
pub type Case = (&'static str, fn(&mut Side) -> String);

/// Group, case, our answer where it is not Kafka's, and why.
const ACCEPTED: [(&str, &str, &str, &str); 0] = [];

/// Runs every case of a group and shows all differences at once.
fn compare(group: &str, cases: &[Case]) {
    let broker = broker::shared();
    let file = project().join(format!("tests/e2e/oracle/answers/{group}.txt"));
    let answers: Vec<(&str, String)> =
        cases.iter().map(|(name, case)| (*name, case(&mut side(broker)))).collect();
    if broker.target() == Target::Kafka && std::env::var_os("IOLITE_E2E_RECORD").is_some() {
        let text: String = answers.iter().map(|(name, answer)| format!("{name}: {answer}\n")).collect();
        fs::write(&file, text).expect("answers can be written");
    }
    let recorded = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert_eq!(recorded.lines().count(), cases.len(), "each case of {group} has a recorded answer");
    let mut differences = Vec::new();
    for ((name, answer), line) in answers.iter().zip(recorded.lines()) {
        let kafkas = line.strip_prefix(&format!("{name}: ")).expect("answers are in the order of the cases");
        let accepted = ACCEPTED.iter().find(|(in_group, case, ..)| in_group == &group && case == name);
        let expected = match accepted {
            Some((_, _, ours, _)) if broker.target() == Target::Iolite => ours,
            _ => kafkas,
        };
        if answer != expected {
            differences.push(format!("{name}\n    expected: {expected}\n    answered: {answer}"));
        }
    }
    assert!(differences.is_empty(), "{group}:\n{}", differences.join("\n"));
}

fn side(broker: &'static Broker) -> Side {
    let topic = unique("oracle");
    let id = wire::create_topic(broker.kafka(), &topic, 2, &[("retention.ms", "-1")]);
    Side { connection: Connection::open(broker.kafka()), topic, topic_id: uuid::Uuid::from_bytes(id), broker }
}
