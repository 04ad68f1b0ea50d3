//! Entries end to end in chunks, listed by when they were last seen, found by producer id.
//!
//! Invariants: places 0 to `len` are all in use (a removal moves the last entry into the hole); the list goes through
//! every entry once, with `seen_at` never falling from the oldest to the newest.
//!
//! Chunks are shared with snapshots in the making: what is changed meanwhile is copied first, a chunk at a time.

use super::entry::{Entry, NO_ENTRY};
use crate::limits::{PRODUCER_CHUNK_ENTRIES, PRODUCERS_PER_PARTITION_MAX};
use protocol::types::{ProducerId, Timestamp};
use rustc_hash::FxHashMap;
use std::rc::Rc;

/// The entries of one partition.
#[derive(Debug)]
pub(super) struct Arena {
    /// All full but the last. The first grows step by step, because most partitions have few producers; the others
    /// have their whole size at once, so that entries are never copied to grow.
    chunks: Vec<Rc<Vec<Entry>>>,
    places: FxHashMap<i64, u32>,
    oldest: u32,
    newest: u32,
}

/// The entries as they were at one moment, whatever becomes of the arena.
pub(super) struct Frozen {
    chunks: Vec<Rc<Vec<Entry>>>,
    newest: u32,
    count: usize,
}

impl Frozen {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The entry that was seen last.
    pub(super) fn newest(&self) -> u32 {
        self.newest
    }

    pub(super) fn get(&self, place: u32) -> &Entry {
        let place = place as usize;
        &self.chunks[place / PRODUCER_CHUNK_ENTRIES][place % PRODUCER_CHUNK_ENTRIES]
    }

    /// Some of the entries that lie together, in no order; none past the last.
    pub(super) fn chunk(&self, index: usize) -> Option<&[Entry]> {
        self.chunks.get(index).map(|chunk| chunk.as_slice())
    }
}

impl Default for Arena {
    fn default() -> Self {
        Self { chunks: Vec::new(), places: FxHashMap::default(), oldest: NO_ENTRY, newest: NO_ENTRY }
    }
}

impl Arena {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The place of a producer's entry.
    pub(super) fn find(&self, id: ProducerId) -> Option<u32> {
        self.places.get(&id.get()).copied()
    }

    pub(super) fn get(&self, place: u32) -> &Entry {
        let place = place as usize;
        &self.chunks[place / PRODUCER_CHUNK_ENTRIES][place % PRODUCER_CHUNK_ENTRIES]
    }

    pub(super) fn get_mut(&mut self, place: u32) -> &mut Entry {
        let place = place as usize;
        &mut Rc::make_mut(&mut self.chunks[place / PRODUCER_CHUNK_ENTRIES])[place % PRODUCER_CHUNK_ENTRIES]
    }

    /// The entries as they are now.
    pub(super) fn freeze(&self) -> Frozen {
        Frozen { chunks: self.chunks.clone(), newest: self.newest, count: self.len() }
    }

    /// The entry that was not seen for longest.
    pub(super) fn oldest(&self) -> Option<&Entry> {
        (self.oldest != NO_ENTRY).then(|| self.get(self.oldest))
    }

    /// The entry that was seen last.
    pub(super) fn newest(&self) -> Option<&Entry> {
        (self.newest != NO_ENTRY).then(|| self.get(self.newest))
    }

    /// All entries, the one that was not seen for longest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        let mut next = self.oldest;
        std::iter::from_fn(move || {
            if next == NO_ENTRY {
                return None;
            }
            let entry = self.get(next);
            next = entry.newer;
            Some(entry)
        })
    }

    /// Adds an entry, as the newest one.
    pub(super) fn insert(&mut self, entry: Entry) -> u32 {
        assert!(self.len() < PRODUCERS_PER_PARTITION_MAX);
        let place = u32::try_from(self.len()).expect("bounded by PRODUCERS_PER_PARTITION_MAX");
        let previous = self.places.insert(entry.producer_id.get(), place);
        assert!(previous.is_none());
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < PRODUCER_CHUNK_ENTRIES => {
                let chunk = Rc::make_mut(chunk);
                if chunk.len() == chunk.capacity() {
                    chunk.reserve_exact(chunk.len().clamp(1, PRODUCER_CHUNK_ENTRIES - chunk.len()));
                }
                chunk.push(entry);
            }
            Some(_) => {
                let mut chunk = Vec::with_capacity(PRODUCER_CHUNK_ENTRIES);
                chunk.push(entry);
                self.chunks.push(Rc::new(chunk));
            }
            None => self.chunks.push(Rc::new(vec![entry])),
        }
        self.link_newest(place, entry.seen_at);
        place
    }

    /// Marks an entry as seen now.
    pub(super) fn touch(&mut self, place: u32, now: Timestamp) {
        if place != self.newest {
            self.unlink(place);
            self.link_newest(place, now);
        } else {
            let entry = self.get_mut(place);
            entry.seen_at = entry.seen_at.max(now);
        }
    }

    /// Removes an entry; the entry at the last place moves into its own.
    pub(super) fn remove(&mut self, place: u32) {
        self.unlink(place);
        let removed = self.places.remove(&self.get(place).producer_id.get());
        assert_eq!(removed, Some(place));
        let last_place = u32::try_from(self.len()).expect("bounded by PRODUCERS_PER_PARTITION_MAX");
        let last_chunk = Rc::make_mut(self.chunks.last_mut().expect("there is an entry"));
        let moved = last_chunk.pop().expect("no chunk is empty");
        if last_chunk.is_empty() {
            self.chunks.pop();
        }
        if place != last_place {
            *self.get_mut(place) = moved;
            self.places.insert(moved.producer_id.get(), place);
            self.relink(&moved, place);
        }
        self.remove_slack();
    }

    /// Bytes on the heap, the allocator's own not counted.
    pub(super) fn memory_bytes(&self) -> usize {
        // All chunks but the first have their whole size from the beginning.
        let first = self.chunks.first().map_or(0, |chunk| chunk.capacity());
        let others = self.chunks.len().saturating_sub(1) * PRODUCER_CHUNK_ENTRIES;
        let entries = (first + others) * size_of::<Entry>();
        // A hash table of std has a place and a control byte for 8/7 of its capacity, rounded up to a power of two.
        let index_places = match self.places.capacity() {
            0 => 0,
            capacity => (capacity * 8 / 7).next_power_of_two(),
        };
        entries
            + self.chunks.len() * (size_of::<Vec<Entry>>() + 2 * size_of::<usize>())
            + self.chunks.capacity() * size_of::<Rc<Vec<Entry>>>()
            + index_places * (size_of::<(i64, u32)>() + 1)
    }

    /// Gives the index's memory back when most of it is unused, a few times on the way down at most.
    fn remove_slack(&mut self) {
        let len = self.len();
        if self.places.capacity() > 64 && len < self.places.capacity() / 8 {
            self.places.shrink_to(len * 2);
            self.chunks.shrink_to_fit();
        }
    }

    fn link_newest(&mut self, place: u32, seen_at: Timestamp) {
        let before = self.newest;
        let not_before = if before == NO_ENTRY { seen_at } else { self.get(before).seen_at };
        let entry = self.get_mut(place);
        entry.seen_at = seen_at.max(not_before);
        entry.older = before;
        entry.newer = NO_ENTRY;
        self.newest = place;
        if before == NO_ENTRY {
            self.oldest = place;
        } else {
            self.get_mut(before).newer = place;
        }
    }

    fn unlink(&mut self, place: u32) {
        let (older, newer) = (self.get(place).older, self.get(place).newer);
        match older {
            NO_ENTRY => self.oldest = newer,
            older => self.get_mut(older).newer = newer,
        }
        match newer {
            NO_ENTRY => self.newest = older,
            newer => self.get_mut(newer).older = older,
        }
    }

    /// The entry's neighbours learn where it is now.
    fn relink(&mut self, entry: &Entry, place: u32) {
        match entry.older {
            NO_ENTRY => self.oldest = place,
            older => self.get_mut(older).newer = place,
        }
        match entry.newer {
            NO_ENTRY => self.newest = place,
            newer => self.get_mut(newer).older = place,
        }
    }

    #[cfg(test)]
    pub(super) fn assert_invariants(&self) {
        let mut place = self.oldest;
        let mut older = NO_ENTRY;
        let mut count = 0;
        while place != NO_ENTRY {
            let entry = self.get(place);
            assert_eq!(entry.older, older);
            assert_eq!(self.find(entry.producer_id), Some(place));
            if older != NO_ENTRY {
                assert!(self.get(older).seen_at <= entry.seen_at);
            }
            count += 1;
            older = place;
            place = entry.newer;
        }
        assert_eq!(self.newest, older);
        assert_eq!(count, self.len());
        assert_eq!(self.chunks.iter().map(|chunk| chunk.len()).sum::<usize>(), self.len());
        assert!(self.chunks.iter().all(|chunk| !chunk.is_empty()));
    }
}
