//! The metadata's behaviour: scripts of commands and what they answer, a model, and the round trip through bytes.

mod model;
mod placement;
mod scripts;

use protocol::types::{BrokerId, TopicId};

use super::*;

/// An image with these brokers registered.
fn cluster(brokers: &[i32]) -> Image {
    let mut image = Image::default();
    for broker in brokers {
        let (response, _) = apply(&mut image, &registration(*broker, 1));
        assert!(matches!(response, Response::RegisterBroker(Ok(_))), "{response:?}");
    }
    image
}

fn apply(image: &mut Image, command: &Command) -> (Response, Delta) {
    let next = image.sequence() + 1;
    image.apply(next, command)
}

fn registration(broker: i32, incarnation: u8) -> Command {
    Command::RegisterBroker(RegisterBroker {
        cluster_id: "Zm9yIGEgY2x1c3Rlcg".to_owned(),
        broker: BrokerId(broker),
        incarnation: Incarnation([incarnation; 16]),
        listeners: vec![Listener { name: "PLAINTEXT".to_owned(), host: "localhost".to_owned(), port: 9092 }],
        rack: None,
    })
}

fn topic_id(number: u8) -> TopicId {
    TopicId([number; 16])
}

fn counts(name: &str, id: u8, partition_count: i32, replication_factor: i16) -> NewTopic {
    let shape = TopicShape::Counts { partition_count, replication_factor };
    NewTopic { name: name.to_owned(), id: topic_id(id), shape, settings: Vec::new() }
}
