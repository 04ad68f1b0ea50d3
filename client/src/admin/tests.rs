//! Groups and transactions as brokers tell of them: old and new ones, of either kind, with what is not there.

use protocol::coordinator::embedded;
use protocol::error::ErrorCode;
use protocol::messages::consumer_group_describe::{
    Assignment, ConsumerGroupDescribeResponse, DescribedGroup as ConsumerGroup, Member, TopicPartitions,
};
use protocol::messages::describe_groups::{
    DescribeGroupsResponse, DescribedGroup as ClassicGroup, DescribedGroupMember,
};
use protocol::messages::describe_transactions::{
    DescribeTransactionsResponse, TopicData, TransactionState as DescribedTransaction,
};
use protocol::messages::list_groups::{ListGroupsResponse, ListedGroup as Listed};
use protocol::types::{ProducerEpoch, ProducerId};

use super::*;
use crate::mock::{Answered, Asked, Mock, TOPIC_ID};

fn consumer_group(name: &str, error: KafkaError) -> ConsumerGroup<'_> {
    let owned = TopicPartitions {
        topic_id: TOPIC_ID,
        topic_name: "t",
        partitions: [1, 0].map(PartitionIndex).to_vec(),
    };
    let member = Member {
        member_id: "m",
        instance_id: None,
        rack_id: None,
        member_epoch: 3,
        client_id: "c",
        client_host: "/127.0.0.1",
        subscribed_topic_names: vec!["t"],
        subscribed_topic_regex: None,
        assignment: Assignment { topic_partitions: vec![owned] },
        target_assignment: Assignment { topic_partitions: Vec::new() },
        member_type: -1,
    };
    ConsumerGroup {
        error_code: error.code(),
        error_message: None,
        group_id: name,
        group_state: "Reconciling",
        group_epoch: 3,
        assignment_epoch: 3,
        assignor_name: "uniform",
        members: if error == KafkaError::None { vec![member] } else { Vec::new() },
        authorized_operations: i32::MIN,
    }
}

/// Its members are `a`, whose assignment is as given, and `b`, who has none yet.
fn classic_group<'a>(name: &'a str, state: &'a str, kind: &'a str, assignment: &'a [u8]) -> ClassicGroup<'a> {
    let member = |member_id, member_assignment| DescribedGroupMember {
        member_id,
        group_instance_id: Some("i"),
        client_id: "c",
        client_host: "/127.0.0.1",
        member_metadata: b"",
        member_assignment,
    };
    ClassicGroup {
        error_code: ErrorCode::NONE,
        error_message: None,
        group_id: name,
        group_state: state,
        protocol_type: kind,
        protocol_data: "range",
        members: vec![member("b", b""), member("a", assignment)],
        authorized_operations: i32::MIN,
    }
}

/// A broker that knows `new`, a group of the newer protocol, and describes all others by `classic`.
fn described(
    lacks: Vec<ApiKey>,
    name: &'static str,
    classic: impl Fn() -> ClassicGroup<'static> + 'static,
) -> Result<GroupDescription, ClientError> {
    let script = async move |_: &Mock, asked: &Asked| -> Answered {
        match asked.api {
            ApiKey::ConsumerGroupDescribe => {
                let error = if name == "new" { KafkaError::None } else { KafkaError::GroupIdNotFound };
                let groups = vec![consumer_group(name, error)];
                asked.answer(&ConsumerGroupDescribeResponse { throttle_time_ms: 0, groups })
            }
            ApiKey::DescribeGroups => {
                asked.answer(&DescribeGroupsResponse { throttle_time_ms: 0, groups: vec![classic()] })
            }
            other => panic!("{other:?} is not asked"),
        }
    };
    let mock = Mock { lacks, ..Mock::with_topic("t", 2) };
    mock.run(
        |_| (),
        script,
        async |_, client| {
            let mut groups = client.admin().describe_groups(&[name]).await?;
            Ok(groups.pop().expect("one was asked for"))
        },
    )
}

fn both_partitions() -> Vec<Partition> {
    vec![Partition::new("t", 0), Partition::new("t", 1)]
}

fn partitions_as_bytes() -> &'static [u8] {
    let topic = embedded::TopicPartitions { topic: "t", partitions: [1, 0].map(PartitionIndex).to_vec() };
    let assignment = embedded::Assignment { assigned_partitions: vec![topic], user_data: None };
    assignment.encode(0).expect("a short name").to_vec().leak()
}

#[test]
fn a_group_of_the_newer_protocol_is_described() {
    let group = described(Vec::new(), "new", || unreachable!("it is known")).expect("it is there");
    assert_eq!((group.kind, group.state), (GroupKind::Consumer, GroupState::Reconciling));
    assert_eq!((group.name.as_str(), group.assignor.as_str()), ("new", "uniform"));
    let [member] = group.members.as_slice() else { panic!("{group:?}") };
    assert_eq!((member.id.as_str(), &member.assignment), ("m", &both_partitions()));
}

#[test]
fn a_classic_group_is_described_by_brokers_that_know_the_newer_protocol_and_by_others() {
    for lacks in [Vec::new(), vec![ApiKey::ConsumerGroupDescribe]] {
        let classic = || classic_group("old", "Stable", "consumer", partitions_as_bytes());
        let group = described(lacks, "old", classic).expect("it is there");
        assert_eq!((group.kind, group.state), (GroupKind::Classic, GroupState::Stable));
        assert_eq!(group.assignor, "range");
        let members: Vec<(&str, &[Partition])> =
            group.members.iter().map(|member| (member.id.as_str(), member.assignment.as_slice())).collect();
        assert_eq!(members, [("a", both_partitions().as_slice()), ("b", &[])]);
    }
}

/// What others than consumers have been given has a format of their own, and may be no such thing as partitions.
#[test]
fn assignments_that_are_none_of_consumers_are_left_alone() {
    for (kind, bytes) in [("connect", partitions_as_bytes()), ("consumer", b"\x00\x00\x7f".as_slice())] {
        let group = described(Vec::new(), "old", move || classic_group("old", "Stable", kind, bytes));
        let group = group.expect("it is there");
        assert!(group.members.iter().all(|member| member.assignment.is_empty()), "{group:?}");
    }
}

/// Brokers have one of two ways to say so.
#[test]
fn a_group_that_there_is_not_is_an_error() {
    let refused = || ClassicGroup {
        error_code: KafkaError::GroupIdNotFound.code(),
        ..classic_group("none", "", "", b"")
    };
    let dead = || classic_group("none", "Dead", "", b"");
    for outcome in [described(Vec::new(), "none", refused), described(Vec::new(), "none", dead)] {
        assert_eq!(outcome.expect_err("it is not there").kafka(), Some(KafkaError::GroupIdNotFound));
    }
}

#[test]
fn groups_are_listed_in_order_and_again_while_their_coordinator_is_loading() {
    let is_loading = std::cell::Cell::new(true);
    let script = async move |_: &Mock, asked: &Asked| -> Answered {
        assert_eq!(asked.api, ApiKey::ListGroups);
        let error = if is_loading.take() { KafkaError::CoordinatorLoadInProgress } else { KafkaError::None };
        let line = |group_id, protocol_type, group_state, group_type| Listed {
            group_id,
            protocol_type,
            group_state,
            group_type,
        };
        let groups = vec![
            line("b", "", "Empty", "classic"),
            line("a", "consumer", "Stable", "Consumer"),
            line("c", "share", "Sideways", "share"),
        ];
        asked.answer(&ListGroupsResponse { throttle_time_ms: 0, error_code: error.code(), groups })
    };
    let listed = Mock::with_topic("t", 1).run(
        |_| (),
        script,
        async |_, client| client.admin().list_groups().await.expect("it is loaded in the end"),
    );
    let told: Vec<_> = listed.iter().map(|one| (one.name.as_str(), one.state, one.kind)).collect();
    let expected = [
        ("a", Some(GroupState::Stable), Some(GroupKind::Consumer)),
        ("b", Some(GroupState::Empty), Some(GroupKind::Classic)),
        ("c", Some(GroupState::Unknown), Some(GroupKind::Unknown)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn transactions_are_described_with_what_they_have_written_to() {
    let script = async |_: &Mock, asked: &Asked| -> Answered {
        assert_eq!(asked.api, ApiKey::DescribeTransactions);
        let line = |transactional_id, transaction_state, start| DescribedTransaction {
            error_code: ErrorCode::NONE,
            transactional_id,
            transaction_state,
            transaction_timeout_ms: 60_000,
            transaction_start_time_ms: Timestamp(start),
            producer_id: ProducerId(7),
            producer_epoch: ProducerEpoch(2),
            topics: vec![TopicData { topic: "t", partitions: [1, 0].map(PartitionIndex).to_vec() }],
        };
        let request: protocol::messages::describe_transactions::DescribeTransactionsRequest<'_> =
            asked.read();
        let one = match request.transactional_ids.as_slice() {
            ["open"] => line("open", "Ongoing", 5),
            ["done"] => line("done", "CompleteAbort", -1),
            _ => DescribedTransaction {
                error_code: KafkaError::TransactionalIdNotFound.code(),
                ..line("none", "", -1)
            },
        };
        asked.answer(&DescribeTransactionsResponse { throttle_time_ms: 0, transaction_states: vec![one] })
    };
    Mock::with_topic("t", 2).run(
        |_| (),
        script,
        async |_, client| {
            let found =
                client.admin().describe_transactions(&["open", "done"]).await.expect("both are there");
            assert_eq!(
                (found[0].state, found[0].started_at),
                (TransactionState::Ongoing, Some(Timestamp(5)))
            );
            assert_eq!(found[0].partitions, both_partitions());
            assert_eq!((found[1].state, found[1].started_at), (TransactionState::CompleteAbort, None));
            let error = client.admin().describe_transactions(&["none"]).await.expect_err("it is not there");
            assert_eq!(error.kafka(), Some(KafkaError::TransactionalIdNotFound));
        },
    );
}
