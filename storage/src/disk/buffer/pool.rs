//! Recycles buffers' memory, by size class, one pool for each thread.
//!
//! Memory may come from one thread and go back on another: it joins the pool of the thread that drops it. A pool that
//! is full lets go of what nobody has asked for longest: when the load changes, so do the sizes that are wanted, and
//! fresh memory costs a page fault and a clearing for each page. All memory in a pool is initialised.

use std::cell::RefCell;

use glommio::io::DmaBuffer;
use rustc_hash::FxHashMap;

use super::size_class_bytes;
use crate::limits::BUFFER_POOL_BYTES_DEFAULT;

thread_local! {
    static POOL: RefCell<Pool> = RefCell::new(Pool::new(BUFFER_POOL_BYTES_DEFAULT));
}

/// The calling thread's pool of buffers.
pub struct BufferPool;

/// What a thread's pool holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes waiting for reuse.
    pub held_bytes: usize,
    /// The most it may hold.
    pub held_bytes_max: usize,
    /// Buffers served from the pool.
    pub hits: u64,
    /// Buffers that had to be allocated.
    pub misses: u64,
}

impl BufferPool {
    /// Sets how much this thread keeps for reuse, and frees what is above.
    pub fn set_bytes_max(held_bytes_max: usize) {
        POOL.with_borrow_mut(|pool| {
            pool.held_bytes_max = held_bytes_max;
            if pool.held_bytes > held_bytes_max {
                pool.classes.clear();
                pool.held_bytes = 0;
            }
        });
    }

    /// What this thread's pool holds.
    #[must_use]
    pub fn stats() -> PoolStats {
        POOL.with_borrow(|pool| PoolStats {
            held_bytes: pool.held_bytes,
            held_bytes_max: pool.held_bytes_max,
            hits: pool.hits,
            misses: pool.misses,
        })
    }
}

/// Buffers of one size class.
#[derive(Default)]
struct Class {
    free: Vec<DmaBuffer>,
    /// When a buffer of this class was last asked for, in requests to the pool.
    asked_at: u64,
}

struct Pool {
    classes: FxHashMap<usize, Class>,
    held_bytes: usize,
    held_bytes_max: usize,
    hits: u64,
    misses: u64,
}

impl Pool {
    fn new(held_bytes_max: usize) -> Self {
        Self { classes: FxHashMap::default(), held_bytes: 0, held_bytes_max, hits: 0, misses: 0 }
    }

    fn take(&mut self, length: usize) -> Option<DmaBuffer> {
        let class = self.classes.entry(length).or_default();
        class.asked_at = self.hits + self.misses + 1;
        let found = class.free.pop();
        match &found {
            Some(memory) => {
                assert!(self.held_bytes >= memory.len());
                self.held_bytes -= memory.len();
                self.hits += 1;
            }
            None => self.misses += 1,
        }
        found
    }

    fn give(&mut self, memory: DmaBuffer) {
        if memory.len() > self.held_bytes_max {
            return;
        }
        while self.held_bytes_max - self.held_bytes < memory.len() {
            self.free_one_of_the_stalest();
        }
        self.held_bytes += memory.len();
        self.classes.entry(memory.len()).or_default().free.push(memory);
    }

    /// Frees a buffer of the class that was asked for longest ago.
    fn free_one_of_the_stalest(&mut self) {
        let held = self.classes.iter_mut().filter(|(_, class)| !class.free.is_empty());
        let (length, class) =
            held.min_by_key(|(_, class)| class.asked_at).expect("a full pool holds something");
        drop(class.free.pop());
        self.held_bytes -= *length;
    }
}

/// Memory of exactly this size class, if the thread has some.
pub(super) fn take(length: usize) -> Option<DmaBuffer> {
    assert_eq!(length, size_class_bytes(length));
    POOL.try_with(|pool| pool.borrow_mut().take(length)).ok().flatten()
}

/// Takes memory back. A thread that is going away has no pool any more: then it is freed.
pub(super) fn give(memory: DmaBuffer) {
    assert_eq!(memory.len(), size_class_bytes(memory.len()));
    // The closure owns the memory: where it cannot run, dropping it frees the memory.
    let _ = POOL.try_with(move |pool| pool.borrow_mut().give(memory));
}
