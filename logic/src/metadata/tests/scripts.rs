//! One behaviour a test, in the words of Kafka's errors.

use protocol::types::{LeaderEpoch, PartitionIndex, ProducerId};

use super::*;
use crate::config::{ConfigMap, GroupTerms, Operation};
use crate::limits::{GROUP_TEXT_BYTES_MAX, GROUPS_WITH_SETTINGS_MAX, PRODUCER_ID_BLOCK_COUNT};

fn create(image: &mut Image, topics: Vec<NewTopic>) -> Vec<String> {
    let command = Command::CreateTopics(topics);
    let dry = image.dry_run(&command);
    let (response, delta) = apply(image, &command);
    assert_eq!(dry, response, "a dry run answers as the command does");
    let Response::CreateTopics(results) = response else { panic!("{response:?}") };
    let made = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(delta.topics.len(), made);
    results.iter().map(|result| show(result.as_ref().map(drop))).collect()
}

fn show(result: Result<(), &MetadataError>) -> String {
    result.map_or_else(ToString::to_string, |()| "ok".to_owned())
}

#[track_caller]
fn check_create(topic: NewTopic, expected: &str) {
    let mut image = cluster(&[1, 2, 3]);
    create(&mut image, vec![counts("there", 99, 1, 1), counts("dotted.name", 98, 1, 1)]);
    let before = image.clone();
    assert_eq!(create(&mut image, vec![topic]), [expected]);
    if expected != "ok" {
        image.sequence = before.sequence;
        assert_eq!(image, before, "a refused command changes nothing");
    }
}

#[test]
fn topic_names_follow_kafkas_rules() {
    let check = |name: &str, expected: &str| check_create(counts(name, 1, 1, 1), expected);
    check("orders-2.eu_West", "ok");
    check(&"n".repeat(249), "ok");
    check("", "Topic name is invalid: the empty string is not allowed");
    check(".", "Topic name is invalid: '.' is not allowed");
    check("..", "Topic name is invalid: '..' is not allowed");
    let long = "n".repeat(250);
    check(
        &long,
        &format!("Topic name is invalid: the length of '{long}' is longer than the max allowed length 249"),
    );
    let legal = "contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'";
    for name in ["a/b", "a b", "naïve", "a\0"] {
        check(name, &format!("Topic name is invalid: '{name}' {legal}"));
    }
    check("there", "Topic 'there' already exists.");
    check("dotted_name", "Topic 'dotted_name' collides with existing topic: dotted.name");
}

#[test]
fn counts_must_be_possible() {
    check_create(counts("a", 1, 0, 1), "Number of partitions was set to an invalid non-positive value.");
    check_create(counts("a", 1, -7, 1), "Number of partitions was set to an invalid non-positive value.");
    check_create(
        counts("a", 1, 1, 0),
        "Replication factor must be larger than 0, or -1 to use the default value.",
    );
    check_create(
        counts("a", 1, 1, 4),
        "Unable to replicate the partition 4 time(s): The target replication factor of 4 cannot be reached because \
         only 3 broker(s) are registered.",
    );
    check_create(
        counts("a", 1, 10_001, 1),
        "Excessively large number of partitions per request: 10000 are the most.",
    );
    check_create(counts("a", 99, 1, 1), &format!("Topic id {} can't be used for a new topic.", topic_id(99)));
}

#[test]
fn manual_assignments_are_checked() {
    let check = |lists: &[(i32, &[i32])], expected: &str| {
        let assignments = lists
            .iter()
            .map(|(partition, brokers)| Assignment {
                partition: PartitionIndex(*partition),
                brokers: brokers.iter().copied().map(BrokerId).collect(),
            })
            .collect();
        let shape = TopicShape::Assigned(assignments);
        check_create(
            NewTopic { name: "a".to_owned(), id: topic_id(1), shape, settings: Vec::new() },
            expected,
        );
    };
    let includes = "The manual partition assignment includes";
    let consecutive = "partitions should be a consecutive 0-based integer sequence";
    check(&[(1, &[2, 3]), (0, &[1, 2])], "ok");
    check(&[(0, &[1]), (0, &[2])], "Found multiple manual partition assignments for partition 0");
    check(&[(0, &[1]), (2, &[2])], consecutive);
    check(&[(-1, &[1])], consecutive);
    check(&[], consecutive);
    check(&[(0, &[])], &format!("{includes} an empty replica list."));
    check(&[(0, &[1, 1])], &format!("{includes} the broker 1 more than once."));
    check(&[(0, &[1, 9])], &format!("{includes} broker 9, but no such broker is registered."));
    check(
        &[(0, &[1, 2]), (1, &[3])],
        &format!(
            "{includes} a partition with 1 replica(s), but this is not consistent with previous partitions, which \
             have 2 replica(s)."
        ),
    );
}

#[test]
fn settings_of_a_new_topic_are_checked() {
    let with = |name: &str, value: Option<&str>| NewTopic {
        settings: vec![(name.to_owned(), value.map(str::to_owned))],
        ..counts("a", 1, 1, 1)
    };
    check_create(with("retention.ms", Some("1000")), "ok");
    check_create(with("retention.ms", None), "Null value not supported for configuration retention.ms");
    check_create(
        with("retention.m", Some("1")),
        "Unknown topic config name: retention.m; did you mean retention.ms?",
    );
}

#[test]
fn a_topic_named_twice_in_a_request_is_refused_twice() {
    let mut image = cluster(&[1]);
    let answers = create(&mut image, vec![counts("a", 1, 1, 1), counts("b", 2, 1, 1), counts("a", 3, 1, 1)]);
    assert_eq!(answers, ["Duplicate topic name.", "ok", "Duplicate topic name."]);
    assert_eq!(image.topic_count(), 1);
}

#[test]
fn topics_are_found_by_name_and_id_and_listed_in_order() {
    let mut image = cluster(&[1]);
    create(&mut image, vec![counts("b", 2, 3, 1), counts("a", 1, 2, 1), counts("c", 3, 1, 1)]);
    assert_eq!(image.topic("b"), image.topic_by_id(topic_id(2)));
    assert_eq!(image.partition_count(), 6);
    let names: Vec<&str> = image.topics().map(|topic| &*topic.name).collect();
    assert_eq!(names, ["a", "b", "c"]);
    let names: Vec<&str> = image.topics_from("aa").map(|topic| &*topic.name).collect();
    assert_eq!(names, ["b", "c"]);
    let partition = image.topic("b").unwrap().partition(PartitionIndex(2)).unwrap();
    assert_eq!((partition.leader, partition.leader_epoch), (Some(BrokerId(1)), LeaderEpoch(0)));
    assert_eq!(*partition.in_sync, [BrokerId(1)]);
    assert!(image.topic("b").unwrap().partition(PartitionIndex(3)).is_none());
    assert!(image.topic("b").unwrap().partition(PartitionIndex(-1)).is_none());
}

#[test]
fn a_deleted_topic_frees_its_name_but_not_its_collisions_of_others() {
    let mut image = cluster(&[1]);
    create(&mut image, vec![counts("x.y", 1, 4, 1)]);
    let old = image.clone();
    let delete = Command::DeleteTopics(vec![
        TopicReference::Name("x.y".to_owned()),
        TopicReference::Name("nope".to_owned()),
        TopicReference::Id(topic_id(77)),
    ]);
    let (response, delta) = apply(&mut image, &delete);
    let Response::DeleteTopics(results) = response else { panic!("{response:?}") };
    let answers: Vec<String> = results.iter().map(|result| show(result.as_ref().map(drop))).collect();
    assert_eq!(
        answers,
        ["ok", "This server does not host this topic-partition.", "This server does not host this topic ID."]
    );
    assert_eq!(delta.topics[0].partitions_deleted().count(), 4);
    assert_eq!(delta.topics[0].partitions_created().count(), 0);
    assert_eq!(create(&mut image, vec![counts("x_y", 2, 1, 1)]), ["ok"]);
    assert!(old.topic("x.y").is_some(), "an image that someone holds stays as it was");
    assert!(old.topic("x_y").is_none());
}

#[test]
fn a_topic_deleted_by_name_and_id_at_once_is_a_duplicate() {
    let mut image = cluster(&[1]);
    create(&mut image, vec![counts("a", 1, 1, 1)]);
    let delete =
        Command::DeleteTopics(vec![TopicReference::Name("a".to_owned()), TopicReference::Id(topic_id(1))]);
    let (response, _) = apply(&mut image, &delete);
    let refused = || Err(MetadataError::InvalidRequest("Duplicate topic name.".to_owned()));
    assert_eq!(response, Response::DeleteTopics(vec![refused(), refused()]));
    assert_eq!(image.topic_count(), 1);
}

#[test]
fn partitions_are_added_never_taken() {
    let mut image = cluster(&[1, 2]);
    create(&mut image, vec![counts("a", 1, 2, 2)]);
    let mut more = |count: i32, assignments: Option<Vec<Vec<BrokerId>>>| {
        let command =
            Command::CreatePartitions(vec![MorePartitions { topic: "a".to_owned(), count, assignments }]);
        let (response, delta) = apply(&mut image, &command);
        let Response::CreatePartitions(results) = response else { panic!("{response:?}") };
        (
            show(results[0].as_ref().map(drop)),
            delta.topics.iter().flat_map(TopicChange::partitions_created).collect(),
        )
    };
    let none: Vec<PartitionIndex> = Vec::new();
    assert_eq!(more(2, None), ("Topic already has 2 partition(s).".to_owned(), none.clone()));
    let less = "The topic a currently has 2 partition(s); 1 would not be an increase.";
    assert_eq!(more(1, None), (less.to_owned(), none.clone()));
    assert_eq!(more(4, None), ("ok".to_owned(), vec![PartitionIndex(2), PartitionIndex(3)]));
    let (one, two) = (BrokerId(1), BrokerId(2));
    let few = "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.";
    assert_eq!(more(6, Some(vec![vec![one, two]])), (few.to_owned(), none));
    assert_eq!(more(5, Some(vec![vec![two, one]])), ("ok".to_owned(), vec![PartitionIndex(4)]));
    assert_eq!(image.topic("a").unwrap().partitions[4].leader, Some(two));
}

fn alter(image: &mut Image, resource: Resource, changes: &[(&str, Operation, Option<&str>)]) -> String {
    let changes = changes
        .iter()
        .map(|(name, operation, value)| ConfigChange {
            name: (*name).to_owned(),
            operation: *operation,
            value: value.map(str::to_owned),
        })
        .collect();
    let (response, delta) =
        apply(image, &Command::AlterConfigs(vec![Alteration { resource, replace: false, changes }]));
    let Response::AlterConfigs(results) = response else { panic!("{response:?}") };
    assert!(results[0].is_ok() || delta.is_empty());
    show(results[0].as_ref().copied())
}

#[test]
fn configs_of_a_topic_change_as_one() {
    use Operation::{Append, Delete, Set, Subtract};
    let mut image = cluster(&[1]);
    create(&mut image, vec![counts("a", 1, 1, 1)]);
    let mut check = |changes: &[(&str, Operation, Option<&str>)], expected: &str| {
        assert_eq!(alter(&mut image, Resource::Topic("a".to_owned()), changes), expected);
    };
    check(&[("retention.ms", Set, Some("5")), ("segment.bytes", Set, Some("2000000"))], "ok");
    check(
        &[("retention.ms", Set, Some("6")), ("segment.bytes", Set, Some("1"))],
        "Invalid value 1 for configuration segment.bytes: Value must be at least 1048576",
    );
    check(&[("segment.bytes", Delete, None)], "ok");
    check(&[("segment.bytes", Delete, None)], "ok");
    check(
        &[("segment.byte", Delete, None)],
        "Unknown topic config name: segment.byte; did you mean segment.bytes?",
    );
    check(
        &[("retention.ms", Append, Some("6"))],
        "Can't APPEND to key retention.ms because its type is not LIST.",
    );
    check(&[("cleanup.policy", Append, Some("delete"))], "ok");
    check(
        &[("cleanup.policy", Append, Some("compress"))],
        "Invalid value delete,compress for configuration cleanup.policy: String must be one of: compact, delete",
    );
    check(&[("cleanup.policy", Append, Some("compact"))], "ok");
    check(&[("cleanup.policy", Subtract, Some("compact"))], "ok");
    check(
        &[("cleanup.policy", Subtract, Some("delete"))],
        "Invalid value  for configuration cleanup.policy: the policy must not be empty; use delete",
    );
    check(&[("retention.ms", Set, None)], "Null value not supported for configuration retention.ms");
    check(
        &[("retention.ms", Set, Some("1")), ("retention.ms", Delete, None)],
        "Error due to duplicate config keys",
    );
    let settings: Vec<_> = image.topic("a").unwrap().settings.iter().collect();
    assert_eq!(
        settings,
        [(&"cleanup.policy".to_owned(), &"delete".to_owned()), (&"retention.ms".to_owned(), &"5".to_owned())]
    );
    let unknown = alter(&mut image, Resource::Topic("b".to_owned()), &[]);
    assert_eq!(unknown, "This server does not host this topic-partition.");
}

#[test]
fn replacing_configs_drops_what_is_not_named() {
    let mut image = cluster(&[1]);
    create(&mut image, vec![counts("a", 1, 1, 1)]);
    let resource = || Resource::Topic("a".to_owned());
    alter(&mut image, resource(), &[("retention.ms", Operation::Set, Some("5"))]);
    let changes = vec![ConfigChange {
        name: "segment.ms".to_owned(),
        operation: Operation::Set,
        value: Some("7".to_owned()),
    }];
    let command = Command::AlterConfigs(vec![Alteration { resource: resource(), replace: true, changes }]);
    let (_, delta) = apply(&mut image, &command);
    assert!(delta.topics[0].settings_changed());
    let expected: ConfigMap = [("segment.ms".to_owned(), "7".to_owned())].into();
    assert_eq!(*image.topic("a").unwrap().settings, expected);
}

#[test]
fn broker_configs_are_dynamic_where_they_can_be() {
    use Operation::{Delete, Set};
    let mut image = cluster(&[1]);
    let one = || Resource::Broker(BrokerId(1));
    let bytes = |value| [("log.segment.bytes", Set, Some(value))];
    assert_eq!(alter(&mut image, one(), &bytes("2000000")), "ok");
    assert_eq!(alter(&mut image, Resource::Cluster, &bytes("3000000")), "ok");
    let unknown = alter(&mut image, Resource::Broker(BrokerId(9)), &bytes("2000000"));
    assert_eq!(unknown, "Broker ID 9 is not currently registered.");
    let fixed = alter(&mut image, Resource::Cluster, &[("node.id", Set, Some("4"))]);
    assert_eq!(fixed, "Cannot update these configs dynamically: [node.id]");
    assert_eq!(image.broker_settings(BrokerId(1)).unwrap()["log.segment.bytes"], "2000000");
    assert_eq!(image.cluster_settings()["log.segment.bytes"], "3000000");
    assert_eq!(alter(&mut image, one(), &[("log.segment.bytes", Delete, None)]), "ok");
    assert!(image.broker_settings(BrokerId(1)).is_none());
}

#[test]
fn features_change_their_levels_all_or_none() {
    use Direction::{Downgrade, Unknown, Upgrade};
    let mut image = cluster(&[1]);
    let mut update = |updates: &[(&str, i16, Direction)]| {
        let update = |(feature, level, direction): &(&str, i16, Direction)| FeatureUpdate {
            feature: (*feature).to_owned(),
            level: *level,
            direction: *direction,
        };
        let before = image.features();
        let (response, delta) =
            apply(&mut image, &Command::UpdateFeatures(updates.iter().map(update).collect()));
        let Response::UpdateFeatures(outcome) = response else { panic!("{response:?}") };
        assert_eq!(delta.features_changed, image.features() != before);
        let levels = Feature::ALL.map(|feature| image.features().of(feature));
        let decoded = codec::decode_image(&codec::encode_image(&image)).unwrap();
        assert_eq!(decoded, image);
        (show(outcome.as_ref().map(drop)), levels)
    };
    let mut check = |updates: &[(&str, i16, Direction)], expected: &str, levels: [i16; 2]| {
        assert_eq!(update(updates), (expected.to_owned(), levels));
    };
    let (group, transaction) = ("group.version", "transaction.version");
    check(&[], "ok", [1, 2]);
    check(&[(transaction, 2, Upgrade), (group, 1, Downgrade)], "ok", [1, 2]);
    let wrong = |level: i16, name: &str, reason: &str| {
        format!("Invalid update version {level} for feature {name}. {reason}")
    };
    check(
        &[(group, 0, Downgrade), (transaction, 3, Upgrade)],
        &wrong(3, transaction, "Local controller only supports versions 0-2"),
        [1, 2],
    );
    check(
        &[(transaction, -1, Downgrade)],
        &wrong(-1, transaction, "A feature version cannot be less than 0."),
        [1, 2],
    );
    check(
        &[(transaction, 1, Upgrade)],
        &wrong(
            1,
            transaction,
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe \
             downgrade.",
        ),
        [1, 2],
    );
    check(
        &[(transaction, 1, Unknown)],
        &wrong(1, transaction, "The controller does not support the given upgrade type."),
        [1, 2],
    );
    check(&[(transaction, 1, Downgrade)], "ok", [1, 1]);
    check(
        &[(transaction, 2, Downgrade)],
        &wrong(2, transaction, "Can't downgrade to a newer version."),
        [1, 1],
    );
    check(&[(transaction, 0, Downgrade), (group, 0, Downgrade)], "ok", [0, 0]);
    check(&[(group, 1, Upgrade)], "ok", [1, 0]);
    let none = "Local controller does not support this feature.";
    check(&[("metadata.version", 27, Upgrade)], &wrong(27, "metadata.version", none), [1, 0]);
    check(&[("no.such", 0, Downgrade)], &wrong(0, "no.such", "Feature no.such not found."), [1, 0]);
}

fn group(name: &str) -> Resource {
    Resource::Group { name: name.to_owned(), terms: GroupTerms::default() }
}

#[test]
fn configs_of_a_group_change_as_one_and_within_the_brokers_terms() {
    use Operation::{Append, Delete, Set};
    const SESSION: &str = "consumer.session.timeout.ms";
    const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
    let mut image = cluster(&[1]);
    let mut check = |name: &str, changes: &[(&str, Operation, Option<&str>)], expected: &str| {
        assert_eq!(alter(&mut image, group(name), changes), expected);
    };
    check("g", &[(SESSION, Set, Some("50000")), (HEARTBEAT, Set, Some("6000"))], "ok");
    check(
        "g",
        &[(HEARTBEAT, Set, Some("7000")), (SESSION, Set, Some("44999"))],
        "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
    );
    check(
        "g",
        &[(SESSION, Set, Some("soon"))],
        &format!("Invalid value soon for configuration {SESSION}: Not a number of type INT"),
    );
    check(
        "g",
        &[(SESSION, Set, Some("0"))],
        &format!("Invalid value 0 for configuration {SESSION}: Value must be at least 1"),
    );
    check(
        "g",
        &[(SESSION, Append, Some("1"))],
        &format!("Can't APPEND to key {SESSION} because its type is not LIST."),
    );
    check("g", &[("retention.ms", Set, Some("1"))], "Unknown group config name: retention.ms");
    check("", &[(SESSION, Set, Some("50000"))], "Default group resources are not allowed.");
    let long = "g".repeat(GROUP_TEXT_BYTES_MAX + 1);
    check(&long, &[], "A group's name has at most 32767 bytes.");
    check("h", &[(SESSION, Set, Some("60000"))], "ok");
    check("h", &[(SESSION, Delete, None)], "ok");
    let kept: Vec<_> = image.groups_with_settings().map(|(name, _)| name.to_string()).collect();
    assert_eq!(kept, ["g"]);
    let expected: ConfigMap =
        [(SESSION.to_owned(), "50000".to_owned()), (HEARTBEAT.to_owned(), "6000".to_owned())].into();
    assert_eq!(image.group_settings("g"), Some(&expected));
    assert_eq!(image.group_settings("h"), None);
    let decoded = codec::decode_image(&codec::encode_image(&image)).unwrap();
    assert_eq!(decoded, image);
}

#[test]
fn one_group_named_with_two_terms_is_one_resource() {
    let mut terms = GroupTerms::default();
    terms.session_timeout.most = 100_000;
    let other = Resource::Group { name: "g".to_owned(), terms };
    let alteration = |resource| Alteration { resource, replace: true, changes: Vec::new() };
    let both = vec![alteration(group("g")), alteration(other)];
    let (response, _) = apply(&mut cluster(&[1]), &Command::AlterConfigs(both));
    let twice = MetadataError::InvalidRequest("Each resource must appear at most once.".to_owned());
    assert_eq!(response, Response::AlterConfigs(vec![Err(twice.clone()), Err(twice)]));
}

#[test]
fn groups_with_configs_are_so_many_at_most() {
    let mut image = cluster(&[1]);
    let set = [("consumer.session.timeout.ms", Operation::Set, Some("50000"))];
    let change = |name: &str, operation, value: Option<&str>| ConfigChange {
        name: name.to_owned(),
        operation,
        value: value.map(str::to_owned),
    };
    let alteration = |number: usize| Alteration {
        resource: group(&number.to_string()),
        replace: false,
        changes: set.iter().map(|(name, operation, value)| change(name, *operation, *value)).collect(),
    };
    let all = Command::AlterConfigs((0..GROUPS_WITH_SETTINGS_MAX).map(alteration).collect());
    apply(&mut image, &all);
    assert_eq!(alter(&mut image, group("one-more"), &set), "There are 100000 groups with configs already.");
    assert_eq!(
        alter(&mut image, group("7"), &[("consumer.heartbeat.interval.ms", Operation::Set, Some("6000"))]),
        "ok"
    );
    assert_eq!(
        alter(&mut image, group("8"), &[("consumer.session.timeout.ms", Operation::Delete, None)]),
        "ok"
    );
    assert_eq!(alter(&mut image, group("one-more"), &set), "ok");
}

#[test]
fn every_start_moves_the_partitions_it_leads_to_the_next_epoch() {
    let mut image = cluster(&[1, 2]);
    create(&mut image, vec![counts("a", 1, 4, 2), counts("b", 2, 1, 1)]);
    let epochs = |image: &Image| -> Vec<(i32, i32)> {
        let partitions = image.topics().flat_map(|topic| topic.partitions.iter());
        partitions.map(|partition| (partition.leader.unwrap().get(), partition.leader_epoch.get())).collect()
    };
    assert!(epochs(&image).iter().all(|(_, epoch)| *epoch == 0));
    let (response, delta) = apply(&mut image, &registration(1, 2));
    assert_eq!(response, Response::RegisterBroker(Ok(BrokerEpoch(3))));
    assert!(delta.brokers_changed);
    for (leader, epoch) in epochs(&image) {
        assert_eq!(epoch, i32::from(leader == 1));
    }
    let before = epochs(&image);
    let (response, delta) = apply(&mut image, &registration(1, 2));
    assert_eq!(response, Response::RegisterBroker(Ok(BrokerEpoch(3))), "the same start, again");
    assert!(delta.is_empty());
    assert_eq!(epochs(&image), before);
}

#[test]
fn a_broker_of_another_cluster_is_refused() {
    let mut image = cluster(&[1]);
    let Command::RegisterBroker(mut other) = registration(2, 1) else { panic!() };
    other.cluster_id = "other".to_owned();
    let (response, delta) = apply(&mut image, &Command::RegisterBroker(other));
    assert!(matches!(response, Response::RegisterBroker(Err(MetadataError::InconsistentClusterId { .. }))));
    assert!(delta.is_empty());
}

#[test]
fn producer_ids_are_never_handed_out_twice() {
    let mut image = cluster(&[1]);
    let ask = |epoch| Command::AllocateProducerIds { broker: BrokerId(1), broker_epoch: BrokerEpoch(epoch) };
    for round in 0..3 {
        let block = ProducerIdBlock {
            first: ProducerId(round * PRODUCER_ID_BLOCK_COUNT),
            count: PRODUCER_ID_BLOCK_COUNT,
        };
        assert_eq!(apply(&mut image, &ask(1)).0, Response::AllocateProducerIds(Ok(block)));
    }
    apply(&mut image, &registration(1, 2));
    let stale = MetadataError::StaleBrokerEpoch {
        broker: BrokerId(1),
        asked: BrokerEpoch(1),
        registered: BrokerEpoch(2),
    };
    assert_eq!(apply(&mut image, &ask(1)).0, Response::AllocateProducerIds(Err(stale)));
}

#[test]
#[should_panic(expected = "command 1 comes after command 1")]
fn a_command_applied_twice_is_a_broken_invariant() {
    let mut image = cluster(&[1]);
    image.apply(1, &registration(1, 2));
}
