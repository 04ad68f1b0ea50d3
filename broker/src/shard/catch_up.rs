//! Reads of what has left memory, for consumers that catch up.
//!
//! They run in a queue of their own, share a few turns, and pause beside producers, so that they can't hold those up. Whoever
//! reads a piece of a log to its end is read ahead for: the next piece is on its way while this one goes out. Pieces are
//! kept, least recently used first to go, so that several consumers at about the same place cost one read. Nothing of
//! this touches the tail's memory. Offsets never change what they hold, so a kept piece is never wrong; what may be read
//! of it is for the replica to say, each time. It may have records that compaction has taken away since, and who gets those may
//! find what has deleted them gone as well: so a round of compaction lets all pieces of its partition go.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use protocol::types::{Offset, PartitionKey};
use storage::store::{PartitionSlot, ReadBatches, ReadError};

use super::{Shard, Store};
use crate::limits::{FORGETTINGS_KNOWN_MAX, READ_AHEAD_CHUNK_BYTES, READ_AHEAD_PIECES_MAX};
use crate::metrics::{self, Count};
use crate::runtime::{Queue, Signal, run_in, sleep, spawn_into};
use pace::{Pace, Turn};

mod pace;

/// A place in a shard's logs.
#[derive(Clone, Copy)]
pub struct Place {
    /// The partition.
    pub key: PartitionKey,
    /// Its place in the store.
    pub slot: PartitionSlot,
    /// Where to read from.
    pub from: Offset,
    /// Where to stop at the latest.
    pub limit: Offset,
    /// Until when the read makes way for producers.
    pub patient_until: Instant,
}

/// What consumers that catch up share.
pub struct CatchUp {
    pieces: RefCell<Pieces>,
    pace: Pace,
    /// What producers have sent, in bytes.
    produced_bytes: Cell<u64>,
    /// Who waits for a turn, in order: a number of its own, and until when it has patience.
    line: RefCell<VecDeque<(u64, Instant)>>,
    numbers: Cell<u64>,
    /// A read has ended, somebody has left the line, or somebody with less patience has come.
    turn: Signal,
    /// A piece that was on its way has come, or has not.
    arrived: Signal,
}

impl CatchUp {
    /// Nothing is kept; at most `bytes_max` will be.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            pieces: RefCell::new(Pieces::new(bytes_max)),
            pace: Pace::new(Instant::now()),
            produced_bytes: Cell::new(0),
            line: RefCell::default(),
            numbers: Cell::new(0),
            turn: Signal::default(),
            arrived: Signal::default(),
        }
    }

    /// Keeps nothing of a partition any more, nor of what is being read of it.
    pub fn forget(&self, key: PartitionKey) {
        self.pieces.borrow_mut().forget(key);
    }

    /// Producers have sent so many bytes more.
    pub fn note_produced(&self, bytes: usize) {
        self.produced_bytes.update(|before| before + bytes as u64);
    }

    /// Waits for a turn to read. Once anybody in the line has no patience left, nobody before it makes way for producers.
    async fn turn(&self, patient_until: Instant) -> Reading<'_> {
        let in_line = self.line_up(patient_until);
        loop {
            let changed = self.turn.next();
            if !in_line.is_first() {
                changed.wait().await;
                continue;
            }
            let began = Instant::now();
            let waiting = self.line.borrow().len();
            let patience = self.patience().filter(|until| began < *until);
            match self.pace.begin(began, self.produced_bytes.get(), waiting, patience.is_some()) {
                Turn::Begins => return Reading { catch_up: self, began, bytes: 0 },
                Turn::Pauses(time) => sleep(time).await,
                Turn::Waits => changed.wait_until(patience).await,
            }
        }
    }

    /// Until when everybody in the line has patience.
    fn patience(&self) -> Option<Instant> {
        self.line.borrow().iter().map(|(_, patient_until)| *patient_until).min()
    }

    fn line_up(&self, patient_until: Instant) -> InLine<'_> {
        let number = self.numbers.get();
        self.numbers.set(number + 1);
        if self.patience().is_some_and(|others| patient_until < others) {
            self.turn.raise();
        }
        self.line.borrow_mut().push_back((number, patient_until));
        InLine { catch_up: self, number }
    }
}

/// A place among those who wait for a turn, until it is dropped.
struct InLine<'a> {
    catch_up: &'a CatchUp,
    number: u64,
}

impl InLine<'_> {
    fn is_first(&self) -> bool {
        self.catch_up.line.borrow().front().is_some_and(|(number, _)| *number == self.number)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.catch_up.line.borrow_mut().retain(|(number, _)| *number != self.number);
        self.catch_up.turn.raise();
    }
}

/// A read under way; it has ended when this is dropped.
struct Reading<'a> {
    catch_up: &'a CatchUp,
    began: Instant,
    bytes: usize,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.catch_up.pace.end(self.began, Instant::now(), self.bytes);
        self.catch_up.turn.raise();
    }
}

impl Shard {
    /// Reads what is not in the tail's memory: from a piece that is kept, or from the disk.
    ///
    /// # Errors
    /// What the store says.
    pub async fn catch_up(self: &Rc<Self>, place: Place, bytes_max: usize) -> Result<ReadBatches, ReadError> {
        loop {
            let arrived = self.catch_up.arrived.next();
            let found = self.catch_up.pieces.borrow_mut().find(place, bytes_max);
            match found {
                Found::Kept { part, is_last } => {
                    metrics::add(Count::ReadAheadHits, 1);
                    if is_last {
                        self.read_ahead(Place { from: part.next, ..place });
                    }
                    return Ok(part);
                }
                Found::OnItsWay => arrived.wait().await,
                Found::Nothing => {
                    if let Some(read) = self.read_and_keep(place, bytes_max).await? {
                        return Ok(read);
                    }
                }
            }
        }
    }

    /// Reads from the disk; none where the partition was forgotten meanwhile, and it may have to be read again.
    async fn read_and_keep(
        self: &Rc<Self>,
        place: Place,
        bytes_max: usize,
    ) -> Result<Option<ReadBatches>, ReadError> {
        let wanted = bytes_max.min(READ_AHEAD_CHUNK_BYTES);
        let (life, read) = self.read_in_turn(place, wanted).await;
        let read = read?;
        if !self.catch_up.pieces.borrow_mut().keep_of(life, place.key, place.from, read.clone()) {
            return Ok(None);
        }
        if read.bytes >= wanted / 2 {
            self.read_ahead(Place { from: read.next, ..place });
        }
        Ok(Some(read))
    }

    /// Reads from the disk, when its turn has come; also tells the life of the pieces in which it began.
    async fn read_in_turn(&self, place: Place, bytes_max: usize) -> (u64, Result<ReadBatches, ReadError>) {
        let mut reading = self.catch_up.turn(place.patient_until).await;
        let life = self.catch_up.pieces.borrow().life;
        let store: Store = self.store.clone();
        let Place { slot, from, limit, .. } = place;
        let read =
            run_in(Queue::CatchUp, async move { store.read(slot, from, limit, bytes_max).await }).await;
        reading.bytes = read.as_ref().map_or(0, |read| read.bytes);
        (life, read)
    }

    /// Begins to read a piece that will be wanted next, unless it is there, on its way, or in memory anyhow.
    fn read_ahead(self: &Rc<Self>, place: Place) {
        let Place { key, slot, from, limit, .. } = place;
        let in_memory = from >= limit || self.store.read_cached(slot, from, limit, 1).is_some();
        if in_memory || !self.catch_up.pieces.borrow_mut().expect(key, from) {
            return;
        }
        let shard = Rc::clone(self);
        spawn_into(Queue::CatchUp, async move {
            let (life, read) = shard.read_in_turn(place, READ_AHEAD_CHUNK_BYTES).await;
            // What fails is asked for again by who needs it, and told then.
            shard.catch_up.pieces.borrow_mut().settle(life, key, from, read.ok());
            shard.catch_up.arrived.raise();
        });
    }
}

/// Pieces of logs, the most recently used at the back.
struct Pieces {
    kept: VecDeque<Piece>,
    bytes: usize,
    bytes_max: usize,
    /// Beginnings of pieces that are being read.
    expected: Vec<(PartitionKey, Offset)>,
    /// How many times a partition was forgotten.
    life: u64,
    /// Which partitions they were, the last ones only.
    forgotten: VecDeque<PartitionKey>,
}

struct Piece {
    key: PartitionKey,
    from: Offset,
    read: ReadBatches,
}

enum Found {
    /// The batches that are wanted, and whether they are the last of what is kept there.
    Kept {
        part: ReadBatches,
        is_last: bool,
    },
    /// They are being read.
    OnItsWay,
    Nothing,
}

impl Pieces {
    fn new(bytes_max: usize) -> Self {
        Self {
            kept: VecDeque::new(),
            bytes: 0,
            bytes_max,
            expected: Vec::new(),
            life: 0,
            forgotten: VecDeque::new(),
        }
    }

    fn find(&mut self, place: Place, bytes_max: usize) -> Found {
        let holds = |piece: &Piece| {
            piece.key == place.key && piece.from <= place.from && place.from < piece.read.next
        };
        if let Some(index) = self.kept.iter().position(holds) {
            let piece = self.kept.remove(index).expect("it was just found");
            let part = piece.read.part(place.from, place.limit, bytes_max);
            let is_last = part.next == piece.read.next;
            self.kept.push_back(piece);
            if part.bytes > 0 {
                return Found::Kept { part, is_last };
            }
        }
        if self.expected.contains(&(place.key, place.from)) { Found::OnItsWay } else { Found::Nothing }
    }

    /// Whether a piece is to be read: it is neither there nor on its way. It is on its way from here on.
    fn expect(&mut self, key: PartitionKey, from: Offset) -> bool {
        let is_kept =
            self.kept.iter().any(|piece| piece.key == key && piece.from <= from && from < piece.read.next);
        let is_new = !is_kept && !self.expected.contains(&(key, from));
        if is_new {
            self.expected.push((key, from));
        }
        is_new
    }

    /// What was expected has come, or has not; its reading began in `life`.
    fn settle(&mut self, life: u64, key: PartitionKey, from: Offset, read: Option<ReadBatches>) {
        self.expected.retain(|expected| *expected != (key, from));
        if let Some(read) = read {
            self.keep_of(life, key, from, read);
        }
    }

    fn forget(&mut self, key: PartitionKey) {
        self.life += 1;
        self.forgotten.push_front(key);
        self.forgotten.truncate(FORGETTINGS_KNOWN_MAX);
        self.kept.retain(|piece| piece.key != key);
        self.bytes = self.kept.iter().map(|piece| piece.read.bytes).sum();
    }

    /// Whether a partition was forgotten after `life`, or that is not known any more.
    fn is_forgotten_since(&self, life: u64, key: PartitionKey) -> bool {
        let since = usize::try_from(self.life - life).unwrap_or(usize::MAX);
        since > self.forgotten.len() || self.forgotten.iter().take(since).any(|forgotten| *forgotten == key)
    }

    /// Keeps a piece whose reading began in `life`; false where its partition was forgotten since.
    fn keep_of(&mut self, life: u64, key: PartitionKey, from: Offset, read: ReadBatches) -> bool {
        if self.is_forgotten_since(life, key) {
            return false;
        }
        self.keep(key, from, read);
        true
    }

    /// Keeps a piece, in the place of those that were not used for longest.
    fn keep(&mut self, key: PartitionKey, from: Offset, read: ReadBatches) {
        if read.bytes == 0 || read.bytes > self.bytes_max {
            return;
        }
        self.bytes += read.bytes;
        self.kept.push_back(Piece { key, from, read });
        while self.bytes > self.bytes_max || self.kept.len() > READ_AHEAD_PIECES_MAX {
            let oldest = self.kept.pop_front().expect("one piece alone is within the bounds");
            self.bytes -= oldest.read.bytes;
        }
    }
}

#[cfg(test)]
mod tests;
