//! The configs of single groups: asked for, set rightly and wrongly, and what a member is told of them.

use std::time::Instant;

use e2e::DEADLINE;
use e2e::broker::Target;
use e2e::wire::{text, topic_name};
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, FindCoordinatorRequest, GroupId, ListConfigResourcesRequest,
};

use super::admin::{APPEND, DELETE, SET, describe, set, set_old};
use super::{Case, Side, compare};

/// The resource type.
const GROUP: i8 = 32;
const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";

/// Changes the configs of the case's group, which is called as its topic is.
fn change(side: &mut Side, changes: &[(&str, i8, Option<&str>)]) -> String {
    let group = side.topic.clone();
    set(side, GROUP, &group, changes)
}

/// Sets a config and takes nothing else along.
fn set_one(side: &mut Side, key: &str, value: &str) -> String {
    change(side, &[(key, SET, Some(value))])
}

fn show(side: &mut Side, key: &str) -> String {
    let group = side.topic.clone();
    describe(side, GROUP, &group, Some(&[key]))
}

/// Apache Kafka's brokers hear of a change some time after their controller has answered; ours before that.
fn show_settled(side: &mut Side, key: &str, sign: &str) -> String {
    let end = Instant::now() + DEADLINE;
    loop {
        let shown = show(side, key);
        if shown.contains(sign) || side.broker.target() == Target::Iolite {
            return shown;
        }
        assert!(Instant::now() < end, "{key} does not become {sign}: {shown}");
    }
}

fn beat(side: &mut Side, epoch: i32) -> (i16, i32, i32) {
    let joins = epoch == 0;
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(&side.topic)))
        .with_member_id(text("member"))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(if joins { 30_000 } else { -1 })
        .with_subscribed_topic_names(joins.then(|| vec![topic_name(&side.topic)]))
        .with_topic_partitions(joins.then(Vec::new));
    let answer = side.connection.call(1, &request);
    (answer.error_code, answer.member_epoch, answer.heartbeat_interval_ms)
}

/// A member joins, as soon as there is a coordinator, and is told how often to be heard of; then the group is configured,
/// and then no more.
fn live_member(side: &mut Side) -> String {
    let find = FindCoordinatorRequest::default().with_key(text(&side.topic)).with_key_type(0);
    let end = Instant::now() + DEADLINE;
    let (mut epoch, mut interval_ms) = loop {
        side.connection.call(3, &find);
        let (error, epoch, interval_ms) = beat(side, 0);
        if error == 0 {
            break (epoch, interval_ms);
        }
        assert!([14, 15, 16].contains(&error) && Instant::now() < end, "error {error}");
    };
    let mut told = vec![format!("every {interval_ms} ms")];
    for (value, operation) in [(Some("6000"), SET), (None, DELETE)] {
        told.push(change(side, &[(HEARTBEAT, operation, value)]));
        let before_ms = interval_ms;
        loop {
            let (error, now, told_ms) = beat(side, epoch);
            assert_eq!(error, 0, "the member stays");
            (epoch, interval_ms) = (now, told_ms);
            if interval_ms != before_ms || side.broker.target() == Target::Iolite {
                break;
            }
            assert!(Instant::now() < end, "the member is not told");
        }
        told.push(format!("every {interval_ms} ms"));
    }
    told.join(" | ")
}

const CASES: &[Case] = &[
    ("describe a default", |side| show(side, SESSION)),
    ("describe the other default", |side| show(side, HEARTBEAT)),
    ("describe an unknown key", |side| show(side, "no.such.config")),
    ("describe no name", |side| describe(side, GROUP, "", Some(&[SESSION]))),
    ("set", |side| {
        let outcome = set_one(side, SESSION, "50000");
        format!("{outcome} | {}", show_settled(side, SESSION, "source 8"))
    }),
    ("set both", |side| change(side, &[(SESSION, SET, Some("60000")), (HEARTBEAT, SET, Some("15000"))])),
    ("set a timeout below the least", |side| set_one(side, SESSION, "44999")),
    ("set a timeout above the most", |side| set_one(side, SESSION, "60001")),
    ("set an interval below the least", |side| set_one(side, HEARTBEAT, "4999")),
    ("set an interval above the most", |side| set_one(side, HEARTBEAT, "15001")),
    ("set one right and one wrong", |side| {
        let outcome = change(side, &[(SESSION, SET, Some("50000")), (HEARTBEAT, SET, Some("1"))]);
        format!("{outcome} | {}", show(side, SESSION))
    }),
    ("set 0", |side| set_one(side, SESSION, "0")),
    ("set nonsense", |side| set_one(side, SESSION, "soon")),
    ("set an unknown key", |side| set_one(side, "no.such.config", "1")),
    ("set a topic's key", |side| set_one(side, "retention.ms", "1")),
    ("set null", |side| change(side, &[(SESSION, SET, None)])),
    ("set twice", |side| change(side, &[(SESSION, SET, Some("50000")), (SESSION, SET, Some("50001"))])),
    ("set nothing", |side| change(side, &[])),
    ("set on no name", |side| set(side, GROUP, "", &[(SESSION, SET, Some("50000"))])),
    ("append", |side| change(side, &[(SESSION, APPEND, Some("1"))])),
    ("delete a default", |side| change(side, &[(SESSION, DELETE, None)])),
    ("set and delete", |side| {
        let outcome = set_one(side, SESSION, "50000");
        show_settled(side, SESSION, "source 8");
        let deleted = change(side, &[(SESSION, DELETE, None)]);
        format!("{outcome} | {deleted} | {}", show_settled(side, SESSION, "source 5"))
    }),
    ("set the old way", |side| {
        let group = side.topic.clone();
        let first = set_one(side, HEARTBEAT, "6000");
        show_settled(side, HEARTBEAT, "source 8");
        let second = set_old(side, GROUP, &group, SESSION, Some("50000"));
        let shown = show_settled(side, HEARTBEAT, "source 5");
        format!("{first} | {second} | {shown} | {}", show_settled(side, SESSION, "source 8"))
    }),
    ("set null the old way", |side| {
        let group = side.topic.clone();
        set_old(side, GROUP, &group, SESSION, None)
    }),
    ("set wrongly the old way", |side| {
        let group = side.topic.clone();
        set_old(side, GROUP, &group, SESSION, Some("1"))
    }),
    ("list", |side| {
        set_one(side, SESSION, "50000");
        show_settled(side, SESSION, "source 8");
        let request = ListConfigResourcesRequest::default().with_resource_types(vec![GROUP]);
        let end = Instant::now() + DEADLINE;
        loop {
            let answer = side.connection.call(1, &request);
            let ours = answer
                .config_resources
                .iter()
                .any(|one| one.resource_name.as_str() == side.topic && one.resource_type == GROUP);
            let outcome = format!("error {}, {ours}", answer.error_code);
            if ours || side.broker.target() == Target::Iolite {
                return outcome;
            }
            assert!(Instant::now() < end, "the group is not listed: {outcome}");
        }
    }),
    ("a member is told", live_member),
];

#[test]
fn group_configs_are_refused_and_taken_as_kafka_does() {
    compare("group-configs", CASES);
}
