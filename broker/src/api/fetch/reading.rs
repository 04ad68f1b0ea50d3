//! Reading for a fetch: from memory, from other shards, and again when there is more.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use logic::fetch::{FetchBounds, Share};
use protocol::messages::fetch::FetchRequest;
use protocol::native;
use protocol::types::{Offset, PartitionKey, Timestamp};
use smallvec::SmallVec;

use super::super::scatter::scatter;
use super::{Line, transcoding};
use crate::net::replies::Ticket;
use crate::net::reply_budget::Room;
use crate::shard::Shard;
use crate::shard::messages::{Answer, Isolation, Question, ReadItem};
use crate::shard::questions::take;

/// What a fetch reads, and how long it waits for how much. It reads no more than the room that it is given, and holds
/// nothing while it waits for records.
pub struct Reading {
    /// The partitions, in the order in which they share the bytes.
    pub lines: Vec<Line>,
    isolation: Isolation,
    bounds: FetchBounds,
    /// What it would like to read at a time.
    wanted_bytes: usize,
    /// The shards that it reads from.
    owner_count: usize,
    deadline: Timestamp,
    /// Whether the client reads native batches.
    takes_native: bool,
}

impl Reading {
    /// The reading that a request asks for.
    pub fn new(request: &FetchRequest<'_>, lines: Vec<Line>, isolation: Isolation, shard: &Shard) -> Self {
        let (wait, least, most) = (request.max_wait_ms, request.min_bytes, request.max_bytes);
        let bounds = FetchBounds::new(wait, least, most, shard.config.fetch_bytes_max);
        let owners = bytes_by_owner(&lines, shard);
        Self {
            lines,
            isolation,
            bounds,
            wanted_bytes: owners.iter().map(|(_, bytes)| (*bytes).min(bounds.bytes_max)).sum(),
            owner_count: owners.len().max(1),
            deadline: Timestamp(shard.now().get().saturating_add(bounds.wait_ms_max)),
            takes_native: request.native_version >= native::VERSION,
        }
    }

    /// The shard that owns all of the partitions, if it is one.
    pub fn only_owner(&self, shard: &Shard) -> Option<usize> {
        let mut owners =
            self.lines.iter().filter_map(|line| line.asked.ok()).map(|item| shard.owner_of(item.key));
        let first = owners.next()?;
        owners.all(|owner| owner == first).then_some(first)
    }

    /// The room that it would like for what it reads: each shard that is asked may answer as much as the request allows.
    pub fn wanted_bytes(&self) -> usize {
        self.wanted_bytes
    }

    /// How much each shard may read.
    fn bytes_max(&self, room: &Room) -> usize {
        self.bounds.bytes_max.min(room.bytes() / self.owner_count)
    }

    /// Reads what is in this shard's memory; false where that is not all there is to read.
    pub fn read_now(&mut self, shard: &Shard, room: &Room) -> bool {
        let mut items: Vec<ReadItem> = Vec::with_capacity(self.lines.len());
        for item in self.lines.iter().filter_map(|line| line.asked.ok()) {
            if shard.owner_of(item.key) != shard.config.index {
                return false;
            }
            items.push(item);
        }
        let bytes_max = self.bytes_max(room);
        let Some(outcomes) = shard.read_all_now(&items, bytes_max) else { return false };
        for (line, outcome) in self.lines.iter_mut().filter(|line| line.asked.is_ok()).zip(outcomes) {
            line.outcome = Some(outcome);
        }
        true
    }

    /// Reads, from wherever the batches are, until there is enough or time is up. What it returns is to be held until the
    /// answer is charged for.
    pub async fn read_until_done(&mut self, shard: &Rc<Shard>, ticket: &Ticket) -> Room {
        loop {
            let room = ticket.room(self.wanted_bytes).await;
            self.read(shard, &room).await;
            if self.is_done(shard.now()) || self.is_bounded_by(&room) {
                return room;
            }
            drop(room);
            self.let_go();
            self.watch(shard).await;
        }
    }

    /// Whether what was read is not what the client reads.
    pub fn needs_transcoding(&self) -> bool {
        !self.takes_native && transcoding::is_needed(&self.lines)
    }

    /// Makes what was read what the client reads.
    pub async fn transcode(&mut self) {
        if self.needs_transcoding() {
            transcoding::transcode(&mut self.lines, self.bounds.bytes_max).await;
        }
    }

    /// Lets go of what was read: a fetch that waits holds no records.
    fn let_go(&mut self) {
        for done in self.lines.iter_mut().filter_map(|line| line.outcome.as_mut()?.as_mut().ok()) {
            done.chunks = Vec::new();
        }
    }

    /// Whether it was the room that kept it from reading more: waiting for more would not help.
    fn is_bounded_by(&self, room: &Room) -> bool {
        let read = self.lines.iter().filter_map(|line| line.outcome.as_ref()?.as_ref().ok());
        let bytes: usize = read.map(|done| done.bytes).sum();
        bytes > 0 && room.bytes() < self.bounds.bytes_min
    }

    /// Whether there is enough to answer, something that the client should hear of at once, or no time left.
    pub fn is_done(&self, now: Timestamp) -> bool {
        let mut bytes = 0;
        for line in &self.lines {
            match &line.outcome {
                Some(Ok(done)) if done.diverging.is_none() => bytes += done.bytes,
                _ => return true,
            }
        }
        bytes >= self.bounds.bytes_min || self.lines.is_empty() || now >= self.deadline
    }

    /// Reads from all shards concerned, at the same time.
    async fn read(&mut self, shard: &Rc<Shard>, room: &Room) {
        let bytes_max = self.bytes_max(room);
        let items: Vec<_> =
            self.lines.iter().filter_map(|line| line.asked.ok()).map(|item| (item.key, item)).collect();
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
        for (line, outcome) in self.lines.iter_mut().filter(|line| line.asked.is_ok()).zip(outcomes) {
            line.outcome = Some(take(&mut share, bytes_max, outcome));
        }
    }

    /// Waits until a partition can be read further than it was, or the deadline.
    async fn watch(&self, shard: &Rc<Shard>) {
        let mut sorted: Vec<(usize, Vec<(PartitionKey, Offset)>)> = Vec::new();
        for line in &self.lines {
            let (Ok(item), Some(Ok(done))) = (line.asked, &line.outcome) else { continue };
            let owner = shard.owner_of(item.key);
            match sorted.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, seen)) => seen.push((item.key, done.readable_end)),
                None => sorted.push((owner, vec![(item.key, done.readable_end)])),
            }
        }
        let (isolation, deadline) = (self.isolation, self.deadline);
        let mut watches: Vec<Pin<Box<dyn Future<Output = Answer> + '_>>> = sorted
            .into_iter()
            .map(|(owner, seen)| {
                let watch = shard.ask(owner, Question::Watch { seen, isolation, deadline });
                Box::pin(watch) as Pin<Box<dyn Future<Output = Answer> + '_>>
            })
            .collect();
        poll_fn(|context| {
            let any = watches.iter_mut().any(|watch| watch.as_mut().poll(context).is_ready());
            if any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// The shards that own partitions of a fetch, and how many bytes the client takes of those at most.
fn bytes_by_owner(lines: &[Line], shard: &Shard) -> SmallVec<[(usize, usize); 2]> {
    let mut owners: SmallVec<[(usize, usize); 2]> = SmallVec::new();
    for item in lines.iter().filter_map(|line| line.asked.ok()) {
        let owner = shard.owner_of(item.key);
        match owners.iter_mut().find(|(known, _)| *known == owner) {
            Some((_, bytes)) => *bytes = bytes.saturating_add(item.bytes_max),
            None => owners.push((owner, item.bytes_max)),
        }
    }
    owners
}
