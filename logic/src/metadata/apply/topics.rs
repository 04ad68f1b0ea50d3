//! Topics are made, grown and deleted. The checks come in Kafka's order, so that a request with two mistakes gets
//! the error it would get from Kafka.

use std::sync::Arc;

use protocol::types::{BrokerId, LeaderEpoch, TopicId};

use super::each;
use crate::config::{self, ConfigError, ConfigMap};
use crate::limits::{
    PARTITIONS_MAX, PARTITIONS_PER_COMMAND_MAX, PARTITIONS_PER_TOPIC_MAX, REPLICAS_PER_PARTITION_MAX,
};
use crate::metadata::placement::place;
use crate::metadata::{
    Assignment, Delta, Image, MetadataError, MorePartitions, NewTopic, Partition, Topic, TopicChange,
    TopicReference, TopicShape, validate_topic_name,
};

const DUPLICATE_NAME: &str = "Duplicate topic name.";

pub(super) fn create(
    image: &mut Image,
    topics: &[NewTopic],
    delta: &mut Delta,
) -> Vec<Result<Arc<Topic>, MetadataError>> {
    let mut budget = Budget::new(image);
    each(
        topics,
        |topic| topic.name.as_str(),
        DUPLICATE_NAME,
        |topic| {
            let made = Arc::new(plan_topic(image, topic, &mut budget)?);
            image.insert_topic(&made);
            delta.topics.push(TopicChange { before: None, after: Some(made.clone()) });
            Ok(made)
        },
    )
}

pub(super) fn delete(
    image: &mut Image,
    topics: &[TopicReference],
    delta: &mut Delta,
) -> Vec<Result<Arc<Topic>, MetadataError>> {
    // A name and an id may mean the same topic: what counts as a duplicate is the topic, where there is one.
    let found: Vec<(&TopicReference, Option<Arc<Topic>>)> =
        topics.iter().map(|reference| (reference, find(image, reference).cloned())).collect();
    let key = |entry: &(&TopicReference, Option<Arc<Topic>>)| match (entry.0, &entry.1) {
        (_, Some(topic)) => (Some(topic.id), None),
        (TopicReference::Id(id), None) => (Some(*id), None),
        (TopicReference::Name(name), None) => (None, Some(name.clone())),
    };
    each(&found, key, DUPLICATE_NAME, |(reference, topic)| {
        let topic = topic.clone().ok_or_else(|| match reference {
            TopicReference::Name(name) => MetadataError::UnknownTopic(name.clone()),
            TopicReference::Id(id) => MetadataError::UnknownTopicId(*id),
        })?;
        image.remove_topic(&topic);
        delta.topics.push(TopicChange { before: Some(topic.clone()), after: None });
        Ok(topic)
    })
}

fn find<'a>(image: &'a Image, reference: &TopicReference) -> Option<&'a Arc<Topic>> {
    match reference {
        TopicReference::Name(name) => image.topic(name),
        TopicReference::Id(id) => image.topic_by_id(*id),
    }
}

pub(super) fn create_partitions(
    image: &mut Image,
    topics: &[MorePartitions],
    delta: &mut Delta,
) -> Vec<Result<Arc<Topic>, MetadataError>> {
    let mut budget = Budget::new(image);
    each(
        topics,
        |more| more.topic.as_str(),
        DUPLICATE_NAME,
        |more| {
            let before = image
                .topic(&more.topic)
                .cloned()
                .ok_or_else(|| MetadataError::UnknownTopic(more.topic.clone()))?;
            let added = plan_more(image, &before, more, &mut budget)?;
            let mut next = Topic::clone(&before);
            next.partitions.extend(added);
            let next = Arc::new(next);
            image.replace_topic(&next);
            delta.topics.push(TopicChange { before: Some(before), after: Some(next.clone()) });
            Ok(next)
        },
    )
}

/// How many partitions a command may still make.
struct Budget {
    command: usize,
    cluster: usize,
}

impl Budget {
    fn new(image: &Image) -> Self {
        Self { command: PARTITIONS_PER_COMMAND_MAX, cluster: PARTITIONS_MAX - image.partition_count() }
    }

    /// Checks that a topic may have `total` partitions, and takes those that are new.
    fn take(&mut self, new: usize, total: usize) -> Result<(), MetadataError> {
        let refuse = |reason: String| Err(MetadataError::LimitExceeded(reason));
        if total > PARTITIONS_PER_TOPIC_MAX {
            return refuse(format!("A topic can have {PARTITIONS_PER_TOPIC_MAX} partitions at most."));
        }
        if new > self.command {
            return refuse(format!(
                "Excessively large number of partitions per request: {PARTITIONS_PER_COMMAND_MAX} are the most."
            ));
        }
        if new > self.cluster {
            return refuse(format!("The cluster can have {PARTITIONS_MAX} partitions at most."));
        }
        self.command -= new;
        self.cluster -= new;
        Ok(())
    }
}

fn plan_topic(image: &Image, topic: &NewTopic, budget: &mut Budget) -> Result<Topic, MetadataError> {
    validate_topic_name(&topic.name).map_err(MetadataError::InvalidTopicName)?;
    if image.topic(&topic.name).is_some() {
        return Err(MetadataError::TopicExists(topic.name.clone()));
    }
    if let Some(other) = image.topic_colliding(&topic.name) {
        let reason = format!("Topic '{}' collides with existing topic: {other}", topic.name);
        return Err(MetadataError::InvalidTopicName(reason));
    }
    if topic.id == TopicId::ZERO || image.topic_by_id(topic.id).is_some() {
        return Err(MetadataError::InvalidRequest(format!(
            "Topic id {} can't be used for a new topic.",
            topic.id
        )));
    }
    let settings = check_settings(&topic.settings)?;
    let replicas = match &topic.shape {
        TopicShape::Assigned(assignments) => plan_assigned(image, assignments)?,
        TopicShape::Counts { partition_count, replication_factor } => {
            plan_counts(image, topic.id, *partition_count, *replication_factor, budget)?
        }
    };
    if matches!(topic.shape, TopicShape::Assigned(_)) {
        budget.take(replicas.len(), replicas.len())?;
    }
    Ok(Topic {
        name: Arc::from(topic.name.as_str()),
        id: topic.id,
        settings: Arc::new(settings),
        partitions: replicas.into_iter().map(new_partition).collect(),
    })
}

fn check_settings(settings: &[(String, Option<String>)]) -> Result<ConfigMap, MetadataError> {
    let mut map = ConfigMap::new();
    for (name, value) in settings {
        let value = value.as_ref().ok_or_else(|| ConfigError::MissingValue { name: name.clone() })?;
        config::topic::check(name, value)?;
        map.insert(name.clone(), value.clone());
    }
    Ok(map)
}

fn plan_counts(
    image: &Image,
    id: TopicId,
    partition_count: i32,
    replication_factor: i16,
    budget: &mut Budget,
) -> Result<Vec<Arc<[BrokerId]>>, MetadataError> {
    let factor = usize::try_from(replication_factor).ok().filter(|factor| *factor > 0).ok_or_else(|| {
        MetadataError::InvalidReplicationFactor(
            "Replication factor must be larger than 0, or -1 to use the default value.".to_owned(),
        )
    })?;
    let count = usize::try_from(partition_count).ok().filter(|count| *count > 0).ok_or_else(|| {
        MetadataError::InvalidPartitions(
            "Number of partitions was set to an invalid non-positive value.".to_owned(),
        )
    })?;
    check_factor(image, factor)?;
    budget.take(count, count)?;
    let brokers: Vec<BrokerId> = image.brokers().map(|broker| broker.id).collect();
    Ok(place(&brokers, id, 0, count, factor))
}

fn check_factor(image: &Image, factor: usize) -> Result<(), MetadataError> {
    let registered = image.brokers().len().min(REPLICAS_PER_PARTITION_MAX);
    if factor > registered {
        return Err(MetadataError::InvalidReplicationFactor(format!(
            "Unable to replicate the partition {factor} time(s): The target replication factor of {factor} cannot \
             be reached because only {registered} broker(s) are registered."
        )));
    }
    Ok(())
}

fn plan_assigned(image: &Image, assignments: &[Assignment]) -> Result<Vec<Arc<[BrokerId]>>, MetadataError> {
    let refuse = |reason: String| Err(MetadataError::InvalidReplicaAssignment(reason));
    let mut ordered: Vec<&Assignment> = assignments.iter().collect();
    ordered.sort_by_key(|assignment| assignment.partition);
    for pair in ordered.windows(2) {
        if pair[0].partition == pair[1].partition {
            let partition = pair[0].partition;
            return refuse(format!("Found multiple manual partition assignments for partition {partition}"));
        }
    }
    let lists: Vec<&[BrokerId]> =
        assignments.iter().map(|assignment| assignment.brokers.as_slice()).collect();
    check_manual(image, &lists, None)?;
    let consecutive = (0..).zip(&ordered).all(|(index, assignment)| assignment.partition.get() == index);
    if !consecutive || ordered.is_empty() {
        return refuse("partitions should be a consecutive 0-based integer sequence".to_owned());
    }
    Ok(ordered.iter().map(|assignment| Arc::from(assignment.brokers.as_slice())).collect())
}

/// Checks replicas that a client placed: known brokers, each once, as many for each partition.
fn check_manual(
    image: &Image,
    lists: &[&[BrokerId]],
    replication_factor: Option<usize>,
) -> Result<(), MetadataError> {
    let refuse = |reason: String| {
        Err(MetadataError::InvalidReplicaAssignment(format!(
            "The manual partition assignment includes {reason}"
        )))
    };
    let mut factor = replication_factor;
    for list in lists {
        if list.is_empty() {
            return refuse("an empty replica list.".to_owned());
        }
        if list.len() > REPLICAS_PER_PARTITION_MAX {
            return refuse(format!("more than {REPLICAS_PER_PARTITION_MAX} replicas."));
        }
        let mut sorted = list.to_vec();
        sorted.sort_unstable();
        if let Some(broker) = sorted.iter().find(|broker| image.broker(**broker).is_none()) {
            return refuse(format!("broker {broker}, but no such broker is registered."));
        }
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return refuse(format!("the broker {} more than once.", pair[0]));
        }
        match factor {
            Some(factor) if factor != list.len() => {
                return refuse(format!(
                    "a partition with {} replica(s), but this is not consistent with previous partitions, which \
                     have {factor} replica(s).",
                    list.len()
                ));
            }
            _ => factor = Some(list.len()),
        }
    }
    Ok(())
}

fn plan_more(
    image: &Image,
    topic: &Topic,
    more: &MorePartitions,
    budget: &mut Budget,
) -> Result<Vec<Partition>, MetadataError> {
    let (current, wanted) = (topic.partition_count(), more.count);
    if wanted == current {
        return Err(MetadataError::InvalidPartitions(format!("Topic already has {current} partition(s).")));
    }
    if wanted < current {
        return Err(MetadataError::InvalidPartitions(format!(
            "The topic {} currently has {current} partition(s); {wanted} would not be an increase.",
            topic.name
        )));
    }
    let first = topic.partitions.len();
    let added = usize::try_from(wanted - current).expect("more than there are");
    budget.take(added, first + added)?;
    let factor = topic.partitions[0].replicas.len();
    let replicas = match &more.assignments {
        None => {
            check_factor(image, factor)?;
            let brokers: Vec<BrokerId> = image.brokers().map(|broker| broker.id).collect();
            place(&brokers, topic.id, first, added, factor)
        }
        Some(lists) => {
            if lists.len() != added {
                return Err(MetadataError::InvalidReplicaAssignment(format!(
                    "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                    lists.len()
                )));
            }
            let borrowed: Vec<&[BrokerId]> = lists.iter().map(Vec::as_slice).collect();
            check_manual(image, &borrowed, Some(factor))?;
            lists.iter().map(|list| Arc::from(list.as_slice())).collect()
        }
    };
    Ok(replicas.into_iter().map(new_partition).collect())
}

fn new_partition(replicas: Arc<[BrokerId]>) -> Partition {
    assert!(!replicas.is_empty());
    Partition {
        leader: Some(replicas[0]),
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        in_sync: replicas.clone(),
        replicas,
    }
}
