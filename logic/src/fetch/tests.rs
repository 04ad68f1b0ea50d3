//! What sessions and shares promise: scripts, and a client whose view must never differ from a full fetch's.

use super::*;
use proptest::prelude::*;
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
use std::collections::BTreeMap;

const OPTIONS: SessionOptions =
    SessionOptions { slots_max: 2, partitions_max: 100, eviction_ms: 100, shard: 1, shard_count: 3, seed: 7 };

fn request(partition: i32, fetch_offset: i64) -> PartitionRequest {
    PartitionRequest {
        partition: PartitionIndex(partition),
        fetch_offset: Offset(fetch_offset),
        bytes_max: 1_000,
        leader_epoch: LeaderEpoch::UNKNOWN,
        last_fetched_epoch: LeaderEpoch::UNKNOWN,
        follower_log_start: Offset(-1),
    }
}

/// Runs a script and compares what it prints. Sessions are numbered in the order in which they were opened.
///
/// ```text
///  at MS
///  open PARTS    reopen N PARTS    open-ids PARTS    open-follower PARTS
///  next N PARTS                 with the right epoch;  next-ids the same by topic ids
///  again N PARTS                with the epoch before
///  close N
///  answer N PART hw=H start=S [records] [error] [tell]
///  list N
/// ```
///
/// PARTS are `a-0@5` (topic a, partition 0, from offset 5) and `!a-0` (forgotten).
#[track_caller]
fn check(script: &str, expected: &str) {
    let mut run = Run {
        cache: SessionCache::new(OPTIONS),
        now: Timestamp(0),
        ids: Vec::new(),
        epochs: BTreeMap::new(),
    };
    let mut printed = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        printed.extend(run.command(line));
    }
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(printed, expected);
}

struct Run {
    cache: SessionCache,
    now: Timestamp,
    ids: Vec<i32>,
    epochs: BTreeMap<i32, i32>,
}

fn part(word: &str) -> (&str, i32, i64) {
    let (place, offset) = word.split_once('@').unwrap_or((word, "0"));
    let (topic, partition) = place.split_once('-').expect("a topic and a partition");
    (topic, partition.parse().expect("a partition"), offset.parse().expect("an offset"))
}

fn key(topic: &str, ids: bool) -> TopicKey<'_> {
    if ids { TopicKey::Id(TopicId([topic.as_bytes()[0]; 16])) } else { TopicKey::Name(topic) }
}

fn topic_name(topic: &SessionTopic) -> String {
    match topic {
        SessionTopic::Name(name) => name.to_string(),
        SessionTopic::Id(id) => char::from(id.0[0]).to_string(),
    }
}

impl Run {
    fn command(&mut self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |word: &str| word.parse::<i64>().expect("a number");
        let id_of = |run: &Self, word: &str| run.ids[usize::try_from(number(word)).expect("a session") - 1];
        match words[0] {
            "at" => {
                self.now = Timestamp(number(words[1]));
                None
            }
            "open" => Some(self.open(0, 0, &words[1..], false, false)),
            "open-ids" => Some(self.open(0, 0, &words[1..], true, false)),
            "open-follower" => Some(self.open(0, 0, &words[1..], false, true)),
            "reopen" => Some(self.open(id_of(self, words[1]), 0, &words[2..], false, false)),
            "close" => Some(self.open(id_of(self, words[1]), -1, &words[2..], false, false)),
            "next" | "next-ids" | "again" => {
                let id = id_of(self, words[1]);
                let epoch = self.epochs[&id] - i32::from(words[0] == "again");
                Some(self.open(id, epoch, &words[2..], words[0] == "next-ids", false))
            }
            "answer" => Some(self.answer(id_of(self, words[1]), &words[2..])),
            "list" => {
                let id = id_of(self, words[1]);
                Some(self.list(id))
            }
            other => panic!("not a command: {other}"),
        }
    }

    fn open(
        &mut self,
        session_id: i32,
        session_epoch: i32,
        words: &[&str],
        ids: bool,
        is_follower: bool,
    ) -> String {
        let request_of = SessionRequest { session_id, session_epoch, uses_topic_ids: ids, is_follower };
        let asked: Vec<_> =
            words.iter().filter(|word| !word.starts_with('!')).map(|word| part(word)).collect();
        let forgotten: Vec<_> = words.iter().filter_map(|word| word.strip_prefix('!')).map(part).collect();
        let opened = self.cache.open(
            self.now,
            request_of,
            asked.iter().map(|(topic, partition, from)| (key(topic, ids), request(*partition, *from))),
            forgotten.iter().map(|(topic, partition, _)| (key(topic, ids), PartitionIndex(*partition))),
        );
        match opened {
            Ok(Opened::Sessionless) => "sessionless".into(),
            Ok(Opened::Session { id, epoch }) => {
                if !self.ids.contains(&id) {
                    self.ids.push(id);
                }
                self.epochs.insert(id, epoch);
                let number = self.ids.iter().position(|other| *other == id).expect("just added") + 1;
                format!("session {number} at {epoch}")
            }
            Err(SessionError::NotFound { .. }) => "not found".into(),
            Err(SessionError::InvalidEpoch { expected, got, .. }) => {
                format!("expected {expected}, got {got}")
            }
            Err(SessionError::TopicIdMismatch { .. }) => "named in another way".into(),
        }
    }

    fn answer(&mut self, id: i32, words: &[&str]) -> String {
        let (topic, partition, _) = part(words[0]);
        let epoch = self.epochs[&id];
        let value = |name: &str| {
            let found = words.iter().find_map(|word| word.strip_prefix(name));
            Offset(found.expect("hw= and start=").parse().expect("an offset"))
        };
        let outcome = PartitionOutcome {
            has_records: words.contains(&"records"),
            high_watermark: value("hw="),
            log_start: value("start="),
            must_tell: words.contains(&"tell"),
            is_error: words.contains(&"error"),
        };
        let handle = self
            .cache
            .session(id, epoch)
            .expect("an open session")
            .partitions()
            .find(|found| topic_name(found.topic) == topic && found.request.partition.get() == partition)
            .expect("a partition of the session")
            .handle;
        match self.cache.answer(id, epoch, handle, &outcome).expect("an open session") {
            true => "told".into(),
            false => "left out".into(),
        }
    }

    fn list(&self, id: i32) -> String {
        match self.cache.session(id, self.epochs[&id]) {
            Ok(session) => {
                let parts: Vec<String> = session.partitions().map(|found| describe(&found)).collect();
                assert_eq!(parts.len(), session.len());
                parts.join(" ")
            }
            Err(_) => "gone".into(),
        }
    }
}

fn describe(found: &SessionPartition<'_>) -> String {
    let (partition, from) = (found.request.partition, found.request.fetch_offset);
    format!("{}-{partition}@{from}", topic_name(found.topic))
}

#[test]
fn a_session_remembers_its_partitions_and_takes_over_changes() {
    check(
        "open a-0@5 a-1@0 b-0@9
         next 1
         list 1
         next 1 a-1@7 c-3@1 !b-0
         list 1
         next 1 !a-0 !zz-9
         list 1",
        "session 1 at 1
         session 1 at 2
         a-0@5 a-1@0 b-0@9
         session 1 at 3
         a-0@5 a-1@7 c-3@1
         session 1 at 4
         a-1@7 c-3@1",
    );
}

#[test]
fn the_first_answer_is_complete_and_later_ones_hold_what_is_new() {
    check(
        "open a-0
         answer 1 a-0 hw=0 start=0
         next 1
         answer 1 a-0 hw=0 start=0
         next 1
         answer 1 a-0 hw=3 start=0
         next 1
         answer 1 a-0 hw=3 start=0 records
         answer 1 a-0 hw=3 start=2
         answer 1 a-0 hw=3 start=2
         answer 1 a-0 hw=3 start=2 tell",
        "session 1 at 1
         told
         session 1 at 2
         left out
         session 1 at 3
         told
         session 1 at 4
         told
         told
         left out
         told",
    );
}

#[test]
fn errors_are_always_told_and_so_is_their_end() {
    check(
        "open a-0
         answer 1 a-0 hw=3 start=0
         answer 1 a-0 hw=-1 start=-1 error
         answer 1 a-0 hw=-1 start=-1 error
         answer 1 a-0 hw=3 start=0
         answer 1 a-0 hw=3 start=0",
        "session 1 at 1
         told
         told
         told
         told
         left out",
    );
}

#[test]
fn partitions_that_gave_records_go_to_the_end() {
    check(
        "open a-0 a-1 a-2
         answer 1 a-0 hw=3 start=0 records
         list 1
         answer 1 a-2 hw=3 start=0 records
         list 1
         answer 1 a-2 hw=3 start=0 records
         answer 1 a-1 hw=3 start=0
         list 1",
        "session 1 at 1
         told
         a-1@0 a-2@0 a-0@0
         told
         a-1@0 a-0@0 a-2@0
         told
         told
         a-1@0 a-0@0 a-2@0",
    );
}

#[test]
fn a_repeated_or_lost_request_is_noticed() {
    check(
        "open a-0
         next 1 a-0@3
         again 1 a-0@9
         list 1
         next 1",
        "session 1 at 1
         session 1 at 2
         expected 2, got 1
         a-0@3
         session 1 at 3",
    );
}

#[test]
fn a_full_fetch_closes_the_session_that_it_names() {
    check(
        "open a-0
         reopen 1 b-0
         next 1
         close 2 b-0
         next 2
         list 1",
        "session 1 at 1
         session 2 at 1
         not found
         sessionless
         not found
         gone",
    );
}

#[test]
fn a_session_without_partitions_ends() {
    check(
        "open a-0
         next 1 !a-0
         next 1
         open",
        "session 1 at 1
         sessionless
         not found
         sessionless",
    );
}

#[test]
fn names_and_ids_do_not_mix() {
    check(
        "open-ids a-0@1
         next 1 a-0
         next-ids 1 a-0@2 b-0
         list 1",
        "session 1 at 1
         named in another way
         session 1 at 2
         a-0@2 b-0@0",
    );
}

#[test]
fn young_sessions_in_use_are_not_evicted_by_consumers() {
    check(
        "open a-0
         open b-0
         open c-0 c-1 c-2
         at 100
         open c-0 c-1 c-2
         next 1
         next 2",
        "session 1 at 1
         session 2 at 1
         sessionless
         sessionless
         session 1 at 2
         session 2 at 2",
    );
}

#[test]
fn the_session_unused_for_longest_makes_room() {
    check(
        "open a-0
         at 10
         open b-0
         at 60
         next 1
         at 111
         open c-0
         next 1
         next 2
         next 3",
        "session 1 at 1
         session 2 at 1
         session 1 at 2
         session 3 at 1
         session 1 at 3
         not found
         session 3 at 2",
    );
}

#[test]
fn an_old_smaller_session_makes_room_for_a_larger_one() {
    check(
        "open a-0 a-1
         open b-0
         at 90
         next 1
         next 2
         at 110
         open c-0
         open c-0 c-1
         next 1
         next 2",
        "session 1 at 1
         session 2 at 1
         session 1 at 2
         session 2 at 2
         sessionless
         session 3 at 1
         session 1 at 3
         not found",
    );
}

#[test]
fn a_follower_takes_a_consumers_place_at_once_and_never_another_followers() {
    check(
        "open a-0 a-1
         open-follower b-0
         open-follower c-0
         open-follower d-0 d-1
         open e-0 e-1 e-2
         next 1
         next 2
         next 3",
        "session 1 at 1
         session 2 at 1
         session 3 at 1
         sessionless
         sessionless
         not found
         session 2 at 2
         session 3 at 2",
    );
}

#[test]
fn sessions_past_the_budget_of_partitions_are_not_made_and_not_grown() {
    let many: Vec<String> = (0..50).map(|partition| format!("a-{partition}")).collect();
    let many = many.join(" ");
    check(
        &format!(
            "open {many}
             open {many}
             next 1 b-0
             next 1 {many}
             next 1
             open {many}"
        ),
        "session 1 at 1
         sessionless
         session 1 at 2
         not found
         not found
         session 2 at 1",
    );
}

#[test]
fn ids_are_positive_scattered_and_in_the_shards_share() {
    let mut cache = SessionCache::new(SessionOptions { slots_max: 100, partitions_max: 1_000, ..OPTIONS });
    let open = SessionRequest { session_id: 0, session_epoch: 0, uses_topic_ids: false, is_follower: false };
    let mut ids = Vec::new();
    for _ in 0..100 {
        let asked = std::iter::once((TopicKey::Name("a"), request(0, 0)));
        match cache.open(Timestamp(0), open, asked, std::iter::empty()) {
            Ok(Opened::Session { id, .. }) => ids.push(id),
            other => panic!("{other:?}"),
        }
    }
    assert!(ids.iter().all(|id| *id > 0 && id % 3 == 1));
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100);
    assert!(*ids.last().expect("there are ids") > 1_000_000_000);
}

/// Partitions with so many bytes in one batch each, and what the client takes of each: what comes into the answer.
fn shared(bytes_max: usize, partitions: &[(usize, usize)]) -> Vec<usize> {
    let mut share = Share::new(bytes_max);
    let brought = |&(batch, bytes_max): &(usize, usize)| if share.take(bytes_max, batch) { batch } else { 0 };
    partitions.iter().map(brought).collect()
}

#[test]
fn bytes_are_shared_out_in_order_and_the_first_batch_always_fits() {
    assert_eq!(shared(1_000, &[(300, 800), (0, 800), (700, 800)]), [300, 0, 700]);
    assert_eq!(shared(1_000, &[(300, 800), (0, 800), (701, 800)]), [300, 0, 0]);
    assert_eq!(shared(1_000, &[(0, 800), (5_000, 800), (9, 9)]), [0, 5_000, 0]);
    assert_eq!(shared(1_000, &[(9, 9), (10, 9), (11, 11)]), [9, 0, 11]);
    assert_eq!(shared(0, &[(10, 800), (10, 800)]), [10, 0]);
    assert_eq!(shared(10, &[]), []);
}

#[test]
fn a_partition_may_read_what_is_left_and_the_client_takes() {
    let mut share = Share::new(1_000);
    assert_eq!((share.limit(800), share.limit(2_000)), (800, 1_000));
    assert!(share.take(800, 300));
    assert_eq!(share.limit(800), 700);
}

#[test]
fn bounds_are_never_negative_and_never_wait_for_what_may_not_be_answered() {
    let bounds = FetchBounds::new(-5, -5, -5, 100);
    assert_eq!(bounds, FetchBounds { wait_ms_max: 0, bytes_min: 0, bytes_max: 0 });
    let bounds = FetchBounds::new(i32::MAX, 500, i32::MAX, 100);
    let wait_ms_max = crate::limits::FETCH_WAIT_MS_MAX;
    assert_eq!(bounds, FetchBounds { wait_ms_max, bytes_min: 100, bytes_max: 100 });
}

/// What a broker would say of a partition at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Truth {
    high_watermark: i64,
    log_start: i64,
    is_error: bool,
}

#[derive(Clone, Debug)]
enum Event {
    Committed(usize),
    Deleted(usize),
    Broken(usize, bool),
    Want(usize, i64),
    Drop(usize),
    Fetch,
    LoseAnswer,
    Evict,
}

const PARTITIONS: usize = 6;

fn event() -> impl Strategy<Value = Event> {
    let place = 0..PARTITIONS;
    prop_oneof![
        3 => place.clone().prop_map(Event::Committed),
        1 => place.clone().prop_map(Event::Deleted),
        1 => (place.clone(), any::<bool>()).prop_map(|(place, broken)| Event::Broken(place, broken)),
        3 => (place.clone(), 0..9_i64).prop_map(|(place, from)| Event::Want(place, from)),
        2 => place.prop_map(Event::Drop),
        8 => Just(Event::Fetch),
        1 => Just(Event::LoseAnswer),
        1 => Just(Event::Evict),
    ]
}

/// A client as KIP-227 wants it, and the truth that it must always see.
struct Client {
    cache: SessionCache,
    truth: [Truth; PARTITIONS],
    wanted: BTreeMap<usize, i64>,
    /// What the broker's session holds, as the client believes.
    sent: BTreeMap<usize, i64>,
    view: BTreeMap<usize, Truth>,
    session: Option<(i32, i32)>,
}

fn place_key(place: usize) -> (TopicKey<'static>, PartitionIndex) {
    let topic = if place.is_multiple_of(2) { "even" } else { "odd" };
    (TopicKey::Name(topic), PartitionIndex(i32::try_from(place).expect("small")))
}

impl Client {
    fn fetch(&mut self, answer_arrives: bool) {
        let full = self.session.is_none();
        let (session_id, session_epoch) = self.session.unwrap_or((0, 0));
        let is_new = |(place, from): &(&usize, &i64)| full || self.sent.get(*place) != Some(*from);
        let asked: Vec<_> = self.wanted.iter().filter(is_new).map(|(place, from)| (*place, *from)).collect();
        let forgotten: Vec<_> =
            self.sent.keys().filter(|place| !full && !self.wanted.contains_key(place)).copied().collect();
        let ask = SessionRequest { session_id, session_epoch, uses_topic_ids: false, is_follower: false };
        let opened = self.cache.open(
            Timestamp(0),
            ask,
            asked.iter().map(|(place, from)| {
                let (topic, partition) = place_key(*place);
                (topic, request(partition.get(), *from))
            }),
            forgotten.iter().map(|place| place_key(*place)),
        );
        match opened {
            Err(_) => {
                assert!(!full);
                self.session = None;
                self.fetch(answer_arrives);
            }
            Ok(Opened::Sessionless) => {
                assert!(self.wanted.is_empty());
                self.session = None;
                self.view.clear();
                self.sent.clear();
            }
            Ok(Opened::Session { id, epoch }) => self.answered(id, epoch, answer_arrives),
        }
    }

    fn answered(&mut self, id: i32, epoch: i32, answer_arrives: bool) {
        if self.session.is_none() {
            self.view.clear();
        }
        let held: Vec<_> = self
            .cache
            .session(id, epoch)
            .expect("just opened")
            .partitions()
            .map(|found| (found.handle, found.request))
            .collect();
        let index = |partition: PartitionIndex| usize::try_from(partition.get()).expect("positive");
        let served: BTreeMap<usize, i64> =
            held.iter().map(|(_, asked)| (index(asked.partition), asked.fetch_offset.get())).collect();
        assert_eq!(served, self.wanted);
        assert_eq!(served.len(), held.len());
        for (handle, asked) in held {
            let place = index(asked.partition);
            let truth = self.truth[place];
            let outcome = PartitionOutcome {
                has_records: !truth.is_error && truth.high_watermark > asked.fetch_offset.get(),
                // Some errors come with them, some without: here they do.
                high_watermark: Offset(truth.high_watermark),
                log_start: Offset(truth.log_start),
                must_tell: false,
                is_error: truth.is_error,
            };
            if self.cache.answer(id, epoch, handle, &outcome).expect("just opened") && answer_arrives {
                self.view.insert(place, truth);
            }
        }
        if !answer_arrives {
            // The connection broke: the client starts afresh.
            self.session = None;
            return;
        }
        self.session = Some((id, epoch));
        self.sent = self.wanted.clone();
        self.view.retain(|place, _| self.wanted.contains_key(place));
        let expected: BTreeMap<usize, Truth> =
            self.wanted.keys().map(|place| (*place, self.truth[*place])).collect();
        for (place, truth) in &expected {
            let seen = self.view[place];
            assert_eq!(seen.is_error, truth.is_error, "partition {place}");
            assert!(truth.is_error || seen == *truth, "partition {place}");
        }
    }

    fn run(&mut self, event: &Event) {
        match *event {
            Event::Committed(place) => self.truth[place].high_watermark += 1,
            Event::Deleted(place) => self.truth[place].log_start = self.truth[place].high_watermark,
            Event::Broken(place, broken) => self.truth[place].is_error = broken,
            Event::Want(place, from) => {
                self.wanted.insert(place, from);
            }
            Event::Drop(place) => {
                self.wanted.remove(&place);
            }
            Event::Fetch => self.fetch(true),
            Event::LoseAnswer => self.fetch(false),
            Event::Evict => {
                if let Some((id, _)) = self.session {
                    self.cache.remove(id);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn what_a_session_leaves_out_the_client_knows_already(events in prop::collection::vec(event(), 1..150)) {
        let options = SessionOptions { slots_max: 1_000, partitions_max: 100_000, ..OPTIONS };
        let mut client = Client {
            cache: SessionCache::new(options),
            truth: [Truth { high_watermark: 0, log_start: 0, is_error: false }; PARTITIONS],
            wanted: BTreeMap::new(),
            sent: BTreeMap::new(),
            view: BTreeMap::new(),
            session: None,
        };
        for event in &events {
            client.run(event);
        }
    }

    #[test]
    fn no_answer_is_larger_than_allowed_but_for_one_batch(
        bytes_max in 0..5_000_usize,
        partitions in prop::collection::vec((0..3_000_usize, 0..3_000_usize), 0..20),
    ) {
        let taken = shared(bytes_max, &partitions);
        let first = taken.iter().position(|bytes| *bytes > 0);
        prop_assert_eq!(first, partitions.iter().position(|(batch, _)| *batch > 0), "every answer moves on");
        let Some(first) = first else { return Ok(()) };
        let rest = &taken[first + 1..];
        prop_assert!(rest.iter().sum::<usize>() <= bytes_max.saturating_sub(taken[first]));
        for (bytes, (_, bytes_max)) in rest.iter().zip(&partitions[first + 1..]) {
            prop_assert!(bytes <= bytes_max);
        }
    }
}
