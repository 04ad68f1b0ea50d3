//! Partitions that are read up to an end by way of the client's consumer: how far each has come, and what is in each record.
//!
//! Knows nothing of measuring, nor of what a record should be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use client::consumer::{ConsumerOptions, ReadLimits};
use client::{At, Client, ConsumeProblem, Consumer, Fetched, Start};
use protocol::types::Offset;

use super::cluster::Layout;
use super::thread::LoadError;
use crate::limits::VALUE_BYTES_MAX;
use crate::stamp::Stamp;

/// Kafka's consumer's defaults.
const WAIT_MAX: Duration = Duration::from_millis(500);
pub const PARTITION_BYTES_MAX: usize = 1 << 20;
/// A batch decompressed: a producer's request, and one value beyond it.
pub const BATCH_BYTES_MAX: usize = VALUE_BYTES_MAX + (64 << 20);

/// Some of a layout's partitions, being read.
pub struct Course {
    layout: Layout,
    client: Client,
    consumer: Consumer,
    /// By their numbers in the layout.
    positions: BTreeMap<usize, Position>,
}

/// A partition on its course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub begin: i64,
    /// After the last record that was walked over.
    pub next: i64,
    /// Records from here on are left alone.
    pub end: i64,
}

/// A record as it was found.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// In the layout.
    pub partition: u32,
    pub stamp: Option<Stamp>,
    /// Bytes of key and value.
    pub bytes: u64,
    /// When, by the caller's clock, its batch was checked and decompressed.
    pub read_ns: u64,
}

/// Why it does not go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Halt {
    /// Retention was faster in this partition (in the layout).
    #[error("reading {name}: retention has deleted what was to be read next")]
    Deleted { partition: usize, name: String },
    #[error("reading {0}")]
    Failed(String),
}

impl From<Halt> for LoadError {
    fn from(halt: Halt) -> Self {
        Self(halt.to_string())
    }
}

impl Course {
    /// Begins to read these partitions. Up to `bytes_max` are fetched at once, and held.
    pub async fn begin(
        client: &Client,
        layout: &Layout,
        positions: BTreeMap<usize, Position>,
        bytes_max: usize,
    ) -> Result<Self, LoadError> {
        let consumer = client.consumer(ConsumerOptions {
            wait_max: WAIT_MAX,
            fetch_bytes_max: bytes_max,
            partition_bytes_max: PARTITION_BYTES_MAX,
            buffered_bytes_max: bytes_max,
            read: ReadLimits { decompressed_bytes_max: BATCH_BYTES_MAX, ..ReadLimits::default() },
            ..ConsumerOptions::default()
        });
        let place = |(number, position): (&usize, &Position)| {
            (layout.partition(*number), Start::Offset(Offset(position.next)))
        };
        let places: Vec<_> = positions.iter().map(place).collect();
        consumer.assign(&places).await?;
        for (number, position) in &positions {
            consumer.read_until(&layout.partition(*number), Offset(position.end));
        }
        Ok(Self { layout: layout.clone(), client: client.clone(), consumer, positions })
    }

    /// How far each partition has come.
    pub fn positions(&self) -> &BTreeMap<usize, Position> {
        &self.positions
    }

    /// Whether all have come to their ends.
    pub fn is_at_end(&self) -> bool {
        self.positions.values().all(|position| position.next >= position.end)
    }

    /// An offset of each partition of the layout.
    pub async fn offsets(&self, at: At) -> Result<Vec<i64>, LoadError> {
        self.layout.offsets(&self.client.admin(), at).await
    }

    /// What comes next, if something does in time.
    pub async fn next(&self, time: Duration) -> Result<Option<Fetched>, Halt> {
        let Some(outcome) = self.consumer.next_before(Instant::now() + time).await else { return Ok(None) };
        outcome.map(Some).map_err(|error| {
            match (&error.reason, self.layout.position(&error.topic, error.partition)) {
                (ConsumeProblem::OutOfRange(_), Some(partition)) => {
                    Halt::Deleted { partition, name: format!("{}-{}", error.topic, error.partition) }
                }
                _ => Halt::Failed(error.to_string()),
            }
        })
    }

    /// Hands every record of a piece to `note`, but for those past the partition's end.
    pub fn walk(
        &mut self,
        fetched: &Fetched,
        clock: impl Fn() -> u64,
        mut note: impl FnMut(Found),
    ) -> Result<(), Halt> {
        let (topic, index) = (fetched.topic(), fetched.partition());
        let number = self.layout.position(topic, index).expect("what is read is in the layout");
        let partition = u32::try_from(number).expect("a bounded number of partitions");
        let position = self.positions.get_mut(&number).expect("what is read has a position");
        let end = Offset(position.end);
        let bad = |error: client::error::FetchedError| Halt::Failed(format!("{topic}-{index}: {error}"));
        for batch in fetched.batches() {
            let batch = batch.map_err(bad)?;
            let read_ns = clock();
            for record in batch.records() {
                let record = record.map_err(bad)?;
                if record.offset >= end {
                    break;
                }
                let value = record.value.unwrap_or_default();
                let bytes = value.len() + record.key.map_or(0, <[u8]>::len);
                note(Found { partition, stamp: Stamp::read(value), bytes: bytes as u64, read_ns });
            }
        }
        position.next = fetched.next_offset().0;
        Ok(())
    }

    /// Goes on elsewhere in a partition.
    pub async fn go_to(&mut self, number: usize, offset: i64) -> Result<(), LoadError> {
        let to = Start::Offset(Offset(offset));
        self.consumer.seek(&self.layout.partition(number), to).await?;
        self.positions.get_mut(&number).expect("only what is read is sought").next = offset;
        Ok(())
    }

    /// Begins again where each partition began.
    pub async fn begin_again(&mut self) -> Result<(), LoadError> {
        let begins: Vec<(usize, i64)> =
            self.positions.iter().map(|(number, position)| (*number, position.begin)).collect();
        for (number, begin) in begins {
            self.go_to(number, begin).await?;
        }
        Ok(())
    }
}
