//! The ports: claimed before any shard starts, so that two brokers can't listen on one without noticing.
//!
//! Shards listen side by side with `SO_REUSEPORT`, which would let a second broker of the same user in silently. So a
//! socket is bound here without it, which fails beside any other listener; then the option is set on that socket, which
//! stays bound and never listens: from then on sockets with the option may join it (the shards'), and the same check of
//! another broker fails. There is no moment at which the port is free again.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};

use super::StartupError;
use crate::config::Endpoint;
use crate::exit::ExitCode;

/// Waiting connections of the admin port.
const ADMIN_BACKLOG: i32 = 64;

/// A port that this process holds, for sockets with `SO_REUSEPORT` to listen on.
#[derive(Debug)]
pub struct ClaimedPort {
    /// The address, with the port that the system chose where 0 was asked for.
    pub address: SocketAddr,
    _holder: Socket,
}

impl ClaimedPort {
    /// Claims the endpoint's port; `flag` names what sets it.
    pub(super) fn claim(endpoint: &Endpoint, flag: &str) -> Result<Self, StartupError> {
        let asked = resolve(endpoint, flag)?;
        Self::claim_address(asked).map_err(|error| refusal(&error, asked, flag))
    }

    fn claim_address(asked: SocketAddr) -> io::Result<Self> {
        let socket = bind_alone(asked)?;
        // With SO_REUSEADDR another socket that doesn't listen either could bind beside this one: it was needed to get
        // past connections of an earlier life only.
        socket.set_reuse_address(false)?;
        socket.set_reuse_port(true)?;
        Ok(Self { address: address_of(&socket)?, _holder: socket })
    }
}

/// Listens on a port that nobody shares.
pub(super) fn listen_alone(endpoint: &Endpoint, flag: &str) -> Result<TcpListener, StartupError> {
    let asked = resolve(endpoint, flag)?;
    let listen = || {
        let socket = bind_alone(asked)?;
        socket.listen(ADMIN_BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from(socket))
    };
    listen().map_err(|error: io::Error| refusal(&error, asked, flag))
}

fn bind_alone(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn address_of(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?.as_socket();
    address.ok_or_else(|| io::Error::other("the socket is bound to no internet address"))
}

fn resolve(endpoint: &Endpoint, flag: &str) -> Result<SocketAddr, StartupError> {
    let unresolved = |reason: String| {
        let message =
            format!("{endpoint} can't be resolved ({reason}): name an address of this machine with {flag}");
        StartupError::new(ExitCode::Address, message)
    };
    let mut addresses = (endpoint.host_or_any(), endpoint.port)
        .to_socket_addrs()
        .map_err(|error| unresolved(error.to_string()))?;
    addresses.next().ok_or_else(|| unresolved("no address".to_owned()))
}

fn refusal(error: &io::Error, address: SocketAddr, flag: &str) -> StartupError {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => StartupError::new(
            ExitCode::PortTaken,
            format!("{address} is taken by another process: stop it, or choose another port with {flag}"),
        ),
        io::ErrorKind::AddrNotAvailable => StartupError::new(
            ExitCode::Address,
            format!("{address} isn't an address of this machine: name one with {flag}"),
        ),
        io::ErrorKind::PermissionDenied => StartupError::new(
            ExitCode::Address,
            format!(
                "port {port} is privileged: choose one from 1024 on with {flag}, or grant CAP_NET_BIND_SERVICE"
            ),
        ),
        _ => StartupError::new(
            ExitCode::Address,
            format!("{address} can't be listened on ({error}); see {flag}"),
        ),
    }
}
