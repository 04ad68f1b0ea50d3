//! A producer against a broker made up for it, whose log is what the tests look at.

use std::time::Duration;

use protocol::api::ApiKey;
use protocol::batch::{BatchIter, Encoding};
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::describe_producers::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use protocol::messages::produce::{
    LeaderIdAndEpoch, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use protocol::records::RecordIter;
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, Sequence, Timestamp};

use super::*;
use crate::mock::{self, Answered, Asked, Mock, PRODUCER, TOPIC_ID, patience};
use crate::producer::{Acked, DeliveryListener, FailedBatch, Producer};

/// A record in the log: epoch, sequence, value.
type Kept = (i16, i32, String);

/// The log of partition 0.
#[derive(Default)]
struct Log {
    kept: RefCell<Vec<Kept>>,
    /// The encodings that batches came in.
    encodings: RefCell<Vec<Encoding>>,
    /// The partitions that were written to.
    partitions: RefCell<Vec<PartitionIndex>>,
}

impl Log {
    /// The values that there are.
    fn values(&self) -> Vec<String> {
        self.kept.borrow().iter().map(|(.., value)| value.clone()).collect()
    }

    /// The records of the batch in a request.
    fn records(&self, asked: &Asked) -> Vec<Kept> {
        let request: ProduceRequest<'_> = asked.read();
        let data = &request.topic_data[0].partition_data[0];
        let bytes = data.records.as_ref().and_then(Payload::borrowed).expect("there is a batch");
        let batch = BatchIter::new(bytes).next().expect("there is one").expect("it is sound");
        let header = batch.header();
        self.encodings.borrow_mut().push(header.encoding().expect("a known one"));
        self.partitions.borrow_mut().push(data.index);
        let records = RecordIter::new(batch.body(), header).map(|record| record.expect("sound"));
        let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
        (header.base_sequence().0..)
            .zip(records)
            .map(|(sequence, record)| (header.producer_epoch().0, sequence, text(record.value)))
            .collect()
    }

    fn keep(&self, records: Vec<Kept>) -> Result<i64, KafkaError> {
        let offset = self.kept.borrow().len();
        self.kept.borrow_mut().extend(records);
        Ok(i64::try_from(offset).expect("few"))
    }
}

fn answer(asked: &Asked, outcome: Result<i64, KafkaError>) -> Answered {
    let request: ProduceRequest<'_> = asked.read();
    let partition = |data: &PartitionProduceData<'_>| PartitionProduceResponse {
        index: data.index,
        error_code: outcome.err().map_or(ErrorCode::NONE, KafkaError::code),
        base_offset: Offset(outcome.unwrap_or(-1)),
        log_append_time_ms: Timestamp(-1),
        log_start_offset: Offset(0),
        record_errors: Vec::new(),
        error_message: None,
        current_leader: LeaderIdAndEpoch { leader_id: BrokerId(-1), leader_epoch: LeaderEpoch::UNKNOWN },
    };
    let partition_responses = request.topic_data[0].partition_data.iter().map(partition).collect();
    let topic = TopicProduceResponse { name: "", topic_id: TOPIC_ID, partition_responses };
    asked.answer(&ProduceResponse { responses: vec![topic], throttle_time_ms: 0, node_endpoints: Vec::new() })
}

/// Runs a test against a broker that answers produces so, and knows the producer as far as `last` says.
fn against<T>(
    mock: Mock,
    log: &Rc<Log>,
    produced: impl Fn(&Log, Vec<Kept>) -> Option<Result<i64, KafkaError>> + 'static,
    test: impl AsyncFnOnce(Rc<Mock>, Client) -> T,
) -> T {
    let log = Rc::clone(log);
    let script = async move |_: &Mock, asked: &Asked| match asked.api {
        ApiKey::InitProducerId => mock::identity(asked),
        ApiKey::DescribeProducers => describe(asked, &log),
        ApiKey::Produce => {
            let records = log.records(asked);
            answer(asked, produced(&log, records)?)
        }
        other => panic!("{other} is not asked for"),
    };
    mock.run(|options| options.metadata_age_max = Duration::from_millis(5), script, test)
}

fn describe(asked: &Asked, log: &Log) -> Answered {
    let last = log.kept.borrow().last().map_or(-1, |(_, sequence, _)| *sequence);
    let producer = ProducerState {
        producer_id: PRODUCER.0,
        producer_epoch: i32::from(PRODUCER.1.0),
        last_sequence: Sequence(last),
        last_timestamp: Timestamp(1),
        coordinator_epoch: 0,
        current_txn_start_offset: Offset(-1),
    };
    let partition = PartitionResponse {
        partition_index: PartitionIndex(0),
        error_code: ErrorCode::NONE,
        error_message: None,
        active_producers: vec![producer],
    };
    asked.answer(&DescribeProducersResponse {
        throttle_time_ms: 0,
        topics: vec![TopicResponse { name: "t", partitions: vec![partition] }],
    })
}

async fn deliver(producer: &Producer, values: &[&str]) -> Vec<Result<Acked, ProduceError>> {
    let topic = producer.topic("t").await.expect("the topic");
    let mut deliveries = Vec::new();
    for value in values {
        let record = Record { partition: Some(PartitionIndex(0)), ..Record::of_value(value.as_bytes()) };
        deliveries.push(producer.send(&topic, &record).await.expect("it is taken"));
    }
    let flushed = executor::before(patience(), producer.flush()).await;
    flushed.expect("everything is decided");
    deliveries.into_iter().map(|delivery| delivery.now().expect("everything is decided")).collect()
}

fn offsets(outcomes: Vec<Result<Acked, ProduceError>>) -> Vec<Option<i64>> {
    outcomes.into_iter().map(|outcome| outcome.expect("delivered").offset.map(Offset::get)).collect()
}

/// Options under which all records come in one batch, or each in one of its own.
fn in_batches_of(bytes: usize) -> ProducerOptions {
    ProducerOptions {
        batch_bytes_max: bytes,
        linger: Duration::from_secs(3600),
        ..ProducerOptions::default()
    }
}

const ONE_BATCH: usize = 10_000;
const EACH_ITS_OWN: usize = 1;

#[test]
fn a_batch_that_is_too_large_goes_in_parts_with_its_sequences() {
    let log = Rc::new(Log::default());
    let at_most_two = |log: &Log, records: Vec<Kept>| {
        Some(if records.len() > 2 { Err(KafkaError::MessageTooLarge) } else { log.keep(records) })
    };
    against(Mock::with_topic("t", 1), &log, at_most_two, async |_, client| {
        let producer = client.producer(in_batches_of(ONE_BATCH)).await.expect("a producer");
        let values = ["a", "b", "c", "d", "e", "f", "g"];
        let outcomes = deliver(&producer, &values).await;
        assert_eq!(offsets(outcomes), (0..7).map(Some).collect::<Vec<_>>());
        let kept: Vec<Kept> =
            (0..).zip(values).map(|(number, value)| (0, number, value.to_owned())).collect();
        assert_eq!(*log.kept.borrow(), kept);
        assert_eq!(producer.held_bytes(), 0);
    });
}

#[test]
fn in_batches_of_a_byte_each_record_has_its_own() {
    for bytes in [0, 1] {
        let log = Rc::new(Log::default());
        let sizes: Rc<RefCell<Vec<usize>>> = Rc::default();
        let noted = Rc::clone(&sizes);
        let note = move |log: &Log, records: Vec<Kept>| {
            noted.borrow_mut().push(records.len());
            Some(log.keep(records))
        };
        against(Mock::with_topic("t", 1), &log, note, async |_, client| {
            let producer = client.producer(in_batches_of(bytes)).await.expect("a producer");
            deliver(&producer, &["", "a", "", "bc", "d"]).await;
        });
        assert_eq!(log.values(), ["", "a", "", "bc", "d"]);
        assert_eq!(*sizes.borrow(), [1; 5], "{bytes}");
    }
}

/// The partitions of a request's batches, and the bytes of them all.
type Sent = (Vec<i32>, usize);

/// Two batches fit into a request and a third does not; the batch of partition 2 is too much for any.
#[test]
fn a_request_keeps_within_its_bytes_and_a_batch_too_large_for_it_goes_alone() {
    const REQUEST_BYTES_MAX: usize = 1000;
    let requests: Rc<RefCell<Vec<Sent>>> = Rc::default();
    let noted = Rc::clone(&requests);
    let script = async move |_: &Mock, asked: &Asked| match asked.api {
        ApiKey::InitProducerId => mock::identity(asked),
        ApiKey::Produce => {
            let request: ProduceRequest<'_> = asked.read();
            let data = || request.topic_data.iter().flat_map(|topic| &topic.partition_data);
            let bytes = |data: &PartitionProduceData<'_>| {
                data.records.as_ref().and_then(Payload::borrowed).expect("there is a batch").len()
            };
            let indexes = data().map(|data| data.index.get()).collect();
            noted.borrow_mut().push((indexes, data().map(bytes).sum()));
            answer(asked, Ok(0))
        }
        other => panic!("{other} is not asked for"),
    };
    Mock::with_topic("t", 5).run(
        |_| {},
        script,
        async |_, client| {
            let options =
                ProducerOptions { request_bytes_max: REQUEST_BYTES_MAX, ..in_batches_of(ONE_BATCH) };
            let producer = client.producer(options).await.expect("a producer");
            let topic = producer.topic("t").await.expect("the topic");
            let mut deliveries = Vec::new();
            for (index, length) in [300, 300, 950, 300, 300].into_iter().enumerate() {
                let partition = Some(PartitionIndex(i32::try_from(index).expect("few")));
                let value = vec![b'v'; length];
                let record = Record { partition, ..Record::of_value(&value) };
                deliveries.push(producer.send(&topic, &record).await.expect("it is taken"));
            }
            executor::before(patience(), producer.flush()).await.expect("everything is decided");
            for delivery in deliveries {
                delivery.now().expect("everything is decided").expect("it is delivered");
            }
        },
    );
    let requests = requests.borrow();
    let partitions: Vec<&[i32]> = requests.iter().map(|(indexes, _)| &indexes[..]).collect();
    assert_eq!(partitions, [&[0, 1][..], &[2], &[3, 4]]);
    let are_within: Vec<bool> = requests.iter().map(|(_, bytes)| *bytes <= REQUEST_BYTES_MAX).collect();
    assert_eq!(are_within, [true, false, true], "{requests:?}");
}

#[test]
fn a_record_that_is_too_large_fails_alone() {
    let log = Rc::new(Log::default());
    let nothing_big = |log: &Log, records: Vec<Kept>| {
        let is_big = records.iter().any(|(.., value)| value == "big");
        Some(if is_big { Err(KafkaError::MessageTooLarge) } else { log.keep(records) })
    };
    against(Mock::with_topic("t", 1), &log, nothing_big, async |_, client| {
        let producer = client.producer(in_batches_of(ONE_BATCH)).await.expect("a producer");
        let outcomes = deliver(&producer, &["a", "b", "big", "c", "d"]).await;
        for (place, outcome) in outcomes.iter().enumerate() {
            let is_refused =
                matches!(outcome, Err(ProduceError::Refused { error: KafkaError::MessageTooLarge, .. }));
            assert_eq!(is_refused, place == 2, "{outcome:?}");
        }
        assert_eq!(log.values(), ["a", "b", "c", "d"]);
        assert_eq!(producer.held_bytes(), 0);
    });
}

/// The broker dies with a batch that it has not answered, and remembers nothing of it but how far the producer has come.
#[test]
fn what_a_broker_has_and_does_not_know_again_is_not_sent_twice() {
    let log = Rc::new(Log::default());
    let has_died = Cell::new(false);
    let forgetful = move |log: &Log, records: Vec<Kept>| {
        let next = log.kept.borrow().len();
        let sequence = usize::try_from(records[0].1).expect("not negative");
        if sequence != next {
            return Some(Err(KafkaError::OutOfOrderSequenceNumber));
        }
        let kept = log.keep(records);
        let dies = sequence == 1 && !has_died.replace(true);
        (!dies).then_some(kept)
    };
    against(Mock::with_topic("t", 1), &log, forgetful, async |_, client| {
        let producer = client.producer(in_batches_of(EACH_ITS_OWN)).await.expect("a producer");
        let outcomes = deliver(&producer, &["a", "b", "c", "d"]).await;
        assert_eq!(offsets(outcomes), [Some(0), None, Some(2), Some(3)]);
        let kept: Vec<Kept> = ["a", "b", "c", "d"]
            .into_iter()
            .map(str::to_owned)
            .zip(0..)
            .map(|(value, number)| (0, number, value))
            .collect();
        assert_eq!(*log.kept.borrow(), kept);
    });
}

/// The same of a broker that can't say how far the producer has come: what may be there is not sent under another epoch.
#[test]
fn what_nobody_can_clear_up_fails_and_is_not_sent_again() {
    let log = Rc::new(Log::default());
    let has_died = Cell::new(false);
    let forgetful = move |log: &Log, records: Vec<Kept>| {
        if records[0].0 == 0 && records[0].1 > 0 && has_died.get() {
            return Some(Err(KafkaError::OutOfOrderSequenceNumber));
        }
        let dies = records[0].2 == "b";
        let kept = log.keep(records);
        has_died.set(has_died.get() || dies);
        (!dies).then_some(kept)
    };
    let mock = Mock { lacks: vec![ApiKey::DescribeProducers], ..Mock::with_topic("t", 1) };
    against(mock, &log, forgetful, async |_, client| {
        let producer = client.producer(in_batches_of(EACH_ITS_OWN)).await.expect("a producer");
        let outcomes = deliver(&producer, &["a", "b"]).await;
        assert!(matches!(outcomes[..], [Ok(_), Err(ProduceError::Unclear)]), "{outcomes:?}");
        let outcomes = deliver(&producer, &["c"]).await;
        assert_eq!(offsets(outcomes), [Some(2)]);
        let kept = [(0, 0, "a".to_owned()), (0, 1, "b".to_owned()), (1, 0, "c".to_owned())];
        assert_eq!(*log.kept.borrow(), kept);
    });
}

#[test]
fn native_batches_go_to_brokers_that_take_them_and_kafkas_to_others() {
    for (announced, expected) in [(0, Encoding::Kafka), (1, Encoding::Native), (2, Encoding::Native)] {
        let log = Rc::new(Log::default());
        let mock = Mock::with_topic("t", 1);
        mock.native_version.set(announced);
        against(
            mock,
            &log,
            |log, records| Some(log.keep(records)),
            async |_, client| {
                let options = ProducerOptions { encoding: Encoding::Native, ..in_batches_of(EACH_ITS_OWN) };
                let producer = client.producer(options).await.expect("a producer");
                deliver(&producer, &["a", "b", "c"]).await;
                assert_eq!(log.values(), ["a", "b", "c"], "announced {announced}");
                assert!(log.encodings.borrow().iter().all(|one| *one == expected), "announced {announced}");
            },
        );
    }
}

/// Nothing fails, and nobody asks for the topic anew: its new partitions are seen when what is known has grown old.
#[test]
fn a_running_producer_finds_new_partitions() {
    let log = Rc::new(Log::default());
    against(
        Mock::with_topic("t", 1),
        &log,
        |log, records| Some(log.keep(records)),
        async |mock, client| {
            let options = ProducerOptions { batch_bytes_max: 1, ..ProducerOptions::default() };
            let producer = client.producer(options).await.expect("a producer");
            let topic = producer.topic("t").await.expect("the topic");
            mock.topics.borrow_mut().insert("t".to_owned(), Ok(3));
            let until = patience();
            while log.partitions.borrow().iter().all(|index| *index == PartitionIndex(0)) {
                assert!(Instant::now() < until, "records go to new partitions");
                let sent = producer.send(&topic, &Record::of_value(b"v")).await.expect("it is taken");
                sent.await.expect("it is delivered");
            }
            assert_eq!(topic.partition_count(), 3);
        },
    );
}

/// What a listener was told: the tokens, and what became of them.
#[derive(Default)]
struct Diary(RefCell<Vec<(Vec<u64>, String)>>);

impl Diary {
    fn note(&self, tokens: &[u64], told: String) {
        self.0.borrow_mut().push((tokens.to_vec(), told));
    }
}

impl DeliveryListener for Diary {
    fn delivered(&self, batch: &DeliveredBatch<'_>) {
        let DeliveredBatch { topic, partition, outcome, payload_bytes, .. } = batch;
        let offset = outcome.as_ref().expect("delivered").offset.map(Offset::get);
        self.note(
            batch.tokens,
            format!("{topic}-{partition} delivered at {offset:?}, {payload_bytes} bytes"),
        );
    }

    fn sent(&self, batch: &SentBatch<'_>) {
        let SentBatch { topic, partition, attempt, request, .. } = batch;
        self.note(batch.tokens, format!("{topic}-{partition} sent, attempt {attempt}, request {request}"));
    }

    fn failed(&self, batch: &FailedBatch<'_>) {
        let FailedBatch { topic, partition, attempt, reason, .. } = batch;
        self.note(batch.tokens, format!("{topic}-{partition} attempt {attempt} failed by {reason:?}"));
    }
}

/// The first attempt is refused, the second is too large, and the parts are taken.
#[test]
fn a_listener_is_told_of_every_attempt() {
    let log = Rc::new(Log::default());
    let refusals = RefCell::new(vec![KafkaError::MessageTooLarge, KafkaError::NotEnoughReplicas]);
    let at_last =
        move |log: &Log, records| Some(refusals.borrow_mut().pop().map_or_else(|| log.keep(records), Err));
    let diary = Rc::new(Diary::default());
    let listener: Rc<dyn DeliveryListener> = Rc::<Diary>::clone(&diary);
    against(Mock::with_topic("t", 1), &log, at_last, async move |_, client| {
        let options = ProducerOptions { listener: Some(listener), ..in_batches_of(ONE_BATCH) };
        let producer = client.producer(options).await.expect("a producer");
        let topic = producer.topic("t").await.expect("the topic");
        for (token, value) in [(7, "a"), (8, "bc"), (9, "def")] {
            let record = Record { token, ..Record::of(b"k", value.as_bytes()) };
            // What becomes of it, the listener is told.
            drop(producer.send(&topic, &record).await.expect("it is taken"));
        }
        executor::before(patience(), producer.flush()).await.expect("everything is decided");
    });
    let told = |tokens: &[u64], told: &str| (tokens.to_vec(), format!("t-0 {told}"));
    let expected = [
        told(&[7, 8, 9], "sent, attempt 1, request 1"),
        told(&[7, 8, 9], "attempt 1 failed by Some(NotEnoughReplicas)"),
        told(&[7, 8, 9], "sent, attempt 2, request 2"),
        told(&[7, 8, 9], "attempt 2 failed by Some(MessageTooLarge)"),
        told(&[7], "sent, attempt 3, request 3"),
        told(&[7], "delivered at Some(0), 2 bytes"),
        told(&[8, 9], "sent, attempt 3, request 4"),
        told(&[8, 9], "delivered at Some(1), 7 bytes"),
    ];
    assert_eq!(*diary.0.borrow(), expected);
}

/// The broker answers nothing, and reads one request after the other.
#[test]
fn without_acks_a_flush_waits_until_everything_was_read() {
    const RECORDS: usize = 50;
    let log = Rc::new(Log::default());
    let noted = Rc::clone(&log);
    let script = async move |_: &Mock, asked: &Asked| {
        let records = noted.records(asked);
        noted.keep(records).expect("it is kept");
        Some(Vec::new())
    };
    Mock::with_topic("t", 1).run(
        |_| {},
        script,
        async |_, client| {
            let options = ProducerOptions { acks: Acks::None, ..in_batches_of(EACH_ITS_OWN) };
            let producer = client.producer(options).await.expect("a producer");
            let value = "v".repeat(100_000);
            deliver(&producer, &[&*value; RECORDS]).await;
            assert_eq!(log.values().len(), RECORDS);
        },
    );
}
