//! Real requests over a real socket.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use tokio::sync::oneshot;

use super::*;
use crate::limits::ADMIN_CONNECTIONS_MAX;
use crate::metrics::{Condition, Phase};

/// Serves while `client` runs on a thread of its own.
fn with_server(registry: &Arc<Registry>, client: impl FnOnce(SocketAddr) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (done, stop) = oneshot::channel::<()>();
    let client = std::thread::spawn(move || {
        // Dropped however the client ends, so that a failed assertion doesn't leave the server running.
        let _done = done;
        client(address);
    });
    let stop = async move { drop(stop.await) };
    runtime.block_on(serve(listener, Arc::clone(registry), stop)).unwrap();
    client.join().unwrap();
}

/// The status line, the headers and the body of one request.
fn ask(address: SocketAddr, request: &str) -> (String, String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: iolite\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let (status, headers) = head.split_once("\r\n").unwrap();
    (status.to_owned(), headers.to_ascii_lowercase(), body.to_owned())
}

fn check(address: SocketAddr, request: &str, status: &str, body: &str) {
    let (got_status, _, got_body) = ask(address, request);
    assert_eq!((got_status.as_str(), got_body.as_str()), (format!("HTTP/1.1 {status}").as_str(), body));
}

#[test]
fn a_starting_broker_lives_but_is_not_ready() {
    let (registry, shards) = Registry::new(1, Duration::from_millis(10));
    let read = Arc::clone(&registry);
    with_server(&registry, move |address| {
        check(address, "GET /healthz", "200 OK", "ok\n");
        check(address, "GET /readyz", "503 Service Unavailable", "starting\nshard 0: recovering\n");
        shards[0].set_condition(Condition::Serving, true);
        read.set_phase(Phase::Running);
        check(address, "GET /readyz", "200 OK", "ready\n");
        shards[0].set_condition(Condition::JournalFull, true);
        check(address, "GET /readyz", "503 Service Unavailable", "shard 0: journal full\n");
        read.set_phase(Phase::Stopping);
        check(address, "GET /readyz", "503 Service Unavailable", "stopping\n");
        check(address, "GET /healthz", "200 OK", "ok\n");
    });
}

#[test]
fn figures_come_as_prometheus_text() {
    let (registry, _shards) = Registry::new(1, Duration::from_millis(10));
    with_server(&registry, |address| {
        let (status, headers, body) = ask(address, "GET /metrics");
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(headers.contains("content-type: text/plain; version=0.0.4"), "{headers}");
        assert!(body.contains("iolite_connections{shard=\"0\"} 0\n"), "{body}");
    });
}

#[test]
fn what_there_is_not_is_refused() {
    let (registry, _shards) = Registry::new(1, Duration::from_millis(10));
    with_server(&registry, |address| {
        check(address, "GET /nothing", "404 Not Found", "");
        check(address, "POST /metrics", "405 Method Not Allowed", "");
        let long = format!("GET /{}", "x".repeat(100_000));
        let (status, _, _) = ask(address, &long);
        assert_eq!(status, "HTTP/1.1 414 URI Too Long");
    });
}

#[test]
fn connections_past_the_limit_wait_for_one_to_go() {
    let (registry, _shards) = Registry::new(1, Duration::from_millis(10));
    with_server(&registry, |address| {
        let connect = |_| TcpStream::connect(address).unwrap();
        let silent: Vec<_> = (0..ADMIN_CONNECTIONS_MAX).map(connect).collect();
        let mut late = TcpStream::connect(address).unwrap();
        write!(late, "GET /healthz HTTP/1.1\r\nHost: iolite\r\nConnection: close\r\n\r\n").unwrap();
        late.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let unanswered = late.read(&mut [0; 16]).unwrap_err().kind();
        assert_eq!(unanswered, io::ErrorKind::WouldBlock);
        drop(silent);
        late.set_read_timeout(None).unwrap();
        let mut answer = String::new();
        late.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    });
}
