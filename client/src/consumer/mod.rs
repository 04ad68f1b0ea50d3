//! Reads assigned partitions, ahead of the application and within bounded memory.
//!
//! Each broker has at most one fetch under way, for all partitions that it leads and of which little is buffered. The
//! answer is cut by partition, waits to be taken by [`Consumer::next`], and the next fetch leaves at once. A broker waits
//! for records only where no partition was left out of the fetch for having enough buffered: that one is not to wait for
//! idle ones when there is room for it again. Fetches are
//! sessionless: a session (KIP-227) saves bytes of requests where the partitions asked for stay the same, but here they
//! change with every piece that the application takes, and a plain fetch asks for exactly what there is room for.

mod fetched;
mod fetcher;

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::error::KafkaError;
use protocol::types::{Offset, PartitionIndex, Timestamp};
use protocol::wire::EncodeError;

use crate::Client;
use crate::admin::{At, Isolation, Partition};
use crate::error::{ClientError, ConnectionError, FetchedError};
use executor::Wait;

pub use fetched::{BatchView, Batches, Fetched, ReadLimits, Records, RoundTrip};
use fetcher::Fetcher;
pub use protocol::records::{Headers, Record};

/// How a consumer behaves.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// Whether what open and aborted transactions wrote is seen.
    pub isolation: Isolation,
    /// How long a broker waits for `wait_bytes_min`.
    pub wait_max: Duration,
    /// How many bytes a broker waits for.
    pub wait_bytes_min: i32,
    /// Bytes that one fetch may bring; a first batch larger than this comes whole.
    pub fetch_bytes_max: usize,
    /// Bytes of one partition that one fetch may bring, likewise; a partition with as many buffered is not fetched.
    pub partition_bytes_max: usize,
    /// Bytes that are buffered or on their way.
    pub buffered_bytes_max: usize,
    /// Where to go on when the position is not there (any more).
    pub reset: OffsetReset,
    /// How batches are read.
    pub read: ReadLimits,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            isolation: Isolation::ReadUncommitted,
            wait_max: Duration::from_millis(500),
            wait_bytes_min: 1,
            fetch_bytes_max: 16 << 20,
            partition_bytes_max: 1 << 20,
            buffered_bytes_max: 64 << 20,
            reset: OffsetReset::Fail,
            read: ReadLimits::default(),
        }
    }
}

/// Where to go on when the position is not there (any more).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OffsetReset {
    /// At the first offset there is.
    Earliest,
    /// At the end.
    Latest,
    /// Nowhere: [`Consumer::next`] says so.
    #[default]
    Fail,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first record there is.
    Earliest,
    /// Behind the last.
    Latest,
    /// At the first record at or after this time; behind the last if there is none.
    Time(Timestamp),
    /// Here.
    Offset(Offset),
}

impl Start {
    /// What must be looked for; none where the place is known.
    const fn to_find(self) -> Option<At> {
        match self {
            Self::Earliest => Some(At::Earliest),
            Self::Latest => Some(At::Latest),
            Self::Time(time) => Some(At::Time(time)),
            Self::Offset(_) => None,
        }
    }
}

/// What stops a partition, when everything before was handed out. It is not fetched again until it is sought or assigned;
/// the other partitions go on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{topic}-{partition} at offset {offset}: {reason}")]
pub struct ConsumeError {
    /// The topic.
    pub topic: Rc<str>,
    /// The partition.
    pub partition: PartitionIndex,
    /// Where it stops: what would have been read next.
    pub offset: Offset,
    /// Why.
    pub reason: ConsumeProblem,
}

/// Why a partition stops.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConsumeProblem {
    /// The position is not there, and nothing is said about where to go on instead.
    #[error("there is no offset {0}")]
    OutOfRange(Offset),
    /// There is no such topic or partition any more.
    #[error("it is not there any more")]
    Gone,
    /// The broker refused, and would refuse again.
    #[error("the broker refused: {0}")]
    Refused(KafkaError),
    /// The fetch can't be written in a version that the broker knows.
    #[error("the fetch can't be sent: {0}")]
    Unsendable(EncodeError),
    /// The broker offers no fetch that this client knows, or answers with what can't be taken.
    #[error(transparent)]
    Unanswerable(ConnectionError),
    /// What came can't be read.
    #[error(transparent)]
    Unreadable(#[from] FetchedError),
    /// The place to go on from was not found.
    #[error("no place to go on from was found: {0}")]
    Reset(Rc<ClientError>),
}

/// Reads assigned partitions. It ends when it is dropped.
pub struct Consumer {
    client: Client,
    fetcher: Rc<Fetcher>,
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.fetcher.end();
    }
}

impl Consumer {
    pub(crate) fn start(client: &Client, options: ConsumerOptions) -> Self {
        Self { client: client.clone(), fetcher: Fetcher::start(client, options) }
    }

    /// Reads these partitions and no others. A partition that was assigned before begins anew.
    ///
    /// # Errors
    /// There is no such topic or partition, or no broker says where to begin.
    pub async fn assign(&self, partitions: &[(Partition, Start)]) -> Result<(), ClientError> {
        let resolved = self.resolve(partitions).await?;
        self.fetcher.assign(&resolved);
        Ok(())
    }

    /// Reads these partitions as well, from these offsets on. One that is read already begins anew.
    pub(crate) fn add(&self, partitions: &[(Partition, Offset)]) {
        self.fetcher.add(partitions);
    }

    /// Reads these partitions no more; what was fetched of them and not taken is thrown away.
    pub(crate) fn remove(&self, partitions: &BTreeSet<Partition>) {
        self.fetcher.remove(partitions);
    }

    /// Whether the partition has been read without a break since it was assigned and this was fetched of it.
    pub(crate) fn still_reads(&self, fetched: &Fetched) -> bool {
        self.fetcher.incarnation(&fetched.place()) == Some(fetched.incarnation())
    }

    /// The next time that something can be taken.
    pub(crate) fn arrived(&self) -> Wait<'_> {
        self.fetcher.arrived.next()
    }

    /// Has who waits for something to be taken look around.
    pub(crate) fn wake(&self) {
        self.fetcher.arrived.raise();
    }

    /// Goes on elsewhere. What was fetched and not taken is thrown away.
    ///
    /// # Errors
    /// The partition is not assigned, or no broker says where that is.
    pub async fn seek(&self, partition: &Partition, to: Start) -> Result<(), ClientError> {
        let resolved = self.resolve(&[(partition.clone(), to)]).await?;
        let [(_, offset)] = &resolved[..] else { panic!("one partition has one place") };
        match self.fetcher.seek(partition, *offset) {
            true => Ok(()),
            false => Err(ClientError::NotAssigned(partition.clone())),
        }
    }

    /// The partitions that are read, and the offset after the last that [`Self::next`] handed out of each.
    #[must_use]
    pub fn positions(&self) -> Vec<(Partition, Offset)> {
        self.fetcher.positions()
    }

    /// Stops fetching partitions, or goes on; what is buffered is still handed out.
    pub fn pause(&self, partition: &Partition, paused: bool) {
        self.fetcher.pause(partition, paused);
    }

    /// Fetches nothing of a partition from this offset on: for who wants what is there now, and no more. The batch with the
    /// last record before it comes whole. It stays so where the partition is sought.
    pub fn read_until(&self, partition: &Partition, until: Offset) {
        self.fetcher.read_until(partition, until);
    }

    /// Waits for records of any partition.
    ///
    /// # Errors
    /// A partition can't go on; see [`ConsumeError`]. The others do.
    pub async fn next(&self) -> Result<Fetched, ConsumeError> {
        loop {
            let arrived = self.arrived();
            match self.try_next() {
                Some(outcome) => return outcome,
                None => arrived.wait().await,
            }
        }
    }

    /// The same, but not past `deadline`: none then.
    ///
    /// # Errors
    /// See [`Self::next`].
    pub async fn next_before(&self, deadline: Instant) -> Option<Result<Fetched, ConsumeError>> {
        loop {
            let arrived = self.arrived();
            match self.try_next() {
                Some(outcome) => return Some(outcome),
                None if Instant::now() >= deadline => return None,
                None => arrived.wait_until(Some(deadline)).await,
            }
        }
    }

    /// Records of any partition, if some have come.
    #[must_use]
    pub fn try_next(&self) -> Option<Result<Fetched, ConsumeError>> {
        self.fetcher.take()
    }

    /// Bytes that wait to be taken or are on their way.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        self.fetcher.buffered_bytes()
    }

    /// The offsets that these places are at. Where one is given, the partition must be there, and nobody is asked.
    pub(crate) async fn resolve(
        &self,
        partitions: &[(Partition, Start)],
    ) -> Result<Vec<(Partition, Offset)>, ClientError> {
        let isolation = self.fetcher.isolation();
        let to_find = |(partition, start): &(Partition, Start)| Some((partition.clone(), start.to_find()?));
        let asked: Vec<(Partition, At)> = partitions.iter().filter_map(to_find).collect();
        let admin = self.client.admin();
        let mut found = admin.offsets(&asked, isolation).await?.into_iter();
        let mut resolved = Vec::with_capacity(partitions.len());
        for (partition, start) in partitions {
            let offset = match *start {
                Start::Offset(offset) => {
                    self.client.topic(&partition.topic).await?.partition(partition.index)?;
                    offset
                }
                Start::Earliest | Start::Latest | Start::Time(_) => match found.next().flatten() {
                    Some(offset) => offset,
                    None => {
                        let end = admin.offsets(&[(partition.clone(), At::Latest)], isolation).await?;
                        end.first().copied().flatten().unwrap_or(Offset(0))
                    }
                },
            };
            resolved.push((partition.clone(), offset));
        }
        Ok(resolved)
    }
}
