//! The examples of `client/`, as its documentation has them run: what they print is what is in the topics.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Instant;

use client::consumer::{ConsumerOptions, Start};
use client::protocol::types::Offset;
use client::{Isolation, Partition, ProducerOptions};
use e2e::broker::{self, Broker, Options, Target, built_example};
use e2e::process::{Process, run_with_input};
use e2e::records::Record;
use e2e::{DEADLINE, unique};

use crate::native_client::{with_client, write};

/// As many as `produce` and `exactly_once` give the topics that they make.
const PARTITIONS: i32 = 3;
/// A member that is killed is out of its group soon.
const SESSIONS: [(&str, &str); 4] = [
    ("group.consumer.min.session.timeout.ms", "6000"),
    ("group.consumer.session.timeout.ms", "6000"),
    ("group.consumer.min.heartbeat.interval.ms", "500"),
    ("group.consumer.heartbeat.interval.ms", "500"),
];

/// Where a record is.
type Place = (i32, i64);

fn command(example: &str, words: &[&str]) -> Command {
    let mut command = Command::new(built_example("iolite-client", example));
    command.args(words);
    command
}

/// Starts an example that runs until it is killed.
fn start(example: &str, words: &[&str]) -> Process {
    Process::start(example, command(example, words))
}

fn with_short_sessions() -> Broker {
    let configs = SESSIONS.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    Broker::start(Target::chosen(), &Options { configs, ..Options::default() })
}

/// Runs `produce`; where each line went, in the order of the lines.
fn produce(broker: &Broker, topic: &str, lines: &[String]) -> Vec<Place> {
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let words = [&*broker.kafka().to_string(), topic];
    let finished = run_with_input("produce", command("produce", &words), input.as_bytes(), DEADLINE);
    assert!(finished.status.success() && finished.stderr.is_empty(), "{finished}");
    assert_eq!(finished.stdout.len(), lines.len(), "{finished}");
    let place = |line: &str| {
        let (partition, offset) = line.strip_prefix("partition ")?.split_once(" offset ")?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    };
    finished.stdout.iter().map(|line| place(line).unwrap_or_else(|| panic!("{line:?}"))).collect()
}

/// What `consume` prints of these lines at these places.
fn printed(places: &[Place], lines: &[String]) -> BTreeSet<String> {
    let line = |((partition, offset), line): (&Place, &String)| format!("{partition}@{offset} {line}");
    places.iter().zip(lines).map(line).collect()
}

/// Waits until a process has printed so many lines in all; those that it has printed then.
fn await_lines(process: &Process, count: usize) -> Vec<String> {
    let seen = Cell::new(0);
    let look = |_: &str| {
        seen.set(seen.get() + 1);
        (seen.get() == count).then_some(())
    };
    process.wait_for_line(DEADLINE, &format!("{count} lines"), look);
    process.lines()
}

fn lines(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{name} {number}")).collect()
}

/// Waits until a group has committed all that is at these places.
fn await_committed(broker: &Broker, group: &str, topic: &str, places: &[Place]) {
    let mut ends: BTreeMap<i32, i64> = BTreeMap::new();
    for (partition, offset) in places {
        let end = ends.entry(*partition).or_default();
        *end = (*end).max(offset + 1);
    }
    let partitions: Vec<Partition> = ends.keys().map(|index| Partition::new(topic, *index)).collect();
    with_client(broker.kafka(), async |client| {
        let group = client.group(group);
        let until = Instant::now() + DEADLINE;
        loop {
            let committed = group.committed(&partitions).await.expect("the coordinator answers");
            let is_there =
                |(end, offset): (&i64, &Option<Offset>)| offset.is_some_and(|offset| offset.0 == *end);
            if ends.values().zip(&committed).all(is_there) {
                break;
            }
            assert!(Instant::now() < until, "{committed:?} of {ends:?} are committed");
        }
    });
}

/// All values that are committed in a topic, markers put behind them.
fn committed_values(broker: &Broker, topic: &str) -> Vec<String> {
    const MARKER: &str = "the end";
    let markers: Vec<Record> = (0..PARTITIONS).map(|partition| Record::new(partition, MARKER)).collect();
    with_client(broker.kafka(), async |client| {
        write(&client, topic, ProducerOptions::default(), &markers).await;
        let isolation = Isolation::ReadCommitted;
        let consumer = client.consumer(ConsumerOptions { isolation, ..ConsumerOptions::default() });
        let start = |index| (Partition::new(topic, index), Start::Earliest);
        consumer.assign(&(0..PARTITIONS).map(start).collect::<Vec<_>>()).await.expect("there is a start");
        let (mut values, mut ends) = (Vec::new(), 0);
        while ends < PARTITIONS {
            let fetched = consumer.next().await.expect("records");
            let each = |record: &client::consumer::Record<'_>| match String::from_utf8_lossy(
                record.value.expect("a value"),
            )
            .into_owned()
            {
                end if end == MARKER => ends += 1,
                value => values.push(value),
            };
            fetched.for_each(each).expect("readable");
        }
        values
    })
}

#[test]
fn what_produce_sends_consume_prints() {
    let (broker, topic) = (broker::shared(), unique("examples"));
    let before = [lines("before", 40), vec![String::from("\u{e4} tab\tand \\")]].concat();
    let mut places = produce(broker, &topic, &before);
    let escaped: Vec<String> = before.iter().map(|line| line.as_bytes().escape_ascii().to_string()).collect();
    let mut expected = printed(&places, &escaped);
    let reader = start("consume", &[&broker.kafka().to_string(), &topic]);
    let told: BTreeSet<String> = await_lines(&reader, before.len()).into_iter().collect();
    assert_eq!(told, expected);
    let after = lines("after", 20);
    let news = produce(broker, &topic, &after);
    expected.extend(printed(&news, &after));
    places.extend(news);
    let all = await_lines(&reader, places.len());
    assert_eq!(all.len(), places.len(), "{all:#?}");
    assert_eq!(all.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn a_member_of_a_group_goes_on_where_the_last_one_has_committed() {
    let (broker, topic, group) = (with_short_sessions(), "shared", "readers");
    let (first, second) = (lines("first", 30), lines("second", 10));
    let places = produce(&broker, topic, &first);
    let words = [&*broker.kafka().to_string(), topic, group];
    let mut member = start("consume", &words);
    let told: BTreeSet<String> = await_lines(&member, first.len()).into_iter().collect();
    assert_eq!(told, printed(&places, &first));
    await_committed(&broker, group, topic, &places);
    member.kill();
    let news = produce(&broker, topic, &second);
    let next = start("consume", &words);
    let told: BTreeSet<String> = await_lines(&next, second.len()).into_iter().collect();
    assert_eq!(told, printed(&news, &second), "and nothing of what was committed");
}

#[test]
fn a_killed_copier_costs_no_copy_and_makes_none_twice() {
    let (broker, from, to) = (with_short_sessions(), "words", "shouted");
    // More than a batch of each partition.
    let (first, second) = (lines(&"word".repeat(30), 600), lines("another", 30));
    let mut places = produce(&broker, from, &first);
    let words = [&*broker.kafka().to_string(), from, to];
    let mut killed = start("exactly_once", &words);
    // Of three partitions: with some luck it dies in the middle of the next one's transaction.
    let copied = |line: &str| line.starts_with("copied up to ").then_some(());
    killed.wait_for_line(DEADLINE, "the first copies", copied);
    killed.kill();
    places.extend(produce(&broker, from, &second));
    let copier = start("exactly_once", &words);
    await_committed(&broker, "copiers", from, &places);
    drop(copier);
    let mut copies = committed_values(&broker, to);
    copies.sort_unstable();
    let mut expected: Vec<String> = [first, second].concat().iter().map(|line| line.to_uppercase()).collect();
    expected.sort_unstable();
    assert!(copies == expected, "{} copies of {}", copies.len(), expected.len());
}

#[test]
fn an_example_that_is_told_too_little_says_what_it_wants() {
    let cases =
        [("produce", &["127.0.0.1:1"][..]), ("consume", &[]), ("exactly_once", &["127.0.0.1:1", "from"])];
    for (example, words) in cases {
        let told = run_with_input(example, command(example, words), b"", DEADLINE);
        assert_eq!(told.status.code(), Some(1), "{told}");
        assert!(told.stdout.is_empty(), "{told}");
        assert!(told.stderr.join("\n").contains(&format!("usage: {example} HOST:PORT")), "{told}");
    }
}
