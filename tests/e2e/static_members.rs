//! Static members (`group.instance.id`): one that is away for a moment finds what it had, and nobody else is disturbed; two
//! of one name are never in a group together.

use e2e::DEADLINE;
use e2e::broker::Broker;
use nix::sys::signal::Signal;

use crate::consumer_groups::{
    Member, Owned, partitions_of, produce_to_each_partition, start_with, wait_until_read, wait_until_shared,
};
use crate::groups::{PARTITIONS, TOPIC};

/// Whoever is away is back long before its session ends.
const CLASSIC: &str =
    r#""session.timeout.ms": 300000, "heartbeat.interval.ms": 200, "partition.assignment.strategy": "range""#;
const CONSUMER: &str = r#""group.protocol": "consumer""#;

fn start() -> Broker {
    start_with([
        ("group.consumer.max.session.timeout.ms", "300000"),
        ("group.consumer.session.timeout.ms", "300000"),
    ])
}

fn member(broker: &Broker, instance: &str, config: &str) -> Member {
    let config = format!(r#""group.instance.id": "{instance}", {config}"#);
    Member::configured(broker, instance, &config, TOPIC)
}

/// Two members, `left` and `right`, that have settled; what each owns.
fn settled(broker: &Broker, config: &str) -> (Member, Member, Vec<Owned>) {
    let (left, right) = (member(broker, "left", config), member(broker, "right", config));
    let shares = wait_until_shared(&[&left, &right], &partitions_of(TOPIC, PARTITIONS));
    (left, right, shares)
}

/// What a member has owned, one after the other; told again, it is the same.
pub fn history(member: &Member) -> Vec<Owned> {
    let mut assignments = member.assignments();
    assignments.dedup();
    assignments
}

/// Members read what they own, and one of them has owned nothing else since.
fn check_undisturbed(broker: &Broker, (left, right): (&Member, &Member), shares: &[Owned], before: &[Owned]) {
    produce_to_each_partition(broker, "now ");
    wait_until_read(&[left, right], shares, "now ");
    assert_eq!(history(right), before);
}

#[test]
fn a_classic_member_that_dies_and_comes_back_has_what_it_had_and_nobody_rebalances() {
    let broker = start();
    let (mut left, right, shares) = settled(&broker, CLASSIC);
    let before = history(&right);
    left.0.kill();
    let left = member(&broker, "left", CLASSIC);
    assert_eq!(left.wait_for_share(shares[0].len()), shares[0]);
    check_undisturbed(&broker, (&left, &right), &shares, &before);
}

#[test]
fn a_classic_member_takes_the_place_of_one_of_its_name_which_is_fenced() {
    let broker = start();
    let (left, right, shares) = settled(&broker, CLASSIC);
    let before = history(&right);
    let usurper = member(&broker, "left", CLASSIC);
    left.0.wait_for_line(DEADLINE, "that it is fenced", |line| {
        line.contains("Static consumer fenced by other consumer").then_some(())
    });
    assert_eq!(usurper.wait_for_share(shares[0].len()), shares[0]);
    check_undisturbed(&broker, (&usurper, &right), &shares, &before);
}

#[test]
fn a_consumer_that_goes_and_comes_back_has_what_it_had_and_nobody_rebalances() {
    let broker = start();
    let (mut left, right, shares) = settled(&broker, CONSUMER);
    let before = history(&right);
    left.0.signal(Signal::SIGTERM);
    let status = left.0.wait(DEADLINE);
    assert!(status.success(), "{}", left.0.last_lines());
    let left = member(&broker, "left", CONSUMER);
    assert_eq!(left.wait_for_share(shares[0].len()), shares[0]);
    check_undisturbed(&broker, (&left, &right), &shares, &before);
}

/// In KIP-848 it is the newcomer that is refused, until the other one has gone or its session is over.
#[test]
fn a_consumer_is_refused_while_another_of_its_name_is_there() {
    let broker = start();
    let (left, right, shares) = settled(&broker, CONSUMER);
    let before = history(&right);
    let newcomer = member(&broker, "left", CONSUMER);
    newcomer.0.wait_for_line(DEADLINE, "that it is refused", |line| {
        line.contains("The instance ID is still used by another member").then_some(())
    });
    assert!(newcomer.assignments().iter().all(Owned::is_empty), "{:?}", newcomer.assignments());
    check_undisturbed(&broker, (&left, &right), &shares, &before);
}
