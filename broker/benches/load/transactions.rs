//! Transactions by the second protocol (KIP-890): a producer writes one record and commits, again and again, one producer
//! alone and many at once. Every record of every committed transaction is read back, in order and once.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use protocol::api::ApiKey;
use protocol::batch::BatchIter;
use protocol::error::KafkaError;
use protocol::messages::end_txn::{EndTxnRequest, EndTxnResponse};
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use protocol::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use protocol::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use protocol::records::{BatchBuilder, BatchOptions, ProducerStamp, RecordIter};
use protocol::types::{Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId};
use protocol::wire::Payload;

use super::broker::{Broker, Target};
use super::calls::{Answer, Calls, CoordinatorKind};
use super::figures::{Table, record};
use super::groups::others;
use super::scenarios::{Plan, WARM_UP};
use super::topic;
use super::wire::Prepared;

/// The first version by which writing adds a partition to the transaction.
const PRODUCE_VERSION: i16 = 12;
/// The first version by which an end gives the next epoch.
const END_VERSION: i16 = 5;
const INIT_VERSION: i16 = 5;
const FETCH_VERSION: i16 = 11;
const TRANSACTION_TIMEOUT_MS: i32 = 60_000;
const READ_COMMITTED: i8 = 1;
const FETCH_BYTES_MAX: i32 = 1 << 20;
/// How long markers may take to be readable.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many producers there are at once.
const PRODUCERS: [usize; 2] = [1, 50];
/// A transaction takes two offsets: its record's and its marker's.
const OFFSETS_PER_TRANSACTION: i64 = 2;

/// Runs the scenario.
pub fn transactions(plan: &Plan) -> Table {
    let mut table = Table::default();
    let mut brokers: Vec<(String, Broker, Vec<Crowd>)> = Vec::new();
    for (name, broker) in plan.start() {
        let crowds = PRODUCERS.map(|count| Crowd::new(&broker, count, plan.record_bytes));
        brokers.push((name, broker, crowds.into()));
    }
    for _ in 0..plan.rounds {
        for (name, broker, crowds) in &mut brokers {
            for crowd in crowds {
                let case = plan.label(&format!("transactional producers: {}", crowd.producers.len()), name);
                run(plan, broker, crowd, &case, &mut table);
            }
        }
    }
    table
}

fn run(plan: &Plan, broker: &Broker, crowd: &mut Crowd, case: &str, table: &mut Table) {
    let mut calls = Calls::connect(broker.address, crowd.producers.len());
    crowd.begin(&mut calls);
    crowd.run(&mut calls, WARM_UP);
    let before = broker.usage();
    let begin = Instant::now();
    let round = crowd.run(&mut calls, plan.measured);
    let time = begin.elapsed();
    let after = broker.usage();
    crowd.read_back(&mut calls);
    let transactions = round.ends.len().max(1) as f64;
    table.note(case, "transactions/s", round.ends.len() as f64 / time.as_secs_f64());
    table.note(case, "CPU µs/trans.", (after.cpu - before.cpu).as_secs_f64() * 1e6 / transactions);
    table.note(case, "tries/produce", round.tries as f64 / transactions);
    table.note(case, "others %", others(&before, &after, time));
    table.note_latency(&format!("{case}; from writing to the end's answer"), &round.whole);
    table.note_latency(&format!("{case}; the end"), &round.ends);
}

/// What a round has shown, latencies in nanoseconds.
struct Round {
    ends: Histogram<u64>,
    whole: Histogram<u64>,
    /// How often a record was sent: the coordinator may still be writing the markers of the transaction before.
    tries: u64,
}

/// Producers, each with a partition of its own.
struct Crowd {
    topic: String,
    record_bytes: usize,
    producers: Vec<Producer>,
}

struct Producer {
    transactional_id: String,
    partition: PartitionIndex,
    id: ProducerId,
    epoch: ProducerEpoch,
    /// How many of its transactions are committed, over all rounds.
    committed: i64,
    /// How many of them were read back, and up to where.
    read: i64,
    next_offset: i64,
    began: Instant,
}

impl Crowd {
    fn new(broker: &Broker, count: usize, record_bytes: usize) -> Self {
        let topic = format!("transactions-{count}");
        topic::create(
            broker.address,
            &topic,
            i32::try_from(count).expect("a count"),
            &[("retention.ms", "-1".to_owned())],
        );
        let producers = (0..).take(count).map(|partition| Producer {
            transactional_id: format!("{count}-{partition}"),
            partition: PartitionIndex(partition),
            id: ProducerId::NONE,
            epoch: ProducerEpoch::NONE,
            committed: 0,
            read: 0,
            next_offset: 0,
            began: Instant::now(),
        });
        Self { producers: producers.collect(), record_bytes, topic }
    }

    /// Has every producer given an id and an epoch.
    fn begin(&mut self, calls: &mut Calls) {
        let ids: Vec<&str> = self.producers.iter().map(|producer| &*producer.transactional_id).collect();
        calls.find_coordinators(CoordinatorKind::Transaction, &ids);
        for producer in &mut self.producers {
            let request = InitProducerIdRequest {
                transactional_id: Some(&producer.transactional_id),
                transaction_timeout_ms: TRANSACTION_TIMEOUT_MS,
                producer_id: ProducerId::NONE,
                producer_epoch: ProducerEpoch::NONE,
            };
            let request = Prepared::of(INIT_VERSION, &request);
            (producer.id, producer.epoch) = calls.call_until_ready(&request, |answer| {
                let response: InitProducerIdResponse = answer.read();
                response.error_code.into_result()?;
                Ok((response.producer_id, response.producer_epoch))
            });
        }
    }

    /// Runs transactions for a while; each that was begun is ended.
    fn run(&mut self, calls: &mut Calls, time: Duration) -> Round {
        let histogram = || Histogram::new(3).expect("three digits are within bounds");
        let mut round = Round { ends: histogram(), whole: histogram(), tries: 0 };
        let until = Instant::now() + time;
        let Self { producers, topic, record_bytes } = self;
        let produce = |producer: &Producer| producer.produce(topic, *record_bytes);
        calls.drive(|number, answer| {
            let producer = &mut producers[number];
            let Some(answer) = answer else {
                producer.began = Instant::now();
                return Some(produce(producer));
            };
            if answer.request().api == ApiKey::Produce {
                round.tries += 1;
                let is_written = producer.is_written(&answer);
                return Some(if is_written { producer.end() } else { produce(producer) });
            }
            producer.take_end(&answer);
            record(&mut round.ends, answer.took);
            record(&mut round.whole, producer.began.elapsed());
            producer.began = Instant::now();
            (producer.began < until).then(|| produce(producer))
        });
        round
    }

    /// Reads all that was committed since the last time, as soon as the last markers are there.
    fn read_back(&mut self, calls: &mut Calls) {
        let until = Instant::now() + PATIENCE;
        let (producers, topic) = (&mut self.producers, &self.topic);
        calls.drive(|number, answer| {
            let producer = &mut producers[number];
            if let Some(answer) = answer {
                producer.take_records(&answer);
            }
            assert!(Instant::now() < until, "{}: markers do not come", producer.transactional_id);
            (!producer.is_read()).then(|| producer.fetch(topic))
        });
    }
}

impl Producer {
    /// Writes the transaction's one record, whose value begins with the transaction's number.
    fn produce(&self, topic: &str, record_bytes: usize) -> Prepared {
        let producer = ProducerStamp { id: self.id, epoch: self.epoch, base_sequence: Sequence(0) };
        let options = BatchOptions { producer, transactional: true, ..BatchOptions::default() };
        let mut value = self.committed.to_be_bytes().to_vec();
        value.resize(record_bytes.max(value.len()), 0);
        let mut batch = BatchBuilder::new(options);
        batch.append(Timestamp(1_700_000_000_000), None, Some(&value), &[]);
        let batch = batch.build();
        let data = PartitionProduceData { index: self.partition, records: Some(Payload::Borrowed(&batch)) };
        let topic = TopicProduceData { name: topic, topic_id: TopicId::ZERO, partition_data: vec![data] };
        let request = ProduceRequest {
            transactional_id: Some(&self.transactional_id),
            acks: -1,
            timeout_ms: 30_000,
            topic_data: vec![topic],
        };
        Prepared::of(PRODUCE_VERSION, &request)
    }

    /// Whether the record is in the transaction; otherwise the one before is not over yet.
    fn is_written(&self, answer: &Answer) -> bool {
        let response: ProduceResponse<'_> = answer.read();
        let partition = &response.responses[0].partition_responses[0];
        match partition.error_code.into_result() {
            Ok(()) => {
                let due = self.committed * OFFSETS_PER_TRANSACTION;
                assert_eq!(
                    partition.base_offset.0, due,
                    "{}: one record and one marker each",
                    self.transactional_id
                );
                true
            }
            Err(KafkaError::ConcurrentTransactions) => false,
            Err(error) => panic!("{}: produce: {error} {:?}", self.transactional_id, partition.error_message),
        }
    }

    fn end(&self) -> Prepared {
        let request = EndTxnRequest {
            transactional_id: &self.transactional_id,
            producer_id: self.id,
            producer_epoch: self.epoch,
            committed: true,
        };
        Prepared::of(END_VERSION, &request)
    }

    fn take_end(&mut self, answer: &Answer) {
        let response: EndTxnResponse = answer.read();
        response
            .error_code
            .into_result()
            .unwrap_or_else(|error| panic!("{}: end: {error}", self.transactional_id));
        let (before, after) = ((self.id, self.epoch), (response.producer_id, response.producer_epoch));
        assert_ne!(before, after, "an end gives the next epoch");
        (self.id, self.epoch) = after;
        self.committed += 1;
    }

    fn is_read(&self) -> bool {
        self.next_offset == self.committed * OFFSETS_PER_TRANSACTION
    }

    fn fetch(&self, topic: &str) -> Prepared {
        let asked = FetchPartition {
            partition: self.partition,
            fetch_offset: Offset(self.next_offset),
            partition_max_bytes: FETCH_BYTES_MAX,
            ..FetchPartition::default()
        };
        let request = FetchRequest {
            max_wait_ms: 100,
            min_bytes: 1,
            max_bytes: FETCH_BYTES_MAX,
            isolation_level: READ_COMMITTED,
            session_epoch: -1,
            topics: vec![FetchTopic { topic, topic_id: TopicId::ZERO, partitions: vec![asked] }],
            ..FetchRequest::default()
        };
        Prepared::of(FETCH_VERSION, &request)
    }

    /// Takes committed records, each of which must be the next, and markers.
    fn take_records(&mut self, answer: &Answer) {
        let response: FetchResponse<'_> = answer.read();
        response.error_code.into_result().expect("the fetch is served");
        let partition = &response.responses[0].partitions[0];
        partition.error_code.into_result().expect("the partition is served");
        assert!(partition.aborted_transactions.iter().flatten().next().is_none(), "nothing was aborted");
        let records = partition.records.as_ref().and_then(Payload::borrowed).unwrap_or_default();
        for batch in BatchIter::new(records) {
            // The answer may end inside of a batch.
            let Ok(batch) = batch else { break };
            assert_eq!(batch.header().base_offset().0, self.next_offset, "offsets are dense");
            self.next_offset = batch.header().next_offset().0;
            if batch.header().is_control() {
                continue;
            }
            for record in RecordIter::new(batch.body(), batch.header()) {
                let value = record.expect("a sound batch").value.expect("a value");
                let number = i64::from_be_bytes(*value.first_chunk().expect("a number in front"));
                assert_eq!(number, self.read, "{}: every transaction once, in order", self.transactional_id);
                self.read += 1;
            }
        }
        if self.is_read() {
            assert_eq!(self.read, self.committed, "{}: what was committed", self.transactional_id);
        }
    }
}
