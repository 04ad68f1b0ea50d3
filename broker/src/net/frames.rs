//! Cuts a stream of bytes into request frames: a 4-byte big-endian length, then that many bytes.
//!
//! An idle connection owns no buffer: bytes are received into the shard's scratch buffer and copied into one of
//! exactly their size. Of a frame larger than what came with its head, the rest is received in place. Memory is granted
//! by the shard's [`Budget`] before it is received into: for a small frame at once, for a large one as its bytes come, so
//! that a length prefix alone costs next to nothing.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use super::budget::{Budget, Grant};
use super::reply_budget::ReplyBudget;
use super::stream::ByteStream;
use crate::limits::{FRAME_GROWTH_BYTES_MAX, FRAME_LARGE_BYTES, FRAME_PEEK_BYTES, SCRATCH_BYTES};

const LENGTH_BYTES: usize = size_of::<i32>();

/// Where all connections of a shard receive into. Borrowed within one poll only.
pub struct Scratch(RefCell<Box<[u8]>>);

impl Scratch {
    /// The scratch buffer of a shard.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::new(Self(RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice())))
    }
}

/// Why no further frame comes.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer has ended the stream, between two frames or within one.
    #[error("the peer closed the connection")]
    Ended,
    /// The length prefix is negative or over `socket.request.max.bytes`.
    #[error("a frame of {0} bytes is out of bounds")]
    Length(i32),
    /// The transport failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The stream of one connection, shared by its reader and its writer; borrowed within one poll only.
pub type SharedStream = Rc<RefCell<Box<dyn ByteStream>>>;

/// Reads frames of one connection.
pub struct FrameReader {
    stream: SharedStream,
    scratch: Rc<Scratch>,
    budget: Rc<Budget>,
    frame_bytes_max: usize,
    received: BytesMut,
    /// The frame before this one was large: look at the next one's head before receiving it in place.
    expects_large: bool,
    /// Bytes received so far, ever.
    pub received_bytes: Rc<Cell<u64>>,
    /// What it is at, for the sweep that ends slow senders.
    pub intake: Rc<Cell<Intake>>,
}

/// What the reader of a connection is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intake {
    /// No frame has begun.
    #[default]
    Idle,
    /// It waits for memory: the client can do nothing about it.
    Waiting,
    /// It waits for the rest of a frame, which began after so many bytes of the connection.
    Receiving(u64),
}

impl FrameReader {
    /// A reader for `stream`, starting with bytes that were received before (a connection that moved).
    #[must_use]
    pub fn new(
        stream: SharedStream,
        scratch: Rc<Scratch>,
        budget: Rc<Budget>,
        frame_bytes_max: usize,
        received: BytesMut,
    ) -> Self {
        Self {
            stream,
            scratch,
            budget,
            frame_bytes_max,
            received,
            expects_large: false,
            received_bytes: Rc::default(),
            intake: Rc::default(),
        }
    }

    /// Where the replies to its frames take their memory from.
    #[must_use]
    pub fn replies_budget(&self) -> &Rc<ReplyBudget> {
        &self.budget.replies
    }

    /// The next frame without its length, and the grant for its memory.
    ///
    /// # Errors
    /// See [`FrameError`]; the connection is to be closed after any of them.
    pub async fn next(&mut self) -> Result<(Bytes, Grant), FrameError> {
        while self.received.len() < LENGTH_BYTES {
            self.receive_by_scratch().await?;
        }
        let prefix: [u8; LENGTH_BYTES] =
            self.received[..LENGTH_BYTES].try_into().expect("the slice has the array's length");
        let declared = i32::from_be_bytes(prefix);
        let length = usize::try_from(declared)
            .ok()
            .filter(|length| *length <= self.frame_bytes_max)
            .ok_or(FrameError::Length(declared))?;
        let whole = LENGTH_BYTES + length;
        let began = self.received_bytes.get();
        let mut grant = self.budget.frame(whole);
        if whole < FRAME_LARGE_BYTES {
            self.pay(&mut grant, whole).await;
        }
        while self.received.len() < whole {
            if grant.held_bytes() <= self.received.len() {
                let received = self.received.len();
                self.pay(&mut grant, whole.min(received + self.step_bytes(received))).await;
            }
            self.intake.set(Intake::Receiving(began));
            self.receive_in_place(grant.held_bytes() - self.received.len()).await?;
        }
        self.pay(&mut grant, whole).await;
        self.intake.set(Intake::Idle);
        grant.complete();
        self.expects_large = whole >= FRAME_LARGE_BYTES;
        let frame = self.received.split_to(whole).freeze().slice(LENGTH_BYTES..);
        Ok((frame, grant))
    }

    /// How much to ask for ahead of a frame of which so much is there: generous in good times, else as much again.
    fn step_bytes(&self, received: usize) -> usize {
        if self.budget.is_ample() {
            FRAME_GROWTH_BYTES_MAX
        } else {
            received.clamp(FRAME_PEEK_BYTES, FRAME_GROWTH_BYTES_MAX)
        }
    }

    /// Has the grant hold so many bytes of its frame.
    async fn pay(&self, grant: &mut Grant, bytes: usize) {
        let more = bytes - grant.held_bytes();
        if more > 0 && !grant.grow_now(more) {
            self.intake.set(Intake::Waiting);
            grant.grow(more).await;
        }
    }

    /// Everything from `frame` on, the last that was handed out, as it was received: for the core that takes the
    /// connection over.
    #[must_use]
    pub fn give_back(&mut self, frame: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(LENGTH_BYTES + frame.len() + self.received.len());
        let length = i32::try_from(frame.len()).expect("the length came in such a prefix");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(frame);
        bytes.extend_from_slice(&self.received.split());
        bytes
    }

    async fn receive_by_scratch(&mut self) -> Result<(), FrameError> {
        let Self { stream, scratch, received, expects_large, .. } = self;
        let window = if *expects_large { FRAME_PEEK_BYTES } else { SCRATCH_BYTES };
        let count = poll_fn(|context| {
            let mut scratch = scratch.0.borrow_mut();
            let poll = stream.borrow_mut().poll_read(context, &mut scratch[..window]);
            if let Poll::Ready(Ok(count)) = poll {
                received.extend_from_slice(&scratch[..count]);
            }
            poll
        })
        .await?;
        self.count(count)
    }

    async fn receive_in_place(&mut self, missing: usize) -> Result<(), FrameError> {
        self.received.reserve(missing);
        let Self { stream, received, .. } = self;
        let count =
            poll_fn(|context| poll_into_spare(&mut **stream.borrow_mut(), context, received, missing))
                .await?;
        self.count(count)
    }

    fn count(&self, count: usize) -> Result<(), FrameError> {
        if count == 0 {
            return Err(FrameError::Ended);
        }
        self.received_bytes.set(self.received_bytes.get() + count as u64);
        Ok(())
    }
}

/// Reads into the spare capacity of `received`, at most `missing` bytes.
fn poll_into_spare(
    stream: &mut dyn ByteStream,
    context: &mut Context<'_>,
    received: &mut BytesMut,
    missing: usize,
) -> Poll<io::Result<usize>> {
    let spare = received.spare_capacity_mut();
    let window = spare.len().min(missing);
    // SAFETY: the memory is ours, and `ByteStream::poll_read` promises only to write to the slice.
    let buffer = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<u8>(), window) };
    let poll = stream.poll_read(context, buffer);
    if let Poll::Ready(Ok(count)) = poll {
        assert!(count <= window, "a stream writes no more than it was given room for");
        // SAFETY: the stream has written `count` bytes at the start of the spare capacity.
        unsafe { received.set_len(received.len() + count) };
    }
    poll
}

#[cfg(test)]
mod tests;
