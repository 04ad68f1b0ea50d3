//! A connection against a scripted server on a thread: bytes in, bytes out, and every way in which it can end.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream as BlockingStream};
use std::thread;

use protocol::error::ErrorCode;
use protocol::frame::write_response;
use protocol::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use protocol::messages::metadata::MetadataRequest;
use protocol::types::{ProducerEpoch, ProducerId};

use super::*;

/// The server's end of a connection.
struct Server(BlockingStream);

impl Server {
    /// Correlation id and version of the next request.
    fn take(&mut self) -> (i32, i16) {
        let mut size = [0; 4];
        self.0.read_exact(&mut size).expect("a request");
        let mut frame = vec![0; usize::try_from(u32::from_be_bytes(size)).expect("64 bits")];
        self.0.read_exact(&mut frame).expect("its body");
        let version = i16::from_be_bytes([frame[2], frame[3]]);
        (i32::from_be_bytes([frame[4], frame[5], frame[6], frame[7]]), version)
    }

    fn answer<'a, R: protocol::messages::Response<'a>>(&mut self, id: i32, version: i16, response: &R) {
        let mut chunks = Vec::new();
        write_response(&mut Writer::new(), id, version, response, &mut chunks).expect("an answer");
        for chunk in chunks {
            self.0.write_all(&chunk).expect("the client reads");
        }
    }

    /// Offers InitProducerId up to `newest`, as a broker that knows ApiVersions 0 to 4 does.
    fn shake_hands(&mut self, newest: i16) {
        let (id, version) = self.take();
        assert_eq!(version, 4);
        self.answer(id, version, &offer(newest, ErrorCode::NONE));
    }
}

fn offer(newest: i16, error_code: ErrorCode) -> ApiVersionsResponse<'static> {
    let offered = |api: ApiKey, max_version| ApiVersion { api_key: api.key(), min_version: 0, max_version };
    ApiVersionsResponse {
        error_code,
        api_keys: vec![offered(ApiKey::InitProducerId, newest), offered(ApiKey::ApiVersions, 3)],
        throttle_time_ms: 0,
        supported_features: Vec::new(),
        finalized_features_epoch: -1,
        finalized_features: Vec::new(),
        zk_migration_ready: false,
        native_version: 0,
    }
}

const fn request() -> InitProducerIdRequest<'static> {
    InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 1,
        producer_id: ProducerId::NONE,
        producer_epoch: ProducerEpoch::NONE,
    }
}

const fn response(producer_id: i64) -> InitProducerIdResponse {
    InitProducerIdResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::NONE,
        producer_id: ProducerId(producer_id),
        producer_epoch: ProducerEpoch(0),
    }
}

/// Runs a server's script beside a client's.
fn against<T>(
    options: ConnectionOptions,
    server: impl FnOnce(Server) + Send + 'static,
    client: impl AsyncFnOnce(Result<Connection, ClientError>) -> T,
) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let serving = thread::spawn(move || server(Server(listener.accept().expect("a client").0)));
    let main = || async { client(Connection::open(&address, &options).await).await };
    let outcome = executor::run(None, main).expect("an executor");
    serving.join().expect("the server's script runs through");
    outcome
}

#[test]
fn answers_reach_the_requests_they_belong_to() {
    let server = |mut server: Server| {
        server.shake_hands(4);
        let asked: Vec<(i32, i16)> = (0..3).map(|_| server.take()).collect();
        for (number, (id, version)) in (0..).zip(asked) {
            server.answer(id, version, &response(number));
        }
    };
    against(ConnectionOptions::default(), server, async |connection| {
        let connection = connection.expect("it connects");
        assert_eq!(connection.version(ApiKey::InitProducerId).expect("it is offered"), 4);
        let first = connection.send(&request()).await.expect("sent");
        let second = connection.try_send_in(4, &request()).expect("sent");
        let third = connection.send(&request()).await.expect("sent");
        assert_eq!(connection.in_flight(), 3);
        for (number, reply) in (0..).zip([first, second, third]) {
            let answer = reply.await.expect("answered");
            let response: InitProducerIdResponse = answer.decode().expect("readable");
            assert_eq!(response.producer_id, ProducerId(number));
        }
    });
}

#[test]
fn an_older_broker_is_asked_again_in_its_version() {
    let server = |mut server: Server| {
        let (id, version) = server.take();
        assert_eq!(version, 4);
        server.answer(id, 0, &offer(1, protocol::error::KafkaError::UnsupportedVersion.code()));
        let (id, version) = server.take();
        assert_eq!(version, 3);
        server.answer(id, version, &offer(1, ErrorCode::NONE));
    };
    against(ConnectionOptions::default(), server, async |connection| {
        let connection = connection.expect("it connects");
        assert_eq!(connection.version(ApiKey::InitProducerId).expect("it is offered"), 1);
        let metadata = MetadataRequest {
            topics: None,
            allow_auto_topic_creation: false,
            include_cluster_authorized_operations: false,
            include_topic_authorized_operations: false,
        };
        let refused = connection.try_send(&metadata);
        assert!(matches!(refused, Err(SendError::Connection(ConnectionError::Unsupported { .. }))));
    });
}

/// How a connection ends after two requests, by what the server does then.
fn ending(options: ConnectionOptions, then: impl FnOnce(Server, i32) + Send + 'static) -> ConnectionError {
    let server = |mut server: Server| {
        server.shake_hands(4);
        let (id, _) = server.take();
        server.take();
        then(server, id);
    };
    against(options, server, async |connection| {
        let connection = connection.expect("it connects");
        let first = connection.send(&request()).await.expect("sent");
        let second = connection.send(&request()).await.expect("sent");
        let error = first.await.expect_err("no answer comes");
        let same = second.await.expect_err("nor a second");
        assert_eq!(error.to_string(), same.to_string());
        assert!(connection.try_send(&request()).is_err(), "nothing is sent any more");
        error
    })
}

#[test]
fn a_peer_that_hangs_up_fails_all_that_wait() {
    let error = ending(ConnectionOptions::default(), |server, _| drop(server));
    assert!(matches!(error, ConnectionError::ClosedByPeer { .. }), "{error}");
}

#[test]
fn an_answer_out_of_turn_ends_the_connection() {
    let error = ending(ConnectionOptions::default(), |mut server, id| {
        server.answer(id + 1, 4, &response(0));
        let _end = server.0.read(&mut [0]);
    });
    assert!(matches!(error, ConnectionError::OutOfTurn { .. }), "{error}");
}

#[test]
fn an_answer_past_the_limit_is_not_taken() {
    let options = ConnectionOptions { answer_bytes_max: 1000, ..ConnectionOptions::default() };
    let error = ending(options, |mut server, _| {
        server.0.write_all(&1001_u32.to_be_bytes()).expect("the client reads");
        let _end = server.0.read(&mut [0]);
    });
    assert!(matches!(error, ConnectionError::AnswerSize { size: 1001, size_max: 1000, .. }), "{error}");
}

#[test]
fn a_broker_that_does_not_answer_is_given_up() {
    let options =
        ConnectionOptions { request_timeout: Duration::from_millis(50), ..ConnectionOptions::default() };
    let error = ending(options, |mut server, _| {
        let _end = server.0.read(&mut [0]);
    });
    assert!(matches!(error, ConnectionError::TimedOut { api: ApiKey::InitProducerId, .. }), "{error}");
}

#[test]
fn requests_in_flight_are_bounded() {
    let options = ConnectionOptions { in_flight_max: 1, ..ConnectionOptions::default() };
    let server = |mut server: Server| {
        server.shake_hands(4);
        for number in 0..2 {
            let (id, version) = server.take();
            server.answer(id, version, &response(number));
        }
    };
    against(options, server, async |connection| {
        let connection = connection.expect("it connects");
        let first = connection.try_send(&request()).expect("there is room");
        assert!(matches!(connection.try_send(&request()), Err(SendError::Full)));
        let second = connection.send(&request()).await.expect("there is room again");
        first.await.expect("answered");
        second.await.expect("answered");
    });
}

#[test]
fn servers_are_host_and_port() {
    assert_eq!(split_server("localhost:9092").expect("good"), ("localhost", 9092));
    assert_eq!(split_server("[::1]:9092").expect("good"), ("::1", 9092));
    for bad in ["localhost", ":9092", "host:", "host:99999", ""] {
        assert!(matches!(split_server(bad), Err(ClientError::Address(_))), "{bad}");
    }
}
