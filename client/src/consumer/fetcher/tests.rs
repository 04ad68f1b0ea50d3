//! Fetching from a broker made up for it: who must not wait for whom, and what stops a partition.

use protocol::error::ErrorCode;
use protocol::records::{BatchBuilder, BatchOptions};
use protocol::types::Timestamp;

use super::*;
use crate::Client;
use crate::consumer::{Consumer, Start};
use crate::mock::{Answered, Asked, Mock, answer_fetch, fetched, patience};

/// What a script says of a partition.
enum Says {
    Error(KafkaError),
    /// One batch at the offset asked for, with a value of so many bytes.
    Value(usize),
    Nothing,
}

/// A fetch as scripts see it.
struct Fetch {
    max_wait_ms: i32,
    partitions: Vec<(i32, Offset)>,
}

fn fetch(asked: &Asked) -> Fetch {
    let request: FetchRequest<'_> = asked.read();
    let partitions = request.topics.iter().flat_map(|topic| &topic.partitions);
    Fetch {
        max_wait_ms: request.max_wait_ms,
        partitions: partitions.map(|one| (one.partition.get(), one.fetch_offset)).collect(),
    }
}

fn answer(asked: &Asked, says: impl Fn(i32, Offset) -> Says) -> Answered {
    let partition = |(index, offset): (i32, Offset)| {
        let said = says(index, offset);
        let records = match said {
            Says::Value(bytes) => {
                let options = BatchOptions { base_offset: offset, ..BatchOptions::default() };
                let mut builder = BatchBuilder::new(options);
                builder.append(Timestamp(1), None, Some(&vec![0; bytes]), &[]);
                builder.build()
            }
            Says::Error(_) | Says::Nothing => Vec::new(),
        };
        let error_code = match said {
            Says::Error(error) => error.code(),
            Says::Value(_) | Says::Nothing => ErrorCode::NONE,
        };
        fetched(PartitionIndex(index), error_code, Offset(1_000), records.into())
    };
    answer_fetch(asked, fetch(asked).partitions.into_iter().map(partition).collect())
}

async fn read_all(client: &Client, partition_count: i32, options: ConsumerOptions) -> Consumer {
    let consumer = client.consumer(options);
    let at = |index| (Partition::new("t", index), Start::Offset(Offset(0)));
    consumer.assign(&(0..partition_count).map(at).collect::<Vec<_>>()).await.expect("they are there");
    consumer
}

/// Reads a topic of one partition, of which nothing can be read: why.
fn stopped(mock: Mock, script: impl AsyncFn(&Mock, &Asked) -> Answered + 'static) -> ConsumeProblem {
    mock.run(
        |_| {},
        script,
        async |_, client| {
            let consumer = read_all(&client, 1, ConsumerOptions::default()).await;
            next(&consumer).await.expect_err("there is nothing to read").reason
        },
    )
}

async fn next(consumer: &Consumer) -> Result<(i32, Offset), ConsumeError> {
    let outcome = consumer.next_before(patience()).await.expect("something comes");
    outcome.map(|fetched| (fetched.partition().get(), fetched.next_offset()))
}

/// The broker waits as long as it is told to for partition 1, which stays empty. Of partition 0 there is always more, and
/// one piece of it is as much as may be buffered.
#[test]
fn an_idle_partition_delays_no_other() {
    const PIECES: i64 = 20;
    let in_vain = Rc::new(Cell::new(0));
    let counted = Rc::clone(&in_vain);
    let script = async move |_: &Mock, asked: &Asked| {
        let wanted = fetch(asked);
        if wanted.partitions.iter().all(|(index, _)| *index == 1) {
            if wanted.max_wait_ms > 0 {
                std::future::pending::<()>().await;
            }
            counted.set(counted.get() + 1);
        }
        answer(asked, |index, _| if index == 0 { Says::Value(1_000) } else { Says::Nothing })
    };
    Mock::with_topic("t", 2).run(
        |_| {},
        script,
        async |_, client| {
            let options = ConsumerOptions { partition_bytes_max: 1_000, ..ConsumerOptions::default() };
            let consumer = read_all(&client, 2, options).await;
            for number in 1..=PIECES {
                assert_eq!(next(&consumer).await.expect("records"), (0, Offset(number)));
            }
            assert!(in_vain.get() <= PIECES + 1, "{} fetches in vain", in_vain.get());
        },
    );
}

/// Each fetch brings one record. The end is kept to when the partition is read again.
#[test]
fn nothing_is_fetched_past_the_end_that_was_set() {
    let asked_at = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&asked_at);
    let script = async move |_: &Mock, asked: &Asked| {
        noted.borrow_mut().extend(fetch(asked).partitions);
        answer(asked, |_, _| Says::Value(10))
    };
    Mock::with_topic("t", 2).run(
        |_| {},
        script,
        async |_, client| {
            // One piece of partition 1 is as much as may be buffered: it says when a fetch of 0 would have come.
            let options = ConsumerOptions { partition_bytes_max: 1, ..ConsumerOptions::default() };
            let consumer = client.consumer(options);
            let places = [0, 1].map(|index| (Partition::new("t", index), Start::Offset(Offset(0))));
            consumer.assign(&places).await.expect("they are there");
            let bounded = &places[0].0;
            consumer.read_until(bounded, Offset(2));
            for _ in 0..2 {
                let (mut of_bounded, mut of_other) = (0, 0);
                while of_bounded < 2 || of_other < 5 {
                    match next(&consumer).await.expect("records") {
                        (0, _) => of_bounded += 1,
                        (_, _) => of_other += 1,
                    }
                }
                assert_eq!(of_bounded, 2);
                consumer.seek(bounded, Start::Offset(Offset(0))).await.expect("it is assigned");
            }
            let asked = asked_at.borrow();
            let of_bounded = asked.iter().filter(|(index, _)| *index == 0);
            assert!(of_bounded.clone().all(|(_, offset)| *offset < Offset(2)), "{asked:?}");
        },
    );
}

#[test]
fn a_piece_tells_how_long_its_fetch_took() {
    let script = async |_: &Mock, asked: &Asked| answer(asked, |_, _| Says::Value(10));
    Mock::with_topic("t", 2).run(
        |_| {},
        script,
        async |_, client| {
            let begun = Instant::now();
            let consumer = read_all(&client, 2, ConsumerOptions::default()).await;
            let mut trips = Vec::new();
            for _ in 0..2 {
                let fetched = consumer.next_before(patience()).await.expect("something comes");
                trips.extend(fetched.expect("records").round_trip());
            }
            assert_eq!(trips.len(), 2);
            assert_eq!(trips[0], trips[1], "both came with one answer");
            assert!(begun <= trips[0].sent_at && trips[0].sent_at <= trips[0].answered_at);
            assert!(trips[0].answered_at <= Instant::now());
        },
    );
}

#[test]
fn what_would_be_refused_again_stops_its_partition_alone() {
    let script = async |_: &Mock, asked: &Asked| {
        answer(asked, |index, _| match index {
            0 => Says::Error(KafkaError::TopicAuthorizationFailed),
            1 => Says::Error(KafkaError::CorruptMessage),
            2 => Says::Error(KafkaError::OffsetOutOfRange),
            _ => Says::Value(10),
        })
    };
    Mock::with_topic("t", 4).run(
        |_| {},
        script,
        async |_, client| {
            let consumer = read_all(&client, 4, ConsumerOptions::default()).await;
            let (mut stopped, mut pieces) = (BTreeMap::new(), 0);
            while stopped.len() < 3 || pieces < 5 {
                match next(&consumer).await {
                    Ok(piece) => {
                        pieces += 1;
                        assert_eq!(piece, (3, Offset(pieces)));
                    }
                    Err(error) => {
                        assert_eq!(error.offset, Offset(0));
                        let before = stopped.insert(error.partition.get(), error.reason);
                        assert!(before.is_none(), "a partition stops once");
                    }
                }
            }
            assert!(matches!(stopped[&0], ConsumeProblem::Refused(KafkaError::TopicAuthorizationFailed)));
            assert!(matches!(stopped[&1], ConsumeProblem::Refused(KafkaError::CorruptMessage)));
            assert!(matches!(stopped[&2], ConsumeProblem::OutOfRange(Offset(0))));
        },
    );
}

#[test]
fn a_topic_that_is_gone_stops() {
    let reason = stopped(Mock::with_topic("t", 1), async |mock, asked| {
        mock.topics.borrow_mut().clear();
        answer(asked, |_, _| Says::Error(KafkaError::UnknownTopicId))
    });
    assert!(matches!(reason, ConsumeProblem::Gone), "{reason}");
}

#[test]
fn a_topic_that_may_not_be_described_any_more_stops() {
    let refusal = KafkaError::TopicAuthorizationFailed;
    let reason = stopped(Mock::with_topic("t", 1), async move |mock, asked| {
        mock.topics.borrow_mut().insert("t".to_owned(), Err(refusal));
        answer(asked, |_, _| Says::Error(KafkaError::NotLeaderOrFollower))
    });
    assert!(matches!(reason, ConsumeProblem::Refused(refused) if refused == refusal), "{reason}");
}

#[test]
fn of_an_answer_that_is_too_large_only_the_partition_at_fault_stops() {
    let script = async |_: &Mock, asked: &Asked| {
        answer(asked, |index, _| Says::Value(if index == 1 { 100_000 } else { 10 }))
    };
    Mock::with_topic("t", 3).run(
        |options| options.connection.answer_bytes_max = 50_000,
        script,
        async |_, client| {
            let consumer = read_all(&client, 3, ConsumerOptions::default()).await;
            let (mut stopped, mut read) = (0, BTreeSet::new());
            while stopped < 1 || read.len() < 2 {
                match next(&consumer).await {
                    Ok((partition, _)) => {
                        read.insert(partition);
                    }
                    Err(error) => {
                        assert_eq!(error.partition.get(), 1);
                        let reason = &error.reason;
                        assert!(
                            matches!(
                                reason,
                                ConsumeProblem::Unanswerable(ConnectionError::AnswerSize { .. })
                            ),
                            "{error}"
                        );
                        stopped += 1;
                    }
                }
            }
            assert!(read.iter().eq(&[0, 2]));
        },
    );
}

#[test]
fn a_broker_without_fetches_is_no_broker_to_read_from() {
    let mock = Mock { lacks: vec![protocol::api::ApiKey::Fetch], ..Mock::with_topic("t", 1) };
    let reason = stopped(mock, async |_, _| None);
    let is_it = matches!(reason, ConsumeProblem::Unanswerable(ConnectionError::Unsupported { .. }));
    assert!(is_it, "{reason}");
}
