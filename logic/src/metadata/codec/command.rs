//! Commands as FlatBuffers.

use flatbuffers::{UnionWIPOffset, WIPOffset};
use protocol::generated::metadata as schema;
use protocol::types::{BrokerId, PartitionIndex};

use super::{
    Builder, DecodeError, Offsets, decode_brokers, decode_incarnation, decode_listeners, decode_topic_id,
    encode_brokers, encode_id, encode_listeners, encode_settings, verifier_options,
};
use crate::config::{GroupTerms, Operation, TermMs};
use crate::metadata::{
    Alteration, Assignment, BrokerEpoch, Command, ConfigChange, Direction, FeatureUpdate, MorePartitions,
    NewTopic, RegisterBroker, Resource, TopicReference, TopicShape,
};

/// Encodes a command.
#[must_use]
pub fn encode_command(command: &Command) -> Vec<u8> {
    let mut builder = Builder::new();
    let (body_type, body) = encode_body(&mut builder, command);
    let root = schema::Command::create(&mut builder, &schema::CommandArgs { body_type, body: Some(body) });
    builder.finish_minimal(root);
    builder.finished_data().to_vec()
}

fn encode_body<'a>(
    builder: &mut Builder<'a>,
    command: &Command,
) -> (schema::Body, WIPOffset<UnionWIPOffset>) {
    match command {
        Command::CreateTopics(topics) => {
            let topics: Vec<_> = topics.iter().map(|topic| encode_new_topic(builder, topic)).collect();
            let topics = Some(builder.create_vector(&topics));
            let body = schema::CreateTopics::create(builder, &schema::CreateTopicsArgs { topics });
            (schema::Body::CreateTopics, body.as_union_value())
        }
        Command::DeleteTopics(topics) => {
            let topics: Vec<_> = topics.iter().map(|topic| encode_reference(builder, topic)).collect();
            let topics = Some(builder.create_vector(&topics));
            let body = schema::DeleteTopics::create(builder, &schema::DeleteTopicsArgs { topics });
            (schema::Body::DeleteTopics, body.as_union_value())
        }
        Command::CreatePartitions(topics) => {
            let topics: Vec<_> = topics.iter().map(|more| encode_more(builder, more)).collect();
            let topics = Some(builder.create_vector(&topics));
            let body = schema::CreatePartitions::create(builder, &schema::CreatePartitionsArgs { topics });
            (schema::Body::CreatePartitions, body.as_union_value())
        }
        Command::AlterConfigs(alterations) => {
            let alterations: Vec<_> =
                alterations.iter().map(|alteration| encode_alteration(builder, alteration)).collect();
            let alterations = Some(builder.create_vector(&alterations));
            let body = schema::AlterConfigs::create(builder, &schema::AlterConfigsArgs { alterations });
            (schema::Body::AlterConfigs, body.as_union_value())
        }
        Command::AllocateProducerIds { broker, broker_epoch } => {
            let args = schema::AllocateProducerIdsArgs { broker: broker.get(), broker_epoch: broker_epoch.0 };
            let body = schema::AllocateProducerIds::create(builder, &args);
            (schema::Body::AllocateProducerIds, body.as_union_value())
        }
        Command::RegisterBroker(registration) => {
            let cluster_id = Some(builder.create_string(&registration.cluster_id));
            let listeners = Some(encode_listeners(builder, &registration.listeners));
            let rack = registration.rack.as_ref().map(|rack| builder.create_string(rack));
            let args = schema::RegisterBrokerArgs {
                cluster_id,
                broker: registration.broker.get(),
                incarnation: Some(&encode_id(registration.incarnation.0)),
                listeners,
                rack,
            };
            let body = schema::RegisterBroker::create(builder, &args);
            (schema::Body::RegisterBroker, body.as_union_value())
        }
        Command::UpdateFeatures(updates) => {
            let updates: Vec<_> = updates.iter().map(|update| encode_update(builder, update)).collect();
            let updates = Some(builder.create_vector(&updates));
            let body = schema::UpdateFeatures::create(builder, &schema::UpdateFeaturesArgs { updates });
            (schema::Body::UpdateFeatures, body.as_union_value())
        }
    }
}

fn encode_update<'a>(
    builder: &mut Builder<'a>,
    update: &FeatureUpdate,
) -> WIPOffset<schema::FeatureUpdate<'a>> {
    let feature = Some(builder.create_string(&update.feature));
    let direction = match update.direction {
        Direction::Upgrade => schema::Direction::Upgrade,
        Direction::Downgrade => schema::Direction::Downgrade,
        Direction::Unknown => schema::Direction::Unknown,
    };
    let args = schema::FeatureUpdateArgs { feature, level: update.level, direction };
    schema::FeatureUpdate::create(builder, &args)
}

fn encode_new_topic<'a>(builder: &mut Builder<'a>, topic: &NewTopic) -> WIPOffset<schema::NewTopic<'a>> {
    let name = Some(builder.create_string(&topic.name));
    let (partition_count, replication_factor, assignments) = match &topic.shape {
        TopicShape::Counts { partition_count, replication_factor } => {
            (*partition_count, *replication_factor, None)
        }
        TopicShape::Assigned(assignments) => {
            let borrowed =
                assignments.iter().map(|assignment| (assignment.partition, assignment.brokers.as_slice()));
            (-1, -1, Some(encode_assignments(builder, borrowed)))
        }
    };
    let settings =
        encode_settings(builder, topic.settings.iter().map(|(name, value)| (name, value.as_ref())));
    let args = schema::NewTopicArgs {
        name,
        id: Some(&encode_id(topic.id.0)),
        partition_count,
        replication_factor,
        assignments,
        settings: Some(settings),
    };
    schema::NewTopic::create(builder, &args)
}

fn encode_assignments<'a, 'b>(
    builder: &mut Builder<'a>,
    assignments: impl Iterator<Item = (PartitionIndex, &'b [BrokerId])>,
) -> Offsets<'a, schema::Assignment<'a>> {
    let assignments: Vec<_> = assignments
        .map(|(partition, brokers)| {
            let brokers = Some(encode_brokers(builder, brokers));
            schema::Assignment::create(
                builder,
                &schema::AssignmentArgs { partition: partition.get(), brokers },
            )
        })
        .collect();
    builder.create_vector(&assignments)
}

fn encode_reference<'a>(
    builder: &mut Builder<'a>,
    reference: &TopicReference,
) -> WIPOffset<schema::TopicReference<'a>> {
    match reference {
        TopicReference::Name(name) => {
            let name = Some(builder.create_string(name));
            schema::TopicReference::create(builder, &schema::TopicReferenceArgs { id: None, name })
        }
        TopicReference::Id(id) => {
            let id = encode_id(id.0);
            schema::TopicReference::create(builder, &schema::TopicReferenceArgs { id: Some(&id), name: None })
        }
    }
}

fn encode_more<'a>(
    builder: &mut Builder<'a>,
    more: &MorePartitions,
) -> WIPOffset<schema::MorePartitions<'a>> {
    let topic = Some(builder.create_string(&more.topic));
    let assignments = more.assignments.as_ref().map(|lists| {
        let numbered = (0..).map(PartitionIndex).zip(lists.iter().map(Vec::as_slice));
        encode_assignments(builder, numbered)
    });
    schema::MorePartitions::create(
        builder,
        &schema::MorePartitionsArgs { topic, count: more.count, assignments },
    )
}

fn encode_alteration<'a>(
    builder: &mut Builder<'a>,
    alteration: &Alteration,
) -> WIPOffset<schema::Alteration<'a>> {
    let (mut topic, mut group, mut terms, mut broker) = (None, None, None, 0);
    let kind = match &alteration.resource {
        Resource::Topic(name) => {
            topic = Some(builder.create_string(name));
            schema::ResourceKind::Topic
        }
        Resource::Broker(id) => {
            broker = id.get();
            schema::ResourceKind::Broker
        }
        Resource::Cluster => schema::ResourceKind::Cluster,
        Resource::Group { name, terms: told } => {
            group = Some(builder.create_string(name));
            terms = Some(encode_terms(builder, told));
            schema::ResourceKind::Group
        }
    };
    let changes: Vec<_> = alteration
        .changes
        .iter()
        .map(|change| {
            let name = Some(builder.create_string(&change.name));
            let value = change.value.as_ref().map(|value| builder.create_string(value));
            let operation = match change.operation {
                Operation::Set => schema::Operation::Set,
                Operation::Delete => schema::Operation::Delete,
                Operation::Append => schema::Operation::Append,
                Operation::Subtract => schema::Operation::Subtract,
            };
            schema::ConfigChange::create(builder, &schema::ConfigChangeArgs { name, operation, value })
        })
        .collect();
    let changes = Some(builder.create_vector(&changes));
    let replace = alteration.replace;
    let args = schema::AlterationArgs { kind, topic, broker, replace, changes, group, terms };
    schema::Alteration::create(builder, &args)
}

fn encode_terms<'a>(builder: &mut Builder<'a>, terms: &GroupTerms) -> WIPOffset<schema::GroupTerms<'a>> {
    let mut term = |term: TermMs| {
        let args = schema::TermMsArgs { least: term.least, default: term.default, most: term.most };
        schema::TermMs::create(builder, &args)
    };
    let heartbeat_interval = Some(term(terms.heartbeat_interval));
    let session_timeout = Some(term(terms.session_timeout));
    schema::GroupTerms::create(builder, &schema::GroupTermsArgs { heartbeat_interval, session_timeout })
}

/// Decodes a command.
///
/// # Errors
/// [`DecodeError`] for anything that [`encode_command`] did not make.
pub fn decode_command(bytes: &[u8]) -> Result<Command, DecodeError> {
    let root = flatbuffers::root_with_opts::<schema::Command<'_>>(&verifier_options(), bytes)?;
    if let Some(body) = root.body_as_create_topics() {
        body.topics().iter().map(decode_new_topic).collect::<Result<_, _>>().map(Command::CreateTopics)
    } else if let Some(body) = root.body_as_delete_topics() {
        body.topics().iter().map(decode_reference).collect::<Result<_, _>>().map(Command::DeleteTopics)
    } else if let Some(body) = root.body_as_create_partitions() {
        Ok(Command::CreatePartitions(body.topics().iter().map(decode_more).collect()))
    } else if let Some(body) = root.body_as_alter_configs() {
        body.alterations().iter().map(decode_alteration).collect::<Result<_, _>>().map(Command::AlterConfigs)
    } else if let Some(body) = root.body_as_allocate_producer_ids() {
        Ok(Command::AllocateProducerIds {
            broker: BrokerId(body.broker()),
            broker_epoch: BrokerEpoch(body.broker_epoch()),
        })
    } else if let Some(body) = root.body_as_register_broker() {
        Ok(Command::RegisterBroker(RegisterBroker {
            cluster_id: body.cluster_id().to_owned(),
            broker: BrokerId(body.broker()),
            incarnation: decode_incarnation(body.incarnation()),
            listeners: decode_listeners(body.listeners()),
            rack: body.rack().map(str::to_owned),
        }))
    } else if let Some(body) = root.body_as_update_features() {
        body.updates().iter().map(decode_update).collect::<Result<_, _>>().map(Command::UpdateFeatures)
    } else {
        Err(DecodeError::Unknown { what: "command", value: root.body_type().0 })
    }
}

fn decode_update(update: schema::FeatureUpdate<'_>) -> Result<FeatureUpdate, DecodeError> {
    let direction = match update.direction() {
        schema::Direction::Upgrade => Direction::Upgrade,
        schema::Direction::Downgrade => Direction::Downgrade,
        schema::Direction::Unknown => Direction::Unknown,
        other => return Err(DecodeError::Unknown { what: "direction of a feature", value: other.0 }),
    };
    Ok(FeatureUpdate { feature: update.feature().to_owned(), level: update.level(), direction })
}

fn decode_new_topic(topic: schema::NewTopic<'_>) -> Result<NewTopic, DecodeError> {
    let shape = match topic.assignments() {
        None => TopicShape::Counts {
            partition_count: topic.partition_count(),
            replication_factor: topic.replication_factor(),
        },
        Some(assignments) => TopicShape::Assigned(
            assignments
                .iter()
                .map(|assignment| Assignment {
                    partition: PartitionIndex(assignment.partition()),
                    brokers: decode_brokers(assignment.brokers()),
                })
                .collect(),
        ),
    };
    Ok(NewTopic {
        name: topic.name().to_owned(),
        id: decode_topic_id(topic.id()),
        shape,
        settings: topic
            .settings()
            .iter()
            .map(|setting| (setting.name().to_owned(), setting.value().map(str::to_owned)))
            .collect(),
    })
}

fn decode_reference(reference: schema::TopicReference<'_>) -> Result<TopicReference, DecodeError> {
    match (reference.id(), reference.name()) {
        (Some(id), None) => Ok(TopicReference::Id(decode_topic_id(id))),
        (None, Some(name)) => Ok(TopicReference::Name(name.to_owned())),
        _ => Err(DecodeError::Inconsistent("a topic is named by its id or by its name")),
    }
}

fn decode_more(more: schema::MorePartitions<'_>) -> MorePartitions {
    MorePartitions {
        topic: more.topic().to_owned(),
        count: more.count(),
        assignments: more
            .assignments()
            .map(|lists| lists.iter().map(|list| decode_brokers(list.brokers())).collect()),
    }
}

fn decode_alteration(alteration: schema::Alteration<'_>) -> Result<Alteration, DecodeError> {
    let resource = match (alteration.kind(), alteration.topic()) {
        (schema::ResourceKind::Topic, Some(name)) => Resource::Topic(name.to_owned()),
        (schema::ResourceKind::Topic, None) => {
            return Err(DecodeError::Inconsistent("an altered topic has no name"));
        }
        (schema::ResourceKind::Broker, _) => Resource::Broker(BrokerId(alteration.broker())),
        (schema::ResourceKind::Cluster, _) => Resource::Cluster,
        (schema::ResourceKind::Group, _) => match (alteration.group(), alteration.terms()) {
            (Some(name), Some(terms)) => {
                Resource::Group { name: name.to_owned(), terms: decode_terms(terms) }
            }
            _ => return Err(DecodeError::Inconsistent("an altered group has no name, or no terms")),
        },
        (other, _) => return Err(DecodeError::Unknown { what: "resource kind", value: other.0 }),
    };
    let changes = alteration
        .changes()
        .iter()
        .map(|change| {
            let operation = match change.operation() {
                schema::Operation::Set => Operation::Set,
                schema::Operation::Delete => Operation::Delete,
                schema::Operation::Append => Operation::Append,
                schema::Operation::Subtract => Operation::Subtract,
                other => return Err(DecodeError::Unknown { what: "config operation", value: other.0 }),
            };
            Ok(ConfigChange {
                name: change.name().to_owned(),
                operation,
                value: change.value().map(str::to_owned),
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Alteration { resource, replace: alteration.replace(), changes })
}

fn decode_terms(terms: schema::GroupTerms<'_>) -> GroupTerms {
    let term =
        |term: schema::TermMs<'_>| TermMs { least: term.least(), default: term.default(), most: term.most() };
    GroupTerms {
        heartbeat_interval: term(terms.heartbeat_interval()),
        session_timeout: term(terms.session_timeout()),
    }
}
