//! The byte stream under a connection, as a trait, so that what carries the bytes (plain TCP, TLS) is a detail.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;

/// A connected, bidirectional stream of bytes. Reading and writing may be polled by two different tasks.
pub trait ByteStream {
    /// Reads what is there into `buffer`; 0 at the end of the stream. Only writes to `buffer`, never reads it.
    ///
    /// # Errors
    /// What the transport says; the stream is unusable afterwards.
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes a prefix of the slices, in order.
    ///
    /// # Errors
    /// What the transport says; the stream is unusable afterwards.
    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Ends both directions at once: pending and later reads see the end of the stream.
    fn shut_down(&self);

    /// The socket, for another core to go on with; none where the stream has state of its own that can't move. Nothing
    /// may be under way in either direction. The stream has ended afterwards as far as this core can see.
    fn detach(&mut self) -> Option<MovedSocket>;
}

/// A connected socket between two cores: bound to neither.
pub struct MovedSocket {
    descriptor: OwnedFd,
}

impl MovedSocket {
    /// The socket of a stream that has nothing under way.
    pub(super) fn detach(socket: TcpStream) -> Self {
        // SAFETY: the stream gives up the descriptor here, which nothing else owns.
        Self { descriptor: unsafe { OwnedFd::from_raw_fd(socket.into_raw_fd()) } }
    }

    /// Binds the socket to this core. Small replies leave at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// The peer's address is gone: the peer has hung up already.
    pub fn attach(self) -> io::Result<(PlainStream, SocketAddr)> {
        // SAFETY: the descriptor is owned by nothing else from here on.
        let socket = unsafe { TcpStream::from_raw_fd(self.descriptor.into_raw_fd()) };
        socket.set_nodelay(true)?;
        let peer = socket.peer_addr()?;
        Ok((PlainStream { socket: Some(socket) }, peer))
    }
}

/// A plain TCP connection.
pub struct PlainStream {
    /// None once it was detached.
    socket: Option<TcpStream>,
}

impl ByteStream for PlainStream {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Some(socket) => Pin::new(socket).poll_read(context, buffer),
            None => Poll::Ready(Ok(0)),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Some(socket) => Pin::new(socket).poll_write_vectored(context, slices),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn shut_down(&self) {
        let Some(socket) = &self.socket else { return };
        let mut context = Context::from_waker(Waker::noop());
        // shutdown(2) answers at once, and fails only where the peer has gone already: closed either way.
        let _ = socket.poll_shutdown(&mut context, Shutdown::Both);
    }

    fn detach(&mut self) -> Option<MovedSocket> {
        self.socket.take().map(MovedSocket::detach)
    }
}
