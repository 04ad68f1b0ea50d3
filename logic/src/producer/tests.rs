//! What the producer table promises: as scripts, and against a naive model.

use super::*;
use proptest::prelude::*;
use protocol::batch::{BatchHeader, HEADER_BYTES};
use protocol::records::{BatchBuilder, BatchOptions, ControlKind, ProducerStamp};
use protocol::types::{
    LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TransactionVersion,
};
use std::collections::BTreeMap;

/// The header of a batch as the log holds it.
fn header(batch: &ProducerBatch, at: AppendedAt) -> BatchHeader {
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: at.base_offset,
        leader_epoch: LeaderEpoch(0),
        producer: ProducerStamp {
            id: batch.producer_id,
            epoch: batch.epoch,
            base_sequence: batch.base_sequence,
        },
        transactional: batch.is_transactional,
        ..BatchOptions::default()
    });
    for _ in 0..=batch.last_offset_delta {
        builder.append(at.timestamp, None, None, &[]);
    }
    *BatchHeader::from_prefix(&builder.build()).expect("a header")
}

fn batch(id: i64, epoch: i16, base: i32, count: i32) -> ProducerBatch {
    ProducerBatch {
        producer_id: ProducerId(id),
        epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(base),
        last_offset_delta: count - 1,
        is_transactional: false,
    }
}

/// Runs a script, one command a line, and compares what it prints.
///
/// ```text
///  offer ID EPOCH SEQUENCE COUNT    a batch from a client
///  plain COUNT                      a batch without a producer
///  replay ID EPOCH SEQUENCE COUNT   a batch found in the log
///  at MS     expire MS COUNT     cut OFFSET     reload
/// ```
#[track_caller]
fn check(script: &str, expected: &str) {
    let mut table = ProducerTable::default();
    let mut end = Offset(0);
    let mut now = Timestamp(0);
    let mut printed = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (command, numbers) = line.split_once(' ').unwrap_or((line, ""));
        let numbers: Vec<i64> = numbers.split(' ').filter_map(|word| word.parse().ok()).collect();
        let offered = || {
            let small = |place: usize| i32::try_from(numbers[place]).expect("a small number");
            batch(numbers[0], i16::try_from(numbers[1]).expect("a small number"), small(2), small(3))
        };
        match command {
            "at" => now = Timestamp(numbers[0]),
            "plain" => end = end.plus(numbers[0]),
            "offer" => match table.check(&offered()) {
                Ok(Verdict::New) => {
                    table.record(now, &offered(), AppendedAt { base_offset: end, timestamp: now });
                    printed.push(format!("new at {end}"));
                    end = end.plus(numbers[3]);
                }
                Ok(Verdict::Duplicate(original)) => {
                    let (base, last) = (original.base_offset, original.last_offset);
                    printed.push(format!("duplicate of {base} to {last}, {}", original.timestamp));
                }
                Err(error) => printed.push(error.to_string()),
            },
            "replay" => {
                let at = AppendedAt { base_offset: end, timestamp: now };
                table.replay(now, &header(&offered(), at), &[]);
                end = end.plus(numbers[3]);
            }
            "expire" => {
                let count_max = usize::try_from(numbers[1]).expect("a count");
                printed.push(format!("expired {}", table.expire(now, numbers[0], count_max)));
            }
            "cut" => {
                end = Offset(numbers[0]);
                printed.push(format!("{:?}", table.truncate(end)));
            }
            "reload" => table = reloaded(&table, end, now),
            other => panic!("not a command: {other}"),
        }
        table.entries.assert_invariants();
    }
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(printed, expected);
}

fn reloaded(table: &ProducerTable, end: Offset, now: Timestamp) -> ProducerTable {
    let bytes = table.encode_snapshot(end);
    let (decoded, at) = ProducerTable::decode_snapshot(&bytes, now).expect("its own snapshot");
    assert_eq!(at, end);
    assert_eq!(decoded.encode_snapshot(end), bytes);
    decoded
}

#[test]
fn batches_follow_one_another() {
    check(
        "offer 7 0 0 5
         offer 7 0 5 1
         offer 8 0 0 2
         offer 7 0 6 2",
        "new at 0
         new at 5
         new at 6
         new at 8",
    );
}

#[test]
fn a_gap_is_refused_and_changes_nothing() {
    check(
        "offer 7 0 0 5
         offer 7 0 6 1
         offer 7 0 5 1",
        "new at 0
         sequence 6 of producer 7 is out of order, 5 is next
         new at 5",
    );
}

#[test]
fn a_repeated_batch_is_answered_with_its_originals_offsets() {
    check(
        "at 10
         offer 7 0 0 5
         at 20
         offer 7 0 5 3
         offer 7 0 0 5
         offer 7 0 5 3",
        "new at 0
         new at 5
         duplicate of 0 to 4, 10
         duplicate of 5 to 7, 20",
    );
}

#[test]
fn only_the_same_range_is_a_repetition() {
    check(
        "offer 7 0 0 5
         offer 7 0 0 4
         offer 7 0 1 4
         offer 7 0 0 6",
        "new at 0
         sequence 0 of producer 7 is out of order, 5 is next
         sequence 1 of producer 7 is out of order, 5 is next
         sequence 0 of producer 7 is out of order, 5 is next",
    );
}

#[test]
fn the_last_five_batches_are_remembered_and_the_sixth_is_not() {
    check(
        "offer 7 0 0 1
         offer 7 0 1 1
         offer 7 0 2 1
         offer 7 0 3 1
         offer 7 0 4 1
         offer 7 0 5 1
         offer 7 0 1 1
         offer 7 0 0 1",
        "new at 0
         new at 1
         new at 2
         new at 3
         new at 4
         new at 5
         duplicate of 1 to 1, 0
         sequence 0 of producer 7 is out of order, 6 is next",
    );
}

#[test]
fn an_unknown_producer_may_start_anywhere() {
    check(
        "offer 7 3 100 5
         offer 7 3 105 1
         offer 7 3 104 1",
        "new at 0
         new at 5
         sequence 104 of producer 7 is out of order, 106 is next",
    );
}

#[test]
fn a_bumped_epoch_starts_at_zero_and_fences_the_old_one() {
    check(
        "offer 7 0 0 5
         offer 7 1 5 1
         offer 7 1 0 2
         offer 7 0 5 1
         offer 7 0 0 5
         offer 7 1 0 2
         offer 7 1 2 1",
        "new at 0
         sequence 5 of producer 7 is out of order, 0 is next
         new at 5
         epoch 0 of producer 7 is fenced by 1
         epoch 0 of producer 7 is fenced by 1
         duplicate of 5 to 6, 0
         new at 7",
    );
}

#[test]
fn sequences_wrap_to_zero() {
    check(
        "offer 7 0 2147483645 3
         offer 7 0 0 2
         offer 8 0 2147483646 4
         offer 8 0 2 1
         offer 8 0 2147483646 4
         reload
         offer 8 0 2147483646 4
         offer 8 0 3 1",
        "new at 0
         new at 3
         new at 5
         new at 9
         duplicate of 5 to 8, 0
         duplicate of 5 to 8, 0
         new at 10",
    );
}

#[test]
fn silent_producers_expire_in_bounded_steps_and_busy_ones_stay() {
    check(
        "offer 1 0 0 1
         offer 2 0 0 1
         at 5
         offer 3 0 0 1
         at 10
         offer 1 0 1 1
         at 15
         expire 10 1
         expire 10 1
         expire 10 1
         offer 1 0 2 1
         offer 2 0 7 1",
        "new at 0
         new at 1
         new at 2
         new at 3
         expired 1
         expired 1
         expired 0
         new at 4
         new at 5",
    );
}

#[test]
fn a_cut_takes_back_what_lay_past_it() {
    check(
        "offer 7 0 0 5
         offer 8 0 0 5
         offer 7 0 5 5
         cut 10
         offer 7 0 5 1
         cut 5
         offer 8 0 0 2
         offer 7 0 5 1",
        "new at 0
         new at 5
         new at 10
         Exact
         new at 10
         Exact
         new at 5
         new at 7",
    );
}

#[test]
fn a_cut_below_what_is_remembered_asks_for_a_rebuild() {
    check(
        "offer 7 0 0 1
         offer 7 0 1 1
         offer 7 0 2 1
         offer 7 0 3 1
         offer 7 0 4 1
         offer 7 0 5 1
         cut 6
         cut 5",
        "new at 0
         new at 1
         new at 2
         new at 3
         new at 4
         new at 5
         Exact
         Rebuild",
    );
    check(
        "offer 7 0 0 1
         offer 7 1 0 1
         cut 1",
        "new at 0
         new at 1
         Rebuild",
    );
}

#[test]
fn a_replay_rebuilds_the_table_from_the_log() {
    check(
        "replay 7 0 9 2
         plain 3
         replay 7 0 11 1
         replay 8 -1 -1 1
         replay -1 -1 -1 1
         offer 7 0 11 1
         offer 7 0 12 1",
        "duplicate of 5 to 5, 0
         new at 8",
    );
}

/// What the log holds, one batch a line, and which of them are their producers' last ones, by their last offsets.
///
/// ```text
///  batch ID EPOCH SEQUENCE COUNT     plain COUNT     unsequenced ID EPOCH COUNT     marker ID EPOCH
/// ```
#[track_caller]
fn check_last(log: &str, expected: &[i64]) {
    let mut table = ProducerTable::default();
    let mut headers = Vec::new();
    let mut end = Offset(0);
    for line in log.lines().map(str::trim) {
        let (command, numbers) = line.split_once(' ').expect("a command");
        let numbers: Vec<i64> = numbers.split(' ').map(|word| word.parse().expect("a number")).collect();
        let small = |place: usize| i32::try_from(numbers[place]).expect("a small number");
        let epoch = || i16::try_from(numbers[1]).expect("a small number");
        let of = |batch| header(&batch, AppendedAt { base_offset: end, timestamp: Timestamp(0) });
        let (header, body) = match command {
            "batch" => (of(batch(numbers[0], epoch(), small(2), small(3))), Vec::new()),
            "plain" => (of(batch(-1, -1, -1, small(0))), Vec::new()),
            "unsequenced" => {
                let batch =
                    ProducerBatch { is_transactional: true, ..batch(numbers[0], epoch(), -1, small(2)) };
                (of(batch), Vec::new())
            }
            "marker" => {
                let marker = TransactionMarker {
                    producer_id: ProducerId(numbers[0]),
                    epoch: ProducerEpoch(epoch()),
                    kind: ControlKind::Commit,
                    coordinator_epoch: 0,
                    version: TransactionVersion::V2,
                    told_by: Teller::Leader,
                };
                let mut bytes = marker.batch(Timestamp(0));
                BatchHeader::from_prefix_mut(&mut bytes).expect("a header").set_position(end, LeaderEpoch(0));
                (*BatchHeader::from_prefix(&bytes).expect("a header"), bytes.split_off(HEADER_BYTES))
            }
            other => panic!("not a command: {other}"),
        };
        table.replay(Timestamp(0), &header, &body);
        end = header.next_offset();
        headers.push(header);
    }
    let last = headers.iter().filter(|header| table.is_last_of_producer(header));
    let last: Vec<i64> = last.map(|header| header.last_offset().get()).collect();
    assert_eq!(last, expected);
}

#[test]
fn the_last_batch_of_each_producer_is_told_from_those_before() {
    check_last(
        "batch 7 0 0 2
         batch 8 0 0 1
         plain 3
         batch 7 0 2 2
         batch 9 0 5 1",
        &[2, 7, 8],
    );
}

#[test]
fn a_batch_of_a_new_epoch_is_the_last_one() {
    check_last(
        "batch 7 0 0 2
         batch 7 1 0 1",
        &[2],
    );
}

#[test]
fn a_marker_behind_batches_of_its_epoch_is_not_what_is_known_of_their_producer() {
    check_last(
        "batch 7 0 0 2
         batch 7 0 2 1
         marker 7 0",
        &[2],
    );
}

#[test]
fn a_marker_that_bumps_the_epoch_is_the_last_that_is_known_of_its_producer() {
    check_last(
        "batch 7 0 0 2
         marker 7 1",
        &[2],
    );
    check_last(
        "batch 7 0 0 2
         marker 7 1
         batch 7 1 0 1
         marker 7 2
         marker 8 0",
        &[4, 5],
    );
    check_last(
        "marker 7 1
         batch 7 1 0 1",
        &[1],
    );
}

#[test]
fn a_batch_without_sequences_is_not_what_is_known_of_its_producer() {
    check_last(
        "unsequenced 7 0 2
         marker 7 0
         unsequenced 7 0 1",
        &[2],
    );
}

#[test]
fn nothing_is_the_last_of_a_producer_that_is_not_known() {
    let table = ProducerTable::default();
    let at = AppendedAt { base_offset: Offset(0), timestamp: Timestamp(0) };
    assert!(!table.is_last_of_producer(&header(&batch(7, 0, 0, 1), at)));
}

#[test]
fn a_replay_skips_what_the_snapshot_has() {
    let mut table = ProducerTable::default();
    let at = |offset| AppendedAt { base_offset: Offset(offset), timestamp: Timestamp(0) };
    table.record(Timestamp(0), &batch(7, 0, 0, 5), at(0));
    let mut table = reloaded(&table, Offset(9), Timestamp(0));
    table.replay(Timestamp(0), &header(&batch(7, 0, 0, 5), at(0)), &[]);
    table.replay(Timestamp(0), &header(&batch(7, 0, 5, 1), at(9)), &[]);
    let expected = ProducerError::OutOfOrderSequence {
        producer_id: ProducerId(7),
        expected: Sequence(6),
        got: Sequence(0),
    };
    assert_eq!(table.check(&batch(7, 0, 0, 2)), Err(expected));
    assert_eq!(table.check(&batch(7, 0, 6, 2)), Ok(Verdict::New));
}

#[test]
fn a_snapshot_keeps_the_order_of_expiry() {
    check(
        "offer 1 0 0 1
         at 5
         offer 2 0 0 1
         at 10
         offer 1 0 1 1
         reload
         at 15
         expire 10 9
         offer 2 0 5 1
         offer 1 0 2 1",
        "new at 0
         new at 1
         new at 2
         expired 1
         new at 3
         new at 4",
    );
}

#[test]
fn a_clock_set_back_does_not_make_producers_immortal() {
    let mut table = ProducerTable::default();
    let at = AppendedAt { base_offset: Offset(0), timestamp: Timestamp(0) };
    table.record(Timestamp(1_000), &batch(7, 0, 0, 1), at);
    let table = reloaded_at(&table, Timestamp(100));
    assert_eq!(table.oldest_seen_at(), Some(Timestamp(100)));
}

fn reloaded_at(table: &ProducerTable, now: Timestamp) -> ProducerTable {
    ProducerTable::decode_snapshot(&table.encode_snapshot(Offset(1)), now).expect("its own snapshot").0
}

#[test]
fn forgetting_the_oldest_frees_the_memory_of_all() {
    let mut table = ProducerTable::default();
    for id in 0..1_000 {
        let at = AppendedAt { base_offset: Offset(id), timestamp: Timestamp(0) };
        table.record(Timestamp(id), &batch(id, 0, 0, 1), at);
    }
    let full = table.memory_bytes();
    for id in 0..1_000 {
        assert_eq!(table.oldest_seen_at(), Some(Timestamp(id)));
        table.forget_oldest();
        table.entries.assert_invariants();
    }
    assert!(table.is_empty());
    assert!(table.memory_bytes() < full / 100, "{} of {full} bytes are left", table.memory_bytes());
}

#[test]
fn bytes_that_are_not_a_snapshot_are_refused() {
    let mut table = ProducerTable::default();
    for id in 0..3 {
        let at = AppendedAt { base_offset: Offset(id), timestamp: Timestamp(0) };
        table.record(Timestamp(0), &batch(id, 0, 0, 1), at);
    }
    let bytes = table.encode_snapshot(Offset(3));
    for length in 0..bytes.len() {
        assert!(ProducerTable::decode_snapshot(&bytes[..length], Timestamp(0)).is_err(), "{length} bytes");
    }
}

/// The naive model: every batch ever appended, and each question answered by going through them.
#[derive(Default)]
struct Model {
    log: Vec<(Offset, ProducerBatch)>,
    seen_at: BTreeMap<i64, i64>,
    end: i64,
}

impl Model {
    fn batches(&self, id: ProducerId) -> Vec<(Offset, ProducerBatch)> {
        let of_producer = || self.log.iter().filter(move |(_, batch)| batch.producer_id == id);
        let Some((_, last)) = of_producer().next_back() else { return Vec::new() };
        // A new epoch starts afresh.
        let newest: Vec<_> =
            of_producer().rev().take_while(|(_, batch)| batch.epoch == last.epoch).take(5).copied().collect();
        newest.into_iter().rev().collect()
    }

    fn check(&self, batch: &ProducerBatch) -> Result<Verdict, ProducerError> {
        let kept = self.batches(batch.producer_id);
        let Some((_, last)) = kept.last() else { return Ok(Verdict::New) };
        let (producer_id, got) = (batch.producer_id, batch.base_sequence);
        if let Some((base_offset, _)) = kept.iter().find(|(_, old)| old == batch) {
            let last_offset = base_offset.plus(i64::from(batch.last_offset_delta));
            let timestamp = Timestamp(base_offset.get());
            return Ok(Verdict::Duplicate(OriginalBatch {
                base_offset: *base_offset,
                last_offset,
                timestamp,
            }));
        }
        if batch.epoch < last.epoch {
            return Err(ProducerError::StaleEpoch { producer_id, current: last.epoch, got: batch.epoch });
        }
        let next = (i64::from(last.base_sequence.get()) + i64::from(last.last_offset_delta) + 1) % (1 << 31);
        let next = if last.epoch == batch.epoch { i32::try_from(next).expect("31 bits") } else { 0 };
        if got.get() != next {
            return Err(ProducerError::OutOfOrderSequence { producer_id, expected: Sequence(next), got });
        }
        Ok(Verdict::New)
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// `back` steps before the next sequence number that the model expects; 0 is the right one.
    Offer {
        id: i64,
        bump: bool,
        back: usize,
        count: i32,
    },
    Skip {
        id: i64,
        sequence: i32,
    },
    Plain(i64),
    Cut(i64),
    Expire {
        elapsed: i64,
    },
    Reload,
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..4_i64;
    prop_oneof![
        12 => (id.clone(), prop::bool::weighted(0.1), prop_oneof![3 => Just(0_usize), 1 => 1..8_usize], 1..4_i32)
            .prop_map(|(id, bump, back, count)| Step::Offer { id, bump, back, count }),
        2 => (id, prop_oneof![0..20_i32, i32::MAX - 5..=i32::MAX])
            .prop_map(|(id, sequence)| Step::Skip { id, sequence }),
        2 => (1..3_i64).prop_map(Step::Plain),
        1 => (0..12_i64).prop_map(Step::Cut),
        1 => (0..40_i64).prop_map(|elapsed| Step::Expire { elapsed }),
        1 => Just(Step::Reload),
    ]
}

struct Pair {
    table: ProducerTable,
    model: Model,
    now: i64,
}

impl Pair {
    fn offer(&mut self, batch: &ProducerBatch) {
        self.now += 1;
        let verdict = self.table.check(batch);
        assert_eq!(verdict, self.model.check(batch));
        if verdict != Ok(Verdict::New) {
            return;
        }
        let base_offset = Offset(self.model.end);
        // The base offset stands for the timestamp too, so that the model can tell it.
        let at = AppendedAt { base_offset, timestamp: Timestamp(base_offset.get()) };
        self.table.record(Timestamp(self.now), batch, at);
        self.model.log.push((base_offset, *batch));
        self.model.seen_at.insert(batch.producer_id.get(), self.now);
        self.model.end += i64::from(batch.last_offset_delta) + 1;
    }

    fn batch_for(&self, id: i64, bump: bool, back: usize, count: i32) -> ProducerBatch {
        let kept: Vec<_> = self
            .model
            .log
            .iter()
            .filter(|(_, old)| old.producer_id.get() == id)
            .map(|(_, old)| *old)
            .collect();
        let Some(last) = kept.last() else { return batch(id, 0, 0, count) };
        if bump {
            return batch(id, last.epoch.get() + 1, 0, count);
        }
        match back {
            0 => batch(id, last.epoch.get(), sequence_after(last.last_sequence(), 1).get(), count),
            back => kept[kept.len().saturating_sub(back)],
        }
    }

    fn cut(&mut self, end: i64) {
        self.model.end = end;
        self.model.log.retain(|(base, old)| base.get() + i64::from(old.last_offset_delta) < end);
        // A cut falls between batches.
        let last_end =
            self.model.log.last().map_or(0, |(base, old)| base.get() + i64::from(old.last_offset_delta) + 1);
        self.model.end = self.model.end.max(last_end);
        if self.table.truncate(Offset(self.model.end)) == Truncation::Rebuild {
            self.table = ProducerTable::default();
            for (base_offset, old) in &self.model.log {
                let at = AppendedAt { base_offset: *base_offset, timestamp: Timestamp(base_offset.get()) };
                self.table.replay(Timestamp(self.now), &header(old, at), &[]);
                self.model.seen_at.insert(old.producer_id.get(), self.now);
            }
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Offer { id, bump, back, count } => self.offer(&self.batch_for(id, bump, back, count)),
            Step::Skip { id, sequence } => self.offer(&batch(id, 0, sequence, 2)),
            Step::Plain(count) => self.model.end += count,
            Step::Cut(back) => self.cut((self.model.end - back).max(0)),
            Step::Expire { elapsed } => {
                self.now += elapsed;
                let now = self.now;
                let _ = self.table.expire(Timestamp(now), 20, usize::MAX);
                let seen_at = &self.model.seen_at;
                self.model.log.retain(|(_, old)| now - seen_at[&old.producer_id.get()] < 20);
            }
            Step::Reload => {
                self.table = reloaded(&self.table, Offset(self.model.end), Timestamp(self.now));
            }
        }
        self.table.entries.assert_invariants();
        let mut known: Vec<i64> = self.model.log.iter().map(|(_, old)| old.producer_id.get()).collect();
        known.sort_unstable();
        known.dedup();
        assert_eq!(self.table.len(), known.len());
    }
}

proptest! {
    #[test]
    fn the_table_answers_as_the_naive_model_does(steps in prop::collection::vec(step(), 1..120)) {
        let mut pair = Pair { table: ProducerTable::default(), model: Model::default(), now: 0 };
        for step in &steps {
            pair.run(step);
        }
    }

    #[test]
    fn no_bytes_break_the_decoder(mut bytes in prop::collection::vec(any::<u8>(), 0..200), flips in prop::collection::vec((0..400_usize, any::<u8>()), 0..4)) {
        let _ = ProducerTable::decode_snapshot(&bytes, Timestamp(0));
        let mut table = ProducerTable::default();
        let at = AppendedAt { base_offset: Offset(0), timestamp: Timestamp(0) };
        table.record(Timestamp(0), &batch(1, 0, 0, 1), at);
        table.record(Timestamp(0), &batch(1, 0, 1, 1), AppendedAt { base_offset: Offset(1), ..at });
        bytes = table.encode_snapshot(Offset(2));
        for (place, value) in flips {
            let length = bytes.len();
            bytes[place % length] = value;
        }
        if let Ok((decoded, at)) = ProducerTable::decode_snapshot(&bytes, Timestamp(0)) {
            decoded.entries.assert_invariants();
            prop_assert!(ProducerTable::decode_snapshot(&decoded.encode_snapshot(at), Timestamp(0)).is_ok());
        }
    }
}

#[test]
fn a_snapshot_made_in_steps_is_that_of_the_moment_it_was_begun() {
    let mut table = ProducerTable::default();
    let batch = |id: i64, base_sequence: i32| ProducerBatch {
        producer_id: ProducerId(id),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(base_sequence),
        last_offset_delta: 0,
        is_transactional: false,
    };
    let mut end = 0;
    let mut record = |table: &mut ProducerTable, now: i64, id: i64, sequence: i32| {
        let at = AppendedAt { base_offset: Offset(end), timestamp: Timestamp(now) };
        table.record(Timestamp(now), &batch(id, sequence), at);
        end += 1;
        Offset(end)
    };
    let mut at = Offset(0);
    for id in 0..2_000 {
        at = record(&mut table, id, id, 0);
    }
    let whole = table.encode_snapshot(at);
    let mut snapshot = table.begin_snapshot(at);
    let (mut steps, mut now) = (0, 2_000);
    while !snapshot.step(7) {
        // Producers go on, come and go meanwhile.
        record(&mut table, now, steps % 2_000, 1 + i32::from(steps >= 2_000));
        record(&mut table, now, 10_000 + steps, 0);
        if steps % 3 == 0 {
            table.forget_oldest();
        }
        steps += 1;
        now += 1;
    }
    assert!(steps > 500, "{steps} steps");
    let (bytes, start) = snapshot.finish();
    assert!(bytes[start..] == whole, "the snapshot differs from the one at one go");
    table.entries.assert_invariants();
}
