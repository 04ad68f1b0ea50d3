//! Connections of a shard: accepted, served, handed over to the shard of their data, taken over from others.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::Shard;
use super::messages::Message;
use crate::api::Api;
use crate::limits::ACCEPT_PAUSE_MILLISECONDS;
use crate::metrics::{self, Count};
use crate::net::connection::{Connection, Handover};
use crate::net::frames::{FrameReader, SharedStream};
use crate::net::listener::{Listener, out_of_descriptors};
use crate::net::seats::Seat;
use crate::net::stream::{ByteStream, MovedSocket};
use crate::runtime::{sleep, spawn};

/// Accepts connections until the shard stops.
pub async fn accept(shard: Rc<Shard>, api: Rc<Api>, listener: Listener) {
    while !shard.stopping.is_raised() {
        match listener.accept().await {
            Ok(socket) => {
                let Some(seat) = shard.config.seats.take() else {
                    metrics::add(Count::ConnectionsRefused, 1);
                    let limit = shard.config.seats.seats_max();
                    tracing::warn!(limit, "a connection is refused: there are too many");
                    continue;
                };
                metrics::add(Count::ConnectionsAccepted, 1);
                take(&shard, &api, socket, BytesMut::new(), seat);
            }
            Err(error) if out_of_descriptors(&error) => {
                tracing::warn!(%error, "no connection can be accepted for now");
                sleep(Duration::from_millis(ACCEPT_PAUSE_MILLISECONDS)).await;
            }
            Err(error) => tracing::debug!(%error, "a connection was not accepted"),
        }
    }
}

/// Serves a connection from here on, of which `received` is received already.
pub fn take(shard: &Rc<Shard>, api: &Rc<Api>, socket: MovedSocket, received: BytesMut, seat: Seat) {
    match socket.attach(&shard.poller) {
        Ok((stream, peer)) => serve(shard, api, Box::new(stream), peer, received, seat),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            tracing::debug!(%error, "a connection was gone before it was served");
        }
        Err(error) => tracing::warn!(
            %error,
            "a connection can't be served: too little memory, or more sockets are waited for than fs.epoll.max_user_watches allows"
        ),
    }
}

fn serve(
    shard: &Rc<Shard>,
    api: &Rc<Api>,
    stream: Box<dyn ByteStream>,
    peer: SocketAddr,
    received: BytesMut,
    seat: Seat,
) {
    let stream: SharedStream = Rc::new(RefCell::new(stream));
    let reader = FrameReader::new(
        Rc::clone(&stream),
        Rc::clone(&shard.scratch),
        Rc::clone(&shard.budget),
        shard.config.request_bytes_max,
        received,
    );
    let connection = Connection::new(peer, stream, &reader, Instant::now());
    shard.connections.add(&connection);
    let writing = Rc::clone(&connection);
    // Both have the socket: the later of them to end gives the seat back.
    let seat = Rc::new(seat);
    let writers_seat = Rc::clone(&seat);
    spawn(async move {
        let _seat = writers_seat;
        if let Err(error) = writing.write().await {
            tracing::debug!(peer = %writing.peer, %error, "a reply was not sent");
        }
    });
    let (shard, api) = (Rc::clone(shard), Rc::clone(api));
    spawn(async move {
        let _seat = seat;
        match connection.read(reader, &*api).await {
            Ok(None) => {}
            Ok(Some(Handover { to, socket, received })) => {
                tracing::debug!(peer = %connection.peer, to, "a connection moves to its data");
                shard.mesh.send(to, Message::TakeOver { socket, received });
            }
            Err(error) => tracing::debug!(peer = %connection.peer, %error, "a connection ended"),
        }
    });
}
