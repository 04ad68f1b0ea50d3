//! The byte stream under a connection, as a trait, so that what carries the bytes (plain TCP, TLS) is a detail.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use socket2::Socket;

use super::poller::{PolledSocket, Poller};

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
    /// A connected socket that nothing is under way on.
    pub(super) fn new(descriptor: OwnedFd) -> Self {
        Self { descriptor }
    }

    /// Binds the socket to the core of `poller`. Small replies leave at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// The peer's address is gone: the peer has hung up already. Or what the system says.
    pub fn attach(self, poller: &Rc<Poller>) -> io::Result<(PlainStream, SocketAddr)> {
        let socket = Socket::from(self.descriptor);
        socket.set_tcp_nodelay(true)?;
        let peer = socket.peer_addr()?.as_socket().ok_or(io::ErrorKind::Unsupported)?;
        Ok((PlainStream { socket: Some(poller.add(socket)?) }, peer))
    }
}

/// A plain TCP connection.
pub struct PlainStream {
    /// None once it was detached.
    socket: Option<PolledSocket>,
}

impl ByteStream for PlainStream {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        match &self.socket {
            Some(socket) => socket.poll_read(context, buffer),
            None => Poll::Ready(Ok(0)),
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &self.socket {
            Some(socket) => socket.poll_write(context, slices),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn shut_down(&self) {
        if let Some(socket) = &self.socket {
            socket.shut_down();
        }
    }

    fn detach(&mut self) -> Option<MovedSocket> {
        Some(MovedSocket::new(self.socket.take()?.into_descriptor()))
    }
}
