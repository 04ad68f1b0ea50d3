//! A member against a coordinator made up for it.

use protocol::api::ApiKey;
use protocol::error::ErrorCode;
use protocol::messages::fetch::FetchRequest;
use protocol::messages::offset_fetch::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
};
use protocol::types::LeaderEpoch;

use super::*;
use crate::mock::{Answered, Asked, Mock, TOPIC_ID, patience};

fn beat(asked: &Asked, partitions: &[i32]) -> Answered {
    let owned = TopicPartitions {
        topic_id: TOPIC_ID,
        partitions: partitions.iter().copied().map(PartitionIndex).collect(),
    };
    asked.answer(&ConsumerGroupHeartbeatResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::NONE,
        error_message: None,
        member_id: None,
        member_epoch: 1,
        heartbeat_interval_ms: 1,
        assignment: Some(Assignment { topic_partitions: vec![owned] }),
    })
}

/// What a member says that it owns.
fn owned(asked: &Asked) -> Vec<i32> {
    let request: ConsumerGroupHeartbeatRequest<'_> = asked.read();
    let topics = request.topic_partitions.unwrap_or_default();
    topics.iter().flat_map(|topic| &topic.partitions).map(|index| index.get()).collect()
}

fn committed(asked: &Asked, partitions: &[i32], offset: i64) -> Answered {
    let partition = |index: &i32| OffsetFetchResponsePartitions {
        partition_index: PartitionIndex(*index),
        committed_offset: Offset(offset),
        committed_leader_epoch: LeaderEpoch::UNKNOWN,
        metadata: None,
        error_code: ErrorCode::NONE,
    };
    let topic = OffsetFetchResponseTopics {
        name: "",
        topic_id: TOPIC_ID,
        partitions: partitions.iter().map(partition).collect(),
    };
    let group = OffsetFetchResponseGroup { group_id: "g", topics: vec![topic], error_code: ErrorCode::NONE };
    asked.answer(&OffsetFetchResponse {
        throttle_time_ms: 0,
        topics: Vec::new(),
        error_code: ErrorCode::NONE,
        groups: vec![group],
    })
}

/// What the first fetch asks for: partitions and offsets.
fn fetched(asked: &Asked) -> Vec<(i32, i64)> {
    let request: FetchRequest<'_> = asked.read();
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    partitions.map(|one| (one.partition.get(), one.fetch_offset.get())).collect()
}

/// Where a member begins is told only after ten heartbeats.
#[test]
fn heartbeats_go_on_while_a_partition_is_begun() {
    let (beats, begun) = (Rc::new(Signal::default()), Rc::new(RefCell::new(Vec::new())));
    let (count, done) = (Cell::new(0), Rc::new(Signal::default()));
    let (noted, raised) = (Rc::clone(&begun), Rc::clone(&done));
    let script = async move |_: &Mock, asked: &Asked| match asked.api {
        ApiKey::ConsumerGroupHeartbeat => {
            count.set(count.get() + 1);
            beats.raise();
            beat(asked, &[0])
        }
        ApiKey::OffsetFetch => {
            let from = count.get();
            while count.get() < from + 10 {
                beats.next().wait().await;
            }
            committed(asked, &[0], 7)
        }
        ApiKey::Fetch => {
            noted.replace(fetched(asked));
            raised.raise();
            std::future::pending().await
        }
        other => panic!("{other} is not asked for"),
    };
    Mock::with_topic("t", 1).run(
        |_| {},
        script,
        async |_, client| {
            let done = done.next();
            let member = client.join_group("g", &["t"], GroupOptions::default()).await.expect("it joins");
            executor::before(patience(), done.wait()).await.expect("the partition is begun");
            assert_eq!(*begun.borrow(), [(0, 7)]);
            assert_eq!(member.owned(), [Partition::new("t", 0)]);
        },
    );
}

/// The coordinator thinks again while the member still looks where to begin: what it took back is not begun.
#[test]
fn what_is_taken_back_meanwhile_is_not_begun() {
    let (told, done) = (Rc::new(Signal::default()), Rc::new(Signal::default()));
    let (asked_for, raised) = (Rc::new(Cell::new(0)), Rc::clone(&done));
    let (begun, looking) = (Rc::new(RefCell::new(Vec::new())), Rc::clone(&asked_for));
    let noted = Rc::clone(&begun);
    let script = async move |_: &Mock, asked: &Asked| match asked.api {
        ApiKey::ConsumerGroupHeartbeat => {
            assert!(!owned(asked).contains(&0), "it was never begun");
            if looking.get() == 0 {
                return beat(asked, &[0]);
            }
            told.raise();
            beat(asked, &[1])
        }
        ApiKey::OffsetFetch => {
            looking.set(looking.get() + 1);
            // The answer comes when the member has been told twice that it is to have another partition.
            if looking.get() == 1 {
                told.next().wait().await;
                told.next().wait().await;
                return committed(asked, &[0], 7);
            }
            committed(asked, &[1], 8)
        }
        ApiKey::Fetch => {
            noted.replace(fetched(asked));
            raised.raise();
            std::future::pending().await
        }
        other => panic!("{other} is not asked for"),
    };
    Mock::with_topic("t", 2).run(
        |_| {},
        script,
        async |_, client| {
            let done = done.next();
            let member = client.join_group("g", &["t"], GroupOptions::default()).await.expect("it joins");
            executor::before(patience(), done.wait()).await.expect("the partition is begun");
            assert_eq!(*begun.borrow(), [(1, 8)]);
            assert_eq!(member.owned(), [Partition::new("t", 1)]);
        },
    );
}
