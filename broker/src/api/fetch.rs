//! Fetch (key 1): read batches.
//!
//! Answered at once where enough is in this shard's memory; otherwise a task reads from all shards concerned, waits for
//! more where that is wanted, and reads again. Batches go from where they are to the socket as they are.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use logic::metadata::{Image, Topic};
use protocol::error::KafkaError;
use protocol::messages::fetch::{
    EpochEndOffset, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, LeaderIdAndEpoch,
    PartitionData, SnapshotId,
};
use protocol::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, PartitionKey, Timestamp, TopicId};
use protocol::wire::Payload;

use super::errors::partition_error;
use super::reply::Reply;
use super::scatter::scatter;
use crate::runtime::{either, spawn};
use crate::shard::Shard;
use crate::shard::messages::{Answer, Question, ReadItem, ReadOutcome};
use crate::shard::questions::Share;

/// Isolation level 1: records of open and aborted transactions are not wanted.
const READ_COMMITTED: i8 = 1;

/// A fetch under way, with all that the answer needs of its request.
struct Call {
    sections: Vec<Section>,
    read_committed: bool,
    bytes_min: usize,
    bytes_max: usize,
    deadline: Timestamp,
}

struct Section {
    name: Box<str>,
    id: TopicId,
    lines: Vec<Line>,
}

struct Line {
    partition: PartitionIndex,
    asked: Result<ReadItem, KafkaError>,
    outcome: Option<ReadOutcome>,
}

/// Takes the request; the answer follows by itself.
pub fn handle(shard: &Rc<Shard>, request: &FetchRequest<'_>, reply: Reply) {
    let mut call = Call::new(shard, request);
    if call.read_now(shard) && (call.is_enough() || shard.now() >= call.deadline) {
        return call.answer(reply);
    }
    let shard = Rc::clone(shard);
    spawn(async move {
        let replies = Rc::clone(reply.ticket().replies());
        if either(call.read_until_enough(&shard), replies.closing.next().wait()).await {
            call.answer(reply);
        }
    });
}

impl Call {
    fn new(shard: &Shard, request: &FetchRequest<'_>) -> Self {
        let image = shard.image();
        let wait_ms = i64::from(request.max_wait_ms.max(0));
        Self {
            sections: request.topics.iter().map(|topic| section(&image, topic)).collect(),
            read_committed: request.isolation_level == READ_COMMITTED,
            bytes_min: usize::try_from(request.min_bytes).unwrap_or(0),
            bytes_max: usize::try_from(request.max_bytes).unwrap_or(0).min(shard.config.fetch_bytes_max),
            deadline: Timestamp(shard.now().get().saturating_add(wait_ms)),
        }
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.sections.iter().flat_map(|section| &section.lines)
    }

    fn lines_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.sections.iter_mut().flat_map(|section| &mut section.lines)
    }

    /// What is to be read, by the shard that owns it.
    fn items(&self, shard: &Shard) -> Vec<(usize, Vec<ReadItem>)> {
        let mut sorted: Vec<(usize, Vec<ReadItem>)> = Vec::with_capacity(1);
        for item in self.lines().filter_map(|line| line.asked.ok()) {
            let owner = shard.owner_of(item.key);
            match sorted.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, items)) => items.push(item),
                None => sorted.push((owner, vec![item])),
            }
        }
        sorted
    }

    /// Reads what is in this shard's memory; false where that is not all.
    fn read_now(&mut self, shard: &Shard) -> bool {
        let sorted = self.items(shard);
        let items = match sorted.as_slice() {
            [] => return true,
            [(owner, items)] if *owner == shard.config.index => items,
            _ => return false,
        };
        let Some(outcomes) = shard.read_all_now(items, self.bytes_max) else { return false };
        for (line, outcome) in self.lines_mut().filter(|line| line.asked.is_ok()).zip(outcomes) {
            line.outcome = Some(outcome);
        }
        true
    }

    async fn read_until_enough(&mut self, shard: &Rc<Shard>) {
        loop {
            self.read(shard).await;
            if self.is_enough() || shard.now() >= self.deadline {
                return;
            }
            self.watch(shard).await;
        }
    }

    /// Reads from all shards concerned, at the same time.
    async fn read(&mut self, shard: &Rc<Shard>) {
        let bytes_max = self.bytes_max;
        let items: Vec<_> =
            self.lines().filter_map(|line| line.asked.ok()).map(|item| (item.key, item)).collect();
        let outcomes = scatter(
            shard,
            items,
            |items| Question::Read { items, bytes_max },
            |answer| match answer {
                Answer::Read(outcomes) => outcomes,
                _ => unreachable!("a read is answered by a read"),
            },
        )
        .await;
        // Every shard has kept to the limit by itself; together they may be past it.
        let mut share = Share::new(bytes_max);
        for (line, outcome) in self.lines_mut().filter(|line| line.asked.is_ok()).zip(outcomes) {
            line.outcome = Some(share.take(bytes_max, outcome));
        }
    }

    /// Enough to answer: the bytes asked for, or an error that the client should hear of at once.
    fn is_enough(&self) -> bool {
        let mut bytes = 0;
        for line in self.lines() {
            match &line.outcome {
                Some(Ok(done)) if done.diverging.is_none() => bytes += done.bytes,
                _ => return true,
            }
        }
        bytes >= self.bytes_min || bytes >= self.bytes_max || self.lines().next().is_none()
    }

    /// Waits until a partition can be read further than it was, or the deadline.
    async fn watch(&self, shard: &Rc<Shard>) {
        let mut sorted: Vec<(usize, Vec<(PartitionKey, Offset)>)> = Vec::new();
        for line in self.lines() {
            let (Ok(item), Some(Ok(done))) = (line.asked, &line.outcome) else { continue };
            let owner = shard.owner_of(item.key);
            match sorted.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, seen)) => seen.push((item.key, done.readable_end)),
                None => sorted.push((owner, vec![(item.key, done.readable_end)])),
            }
        }
        let deadline = self.deadline;
        let mut watches: Vec<Pin<Box<dyn Future<Output = Answer> + '_>>> = sorted
            .into_iter()
            .map(|(owner, seen)| {
                let watch = shard.ask(owner, Question::Watch { seen, deadline });
                Box::pin(watch) as Pin<Box<dyn Future<Output = Answer> + '_>>
            })
            .collect();
        poll_fn(|context| {
            let any = watches.iter_mut().any(|watch| watch.as_mut().poll(context).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn answer(self, reply: Reply) {
        let Self { sections, read_committed, .. } = self;
        let responses = sections
            .iter()
            .map(|section| FetchableTopicResponse {
                topic: &section.name,
                topic_id: section.id,
                partitions: section.lines.iter().map(|line| partition_data(line, read_committed)).collect(),
            })
            .collect();
        reply.send(&FetchResponse {
            throttle_time_ms: 0,
            error_code: KafkaError::None.into(),
            session_id: 0,
            responses,
            node_endpoints: Vec::new(),
        });
    }
}

fn section(image: &Image, asked: &FetchTopic<'_>) -> Section {
    let by_id = asked.topic_id != TopicId::ZERO;
    let topic = if by_id { image.topic_by_id(asked.topic_id) } else { image.topic(asked.topic) };
    let unknown = if by_id { KafkaError::UnknownTopicId } else { KafkaError::UnknownTopicOrPartition };
    let lines = asked
        .partitions
        .iter()
        .map(|partition| Line {
            partition: partition.partition,
            asked: topic.ok_or(unknown).and_then(|topic| {
                let key = known_partition(topic, partition.partition)?;
                Ok(ReadItem {
                    key,
                    from: partition.fetch_offset,
                    epoch: partition.current_leader_epoch,
                    last_fetched_epoch: partition.last_fetched_epoch,
                    bytes_max: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
                })
            }),
            outcome: None,
        })
        .collect();
    Section { name: asked.topic.into(), id: asked.topic_id, lines }
}

fn known_partition(topic: &Arc<Topic>, partition: PartitionIndex) -> Result<PartitionKey, KafkaError> {
    topic
        .partition(partition)
        .map(|_| PartitionKey { topic_id: topic.id, partition })
        .ok_or(KafkaError::UnknownTopicOrPartition)
}

fn partition_data(line: &Line, read_committed: bool) -> PartitionData<'static> {
    let error = match (&line.asked, &line.outcome) {
        (Err(error), _) => *error,
        (Ok(_), Some(Err(error))) => partition_error(error),
        (Ok(_), Some(Ok(_)) | None) => KafkaError::None,
    };
    let mut data = PartitionData {
        partition_index: line.partition,
        error_code: error.into(),
        high_watermark: Offset(-1),
        last_stable_offset: Offset(-1),
        log_start_offset: Offset(-1),
        diverging_epoch: EpochEndOffset { epoch: LeaderEpoch::UNKNOWN, end_offset: Offset(-1) },
        current_leader: LeaderIdAndEpoch { leader_id: BrokerId(-1), leader_epoch: LeaderEpoch::UNKNOWN },
        snapshot_id: SnapshotId { end_offset: Offset(-1), epoch: LeaderEpoch::UNKNOWN },
        aborted_transactions: None,
        preferred_read_replica: BrokerId(-1),
        records: Some(Payload::default()),
    };
    if let Some(Ok(done)) = &line.outcome {
        data.high_watermark = done.high_watermark;
        data.last_stable_offset = done.high_watermark;
        data.log_start_offset = done.log_start;
        data.aborted_transactions = read_committed.then(Vec::new);
        data.records = Some(Payload::Chunks(done.chunks.clone()));
        if let Some(end) = done.diverging {
            data.diverging_epoch = EpochEndOffset { epoch: end.epoch, end_offset: end.end };
        }
    }
    data
}
