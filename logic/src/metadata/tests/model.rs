//! Random commands against a naive model, and through bytes: encode, decode, apply must equal apply.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use protocol::types::PartitionIndex;

use super::*;
use crate::config::{GroupTerms, Operation, TermMs};

/// What a topic is to the model.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ModelTopic {
    id: TopicId,
    partitions: usize,
    settings: BTreeMap<String, String>,
    leader_epoch: i32,
}

type Model = BTreeMap<String, ModelTopic>;

/// One broker, so that every partition is led by it.
fn model_apply(model: &mut Model, command: &Command) {
    match command {
        Command::CreateTopics(topics) => {
            for topic in topics {
                let twice = topics.iter().filter(|other| other.name == topic.name).count() > 1;
                let TopicShape::Counts { partition_count, replication_factor } = topic.shape else {
                    continue;
                };
                let taken = model.iter().any(|(name, other)| {
                    name.replace('.', "_") == topic.name.replace('.', "_") || other.id == topic.id
                });
                let wrong = topic.settings.iter().any(|(_, value)| value.as_deref() != Some("5000"));
                if !twice && !taken && !wrong && replication_factor == 1 && partition_count > 0 {
                    let settings = topic
                        .settings
                        .iter()
                        .map(|(name, value)| (name.clone(), value.clone().unwrap()))
                        .collect();
                    let partitions = usize::try_from(partition_count).unwrap();
                    let made = ModelTopic { id: topic.id, partitions, settings, leader_epoch: 0 };
                    model.insert(topic.name.clone(), made);
                }
            }
        }
        Command::DeleteTopics(references) => {
            let before = model.clone();
            let name_of = |reference: &TopicReference| match reference {
                TopicReference::Name(name) => before.contains_key(name).then(|| name.clone()),
                TopicReference::Id(id) => {
                    before.iter().find(|(_, topic)| topic.id == *id).map(|(name, _)| name.clone())
                }
            };
            let names: Vec<String> = references.iter().filter_map(name_of).collect();
            for name in &names {
                if names.iter().filter(|other| *other == name).count() == 1 {
                    model.remove(name);
                }
            }
        }
        Command::CreatePartitions(topics) => {
            for more in topics {
                let twice = topics.iter().filter(|other| other.topic == more.topic).count() > 1;
                let count = usize::try_from(more.count).unwrap_or(0);
                if let Some(topic) = model.get_mut(&more.topic)
                    && !twice
                    && count > topic.partitions
                {
                    topic.partitions = count;
                }
            }
        }
        Command::AlterConfigs(alterations) => {
            for alteration in alterations {
                let twice =
                    alterations.iter().filter(|other| other.resource == alteration.resource).count() > 1;
                let Resource::Topic(name) = &alteration.resource else { continue };
                let right = alteration.changes.iter().all(|change| change.value.as_deref() == Some("5000"));
                if let Some(topic) = model.get_mut(name)
                    && !twice
                    && right
                {
                    if alteration.replace {
                        topic.settings.clear();
                    }
                    for change in &alteration.changes {
                        topic.settings.insert(change.name.clone(), "5000".to_owned());
                    }
                }
            }
        }
        Command::RegisterBroker(_) => model.values_mut().for_each(|topic| topic.leader_epoch += 1),
        Command::AllocateProducerIds { .. } | Command::UpdateFeatures(_) => {}
    }
}

fn model_of(image: &Image) -> Model {
    image
        .topics()
        .map(|topic| {
            let epoch = topic.partitions[0].leader_epoch.get();
            let settings = BTreeMap::clone(&topic.settings);
            let partitions = topic.partitions.len();
            (topic.name.to_string(), ModelTopic { id: topic.id, partitions, settings, leader_epoch: epoch })
        })
        .collect()
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "c.d", "c_d", "e-f"]).prop_map(str::to_owned)
}

fn id() -> impl Strategy<Value = TopicId> {
    (1_u8..40).prop_map(topic_id)
}

fn setting() -> impl Strategy<Value = (String, Option<String>)> {
    let names = prop::sample::select(vec!["retention.ms", "segment.ms"]);
    (names, prop::sample::select(vec![Some("5000"), Some("5000"), Some("x"), None]))
        .prop_map(|(name, value)| (name.to_owned(), value.map(str::to_owned)))
}

fn new_topic() -> impl Strategy<Value = NewTopic> {
    (name(), id(), -1..5, 0_i16..3, vec(setting(), 0..2)).prop_map(
        |(name, id, partition_count, replication_factor, settings)| NewTopic {
            name,
            id,
            shape: TopicShape::Counts { partition_count, replication_factor },
            settings,
        },
    )
}

fn reference() -> impl Strategy<Value = TopicReference> {
    prop_oneof![name().prop_map(TopicReference::Name), id().prop_map(TopicReference::Id)]
}

fn alteration() -> impl Strategy<Value = Alteration> {
    let of_topic =
        (name(), any::<bool>(), setting()).prop_map(|(name, replace, (setting, value))| Alteration {
            resource: Resource::Topic(name),
            replace,
            changes: vec![ConfigChange { name: setting, operation: Operation::Set, value }],
        });
    prop_oneof![3 => of_topic, 1 => alteration_of_group()]
}

/// The model knows topics alone: what becomes of groups has only to survive bytes.
fn alteration_of_group() -> impl Strategy<Value = Alteration> {
    let setting = prop::sample::select(vec!["consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"]);
    let value = prop::sample::select(vec![Some("50000"), Some("6000"), Some("x"), None]);
    (name(), any::<bool>(), setting, value).prop_map(|(name, replace, setting, value)| {
        let operation = if value.is_some() { Operation::Set } else { Operation::Delete };
        let value = value.map(str::to_owned);
        let changes = vec![ConfigChange { name: setting.to_owned(), operation, value }];
        let resource = Resource::Group { name, terms: GroupTerms::default() };
        Alteration { resource, replace, changes }
    })
}

fn term() -> impl Strategy<Value = TermMs> {
    any::<[i32; 3]>().prop_map(|[least, default, most]| TermMs { least, default, most })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        3 => vec(new_topic(), 0..4).prop_map(Command::CreateTopics),
        1 => vec(reference(), 0..3).prop_map(Command::DeleteTopics),
        1 => vec((name(), -1..8), 0..3).prop_map(|topics| {
            let more = |(topic, count)| MorePartitions { topic, count, assignments: None };
            Command::CreatePartitions(topics.into_iter().map(more).collect())
        }),
        2 => vec(alteration(), 0..3).prop_map(Command::AlterConfigs),
        1 => (0_i64..3).prop_map(|epoch| Command::AllocateProducerIds {
            broker: BrokerId(1),
            broker_epoch: BrokerEpoch(epoch),
        }),
        1 => vec(update_of_feature(), 0..3).prop_map(Command::UpdateFeatures),
    ]
}

fn update_of_feature() -> impl Strategy<Value = FeatureUpdate> {
    let feature = prop::sample::select(vec!["group.version", "transaction.version", "no.such"]);
    let direction = prop::sample::select(vec![Direction::Upgrade, Direction::Downgrade, Direction::Unknown]);
    (feature, -1_i16..4, direction).prop_map(|(feature, level, direction)| FeatureUpdate {
        feature: feature.to_owned(),
        level,
        direction,
    })
}

/// Commands that the model doesn't follow, for the round trip alone.
fn any_command() -> impl Strategy<Value = Command> {
    let brokers = || vec(any::<i32>().prop_map(BrokerId), 0..4);
    let operation =
        prop::sample::select(vec![Operation::Set, Operation::Delete, Operation::Append, Operation::Subtract]);
    let resource = prop_oneof![
        any::<String>().prop_map(Resource::Topic),
        any::<i32>().prop_map(|broker| Resource::Broker(BrokerId(broker))),
        Just(Resource::Cluster),
        (any::<String>(), term(), term()).prop_map(|(name, heartbeat_interval, session_timeout)| {
            Resource::Group { name, terms: GroupTerms { heartbeat_interval, session_timeout } }
        }),
    ];
    let change = (any::<String>(), operation, option::of(any::<String>()))
        .prop_map(|(name, operation, value)| ConfigChange { name, operation, value });
    let listener = (any::<String>(), any::<String>(), any::<u16>()).prop_map(|(name, host, port)| Listener {
        name,
        host,
        port,
    });
    prop_oneof![
        command(),
        (any::<String>(), id(), vec((any::<i32>(), brokers()), 0..4)).prop_map(|(name, id, lists)| {
            let assignment =
                |(partition, brokers)| Assignment { partition: PartitionIndex(partition), brokers };
            let shape = TopicShape::Assigned(lists.into_iter().map(assignment).collect());
            Command::CreateTopics(vec![NewTopic { name, id, shape, settings: Vec::new() }])
        }),
        (any::<String>(), any::<i32>(), option::of(vec(brokers(), 0..3))).prop_map(
            |(topic, count, assignments)| {
                Command::CreatePartitions(vec![MorePartitions { topic, count, assignments }])
            }
        ),
        (resource, any::<bool>(), vec(change, 0..4)).prop_map(|(resource, replace, changes)| {
            Command::AlterConfigs(vec![Alteration { resource, replace, changes }])
        }),
        (any::<String>(), any::<i32>(), any::<[u8; 16]>(), vec(listener, 0..3), option::of(any::<String>()))
            .prop_map(|(cluster_id, broker, incarnation, listeners, rack)| {
                Command::RegisterBroker(RegisterBroker {
                    cluster_id,
                    broker: BrokerId(broker),
                    incarnation: Incarnation(incarnation),
                    listeners,
                    rack,
                })
            }),
    ]
}

proptest! {
    #[test]
    fn images_follow_the_model_and_survive_bytes(commands in vec(command(), 0..30), starts in 0_u8..3) {
        let mut image = cluster(&[1]);
        let mut model = Model::new();
        let mut commands = commands;
        for start in 0..starts {
            commands.insert(commands.len() / 2, registration(1, 2 + start));
        }
        for command in &commands {
            let before = image.clone();
            let copy = before.clone();
            let (response, delta) = apply(&mut image, command);
            prop_assert_eq!(before.clone(), copy, "images that are held don't change");
            model_apply(&mut model, command);
            prop_assert_eq!(model_of(&image), model.clone());
            let partitions: usize = model.values().map(|topic| topic.partitions).sum();
            prop_assert_eq!(image.partition_count(), partitions);
            for topic in image.topics() {
                prop_assert_eq!(image.topic_by_id(topic.id), Some(topic));
            }
            check_delta(&before, &image, &delta)?;

            let mut decoded = codec::decode_image(&codec::encode_image(&before)).unwrap();
            let again = codec::decode_command(&codec::encode_command(command)).unwrap();
            prop_assert_eq!((response, delta), apply(&mut decoded, &again));
            prop_assert_eq!(&decoded, &image);
        }
    }

    #[test]
    fn commands_survive_bytes(command in any_command()) {
        prop_assert_eq!(codec::decode_command(&codec::encode_command(&command)).unwrap(), command);
    }

    #[test]
    fn damaged_bytes_are_an_error_or_a_command_never_a_crash(
        command in any_command(), position in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<bool>(),
    ) {
        let mut bytes = codec::encode_command(&command);
        let position = position.index(bytes.len());
        if cut { bytes.truncate(position) } else { bytes[position] ^= flip }
        if let Ok(decoded) = codec::decode_command(&bytes) {
            let mut image = cluster(&[1]);
            apply(&mut image, &decoded);
        }
    }

    #[test]
    fn damaged_snapshots_are_an_error_or_an_image_never_a_crash(
        commands in vec(command(), 0..6), position in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let mut image = cluster(&[1, 2]);
        for command in &commands {
            apply(&mut image, command);
        }
        let mut bytes = codec::encode_image(&image);
        let position = position.index(bytes.len());
        bytes[position] ^= flip;
        if let Ok(decoded) = codec::decode_image(&bytes) {
            prop_assert_eq!(codec::decode_image(&codec::encode_image(&decoded)).unwrap(), decoded);
        }
    }
}

/// A delta names exactly the topics that differ, each as it was and is.
fn check_delta(before: &Image, after: &Image, delta: &Delta) -> Result<(), TestCaseError> {
    let sorted = |mut delta: Delta| {
        delta.topics.sort_by_key(|change| change.topic().id);
        delta
    };
    prop_assert_eq!(sorted(Delta::between(before, after)), sorted(delta.clone()));
    Ok(())
}
