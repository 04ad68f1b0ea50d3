//! Kafka's protocol over a blocking socket: whole calls, single frames, or any bytes at all.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    ApiVersionsRequest, BrokerId, CreateTopicsRequest, CreateTopicsResponse, FindCoordinatorRequest, GroupId,
    InitProducerIdRequest, ListOffsetsRequest, OffsetFetchRequest, RequestHeader, ResponseHeader, TopicName,
    TransactionalId, UpdateFeaturesRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::DEADLINE;
use crate::broker::Target;

/// No response of a test is longer.
const FRAME_BYTES_MAX: usize = 256 << 20;

/// One connection to a broker.
pub struct Connection {
    stream: TcpStream,
    correlation: i32,
}

/// The broker closed the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens there.
    #[must_use]
    pub fn open(address: SocketAddr) -> Self {
        Self::try_open(address).unwrap_or_else(|error| panic!("can't connect to {address}: {error}"))
    }

    /// Connects, if somebody listens there.
    pub fn try_open(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Self { stream, correlation: 0 })
    }

    /// A second handle on the same connection, for another thread.
    #[must_use]
    pub fn share(&self) -> Self {
        Self {
            stream: self.stream.try_clone().expect("a socket can be shared"),
            correlation: self.correlation,
        }
    }

    /// Sends a request and decodes its response.
    ///
    /// # Panics
    /// When the broker closes the connection or answers something that is no such response.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.try_call(version, request).expect("the broker answers")
    }

    /// The same for a broker that may go away.
    pub fn try_call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response, Closed> {
        self.correlation += 1;
        self.send(&encode_request(self.correlation, version, request))?;
        let frame = self.receive()?;
        Ok(decode_response::<R>(frame, self.correlation, version))
    }

    /// Sends `body` with its length in front.
    pub fn send(&mut self, body: &[u8]) -> Result<(), Closed> {
        let length = u32::try_from(body.len()).expect("a frame is shorter than 4 GiB");
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend_from_slice(body);
        self.send_bytes(&frame)
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        self.stream.write_all(bytes).map_err(|error| closed(&error))
    }

    /// Says that no more will be sent.
    pub fn finish_sending(&mut self) {
        // A broker that has closed already knows it.
        let _closed = self.stream.shutdown(Shutdown::Write);
    }

    /// Has anything come that was not read yet? Doesn't wait.
    ///
    /// # Panics
    /// When the connection is broken.
    #[must_use]
    pub fn has_something_to_read(&self) -> bool {
        self.stream.set_nonblocking(true).expect("a socket");
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).expect("a socket");
        match peeked {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Reads one frame, without its length.
    pub fn receive(&mut self) -> Result<Bytes, Closed> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(|error| closed(&error))?;
        let length = usize::try_from(u32::from_be_bytes(length)).expect("a 64-bit machine");
        assert!(length <= FRAME_BYTES_MAX, "the broker announces a frame of {length} B");
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).map_err(|error| closed(&error))?;
        Ok(body.into())
    }

    /// Waits until the broker closes the connection.
    ///
    /// # Panics
    /// When it sends something or keeps the connection open.
    pub fn expect_closed(&mut self) {
        match self.stream.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => panic!("the broker answered instead of closing the connection"),
            Err(error) => {
                closed(&error);
            }
        }
    }
}

fn closed(error: &std::io::Error) -> Closed {
    let gone = matches!(
        error.kind(),
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
    );
    assert!(gone, "neither an answer nor an end: {error}");
    Closed
}

/// A request with its header, without the length.
#[must_use]
pub fn encode_request<R: Request>(correlation: i32, version: i16, request: &R) -> BytesMut {
    let mut body = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("e2e")));
    header.encode(&mut body, R::header_version(version)).expect("the header encodes");
    request.encode(&mut body, version).expect("the request encodes");
    body
}

/// Decodes a response whole.
///
/// # Panics
/// When it is not one, answers another request, or has bytes left over.
#[must_use]
pub fn decode_response<R: Request>(mut frame: Bytes, correlation: i32, version: i16) -> R::Response {
    let shown = frame.clone();
    let header =
        ResponseHeader::decode(&mut frame, R::Response::header_version(version)).expect("a response header");
    assert_eq!(header.correlation_id, correlation, "responses come in the order of their requests");
    let response = R::Response::decode(&mut frame, version)
        .unwrap_or_else(|error| panic!("API {} v{version}: {error}\n{shown:02x?}", R::KEY));
    assert!(frame.is_empty(), "API {} v{version}: {} bytes too many", R::KEY, frame.len());
    response
}

/// A string as the messages take it.
#[must_use]
pub fn text(string: &str) -> StrBytes {
    StrBytes::from_string(string.to_owned())
}

/// A topic's name as the messages take it.
#[must_use]
pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// Creates a topic and returns its id.
///
/// # Panics
/// When the broker refuses.
pub fn create_topic(address: SocketAddr, name: &str, partitions: i32, configs: &[(&str, &str)]) -> [u8; 16] {
    let response = try_create_topic(&mut Connection::open(address), name, partitions, configs);
    let made = &response.topics[0];
    assert_eq!(made.error_code, 0, "{name}: {:?}", made.error_message);
    settle(address, name, partitions);
    made.topic_id.into_bytes()
}

/// Apache Kafka answers CreateTopics before its broker half leads the partitions: waits until it does. Iolite promises that
/// they serve, so nothing is waited for.
pub fn settle(address: SocketAddr, name: &str, partitions: i32) {
    if Target::chosen() == Target::Kafka {
        await_leaders(address, name, partitions);
    }
}

/// Waits until every partition of a topic is led.
///
/// # Panics
/// When that takes too long.
pub fn await_leaders(address: SocketAddr, name: &str, partitions: i32) {
    let mut connection = Connection::open(address);
    let wanted =
        |partition| ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(-1);
    let topic = ListOffsetsTopic::default()
        .with_name(topic_name(name))
        .with_partitions((0..partitions).map(wanted).collect());
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
    let end = Instant::now() + DEADLINE;
    loop {
        let response = connection.call(5, &request);
        if response
            .topics
            .iter()
            .flat_map(|topic| &topic.partitions)
            .all(|partition| partition.error_code == 0)
        {
            return;
        }
        assert!(Instant::now() < end, "no leaders for {name}: {response:?}");
    }
}

/// Puts a feature in force at a lower level, and waits until the broker tells its clients so.
///
/// # Panics
/// When the broker refuses, or never tells.
pub fn lower_feature(address: SocketAddr, name: &str, level: i16) {
    const SAFE_DOWNGRADE: i8 = 2;
    let mut connection = Connection::open(address);
    let update = FeatureUpdateKey::default()
        .with_feature(text(name))
        .with_max_version_level(level)
        .with_upgrade_type(SAFE_DOWNGRADE);
    let request = UpdateFeaturesRequest::default().with_timeout_ms(10_000).with_feature_updates(vec![update]);
    let answer = connection.call(1, &request);
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    assert!(answer.results.iter().all(|result| result.error_code == 0), "{:?}", answer.results);
    let ask = ApiVersionsRequest::default()
        .with_client_software_name(text("e2e"))
        .with_client_software_version(text("1"));
    let end = Instant::now() + DEADLINE;
    loop {
        let told = connection.call(3, &ask);
        assert_eq!(told.error_code, 0);
        let told = told.finalized_features.iter().find(|feature| &*feature.name == name);
        // A feature at level 0 may be left out.
        if told.map_or(0, |feature| feature.max_version_level) == level {
            return;
        }
        assert!(Instant::now() < end, "{name} stays above level {level}");
    }
}

/// Finds the coordinator of a group, as clients do, and waits until it answers.
///
/// # Panics
/// When it does not.
pub fn await_group(connection: &mut Connection, group: &GroupId) {
    let find = FindCoordinatorRequest::default().with_key(group.0.clone()).with_key_type(0);
    let request = OffsetFetchRequest::default().with_group_id(group.clone()).with_topics(None);
    let end = Instant::now() + DEADLINE;
    loop {
        let found = connection.call(3, &find).error_code;
        let asked = connection.call(7, &request).error_code;
        match (found, asked) {
            (0, 0) => return,
            // Not there yet, loading, elsewhere.
            (0 | 15, 14..=16) => {}
            errors => panic!("errors {errors:?}"),
        }
        assert!(Instant::now() < end, "no coordinator for {group:?}");
    }
}

/// Initialises a transactional producer, as clients do: finds its coordinator, and asks again while that is not ready.
/// Its id and epoch.
///
/// # Panics
/// When it is refused.
pub fn init_transactions(connection: &mut Connection, id: &TransactionalId, timeout_ms: i32) -> (i64, i16) {
    let find = FindCoordinatorRequest::default().with_key(id.0.clone()).with_key_type(1);
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(id.clone()))
        .with_transaction_timeout_ms(timeout_ms);
    let end = Instant::now() + DEADLINE;
    loop {
        let found = connection.call(3, &find).error_code;
        let made = connection.call(4, &request);
        match (found, made.error_code) {
            (0, 0) => return (made.producer_id.0, made.producer_epoch),
            // Not there yet, loading, elsewhere, busy.
            (0 | 15, 14 | 15 | 16 | 51) => {}
            errors => panic!("errors {errors:?}"),
        }
        assert!(Instant::now() < end, "no coordinator for {id:?}");
    }
}

/// Asks for a topic and returns the whole answer.
pub fn try_create_topic(
    connection: &mut Connection,
    name: &str,
    partitions: i32,
    configs: &[(&str, &str)],
) -> CreateTopicsResponse {
    let configs = configs
        .iter()
        .map(|(key, value)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        })
        .collect();
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs);
    connection.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000))
}
