//! A cluster made up for a test, on the test's own executor, of one broker unless told otherwise: each offers every API,
//! describes the topics, and answers all else as the test's script says. Like real ones they answer a connection in order; a
//! script may take its time, or never answer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::frame::{RequestHeader, write_response};
use protocol::messages::api_versions::{ApiVersion, ApiVersionsResponse, FinalizedFeatureKey};
use protocol::messages::fetch::{
    EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData, SnapshotId,
};
use protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::messages::init_producer_id::InitProducerIdResponse;
use protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use protocol::messages::{Request, Response};
use protocol::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TopicId};
use protocol::wire::{Payload, Reader, Writer};

use crate::{Client, ClientOptions};

/// The first broker, and the only one unless there are more.
pub(crate) const BROKER: BrokerId = BrokerId(1);
const HOST: &str = "127.0.0.1";
const ARRAYS_BYTES_MAX: usize = 1 << 20;

/// A request as it came.
pub(crate) struct Asked {
    /// Who was asked.
    pub broker: BrokerId,
    pub api: ApiKey,
    pub version: i16,
    correlation_id: i32,
    body: Bytes,
}

/// What goes back; nothing closes the connection.
pub(crate) type Answered = Option<Vec<u8>>;

impl Asked {
    /// The request's body.
    pub(crate) fn read<'a, R: Request<'a>>(&'a self) -> R {
        R::decode(&self.body, self.version, ARRAYS_BYTES_MAX).expect("the client writes what can be read")
    }

    /// The answer to it.
    #[allow(clippy::unnecessary_wraps, reason = "scripts end with an answer or with none")]
    pub(crate) fn answer<'a, R: Response<'a>>(&self, response: &R) -> Answered {
        let mut chunks: Vec<Bytes> = Vec::new();
        write_response(&mut Writer::new(), self.correlation_id, self.version, response, &mut chunks)
            .expect("a script answers what its version can carry");
        Some(chunks.concat())
    }
}

/// The brokers' state that is the same in every script.
pub(crate) struct Mock {
    /// How many brokers there are; their ids count from [`BROKER`]'s.
    pub broker_count: i32,
    /// Where each listens.
    pub ports: RefCell<BTreeMap<BrokerId, u16>>,
    /// Who leads all partitions, and in which epoch, as brokers tell who ask for metadata.
    pub leader: Cell<(BrokerId, LeaderEpoch)>,
    /// What it says of native batches.
    pub native_version: Cell<i8>,
    /// The level of `transaction.version`.
    pub transaction_version: Cell<i16>,
    /// APIs that it does not offer.
    pub lacks: Vec<ApiKey>,
    /// How many partitions each topic has, or why it is not described.
    pub topics: RefCell<BTreeMap<String, Result<i32, KafkaError>>>,
}

/// The id of every topic: there is one topic in a test as a rule.
pub(crate) const TOPIC_ID: TopicId = TopicId([7; 16]);
/// Who every producer is told to be.
pub(crate) const PRODUCER: (ProducerId, ProducerEpoch) = (ProducerId(70), ProducerEpoch(0));

impl Mock {
    /// A broker with one topic.
    pub(crate) fn with_topic(name: &str, partition_count: i32) -> Self {
        Self {
            broker_count: 1,
            ports: RefCell::default(),
            leader: Cell::new((BROKER, LeaderEpoch(0))),
            native_version: Cell::default(),
            transaction_version: Cell::default(),
            lacks: Vec::new(),
            topics: RefCell::new(BTreeMap::from([(name.to_owned(), Ok(partition_count))])),
        }
    }

    /// Runs a test against the brokers, of which the client is told the first.
    pub(crate) fn run<T>(
        self,
        adjust: impl FnOnce(&mut ClientOptions),
        script: impl AsyncFn(&Self, &Asked) -> Answered + 'static,
        test: impl AsyncFnOnce(Rc<Self>, Client) -> T,
    ) -> T {
        let main = || async move {
            let mock = Rc::new(self);
            let script = Rc::new(script);
            (0..mock.broker_count).for_each(|number| mock.listen(BrokerId(BROKER.0 + number), &script));
            let client = mock.client(adjust).await;
            test(mock, client).await
        };
        executor::run(None, main).expect("an executor")
    }

    /// A client that begins at the first broker.
    pub(crate) async fn client(&self, adjust: impl FnOnce(&mut ClientOptions)) -> Client {
        let mut options = ClientOptions::new([format!("{HOST}:{}", self.port_of(BROKER))]);
        options.retry_backoff = Duration::from_millis(1);
        adjust(&mut options);
        Client::connect(options).await.expect("the broker answers")
    }

    fn port_of(&self, broker: BrokerId) -> u16 {
        self.ports.borrow()[&broker]
    }

    fn listen(
        self: &Rc<Self>,
        broker: BrokerId,
        script: &Rc<impl AsyncFn(&Self, &Asked) -> Answered + 'static>,
    ) {
        let listener = TcpListener::bind((HOST, 0)).expect("a free port");
        self.ports.borrow_mut().insert(broker, listener.local_addr().expect("it is bound").port());
        let (mock, script) = (Rc::clone(self), Rc::clone(script));
        let accepting = async move {
            while let Ok(stream) = listener.accept().await {
                let (mock, script) = (Rc::clone(&mock), Rc::clone(&script));
                let serving = async move {
                    // The client hangs up when it likes.
                    let _end = mock.serve(broker, stream, &*script).await;
                };
                glommio::spawn_local(serving).detach();
            }
        };
        glommio::spawn_local(accepting).detach();
    }

    async fn serve(
        &self,
        broker: BrokerId,
        mut stream: TcpStream,
        script: &impl AsyncFn(&Self, &Asked) -> Answered,
    ) -> io::Result<()> {
        loop {
            let mut size = [0; 4];
            stream.read_exact(&mut size).await?;
            let mut frame = vec![0; usize::try_from(u32::from_be_bytes(size)).expect("64 bits")];
            stream.read_exact(&mut frame).await?;
            let mut reader = Reader::new(&frame, ARRAYS_BYTES_MAX);
            let header = RequestHeader::read(&mut reader).expect("the client writes what can be read");
            let RequestHeader { api, version, correlation_id, .. } = header;
            let body = Bytes::copy_from_slice(reader.rest());
            let asked = Asked { broker, api, version, correlation_id, body };
            let answered = match api {
                ApiKey::ApiVersions => self.offer(&asked),
                ApiKey::Metadata => self.describe(&asked),
                ApiKey::FindCoordinator => find_coordinator(&asked, self.port_of(BROKER)),
                _ => script(self, &asked).await,
            };
            let Some(bytes) = answered else { return Ok(()) };
            stream.write_all(&bytes).await?;
        }
    }

    fn offer(&self, asked: &Asked) -> Answered {
        let offered = ApiKey::ALL.iter().filter(|api| !self.lacks.contains(api)).map(|api| ApiVersion {
            api_key: api.key(),
            min_version: *api.versions().start(),
            max_version: *api.versions().end(),
        });
        let level = self.transaction_version.get();
        asked.answer(&ApiVersionsResponse {
            error_code: ErrorCode::NONE,
            api_keys: offered.collect(),
            throttle_time_ms: 0,
            supported_features: Vec::new(),
            finalized_features_epoch: 0,
            finalized_features: vec![FinalizedFeatureKey {
                name: "transaction.version",
                max_version_level: level,
                min_version_level: level,
            }],
            zk_migration_ready: false,
            native_version: self.native_version.get(),
        })
    }

    fn describe(&self, asked: &Asked) -> Answered {
        let request: MetadataRequest<'_> = asked.read();
        let topics = self.topics.borrow();
        let (leader_id, leader_epoch) = self.leader.get();
        let partition = |index| MetadataResponsePartition {
            error_code: ErrorCode::NONE,
            partition_index: PartitionIndex(index),
            leader_id,
            leader_epoch,
            replica_nodes: vec![leader_id],
            isr_nodes: vec![leader_id],
            offline_replicas: Vec::new(),
        };
        let describe = |name| {
            let known = topics.get(name).copied().unwrap_or(Err(KafkaError::UnknownTopicOrPartition));
            MetadataResponseTopic {
                error_code: known.err().map_or(ErrorCode::NONE, KafkaError::code),
                name: Some(name),
                topic_id: if known.is_ok() { TOPIC_ID } else { TopicId::ZERO },
                is_internal: false,
                partitions: (0..known.unwrap_or(0)).map(partition).collect(),
                topic_authorized_operations: i32::MIN,
            }
        };
        let named: Vec<&str> = match &request.topics {
            Some(wanted) => wanted.iter().filter_map(|topic| topic.name).collect(),
            None => topics.keys().map(String::as_str).collect(),
        };
        let ports = self.ports.borrow();
        let broker = |(node_id, port): (&BrokerId, &u16)| MetadataResponseBroker {
            node_id: *node_id,
            host: HOST,
            port: i32::from(*port),
            rack: None,
        };
        asked.answer(&MetadataResponse {
            throttle_time_ms: 0,
            brokers: ports.iter().map(broker).collect(),
            cluster_id: Some("mock"),
            controller_id: BROKER,
            topics: named.into_iter().map(describe).collect(),
            cluster_authorized_operations: i32::MIN,
            error_code: ErrorCode::NONE,
        })
    }
}

fn find_coordinator(asked: &Asked, port: u16) -> Answered {
    let request: FindCoordinatorRequest<'_> = asked.read();
    let coordinator = |key| Coordinator {
        key,
        node_id: BROKER,
        host: HOST,
        port: i32::from(port),
        error_code: ErrorCode::NONE,
        error_message: None,
    };
    asked.answer(&FindCoordinatorResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::NONE,
        error_message: None,
        node_id: BrokerId(0),
        host: "",
        port: 0,
        coordinators: request.coordinator_keys.into_iter().map(coordinator).collect(),
    })
}

/// The answer to who asks for a producer id.
pub(crate) fn identity(asked: &Asked) -> Answered {
    asked.answer(&InitProducerIdResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::NONE,
        producer_id: PRODUCER.0,
        producer_epoch: PRODUCER.1,
    })
}

/// What a fetch brings of a partition that can be read up to `end`.
pub(crate) fn fetched(
    partition_index: PartitionIndex,
    error_code: ErrorCode,
    end: Offset,
    records: Bytes,
) -> PartitionData<'static> {
    PartitionData {
        partition_index,
        error_code,
        high_watermark: end,
        last_stable_offset: end,
        log_start_offset: Offset(0),
        diverging_epoch: EpochEndOffset { epoch: LeaderEpoch::UNKNOWN, end_offset: Offset(-1) },
        current_leader: LeaderIdAndEpoch { leader_id: BrokerId(-1), leader_epoch: LeaderEpoch::UNKNOWN },
        snapshot_id: SnapshotId { end_offset: Offset(-1), epoch: LeaderEpoch::UNKNOWN },
        aborted_transactions: None,
        preferred_read_replica: BrokerId(-1),
        records: Some(Payload::Shared(records)),
    }
}

/// The answer to a fetch from the topic.
pub(crate) fn answer_fetch(asked: &Asked, partitions: Vec<PartitionData<'_>>) -> Answered {
    asked.answer(&FetchResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::NONE,
        session_id: 0,
        responses: vec![FetchableTopicResponse { topic: "", topic_id: TOPIC_ID, partitions }],
        node_endpoints: Vec::new(),
    })
}

/// The moment at which a test that hangs is over.
pub(crate) fn patience() -> Instant {
    Instant::now() + Duration::from_secs(30)
}
