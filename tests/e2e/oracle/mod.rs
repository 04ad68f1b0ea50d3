//! The same request to Apache Kafka and to us: the answers' error codes must be the same.
//!
//! A case builds its request for a topic that exists on both sides and returns what of the answer must agree. Where we differ
//! on purpose, [`ACCEPTED`] says so, with both answers and the reason; a difference that is gone from the brokers must go
//! from the list as well.

mod admin;
mod data;
mod framing;

use e2e::broker::{self, Broker};
use e2e::unique;
use e2e::wire::{self, Connection};

/// One broker under comparison, with a topic made for the case.
pub struct Side {
    pub connection: Connection,
    pub topic: String,
    pub topic_id: uuid::Uuid,
    pub broker: &'static Broker,
}

/// A named request and what its answer comes down to.
pub type Case = (&'static str, fn(&mut Side) -> String);

/// Case, Kafka's answer, ours, and why.
const ACCEPTED: [(&str, &str, &str, &str); 0] = [];

/// Runs every case on both brokers and shows all differences at once.
fn compare(cases: &[Case]) {
    let (ours, kafkas) = (broker::shared(), broker::shared_kafka());
    let mut differences = Vec::new();
    for (name, case) in cases {
        let [kafka, iolite] = [kafkas, ours].map(|broker| case(&mut side(broker)));
        if std::env::var_os("IOLITE_E2E_SHOW").is_some() {
            println!("{name}: {kafka}");
        }
        let accepted = ACCEPTED.iter().find(|(accepted, ..)| accepted == name);
        match accepted {
            None if kafka == iolite => {}
            Some((_, theirs, mine, _)) if *theirs == kafka && *mine == iolite => {}
            _ => differences.push(format!("{name}\n    Kafka:  {kafka}\n    Iolite: {iolite}")),
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

fn side(broker: &'static Broker) -> Side {
    let topic = unique("oracle");
    let id = wire::create_topic(broker.kafka(), &topic, 2, &[("retention.ms", "-1")]);
    if broker.target() == broker::Target::Kafka {
        wire::await_leaders(broker.kafka(), &topic, 2);
    }
    Side { connection: Connection::open(broker.kafka()), topic, topic_id: uuid::Uuid::from_bytes(id), broker }
}
