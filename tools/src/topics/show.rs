//! What is told of topics: a table for people, and what becomes JSON for programs.
//!
//! The JSON's names are an interface: a name may be added, and none is changed or taken away.

use std::collections::BTreeMap;

use client::admin::{ConfigSource, PartitionDescription, TopicConfig, TopicDescription};
use protocol::types::BrokerId;
use serde::Serialize;

use crate::output::{Heading, Table, count};

/// A line of the list.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    name: String,
    /// As Kafka writes ids; none where the cluster has none.
    id: Option<String>,
    internal: bool,
    partitions: usize,
    replicas: usize,
}

/// A topic, described.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    #[serde(flatten)]
    summary: Summary,
    partitions: Vec<ShownPartition>,
    configs: Vec<ShownConfig>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Summary {
    name: String,
    id: Option<String>,
    internal: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct ShownPartition {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    offline: Vec<i32>,
    start: Option<i64>,
    end: Option<i64>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct ShownConfig {
    name: String,
    /// None where it is a secret.
    value: Option<String>,
    source: String,
}

impl Listed {
    pub fn of(topic: &TopicDescription) -> Self {
        let Summary { name, id, internal } = Summary::of(topic);
        let replicas = topic.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(0);
        Self { name, id, internal, partitions: topic.partitions.len(), replicas }
    }
}

impl Summary {
    fn of(topic: &TopicDescription) -> Self {
        let has_id = topic.id.0 != [0; 16];
        Self { name: topic.name.clone(), id: has_id.then(|| topic.id.text()), internal: topic.is_internal }
    }
}

impl Shown {
    /// A topic, with first and end offsets of partitions as far as they are known.
    pub fn of(
        topic: &TopicDescription,
        offsets: &[(i32, Option<i64>, Option<i64>)],
        configs: Vec<TopicConfig>,
    ) -> Self {
        let by_index: BTreeMap<i32, (Option<i64>, Option<i64>)> =
            offsets.iter().map(|(index, start, end)| (*index, (*start, *end))).collect();
        let show = |partition: &PartitionDescription| {
            let index = partition.index.get();
            let (start, end) = by_index.get(&index).copied().unwrap_or_default();
            ShownPartition::of(partition, start, end)
        };
        let partitions = topic.partitions.iter().map(show).collect();
        Self {
            summary: Summary::of(topic),
            partitions,
            configs: configs.into_iter().map(shown_config).collect(),
        }
    }
}

impl ShownPartition {
    fn of(partition: &PartitionDescription, start: Option<i64>, end: Option<i64>) -> Self {
        let ids = |brokers: &[BrokerId]| brokers.iter().map(|id| id.get()).collect();
        Self {
            partition: partition.index.get(),
            leader: partition.leader.map(|leader| leader.get()),
            leader_epoch: partition.leader_epoch.get(),
            replicas: ids(&partition.replicas),
            in_sync: ids(&partition.in_sync),
            offline: ids(&partition.offline),
            start,
            end,
        }
    }
}

fn shown_config(config: TopicConfig) -> ShownConfig {
    let source = match config.source {
        ConfigSource::Topic => "topic".to_owned(),
        ConfigSource::Broker => "broker".to_owned(),
        ConfigSource::Default => "default".to_owned(),
        ConfigSource::Other(code) => format!("source {code}"),
    };
    ShownConfig { name: config.name, value: config.value, source }
}

/// The list for people.
pub fn list(topics: &[Listed]) -> String {
    if topics.is_empty() {
        return "there are no topics\n".to_owned();
    }
    let mut table = Table::new(&[
        Heading::Left("topic"),
        Heading::Right("partitions"),
        Heading::Right("replicas"),
        Heading::Left("id"),
    ]);
    for topic in topics {
        let id = topic.id.clone().unwrap_or_default();
        table.row([topic.name.clone(), topic.partitions.to_string(), topic.replicas.to_string(), id]);
    }
    table.text("")
}

/// Descriptions for people.
pub fn describe(topics: &[Shown]) -> String {
    if topics.is_empty() {
        return "there are no topics\n".to_owned();
    }
    let texts: Vec<String> = topics.iter().map(describe_one).collect();
    texts.join("\n")
}

fn describe_one(topic: &Shown) -> String {
    let mut text = topic.summary.name.clone();
    if let Some(id) = &topic.summary.id {
        text.push_str(&format!("  id {id}"));
    }
    text.push_str(&format!("  {}", count(topic.partitions.len(), "partition")));
    text.push_str(if topic.summary.internal { "  internal\n" } else { "\n" });
    let mut table = Table::new(&[
        Heading::Right("partition"),
        Heading::Left("leader"),
        Heading::Right("epoch"),
        Heading::Left("replicas"),
        Heading::Left("in sync"),
        Heading::Right("start"),
        Heading::Right("end"),
    ]);
    for partition in &topic.partitions {
        let known = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |known| known.to_string());
        table.row([
            partition.partition.to_string(),
            partition.leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string()),
            partition.leader_epoch.to_string(),
            listed(&partition.replicas),
            listed(&partition.in_sync),
            known(partition.start),
            known(partition.end),
        ]);
    }
    text.push_str(&table.text("  "));
    for config in &topic.configs {
        let value = config.value.as_deref().unwrap_or("(a secret)");
        let origin = if config.source == "topic" { String::new() } else { format!("  ({})", config.source) };
        text.push_str(&format!("  {}={value}{origin}\n", config.name));
    }
    text
}

fn listed(ids: &[i32]) -> String {
    let words: Vec<String> = ids.iter().map(i32::to_string).collect();
    words.join(",")
}
