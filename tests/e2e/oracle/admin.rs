//! Topics, configs and the cluster, asked for wrongly.

use e2e::wire::{text, topic_name};
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig as OldConfig};
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_request::{
    AlterConfigsResource as IncrementalResource, AlterableConfig,
};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AlterConfigsRequest, ApiVersionsRequest, BrokerId, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest,
    IncrementalAlterConfigsRequest, ListConfigResourcesRequest, MetadataRequest, UpdateFeaturesRequest,
};

use super::{Case, Side, compare};

/// Resource types.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;

fn create(side: &mut Side, topics: Vec<CreatableTopic>) -> String {
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(10_000);
    let Ok(answer) = side.connection.try_call(7, &request) else { return "closed".to_owned() };
    let mut codes: Vec<String> = answer
        .topics
        .iter()
        .map(|topic| format!("error {} ({} partitions)", topic.error_code, topic.num_partitions))
        .collect();
    codes.sort();
    codes.join(", ")
}

fn fresh(side: &Side, suffix: &str) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic_name(&format!("{}{suffix}", side.topic)))
        .with_num_partitions(1)
        .with_replication_factor(1)
}

fn named(name: &str) -> CreatableTopic {
    CreatableTopic::default().with_name(topic_name(name)).with_num_partitions(1).with_replication_factor(1)
}

fn with_config(side: &Side, key: &str, value: Option<&str>) -> CreatableTopic {
    let config = CreatableTopicConfig::default().with_name(text(key)).with_value(value.map(text));
    fresh(side, "-c").with_configs(vec![config])
}

fn assigned(side: &Side, partitions: &[(i32, i32)]) -> CreatableTopic {
    let assignment = |(partition, broker): &(i32, i32)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*partition)
            .with_broker_ids(vec![BrokerId(*broker)])
    };
    fresh(side, "-a")
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(partitions.iter().map(assignment).collect())
}

const CREATE: &[Case] = &[
    ("by default", |side| {
        create(side, vec![fresh(side, "-d").with_num_partitions(-1).with_replication_factor(-1)])
    }),
    ("twice", |side| {
        let topic = named(&side.topic);
        create(side, vec![topic])
    }),
    ("twice in one request", |side| create(side, vec![fresh(side, "-x"), fresh(side, "-x")])),
    ("no partitions", |side| create(side, vec![fresh(side, "-0").with_num_partitions(0)])),
    ("-2 partitions", |side| create(side, vec![fresh(side, "-2").with_num_partitions(-2)])),
    ("replication 0", |side| create(side, vec![fresh(side, "-r").with_replication_factor(0)])),
    ("replication 2", |side| create(side, vec![fresh(side, "-r").with_replication_factor(2)])),
    ("no name", |side| create(side, vec![named("")])),
    ("a dot", |side| create(side, vec![named(".")])),
    ("two dots", |side| create(side, vec![named("..")])),
    ("a slash", |side| create(side, vec![named("a/b")])),
    ("not ASCII", |side| create(side, vec![named("größe")])),
    ("249 characters", |side| {
        let name = format!("{:a>249}", side.topic);
        create(side, vec![named(&name)])
    }),
    ("250 characters", |side| {
        let name = format!("{:a>250}", side.topic);
        create(side, vec![named(&name)])
    }),
    ("dot and underscore collide", |side| {
        create(side, vec![fresh(side, ".x")]);
        create(side, vec![fresh(side, "_x")])
    }),
    ("an unknown config", |side| create(side, vec![with_config(side, "no.such.config", Some("1"))])),
    ("a config that is no number", |side| {
        create(side, vec![with_config(side, "retention.ms", Some("soon"))])
    }),
    ("a config below its least", |side| create(side, vec![with_config(side, "retention.ms", Some("-2"))])),
    ("a config without a value", |side| create(side, vec![with_config(side, "retention.ms", None)])),
    ("an unknown cleanup policy", |side| {
        create(side, vec![with_config(side, "cleanup.policy", Some("burn"))])
    }),
    ("an unknown compression", |side| create(side, vec![with_config(side, "compression.type", Some("rar"))])),
    ("segments below the least", |side| create(side, vec![with_config(side, "segment.bytes", Some("1000"))])),
    ("an unknown broker assigned", |side| create(side, vec![assigned(side, &[(0, 99)])])),
    ("assignments with a gap", |side| create(side, vec![assigned(side, &[(0, 1), (2, 1)])])),
    ("assignments and a number", |side| create(side, vec![assigned(side, &[(0, 1)]).with_num_partitions(1)])),
];

fn delete(side: &mut Side, topic: DeleteTopicState) -> String {
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let Ok(answer) = side.connection.try_call(6, &request) else { return "closed".to_owned() };
    let told = &answer.responses[0];
    format!("error {}, name {}, id {}", told.error_code, told.name.is_some(), !told.topic_id.is_nil())
}

fn delete_records(side: &mut Side, partition: i32, before: i64) -> String {
    let wanted = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(before);
    let topic =
        DeleteRecordsTopic::default().with_name(topic_name(&side.topic)).with_partitions(vec![wanted]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let Ok(answer) = side.connection.try_call(2, &request) else { return "closed".to_owned() };
    let answer = &answer.topics[0].partitions[0];
    format!("error {}, low watermark {}", answer.error_code, answer.low_watermark)
}

fn grow(side: &mut Side, count: i32) -> String {
    let topic = CreatePartitionsTopic::default().with_name(topic_name(&side.topic)).with_count(count);
    let topic = topic.with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let Ok(answer) = side.connection.try_call(3, &request) else { return "closed".to_owned() };
    format!("error {}", answer.results[0].error_code)
}

const CHANGE: &[Case] = &[
    ("delete by name", |side| {
        let name = topic_name(&side.topic);
        delete(side, DeleteTopicState::default().with_name(Some(name)))
    }),
    ("delete by id", |side| {
        let id = side.topic_id;
        delete(side, DeleteTopicState::default().with_name(None).with_topic_id(id))
    }),
    ("delete an unknown name", |side| {
        delete(side, DeleteTopicState::default().with_name(Some(topic_name("nobody-made-this"))))
    }),
    ("delete an unknown id", |side| {
        let id = uuid::Uuid::from_bytes([7; 16]);
        delete(side, DeleteTopicState::default().with_name(None).with_topic_id(id))
    }),
    ("delete neither name nor id", |side| delete(side, DeleteTopicState::default().with_name(None))),
    ("delete both name and id", |side| {
        let (name, id) = (topic_name(&side.topic), side.topic_id);
        delete(side, DeleteTopicState::default().with_name(Some(name)).with_topic_id(id))
    }),
    ("delete no records", |side| delete_records(side, 0, 0)),
    ("delete all records of an empty partition", |side| delete_records(side, 0, -1)),
    ("delete records past the end", |side| delete_records(side, 0, 5)),
    ("delete records before -2", |side| delete_records(side, 0, -2)),
    ("delete records of an unknown partition", |side| delete_records(side, 9, 0)),
    ("grow", |side| grow(side, 3)),
    ("grow by nothing", |side| grow(side, 2)),
    ("shrink", |side| grow(side, 1)),
    ("grow to 0", |side| grow(side, 0)),
    ("grow an unknown topic", |side| {
        side.topic = "nobody-made-this".to_owned();
        grow(side, 9)
    }),
];

pub fn describe(side: &mut Side, kind: i8, name: &str, keys: Option<&[&str]>) -> String {
    let keys = keys.map(|keys| keys.iter().map(|key| text(key)).collect());
    let resource = DescribeConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configuration_keys(keys);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    let Ok(answer) = side.connection.try_call(4, &request) else { return "closed".to_owned() };
    let answer = &answer.results[0];
    let mut shown: Vec<String> = Vec::new();
    if keys_are_few(answer.configs.len()) {
        let shows = answer.configs.iter().map(|config| {
            let value = config.value.as_ref().map(|value| value.as_str());
            format!(
                "{}={value:?} source {} read-only {}",
                config.name.as_str(),
                config.config_source,
                config.read_only
            )
        });
        shown.extend(shows);
    }
    format!("error {}, {shown:?}", answer.error_code)
}

/// Whole configurations differ by nature; single keys must not.
fn keys_are_few(count: usize) -> bool {
    count <= 3
}

pub fn set(side: &mut Side, kind: i8, name: &str, changes: &[(&str, i8, Option<&str>)]) -> String {
    let change = |(key, operation, value): &(&str, i8, Option<&str>)| {
        AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    };
    let resource = IncrementalResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(changes.iter().map(change).collect());
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let Ok(answer) = side.connection.try_call(1, &request) else { return "closed".to_owned() };
    format!("error {}", answer.responses[0].error_code)
}

pub fn set_old(side: &mut Side, kind: i8, name: &str, key: &str, value: Option<&str>) -> String {
    let config = OldConfig::default().with_name(text(key)).with_value(value.map(text));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(name))
        .with_configs(vec![config]);
    let request = AlterConfigsRequest::default().with_resources(vec![resource]);
    let Ok(answer) = side.connection.try_call(2, &request) else { return "closed".to_owned() };
    format!("error {}", answer.responses[0].error_code)
}

fn set_topic(side: &mut Side, changes: &[(&str, i8, Option<&str>)]) -> String {
    let topic = side.topic.clone();
    set(side, TOPIC, &topic, changes)
}

pub const SET: i8 = 0;
pub const DELETE: i8 = 1;
pub const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

const CONFIGS: &[Case] = &[
    ("describe one key", |side| {
        let topic = side.topic.clone();
        describe(side, TOPIC, &topic, Some(&["retention.ms"]))
    }),
    ("describe a default", |side| {
        let topic = side.topic.clone();
        describe(side, TOPIC, &topic, Some(&["max.message.bytes", "cleanup.policy"]))
    }),
    ("describe an unknown key", |side| {
        let topic = side.topic.clone();
        describe(side, TOPIC, &topic, Some(&["no.such.config"]))
    }),
    ("describe no key", |side| {
        let topic = side.topic.clone();
        describe(side, TOPIC, &topic, Some(&[]))
    }),
    ("describe all", |side| {
        let topic = side.topic.clone();
        describe(side, TOPIC, &topic, None)
    }),
    ("describe an unknown topic", |side| describe(side, TOPIC, "nobody-made-this", None)),
    ("describe a bad name", |side| describe(side, TOPIC, "a/b", None)),
    ("describe no name", |side| describe(side, TOPIC, "", None)),
    ("describe an unknown broker", |side| describe(side, BROKER, "99", None)),
    ("describe a broker that is no number", |side| describe(side, BROKER, "x", None)),
    ("describe type 77", |side| describe(side, 77, "x", None)),
    ("set", |side| set_topic(side, &[("retention.ms", SET, Some("5"))])),
    ("set nothing", |side| set_topic(side, &[])),
    ("set an unknown key", |side| set_topic(side, &[("no.such.config", SET, Some("5"))])),
    ("set nonsense", |side| set_topic(side, &[("retention.ms", SET, Some("x"))])),
    ("set null", |side| set_topic(side, &[("retention.ms", SET, None)])),
    ("set twice", |side| {
        set_topic(side, &[("retention.ms", SET, Some("1")), ("retention.ms", SET, Some("2"))])
    }),
    ("delete a default", |side| set_topic(side, &[("max.message.bytes", DELETE, None)])),
    ("delete an unknown key", |side| set_topic(side, &[("no.such.config", DELETE, None)])),
    ("append to a number", |side| set_topic(side, &[("retention.ms", APPEND, Some("5"))])),
    ("subtract from a number", |side| set_topic(side, &[("retention.ms", SUBTRACT, Some("5"))])),
    ("operation 9", |side| set_topic(side, &[("retention.ms", 9, Some("5"))])),
    ("set on an unknown topic", |side| {
        set(side, TOPIC, "nobody-made-this", &[("retention.ms", SET, Some("5"))])
    }),
    ("set on type 77", |side| set(side, 77, "x", &[("retention.ms", SET, Some("5"))])),
    ("set on an unknown broker", |side| set(side, BROKER, "99", &[("log.retention.ms", SET, Some("5"))])),
    ("set the old way", |side| {
        let topic = side.topic.clone();
        set_old(side, TOPIC, &topic, "retention.ms", Some("5"))
    }),
    ("set null the old way", |side| {
        let topic = side.topic.clone();
        set_old(side, TOPIC, &topic, "retention.ms", None)
    }),
    ("set an unknown key the old way", |side| {
        let topic = side.topic.clone();
        set_old(side, TOPIC, &topic, "no.such.config", Some("5"))
    }),
    ("set on an unknown topic the old way", |side| {
        set_old(side, TOPIC, "nobody-made-this", "retention.ms", Some("5"))
    }),
    ("list resources", |side| {
        let request = ListConfigResourcesRequest::default().with_resource_types(vec![TOPIC]);
        let answer = side.connection.call(1, &request);
        let ours = answer.config_resources.iter().any(|one| one.resource_name.as_str() == side.topic);
        format!("error {}, {ours}", answer.error_code)
    }),
    ("list resources of type 77", |side| {
        let request = ListConfigResourcesRequest::default().with_resource_types(vec![77]);
        let answer = side.connection.call(1, &request);
        format!("error {}, {}", answer.error_code, answer.config_resources.len())
    }),
];

fn metadata(side: &mut Side, version: i16, topic: MetadataRequestTopic, create: bool) -> String {
    let request =
        MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(create);
    let Ok(answer) = side.connection.try_call(version, &request) else { return "closed".to_owned() };
    let told = &answer.topics[0];
    format!("error {}, {} partitions, name {}", told.error_code, told.partitions.len(), told.name.is_some())
}

const CLUSTER: &[Case] = &[
    ("a topic's metadata", |side| {
        let name = topic_name(&side.topic);
        metadata(side, 12, MetadataRequestTopic::default().with_name(Some(name)), false)
    }),
    ("by id", |side| {
        let id = side.topic_id;
        metadata(side, 12, MetadataRequestTopic::default().with_name(None).with_topic_id(id), false)
    }),
    ("by an unknown id", |side| {
        let id = uuid::Uuid::from_bytes([7; 16]);
        metadata(side, 12, MetadataRequestTopic::default().with_name(None).with_topic_id(id), false)
    }),
    ("by id where ids were not asked for yet", |side| {
        let id = side.topic_id;
        metadata(side, 10, MetadataRequestTopic::default().with_name(None).with_topic_id(id), false)
    }),
    ("of an unknown topic", |side| {
        metadata(
            side,
            12,
            MetadataRequestTopic::default().with_name(Some(topic_name("nobody-made-this"))),
            false,
        )
    }),
    ("of a bad name", |side| {
        metadata(side, 12, MetadataRequestTopic::default().with_name(Some(topic_name("a/b"))), true)
    }),
    ("of no name", |side| {
        metadata(side, 12, MetadataRequestTopic::default().with_name(Some(topic_name(""))), true)
    }),
    ("no topics", |side| {
        let answer = side.connection.call(12, &MetadataRequest::default().with_topics(Some(Vec::new())));
        format!("{} topics, {} brokers", answer.topics.len(), answer.brokers.len())
    }),
    ("the cluster", |side| cluster(side, 1)),
    ("the controllers", |side| cluster(side, 2)),
    ("endpoints of type 9", |side| cluster(side, 9)),
    ("versions without a name", |side| versions(side, "", "1.0")),
    ("versions with a bad name", |side| versions(side, "a b", "1.0")),
    ("versions with a name", |side| versions(side, "e2e", "1.0")),
];

fn cluster(side: &mut Side, endpoint: i8) -> String {
    let Ok(answer) =
        side.connection.try_call(1, &DescribeClusterRequest::default().with_endpoint_type(endpoint))
    else {
        return "closed".to_owned();
    };
    format!("error {}, {} brokers", answer.error_code, answer.brokers.len())
}

fn versions(side: &mut Side, name: &str, version: &str) -> String {
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text(name))
        .with_client_software_version(text(version));
    let Ok(answer) = side.connection.try_call(3, &request) else { return "closed".to_owned() };
    format!("error {}", answer.error_code)
}

/// What would come of a feature's update, which is only tried: the broker is everybody's.
fn try_feature(side: &mut Side, version: i16, feature: &str, level: i16, upgrade_type: i8) -> String {
    let update = FeatureUpdateKey::default()
        .with_feature(text(feature))
        .with_max_version_level(level)
        .with_upgrade_type(upgrade_type);
    try_features(side, version, vec![update])
}

fn try_features(side: &mut Side, version: i16, updates: Vec<FeatureUpdateKey>) -> String {
    let request = UpdateFeaturesRequest::default()
        .with_timeout_ms(10_000)
        .with_feature_updates(updates)
        .with_validate_only(true);
    let Ok(answer) = side.connection.try_call(version, &request) else { return "closed".to_owned() };
    let each: Vec<i16> = answer.results.iter().map(|result| result.error_code).collect();
    format!("error {}, message {}, each {each:?}", answer.error_code, answer.error_message.is_some())
}

const TRANSACTION: &str = "transaction.version";
const UP: i8 = 1;
const DOWN: i8 = 2;
const DOWN_UNSAFE: i8 = 3;

const FEATURES: &[Case] = &[
    ("none", |side| try_features(side, 2, Vec::new())),
    ("what is in force", |side| try_feature(side, 2, TRANSACTION, 2, UP)),
    ("what is in force, the other way", |side| try_feature(side, 2, TRANSACTION, 2, DOWN)),
    ("down", |side| try_feature(side, 2, TRANSACTION, 1, DOWN)),
    ("down to nothing", |side| try_feature(side, 2, TRANSACTION, 0, DOWN)),
    ("down, unsafe", |side| try_feature(side, 2, "group.version", 0, DOWN_UNSAFE)),
    ("down, each told", |side| try_feature(side, 1, TRANSACTION, 1, DOWN)),
    ("down by an upgrade", |side| try_feature(side, 2, TRANSACTION, 1, UP)),
    ("above the newest", |side| try_feature(side, 2, TRANSACTION, 3, UP)),
    ("above the newest, each told", |side| try_feature(side, 1, TRANSACTION, 3, UP)),
    ("below 0", |side| try_feature(side, 2, TRANSACTION, -1, DOWN)),
    ("type 0", |side| try_feature(side, 2, TRANSACTION, 1, 0)),
    ("type 9", |side| try_feature(side, 2, TRANSACTION, 1, 9)),
    ("an unknown feature", |side| try_feature(side, 2, "no.such.feature", 1, UP)),
    ("an unknown feature to nothing", |side| try_feature(side, 2, "no.such.feature", 0, DOWN)),
    ("no name", |side| try_feature(side, 2, "", 1, UP)),
    ("one right and one wrong", |side| {
        let update = |feature, level| {
            FeatureUpdateKey::default()
                .with_feature(text(feature))
                .with_max_version_level(level)
                .with_upgrade_type(DOWN)
        };
        try_features(side, 2, vec![update(TRANSACTION, 1), update("no.such.feature", 1)])
    }),
];

#[test]
fn topics_are_refused_as_kafka_does() {
    compare("create", CREATE);
}

#[test]
fn changes_are_refused_as_kafka_does() {
    compare("change", CHANGE);
}

#[test]
fn configs_are_refused_as_kafka_does() {
    compare("configs", CONFIGS);
}

#[test]
fn levels_of_features_are_refused_as_kafka_does() {
    compare("features", FEATURES);
}

#[test]
fn the_cluster_is_described_as_kafka_does() {
    compare("cluster", CLUSTER);
}
