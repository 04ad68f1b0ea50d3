//! The producers of the kill test: raw sockets, several batches in flight, every acknowledgement put into the books.
//!
//! A plain producer forgets what was in flight when the broker died. An idempotent one sends it again afterwards, with the
//! same sequence numbers, as a client library would; each record must then stand in the log once.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::batch::Batch;
use e2e::broker::Target;
use e2e::ledger::Stamp;
use e2e::wire::{Closed, Connection, decode_response, encode_request, topic_name};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, ProduceResponse};
use rand::Rng;
use rand::rngs::SmallRng;

use super::world::{Fate, PLANS, Topic, World};

/// A broker remembers the last five batches of a producer in a partition: no more may be in flight.
const IN_FLIGHT_MAX: usize = 5;
const BATCH_RECORDS_MAX: u64 = 20;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const NOT_LEADER_OR_FOLLOWER: i16 = 6;
const UNKNOWN_TOPIC_ID: i16 = 100;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;

/// One producer; it outlives the broker's lives.
pub struct Producer {
    number: u32,
    random: SmallRng,
    idempotent: bool,
    identity: Option<(i64, i16)>,
    /// By incarnation and partition, the number that the next record gets.
    next_numbers: BTreeMap<(u32, i32), u64>,
    in_flight: VecDeque<Sent>,
    correlation: i32,
}

/// A batch on its way.
struct Sent {
    topic: Topic,
    partition: i32,
    first_number: u64,
    count: u64,
    correlation: i32,
}

impl Producer {
    pub fn new(number: u32, random: SmallRng, idempotent: bool) -> Self {
        let (identity, next_numbers, in_flight) = (None, BTreeMap::new(), VecDeque::new());
        Self { number, random, idempotent, identity, next_numbers, in_flight, correlation: 0 }
    }

    /// Produces until the broker is gone or the world says to stop.
    pub fn run(&mut self, address: SocketAddr, world: &World) {
        let Ok(mut connection) = Connection::try_open(address) else { return };
        let _ended = self.run_until_closed(&mut connection, world);
        if !self.idempotent {
            self.in_flight.clear();
        }
    }

    fn run_until_closed(&mut self, connection: &mut Connection, world: &World) -> Result<(), Closed> {
        if self.idempotent && self.identity.is_none() {
            let request = InitProducerIdRequest::default().with_transactional_id(None);
            let mut answer = connection.try_call(4, &request)?;
            // Apache Kafka is up before its transaction coordinator is; Iolite is ready when it says so.
            while answer.error_code == COORDINATOR_LOAD_IN_PROGRESS && Target::chosen() == Target::Kafka {
                answer = connection.try_call(4, &request)?;
            }
            if answer.error_code != 0 {
                world.wrong(format!("InitProducerId: error {}", answer.error_code));
                return Ok(());
            }
            self.identity = Some((answer.producer_id.0, answer.producer_epoch));
        }
        for index in 0..self.in_flight.len() {
            self.send(connection, index)?;
        }
        loop {
            while self.in_flight.len() < IN_FLIGHT_MAX && self.begin_batch(world) {
                self.send(connection, self.in_flight.len() - 1)?;
            }
            if self.in_flight.is_empty() {
                return Ok(());
            }
            let frame = connection.receive()?;
            let sent = self.in_flight.pop_front().expect("an answer follows a request");
            let version = self.version(&sent);
            let answer = decode_response::<ProduceRequest>(frame, sent.correlation, version);
            self.settle(&sent, &answer, world);
        }
    }

    /// Puts one more batch at the end of what is in flight, unless the round is over.
    fn begin_batch(&mut self, world: &World) -> bool {
        let topic = {
            let state = world.lock();
            if state.stopping || state.topics.is_empty() {
                return false;
            }
            let choice = self.random.random_range(0..state.topics.len());
            *state.topics.values().nth(choice).expect("one of them")
        };
        let partition = self.random.random_range(0..PLANS[topic.plan].partitions);
        let count = self.random.random_range(1..=BATCH_RECORDS_MAX);
        let next = self.next_numbers.entry((topic.incarnation, partition)).or_default();
        let first_number = *next;
        *next += count;
        self.in_flight.push_back(Sent { topic, partition, first_number, count, correlation: 0 });
        true
    }

    /// By topic id where a name could mean another life of the topic, otherwise by name for half of the producers.
    fn version(&self, sent: &Sent) -> i16 {
        if self.idempotent || PLANS[sent.topic.plan].fate == Fate::Churned { 13 } else { 9 }
    }

    fn stamps(&self, sent: &Sent) -> impl Iterator<Item = Stamp> + use<> {
        let (incarnation, partition, producer) = (sent.topic.incarnation, sent.partition, self.number);
        let numbers = sent.first_number..sent.first_number + sent.count;
        numbers.map(move |number| Stamp { incarnation, partition, producer, number })
    }

    fn send(&mut self, connection: &mut Connection, index: usize) -> Result<(), Closed> {
        self.correlation += 1;
        self.in_flight[index].correlation = self.correlation;
        let sent = &self.in_flight[index];
        let values: Vec<Vec<u8>> = self.stamps(sent).map(Stamp::value).collect();
        let mut batch = Batch::of_values(now_ms(), &values);
        if let Some((id, epoch)) = self.identity {
            let sequence = i32::try_from(sent.first_number).expect("a test is short");
            batch = batch.by_producer(id, epoch, sequence);
        }
        let data = PartitionProduceData::default()
            .with_index(sent.partition)
            .with_records(Some(batch.encode().into()));
        let version = self.version(sent);
        let topic = TopicProduceData::default().with_partition_data(vec![data]);
        let topic = if version >= 13 {
            topic.with_topic_id(uuid(sent.topic.id))
        } else {
            topic.with_name(topic_name(PLANS[sent.topic.plan].name))
        };
        let request =
            ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
        connection.send(&encode_request(sent.correlation, version, &request))
    }

    fn settle(&mut self, sent: &Sent, answer: &ProduceResponse, world: &World) {
        let answer = &answer.responses[0].partition_responses[0];
        // Whoever is answered so must have asked for a topic that is being deleted, not for one just made.
        let going = world
            .lock()
            .topics
            .get(&sent.topic.plan)
            .is_none_or(|topic| topic.doomed || topic.incarnation != sent.topic.incarnation);
        match answer.error_code {
            0 => world.acked(answer.base_offset, self.stamps(sent)),
            UNKNOWN_TOPIC_ID | UNKNOWN_TOPIC_OR_PARTITION | NOT_LEADER_OR_FOLLOWER if going => {}
            code => world.wrong(format!(
                "producer {} (idempotent: {}) got error {code} ({:?}) for {} records from number {} of {:?}-{}",
                self.number,
                self.idempotent,
                answer.error_message,
                sent.count,
                sent.first_number,
                PLANS[sent.topic.plan].name,
                sent.partition
            )),
        }
    }
}

/// Records of now: segments roll by their times.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970");
    i64::try_from(since.as_millis()).expect("milliseconds fit")
}

/// A topic's id as the messages take it.
pub fn uuid(id: [u8; 16]) -> uuid::Uuid {
    uuid::Uuid::from_bytes(id)
}
