//! The byte stream under a connection, as a trait, so that what carries the bytes (plain TCP, TLS) is a detail.

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_lite::io::{AsyncRead, AsyncWrite};
use glommio::net::{AcceptedTcpStream, TcpStream};

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

    /// The stream as a socket that another core can take over, where the transport allows it.
    ///
    /// # Errors
    /// Gives the stream back where it has state of its own that can't move.
    fn into_transferable(self: Box<Self>) -> Result<AcceptedTcpStream, Box<dyn ByteStream>>;
}

/// A plain TCP connection.
pub struct PlainStream {
    socket: TcpStream,
}

impl PlainStream {
    /// Binds an accepted socket to this core. Small replies leave at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// The peer's address is gone: the peer has hung up already.
    pub fn new(accepted: AcceptedTcpStream) -> io::Result<(Self, SocketAddr)> {
        let socket = accepted.bind_to_executor();
        socket.set_nodelay(true)?;
        let peer = socket.peer_addr()?;
        Ok((Self { socket }, peer))
    }
}

impl ByteStream for PlainStream {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_read(context, buffer)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn shut_down(&self) {
        let mut context = Context::from_waker(Waker::noop());
        // shutdown(2) answers at once, and fails only where the peer has gone already: closed either way.
        let _ = self.socket.poll_shutdown(&mut context, Shutdown::Both);
    }

    fn into_transferable(self: Box<Self>) -> Result<AcceptedTcpStream, Box<dyn ByteStream>> {
        Ok(self.socket.into_accepted())
    }
}
