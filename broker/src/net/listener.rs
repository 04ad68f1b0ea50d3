//! The listening sockets: one a shard on the same port (`SO_REUSEPORT`), so that the kernel spreads connections.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};

use glommio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

use super::stream::MovedSocket;
use crate::limits::LISTEN_BACKLOG;

/// A bound socket that is not yet anybody's: made before the shards start, so that a taken port is found at once.
pub struct BoundSocket {
    descriptor: OwnedFd,
    /// The address with the port that the system chose.
    pub address: SocketAddr,
}

impl BoundSocket {
    /// Binds `address` for listening beside other sockets of this process.
    ///
    /// # Errors
    /// The address is not ours, or taken by a process that does not share it.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let bound = socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("the socket is bound to no internet address"))?;
        Ok(Self { descriptor: socket.into(), address: bound })
    }

    /// Binds `count` sockets to one address; port 0 is chosen once, for all of them.
    ///
    /// # Errors
    /// As [`BoundSocket::bind`].
    pub fn bind_all(address: SocketAddr, count: usize) -> io::Result<Vec<Self>> {
        let first = Self::bind(address)?;
        let shared = first.address;
        let rest = (1..count).map(|_| Self::bind(shared));
        std::iter::once(Ok(first)).chain(rest).collect()
    }

    /// Starts listening, on the core that calls.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(self) -> io::Result<Listener> {
        let socket = Socket::from(self.descriptor);
        socket.listen(LISTEN_BACKLOG)?;
        // SAFETY: the descriptor is owned by nothing else from here on.
        let inner = unsafe { TcpListener::from_raw_fd(socket.into_raw_fd()) };
        Ok(Listener { inner })
    }
}

/// A listening socket of this core.
pub struct Listener {
    inner: TcpListener,
}

impl Listener {
    /// The next connection.
    ///
    /// # Errors
    /// What the system says; too few descriptors is worth waiting for, see [`out_of_descriptors`].
    pub async fn accept(&self) -> io::Result<MovedSocket> {
        // glommio's own type for this leaks the descriptor when it is dropped.
        let accepted = self.inner.shared_accept().await.map_err(io::Error::from)?;
        let descriptor = accepted.bind_to_executor().into_raw_fd();
        // SAFETY: the stream has given up the descriptor, which nothing else owns.
        Ok(MovedSocket::new(unsafe { OwnedFd::from_raw_fd(descriptor) }))
    }
}

/// Whether accepting failed for want of descriptors or memory, which passes.
#[must_use]
pub fn out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
