//! Brokers start, and ask for producer ids.

use std::sync::Arc;

use protocol::types::{BrokerId, LeaderEpoch, ProducerId};

use crate::limits::PRODUCER_ID_BLOCK_COUNT;
use crate::metadata::{
    Broker, BrokerEpoch, Delta, Image, MetadataError, ProducerIdBlock, RegisterBroker, Topic, TopicChange,
};

/// A start registers, and in the same command moves every partition that the broker leads to its next leader epoch:
/// what an earlier life appended without syncing can then never be taken for what this one appends.
pub(super) fn register(
    image: &mut Image,
    registration: &RegisterBroker,
    delta: &mut Delta,
) -> Result<BrokerEpoch, MetadataError> {
    let id = registration.broker;
    if id.get() < 0 {
        return Err(MetadataError::InvalidRequest(format!("Broker ID {id} is negative.")));
    }
    if registration.cluster_id.is_empty() {
        return Err(MetadataError::InvalidRequest("The cluster id is empty.".to_owned()));
    }
    if image.cluster_id.is_empty() {
        image.cluster_id = Arc::from(registration.cluster_id.as_str());
    }
    if *image.cluster_id != *registration.cluster_id {
        return Err(MetadataError::InconsistentClusterId {
            cluster: image.cluster_id.to_string(),
            asked: registration.cluster_id.clone(),
        });
    }
    if let Some(broker) = image.broker(id)
        && broker.incarnation == registration.incarnation
    {
        return Ok(broker.epoch);
    }
    let epoch = BrokerEpoch(image.next_broker_epoch);
    image.next_broker_epoch = epoch.0.checked_add(1).expect("registrations are fewer than 2^63");
    Arc::make_mut(&mut image.brokers).insert(
        id,
        Broker {
            id,
            epoch,
            incarnation: registration.incarnation,
            listeners: registration.listeners.clone(),
            rack: registration.rack.clone(),
        },
    );
    delta.brokers_changed = true;
    bump_leader_epochs(image, id, delta);
    Ok(epoch)
}

fn bump_leader_epochs(image: &mut Image, leader: BrokerId, delta: &mut Delta) {
    let led: Vec<Arc<Topic>> = image
        .topics()
        .filter(|topic| topic.partitions.iter().any(|partition| partition.leader == Some(leader)))
        .cloned()
        .collect();
    for before in led {
        let mut next = Topic::clone(&before);
        for partition in next.partitions.iter_mut().filter(|partition| partition.leader == Some(leader)) {
            let epoch = partition.leader_epoch.get().checked_add(1);
            partition.leader_epoch = LeaderEpoch(epoch.expect("starts are fewer than 2^31"));
            let epoch = partition.partition_epoch.checked_add(1);
            partition.partition_epoch = epoch.expect("changes of a partition are fewer than 2^31");
        }
        let next = Arc::new(next);
        image.replace_topic(&next);
        delta.topics.push(TopicChange { before: Some(before), after: Some(next) });
    }
}

pub(super) fn allocate_producer_ids(
    image: &mut Image,
    id: BrokerId,
    asked: BrokerEpoch,
) -> Result<ProducerIdBlock, MetadataError> {
    let registered = image.broker(id).ok_or(MetadataError::BrokerNotRegistered(id))?.epoch;
    if registered != asked {
        return Err(MetadataError::StaleBrokerEpoch { broker: id, asked, registered });
    }
    let first = image.next_producer_id;
    image.next_producer_id =
        first.checked_add(PRODUCER_ID_BLOCK_COUNT).expect("producer ids are fewer than 2^63");
    Ok(ProducerIdBlock { first: ProducerId(first), count: PRODUCER_ID_BLOCK_COUNT })
}
