//! Scripts of what brokers answer, and what must leave next: order and sequences under every kind of trouble.

use super::*;
use crate::producer::Record;
use crate::producer::batch::record_bytes;
use protocol::batch::BatchHeader;
use protocol::records::BatchOptions;
use protocol::types::Timestamp;

const LINGER: Duration = Duration::from_millis(5);
const TIMEOUT: Duration = Duration::from_secs(120);

/// A queue of an idempotent producer with batches of one record each.
struct Script {
    queue: Queue,
    now: Instant,
    appended: u64,
    under_way: Vec<Batch>,
}

impl Script {
    fn new(identity: Option<(ProducerId, ProducerEpoch)>) -> Self {
        let limits =
            QueueLimits { batch_bytes_max: 1, linger: LINGER, in_flight_max: 5, delivery_timeout: TIMEOUT };
        Self { queue: Queue::new(limits, identity), now: Instant::now(), appended: 0, under_way: Vec::new() }
    }

    /// An idempotent producer that the broker knows.
    fn idempotent() -> Self {
        Self::unknown().known()
    }

    fn known(mut self) -> Self {
        self.queue.is_known = true;
        self
    }

    fn unknown() -> Self {
        Self::new(Some((ProducerId(7), ProducerEpoch(0))))
    }

    fn append(mut self, count: u64) -> Self {
        for _ in 0..count {
            self = self.append_one_of(1);
        }
        self
    }

    /// Appends a batch of so many records.
    fn append_one_of(mut self, records: u32) -> Self {
        let batch = Batch::open(self.appended, self.now, BatchOptions::default(), 1);
        let batch = self.queue.push(batch);
        let record = Record::of_value(b"v");
        for _ in 0..records {
            batch.push(&record, Timestamp(0), record_bytes(&record));
        }
        self.appended += 1;
        self
    }

    /// Takes all that may leave; each must be this batch with this epoch and sequence.
    fn leaves(mut self, expected: &[(u64, i16, i32)]) -> Self {
        let mut left = Vec::new();
        while let Front::Batch(_) = self.queue.front(self.now, true) {
            let batch = self.queue.take_front();
            let header = BatchHeader::from_prefix(batch.bytes()).expect("a batch");
            left.push((batch.number, header.producer_epoch().0, header.base_sequence().0));
            assert_eq!(header.base_sequence(), batch.stamp.base_sequence);
            self.under_way.push(batch);
        }
        assert_eq!(left, expected);
        self
    }

    /// The broker answers a batch under way; this is what it must mean.
    fn answered(mut self, number: u64, error: Option<KafkaError>, expected: Verdict) -> Self {
        let place = self.under_way.iter().position(|batch| batch.number == number).expect("under way");
        let mut batch = self.under_way.remove(place);
        let verdict = self.queue.judge(&mut batch, error);
        assert_eq!(verdict, expected, "batch {number}");
        self.goes_on(batch, verdict)
    }

    /// The leader says what it has of the producer; this is what it must mean for an unclear batch.
    fn told(mut self, number: u64, told: Told, expected: Verdict) -> Self {
        let place = self.under_way.iter().position(|batch| batch.number == number).expect("it is unclear");
        let batch = self.under_way.remove(place);
        let verdict = self.queue.clear_up(&batch, told);
        assert_eq!(verdict, expected, "batch {number}");
        self.goes_on(batch, verdict)
    }

    fn goes_on(mut self, batch: Batch, verdict: Verdict) -> Self {
        match verdict {
            Again => self.queue.put_back(batch, self.now),
            Unclear => self.under_way.push(batch),
            TooLarge => {
                let (front, back) = batch.part(BatchOptions::default());
                self.queue.put_back(back, self.now);
                self.queue.put_back(front, self.now);
            }
            Appended | Failed => {}
        }
        self
    }

    fn later(mut self, pause: Duration) -> Self {
        self.now += pause;
        self
    }

    fn expires(mut self, expected: &[u64]) -> Self {
        let expired: Vec<u64> = self.queue.take_expired(self.now).iter().map(|batch| batch.number).collect();
        assert_eq!(expired, expected);
        self
    }
}

use KafkaError::{
    DuplicateSequenceNumber, MessageTooLarge, NetworkException, NotLeaderOrFollower,
    OutOfOrderSequenceNumber, UnknownProducerId,
};
use Verdict::{Again, Appended, Failed, TooLarge, Unclear};

#[test]
fn batches_leave_in_order_and_five_at_a_time() {
    Script::idempotent()
        .append(7)
        .leaves(&[(0, 0, 0), (1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 0, 4)])
        .answered(0, None, Appended)
        .leaves(&[(5, 0, 5)])
        .answered(1, None, Appended)
        .answered(2, None, Appended)
        .leaves(&[(6, 0, 6)]);
}

#[test]
fn what_was_under_way_when_the_connection_broke_goes_again_one_by_one_with_its_sequences() {
    Script::idempotent()
        .append(3)
        .leaves(&[(0, 0, 0), (1, 0, 1), (2, 0, 2)])
        .answered(1, Some(NetworkException), Again)
        .leaves(&[])
        .answered(0, Some(NetworkException), Again)
        .answered(2, Some(NetworkException), Again)
        .leaves(&[(0, 0, 0)])
        .answered(0, None, Appended)
        .leaves(&[(1, 0, 1)])
        .answered(1, Some(DuplicateSequenceNumber), Appended)
        .append(1)
        .leaves(&[(2, 0, 2), (3, 0, 3)]);
}

#[test]
fn out_of_order_behind_a_batch_that_goes_again_is_a_matter_of_order() {
    Script::idempotent()
        .append(2)
        .leaves(&[(0, 0, 0), (1, 0, 1)])
        .answered(0, Some(NotLeaderOrFollower), Again)
        .answered(1, Some(OutOfOrderSequenceNumber), Again)
        .leaves(&[(0, 0, 0)])
        .answered(0, None, Appended)
        .leaves(&[(1, 0, 1)]);
}

#[test]
fn nothing_is_sent_behind_the_first_batch_of_an_epoch() {
    Script::unknown()
        .append(3)
        .leaves(&[(0, 0, 0)])
        .answered(0, Some(NotLeaderOrFollower), Again)
        .leaves(&[(0, 0, 0)])
        .answered(0, None, Appended)
        .leaves(&[(1, 0, 1), (2, 0, 2)]);
}

#[test]
fn nothing_is_sent_behind_the_first_batch_of_all() {
    Script::new(None)
        .append(3)
        .leaves(&[(0, -1, -1)])
        .answered(0, Some(NotLeaderOrFollower), Again)
        .leaves(&[(0, -1, -1)])
        .answered(0, None, Appended)
        .leaves(&[(1, -1, -1), (2, -1, -1)]);
}

#[test]
fn out_of_order_with_nothing_before_it_begins_an_epoch() {
    Script::idempotent()
        .append(2)
        .leaves(&[(0, 0, 0), (1, 0, 1)])
        .answered(0, Some(NotLeaderOrFollower), Again)
        .answered(1, None, Appended)
        .leaves(&[(0, 0, 0)])
        .answered(0, Some(OutOfOrderSequenceNumber), Unclear)
        .leaves(&[])
        .told(0, Told::Last(None), Again)
        .leaves(&[(0, 1, 0)]);
}

#[test]
fn what_the_leader_has_already_is_appended_and_the_next_goes_on() {
    Script::idempotent()
        .append(3)
        .leaves(&[(0, 0, 0), (1, 0, 1), (2, 0, 2)])
        .answered(0, Some(NetworkException), Again)
        .answered(1, Some(NetworkException), Again)
        .answered(2, Some(NetworkException), Again)
        .leaves(&[(0, 0, 0)])
        .answered(0, Some(OutOfOrderSequenceNumber), Unclear)
        .told(0, Told::Last(Some(Sequence(1))), Appended)
        .leaves(&[(1, 0, 1)])
        .answered(1, Some(DuplicateSequenceNumber), Appended)
        .leaves(&[(2, 0, 2)])
        .answered(2, None, Appended);
}

#[test]
fn while_no_leader_says_anything_an_unclear_batch_keeps_its_sequence() {
    Script::idempotent()
        .append(1)
        .leaves(&[(0, 0, 0)])
        .answered(0, Some(NetworkException), Again)
        .leaves(&[(0, 0, 0)])
        .answered(0, Some(OutOfOrderSequenceNumber), Unclear)
        .told(0, Told::Nothing, Again)
        .leaves(&[(0, 0, 0)])
        .answered(0, Some(OutOfOrderSequenceNumber), Unclear)
        .told(0, Told::Never, Failed)
        .append(1)
        .leaves(&[(1, 1, 0)]);
}

#[test]
fn a_batch_that_is_too_large_goes_in_parts_before_what_is_behind_it() {
    Script::idempotent()
        .append_one_of(5)
        .append(1)
        .leaves(&[(0, 0, 0), (1, 0, 5)])
        .answered(0, Some(MessageTooLarge), TooLarge)
        .leaves(&[])
        .answered(1, Some(OutOfOrderSequenceNumber), Again)
        .leaves(&[(0, 0, 0)])
        .answered(0, None, Appended)
        .leaves(&[(0, 0, 2)])
        .answered(0, Some(MessageTooLarge), TooLarge)
        .leaves(&[(0, 0, 2)])
        .answered(0, Some(NetworkException), Again)
        .leaves(&[(0, 0, 2)])
        .answered(0, None, Appended)
        .leaves(&[(0, 0, 3)])
        .answered(0, None, Appended)
        .leaves(&[(1, 0, 5)]);
}

#[test]
fn in_transactions_a_broken_chain_fails_what_waits() {
    let limits =
        QueueLimits { batch_bytes_max: 1, linger: LINGER, in_flight_max: 5, delivery_timeout: TIMEOUT };
    let identity = Some((ProducerId(7), ProducerEpoch(3)));
    let mut script = Script { queue: Queue::in_transactions(limits, identity), ..Script::new(None) }.known();
    script = script.append(2).leaves(&[(0, 3, 0), (1, 3, 1)]);
    script = script.answered(0, Some(MessageTooLarge), Failed);
    script = script.answered(1, Some(OutOfOrderSequenceNumber), Failed).append(1);
    assert!(matches!(script.queue.front(script.now, true), Front::Broken));
    assert_eq!(script.queue.take_all().len(), 1);
    script.queue.go_on_as(ProducerId(7), ProducerEpoch(4));
    script.append(1).leaves(&[(3, 4, 0)]);
}

#[test]
fn out_of_order_at_the_front_begins_an_epoch() {
    Script::idempotent()
        .append(3)
        .leaves(&[(0, 0, 0), (1, 0, 1), (2, 0, 2)])
        .answered(0, None, Appended)
        .answered(1, Some(OutOfOrderSequenceNumber), Again)
        .leaves(&[])
        .answered(2, Some(OutOfOrderSequenceNumber), Again)
        .append(1)
        .leaves(&[(1, 1, 0)])
        .answered(1, None, Appended)
        .leaves(&[(2, 1, 1), (3, 1, 2)]);
}

#[test]
fn a_broker_that_forgot_the_producer_gets_an_epoch() {
    Script::idempotent()
        .append(1)
        .leaves(&[(0, 0, 0)])
        .answered(0, None, Appended)
        .append(1)
        .leaves(&[(1, 0, 1)])
        .answered(1, Some(UnknownProducerId), Again)
        .leaves(&[(1, 1, 0)]);
}

#[test]
fn a_refused_batch_is_left_out_and_the_rest_begins_an_epoch() {
    Script::idempotent()
        .append(3)
        .leaves(&[(0, 0, 0), (1, 0, 1), (2, 0, 2)])
        .answered(0, Some(MessageTooLarge), Failed)
        .leaves(&[])
        .answered(1, Some(OutOfOrderSequenceNumber), Again)
        .answered(2, Some(OutOfOrderSequenceNumber), Again)
        .leaves(&[(1, 1, 0)])
        .answered(1, None, Appended)
        .leaves(&[(2, 1, 1)]);
}

#[test]
fn what_was_sent_and_never_decided_expires_together() {
    Script::idempotent()
        .append(1)
        .later(TIMEOUT / 2)
        .append(2)
        .leaves(&[(0, 0, 0), (1, 0, 1), (2, 0, 2)])
        .answered(0, Some(NetworkException), Again)
        .answered(1, Some(NetworkException), Again)
        .later(TIMEOUT / 2)
        .expires(&[])
        .answered(2, Some(NetworkException), Again)
        .append(1)
        .expires(&[0, 1, 2])
        .leaves(&[(3, 1, 0)]);
}

#[test]
fn what_was_never_sent_expires_alone_and_breaks_nothing() {
    Script::idempotent()
        .append(1)
        .later(TIMEOUT / 2)
        .append(1)
        .later(TIMEOUT / 2)
        .expires(&[0])
        .leaves(&[(1, 0, 0)]);
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(sequence_after(Sequence(i32::MAX), 1), Sequence(0));
    assert_eq!(sequence_after(Sequence(i32::MAX - 2), 5), Sequence(2));
}

#[test]
fn without_idempotence_final_errors_fail_and_others_go_again() {
    Script::new(None)
        .known()
        .append(2)
        .leaves(&[(0, -1, -1), (1, -1, -1)])
        .answered(0, Some(NotLeaderOrFollower), Again)
        .answered(1, Some(MessageTooLarge), Failed)
        .leaves(&[(0, -1, -1)])
        .answered(0, None, Appended);
}

#[test]
fn an_open_batch_waits_for_more_unless_someone_is_in_a_hurry() {
    let limits =
        QueueLimits { batch_bytes_max: 1000, linger: LINGER, in_flight_max: 1, delivery_timeout: TIMEOUT };
    let mut queue = Queue::new(limits, None);
    let began = Instant::now();
    queue.push(Batch::open(0, began, BatchOptions::default(), 1000)).push(
        &Record::of_value(b"v"),
        Timestamp(0),
        1,
    );
    assert!(matches!(queue.front(began, false), Front::Later(moment) if moment == began + LINGER));
    assert!(queue.with_room(100).is_some());
    assert!(matches!(queue.front(began + LINGER, false), Front::Batch(_)));
    assert!(queue.with_room(100).is_none());
}

/// A request had no room for it, and before the next one the chain broke.
#[test]
fn a_batch_that_was_shown_and_not_taken_leaves_with_the_sequences_of_its_turn() {
    let mut script = Script::idempotent().append(2);
    assert!(matches!(script.queue.front(script.now, true), Front::Batch(_)));
    let first = script.queue.take_front();
    script.under_way.push(first);
    for _ in 0..2 {
        let Front::Batch(shown) = script.queue.front(script.now, true) else {
            panic!("there is another one")
        };
        assert_eq!((shown.number, shown.attempts, shown.stamp.base_sequence), (1, 0, Sequence(1)));
    }
    assert!(script.queue.is_due(script.now, false), "it takes no more records");
    script
        .answered(0, Some(OutOfOrderSequenceNumber), Again)
        .leaves(&[(0, 1, 0)])
        .answered(0, None, Appended)
        .leaves(&[(1, 1, 1)]);
}
