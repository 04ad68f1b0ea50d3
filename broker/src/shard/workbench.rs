//! Batches that take long to be made ready: a thread beside the shard's works on one of them at a time.
//!
//! A partition whose batch is being worked on has a line. Its later batches stand in it, however little they take, so that
//! all are appended in the order in which they came; other partitions go past. Lines take turns, batch by batch. What
//! stands in lines is bounded: what would be too much is refused, and its producer tries again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use protocol::types::PartitionKey;
use rustc_hash::FxHashMap;
use storage::store::StoreError;

use super::Shard;
use super::messages::{ProduceItem, ProduceOutcome, ProduceTerms};
use super::partition::Appending;
use super::prepare::{InPassing, prepare};
use super::produce::{ProduceCall, ProduceRefusal};
use crate::metrics::{self, Count};
use crate::runtime::{either, run_blocking, sleep, spawn, yield_if_needed};

/// What a shard works on, and what waits for that.
pub struct Workbench {
    lines: RefCell<Lines<Waiting>>,
    is_running: Cell<bool>,
}

/// A batch that waits for its turn.
pub struct Waiting {
    /// The call that it belongs to.
    pub call: Rc<ProduceCall>,
    /// How it is to be appended.
    pub terms: ProduceTerms,
    /// The batch.
    pub item: ProduceItem,
    /// It is known to take long.
    pub is_long: bool,
}

impl Workbench {
    /// Nothing waits; what will is at most so many bytes of batches, or one.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { lines: RefCell::new(Lines::new(bytes_max)), is_running: Cell::new(false) }
    }

    /// Whether a partition's next batch has to stand in line.
    #[must_use]
    pub fn has_line(&self, key: PartitionKey) -> bool {
        self.lines.borrow().has(key)
    }
}

impl Shard {
    /// Puts a batch at the end of its partition's line.
    pub(super) fn line_up(self: &Rc<Self>, waiting: Waiting) {
        let (key, bytes) = (waiting.item.key, waiting.item.records.len());
        let joined = self.workbench.lines.borrow_mut().join(key, bytes, waiting);
        match joined {
            Ok(()) if self.workbench.is_running.replace(true) => {}
            Ok(()) => spawn(Rc::clone(self).work()),
            Err(refused) => {
                let result = Err(StoreError::Overloaded.into());
                self.note(&refused.call, ProduceOutcome { place: refused.item.place, result });
            }
        }
    }

    /// Works until nothing waits any more.
    async fn work(self: Rc<Self>) {
        loop {
            let next = self.workbench.lines.borrow_mut().next();
            let Some((key, waiting)) = next else { break };
            let (call, place) = (&waiting.call, waiting.item.place);
            match self.work_on(&waiting).await {
                Ok(Appending::Done(produced)) => {
                    self.note(call, ProduceOutcome { place, result: Ok(produced) })
                }
                Ok(Appending::Waits) => {}
                Ok(Appending::TakesLong) => unreachable!("what takes long was done"),
                Err(refusal) => self.note(call, ProduceOutcome { place, result: Err(refusal) }),
            }
            self.workbench.lines.borrow_mut().end_turn(key);
            self.note_fullness();
            yield_if_needed().await;
        }
        self.workbench.is_running.set(false);
    }

    async fn work_on(&self, waiting: &Waiting) -> Result<Appending, ProduceRefusal> {
        let Waiting { call, terms, item, is_long } = waiting;
        let partition = self.partitions.get(item.key).ok_or(ProduceRefusal::Unknown)?;
        if !is_long {
            let mut in_passing = InPassing::default();
            match partition.produce(&self.store, self.now(), *terms, item, call, &mut in_passing)? {
                Appending::TakesLong => {}
                appended => return Ok(appended),
            }
        }
        let (now, version, records) = (self.now(), terms.version, item.records.clone());
        let config = partition.config.get();
        let prepared = run_blocking(move || prepare(now, version, &records, &config)).await?;
        metrics::add(Count::BatchesPreparedAside, 1);
        // The producer has waited for its turn with what it sent. What that has become larger by waits here.
        self.wait_for_turn(prepared.records.len().saturating_sub(item.records.len())).await?;
        // It may have been deleted meanwhile.
        let found = self.partitions.get(item.key).filter(|found| Rc::ptr_eq(found, &partition));
        let partition = found.ok_or(ProduceRefusal::Unknown)?;
        partition.append_prepared(&self.store, self.now(), *terms, item, call, prepared)
    }

    async fn wait_for_turn(&self, bytes: usize) -> Result<(), StoreError> {
        let pause = async |time: Duration| {
            either(sleep(time), self.stopping.next().wait()).await;
            self.note_fullness();
            !self.stopping.is_raised()
        };
        let goes_on = bytes == 0 || self.config.inflows[self.config.index].wait(bytes, pause).await;
        if goes_on { Ok(()) } else { Err(StoreError::Closed) }
    }
}

/// Lines that take turns. A line is there until its last turn has ended.
struct Lines<T> {
    by_key: FxHashMap<PartitionKey, VecDeque<(T, usize)>>,
    /// The lines that wait for their turn.
    turns: VecDeque<PartitionKey>,
    waiting_bytes: usize,
    bytes_max: usize,
}

impl<T> Lines<T> {
    fn new(bytes_max: usize) -> Self {
        Self { by_key: FxHashMap::default(), turns: VecDeque::new(), waiting_bytes: 0, bytes_max }
    }

    fn has(&self, key: PartitionKey) -> bool {
        !self.by_key.is_empty() && self.by_key.contains_key(&key)
    }

    /// Puts something at the end of a line, or gives it back where too much waits.
    fn join(&mut self, key: PartitionKey, bytes: usize, item: T) -> Result<(), T> {
        if self.waiting_bytes > 0 && self.waiting_bytes.saturating_add(bytes) > self.bytes_max {
            return Err(item);
        }
        self.waiting_bytes += bytes;
        let turns = &mut self.turns;
        let line = self.by_key.entry(key).or_insert_with(|| {
            turns.push_back(key);
            VecDeque::new()
        });
        line.push_back((item, bytes));
        Ok(())
    }

    /// The first of the line whose turn it is.
    fn next(&mut self) -> Option<(PartitionKey, T)> {
        let key = self.turns.pop_front()?;
        let line = self.by_key.get_mut(&key).expect("a line that waits for its turn is there");
        let (item, bytes) = line.pop_front().expect("a line that waits for its turn has somebody in it");
        self.waiting_bytes -= bytes;
        Some((key, item))
    }

    /// What was taken from a line is done with: the line goes, or waits for its next turn.
    fn end_turn(&mut self, key: PartitionKey) {
        let line = self.by_key.get(&key).expect("a line is there until its last turn has ended");
        if line.is_empty() {
            self.by_key.remove(&key);
        } else {
            self.turns.push_back(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::types::{PartitionIndex, TopicId};

    use super::*;

    fn key(index: i32) -> PartitionKey {
        PartitionKey { topic_id: TopicId([1; 16]), partition: PartitionIndex(index) }
    }

    /// What joins which line, in this order, and the order of the turns that come of it.
    fn check(joining: &[(i32, &'static str)], expected: &[&str]) {
        let mut lines = Lines::new(1000);
        for (line, name) in joining {
            lines.join(key(*line), 10, *name).expect("there is room");
        }
        let mut taken = Vec::new();
        while let Some((key, name)) = lines.next() {
            assert!(lines.has(key), "it stays as long as it is worked for");
            taken.push(name);
            lines.end_turn(key);
        }
        assert_eq!(taken, expected);
        assert!(joining.iter().all(|(line, _)| !lines.has(key(*line))));
        assert_eq!(lines.waiting_bytes, 0);
    }

    #[test]
    fn a_line_keeps_its_order_and_lines_take_turns() {
        check(&[], &[]);
        check(&[(0, "a"), (0, "b"), (0, "c")], &["a", "b", "c"]);
        check(&[(0, "a"), (0, "b"), (1, "x"), (0, "c"), (1, "y")], &["a", "x", "b", "y", "c"]);
    }

    #[test]
    fn who_comes_while_the_last_of_a_line_is_worked_on_stands_behind_it() {
        let mut lines = Lines::new(1000);
        lines.join(key(0), 10, "a").expect("there is room");
        assert_eq!(lines.next(), Some((key(0), "a")));
        lines.join(key(0), 10, "b").expect("there is room");
        assert_eq!(lines.next(), None, "it is a's turn still");
        lines.end_turn(key(0));
        assert_eq!(lines.next(), Some((key(0), "b")));
    }

    #[test]
    fn what_waits_is_bounded_and_one_batch_always_has_room() {
        let mut lines = Lines::new(100);
        lines.join(key(0), 500, "large").expect("nothing waits");
        assert_eq!(lines.join(key(1), 1, "too much"), Err("too much"));
        assert!(!lines.has(key(1)));
        assert_eq!(lines.next(), Some((key(0), "large")));
        lines.join(key(1), 60, "some").expect("what is worked on does not wait");
        lines.join(key(0), 40, "the rest").expect("there is room");
        assert_eq!(lines.join(key(2), 1, "too much"), Err("too much"));
    }
}
