//! Reading for a fetch: from memory, from other shards, and again when there is more.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use protocol::messages::fetch::FetchRequest;
use protocol::types::{Offset, PartitionKey, Timestamp};

use super::super::scatter::scatter;
use super::Line;
use crate::shard::Shard;
use crate::shard::messages::{Answer, Question, ReadItem};
use crate::shard::questions::Share;

/// What a fetch reads, and how long it waits for how much.
pub struct Reading {
    /// The partitions, in the order in which they share the bytes.
    pub lines: Vec<Line>,
    bytes_min: usize,
    bytes_max: usize,
    deadline: Timestamp,
}

impl Reading {
    /// The reading that a request asks for.
    pub fn new(request: &FetchRequest<'_>, lines: Vec<Line>, shard: &Shard) -> Self {
        let bytes = |wanted: i32| usize::try_from(wanted).unwrap_or(0);
        Self {
            lines,
            bytes_min: bytes(request.min_bytes),
            bytes_max: bytes(request.max_bytes).min(shard.config.fetch_bytes_max),
            deadline: Timestamp(shard.now().get().saturating_add(i64::from(request.max_wait_ms.max(0)))),
        }
    }

    /// The shard that owns all of the partitions, if it is one.
    pub fn only_owner(&self, shard: &Shard) -> Option<usize> {
        let mut owners =
            self.lines.iter().filter_map(|line| line.asked.ok()).map(|item| shard.owner_of(item.key));
        let first = owners.next()?;
        owners.all(|owner| owner == first).then_some(first)
    }

    /// Reads what is in this shard's memory; false where that is not all there is to read.
    pub fn read_now(&mut self, shard: &Shard) -> bool {
        let mut items: Vec<ReadItem> = Vec::with_capacity(self.lines.len());
        for item in self.lines.iter().filter_map(|line| line.asked.ok()) {
            if shard.owner_of(item.key) != shard.config.index {
                return false;
            }
            items.push(item);
        }
        let Some(outcomes) = shard.read_all_now(&items, self.bytes_max) else { return false };
        for (line, outcome) in self.lines.iter_mut().filter(|line| line.asked.is_ok()).zip(outcomes) {
            line.outcome = Some(outcome);
        }
        true
    }

    /// Reads, from wherever the batches are, until there is enough or time is up.
    pub async fn read_until_done(&mut self, shard: &Rc<Shard>) {
        loop {
            self.read(shard).await;
            if self.is_done(shard.now()) {
                return;
            }
            self.watch(shard).await;
        }
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
        bytes >= self.bytes_min || bytes >= self.bytes_max || self.lines.is_empty() || now >= self.deadline
    }

    /// Reads from all shards concerned, at the same time.
    async fn read(&mut self, shard: &Rc<Shard>) {
        let bytes_max = self.bytes_max;
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
            line.outcome = Some(share.take(bytes_max, outcome));
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
}
