//! A reader that follows the producers: fetches its partitions from their leaders in incremental sessions (KIP-227), checks
//! every record, measures, and ends when it has read up to the last acknowledged record of its partitions.
//!
//! Sessions are why it does not read by way of the client's consumer, which has none: where little is new in many partitions, a
//! request that names them all costs both ends more than the records do, and a broker that is measured would be charged for it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use client::connection::Answer;
use client::{At, Client, Connection};
use protocol::batch::{BatchIter, FramingError, check_crc};
use protocol::error::KafkaError;
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use protocol::records::RecordIter;
use protocol::types::{BrokerId, Offset, PartitionIndex};

use super::cluster::Layout;
use super::course::{BATCH_BYTES_MAX, Found, PARTITION_BYTES_MAX};
use super::recorder::Notes;
use super::thread::{LoadError, Shared, nanoseconds};
use crate::limits::DRAIN_TIME_MAX;
use crate::stamp::Stamp;
use crate::verify::{Fault, Reading};
use crate::workload::Acks;

/// The last version whose topics have names and whose errors are simple, in every broker from Kafka 2.3 on.
const FETCH_VERSION: i16 = 11;
/// Kafka's consumer's default.
const WAIT_MS: i32 = 500;
/// Fetches without a record after which a reader without acknowledgements to go by takes it that all has come.
const EMPTY_FETCHES_MAX: u32 = 4;

/// A partition that is followed.
struct Position {
    /// In the layout.
    partition: usize,
    /// Which of the layout's topics, and its index there.
    topic: usize,
    index: PartitionIndex,
    next: i64,
    /// Whether the session must be told of `next`.
    is_news: bool,
}

/// The fetches from one leader.
struct Fetcher {
    connection: Connection,
    positions: Vec<Position>,
    session_id: i32,
    session_epoch: i32,
    answer_bytes_max: i32,
}

/// Follows some partitions of a stream, for a group.
pub struct Follower {
    stream: usize,
    group: u32,
    shared: Arc<Shared>,
    notes: Notes,
    fetchers: Vec<Fetcher>,
}

impl Follower {
    /// Connects to the leaders of `partitions` and finds where they end.
    pub async fn connect(
        client: &Client,
        stream: usize,
        partitions: &[usize],
        group: u32,
        shared: Arc<Shared>,
        notes: Notes,
    ) -> Result<Self, LoadError> {
        let layout = &shared.plan.streams[stream].layout;
        let answer_bytes_max = i32::try_from(shared.answer_bytes_max()).expect("far below 2 GiB");
        let ends = layout.offsets(&client.admin(), At::Latest).await?;
        let mut by_leader = BTreeMap::<BrokerId, Vec<Position>>::new();
        for partition in partitions.iter().copied() {
            let next = ends[partition];
            // A follower of a partition that nobody writes to has nothing to wait for.
            shared.ends[stream][partition].fetch_max(next, Ordering::AcqRel);
            let (topic, index) = layout.place(partition);
            let name = &layout.topics[topic];
            let leader = client.topic(name).await?.partition(index)?.leader;
            let leader = leader.ok_or_else(|| LoadError(format!("{name}-{index} has no leader")))?;
            let position = Position { partition, topic, index, next, is_news: true };
            by_leader.entry(leader).or_default().push(position);
        }
        let mut fetchers = Vec::new();
        for (leader, positions) in by_leader {
            let connection = client.connection_to(leader).await?;
            fetchers.push(Fetcher {
                connection,
                positions,
                session_id: 0,
                session_epoch: 0,
                answer_bytes_max,
            });
        }
        Ok(Self { stream, group, shared, notes, fetchers })
    }

    /// Reads to the end.
    pub async fn run(self) {
        let Self { stream, group, shared, notes, fetchers } = self;
        let tasks: Vec<_> = fetchers
            .into_iter()
            .map(|fetcher| {
                let run = Run {
                    stream,
                    group,
                    shared: Arc::clone(&shared),
                    notes: Rc::clone(&notes),
                    reading: Reading::new(shared.plan.run),
                    empty_fetches: 0,
                    quiet_since_ns: None,
                };
                glommio::spawn_local(run.read(fetcher))
            })
            .collect();
        for task in tasks {
            task.await;
        }
    }
}

/// A follower at work on one leader's partitions.
struct Run {
    stream: usize,
    group: u32,
    shared: Arc<Shared>,
    notes: Notes,
    reading: Reading,
    empty_fetches: u32,
    /// When it was first seen that nobody produces any more.
    quiet_since_ns: Option<u64>,
}

impl Run {
    async fn read(mut self, mut fetcher: Fetcher) {
        while !self.shared.is_stopped() && !self.is_through(&fetcher) {
            let outcome = match fetcher.fetch(&self.shared.plan.streams[self.stream].layout).await {
                Ok(answer) => self.take(&mut fetcher, &answer),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                return self.shared.fail(error.0);
            }
        }
        let mut notes = self.notes.borrow_mut();
        let stream = &mut notes.streams[self.stream];
        stream.followed.entry(self.group).or_default().extend(self.reading.ends());
        stream.faults.merge(self.reading.finish_anywhere());
    }

    fn is_through(&mut self, fetcher: &Fetcher) -> bool {
        let now_ns = self.shared.now_ns();
        if self.shared.producing.load(Ordering::Acquire) > 0 {
            return false;
        }
        let since_ns = *self.quiet_since_ns.get_or_insert_with(|| {
            // Fetches that came back empty while somebody still produced tell nothing.
            self.empty_fetches = 0;
            now_ns
        });
        let plan = &self.shared.plan.streams[self.stream];
        if plan.stream.acks == Acks::None {
            return self.empty_fetches >= EMPTY_FETCHES_MAX;
        }
        let ends = &self.shared.ends[self.stream];
        let missing = fetcher.positions.iter().find_map(|position| {
            let end = ends[position.partition].load(Ordering::Acquire);
            (position.next < end).then_some((position, end))
        });
        let Some((position, end)) = missing else { return true };
        if now_ns - since_ns < nanoseconds(DRAIN_TIME_MAX) {
            return false;
        }
        let partition = u32::try_from(position.partition).expect("a bounded number of partitions");
        let told = format!(
            "records up to offset {} were acknowledged, but {DRAIN_TIME_MAX:?} later only those up to {} are there",
            end - 1,
            position.next - 1
        );
        self.notes.borrow_mut().streams[self.stream].faults.push(Fault::Offsets { partition, told });
        true
    }

    fn take(&mut self, fetcher: &mut Fetcher, answer: &Answer) -> Result<(), LoadError> {
        let Self { shared, reading, .. } = self;
        let window = shared.window();
        let is_measured = window.contains(shared.now_ns());
        let notes = &mut *self.notes.borrow_mut();
        let stream = &mut notes.streams[self.stream];
        let (mut records, mut bytes) = (0, 0);
        let note = |found: Found| {
            reading.note(found.partition, found.stamp);
            records += 1;
            bytes += found.bytes;
            let Some(stamp) = found.stamp else { return };
            let latency_ns = found.read_ns.saturating_sub(stamp.due_ns);
            notes.tick.ends.record(latency_ns);
            if window.contains(stamp.due_ns) {
                stream.ends.record(latency_ns);
            }
        };
        fetcher.take(&shared.plan.streams[self.stream].layout, answer, || shared.now_ns(), note)?;
        self.empty_fetches = if records == 0 { self.empty_fetches + 1 } else { 0 };
        notes.tick.read.add(records, bytes);
        if is_measured {
            stream.read.add(records, bytes);
        }
        Ok(())
    }
}

impl Fetcher {
    async fn fetch(&mut self, layout: &Layout) -> Result<Answer, LoadError> {
        let mut topics = BTreeMap::<usize, Vec<FetchPartition>>::new();
        let opens = self.session_epoch == 0;
        for position in self.positions.iter_mut().filter(|position| position.is_news || opens) {
            position.is_news = false;
            let asked = FetchPartition {
                partition: position.index,
                fetch_offset: Offset(position.next),
                partition_max_bytes: i32::try_from(PARTITION_BYTES_MAX).expect("far below 2 GiB"),
                ..Default::default()
            };
            topics.entry(position.topic).or_default().push(asked);
        }
        let topic = |(topic, partitions): (usize, Vec<FetchPartition>)| FetchTopic {
            topic: &layout.topics[topic],
            partitions,
            ..Default::default()
        };
        let request = FetchRequest {
            max_wait_ms: WAIT_MS,
            min_bytes: 1,
            max_bytes: self.answer_bytes_max,
            session_id: self.session_id,
            session_epoch: self.session_epoch,
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        };
        Ok(self.connection.try_send_in(FETCH_VERSION, &request)?.await?)
    }

    /// Hands every record at or past where the reader stands to `note`.
    fn take(
        &mut self,
        layout: &Layout,
        answer: &Answer,
        clock: impl Fn() -> u64,
        mut note: impl FnMut(Found),
    ) -> Result<(), LoadError> {
        let response: FetchResponse<'_> = answer.decode()?;
        if !response.error_code.is_none() {
            // A broker may forget a session at any time; the next fetch opens another.
            (self.session_id, self.session_epoch) = (0, 0);
            return Ok(());
        }
        self.session_id = response.session_id;
        self.session_epoch = match (response.session_id, self.session_epoch) {
            (0, _) => 0,
            (_, i32::MAX) => 1,
            (_, epoch) => epoch + 1,
        };
        for topic in &response.responses {
            let number = layout.topics.iter().position(|name| name == topic.topic);
            for data in &topic.partitions {
                let (name, index) = (topic.topic, data.partition_index);
                let at = self
                    .positions
                    .iter()
                    .position(|position| Some(position.topic) == number && position.index == index);
                if data.error_code == KafkaError::OffsetOutOfRange.into() {
                    return Err(LoadError(format!(
                        "reading {name}-{index}: retention has deleted what was to be read next"
                    )));
                }
                if !data.error_code.is_none() {
                    return Err(LoadError(format!("reading {name}-{index}: {}", data.error_code)));
                }
                let Some(at) = at else { continue };
                let payload =
                    data.records.as_ref().and_then(|records| records.borrowed()).unwrap_or_default();
                walk(payload, &mut self.positions[at], &clock, &mut note)
                    .map_err(|error| LoadError(format!("reading {name}-{index}: {error}")))?;
            }
        }
        Ok(())
    }
}

/// Walks the batches of a fetched payload.
fn walk(
    payload: &[u8],
    position: &mut Position,
    clock: &impl Fn() -> u64,
    note: &mut impl FnMut(Found),
) -> Result<(), LoadError> {
    let partition = u32::try_from(position.partition).expect("a bounded number of partitions");
    let bad = |error: &dyn std::fmt::Display| LoadError(error.to_string());
    for batch in BatchIter::new(payload) {
        let batch = match batch {
            Ok(batch) => batch,
            // A broker may cut the last batch; it comes whole with the next fetch.
            Err(FramingError::Truncated { .. }) => break,
            Err(error) => return Err(bad(&error)),
        };
        check_crc(batch).map_err(|error| bad(&error))?;
        let header = batch.header();
        if !header.is_control() {
            let body = batch.records(BATCH_BYTES_MAX).map_err(|error| bad(&error))?;
            let read_ns = clock();
            for record in RecordIter::new(&body, header) {
                let record = record.map_err(|error| bad(&error))?;
                if record.offset.0 < position.next {
                    continue;
                }
                let value = record.value.unwrap_or_default();
                let bytes = value.len() + record.key.map_or(0, <[u8]>::len);
                note(Found { partition, stamp: Stamp::read(value), bytes: bytes as u64, read_ns });
            }
        }
        position.next = position.next.max(header.next_offset().0);
        position.is_news = true;
    }
    Ok(())
}
