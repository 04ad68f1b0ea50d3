//! A transactional producer against a broker made up for it, which notes what it is asked.

use std::time::Instant;

use protocol::batch::BatchHeader;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::add_partitions_to_txn::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopicResult,
};
use protocol::messages::produce::{
    LeaderIdAndEpoch, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use protocol::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Timestamp};
use protocol::wire::Payload;

use super::*;
use crate::mock::{Answered, Asked, Mock, PRODUCER, TOPIC_ID};

/// What the broker was asked, and what it is to refuse.
#[derive(Default)]
struct Book {
    asked: RefCell<Vec<String>>,
    epoch: Cell<i16>,
    refuses: Cell<Option<(ApiKey, KafkaError)>>,
    /// What it says to the first end, whatever it does with it.
    first_end: Cell<Option<KafkaError>>,
    /// Ends are not answered.
    is_mute: Cell<bool>,
}

impl Book {
    fn note(&self, line: String) {
        self.asked.borrow_mut().push(line);
    }

    /// What was asked since the last time.
    fn read(&self) -> Vec<String> {
        self.asked.take()
    }

    fn outcome(&self, api: ApiKey) -> ErrorCode {
        let refused = self.refuses.get().filter(|(refused, _)| *refused == api);
        refused.map_or(ErrorCode::NONE, |(_, error)| error.code())
    }

    fn next_epoch(&self) -> ProducerEpoch {
        self.epoch.update(|epoch| epoch + 1);
        ProducerEpoch(self.epoch.get())
    }

    fn answer(&self, asked: &Asked) -> Answered {
        match asked.api {
            ApiKey::InitProducerId => {
                let request: InitProducerIdRequest<'_> = asked.read();
                self.note(format!("init as {}", request.producer_epoch));
                asked.answer(&InitProducerIdResponse {
                    throttle_time_ms: 0,
                    error_code: self.outcome(asked.api),
                    producer_id: PRODUCER.0,
                    producer_epoch: self.next_epoch(),
                })
            }
            ApiKey::AddPartitionsToTxn => self.add(asked),
            ApiKey::Produce => self.produce(asked),
            ApiKey::EndTxn => {
                let request: EndTxnRequest<'_> = asked.read();
                let verb = if request.committed { "commit" } else { "abort" };
                self.note(format!("{verb} as {}", request.producer_epoch));
                if self.is_mute.get() {
                    return None;
                }
                let first = self.first_end.take().map(KafkaError::code);
                let error_code = first.unwrap_or_else(|| self.outcome(asked.api));
                let (producer_id, producer_epoch) = match asked.version >= 5 && error_code.is_none() {
                    true => (PRODUCER.0, self.next_epoch()),
                    false => (ProducerId::NONE, ProducerEpoch::NONE),
                };
                asked.answer(&EndTxnResponse { throttle_time_ms: 0, error_code, producer_id, producer_epoch })
            }
            other => panic!("{other} is not asked for"),
        }
    }

    fn add(&self, asked: &Asked) -> Answered {
        let request: AddPartitionsToTxnRequest<'_> = asked.read();
        let mut results = Vec::new();
        for topic in &request.v3_and_below_topics {
            let partition = |index: &PartitionIndex| {
                self.note(format!("add {index}"));
                let partition_error_code = self.outcome(asked.api);
                AddPartitionsToTxnPartitionResult { partition_index: *index, partition_error_code }
            };
            let results_by_partition = topic.partitions.iter().map(partition).collect();
            results.push(AddPartitionsToTxnTopicResult { name: topic.name, results_by_partition });
        }
        asked.answer(&AddPartitionsToTxnResponse {
            throttle_time_ms: 0,
            error_code: ErrorCode::NONE,
            results_by_transaction: Vec::new(),
            results_by_topic_v3_and_below: results,
        })
    }

    fn produce(&self, asked: &Asked) -> Answered {
        let request: ProduceRequest<'_> = asked.read();
        assert_eq!(request.transactional_id, Some("mover"));
        let topic = &request.topic_data[0];
        let partition = |data: &protocol::messages::produce::PartitionProduceData<'_>| {
            let bytes = data.records.as_ref().and_then(Payload::borrowed).expect("there is a batch");
            let header = BatchHeader::from_prefix(bytes).expect("there is a header");
            assert!(header.is_transactional());
            let (epoch, sequence) = (header.producer_epoch(), header.base_sequence());
            self.note(format!("write {} as {epoch} at {sequence}", data.index));
            PartitionProduceResponse {
                index: data.index,
                error_code: self.outcome(asked.api),
                base_offset: Offset(0),
                log_append_time_ms: Timestamp(-1),
                log_start_offset: Offset(0),
                record_errors: Vec::new(),
                error_message: None,
                current_leader: LeaderIdAndEpoch {
                    leader_id: BrokerId(-1),
                    leader_epoch: LeaderEpoch::UNKNOWN,
                },
            }
        };
        let partition_responses = topic.partition_data.iter().map(partition).collect();
        let topic = TopicProduceResponse { name: topic.name, topic_id: TOPIC_ID, partition_responses };
        asked.answer(&ProduceResponse {
            responses: vec![topic],
            throttle_time_ms: 0,
            node_endpoints: Vec::new(),
        })
    }
}

/// Runs a test with a producer of a broker that goes by this `transaction.version`.
fn with_producer<T>(
    version: i16,
    test: impl AsyncFnOnce(Rc<Book>, TransactionalProducer, ProducerTopic) -> T,
) -> T {
    let book = Rc::new(Book { epoch: Cell::new(-1), ..Book::default() });
    let asked = Rc::clone(&book);
    let mock = Mock::with_topic("t", 2);
    mock.transaction_version.set(version);
    mock.run(
        |options| options.call_timeout = Duration::from_millis(50),
        async move |_: &Mock, request: &Asked| asked.answer(request),
        async |_, client| {
            let options = TransactionOptions::default();
            let producer = client.transactional_producer("mover", options).await.expect("a producer");
            assert_eq!(book.read(), ["init as -1"]);
            let topic = producer.topic("t").await.expect("the topic");
            test(book, producer, topic).await
        },
    )
}

async fn send(transaction: &Transaction<'_>, topic: &ProducerTopic, partition: i32) -> Delivery {
    let record = Record { partition: Some(PartitionIndex(partition)), ..Record::of_value(b"v") };
    transaction.send(topic, &record).await.expect("it is taken")
}

#[test]
fn with_the_first_protocol_partitions_are_added_and_sequences_go_on() {
    with_producer(1, async |book, mut producer, topic| {
        for sequence in 0..2 {
            let transaction = producer.begin().await.expect("it begins");
            let _delivery = send(&transaction, &topic, 1).await;
            transaction.commit().await.expect("it is committed");
            let written = format!("write 1 as 0 at {sequence}");
            assert_eq!(book.read(), ["add 1", &written, "commit as 0"]);
        }
        let transaction = producer.begin().await.expect("it begins");
        send(&transaction, &topic, 0).await.await.expect("it is delivered");
        transaction.abort().await.expect("it is aborted");
        assert_eq!(book.read(), ["add 0", "write 0 as 0 at 0", "abort as 0", "init as 0"]);
        let transaction = producer.begin().await.expect("it begins");
        let _delivery = send(&transaction, &topic, 1).await;
        transaction.commit().await.expect("it is committed");
        assert_eq!(book.read(), ["add 1", "write 1 as 1 at 0", "commit as 1"]);
    });
}

#[test]
fn with_the_second_protocol_writing_adds_and_each_end_brings_an_epoch() {
    with_producer(2, async |book, mut producer, topic| {
        let transaction = producer.begin().await.expect("it begins");
        let _delivery = send(&transaction, &topic, 1).await;
        transaction.commit().await.expect("it is committed");
        let transaction = producer.begin().await.expect("it begins");
        send(&transaction, &topic, 1).await.await.expect("it is delivered");
        transaction.abort().await.expect("it is aborted");
        let transaction = producer.begin().await.expect("it begins");
        let _delivery = send(&transaction, &topic, 0).await;
        transaction.commit().await.expect("it is committed");
        let expected = [
            "write 1 as 0 at 0",
            "commit as 0",
            "write 1 as 1 at 0",
            "abort as 1",
            "write 0 as 2 at 0",
            "commit as 2",
        ];
        assert_eq!(book.read(), expected);
    });
}

#[test]
fn an_empty_transaction_costs_nothing() {
    with_producer(2, async |book, mut producer, _| {
        producer.begin().await.expect("it begins").commit().await.expect("there is nothing to commit");
        producer.begin().await.expect("it begins").abort().await.expect("there is nothing to abort");
        drop(producer.begin().await.expect("it begins"));
        let _last = producer.begin().await.expect("it begins");
        assert!(book.read().is_empty());
    });
}

#[test]
fn with_a_record_undelivered_nothing_is_committed() {
    for (version, end) in [(1, "init as 0"), (2, "abort as 0")] {
        with_producer(version, async |book, mut producer, topic| {
            book.refuses.set(Some((ApiKey::Produce, KafkaError::InvalidRecord)));
            let transaction = producer.begin().await.expect("it begins");
            let delivery = send(&transaction, &topic, 0).await;
            let error = transaction.commit().await.expect_err("a record is missing");
            assert!(matches!(error, TransactionError::Undelivered(_)), "{error}");
            let reason = delivery.await.expect_err("it was refused");
            let invalid = KafkaError::InvalidRecord;
            assert!(matches!(reason, ProduceError::Refused { error, .. } if error == invalid), "{reason}");
            assert_eq!(book.read().last().map(String::as_str), Some(end));
            book.refuses.set(None);
            let transaction = producer.begin().await.expect("it begins");
            let _delivery = send(&transaction, &topic, 0).await;
            transaction.commit().await.expect("it is committed");
            assert_eq!(book.read().last().map(String::as_str), Some("commit as 1"));
        });
    }
}

#[test]
fn a_partition_that_can_not_be_added_fails_the_transaction() {
    with_producer(1, async |book, mut producer, topic| {
        book.refuses.set(Some((ApiKey::AddPartitionsToTxn, KafkaError::TopicAuthorizationFailed)));
        let transaction = producer.begin().await.expect("it begins");
        let delivery = send(&transaction, &topic, 0).await;
        let error = transaction.commit().await.expect_err("nothing was written");
        let TransactionError::Call(error) = error else { panic!("{error}") };
        assert_eq!(error.kafka(), Some(KafkaError::TopicAuthorizationFailed));
        assert!(matches!(delivery.await, Err(ProduceError::Aborted)));
        assert_eq!(book.read(), ["add 0", "abort as 0", "init as 0"]);
    });
}

#[test]
fn who_is_fenced_is_told_so_and_done_for() {
    with_producer(2, async |book, mut producer, topic| {
        book.refuses.set(Some((ApiKey::EndTxn, KafkaError::ProducerFenced)));
        let transaction = producer.begin().await.expect("it begins");
        let _delivery = send(&transaction, &topic, 0).await;
        let error = transaction.commit().await.expect_err("another one has the id");
        assert!(matches!(error, TransactionError::Fenced), "{error}");
        assert!(matches!(producer.begin().await, Err(TransactionError::Fenced)));
    });
}

#[test]
fn who_is_fenced_after_an_attempt_of_which_nobody_knows_is_in_doubt() {
    with_producer(2, async |book, mut producer, topic| {
        book.first_end.set(Some(KafkaError::CoordinatorNotAvailable));
        book.refuses.set(Some((ApiKey::EndTxn, KafkaError::ProducerFenced)));
        let transaction = producer.begin().await.expect("it begins");
        let _delivery = send(&transaction, &topic, 0).await;
        let error = transaction.commit().await.expect_err("another one has the id");
        assert!(matches!(error, TransactionError::InDoubt(_)), "{error}");
        assert_eq!(book.read().iter().filter(|line| *line == "commit as 0").count(), 2);
        book.refuses.set(Some((ApiKey::InitProducerId, KafkaError::ProducerFenced)));
        assert!(matches!(producer.begin().await, Err(TransactionError::Fenced)));
    });
}

/// The one before was still being ended, which says nothing of this one.
#[test]
fn who_is_fenced_after_being_told_to_wait_is_fenced() {
    with_producer(2, async |book, mut producer, topic| {
        book.first_end.set(Some(KafkaError::ConcurrentTransactions));
        book.refuses.set(Some((ApiKey::EndTxn, KafkaError::ProducerFenced)));
        let transaction = producer.begin().await.expect("it begins");
        let _delivery = send(&transaction, &topic, 0).await;
        let error = transaction.commit().await.expect_err("another one has the id");
        assert!(matches!(error, TransactionError::Fenced), "{error}");
        assert_eq!(book.read().iter().filter(|line| *line == "commit as 0").count(), 2);
    });
}

/// By the first protocol the open transaction is ended before another epoch is asked for, whatever became of it.
#[test]
fn with_the_first_protocol_what_was_dropped_is_ended_before_the_next() {
    let refusals = [KafkaError::InvalidTxnState, KafkaError::InvalidProducerIdMapping].map(Some);
    for refused in [None].into_iter().chain(refusals) {
        let refused = refused.map(|error| (ApiKey::EndTxn, error));
        with_producer(1, async |book, mut producer, topic| {
            let transaction = producer.begin().await.expect("it begins");
            send(&transaction, &topic, 0).await.await.expect("it is delivered");
            drop(transaction);
            book.read();
            book.refuses.set(refused);
            let _next = producer.begin().await.expect("it begins");
            assert_eq!(book.read(), ["abort as 0", "init as 0"]);
        });
    }
}

#[test]
fn with_the_first_protocol_an_epoch_that_never_came_is_asked_for_again_and_nothing_ended_again() {
    with_producer(1, async |book, mut producer, topic| {
        let transaction = producer.begin().await.expect("it begins");
        send(&transaction, &topic, 0).await.await.expect("it is delivered");
        book.read();
        book.refuses.set(Some((ApiKey::InitProducerId, KafkaError::ClusterAuthorizationFailed)));
        transaction.abort().await.expect_err("there is no epoch");
        assert_eq!(book.read(), ["abort as 0", "init as 0"]);
        book.refuses.set(None);
        let transaction = producer.begin().await.expect("it begins");
        assert_eq!(book.read(), ["init as 0"]);
        send(&transaction, &topic, 1).await.await.expect("it is delivered");
        book.read();
        transaction.abort().await.expect("it is aborted");
        // The epoch that was refused has been given all the same.
        assert_eq!(book.read(), ["abort as 2", "init as 2"]);
    });
}

#[test]
fn a_transaction_that_was_dropped_is_aborted_before_the_next() {
    with_producer(2, async |book, mut producer, topic| {
        let transaction = producer.begin().await.expect("it begins");
        send(&transaction, &topic, 0).await.await.expect("it is delivered");
        let late = send(&transaction, &topic, 0).await;
        drop(transaction);
        let transaction = producer.begin().await.expect("it begins");
        assert!(late.now().is_some(), "the fate of what was dropped is known");
        let _delivery = send(&transaction, &topic, 1).await;
        transaction.commit().await.expect("it is committed");
        let asked = book.read();
        assert_eq!(asked[asked.len() - 3..], ["init as 0", "write 1 as 1 at 0", "commit as 1"]);
    });
}

#[test]
fn an_end_that_nobody_answers_is_in_doubt() {
    with_producer(2, async |book, mut producer, topic| {
        book.is_mute.set(true);
        let transaction = producer.begin().await.expect("it begins");
        let _delivery = send(&transaction, &topic, 0).await;
        let began = Instant::now();
        let error = transaction.commit().await.expect_err("nobody answers");
        assert!(matches!(error, TransactionError::InDoubt(_)), "{error}");
        assert!(began.elapsed() >= Duration::from_millis(50), "it is tried for as long as a call may take");
        book.is_mute.set(false);
        book.read();
        let transaction = producer.begin().await.expect("it begins");
        assert_eq!(book.read(), ["init as 0"]);
        let _delivery = send(&transaction, &topic, 0).await;
        transaction.commit().await.expect("it is committed");
    });
}
