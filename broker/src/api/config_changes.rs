//! What AlterConfigs and IncrementalAlterConfigs have in common: each resource's changes hold together or not at all, and
//! one resource that is refused hinders no other.

use std::rc::Rc;

use logic::config::{ConfigError, GroupTerms, Operation};
use logic::metadata::{Alteration, Command, ConfigChange, MetadataError, Resource, Response};
use protocol::error::KafkaError;
use protocol::types::BrokerId;
use rustc_hash::FxHashSet;

use super::config_codes::ResourceKind;
use super::errors::Refused;
use super::submit::{Wish, repeated, submit};
use crate::shard::Shard;

/// What is to happen to one resource.
pub struct Asked<'a> {
    /// What it is, by Kafka's number.
    pub resource_type: i8,
    /// Its name.
    pub name: &'a str,
    /// Whether the changes are all that holds afterwards.
    pub replace: bool,
    /// The changes.
    pub changes: Vec<Change<'a>>,
}

/// A change of one config.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    /// The config.
    pub name: &'a str,
    /// What happens to it; none where the number means nothing.
    pub operation: Result<Operation, i8>,
    /// With what.
    pub value: Option<&'a str>,
}

/// Alters, or tries to; an outcome for each resource, in their order.
pub async fn alter(shard: &Rc<Shard>, asked: &[Asked<'_>], validate_only: bool) -> Vec<Result<(), Refused>> {
    let here = Here { broker: shard.broker_id, group_terms: shard.config.groups.consumer_terms };
    let (planned, alterations) = plan(asked, here);
    // Neither request says how long its client waits.
    let wish = Wish::of(validate_only, i32::MAX);
    let outcomes = match alterations.len() {
        0 => Ok(Response::AlterConfigs(Vec::new())),
        _ => submit(shard, Command::AlterConfigs(alterations), wish).await,
    };
    gather(asked, planned, outcomes)
}

/// What the broker that is asked is, and allows.
#[derive(Clone, Copy)]
struct Here {
    broker: BrokerId,
    group_terms: GroupTerms,
}

/// What is to be asked of the metadata, for the resources that are not refused already.
fn plan(asked: &[Asked<'_>], here: Here) -> (Vec<Result<(), Refused>>, Vec<Alteration>) {
    let repeated = repeated(asked.iter().map(|asked| (asked.resource_type, asked.name)));
    let mut alterations = Vec::new();
    let planned = asked
        .iter()
        .map(|asked| {
            if repeated.is_repeated((asked.resource_type, asked.name)) {
                return Err(invalid("Each resource must appear at most once."));
            }
            alterations.push(alteration(asked, here)?);
            Ok(())
        })
        .collect();
    (planned, alterations)
}

fn invalid(reason: impl Into<String>) -> Refused {
    Refused::new(KafkaError::InvalidRequest, reason)
}

fn alteration(asked: &Asked<'_>, here: Here) -> Result<Alteration, Refused> {
    let mut names = FxHashSet::default();
    if !asked.changes.iter().all(|change| names.insert(change.name)) {
        return Err(invalid("Error due to duplicate config keys"));
    }
    let lacks_value =
        |change: &&Change<'_>| change.value.is_none() && change.operation != Ok(Operation::Delete);
    let lacking: Vec<&str> = asked.changes.iter().filter(lacks_value).map(|change| change.name).collect();
    if !lacking.is_empty() {
        return Err(invalid(format!("Null value not supported for : {}", lacking.join(", "))));
    }
    let resource = resource(asked, here)?;
    let changes = asked.changes.iter().map(|change| {
        let operation =
            change.operation.map_err(|code| invalid(format!("Unknown operations type {code}")))?;
        let value = change.value.map(str::to_owned);
        Ok(ConfigChange { name: change.name.to_owned(), operation, value })
    });
    Ok(Alteration { resource, replace: asked.replace, changes: changes.collect::<Result<_, Refused>>()? })
}

fn resource(asked: &Asked<'_>, here: Here) -> Result<Resource, Refused> {
    let (name, broker) = (asked.name, here.broker);
    match ResourceKind::from_code(asked.resource_type) {
        Some(ResourceKind::Topic) => Ok(Resource::Topic(name.to_owned())),
        Some(ResourceKind::Broker) if name.is_empty() => Ok(Resource::Cluster),
        Some(ResourceKind::Broker) => match name.parse::<i32>() {
            Err(_) => Err(invalid(format!("Node id must be an integer, but it is: {name}"))),
            Ok(id) if id != broker.get() => {
                Err(invalid(format!("Unexpected broker id, expected {broker}, but received {name}")))
            }
            Ok(_) => Ok(Resource::Broker(broker)),
        },
        Some(ResourceKind::Group) => Ok(Resource::Group { name: name.to_owned(), terms: here.group_terms }),
        Some(ResourceKind::BrokerLogger) => {
            Err(invalid("Loggers are set by logging.level when the broker starts."))
        }
        Some(ResourceKind::ClientMetrics) => {
            Err(invalid(format!("Unsupported resource type: {}", ResourceKind::ClientMetrics.name())))
        }
        None => Err(invalid(format!("Unknown resource type {}", asked.resource_type))),
    }
}

/// Brings the metadata's answers to the resources that wait for one.
fn gather(
    asked: &[Asked<'_>],
    planned: Vec<Result<(), Refused>>,
    outcomes: Result<Response, KafkaError>,
) -> Vec<Result<(), Refused>> {
    let mut outcomes = outcomes.map(|response| match response {
        Response::AlterConfigs(outcomes) => outcomes.into_iter(),
        other => unreachable!("AlterConfigs is answered by {other:?}"),
    });
    let mut outcome = |asked: &Asked<'_>, planned: Result<(), Refused>| {
        planned?;
        let outcomes = outcomes.as_mut().map_err(|error| Refused::new(*error, error.name()))?;
        let outcome = outcomes.next().expect("each resource has an outcome");
        outcome.map_err(|error| refusal(asked.resource_type, &error))
    };
    asked.iter().zip(planned).map(|(asked, planned)| outcome(asked, planned)).collect()
}

/// Kafka calls a wrong value of a broker's config an invalid request, of a topic's an invalid config.
fn refusal(resource_type: i8, error: &MetadataError) -> Refused {
    let of_broker = ResourceKind::from_code(resource_type) == Some(ResourceKind::Broker);
    match error {
        MetadataError::InvalidConfig(ConfigError::NotList { .. }) => Refused::from(error),
        MetadataError::InvalidConfig(wrong) if of_broker => invalid(wrong.to_string()),
        _ => Refused::from(error),
    }
}

#[cfg(test)]
mod tests;
