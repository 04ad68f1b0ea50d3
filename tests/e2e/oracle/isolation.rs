//! What readers of committed records see next to open, committed and aborted transactions: ends, stable ends, aborted lists.
//!
//! A case is a script about partition 0 of its topic, its outcome what each look shows:
//!
//! | step | what happens |
//! | --- | --- |
//! | `plain` | one record outside of any transaction |
//! | `write a` | one record in the transaction of producer `a`, which begins with it |
//! | `join a` | the partition is in the transaction of `a`, which has written nothing |
//! | `commit a 3`, `abort a 3` | its end, and the wait until its marker has made the partition's end 3 |
//! | `restart a 3` | another instance takes over, and the wait likewise |
//! | `cut 2` | DeleteRecords below 2 |
//! | `ends` | ListOffsets for both isolations: the latest, the earliest, and at the time of each record |
//! | `highest` | ListOffsets for both isolations: at the highest time |
//! | `fetch 1` | Fetch from 1 for both isolations; `fetch 1 bytes=1` of one batch at most, `fetch 1 v=4` in that version |
//!
//! The record at offset n was written at the time n of an hour before the case began: long before any marker, but not by so
//! much that a marker would begin a new segment.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use e2e::DEADLINE;
use e2e::batch::{Batch, walk};
use e2e::wire::{init_transactions, topic_name};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, DeleteRecordsRequest, FetchRequest, ListOffsetsRequest};

use super::transactions::{Producer, add, end, producer, send};
use super::{Case, Side, compare};

/// How long before the case the times of its records begin.
const HOUR: Duration = Duration::from_secs(3_600);
const TIMEOUT_MS: i32 = 60_000;
const ISOLATIONS: [i8; 2] = [0, 1];
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const HIGHEST: i64 = -3;

/// A script under way.
struct Play<'a> {
    side: &'a mut Side,
    producers: BTreeMap<String, Producer>,
    /// Where the partition ends.
    end: i64,
    /// The time of the record at offset 0.
    begin: i64,
}

fn play(side: &mut Side, script: &str) -> String {
    let since_1970 = (SystemTime::now() - HOUR).duration_since(UNIX_EPOCH).expect("after 1970");
    let begin = i64::try_from(since_1970.as_millis()).expect("not that late");
    let mut play = Play { side, producers: BTreeMap::new(), end: 0, begin };
    let steps = script.split(';').map(|step| step.split_whitespace().collect::<Vec<_>>());
    steps.filter_map(|step| play.step(&step)).collect::<Vec<_>>().join(" | ")
}

fn number(word: &str) -> i64 {
    word.parse().unwrap_or_else(|_| panic!("{word:?} is no number"))
}

impl Play<'_> {
    fn step(&mut self, step: &[&str]) -> Option<String> {
        match step[0] {
            "plain" => {
                let batch = self.batch();
                assert_eq!(send(self.side, 9, None, &batch), 0);
                self.end += 1;
            }
            "write" => self.write(step[1]),
            "join" => {
                self.joined(step[1]);
            }
            "commit" | "abort" => {
                let producer = &self.producers[step[1]];
                assert_eq!(end(self.side, 3, producer, step[0] == "commit"), 0);
                self.await_end(number(step[2]));
            }
            "restart" => {
                let producer = self.producers.get_mut(step[1]).expect("it has begun");
                let taken_over = init_transactions(&mut self.side.connection, &producer.name, TIMEOUT_MS);
                (producer.id, producer.epoch) = taken_over;
                producer.sequence = 0;
                self.await_end(number(step[2]));
            }
            "cut" => self.cut(number(step[1])),
            "ends" => return Some(self.ends()),
            "highest" => {
                let [all, committed] = ISOLATIONS.map(|isolation| self.found(HIGHEST, isolation));
                return Some(format!("all {all}; committed {committed}"));
            }
            "fetch" => return Some(self.fetch(step)),
            other => panic!("no such step: {other}"),
        }
        None
    }

    fn batch(&self) -> Batch {
        Batch::of_values(self.begin + self.end, &[self.end.to_string()])
    }

    /// The producer, with the partition in its transaction.
    fn joined(&mut self, name: &str) -> &mut Producer {
        if !self.producers.contains_key(name) {
            let made = producer(self.side);
            self.producers.insert(name.to_owned(), made);
        }
        let producer = self.producers.get_mut(name).expect("it was just made");
        assert_eq!(add(self.side, 3, producer, &[0]), [0]);
        producer
    }

    fn write(&mut self, name: &str) {
        let batch = self.batch();
        let producer = self.joined(name);
        let batch = batch.by_producer(producer.id, producer.epoch, producer.sequence).in_transaction();
        producer.sequence += 1;
        let id = producer.name.clone();
        assert_eq!(send(self.side, 9, Some(id), &batch), 0);
        self.end += 1;
    }

    /// A marker is written some time after the end of its transaction was decided.
    fn await_end(&mut self, wanted: i64) {
        let until = Instant::now() + DEADLINE;
        while self.find(LATEST, 0).0 != wanted {
            assert!(Instant::now() < until, "no marker comes");
        }
        self.end = wanted;
    }

    fn cut(&mut self, offset: i64) {
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let topic = DeleteRecordsTopic::default()
            .with_name(topic_name(&self.side.topic))
            .with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_timeout_ms(10_000).with_topics(vec![topic]);
        let answer = self.side.connection.call(2, &request);
        assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    }

    /// The offset and the time that ListOffsets finds.
    fn find(&mut self, timestamp: i64, isolation: i8) -> (i64, i64) {
        let wanted = ListOffsetsPartition::default().with_timestamp(timestamp);
        let topic =
            ListOffsetsTopic::default().with_name(topic_name(&self.side.topic)).with_partitions(vec![wanted]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation)
            .with_topics(vec![topic]);
        let answer = self.side.connection.call(7, &request);
        let told = &answer.topics[0].partitions[0];
        assert_eq!(told.error_code, 0);
        (told.offset, told.timestamp)
    }

    fn ends(&mut self) -> String {
        let of_isolation = |isolation| {
            let [latest, earliest] = [LATEST, EARLIEST].map(|asked| self.find(asked, isolation).0);
            let times = (0..=self.end).map(|offset| self.found(self.begin + offset, isolation));
            let times: Vec<String> = times.collect();
            format!("from {earliest} to {latest}, at times {}", times.join(" "))
        };
        let [all, committed] = ISOLATIONS.map(of_isolation);
        format!("all {all}; committed {committed}")
    }

    /// What is found at a time: the offset, and whether it is a record of that time or a marker of today.
    fn found(&mut self, timestamp: i64, isolation: i8) -> String {
        match self.find(timestamp, isolation) {
            (-1, -1) => "none".to_owned(),
            (offset, time) if time > self.begin + self.end => format!("marker {offset}"),
            (offset, time) => format!("{offset}@{}", time - self.begin),
        }
    }

    fn fetch(&mut self, step: &[&str]) -> String {
        let option = |name: &str, default: i32| {
            let told = step.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            told.map_or(default, |word| word.parse().expect("a number"))
        };
        let version = i16::try_from(option("v", 12)).expect("a version");
        let bytes_max = option("bytes", 1 << 20);
        let wanted =
            FetchPartition::default().with_fetch_offset(number(step[1])).with_partition_max_bytes(bytes_max);
        let topic =
            FetchTopic::default().with_topic(topic_name(&self.side.topic)).with_partitions(vec![wanted]);
        let outcomes = ISOLATIONS.map(|isolation| {
            let request = FetchRequest::default()
                .with_max_wait_ms(1)
                .with_min_bytes(1)
                .with_max_bytes(bytes_max)
                .with_isolation_level(isolation)
                .with_session_epoch(-1)
                .with_topics(vec![topic.clone()]);
            let answer = self.side.connection.call(version, &request);
            assert_eq!(answer.error_code, 0);
            self.fetched(&answer.responses[0].partitions[0])
        });
        format!("all {}; committed {}", outcomes[0], outcomes[1])
    }

    fn fetched(&self, told: &PartitionData) -> String {
        let records = walk(told.records.as_ref().unwrap_or(&Bytes::new()));
        let records = records.iter().map(|record| match &*record.value {
            value if value == record.offset.to_string().as_bytes() => record.offset.to_string(),
            _ => format!("marker {}", record.offset),
        });
        let name =
            |id: i64| self.producers.iter().find(|(_, producer)| producer.id == id).map(|(name, _)| name);
        let aborted = told.aborted_transactions.as_ref().map_or("no list".to_owned(), |list| {
            let list = list.iter().map(|one| {
                format!("{} from {}", name(one.producer_id.0).expect("one of ours"), one.first_offset)
            });
            format!("aborted [{}]", list.collect::<Vec<_>>().join(", "))
        });
        format!(
            "error {} high {} stable {} start {} [{}] {aborted}",
            told.error_code,
            told.high_watermark,
            told.last_stable_offset,
            told.log_start_offset,
            records.collect::<Vec<_>>().join(", ")
        )
    }
}

const ISOLATION: &[Case] = &[
    ("nothing", |side| play(side, "ends; fetch 0; fetch 1")),
    ("no transaction", |side| play(side, "plain; plain; ends; fetch 0; fetch 1; fetch 2; fetch 3")),
    ("open", |side| {
        play(
            side,
            "plain; write a; write a; plain; ends; fetch 0; fetch 0 v=4; fetch 1; fetch 2; fetch 4; fetch 5",
        )
    }),
    ("open from the start", |side| play(side, "write a; plain; ends; fetch 0; fetch 1; fetch 2")),
    ("open without a record", |side| play(side, "plain; join a; plain; ends; fetch 0")),
    ("committed", |side| {
        play(
            side,
            "plain; write a; write a; plain; commit a 5; ends; fetch 0; fetch 2; fetch 4; fetch 5; fetch 0 v=4",
        )
    }),
    ("aborted", |side| {
        play(
            side,
            "plain; write a; write a; plain; abort a 5; ends; fetch 0; fetch 0 v=4; fetch 1; fetch 2; fetch 3; fetch 4; \
             fetch 5; fetch 6",
        )
    }),
    ("aborted, batch by batch", |side| {
        play(
            side,
            "plain; write a; abort a 3; write a; abort a 5; fetch 0 bytes=1; fetch 1 bytes=1; fetch 2 bytes=1; fetch 3 bytes=1; \
             fetch 4 bytes=1",
        )
    }),
    ("the highest time", |side| {
        play(side, "highest; plain; write a; commit a 3; highest; write a; abort a 5; highest")
    }),
    ("the highest time while it is open", |side| play(side, "plain; write a; highest; plain; highest")),
    ("the highest time when it is cut", |side| play(side, "write a; commit a 2; plain; cut 2; highest")),
    ("ended without a record", |side| {
        play(side, "plain; join a; commit a 2; join a; abort a 3; ends; fetch 0")
    }),
    ("two open, the second commits", |side| {
        play(
            side,
            "write a; write b; write a; plain; commit b 5; ends; fetch 0; fetch 1; abort a 6; ends; fetch 0; fetch 1; fetch 3; \
             fetch 4; fetch 5",
        )
    }),
    ("two open, the second aborts", |side| {
        play(
            side,
            "write a; write b; write a; plain; abort b 5; ends; fetch 0; fetch 1; commit a 6; ends; fetch 0; fetch 1; fetch 4",
        )
    }),
    ("two open, the first ends", |side| {
        play(
            side,
            "write a; write b; write a; abort a 4; ends; fetch 0; abort b 5; ends; fetch 0; fetch 2; fetch 4",
        )
    }),
    ("one after another", |side| {
        play(
            side,
            "write a; abort a 2; write a; commit a 4; write a; abort a 6; write b; ends; fetch 0; fetch 1; fetch 2; fetch 4; fetch 5; fetch 6; commit b 8; ends; fetch 0; fetch 6",
        )
    }),
    ("aborted by the next instance", |side| {
        play(
            side,
            "write a; plain; ends; restart a 3; ends; fetch 0; write a; ends; fetch 0; commit a 5; fetch 0",
        )
    }),
    ("cut", |side| {
        play(
            side,
            "write a; write a; abort a 3; plain; write b; plain; abort b 7; cut 1; ends; fetch 0; fetch 1; cut 3; fetch 3; cut 5; \
             ends; fetch 5; fetch 6; write a; cut 7; ends; fetch 7",
        )
    }),
];

#[test]
fn readers_of_committed_records_see_what_kafkas_see() {
    compare("isolation", ISOLATION);
}
