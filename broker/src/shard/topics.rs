//! Following the metadata: partitions come, change and go as images are applied.

use std::rc::Rc;
use std::sync::Arc;

use logic::config::{BrokerLayers, CompactionChoice, ConfigMap, TopicConfig};
use logic::metadata::{Delta, Image, Partition as PartitionState, Topic, TopicChange};
use logic::producer::ProducerTable;
use logic::replica::{AckPolicy, LeaderSettings, Recovered, Replica};
use protocol::types::{BrokerId, Offset, PartitionIndex, PartitionKey};
use storage::store::{CompactionConfig, EpochStart, LogConfig, PartitionSpec, StoreError};

use super::Shard;
use super::internal_topics::{GROUPS_TOPIC, TRANSACTIONS_TOPIC, is_internal};
use super::messages::ProduceOutcome;
use super::partition::Partition;
use super::produce::ProduceRefusal;

impl Shard {
    /// Applies one change of the metadata. Once it returns, requests see the new image and the shard does what it says.
    ///
    /// # Errors
    /// The store can't follow: the broker can't go on.
    pub async fn apply(self: &Rc<Self>, image: Arc<Image>, delta: &Delta) -> Result<(), StoreError> {
        let mut made = Vec::new();
        for change in &delta.topics {
            self.apply_topic(&image, change, &mut made).await?;
        }
        self.lead_all(&made).await?;
        if delta.broker_settings_changed {
            for topic in image.topics() {
                self.reconfigure(&image, topic);
            }
        }
        *self.image.borrow_mut() = image;
        // Coordinators that are loading look at the image when they have loaded: it comes first.
        let gone = delta.topics.iter().filter(|change| change.after.is_none());
        let gone: Vec<Arc<str>> = gone.map(|change| Arc::clone(&change.topic().name)).collect();
        if !gone.is_empty() {
            self.groups.forget_topics(self, &gone);
        }
        Ok(())
    }

    /// Makes and drops partitions; those made are led once all of the change is known.
    async fn apply_topic(
        self: &Rc<Self>,
        image: &Image,
        change: &TopicChange,
        made: &mut Vec<(Rc<Partition>, PartitionState)>,
    ) -> Result<(), StoreError> {
        let topic = change.topic();
        for partition in change.partitions_deleted() {
            self.drop_partition(PartitionKey { topic_id: topic.id, partition }).await?;
            self.deleted.set(true);
        }
        for partition in change.partitions_created() {
            let key = PartitionKey { topic_id: topic.id, partition };
            if self.owner_of(key) == self.config.index {
                made.push(self.make_partition(image, topic, key).await?);
            }
        }
        if change.settings_changed() {
            self.reconfigure(image, topic);
        }
        Ok(())
    }

    async fn make_partition(
        self: &Rc<Self>,
        image: &Image,
        topic: &Arc<Topic>,
        key: PartitionKey,
    ) -> Result<(Rc<Partition>, PartitionState), StoreError> {
        let config = topic_config(image, topic, self.broker_id, &self.settings);
        let slot = self.store.create_partition(&partition_spec(topic, key.partition, &config)).await?;
        let recovered = Recovered {
            log_start: Offset(0),
            log_end: Offset(0),
            high_watermark: Offset(0),
            epochs: logic::replica::EpochHistory::default(),
        };
        let replica = Replica::new(self.broker_id, recovered);
        let partition = Partition::new(
            key,
            Arc::clone(&topic.name),
            slot,
            config,
            replica,
            ProducerTable::default(),
            &self.producer_memory,
        );
        self.partitions.insert(Rc::clone(&partition));
        let state = topic.partition(key.partition).expect("the change names partitions of the topic");
        Ok((partition, state.clone()))
    }

    /// Takes up the leaderships that the metadata gives: their epochs are durable before the first append. All of them
    /// are journalled together and waited for once: thousands of partitions cost few writes.
    pub(super) async fn lead_all(
        self: &Rc<Self>,
        led: &[(Rc<Partition>, PartitionState)],
    ) -> Result<(), StoreError> {
        let mine = |(_, state): &&(Rc<Partition>, PartitionState)| state.leader == Some(self.broker_id);
        let mut starts = Vec::with_capacity(led.len());
        for (partition, state) in led.iter().filter(mine) {
            self.lead(partition, state);
            let entry = partition.replica().epoch_entry();
            starts.push((partition.slot, EpochStart { epoch: entry.epoch, start: entry.start }));
        }
        self.store.start_epochs(&starts).await?;
        for ((partition, _), (_, begun)) in led.iter().filter(mine).zip(starts) {
            partition.change_replica(|replica| replica.on_epoch_durable(begun.epoch));
            match &*partition.topic_name {
                GROUPS_TOPIC => self.groups.begin(self, partition),
                TRANSACTIONS_TOPIC => self.transactions.begin(self, partition),
                _ => {}
            }
        }
        Ok(())
    }

    fn lead(&self, partition: &Partition, state: &PartitionState) {
        let config = partition.config.get();
        let settings = LeaderSettings {
            epoch: state.leader_epoch,
            replicas: &state.replicas,
            isr: &state.in_sync,
            min_insync_replicas: config.insync_replicas_min as usize,
            ack_policy: ack_policy(&config),
        };
        let now = self.now();
        let became = partition.change_replica(|replica| replica.become_leader(now, &settings));
        if let Err(error) = became {
            panic!("{}: the metadata names a leadership of the past: {error}", partition.key);
        }
    }

    async fn drop_partition(self: &Rc<Self>, key: PartitionKey) -> Result<(), StoreError> {
        let Some(partition) = self.partitions.remove(key) else { return Ok(()) };
        while let Some(pending) = partition.pop_any() {
            let outcome = ProduceOutcome { place: pending.place, result: Err(ProduceRefusal::Unknown) };
            self.note(&pending.call, outcome);
        }
        partition.advanced.raise();
        self.groups.end(self, key);
        self.transactions.end(key);
        self.store.delete_partition(partition.slot).await
    }

    fn reconfigure(&self, image: &Image, topic: &Topic) {
        let config = topic_config(image, topic, self.broker_id, &self.settings);
        for index in 0..topic.partition_count() {
            let key = PartitionKey { topic_id: topic.id, partition: PartitionIndex(index) };
            let Some(partition) = self.partitions.get(key) else { continue };
            partition.config.set(config);
            self.store.update_config(partition.slot, log_config(&topic.name, &config));
            let minimum = config.insync_replicas_min as usize;
            partition.advance(|replica| replica.on_settings(ack_policy(&config), minimum));
            self.answer_due(&partition);
        }
    }
}

/// The layers that topics inherit from on a broker with these settings of its own.
pub(super) fn layers<'a>(image: &'a Image, broker: BrokerId, settings: &'a ConfigMap) -> BrokerLayers<'a> {
    static NONE: ConfigMap = ConfigMap::new();
    BrokerLayers {
        dynamic_broker: image.broker_settings(broker).unwrap_or(&NONE),
        dynamic_default: image.cluster_settings(),
        file: settings,
    }
}

/// A topic's config on a broker.
pub fn topic_config(image: &Image, topic: &Topic, broker: BrokerId, settings: &ConfigMap) -> TopicConfig {
    TopicConfig::resolve(&topic.settings, &layers(image, broker, settings))
}

/// What the store is told of a partition.
pub fn partition_spec(topic: &Topic, partition: PartitionIndex, config: &TopicConfig) -> PartitionSpec {
    PartitionSpec {
        key: PartitionKey { topic_id: topic.id, partition },
        topic_name: topic.name.to_string(),
        config: log_config(&topic.name, config),
    }
}

/// What the stores are told of all partitions of a topic.
pub fn partition_specs(
    image: &Image,
    topic: &Topic,
    broker: BrokerId,
    settings: &ConfigMap,
) -> impl Iterator<Item = PartitionSpec> + use<> {
    let config = topic_config(image, topic, broker, settings);
    let all: Vec<PartitionSpec> = (0..topic.partition_count())
        .map(|index| partition_spec(topic, PartitionIndex(index), &config))
        .collect();
    all.into_iter()
}

fn log_config(name: &str, config: &TopicConfig) -> LogConfig {
    let retention_ms = config.retention_ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
    // What is written to can't be compacted: a segment is closed before its records have waited too long.
    let lag_ms_max = config.compaction.map_or(i64::MAX, |compaction| compaction.lag_ms_max);
    LogConfig {
        segment_bytes: u64::from(config.segment_bytes),
        segment_ms: i64::try_from(config.segment_ms).unwrap_or(i64::MAX).min(lag_ms_max),
        index_interval_bytes: config.index_interval_bytes,
        retention_bytes: config.retention_bytes.filter(|_| config.deletes_old),
        retention_ms: retention_ms.filter(|_| config.deletes_old),
        gives_room: config.deletes_old && !is_internal(name),
        compaction: config.compaction.map(compaction_config),
        timestamp_after_max_ms: config.timestamp_after_max_ms,
        ..LogConfig::default()
    }
}

fn compaction_config(choice: CompactionChoice) -> CompactionConfig {
    CompactionConfig {
        dirty_millionths_min: choice.dirty_millionths_min,
        lag_ms_min: choice.lag_ms_min,
        lag_ms_max: choice.lag_ms_max,
        delete_retention_ms: choice.delete_retention_ms,
    }
}

fn ack_policy(config: &TopicConfig) -> AckPolicy {
    if config.syncs_before_ack() { AckPolicy::WhenSynced } else { AckPolicy::WhenAppended }
}
