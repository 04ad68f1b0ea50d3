//! Leaders that change while records flow: two brokers made up for it, one partition, a producer and a consumer.

use std::collections::VecDeque;

use bytes::Bytes;
use protocol::api::ApiKey;
use protocol::batch::BatchHeader;
use protocol::error::ErrorCode;
use protocol::messages::fetch::FetchRequest;
use protocol::messages::produce::{
    LeaderIdAndEpoch, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use protocol::types::{Offset, Timestamp};
use protocol::wire::Payload;

use super::*;
use crate::admin::Partition;
use crate::consumer::{Consumer, ConsumerOptions, Start};
use crate::mock::{self, Answered, Asked, BROKER, Mock, PRODUCER, TOPIC_ID, patience};
use crate::producer::{Acks, Delivery, Producer, ProducerOptions, Record};
use crate::{Client, ProduceError};

const OTHER: BrokerId = BrokerId(2);
const RECORDS: usize = 100;

/// How the leader of the partition stops leading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It refuses the batch.
    Refuses,
    /// It has appended the batch, and so has the next leader; it refuses it all the same.
    RefusesWhatItHas,
    /// The same, and it hangs up without a word.
    Dies,
    /// It refuses, and brokers go on telling everybody that it leads, until so many requests were refused.
    StaysNamed(u32),
    /// The next leader is named at once, and refuses so many requests before it knows that it leads.
    IsFollowedLate(u32),
}

impl Way {
    /// Whether the batch is appended all the same.
    fn appends(self) -> bool {
        matches!(self, Self::RefusesWhatItHas | Self::Dies)
    }
}

/// The partition, as both brokers have it, and who leads it. Each batch is one record.
struct Replicas {
    batches: RefCell<Vec<Bytes>>,
    leader: Cell<(BrokerId, LeaderEpoch)>,
    /// At which batch the leader changes, and how.
    changes: RefCell<VecDeque<(usize, Way)>>,
    /// Refusals until the leader is named.
    unnamed: Cell<u32>,
    /// Refusals until the leader leads.
    unready: Cell<u32>,
    /// The epoch in which a leader has died last.
    died_in: Cell<Option<LeaderEpoch>>,
    /// What fetches were refused by.
    fetch_refusals: RefCell<Vec<KafkaError>>,
    produce_refusals: Cell<usize>,
    /// Who has appended each batch.
    appended_by: RefCell<Vec<BrokerId>>,
    changed: Signal,
}

impl Replicas {
    fn changing(changes: &[(usize, Way)]) -> Rc<Self> {
        Rc::new(Self {
            batches: RefCell::default(),
            leader: Cell::new((BROKER, LeaderEpoch(0))),
            changes: RefCell::new(changes.iter().copied().collect()),
            unnamed: Cell::new(0),
            unready: Cell::new(0),
            died_in: Cell::new(None),
            fetch_refusals: RefCell::default(),
            produce_refusals: Cell::new(0),
            appended_by: RefCell::default(),
            changed: Signal::default(),
        })
    }

    /// The other broker leads from now on.
    fn hand_over(&self) {
        let (leader, LeaderEpoch(epoch)) = self.leader.get();
        let next = if leader == BROKER { OTHER } else { BROKER };
        self.leader.set((next, LeaderEpoch(epoch + 1)));
    }

    /// Counts a refusal; what was waiting for so many of them happens.
    fn count_refusal(&self, mock: &Mock) {
        self.unready.update(|left| left.saturating_sub(1));
        self.unnamed.update(|left| left.saturating_sub(1));
        self.name_leader(mock);
    }

    fn name_leader(&self, mock: &Mock) {
        if self.unnamed.get() == 0 {
            mock.leader.set(self.leader.get());
        }
    }

    fn leads(&self, broker: BrokerId) -> bool {
        self.leader.get().0 == broker && self.unready.get() == 0
    }

    /// The next change, if it is to be at this batch.
    fn due(&self, batch: usize) -> Option<Way> {
        let mut changes = self.changes.borrow_mut();
        changes.pop_front_if(|(at, _)| *at == batch).map(|(_, way)| way)
    }

    fn append(&self, batch: &[u8], by: BrokerId) {
        let mut batch = batch.to_vec();
        let offset = Offset(i64::try_from(self.batches.borrow().len()).expect("few"));
        let header = BatchHeader::from_prefix_mut(&mut batch).expect("it is whole");
        header.set_position(offset, self.leader.get().1);
        self.batches.borrow_mut().push(batch.into());
        self.appended_by.borrow_mut().push(by);
    }

    /// The offset of a batch that a producer sent, or why it has none; none where nobody is told.
    fn produced(&self, mock: &Mock, batch: &[u8], broker: BrokerId) -> Option<Result<Offset, KafkaError>> {
        if !self.leads(broker) {
            self.count_refusal(mock);
            return Some(Err(KafkaError::NotLeaderOrFollower));
        }
        let header = BatchHeader::from_prefix(batch).expect("it is whole");
        let end = self.batches.borrow().len();
        if header.producer_id() == PRODUCER.0 {
            assert_eq!(header.producer_epoch(), PRODUCER.1, "nothing breaks the chain of sequences");
            let sequence = usize::try_from(header.base_sequence().0).expect("not negative");
            match sequence.cmp(&end) {
                // It is known again.
                std::cmp::Ordering::Less => return Some(Ok(Offset(i64::from(header.base_sequence().0)))),
                std::cmp::Ordering::Equal => {}
                std::cmp::Ordering::Greater => return Some(Err(KafkaError::OutOfOrderSequenceNumber)),
            }
        }
        let way = self.due(end);
        if way.is_none_or(Way::appends) {
            self.append(batch, broker);
        }
        let outcome = way.map_or(Some(Ok(Offset(i64::try_from(end).expect("few")))), |way| {
            match way {
                Way::StaysNamed(refusals) => self.unnamed.set(refusals),
                Way::IsFollowedLate(refusals) => self.unready.set(refusals),
                Way::Dies => self.died_in.set(Some(self.leader.get().1)),
                Way::Refuses | Way::RefusesWhatItHas => {}
            }
            self.hand_over();
            self.name_leader(mock);
            (way != Way::Dies).then_some(Err(KafkaError::NotLeaderOrFollower))
        });
        self.changed.raise();
        outcome
    }

    fn produce(&self, mock: &Mock, asked: &Asked) -> Answered {
        let request: ProduceRequest<'_> = asked.read();
        let data = &request.topic_data[0].partition_data[0];
        let bytes = data.records.as_ref().and_then(Payload::borrowed).expect("there is a batch");
        let outcome = self.produced(mock, bytes, asked.broker)?;
        self.produce_refusals.update(|count| count + usize::from(outcome.is_err()));
        let partition = PartitionProduceResponse {
            index: data.index,
            error_code: outcome.err().map_or(ErrorCode::NONE, KafkaError::code),
            base_offset: outcome.unwrap_or(Offset(-1)),
            log_append_time_ms: Timestamp(-1),
            log_start_offset: Offset(0),
            record_errors: Vec::new(),
            error_message: None,
            current_leader: LeaderIdAndEpoch { leader_id: BrokerId(-1), leader_epoch: LeaderEpoch::UNKNOWN },
        };
        let topic =
            TopicProduceResponse { name: "", topic_id: TOPIC_ID, partition_responses: vec![partition] };
        asked.answer(&ProduceResponse {
            responses: vec![topic],
            throttle_time_ms: 0,
            node_endpoints: Vec::new(),
        })
    }

    /// Waits for records, as long as the broker leads; none where it dies meanwhile.
    async fn fetched(&self, mock: &Mock, broker: BrokerId, at: Offset, epoch: LeaderEpoch) -> Fetched {
        loop {
            let changed = self.changed.next();
            let is_leader = self.leads(broker);
            if self.died_in.get().is_some_and(|died_in| died_in == epoch) && self.leader.get().1 > epoch {
                return Fetched::HangsUp;
            }
            let refusal = match self.leader.get().1.cmp(&epoch) {
                _ if !is_leader => Some(KafkaError::NotLeaderOrFollower),
                std::cmp::Ordering::Less => Some(KafkaError::UnknownLeaderEpoch),
                std::cmp::Ordering::Greater => Some(KafkaError::FencedLeaderEpoch),
                std::cmp::Ordering::Equal => None,
            };
            if let Some(refusal) = refusal {
                self.count_refusal(mock);
                self.fetch_refusals.borrow_mut().push(refusal);
                return Fetched::Refused(refusal);
            }
            let place = usize::try_from(at.0).expect("not negative");
            if let Some(batch) = self.batches.borrow().get(place) {
                return Fetched::Records(batch.clone());
            }
            changed.wait().await;
        }
    }

    async fn fetch(&self, mock: &Mock, asked: &Asked) -> Answered {
        let request: FetchRequest<'_> = asked.read();
        let wanted = &request.topics[0].partitions[0];
        let (at, epoch) = (wanted.fetch_offset, wanted.current_leader_epoch);
        let (refusal, records) = match self.fetched(mock, asked.broker, at, epoch).await {
            Fetched::Records(batch) => (None, batch),
            Fetched::Refused(error) => (Some(error), Bytes::new()),
            Fetched::HangsUp => return None,
        };
        let end = Offset(i64::try_from(self.batches.borrow().len()).expect("few"));
        let error_code = refusal.map_or(ErrorCode::NONE, KafkaError::code);
        let partition = mock::fetched(wanted.partition, error_code, end, records);
        mock::answer_fetch(asked, vec![partition])
    }
}

/// What becomes of a fetch.
enum Fetched {
    Records(Bytes),
    Refused(KafkaError),
    HangsUp,
}

/// Runs a test against two brokers with two clients, the producer's and the consumer's: neither hears of a change from the other.
fn against(replicas: &Rc<Replicas>, test: impl AsyncFnOnce(Rc<Mock>, [Client; 2])) {
    let replicas = Rc::clone(replicas);
    let script = async move |mock: &Mock, asked: &Asked| match asked.api {
        ApiKey::InitProducerId => mock::identity(asked),
        ApiKey::Produce => replicas.produce(mock, asked),
        ApiKey::Fetch => replicas.fetch(mock, asked).await,
        other => panic!("{other} is not asked for"),
    };
    let main = async |mock: Rc<Mock>, client| {
        let reader = mock.client(|_| {}).await;
        test(mock, [client, reader]).await;
    };
    Mock { broker_count: 2, ..Mock::with_topic("t", 1) }.run(|_| {}, script, main);
}

async fn start_both([writer, reader]: &[Client; 2], options: ProducerOptions) -> (Producer, Consumer) {
    let consumer = reader.consumer(ConsumerOptions::default());
    let start = (Partition::new("t", 0), Start::Offset(Offset(0)));
    consumer.assign(&[start]).await.expect("it is there");
    // Each record has a batch of its own.
    let producer =
        writer.producer(ProducerOptions { batch_bytes_max: 1, ..options }).await.expect("a producer");
    (producer, consumer)
}

async fn send(producer: &Producer, numbers: std::ops::Range<usize>) -> Vec<Delivery> {
    let topic = producer.topic("t").await.expect("the topic");
    let mut deliveries = Vec::new();
    for number in numbers {
        let value = number.to_string();
        deliveries
            .push(producer.send(&topic, &Record::of_value(value.as_bytes())).await.expect("it is taken"));
    }
    executor::before(patience(), producer.flush()).await.expect("everything is decided");
    deliveries
}

/// Sends records, and holds that they are delivered and come.
async fn flow(producer: &Producer, consumer: &Consumer, numbers: std::ops::Range<usize>) {
    let deliveries = send(producer, numbers.clone()).await;
    assert_flowed(consumer, deliveries, numbers).await;
}

/// Holds that these records were delivered where they should be, and come next.
async fn assert_flowed(consumer: &Consumer, deliveries: Vec<Delivery>, numbers: std::ops::Range<usize>) {
    for (delivery, number) in deliveries.into_iter().zip(numbers.clone()) {
        let outcome: Result<_, ProduceError> = delivery.now().expect("everything is decided");
        let offset = outcome.expect("it is delivered").offset.expect("its offset is known");
        assert_eq!(usize::try_from(offset.0), Ok(number));
    }
    let mut read = Vec::new();
    while read.len() < numbers.len() {
        let outcome = consumer.next_before(patience()).await.expect("records come");
        let each = |record: &crate::consumer::Record<'_>| {
            let value = String::from_utf8_lossy(record.value.expect("a value")).into_owned();
            read.push((usize::try_from(record.offset.0).expect("not negative"), value));
        };
        outcome.expect("the partition goes on").for_each(each).expect("readable");
    }
    let expected: Vec<(usize, String)> = numbers.map(|number| (number, number.to_string())).collect();
    assert_eq!(read, expected);
}

/// Lets records flow through these changes: each arrives once and in order, and so it is read.
#[track_caller]
fn check(changes: &[(usize, Way)], options: ProducerOptions) {
    let replicas = Replicas::changing(changes);
    against(&replicas, async |_, clients| {
        let (producer, consumer) = start_both(&clients, options).await;
        let deliveries = send(&producer, 0..RECORDS).await;
        assert_flowed(&consumer, deliveries, 0..RECORDS).await;
    });
    assert_eq!(replicas.batches.borrow().len(), RECORDS, "each is there once");
    assert!(replicas.changes.borrow().is_empty(), "every change was met");
    let led_by = |batch: usize| {
        let is_over = |(at, way): &&(usize, Way)| *at < batch || (*at == batch && !way.appends());
        if changes.iter().filter(is_over).count() % 2 == 0 { BROKER } else { OTHER }
    };
    assert_eq!(*replicas.appended_by.borrow(), (0..RECORDS).map(led_by).collect::<Vec<_>>());
}

#[test]
fn a_leader_that_steps_down_costs_nothing() {
    check(&[(40, Way::Refuses)], ProducerOptions::default());
    check(&[(0, Way::Refuses)], ProducerOptions::default());
    check(&[(30, Way::Refuses), (31, Way::Refuses), (70, Way::Refuses)], ProducerOptions::default());
}

#[test]
fn what_a_leader_has_appended_and_refused_is_there_once() {
    check(&[(40, Way::RefusesWhatItHas)], ProducerOptions::default());
    check(&[(20, Way::RefusesWhatItHas), (60, Way::RefusesWhatItHas)], ProducerOptions::default());
}

#[test]
fn a_leader_that_dies_without_a_word_costs_nothing() {
    check(&[(40, Way::Dies)], ProducerOptions::default());
    check(&[(20, Way::Dies), (50, Way::Dies), (80, Way::Dies)], ProducerOptions::default());
}

#[test]
fn a_leader_is_looked_for_until_it_is_named() {
    check(&[(40, Way::StaysNamed(7))], ProducerOptions::default());
}

#[test]
fn a_leader_that_does_not_know_it_yet_is_asked_again() {
    check(&[(40, Way::IsFollowedLate(7))], ProducerOptions::default());
}

#[test]
fn all_of_it_in_one_run() {
    let changes = [
        (10, Way::Dies),
        (25, Way::StaysNamed(4)),
        (26, Way::RefusesWhatItHas),
        (50, Way::IsFollowedLate(4)),
        (75, Way::Refuses),
    ];
    check(&changes, ProducerOptions::default());
}

/// Without sequences a batch that is refused would be overtaken by others under way: there are none.
#[test]
fn order_needs_no_sequences_where_one_request_is_under_way() {
    let options = ProducerOptions { acks: Acks::Leader, in_flight_max: 1, ..ProducerOptions::default() };
    check(&[(40, Way::Refuses), (70, Way::StaysNamed(3))], options);
}

/// The client is told before anybody refuses it: who produces goes to the next leader at once, and who reads is sent there.
#[test]
fn a_leader_that_is_named_in_time_is_gone_to_without_a_refusal() {
    let replicas = Replicas::changing(&[]);
    against(&replicas, async |mock, clients| {
        let (producer, consumer) = start_both(&clients, ProducerOptions::default()).await;
        flow(&producer, &consumer, 0..10).await;
        replicas.hand_over();
        replicas.name_leader(&mock);
        for client in &clients {
            client.refresh().await.expect("a broker answers");
        }
        flow(&producer, &consumer, 10..20).await;
    });
    assert_eq!(replicas.produce_refusals.get(), 0);
    assert_eq!(replicas.appended_by.borrow()[10..], [OTHER; 10]);
    // The fetch that was under way, and no other.
    assert_eq!(*replicas.fetch_refusals.borrow(), [KafkaError::NotLeaderOrFollower]);
}

/// It was another's meanwhile: what the consumer knows is of an epoch that is over.
#[test]
fn a_leader_that_leads_anew_is_asked_in_its_new_epoch() {
    let replicas = Replicas::changing(&[]);
    against(&replicas, async |mock, clients| {
        let (producer, consumer) = start_both(&clients, ProducerOptions::default()).await;
        flow(&producer, &consumer, 0..10).await;
        replicas.hand_over();
        replicas.hand_over();
        replicas.name_leader(&mock);
        flow(&producer, &consumer, 10..20).await;
    });
    let refusals = replicas.fetch_refusals.borrow();
    assert!(!refusals.is_empty());
    assert!(refusals.iter().all(|refusal| *refusal == KafkaError::FencedLeaderEpoch), "{refusals:?}");
}
