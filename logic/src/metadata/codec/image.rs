//! Images as FlatBuffers: a snapshot of the metadata.
//!
//! A topic's partitions are vectors side by side rather than tables of their own: a partition with one replica
//! costs 22 bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use flatbuffers::{ForwardsUOffset, Vector, WIPOffset};
use protocol::generated::metadata as schema;
use protocol::types::{BrokerId, LeaderEpoch};

use super::{
    Builder, DecodeError, decode_incarnation, decode_listeners, decode_topic_id, encode_id, encode_listeners,
    encode_settings, verifier_options,
};
use crate::config::ConfigMap;
use crate::limits::{PARTITIONS_MAX, REPLICAS_PER_PARTITION_MAX};
use crate::metadata::{Broker, BrokerEpoch, Feature, Image, Partition, Topic};

/// What stands for "no leader".
const NO_LEADER: i32 = -1;

/// Encodes an image.
#[must_use]
pub fn encode_image(image: &Image) -> Vec<u8> {
    let mut builder = Builder::with_capacity(4096 + 64 * image.partition_count());
    let topics: Vec<_> = image.topics().map(|topic| encode_topic(&mut builder, topic)).collect();
    let topics = Some(builder.create_vector(&topics));
    let brokers: Vec<_> = image.brokers().map(|broker| encode_broker(&mut builder, broker)).collect();
    let brokers = Some(builder.create_vector(&brokers));
    let cluster_settings = Some(encode_map(&mut builder, image.cluster_settings()));
    let broker_settings: Vec<_> = image
        .brokers_with_settings()
        .map(|(id, settings)| {
            let settings = Some(encode_map(&mut builder, settings));
            let args = schema::BrokerSettingsArgs { broker: id.get(), settings };
            schema::BrokerSettings::create(&mut builder, &args)
        })
        .collect();
    let broker_settings = Some(builder.create_vector(&broker_settings));
    let group_settings: Vec<_> = image
        .groups_with_settings()
        .map(|(group, settings)| {
            let group = Some(builder.create_string(group));
            let settings = Some(encode_map(&mut builder, settings));
            schema::GroupSettings::create(&mut builder, &schema::GroupSettingsArgs { group, settings })
        })
        .collect();
    let group_settings = Some(builder.create_vector(&group_settings));
    let levels = Feature::ALL.map(|feature| {
        let name = Some(builder.create_string(feature.name()));
        let args = schema::FeatureLevelArgs { feature: name, level: image.features().of(feature) };
        schema::FeatureLevel::create(&mut builder, &args)
    });
    let features = Some(builder.create_vector(&levels));
    let cluster_id = Some(builder.create_string(image.cluster_id()));
    let args = schema::SnapshotArgs {
        cluster_id,
        sequence: image.sequence,
        next_broker_epoch: image.next_broker_epoch,
        next_producer_id: image.next_producer_id,
        brokers,
        cluster_settings,
        broker_settings,
        topics,
        group_settings,
        features,
    };
    let root = schema::Snapshot::create(&mut builder, &args);
    builder.finish_minimal(root);
    builder.finished_data().to_vec()
}

fn encode_map<'a>(builder: &mut Builder<'a>, map: &ConfigMap) -> super::Offsets<'a, schema::Setting<'a>> {
    encode_settings(builder, map.iter().map(|(name, value)| (name, Some(value))))
}

fn encode_broker<'a>(builder: &mut Builder<'a>, broker: &Broker) -> WIPOffset<schema::Broker<'a>> {
    let listeners = Some(encode_listeners(builder, &broker.listeners));
    let rack = broker.rack.as_ref().map(|rack| builder.create_string(rack));
    let args = schema::BrokerArgs {
        id: broker.id.get(),
        epoch: broker.epoch.0,
        incarnation: Some(&encode_id(broker.incarnation.0)),
        listeners,
        rack,
    };
    schema::Broker::create(builder, &args)
}

fn encode_topic<'a>(builder: &mut Builder<'a>, topic: &Topic) -> WIPOffset<schema::Topic<'a>> {
    let partitions = || topic.partitions.iter();
    let count = |replicas: &[BrokerId]| u8::try_from(replicas.len()).expect("replicas are limited far below");
    let leader = |partition: &Partition| partition.leader.map_or(NO_LEADER, BrokerId::get);
    let name = Some(builder.create_string(&topic.name));
    let settings = Some(encode_map(builder, &topic.settings));
    let leaders = Some(builder.create_vector_from_iter(partitions().map(leader)));
    let leader_epochs =
        Some(builder.create_vector_from_iter(partitions().map(|partition| partition.leader_epoch.get())));
    let partition_epochs =
        Some(builder.create_vector_from_iter(partitions().map(|partition| partition.partition_epoch)));
    let replica_counts: Vec<u8> = partitions().map(|partition| count(&partition.replicas)).collect();
    let in_sync_counts: Vec<u8> = partitions().map(|partition| count(&partition.in_sync)).collect();
    let replicas: Vec<i32> =
        partitions().flat_map(|partition| partition.replicas.iter().map(|id| id.get())).collect();
    let in_sync: Vec<i32> =
        partitions().flat_map(|partition| partition.in_sync.iter().map(|id| id.get())).collect();
    let args = schema::TopicArgs {
        name,
        id: Some(&encode_id(topic.id.0)),
        settings,
        leaders,
        leader_epochs,
        partition_epochs,
        replica_counts: Some(builder.create_vector(&replica_counts)),
        in_sync_counts: Some(builder.create_vector(&in_sync_counts)),
        replicas: Some(builder.create_vector(&replicas)),
        in_sync: Some(builder.create_vector(&in_sync)),
    };
    schema::Topic::create(builder, &args)
}

/// Decodes an image.
///
/// # Errors
/// [`DecodeError`] for anything that [`encode_image`] did not make.
pub fn decode_image(bytes: &[u8]) -> Result<Image, DecodeError> {
    let root = flatbuffers::root_with_opts::<schema::Snapshot<'_>>(&verifier_options(), bytes)?;
    let mut broker_settings = BTreeMap::new();
    for entry in root.broker_settings() {
        broker_settings.insert(BrokerId(entry.broker()), decode_map(entry.settings())?);
    }
    let brokers = root.brokers().iter().map(|broker| (BrokerId(broker.id()), decode_broker(broker)));
    let mut image = Image::default();
    image.sequence = root.sequence();
    image.cluster_id = Arc::from(root.cluster_id());
    image.next_broker_epoch = root.next_broker_epoch();
    image.next_producer_id = root.next_producer_id();
    image.brokers = Arc::new(brokers.collect());
    image.cluster_settings = Arc::new(decode_map(root.cluster_settings())?);
    image.broker_settings = Arc::new(broker_settings);
    // Snapshots of the first versions have neither levels nor configs of groups.
    for level in root.features().into_iter().flatten() {
        let known = Feature::from_name(level.feature());
        let fits = |feature: &Feature| (0..=feature.newest()).contains(&level.level());
        let feature = known.filter(fits);
        let feature =
            feature.ok_or(DecodeError::Inconsistent("a feature is not known, or not at that level"))?;
        image.features.set(feature, level.level());
    }
    for entry in root.group_settings().into_iter().flatten() {
        let settings = Arc::new(decode_map(entry.settings())?);
        image.group_settings.insert_mut(Arc::from(entry.group()), settings);
    }
    for topic in root.topics() {
        let topic = Arc::new(decode_topic(topic)?);
        let unknown = image.topic(&topic.name).is_none() && image.topic_by_id(topic.id).is_none();
        let fits = topic.partitions.len() <= PARTITIONS_MAX - image.partition_count();
        if !unknown || !fits || image.topic_colliding(&topic.name).is_some() {
            return Err(DecodeError::Inconsistent(
                "a topic is there twice, or there are too many partitions",
            ));
        }
        image.insert_topic(&topic);
    }
    Ok(image)
}

fn decode_map<'a>(
    settings: Vector<'a, ForwardsUOffset<schema::Setting<'a>>>,
) -> Result<ConfigMap, DecodeError> {
    settings
        .iter()
        .map(|setting| {
            let value =
                setting.value().ok_or(DecodeError::Inconsistent("a config that is set has no value"))?;
            Ok((setting.name().to_owned(), value.to_owned()))
        })
        .collect()
}

fn decode_broker(broker: schema::Broker<'_>) -> Broker {
    Broker {
        id: BrokerId(broker.id()),
        epoch: BrokerEpoch(broker.epoch()),
        incarnation: decode_incarnation(broker.incarnation()),
        listeners: decode_listeners(broker.listeners()),
        rack: broker.rack().map(str::to_owned),
    }
}

fn decode_topic(topic: schema::Topic<'_>) -> Result<Topic, DecodeError> {
    let count = topic.leaders().len();
    let lengths = [
        topic.leader_epochs().len(),
        topic.partition_epochs().len(),
        topic.replica_counts().len(),
        topic.in_sync_counts().len(),
    ];
    if count == 0 || lengths.iter().any(|length| *length != count) {
        return Err(DecodeError::Inconsistent("a topic's partitions differ in number"));
    }
    let mut replicas = Lists::new(topic.replicas());
    let mut in_sync = Lists::new(topic.in_sync());
    let mut partitions = Vec::with_capacity(count);
    for index in 0..count {
        let leader = topic.leaders().get(index);
        let replicas = replicas.take(topic.replica_counts().get(index))?;
        if replicas.is_empty() {
            return Err(DecodeError::Inconsistent("a partition has no replica"));
        }
        let in_sync = in_sync.take(topic.in_sync_counts().get(index))?;
        partitions.push(Partition {
            leader: (leader != NO_LEADER).then_some(BrokerId(leader)),
            leader_epoch: LeaderEpoch(topic.leader_epochs().get(index)),
            partition_epoch: topic.partition_epochs().get(index),
            in_sync: if in_sync == replicas { replicas.clone() } else { in_sync },
            replicas,
        });
    }
    Ok(Topic {
        name: Arc::from(topic.name()),
        id: decode_topic_id(topic.id()),
        settings: Arc::new(decode_map(topic.settings())?),
        partitions,
    })
}

/// Takes lists off a vector that holds them end to end; a list like the one before it is shared with it.
struct Lists<'a> {
    ids: Vector<'a, i32>,
    position: usize,
    last: Arc<[BrokerId]>,
}

impl<'a> Lists<'a> {
    fn new(ids: Vector<'a, i32>) -> Self {
        Self { ids, position: 0, last: Arc::from([]) }
    }

    fn take(&mut self, count: u8) -> Result<Arc<[BrokerId]>, DecodeError> {
        let end = self.position + usize::from(count);
        if end > self.ids.len() || usize::from(count) > REPLICAS_PER_PARTITION_MAX {
            return Err(DecodeError::Inconsistent("a partition has more replicas than are listed"));
        }
        let list = (self.position..end).map(|index| BrokerId(self.ids.get(index)));
        if !list.clone().eq(self.last.iter().copied()) {
            self.last = list.collect();
        }
        self.position = end;
        Ok(self.last.clone())
    }
}
