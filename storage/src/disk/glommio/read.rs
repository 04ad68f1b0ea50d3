//! Reads without a copy, whose bytes may be dropped on any thread.
//!
//! What glommio hands back after a read ([`ReadResult`]) is counted by an `Rc` of its executor and may lie in memory
//! registered with the ring: it must be dropped on the thread it came from. The bytes, though, go to sockets of any
//! core. So a [`HomingRead`] owns the result, remembers its home, and, when dropped elsewhere, sends it there through
//! a queue without locks; the home thread empties its queue at each read.

use std::cell::RefCell;
use std::io;
use std::mem::ManuallyDrop;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::ThreadId;

use bytes::Bytes;
use glommio::io::{BufferedFile, DmaFile, ReadResult};

use super::{as_u64, translate};

/// Reads up to `length` bytes; fewer only at the end of the file.
pub(super) async fn read_direct(file: &DmaFile, position: u64, length: usize) -> io::Result<Bytes> {
    empty_home();
    let mut parts = Parts::new(length);
    while parts.missing() > 0 {
        let start = position + as_u64(parts.length);
        let aligned = file.align_down(start);
        let skipped = usize::try_from(start - aligned).expect("less than a block");
        let wanted = usize::try_from(file.align_up(as_u64(skipped + parts.missing())))
            .map_err(|_| io::ErrorKind::InvalidInput)?;
        let result = file.read_at_aligned(aligned, wanted).await.map_err(translate)?;
        let got = result.len();
        let useful = got.saturating_sub(skipped).min(parts.missing());
        if useful == 0 {
            break;
        }
        parts.push(HomingRead::new(result).into_bytes().slice(skipped..skipped + useful));
        // A read that ends within a block has met the end of the file; one that ends at a block may have been cut.
        if !as_u64(got).is_multiple_of(file.alignment()) {
            break;
        }
    }
    Ok(parts.join())
}

/// As [`read_direct`], by a copy out of the page cache.
pub(super) async fn read_buffered(file: &BufferedFile, position: u64, length: usize) -> io::Result<Bytes> {
    empty_home();
    let mut parts = Parts::new(length);
    while parts.missing() > 0 {
        let start = position + as_u64(parts.length);
        let result = file.read_at(start, parts.missing()).await.map_err(translate)?;
        if result.is_empty() {
            break;
        }
        parts.push(HomingRead::new(result).into_bytes());
    }
    Ok(parts.join())
}

/// What one or, rarely, several reads have brought.
struct Parts {
    parts: Vec<Bytes>,
    length: usize,
    wanted: usize,
}

impl Parts {
    fn new(wanted: usize) -> Self {
        Self { parts: Vec::new(), length: 0, wanted }
    }

    fn missing(&self) -> usize {
        self.wanted - self.length
    }

    fn push(&mut self, part: Bytes) {
        self.length += part.len();
        assert!(self.length <= self.wanted);
        self.parts.push(part);
    }

    fn join(mut self) -> Bytes {
        match self.parts.len() {
            0 => Bytes::new(),
            1 => self.parts.remove(0),
            _ => Bytes::from(self.parts.concat()),
        }
    }
}

/// A result on its way to or in its home thread's queue.
struct Homeless(#[expect(dead_code, reason = "owned until it is home, where it is dropped")] ReadResult);

// SAFETY: a `Homeless` is only moved while it is away from home; nothing in it is read, cloned or dropped there
// (`HomingRead::drop` sends it, and forgets it where it cannot be sent). Moving an `Rc` does not touch its count.
unsafe impl Send for Homeless {}

thread_local! {
    static HOME: RefCell<Home> = RefCell::new(Home::new());
}

/// A thread's own end of its queue.
struct Home {
    sender: Sender<Homeless>,
    receiver: Receiver<Homeless>,
}

impl Home {
    fn new() -> Self {
        let (sender, receiver) = channel();
        Self { sender, receiver }
    }
}

/// Drops what other threads have sent back.
fn empty_home() {
    HOME.with_borrow(|home| home.receiver.try_iter().for_each(drop));
}

/// How many reads wait to be dropped; drops them.
#[cfg(test)]
pub(super) fn waiting_count() -> usize {
    HOME.with_borrow(|home| home.receiver.try_iter().count())
}

/// A read's memory: looked at from anywhere, dropped at home.
struct HomingRead {
    /// Taken only by `drop`.
    result: ManuallyDrop<Homeless>,
    pointer: *const u8,
    length: usize,
    home: ThreadId,
    way_home: Sender<Homeless>,
}

// SAFETY: away from home nothing but `pointer` and `length` is used until `drop`, which only moves the result (see
// `Homeless`). They denote memory that the result keeps alive and that nobody writes any more: the read is complete.
unsafe impl Send for HomingRead {}

impl HomingRead {
    fn new(result: ReadResult) -> Self {
        let (pointer, length) = (result.as_ptr(), result.len());
        Self {
            result: ManuallyDrop::new(Homeless(result)),
            pointer,
            length,
            home: std::thread::current().id(),
            way_home: HOME.with_borrow(|home| home.sender.clone()),
        }
    }

    fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for HomingRead {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the result, which is alive until `drop`, owns `length` initialised bytes at `pointer`.
        unsafe { std::slice::from_raw_parts(self.pointer, self.length) }
    }
}

impl Drop for HomingRead {
    fn drop(&mut self) {
        // SAFETY: this is `drop`: nobody uses the field afterwards.
        let result = unsafe { ManuallyDrop::take(&mut self.result) };
        if std::thread::current().id() == self.home {
            drop(result);
        } else if let Err(returned) = self.way_home.send(result) {
            // The home thread is gone and its executor with it: nobody may drop this.
            std::mem::forget(returned);
        }
    }
}
