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

/// Has a member join; what its first fetch asked for, and what it says that it owns then. `script` answers all but fetches.
fn begins(
    partition_count: i32,
    script: impl AsyncFn(&Asked) -> Answered + 'static,
) -> (Vec<(i32, i64)>, Vec<Partition>) {
    let (begun, done) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Signal::default()));
    let (noted, raised) = (Rc::clone(&begun), Rc::clone(&done));
    let script = async move |_: &Mock, asked: &Asked| {
        if asked.api != ApiKey::Fetch {
            return script(asked).await;
        }
        noted.replace(fetched(asked));
        raised.raise();
        std::future::pending().await
    };
    Mock::with_topic("t", partition_count).run(
        |_| {},
        script,
        async |_, client| {
            let done = done.next();
            let member = client.join_group("g", &["t"], GroupOptions::default()).await.expect("it joins");
            executor::before(patience(), done.wait()).await.expect("the partition is begun");
            (begun.take(), member.owned())
        },
    )
}

/// Where a member begins is told only after ten heartbeats.
#[test]
fn heartbeats_go_on_while_a_partition_is_begun() {
    let (beats, count) = (Signal::default(), Cell::new(0));
    let script = async move |asked: &Asked| match asked.api {
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
        other => panic!("{other} is not asked for"),
    };
    assert_eq!(begins(1, script), (vec![(0, 7)], vec![Partition::new("t", 0)]));
}

/// The coordinator thinks again while the member still looks where to begin: what it took back is not begun.
#[test]
fn what_is_taken_back_meanwhile_is_not_begun() {
    let (told, looks) = (Signal::default(), Cell::new(0));
    let script = async move |asked: &Asked| match asked.api {
        ApiKey::ConsumerGroupHeartbeat => {
            assert!(!owned(asked).contains(&0), "it was never begun");
            if looks.get() == 0 {
                return beat(asked, &[0]);
            }
            told.raise();
            beat(asked, &[1])
        }
        ApiKey::OffsetFetch => {
            looks.set(looks.get() + 1);
            // The answer comes when the member has been told twice that it is to have another partition.
            if looks.get() == 1 {
                told.next().wait().await;
                told.next().wait().await;
                return committed(asked, &[0], 7);
            }
            committed(asked, &[1], 8)
        }
        other => panic!("{other} is not asked for"),
    };
    assert_eq!(begins(2, script), (vec![(1, 8)], vec![Partition::new("t", 1)]));
}
