//! Aligned buffers for direct I/O: filled by one owner, then frozen and shared with the device and with sockets.
//!
//! An [`IoBuffer`] is owned by one, writable, aligned. [`IoBuffer::freeze`] makes it a [`SharedBuffer`]: immutable,
//! reference-counted, `Send + Sync`, so that one core writes it to its device while another sends slices of it to
//! its clients. The memory goes back to the pool of the thread that drops the last reference (or to the allocator,
//! where that pool is full), so dropping is free of locks on any core.
//!
//! Lengths are rounded up to a size class, and what a buffer writes is its whole class: the bytes behind the filled
//! ones are padding. No byte of an earlier life is ever visible in a frozen buffer: freezing overwrites the rest.
//!
//! This module must not know what the bytes are.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut, RangeBounds};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use glommio::io::DmaBuffer;

use crate::limits::{
    BUFFER_ALIGN_BYTES, BUFFER_BYTES_MAX, BUFFER_CLASS_EXACT_BYTES_MAX, BUFFER_CLASSES_PER_DOUBLING,
};

mod pool;
#[cfg(test)]
mod tests;

pub use pool::{BufferPool, PoolStats};

/// The length of the smallest buffer that holds `bytes`: 4 KiB steps up to 64 KiB, then eighths of a power of two.
///
/// 5,000 bytes take 8,192; 65,537 take 73,728 (64 KiB and an eighth of it); 150,000 take 163,840.
///
/// # Panics
/// If `bytes` is zero or more than [`BUFFER_BYTES_MAX`].
#[must_use]
pub fn size_class_bytes(bytes: usize) -> usize {
    assert!(bytes > 0, "an empty buffer");
    assert!(bytes <= BUFFER_BYTES_MAX, "a buffer of {bytes} bytes");
    let step = if bytes <= BUFFER_CLASS_EXACT_BYTES_MAX {
        BUFFER_ALIGN_BYTES
    } else {
        let power_below = 1_usize << (bytes - 1).ilog2();
        power_below / BUFFER_CLASSES_PER_DOUBLING
    };
    bytes.next_multiple_of(step)
}

/// The longest size class that is not longer than `bytes`: how to cut a long write into buffers without padding.
///
/// # Panics
/// If not even the smallest class fits.
#[must_use]
pub fn size_class_below(bytes: usize) -> usize {
    assert!(bytes >= BUFFER_ALIGN_BYTES, "no class fits in {bytes} bytes");
    let bytes = bytes.min(BUFFER_BYTES_MAX);
    let step = if bytes < BUFFER_CLASS_EXACT_BYTES_MAX {
        BUFFER_ALIGN_BYTES
    } else {
        (1_usize << bytes.ilog2()) / BUFFER_CLASSES_PER_DOUBLING
    };
    bytes - bytes % step
}

/// An aligned buffer with one owner. Dereferences to its whole length, which is a size class; what an earlier user
/// of the memory left in it may still be there.
pub struct IoBuffer {
    /// Taken only by `freeze` and `drop`.
    memory: ManuallyDrop<DmaBuffer>,
}

impl IoBuffer {
    /// A buffer of the size class of `bytes`, from this thread's pool where it has one.
    ///
    /// # Panics
    /// As [`size_class_bytes`].
    #[must_use]
    pub fn allocate(bytes: usize) -> Self {
        let length = size_class_bytes(bytes);
        let memory = pool::take(length).unwrap_or_else(|| allocate_zeroed(length));
        assert_eq!(memory.len(), length);
        assert_eq!(memory.as_ptr().addr() % BUFFER_ALIGN_BYTES, 0);
        Self { memory: ManuallyDrop::new(memory) }
    }

    /// Ends writing: the first `filled` bytes are the content, the rest becomes zeros.
    ///
    /// # Panics
    /// If the buffer is shorter than `filled`.
    #[must_use]
    pub fn freeze(self, filled: usize) -> SharedBuffer {
        self.freeze_padded(filled, 0)
    }

    /// As [`IoBuffer::freeze`], with a padding of the caller's choice.
    ///
    /// # Panics
    /// If the buffer is shorter than `filled`.
    #[must_use]
    pub fn freeze_padded(mut self, filled: usize, padding: u8) -> SharedBuffer {
        assert!(filled <= self.len(), "{filled} bytes filled of {}", self.len());
        self[filled..].fill(padding);
        let mut unarmed = ManuallyDrop::new(self);
        // SAFETY: `unarmed` is never used again and its `Drop` never runs, so the memory has one owner: the new one.
        let memory = unsafe { ManuallyDrop::take(&mut unarmed.memory) };
        SharedBuffer::new(memory, filled)
    }
}

impl Drop for IoBuffer {
    fn drop(&mut self) {
        // SAFETY: this is `drop`: nobody uses the field afterwards.
        let memory = unsafe { ManuallyDrop::take(&mut self.memory) };
        pool::give(memory);
    }
}

impl Deref for IoBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.as_bytes()
    }
}

impl DerefMut for IoBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.as_bytes_mut()
    }
}

/// Fresh memory, zeroed once: what a pool hands out later is initialised, if stale.
fn allocate_zeroed(length: usize) -> DmaBuffer {
    let mut memory = glommio::allocate_dma_buffer_global(length);
    let pointer = memory.as_mut_ptr();
    // SAFETY: the allocation is `length` bytes long and ours alone; writing through the raw pointer makes no
    // reference to bytes that are not initialised yet.
    unsafe { pointer.write_bytes(0, length) };
    memory
}

/// A filled buffer: immutable, shared, safe to send to and to drop on any thread.
#[derive(Clone)]
pub struct SharedBuffer {
    shared: Arc<Shared>,
    /// The filled bytes as an owner of `shared`: made once, so that a slice costs one reference count.
    bytes: Bytes,
}

impl SharedBuffer {
    fn new(memory: DmaBuffer, filled: usize) -> Self {
        let shared = Arc::new(Shared {
            memory: ManuallyDrop::new(Rc::new(memory)),
            filled,
            writing: AtomicBool::new(false),
        });
        let bytes = Bytes::from_owner(Owner(Arc::clone(&shared)));
        assert_eq!(bytes.len(), filled);
        Self { shared, bytes }
    }

    /// The filled bytes.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// A part of the filled bytes, without copying.
    ///
    /// # Panics
    /// If the range reaches past the filled bytes.
    #[must_use]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Bytes {
        self.bytes.slice(range)
    }

    /// How many bytes are filled.
    #[must_use]
    pub fn filled_bytes(&self) -> usize {
        self.shared.filled
    }

    /// How many bytes are written: the filled ones and the padding up to the size class.
    #[must_use]
    pub fn padded_bytes(&self) -> usize {
        self.shared.memory.len()
    }

    /// The filled bytes and the padding: what a write puts on the device.
    #[must_use]
    pub fn padded(&self) -> &[u8] {
        self.shared.memory.as_bytes()
    }

    /// Claims the right to write the buffer, which one task at a time has: see [`WriteClaim`].
    ///
    /// # Panics
    /// If another write of this buffer is under way.
    pub(super) fn claim_write(&self) -> WriteClaim {
        let busy = self.shared.writing.swap(true, Ordering::Acquire);
        assert!(!busy, "two writes of one buffer at once");
        WriteClaim {
            shared: ManuallyDrop::new(Arc::clone(&self.shared)),
            finished: false,
            not_send: PhantomData,
        }
    }
}

struct Shared {
    /// Taken only by `drop`. Its count is above one only while a [`WriteClaim`] is held.
    memory: ManuallyDrop<Rc<DmaBuffer>>,
    filled: usize,
    /// Set while a [`WriteClaim`] exists: it alone may clone or drop a clone of `memory`.
    writing: AtomicBool,
}

// SAFETY: two things in `Shared` are not `Send + Sync` by themselves.
// - `DmaBuffer`, for its storage may belong to a ring. Ours comes from `allocate_dma_buffer_global`: a pointer and a
//   layout of the global allocator, which any thread may read and free.
// - The count of the `Rc`, which is not atomic. It is touched in two places only: by the holder of the `WriteClaim`,
//   of whom there is one at a time (`writing`, taken with Acquire, given back with Release, so that one holder's
//   changes happen before the next one's), and by `drop` of the last `Arc`, which the holder outlives never: a
//   claim owns an `Arc` until all clones it made are gone (checked), and leaks it otherwise.
// The bytes themselves are never written after `freeze`.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Drop for Shared {
    fn drop(&mut self) {
        assert!(!*self.writing.get_mut(), "dropped while it is written");
        // SAFETY: this is `drop`: nobody uses the field afterwards.
        let memory = unsafe { ManuallyDrop::take(&mut self.memory) };
        let memory = Rc::try_unwrap(memory).expect("no write holds the buffer when its last owner goes");
        pool::give(memory);
    }
}

/// What `Bytes` own.
struct Owner(Arc<Shared>);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0.memory.as_bytes()[..self.0.filled]
    }
}

/// The right to hand the memory to the ring. Stays on the thread that claimed it.
///
/// A write that is cancelled (its future dropped before the device is done) leaves the ring with a reference to the
/// memory. Then the claim is never given back and the buffer is leaked: the device may still read it.
pub(super) struct WriteClaim {
    /// Dropped by `drop` where the write has finished, leaked otherwise.
    shared: ManuallyDrop<Arc<Shared>>,
    finished: bool,
    /// Keeps the claim on the thread of its ring.
    not_send: PhantomData<Rc<()>>,
}

impl WriteClaim {
    /// A reference for the ring, to be dropped by it on this thread.
    pub(super) fn memory(&self) -> Rc<DmaBuffer> {
        assert!(!self.finished);
        Rc::clone(&self.shared.memory)
    }

    /// The ring is done with every reference it got.
    ///
    /// # Panics
    /// If it is not.
    pub(super) fn finish(mut self) {
        assert_eq!(Rc::strong_count(&self.shared.memory), 1, "the ring still holds the buffer");
        self.finished = true;
    }
}

impl Drop for WriteClaim {
    fn drop(&mut self) {
        if self.finished || Rc::strong_count(&self.shared.memory) == 1 {
            self.shared.writing.store(false, Ordering::Release);
            // SAFETY: this is `drop`: nobody uses the field afterwards.
            unsafe { ManuallyDrop::drop(&mut self.shared) };
        }
    }
}
