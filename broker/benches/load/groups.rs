//! Many classic groups of one member each: joined, kept alive, committed to, and served again after kill -9.
//!
//! A group stays on one connection, so that its commits have an order. Each is remembered, and all groups are read back:
//! behind the load, and from the broker that was started again.

use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use protocol::error::KafkaError;
use protocol::messages::offset_fetch::{
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, OffsetFetchResponse,
    OffsetFetchResponseGroup,
};
use protocol::types::{PartitionIndex, TopicId};

use super::broker::{Broker, BrokerOptions, Target, Usage};
use super::calls::{Answer, Calls, CoordinatorKind};
use super::classic::{Member, Topic, check_commit, check_heartbeat};
use super::figures::{Table, record};
use super::members::milliseconds;
use super::scenarios::{Plan, WARM_UP};
use super::topic;
use super::wire::Prepared;

/// Connections, each with one request open.
const CONNECTIONS: usize = 64;
/// Groups whose offsets are asked for at once.
const GROUPS_PER_FETCH: usize = 1_000;
const OFFSET_FETCH_VERSION: i16 = 8;
/// The first offset that each group commits.
const FIRST_OFFSET: i64 = 1;

/// Runs the scenario: a broker of its own for each round, since groups can be made once.
pub fn groups(plan: &Plan) -> Table {
    let mut table = Table::default();
    for _ in 0..plan.rounds {
        for (name, options) in &plan.contenders {
            run(plan, name, options, &mut table);
        }
    }
    table
}

/// The groups and what each has committed.
struct Groups {
    names: Vec<Rc<str>>,
    members: Vec<Member>,
    committed: Vec<i64>,
}

fn run(plan: &Plan, name: &str, options: &BrokerOptions, table: &mut Table) {
    let broker = Broker::start(options);
    let topic = Topic { name: "groups".into(), partitions: 1 };
    topic::create(broker.address, &topic.name, topic.partitions, &[]);
    let mut calls = Calls::connect(broker.address, CONNECTIONS.min(plan.groups));
    let mut groups = Groups::new(plan.groups, &topic);
    calls.find_coordinators(CoordinatorKind::Group, &[&groups.names[0]]);
    let offsets = read_offsets(&mut calls, &groups.names, &topic.name);
    assert!(offsets.iter().all(Option::is_none), "groups are new");

    let case = plan.label(&format!("{} classic groups: made", plan.groups), name);
    let before = broker.usage();
    let begin = Instant::now();
    groups.join(&mut calls);
    let joined = begin.elapsed();
    table.note(&case, "all joined ms", milliseconds(joined));
    table.note(&case, "groups/s", plan.groups as f64 / joined.as_secs_f64());
    groups.commit_first(&mut calls);
    let after = broker.usage();
    let grown = after.resident_bytes as f64 - before.resident_bytes as f64;
    table.note(&case, "RSS kB/group", grown / plan.groups as f64 / 1e3);
    table.note(&case, "others %", others(&before, &after, begin.elapsed()));

    let case = plan.label(&format!("{} classic groups: heartbeats", plan.groups), name);
    measure(plan, &broker, &case, table, |time| groups.beat(&mut calls, time));
    let case = plan.label(&format!("{} classic groups: commits of one offset", plan.groups), name);
    measure(plan, &broker, &case, table, |time| groups.commit(&mut calls, time));
    groups.check_offsets(&mut calls, &topic);

    let directory = broker.kill();
    let begin = Instant::now();
    let broker = Broker::start_on(options, directory);
    let ready = begin.elapsed();
    let mut calls = Calls::connect(broker.address, calls.len());
    groups.check_offsets(&mut calls, &topic);
    let served = begin.elapsed();
    groups.check_members(&mut calls);
    let case = plan.label(&format!("{} classic groups: after kill -9", plan.groups), name);
    table.note(&case, "ready ms", milliseconds(ready));
    table.note(&case, "all offsets ms", milliseconds(served));
    table.note(&case, "all members ms", milliseconds(begin.elapsed()));
}

/// Loads for a while unmeasured, then measured.
fn measure(
    plan: &Plan,
    broker: &Broker,
    case: &str,
    table: &mut Table,
    mut load: impl FnMut(Duration) -> Histogram<u64>,
) {
    load(WARM_UP);
    let before = broker.usage();
    let begin = Instant::now();
    let latency = load(plan.measured);
    let time = begin.elapsed();
    let after = broker.usage();
    let requests = latency.len().max(1) as f64;
    table.note_latency(case, &latency);
    table.note(case, "requests/s", latency.len() as f64 / time.as_secs_f64());
    table.note(case, "CPU µs/request", (after.cpu - before.cpu).as_secs_f64() * 1e6 / requests);
    table.note(case, "others %", others(&before, &after, time));
}

/// What other processes took of a core.
pub fn others(before: &Usage, after: &Usage, time: Duration) -> f64 {
    after.others.saturating_sub(before.others).as_secs_f64() / time.as_secs_f64() * 100.0
}

impl Groups {
    fn new(count: usize, topic: &Topic) -> Self {
        let names: Vec<Rc<str>> = (0..count).map(|index| format!("group-{index}").into()).collect();
        let members = names.iter().map(|name| Member::new(Rc::clone(name), topic.clone())).collect();
        Self { names, members, committed: vec![0; count] }
    }

    /// Has all members join and sync, one group after the other on each connection.
    fn join(&mut self, calls: &mut Calls) {
        let lanes = calls.len();
        let mut turns: Vec<usize> = (0..lanes).collect();
        calls.drive(|lane, answer| {
            if let Some(answer) = answer {
                let member = &mut self.members[turns[lane]];
                if let Some(request) = member.take(&answer) {
                    return Some(request);
                }
                assert_eq!(member.assignment.as_deref(), Some(&[0][..]), "the one member owns all there is");
                turns[lane] += lanes;
            }
            self.members.get(turns[lane]).map(Member::join)
        });
    }

    /// Every group commits once.
    fn commit_first(&mut self, calls: &mut Calls) {
        let count = self.members.len();
        self.committed.fill(FIRST_OFFSET);
        once_each(calls, count, |index| self.members[index].commit(FIRST_OFFSET), check_commit);
    }

    /// Sends heartbeats of all members in turn for a while.
    fn beat(&self, calls: &mut Calls, time: Duration) -> Histogram<u64> {
        in_turn(calls, self.members.len(), time, |index| self.members[index].heartbeat(), check_heartbeat)
    }

    /// Commits for all groups in turn for a while, the next offset each time.
    fn commit(&mut self, calls: &mut Calls, time: Duration) -> Histogram<u64> {
        let Self { members, committed, .. } = self;
        let next = |index: usize| {
            committed[index] += 1;
            members[index].commit(committed[index])
        };
        in_turn(calls, members.len(), time, next, check_commit)
    }

    /// Holds that every group has the offset that it committed last. All answers have come by then.
    fn check_offsets(&self, calls: &mut Calls, topic: &Topic) {
        let offsets = read_offsets(calls, &self.names, &topic.name);
        for ((name, offset), committed) in self.names.iter().zip(offsets).zip(&self.committed) {
            assert_eq!(offset, Some(*committed), "what {name} has committed");
        }
    }

    /// Holds that every member is still in its generation.
    fn check_members(&self, calls: &mut Calls) {
        once_each(calls, self.members.len(), |index| self.members[index].heartbeat(), check_heartbeat);
    }
}

/// One request for each group.
fn once_each(
    calls: &mut Calls,
    count: usize,
    mut make: impl FnMut(usize) -> Prepared,
    check: impl Fn(&Answer),
) {
    let lanes = calls.len();
    let mut turns: Vec<usize> = (0..lanes).collect();
    calls.drive(|lane, answer| {
        answer.iter().for_each(&check);
        let index = turns[lane];
        turns[lane] += lanes;
        (index < count).then(|| make(index))
    });
}

/// Requests for each group in turn, as long as there is time, and how long each took.
fn in_turn(
    calls: &mut Calls,
    count: usize,
    time: Duration,
    mut make: impl FnMut(usize) -> Prepared,
    check: impl Fn(&Answer),
) -> Histogram<u64> {
    let mut latency = Histogram::new(3).expect("three digits are within bounds");
    let lanes = calls.len();
    let mut turns: Vec<usize> = (0..lanes).collect();
    let until = Instant::now() + time;
    calls.drive(|lane, answer| {
        if let Some(answer) = answer {
            check(&answer);
            record(&mut latency, answer.took);
        }
        if Instant::now() >= until {
            return None;
        }
        let index = turns[lane];
        turns[lane] = if index + lanes < count { index + lanes } else { lane };
        Some(make(index))
    });
    latency
}

/// The offset of partition 0 that each group has committed, as soon as every coordinator has come up.
pub fn read_offsets(calls: &mut Calls, groups: &[Rc<str>], topic: &str) -> Vec<Option<i64>> {
    let mut offsets = Vec::with_capacity(groups.len());
    for some in groups.chunks(GROUPS_PER_FETCH) {
        let asked = some.iter().map(|group| OffsetFetchRequestGroup {
            group_id: group,
            member_id: None,
            member_epoch: -1,
            topics: Some(vec![OffsetFetchRequestTopics {
                name: topic,
                topic_id: TopicId::ZERO,
                partition_indexes: vec![PartitionIndex(0)],
            }]),
        });
        let request =
            OffsetFetchRequest { group_id: "", topics: None, groups: asked.collect(), require_stable: false };
        let request = Prepared::of(OFFSET_FETCH_VERSION, &request);
        offsets.extend(calls.call_until_ready(&request, |answer| {
            let response: OffsetFetchResponse<'_> = answer.read();
            assert_eq!(response.groups.len(), some.len(), "every group is answered for");
            let answered = some.iter().zip(&response.groups);
            answered.map(|(name, group)| read_offset(name, group)).collect::<Result<Vec<_>, _>>()
        }));
    }
    offsets
}

fn read_offset(name: &str, group: &OffsetFetchResponseGroup<'_>) -> Result<Option<i64>, KafkaError> {
    group.error_code.into_result()?;
    assert_eq!(group.group_id, name, "groups are answered for in order");
    let partitions: Vec<_> = group.topics.iter().flat_map(|topic| &topic.partitions).collect();
    assert_eq!(partitions.len(), 1, "one partition is asked for");
    partitions[0].error_code.into_result()?;
    Ok(Some(partitions[0].committed_offset.0).filter(|offset| *offset >= 0))
}
