//! Definitions, layers and messages, one line a case.

use super::*;

fn map(entries: &[(&str, &str)]) -> ConfigMap {
    entries.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn resolve(overrides: &[(&str, &str)], file: &[(&str, &str)]) -> TopicConfig {
    let (empty, file) = (ConfigMap::new(), map(file));
    let layers = BrokerLayers { dynamic_broker: &empty, dynamic_default: &empty, file: &file };
    TopicConfig::resolve(&map(overrides), &layers)
}

#[track_caller]
fn check_topic(name: &str, value: &str, expected: &str) {
    let got = topic::check(name, value).map_or_else(|error| error.to_string(), |()| "ok".to_owned());
    assert_eq!(got, expected);
}

#[test]
fn values_are_checked_with_kafkas_words() {
    check_topic("retention.ms", "-1", "ok");
    check_topic("retention.ms", " 5000 ", "ok");
    check_topic(
        "retention.ms",
        "-2",
        "Invalid value -2 for configuration retention.ms: Value must be at least -1",
    );
    check_topic(
        "retention.ms",
        "abc",
        "Invalid value abc for configuration retention.ms: Not a number of type LONG",
    );
    check_topic(
        "segment.bytes",
        "3000000000",
        "Invalid value 3000000000 for configuration segment.bytes: Not a number of type INT",
    );
    check_topic(
        "segment.bytes",
        "1024",
        "Invalid value 1024 for configuration segment.bytes: Value must be at least 1048576",
    );
    check_topic(
        "compression.type",
        "brotli",
        "Invalid value brotli for configuration compression.type: String must be one of: uncompressed, zstd, lz4, \
         snappy, gzip, producer",
    );
    check_topic(
        "compression.zstd.level",
        "23",
        "Invalid value 23 for configuration compression.zstd.level: Value must be no more than 22",
    );
    check_topic("compression.gzip.level", "-1", "ok");
    check_topic(
        "compression.gzip.level",
        "0",
        "Invalid value 0 for configuration compression.gzip.level: Value must be between 1 and 9 or equal to -1",
    );
}

#[test]
fn unknown_names_get_the_nearest_right_one() {
    check_topic(
        "retention.msec",
        "1",
        "Unknown topic config name: retention.msec; did you mean retention.ms?",
    );
    check_topic("xyzzy", "1", "Unknown topic config name: xyzzy");
    assert_eq!(
        broker::check("log.segment.byte", "1").unwrap_err().to_string(),
        "Unknown broker config name: log.segment.byte; did you mean log.segment.bytes?"
    );
}

#[test]
fn what_kafka_has_and_we_have_not_is_refused_with_the_reason() {
    check_topic(
        "preallocate",
        "true",
        "Config preallocate is not supported by this broker: the storage engine decides where preallocation pays",
    );
}

#[test]
fn topics_are_deleted_from_compacted_or_both() {
    for value in ["compact", "compact,delete", "delete, compact", "delete"] {
        check_topic("cleanup.policy", value, "ok");
    }
    let reason = "String must be one of: compact, delete";
    check_topic(
        "cleanup.policy",
        "compress",
        &format!("Invalid value compress for configuration cleanup.policy: {reason}"),
    );
    for value in ["0", "0.01", "1", "1.0", "5e-1"] {
        check_topic("min.cleanable.dirty.ratio", value, "ok");
    }
    for (value, reason) in [
        ("1.5", "Value must be no more than 1"),
        ("-0.1", "Value must be at least 0"),
        ("half", "Not a number of type DOUBLE"),
        ("NaN", "Not a number of type DOUBLE"),
    ] {
        let refused = format!("Invalid value {value} for configuration min.cleanable.dirty.ratio: {reason}");
        check_topic("min.cleanable.dirty.ratio", value, &refused);
    }
    let set = |pairs: &[(&str, &str)]| -> ConfigMap {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let none = ConfigMap::new();
    let layers = BrokerLayers { dynamic_broker: &none, dynamic_default: &none, file: &none };
    let resolve = |pairs: &[(&str, &str)]| TopicConfig::resolve(&set(pairs), &layers);
    let plain = resolve(&[]);
    assert_eq!((plain.deletes_old, plain.compaction), (true, None));
    let both = resolve(&[("cleanup.policy", "compact, delete"), ("min.cleanable.dirty.ratio", "0.01")]);
    let compaction = both.compaction.expect("it is compacted");
    assert_eq!((both.deletes_old, compaction.dirty_millionths_min), (true, 10_000));
    assert_eq!((compaction.lag_ms_min, compaction.lag_ms_max), (0, i64::MAX));
    assert!(!resolve(&[("cleanup.policy", "compact")]).deletes_old);
}

#[test]
fn tables_are_sorted_unique_and_their_defaults_pass_their_own_checks() {
    let topics: Vec<&str> = topic::DEFINITIONS.iter().map(|found| found.definition.name).collect();
    let refused: Vec<&str> = topic::REFUSED.iter().map(|found| found.name).collect();
    let brokers: Vec<&str> = broker::DEFINITIONS.iter().map(|found| found.name).collect();
    let groups: Vec<&str> = group::DEFINITIONS.iter().map(|found| found.name).collect();
    let refused_groups: Vec<&str> = group::REFUSED.iter().map(|found| found.name).collect();
    for names in [&topics, &refused, &brokers, &groups, &refused_groups] {
        assert!(names.is_sorted_by(|left, right| left < right), "{names:?}");
    }
    assert!(topics.iter().all(|name| !refused.contains(name)));
    let all = topic::DEFINITIONS.iter().map(|found| &found.definition).chain(broker::DEFINITIONS);
    let all = all.chain(group::DEFINITIONS);
    for definition in all {
        if let Some(default) = definition.default {
            definition.check(default).unwrap();
        }
    }
}

#[test]
fn a_topics_default_equals_the_default_of_its_broker_config() {
    for found in topic::DEFINITIONS {
        let first = broker::definition(found.synonyms[0].name).unwrap();
        assert_eq!(first.kind, found.definition.kind, "{}", first.name);
        assert_ne!(first.update, Update::ReadOnly, "{}", first.name);
        let from_broker = found.synonyms.iter().find_map(|synonym| {
            let default = broker::definition(synonym.name).unwrap().default?;
            Some(topic::convert(default, synonym.factor))
        });
        assert_eq!(from_broker.as_deref(), found.definition.default, "{}", found.definition.name);
    }
}

#[test]
fn built_in_defaults_sync_every_ack() {
    let config = resolve(&[], &[]);
    assert!(config.syncs_before_ack());
    assert_eq!(config.flush_ms, None);
    assert_eq!(config.segment_bytes, 1 << 30);
    assert_eq!(config.retention_ms, Some(7 * 24 * 3_600_000));
    assert_eq!(config.retention_bytes, None);
    assert_eq!(config.compression, CompressionChoice::Producer);
    assert_eq!(config.timestamp_type, TimestampType::CreateTime);
}

#[test]
fn overrides_win_over_the_file_and_the_file_over_defaults() {
    assert_eq!(resolve(&[], &[("log.retention.hours", "2")]).retention_ms, Some(7_200_000));
    assert_eq!(
        resolve(&[], &[("log.retention.hours", "2"), ("log.retention.minutes", "1")]).retention_ms,
        Some(60_000)
    );
    assert_eq!(resolve(&[], &[("log.retention.hours", "-1")]).retention_ms, None);
    assert_eq!(resolve(&[("retention.ms", "5")], &[("log.retention.ms", "6")]).retention_ms, Some(5));
    assert!(!resolve(&[("flush.messages", "1000")], &[]).syncs_before_ack());
    assert_eq!(
        resolve(&[("compression.type", "zstd"), ("compression.zstd.level", "9")], &[]).compression,
        CompressionChoice::Zstd(9)
    );
    assert_eq!(resolve(&[("compression.type", "gzip")], &[]).compression, CompressionChoice::Gzip(None));
}

#[test]
fn dynamic_layers_are_ordered_and_described() {
    let (broker, cluster) =
        (map(&[("log.segment.bytes", "2000000")]), map(&[("log.segment.bytes", "3000000")]));
    let file = map(&[("log.segment.bytes", "4000000")]);
    let layers = BrokerLayers { dynamic_broker: &broker, dynamic_default: &cluster, file: &file };
    assert_eq!(TopicConfig::resolve(&ConfigMap::new(), &layers).segment_bytes, 2_000_000);

    let described = describe_topic(&map(&[("segment.bytes", "1500000")]), &layers);
    let entry = described.iter().find(|entry| entry.name == "segment.bytes").unwrap();
    let sources: Vec<(&str, Option<&str>, Source)> =
        entry.synonyms.iter().map(|value| (value.name, value.value.as_deref(), value.source)).collect();
    assert_eq!(
        sources,
        [
            ("segment.bytes", Some("1500000"), Source::DynamicTopic),
            ("log.segment.bytes", Some("2000000"), Source::DynamicBroker),
            ("log.segment.bytes", Some("3000000"), Source::DynamicDefault),
            ("log.segment.bytes", Some("4000000"), Source::File),
            ("log.segment.bytes", Some("1073741824"), Source::Default),
        ]
    );
    assert_eq!((entry.value.as_deref(), entry.source), (Some("1500000"), Source::DynamicTopic));
    assert_eq!(described.len(), topic::DEFINITIONS.len());

    let described = describe_broker(&layers);
    let entry = described.iter().find(|entry| entry.name == "log.segment.bytes").unwrap();
    assert_eq!(
        (entry.value.as_deref(), entry.source, entry.read_only),
        (Some("2000000"), Source::DynamicBroker, false)
    );
    assert!(described.iter().find(|entry| entry.name == "node.id").unwrap().read_only);
    assert_eq!(describe_cluster_default(&cluster).len(), 1);
}

const TERMS: GroupTerms = GroupTerms {
    heartbeat_interval: TermMs { least: 1_000, default: 5_000, most: 20_000 },
    session_timeout: TermMs { least: 10_000, default: 15_000, most: 60_000 },
};

#[test]
fn a_groups_configs_are_within_what_the_broker_says() {
    let check = |entries: &[(&str, &str)], expected: &str| {
        let got = group::check_terms(&map(entries), &TERMS);
        assert_eq!(got.map_or_else(|error| error.to_string(), |()| "ok".to_owned()), expected);
    };
    let (heartbeat, session) = (group::HEARTBEAT_INTERVAL, group::SESSION_TIMEOUT);
    check(&[], "ok");
    check(&[(heartbeat, "1000"), (session, "60000")], "ok");
    let least = "must be greater than or equal to";
    let most = "must be less than or equal to";
    check(&[(heartbeat, "999")], &format!("{heartbeat} {least} group.consumer.min.heartbeat.interval.ms"));
    check(&[(heartbeat, "20001")], &format!("{heartbeat} {most} group.consumer.max.heartbeat.interval.ms"));
    check(&[(session, "9999")], &format!("{session} {least} group.consumer.min.session.timeout.ms"));
    check(&[(session, "60001")], &format!("{session} {most} group.consumer.max.session.timeout.ms"));
    check(&[(heartbeat, "15000")], &format!("{session} must be greater than {heartbeat}"));
    check(&[(heartbeat, "15000"), (session, "15001")], "ok");
}

#[test]
fn a_groups_configs_win_over_the_brokers_and_stay_within_its_terms() {
    let resolve = |entries: &[(&str, &str)]| {
        let config = GroupConfig::resolve(Some(&map(entries)), &TERMS);
        (config.heartbeat_interval_ms, config.session_timeout_ms)
    };
    assert_eq!(GroupConfig::resolve(None, &TERMS).session_timeout_ms, 15_000);
    assert_eq!(resolve(&[(group::HEARTBEAT_INTERVAL, " 7000 ")]), (7_000, 15_000));
    // Set when the broker allowed it.
    assert_eq!(
        resolve(&[(group::HEARTBEAT_INTERVAL, "500"), (group::SESSION_TIMEOUT, "70000")]),
        (1_000, 60_000)
    );

    let described = describe_group(Some(&map(&[(group::SESSION_TIMEOUT, "20000")])), &TERMS);
    let shown: Vec<_> = described
        .iter()
        .map(|entry| (entry.name, entry.value.as_deref(), entry.source, entry.synonyms.len()))
        .collect();
    assert_eq!(
        shown,
        [
            (group::HEARTBEAT_INTERVAL, Some("5000"), Source::Default, 1),
            (group::SESSION_TIMEOUT, Some("20000"), Source::DynamicGroup, 1),
        ]
    );
}

#[test]
fn group_configs_that_are_not_there_say_why() {
    let refused = |name: &str| group::definition(name).unwrap_err().to_string();
    assert_eq!(
        refused("share.session.timeout.ms"),
        "Config share.session.timeout.ms is not supported by this broker: there are no share groups"
    );
    assert_eq!(
        refused("consumer.session.timeout"),
        "Unknown group config name: consumer.session.timeout; did you mean consumer.session.timeout.ms?"
    );
}

#[test]
fn only_dynamic_broker_configs_can_be_altered() {
    assert!(broker::check_dynamic("log.retention.ms", true).is_ok());
    assert_eq!(
        broker::check_dynamic("node.id", false).unwrap_err().to_string(),
        "Cannot update these configs dynamically: [node.id]"
    );
}

#[test]
fn secrets_are_never_shown() {
    let secret = Definition {
        name: "secret",
        kind: Kind::Password,
        default: None,
        valid: Valid::Any,
        update: Update::PerBroker,
        documentation: "",
    };
    let shown =
        describe::described(&secret, false, vec![("secret", "hunter2".to_owned(), Source::DynamicBroker)]);
    assert!(shown.sensitive);
    assert_eq!((shown.value, shown.synonyms[0].value.clone()), (None, None));
}
