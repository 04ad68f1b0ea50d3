//! Requests at the edges: our answers' error codes must be those of Apache Kafka.
//!
//! A case builds its request for a topic made for it and returns what of the answer must agree. `answers/` holds what Apache
//! Kafka 4.1.1 said; a run with `IOLITE_E2E_TARGET=kafka` proves that it still does, and records it anew where
//! `IOLITE_E2E_RECORD` is set. Where we differ on purpose, [`ACCEPTED`] says so, with our answer and the reason; a
//! difference that is gone must go from the list as well.

mod admin;
mod classic;
mod data;
mod framing;
mod group_configs;
mod group_script;
mod groups;
mod isolation;
mod native_client;
mod refused_transactions;
mod several;
mod transactions;

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

/// Group, case, our answer where it is not Kafka's, and why it stays so.
const ACCEPTED: &[(&str, &str, &str, &str)] = &[
    (
        "frames",
        "Metadata of -2 topics",
        "closed",
        "only -1 is a null; any other negative count is no request",
    ),
    (
        "frames",
        "a topic's name that is not UTF-8",
        "closed",
        "a name is text; what is none is not mended into one",
    ),
    ("fetch", "a negative number of bytes at most", ALL_READ, "no reason to call it a server's error"),
    ("fetch", "isolation level 9", ALL_READ, "any level but 1 reads uncommitted"),
    ("produce", "a batch and three bytes", "error 87 at -1", "bytes that are no batch were meant to be one"),
    ("produce", "offset deltas do not ascend", "error 87 at -1", "consumers would stumble over it"),
    ("produce", "compression 5", "error 87 at -1", "the batch is wrong, not the server"),
    ("produce", "compression 7", "error 87 at -1", "the batch is wrong, not the server"),
    (
        "produce",
        "gzip that is none",
        "error 0 at 0",
        "compressed batches are not opened unless a topic needs it",
    ),
    (
        "produce",
        "zstd that is none",
        "error 0 at 0",
        "compressed batches are not opened unless a topic needs it",
    ),
    ("produce", "length one too short", "error 87 at -1", "the next batch starts nowhere"),
    ("produce", "length one too long", "error 2 at -1", "cut short on its way"),
    ("produce", "length enormous", "error 2 at -1", "cut short on its way"),
    ("produce", "half a header", "error 2 at -1", "cut short on its way"),
    ("produce", "eleven bytes", "error 2 at -1", "cut short on its way"),
    ("produce", "magic 3", "error 87 at -1", "a format that we do not know will not be known on a retry"),
    ("configs", "delete an unknown key", "error 40", "a mistyped key would be ignored in silence"),
    ("configs", "operation 9", "error 42", "a client's mistake is no server's error"),
    (
        "mixed-groups",
        "it is refused",
        REFUSED_MIXED,
        "a subscription that can't be read is its writer's mistake",
    ),
    (
        "classic-joins",
        "an empty name of a static member",
        REFUSED_EMPTY_NAME,
        "it names nobody; in consumer groups Apache Kafka refuses it as well",
    ),
    (
        "isolation",
        "aborted, batch by batch",
        ABORTED_IN_ANSWER,
        "what is aborted in the answer is told; Apache Kafka tells what is up to the next entry of its index",
    ),
    (
        "isolation",
        "the highest time while it is open",
        "all 1@1; committed 0@0 | all 2@2; committed 0@0",
        "the highest of what may be read, not none because a higher one may not",
    ),
    (
        "isolation",
        "the highest time when it is cut",
        "all 2@2; committed 2@2",
        "what lies below the log's start is not told",
    ),
    (
        "several",
        "coordinators of the same group",
        r#"["key 0: error 0, here"]"#,
        "what is named again is looked up once",
    ),
    ("idempotence", "epoch -1", "error 87 at -1", "an id without an epoch is no producer"),
];

/// Group, case, our answer today, and what is wrong with it. A mended one must go from the list.
const TO_MEND: &[(&str, &str, &str, &str)] = &[
    ("frames", "SASL where there is none", "closed", "answers ILLEGAL_SASL_STATE once SASL is there"),
    (
        "produce",
        "log append time claimed",
        "error 32 at -1",
        "the broker sets the bit; the client's is ignored",
    ),
];

const REFUSED_MIXED: &str = "epoch 1, owns 2, every 5000 ms | error 23, generation -1  | error 79, generation -1  | \
    error 0, generation 2 range | error 23, generation -1  | error 23, generation -1  | error 22, owns 0 | \
    error 23, owns 0 | error 25, owns 0 | error 25 | error 22 | error 25 | error 22 | error 0 | error 22, [] | \
    error 0, each [25]";
const ABORTED_IN_ANSWER: &str = "all error 0 high 5 stable 5 start 0 [0] no list; \
    committed error 0 high 5 stable 5 start 0 [0] aborted [] | \
    all error 0 high 5 stable 5 start 0 [1] no list; \
    committed error 0 high 5 stable 5 start 0 [1] aborted [a from 1] | \
    all error 0 high 5 stable 5 start 0 [marker 2] no list; \
    committed error 0 high 5 stable 5 start 0 [marker 2] aborted [a from 1] | \
    all error 0 high 5 stable 5 start 0 [3] no list; \
    committed error 0 high 5 stable 5 start 0 [3] aborted [a from 3] | \
    all error 0 high 5 stable 5 start 0 [marker 4] no list; \
    committed error 0 high 5 stable 5 start 0 [marker 4] aborted [a from 3]";
const REFUSED_EMPTY_NAME: &str = "error 42, generation -1  | error 0, generation 1 range, leads | error 0, owns 1 | \
    (0 Stable consumer range [\"- says something owns 1\"] [])";
const ALL_READ: &str = r#"error 0, no session, ["error 0, high 3, stable 3, start 0, 93 B"]"#;

/// Runs every case of a group and shows all differences at once.
fn compare(group: &str, cases: &[Case]) {
    compare_on(broker::shared(), group, cases);
}

fn compare_on(broker: &'static Broker, group: &str, cases: &[Case]) {
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
        let accepted =
            ACCEPTED.iter().chain(TO_MEND).find(|(in_group, case, ..)| in_group == &group && case == name);
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
