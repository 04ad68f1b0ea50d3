//! The quorum end to end on files in memory and on a disk: what was answered is there after every crash.

mod crash;
mod formats;
mod life;
mod memory;

use std::future::Future;

use logic::metadata::{
    Command, Incarnation, Listener, NewTopic, RegisterBroker, Response, TopicReference, TopicShape,
};
use protocol::types::{BrokerId, TopicId};

use super::*;

const NODE: BrokerId = BrokerId(3);

/// Runs a test as the control thread runs: one thread, one local set.
fn on_control_thread<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

fn registration(incarnation: u8) -> Command {
    Command::RegisterBroker(RegisterBroker {
        cluster_id: "test".to_owned(),
        broker: NODE,
        incarnation: Incarnation([incarnation; 16]),
        listeners: vec![Listener { name: "PLAINTEXT".to_owned(), host: "127.0.0.1".to_owned(), port: 9092 }],
        rack: None,
    })
}

fn topic_id(number: u32) -> TopicId {
    let mut id = TopicId([1; 16]);
    id.0[..4].copy_from_slice(&number.to_le_bytes());
    id
}

fn topic_name(number: u32) -> String {
    format!("topic-{number}")
}

fn create(numbers: std::ops::Range<u32>, partition_count: i32) -> Command {
    Command::CreateTopics(
        numbers
            .map(|number| NewTopic {
                name: topic_name(number),
                id: topic_id(number),
                shape: TopicShape::Counts { partition_count, replication_factor: 1 },
                settings: vec![("retention.ms".to_owned(), Some("1000".to_owned()))],
            })
            .collect(),
    )
}

fn delete(number: u32) -> Command {
    Command::DeleteTopics(vec![TopicReference::Name(topic_name(number))])
}

/// Everything in the answer is a success.
#[track_caller]
fn assert_done(answer: &Answer) {
    let done = match &answer.response {
        Response::CreateTopics(results) | Response::DeleteTopics(results) => {
            results.iter().all(Result::is_ok)
        }
        Response::RegisterBroker(result) => result.is_ok(),
        _ => false,
    };
    assert!(done, "{answer:?}");
}
