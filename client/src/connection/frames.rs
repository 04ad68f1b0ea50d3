//! Cuts what comes on a connection into answers: a 4-byte big-endian size, then that many bytes.
//!
//! Answers are views of the buffer that was received into: nothing is copied but the head of an answer too large for
//! the buffer that it began in, of which the rest is received into a buffer of exactly its size.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use futures_lite::io::AsyncRead;
use glommio::net::TcpStream;
use protocol::frame::SIZE_BYTES;

use crate::error::ConnectionError;
use crate::limits::RECEIVE_BYTES;

/// Correlation ids are the least that an answer has.
const ANSWER_BYTES_MIN: usize = 4;

/// What has come and was not cut yet.
pub(super) struct Frames {
    received: BytesMut,
    answer_bytes_max: usize,
}

impl Frames {
    pub(super) fn new(answer_bytes_max: usize) -> Self {
        Self { received: BytesMut::new(), answer_bytes_max }
    }

    /// The next answer, without its size.
    pub(super) async fn next(
        &mut self,
        stream: &RefCell<TcpStream>,
        address: SocketAddr,
    ) -> Result<Bytes, ConnectionError> {
        while self.received.len() < SIZE_BYTES {
            self.receive(stream, address, RECEIVE_BYTES).await?;
        }
        let announced = self.received.first_chunk().map_or(0, |size| i32::from_be_bytes(*size));
        let size = usize::try_from(announced)
            .ok()
            .filter(|size| (ANSWER_BYTES_MIN..=self.answer_bytes_max).contains(size))
            .ok_or(ConnectionError::AnswerSize {
                address,
                size: announced,
                size_max: self.answer_bytes_max,
            })?;
        self.received.advance(SIZE_BYTES);
        while self.received.len() < size {
            let missing = size - self.received.len();
            // The end of a large answer is received alone, so that the next one begins in a buffer of its own.
            let window = if size >= RECEIVE_BYTES { missing } else { missing.max(RECEIVE_BYTES) };
            self.receive(stream, address, window).await?;
        }
        Ok(self.received.split_to(size).freeze())
    }

    /// Receives up to `window` bytes.
    async fn receive(
        &mut self,
        stream: &RefCell<TcpStream>,
        address: SocketAddr,
        window: usize,
    ) -> Result<(), ConnectionError> {
        self.received.reserve(window);
        let received = &mut self.received;
        let count = poll_fn(|context| poll_into_spare(&mut stream.borrow_mut(), context, received, window))
            .await
            .map_err(|error| ConnectionError::Transport { address, reason: Arc::new(error) })?;
        if count == 0 { Err(ConnectionError::ClosedByPeer { address }) } else { Ok(()) }
    }
}

/// Reads into the spare capacity of `received`, at most `window` bytes.
fn poll_into_spare(
    stream: &mut TcpStream,
    context: &mut Context<'_>,
    received: &mut BytesMut,
    window: usize,
) -> Poll<io::Result<usize>> {
    let spare = received.spare_capacity_mut();
    let room = spare.len().min(window);
    // SAFETY: the memory is ours, and a socket's `poll_read` hands the slice to recv(2), which only writes to it.
    let buffer = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<u8>(), room) };
    let poll = Pin::new(stream).poll_read(context, buffer);
    if let Poll::Ready(Ok(count)) = poll {
        assert!(count <= room, "a socket gives no more than there is room for");
        // SAFETY: the socket has written `count` bytes at the start of the spare capacity.
        unsafe { received.set_len(received.len() + count) };
    }
    poll
}
