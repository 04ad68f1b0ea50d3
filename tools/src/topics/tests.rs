//! What is shown of topics, and which command lines are taken.

use clap::Parser;
use client::admin::{PartitionDescription, TopicConfig};
use protocol::types::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use serde_json::json;

use super::*;
use crate::cli::Cli;

fn topic() -> TopicDescription {
    let partition = |index, leader| PartitionDescription {
        index: PartitionIndex(index),
        leader,
        leader_epoch: LeaderEpoch(4),
        replicas: vec![BrokerId(1), BrokerId(2)],
        in_sync: vec![BrokerId(2)],
        offline: vec![BrokerId(1)],
    };
    TopicDescription {
        name: "orders".to_owned(),
        id: TopicId(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"),
        is_internal: false,
        partitions: vec![partition(0, Some(BrokerId(2))), partition(1, None)],
    }
}

fn shown() -> Shown {
    let config = |name: &str, value: Option<&str>, source| TopicConfig {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        source,
    };
    let configs = vec![
        config("retention.ms", Some("1000"), ConfigSource::Topic),
        config("segment.bytes", Some("1"), ConfigSource::Default),
        config("ssl", None, ConfigSource::Other(9)),
    ];
    Shown::of(&topic(), &[(0, Some(3), Some(12))], configs)
}

#[test]
fn a_description_tells_what_an_operator_asks() {
    let expected = "\
orders  id ABEiM0RVZneImaq7zN3u_w  2 partitions
  partition  leader  epoch  replicas  in sync  start  end
          0  2           4  1,2       2            3   12
          1  none        4  1,2       2            -    -
  retention.ms=1000
  segment.bytes=1  (default)
  ssl=(a secret)  (source 9)
";
    assert_eq!(show::describe(&[shown()]), expected);
    assert_eq!(show::describe(&[]), "there are no topics\n");
}

#[test]
fn the_same_for_programs() {
    let expected = json!({
        "name": "orders",
        "id": "ABEiM0RVZneImaq7zN3u_w",
        "internal": false,
        "partitions": [
            {"partition": 0, "leader": 2, "leader_epoch": 4, "replicas": [1, 2], "in_sync": [2], "offline": [1],
             "start": 3, "end": 12},
            {"partition": 1, "leader": null, "leader_epoch": 4, "replicas": [1, 2], "in_sync": [2], "offline": [1],
             "start": null, "end": null},
        ],
        "configs": [
            {"name": "retention.ms", "value": "1000", "source": "topic"},
            {"name": "segment.bytes", "value": "1", "source": "default"},
            {"name": "ssl", "value": null, "source": "source 9"},
        ],
    });
    assert_eq!(serde_json::to_value(shown()).expect("it is JSON"), expected);
}

#[test]
fn a_list_has_a_line_for_each_topic() {
    let listed = [Listed::of(&topic())];
    let expected = "\
topic   partitions  replicas  id
orders           2         2  ABEiM0RVZneImaq7zN3u_w
";
    assert_eq!(show::list(&listed), expected);
    assert_eq!(show::list(&[]), "there are no topics\n");
    let without_id = TopicDescription { id: TopicId::ZERO, ..topic() };
    let json = serde_json::to_value(Listed::of(&without_id)).expect("it is JSON");
    assert_eq!(
        json,
        json!({"name": "orders", "id": null, "internal": false, "partitions": 2, "replicas": 2})
    );
}

#[test]
fn command_lines_that_make_no_sense_are_refused() {
    let taken = |line: &str| Cli::try_parse_from(line.split(' '));
    for line in [
        "iolite topics list --json --bootstrap a:1,b:2",
        "iolite topics --bootstrap a:1 describe",
        "iolite topics describe a b --configs",
        "iolite topics create a -p 3 -r 1 --set retention.ms=1 --set cleanup.policy=compact,delete",
        "iolite topics delete a b --if-exists",
        "iolite topics alter a --unset retention.ms --partitions 9",
        "iolite topics alter a --set x=",
    ] {
        taken(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
    for line in [
        "iolite topics",
        "iolite topics create",
        "iolite topics create a --partitions 0",
        "iolite topics create a --set retention.ms",
        "iolite topics create a --set =1",
        "iolite topics delete",
        "iolite topics alter a",
        "iolite topics list --timeout 0",
    ] {
        assert!(taken(line).is_err(), "{line}");
    }
}
