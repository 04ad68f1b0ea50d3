//! One reader: fetches its partitions from their leaders in incremental sessions, checks every record, measures.
//!
//! A reader that follows ends when it has read up to the last acknowledged record of its partitions; one that drains a
//! backlog begins again at its end, until the round is over.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use client::Connection;
use client::connection::Answer;
use protocol::batch::{BatchIter, FramingError, check_crc};
use protocol::error::KafkaError;
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use protocol::records::RecordIter;
use protocol::types::Offset;

use super::cluster::{Cluster, Layout, Place};
use super::recorder::Notes;
use super::thread::{LoadError, Shared, nanoseconds};
use crate::interrupt;
use crate::limits::{DRAIN_TIME_MAX, VALUE_BYTES_MAX};
use crate::stamp::Stamp;
use crate::verify::{Fault, Faults, Lane, Reading};
use crate::workload::Acks;

/// The last version whose topics have names and whose errors are simple, in every broker from Kafka 2.3 on.
const FETCH_VERSION: i16 = 11;
/// Kafka's consumer's defaults.
const WAIT_MS: i32 = 500;
const ANSWER_BYTES_MAX: i32 = 50 << 20;
/// Beside producers: walking a large answer would hold up whoever shares the thread.
const ANSWER_BYTES_BESIDE_PRODUCERS: i32 = 2 << 20;
const PARTITION_BYTES_MAX: i32 = 1 << 20;
/// A batch decompressed: a producer's request, and one value beyond it.
const BATCH_BYTES_MAX: usize = VALUE_BYTES_MAX + (64 << 20);
/// Fetches without a record after which a reader without acknowledgements to go by takes it that all has come.
const EMPTY_FETCHES_MAX: u32 = 4;
/// Between two looks at where partitions end that are still to grow.
const END_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often they are looked at without having grown before that is all there is.
const END_LOOKS_IN_VAIN_MAX: u32 = 30;

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    End,
    Beginning,
}

/// When a reader is through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    /// When all that was acknowledged is read and nobody produces any more; for the group of this number.
    Follow { group: u32 },
    /// At the end of what is measured; these offsets end the backlog, which is read again and again.
    Repeat(Vec<i64>),
}

/// What reading back a whole stream has shown.
#[derive(Debug, Default)]
pub struct Audit {
    pub records: u64,
    /// Oldest records that are gone.
    pub deleted: u64,
    /// Older ones that are there and were left out: there were too many.
    pub left_out: u64,
    pub faults: Faults,
}

/// Records of a backlog or a whole log, with where to begin and to end.
struct Position {
    /// In the layout.
    partition: usize,
    place: Place,
    begin: i64,
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
    /// Partitions (in the layout) whose next record retention has deleted.
    out_of_range: Vec<usize>,
}

/// A reader of some partitions of a stream.
pub struct Reader {
    stream: usize,
    goal: Goal,
    shared: Arc<Shared>,
    notes: Notes,
    fetchers: Vec<Fetcher>,
}

impl Reader {
    /// Connects to the leaders of `partitions` and finds where to begin.
    pub async fn connect(
        stream: usize,
        partitions: Vec<usize>,
        start: Start,
        goal: Goal,
        shared: Arc<Shared>,
        notes: Notes,
    ) -> Result<Self, LoadError> {
        let layout = &shared.plan.streams[stream].layout;
        let is_alone = shared.plan.streams.iter().all(|stream| stream.producers == 0);
        let bytes_max = if is_alone { ANSWER_BYTES_MAX } else { ANSWER_BYTES_BESIDE_PRODUCERS };
        let fetchers = fetchers(layout, &partitions, start, bytes_max).await?;
        for position in fetchers.iter().flat_map(|fetcher| &fetcher.positions) {
            // A follower of a partition that nobody writes to has nothing to wait for.
            shared.ends[stream][position.partition].fetch_max(position.begin, Ordering::AcqRel);
        }
        Ok(Self { stream, goal, shared, notes, fetchers })
    }

    /// Reads to its goal.
    pub async fn run(self) {
        let Self { stream, goal, shared, notes, fetchers } = self;
        let tasks: Vec<_> = fetchers
            .into_iter()
            .map(|fetcher| {
                let run = Run {
                    stream,
                    goal: goal.clone(),
                    shared: Arc::clone(&shared),
                    notes: Rc::clone(&notes),
                    reading: Some(Reading::new(shared.plan.run)),
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

/// A reader at work on one leader's partitions.
struct Run {
    stream: usize,
    goal: Goal,
    shared: Arc<Shared>,
    notes: Notes,
    reading: Option<Reading>,
    empty_fetches: u32,
    /// When it was first seen that nobody produces any more.
    quiet_since_ns: Option<u64>,
}

impl Run {
    async fn read(mut self, mut fetcher: Fetcher) {
        while !self.shared.is_stopped() && !self.is_through(&fetcher) {
            let asked_ns = self.shared.now_ns();
            let layout = self.shared.plan.streams[self.stream].layout.clone();
            let outcome = match fetcher.fetch(&layout).await {
                Ok(answer) => self.take(&mut fetcher, &layout, &answer, asked_ns),
                Err(error) => Err(error),
            };
            if let Err(error) = outcome {
                return self.shared.fail(error.0);
            }
            self.begin_again_at_the_end(&mut fetcher);
        }
        let reading = self.reading.take().expect("it is there while reading");
        let mut notes = self.notes.borrow_mut();
        let stream = &mut notes.streams[self.stream];
        if let Goal::Follow { group } = self.goal {
            stream.followed.entry(group).or_default().extend(reading.ends());
        }
        stream.faults.merge(reading.finish_anywhere());
    }

    fn is_through(&mut self, fetcher: &Fetcher) -> bool {
        let now_ns = self.shared.now_ns();
        if matches!(self.goal, Goal::Repeat(_)) {
            return now_ns >= self.shared.window().until_ns;
        }
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

    fn take(
        &mut self,
        fetcher: &mut Fetcher,
        layout: &Layout,
        answer: &Answer,
        asked_ns: u64,
    ) -> Result<(), LoadError> {
        let now_ns = self.shared.now_ns();
        let window = self.shared.window();
        let goal_ends = match &self.goal {
            Goal::Follow { .. } => None,
            Goal::Repeat(ends) => Some(ends.as_slice()),
        };
        let reading = self.reading.as_mut().expect("it is there while reading");
        let notes = &mut *self.notes.borrow_mut();
        let stream = &mut notes.streams[self.stream];
        let (mut records, mut bytes) = (0, 0);
        let shared = &self.shared;
        fetcher.take(
            layout,
            answer,
            goal_ends,
            || shared.now_ns(),
            |partition, stamp, payload_bytes, read_ns| {
                reading.note(partition, stamp);
                records += 1;
                bytes += payload_bytes;
                let Some(stamp) = stamp.filter(|_| goal_ends.is_none()) else { return };
                let latency_ns = read_ns.saturating_sub(stamp.due_ns);
                notes.tick.ends.record(latency_ns);
                if window.contains(stamp.due_ns) {
                    stream.ends.record(latency_ns);
                }
            },
        )?;
        if let Some(partition) = fetcher.out_of_range.first() {
            let place = layout.places[*partition];
            return Err(LoadError(format!(
                "reading {}-{}: retention has deleted what was to be read next",
                layout.topics[place.topic], place.index
            )));
        }
        self.empty_fetches = if records == 0 { self.empty_fetches + 1 } else { 0 };
        let is_measured = window.contains(now_ns);
        if goal_ends.is_none() {
            notes.tick.read.add(records, bytes);
            if is_measured {
                stream.read.add(records, bytes);
            }
        } else {
            notes.tick.drained.add(records, bytes);
            if is_measured {
                stream.drained.add(records, bytes);
                stream.fetches.record(now_ns - asked_ns);
            }
        }
        Ok(())
    }

    fn begin_again_at_the_end(&mut self, fetcher: &mut Fetcher) {
        let Goal::Repeat(ends) = &self.goal else { return };
        if fetcher.positions.iter().any(|position| position.next < ends[position.partition]) {
            return;
        }
        for position in &mut fetcher.positions {
            (position.next, position.is_news) = (position.begin, true);
        }
        let reading = self.reading.replace(Reading::new(self.shared.plan.run));
        let faults = reading.expect("it is there while reading").finish_anywhere();
        self.notes.borrow_mut().streams[self.stream].faults.merge(faults);
    }
}

async fn fetchers(
    layout: &Layout,
    partitions: &[usize],
    start: Start,
    answer_bytes_max: i32,
) -> Result<Vec<Fetcher>, LoadError> {
    let cluster = Cluster::connect(layout).await?;
    let asked = match start {
        Start::End => -1,
        Start::Beginning => -2,
    };
    let begins = cluster.offsets(layout, asked).await?;
    let fetcher = |(leader, connection)| {
        let ours = partitions.iter().filter(|partition| layout.places[**partition].leader == leader);
        let position = |partition: &usize| {
            let begin = begins[*partition];
            Position {
                partition: *partition,
                place: layout.places[*partition],
                begin,
                next: begin,
                is_news: true,
            }
        };
        let positions = ours.map(position).collect();
        let out_of_range = Vec::new();
        Fetcher { connection, positions, session_id: 0, session_epoch: 0, answer_bytes_max, out_of_range }
    };
    let all = cluster.connections.into_iter().enumerate().map(fetcher);
    Ok(all.filter(|fetcher| !fetcher.positions.is_empty()).collect())
}

impl Fetcher {
    async fn fetch(&mut self, layout: &Layout) -> Result<Answer, LoadError> {
        let mut topics = BTreeMap::<usize, Vec<FetchPartition>>::new();
        let opens = self.session_epoch == 0;
        for position in self.positions.iter_mut().filter(|position| position.is_news || opens) {
            position.is_news = false;
            let asked = FetchPartition {
                partition: position.place.index,
                fetch_offset: Offset(position.next),
                partition_max_bytes: PARTITION_BYTES_MAX,
                ..Default::default()
            };
            topics.entry(position.place.topic).or_default().push(asked);
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

    /// Hands every record at or past where the reader stands, and before `ends`, to `note`: its partition, stamp and
    /// bytes, and when by `clock` its batch was checked and decompressed.
    fn take(
        &mut self,
        layout: &Layout,
        answer: &Answer,
        ends: Option<&[i64]>,
        clock: impl Fn() -> u64,
        mut note: impl FnMut(u32, Option<Stamp>, u64, u64),
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
                let at = self.positions.iter().position(|position| {
                    Some(position.place.topic) == number && position.place.index == index
                });
                if let Some(at) = at.filter(|_| data.error_code == KafkaError::OffsetOutOfRange.into()) {
                    self.out_of_range.push(self.positions[at].partition);
                    continue;
                }
                if !data.error_code.is_none() {
                    return Err(LoadError(format!("reading {name}-{index}: {}", data.error_code)));
                }
                let Some(at) = at else { continue };
                let position = &mut self.positions[at];
                let payload =
                    data.records.as_ref().and_then(|records| records.borrowed()).unwrap_or_default();
                let end = ends.map_or(i64::MAX, |ends| ends[position.partition]);
                walk(payload, position, end, &clock, &mut note)
                    .map_err(|error| LoadError(format!("reading {name}-{index}: {error}")))?;
            }
        }
        Ok(())
    }

    /// Goes on where partitions begin now whose older records were deleted meanwhile.
    fn jump(&mut self, begins: &[i64], reading: &mut Reading) {
        for gone in std::mem::take(&mut self.out_of_range) {
            let position = self.positions.iter_mut().find(|position| position.partition == gone);
            let position = position.expect("only those that are read are found out of range");
            position.next = position.next.max(begins[gone]);
            position.is_news = true;
            reading.jump(u32::try_from(gone).expect("a bounded number of partitions"));
        }
    }
}

/// Walks the batches of a fetched payload.
fn walk(
    payload: &[u8],
    position: &mut Position,
    end: i64,
    clock: &impl Fn() -> u64,
    note: &mut impl FnMut(u32, Option<Stamp>, u64, u64),
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
                if record.offset.0 < position.next || record.offset.0 >= end {
                    continue;
                }
                let value = record.value.unwrap_or_default();
                let bytes = value.len() + record.key.map_or(0, <[u8]>::len);
                note(partition, Stamp::read(value), bytes as u64, read_ns);
            }
        }
        position.next = position.next.max(header.next_offset().0);
        position.is_news = true;
    }
    Ok(())
}

/// Reads a stream to its end and holds it against what was acknowledged: from its start, or, where it has more than
/// `records_max` records, its newest.
pub async fn audit(
    layout: &Layout,
    run: u32,
    sent: &HashMap<Lane, u64>,
    records_max: u64,
) -> Result<Audit, LoadError> {
    let all: Vec<usize> = (0..layout.places.len()).collect();
    let cluster = Cluster::connect(layout).await?;
    let ends = settled_ends(&cluster, layout, sent).await?;
    let mut fetchers = fetchers(layout, &all, Start::Beginning, ANSWER_BYTES_MAX).await?;
    let mut begins = vec![0; ends.len()];
    for position in fetchers.iter().flat_map(|fetcher| &fetcher.positions) {
        begins[position.partition] = position.begin;
    }
    let starts = newest(&begins, &ends, records_max);
    let numbers = (0_u32..).zip(&starts);
    let from_middle: HashSet<u32> = numbers.filter(|(_, start)| **start > 0).map(|(at, _)| at).collect();
    let mut left_out = 0;
    for position in fetchers.iter_mut().flat_map(|fetcher| &mut fetcher.positions) {
        position.next = starts[position.partition];
        left_out += position.next - position.begin;
    }
    let reading = RefCell::new(Reading::from_middle(run, from_middle));
    let idle = Cell::new(0_u32);
    for fetcher in &mut fetchers {
        while fetcher.positions.iter().any(|position| position.next < ends[position.partition]) {
            if interrupt::was_asked() {
                return Err(LoadError("interrupted".into()));
            }
            let answer = fetcher.fetch(layout).await?;
            idle.set(idle.get() + 1);
            fetcher.take(
                layout,
                &answer,
                None,
                || 0,
                |partition, stamp, _, _| {
                    idle.set(0);
                    reading.borrow_mut().note(partition, stamp);
                },
            )?;
            if !fetcher.out_of_range.is_empty() {
                let begins = cluster.offsets(layout, -2).await?;
                fetcher.jump(&begins, &mut reading.borrow_mut());
            }
            if idle.get() > EMPTY_FETCHES_MAX * 10 {
                return Err(LoadError("records that the broker says it has don't come".into()));
            }
        }
    }
    let reading = reading.into_inner();
    let records = reading.records;
    let deleted = u64::try_from(begins.iter().sum::<i64>()).unwrap_or_default();
    let left_out = u64::try_from(left_out).unwrap_or_default();
    Ok(Audit { records, deleted, left_out, faults: reading.finish(sent) })
}

/// Where the partitions end once what was sent is there. Without acks a broker may have taken records that it does not
/// show yet, since they are still to be committed: it is waited for as long as the ends move.
async fn settled_ends(
    cluster: &Cluster,
    layout: &Layout,
    sent: &HashMap<Lane, u64>,
) -> Result<Vec<i64>, LoadError> {
    let wanted = i64::try_from(sent.values().sum::<u64>()).unwrap_or(i64::MAX);
    let mut ends = cluster.offsets(layout, -1).await?;
    let mut looks_in_vain = 0;
    while ends.iter().sum::<i64>() < wanted && looks_in_vain < END_LOOKS_IN_VAIN_MAX {
        glommio::timer::sleep(END_LOOK_INTERVAL).await;
        let now = cluster.offsets(layout, -1).await?;
        looks_in_vain = if now == ends { looks_in_vain + 1 } else { 0 };
        ends = now;
    }
    Ok(ends)
}

/// Where to begin in each partition so that about `records_max` are read, of each partition the same share.
fn newest(begins: &[i64], ends: &[i64], records_max: u64) -> Vec<i64> {
    let there: i128 = begins.iter().zip(ends).map(|(begin, end)| i128::from((end - begin).max(0))).sum();
    let kept = i128::from(records_max).min(there);
    let start = |(begin, end): (&i64, &i64)| {
        let own = i128::from((end - begin).max(0));
        let skipped = own * (there - kept) / there.max(1);
        begin + i64::try_from(skipped).expect("it is at most what the partition has")
    };
    begins.iter().zip(ends).map(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_begins_at_the_start_unless_there_is_too_much() {
        assert_eq!(newest(&[5, 0], &[105, 300], 400), [5, 0]);
        assert_eq!(newest(&[5, 0], &[105, 300], 100), [80, 225], "a quarter of each, the newest");
        assert_eq!(newest(&[7], &[7], 0), [7], "nothing is there");
    }
}
