//! Sockets of a shard's executor, with the peer on the same thread: what is written there is readable here at once.

use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use glommio::LocalExecutor;

use super::*;

/// A connection: its end here, known to the poller, and the peer's.
fn connected(poller: &Rc<Poller>) -> (PolledSocket, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, _) = listener.accept().unwrap();
    (poller.add(socket.into()).unwrap(), peer)
}

/// Runs a test on an executor, beside a running poller.
fn with_poller<F: Future<Output = ()>>(test: impl FnOnce(Rc<Poller>) -> F) {
    LocalExecutor::default().run(async {
        let poller = Poller::new().unwrap();
        let running = Rc::clone(&poller);
        let runs = glommio::spawn_local(async move { running.run().await });
        test(poller).await;
        assert!(runs.cancel().await.is_none(), "it ended before the test");
    });
}

async fn read(socket: &PolledSocket, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes_max];
    let count = poll_fn(|context| socket.poll_read(context, &mut buffer)).await?;
    buffer.truncate(count);
    Ok(buffer)
}

/// Reads while another task of the same thread does something first.
async fn read_after(socket: &PolledSocket, first: impl FnOnce()) -> io::Result<Vec<u8>> {
    let mut first = Some(first);
    let mut buffer = vec![0; 64];
    let count = poll_fn(|context| {
        let poll = socket.poll_read(context, &mut buffer);
        if let Some(first) = first.take() {
            assert!(poll.is_pending(), "nothing was sent yet");
            first();
        }
        poll
    })
    .await?;
    buffer.truncate(count);
    Ok(buffer)
}

#[test]
fn what_comes_is_read_whether_it_was_waited_for_or_not() {
    with_poller(async |poller| {
        let (socket, mut peer) = connected(&poller);
        peer.write_all(b"before").unwrap();
        assert_eq!(read(&socket, 64).await.unwrap(), b"before");
        for round in 0..100_u8 {
            let sent = || peer.write_all(&[round]).unwrap();
            assert_eq!(read_after(&socket, sent).await.unwrap(), [round]);
        }
    });
}

#[test]
fn what_is_left_is_read_without_another_event() {
    with_poller(async |poller| {
        let (socket, mut peer) = connected(&poller);
        peer.write_all(b"longer than one read").unwrap();
        assert_eq!(read(&socket, 10).await.unwrap(), b"longer tha");
        assert_eq!(read(&socket, 10).await.unwrap(), b"n one read");
        assert_eq!(read_after(&socket, || peer.write_all(b"more").unwrap()).await.unwrap(), b"more");
    });
}

/// The last bytes and the end come as one event; the read that takes the bytes must not wait for the end to be told again.
#[test]
fn the_end_is_found_behind_the_last_bytes() {
    with_poller(async |poller| {
        let (socket, mut peer) = connected(&poller);
        let sent = || {
            peer.write_all(b"last").unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        };
        assert_eq!(read_after(&socket, sent).await.unwrap(), b"last");
        assert_eq!(read(&socket, 64).await.unwrap(), b"");
    });
}

/// A read ends at the mark of urgent data, and what is behind it is told of no more.
#[test]
fn what_comes_behind_urgent_data_is_read_too() {
    with_poller(async |poller| {
        let (socket, mut peer) = connected(&poller);
        let sent = || {
            peer.write_all(b"before").unwrap();
            assert_eq!(Socket::from(peer.try_clone().unwrap()).send_out_of_band(b"!").unwrap(), 1);
            peer.write_all(b"behind").unwrap();
        };
        assert_eq!(read_after(&socket, sent).await.unwrap(), b"before");
        assert_eq!(read(&socket, 64).await.unwrap(), b"behind");
    });
}

#[test]
fn a_writer_goes_on_once_the_peer_has_taken_something() {
    with_poller(async |poller| {
        let (socket, mut peer) = connected(&poller);
        let bytes = vec![7; 1 << 20];
        let slices = [IoSlice::new(&bytes)];
        let mut written = 0;
        let filled = poll_fn(|context| {
            while let Poll::Ready(count) = socket.poll_write(context, &slices) {
                written += count.unwrap();
            }
            Poll::Ready(written)
        })
        .await;
        assert!(filled > 0);
        let taker = std::thread::spawn(move || {
            let mut taken = vec![0; filled];
            peer.read_exact(&mut taken).unwrap();
            peer
        });
        let more = poll_fn(|context| socket.poll_write(context, &slices)).await.unwrap();
        assert!(more > 0);
        taker.join().unwrap();
    });
}

#[test]
fn who_waits_for_a_socket_that_is_shut_down_hears_of_it() {
    with_poller(async |poller| {
        let (socket, _peer) = connected(&poller);
        assert_eq!(read_after(&socket, || socket.shut_down()).await.unwrap(), b"");
    });
}

#[test]
fn a_socket_moves_from_one_poller_to_another_with_what_was_not_read() {
    with_poller(async |poller| {
        let (socket, mut peer) = connected(&poller);
        assert_eq!(read_after(&socket, || peer.write_all(b"one").unwrap()).await.unwrap(), b"one");
        peer.write_all(b"two").unwrap();
        let descriptor = socket.into_descriptor();
        assert!(poller.sockets.borrow().is_empty());
        let socket = poller.add(descriptor.into()).unwrap();
        assert_eq!(read(&socket, 64).await.unwrap(), b"two");
        drop(socket);
        assert!(poller.sockets.borrow().is_empty());
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "a socket that is dropped is closed");
    });
}
