//! What groups cost their coordinator, without log, network and clock: time, records, and memory counted at the allocator.
//!
//! `cargo bench -p logic --bench groups`. Each case runs several times from a fresh state; the least is shown, which other work on
//! the machine disturbs the least.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use logic::group::{
    Commit, CommitPartition, CommitTopic, ConsumerHeartbeat, Coordinator, Effects, GroupSettings, Heartbeat,
    Join, Joined, MemberName, Name, OwnedTopic, Protocol, Reply, Request, Sync, Ticket,
};
use logic::metadata::{Command, Image, Incarnation, Listener, NewTopic, RegisterBroker, TopicShape};
use protocol::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

const RUNS: usize = 7;
const GROUPS: usize = 10_000;
const MEMBERS: u32 = 100;
const PARTITIONS: i32 = 1_000;
const TOPIC: &str = "topic";
const TOPIC_ID: TopicId = TopicId([7; 16]);

struct Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A coordinator with a clock of its own, and what it has cost.
struct Driven {
    coordinator: Coordinator,
    now: Timestamp,
    tickets: u64,
    /// Spent in the coordinator alone.
    spent: Duration,
    records: usize,
    record_bytes: usize,
    replies: BTreeMap<u64, Reply>,
}

impl Driven {
    fn new() -> Self {
        let mut coordinator = Coordinator::new(GroupSettings::default());
        coordinator.update_image(Arc::new(image()));
        let effects = coordinator.start(Timestamp(0));
        assert!(effects.records.is_empty());
        Self {
            coordinator,
            now: Timestamp(0),
            tickets: 0,
            spent: Duration::ZERO,
            records: 0,
            record_bytes: 0,
            replies: BTreeMap::new(),
        }
    }

    fn take(&mut self, effects: Effects) {
        self.records += effects.records.len();
        let bytes = effects
            .records
            .iter()
            .map(|record| record.key.len() + record.value.as_ref().map_or(0, Bytes::len));
        self.record_bytes += bytes.sum::<usize>();
        self.replies.extend(effects.answers.into_iter().map(|answer| (answer.ticket.0, answer.reply)));
    }

    fn ask(&mut self, request: Request) -> u64 {
        self.tickets += 1;
        let ticket = self.tickets;
        let began = Instant::now();
        let effects = self.coordinator.handle(self.now, Ticket(ticket), request);
        self.spent += began.elapsed();
        self.take(effects);
        ticket
    }

    /// Lets time pass, every timer in its turn.
    fn pass(&mut self, milliseconds: i64) {
        let until = Timestamp(self.now.get() + milliseconds);
        while let Some(at) = self.coordinator.deadline().filter(|at| *at <= until) {
            self.now = at.max(self.now);
            let began = Instant::now();
            let effects = self.coordinator.on_time(self.now);
            self.spent += began.elapsed();
            self.take(effects);
        }
        self.now = until;
    }

    fn reply(&mut self, ticket: u64) -> Reply {
        self.replies.remove(&ticket).expect("it is answered by now")
    }

    fn joined(&mut self, ticket: u64) -> Joined {
        match self.reply(ticket) {
            Reply::Join(Ok(joined)) => *joined,
            other => panic!("{other:?}"),
        }
    }
}

fn image() -> Image {
    let mut image = Image::default();
    let broker = RegisterBroker {
        cluster_id: "Zm9yIGEgY2x1c3Rlcg".to_owned(),
        broker: BrokerId(1),
        incarnation: Incarnation([1; 16]),
        listeners: vec![Listener { name: "PLAINTEXT".to_owned(), host: "localhost".to_owned(), port: 9092 }],
        rack: None,
    };
    let topic = NewTopic {
        name: TOPIC.to_owned(),
        id: TOPIC_ID,
        shape: TopicShape::Counts { partition_count: PARTITIONS, replication_factor: 1 },
        settings: Vec::new(),
    };
    for (sequence, command) in
        (1..).zip([Command::RegisterBroker(broker), Command::CreateTopics(vec![topic])])
    {
        let _ = image.apply(sequence, &command);
    }
    assert!(image.topic(TOPIC).is_some());
    image
}

fn join(group: &Name, number: u32) -> Request {
    Request::Join(Box::new(Join {
        group: group.clone(),
        member_id: "".into(),
        instance_id: None,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        fresh_id: u128::from(number),
        session_timeout_ms: 45_000,
        rebalance_timeout_ms: 300_000,
        protocol_type: "consumer".into(),
        protocols: vec![Protocol { name: "range".into(), metadata: Bytes::from(vec![0; 40]) }],
        requires_member_id: false,
        may_skip_assignment: true,
    }))
}

fn sync(group: &Name, joined: &Joined, assignments: Vec<(Name, Bytes)>) -> Request {
    Request::Sync(Sync {
        group: group.clone(),
        member: MemberName { id: joined.member_id.clone(), instance_id: None },
        generation: joined.generation,
        protocol_type: None,
        protocol_name: None,
        assignments,
    })
}

fn heartbeat(group: &Name, joined: &Joined) -> Request {
    let member = MemberName { id: joined.member_id.clone(), instance_id: None };
    Request::Heartbeat(Heartbeat { group: group.clone(), member, generation: joined.generation })
}

fn commit(group: &Name, joined: &Joined, partitions: i32, offset: i64) -> Request {
    let partition = |partition| CommitPartition {
        partition: PartitionIndex(partition),
        offset: Offset(offset),
        leader_epoch: LeaderEpoch(0),
        metadata: "".into(),
    };
    Request::Commit(Commit {
        group: group.clone(),
        member: MemberName { id: joined.member_id.clone(), instance_id: None },
        generation: joined.generation,
        tells_epoch: false,
        retention_ms: None,
        topics: vec![CommitTopic {
            topic: TOPIC.into(),
            topic_id: TopicId::ZERO,
            partitions: (0..partitions).map(partition).collect(),
        }],
    })
}

/// Members of classic groups come together, at the same time; what each has joined as, group by group.
fn gather(driven: &mut Driven, groups: &[Name], members: u32) -> Vec<Vec<Joined>> {
    let mut tickets = Vec::new();
    for group in groups {
        tickets.push((0..members).map(|number| driven.ask(join(group, number))).collect::<Vec<_>>());
    }
    // The first rebalance waits for more members, twice at most.
    driven.pass(10_000);
    let mut all = Vec::new();
    for (group, tickets) in groups.iter().zip(tickets) {
        let joined: Vec<Joined> = tickets.into_iter().map(|ticket| driven.joined(ticket)).collect();
        assign(driven, group, &joined);
        all.push(joined);
    }
    all
}

/// Everybody asks for what it is assigned, the leader last.
fn assign(driven: &mut Driven, group: &Name, joined: &[Joined]) {
    let (leaders, others): (Vec<_>, Vec<_>) = joined.iter().partition(|one| one.leader == one.member_id);
    assert_eq!(leaders.len(), 1);
    let tickets: Vec<u64> = others.iter().map(|one| driven.ask(sync(group, one, Vec::new()))).collect();
    let assignment = Bytes::from(vec![0; 20 + 4 * (PARTITIONS as usize / joined.len())]);
    let assignments = joined.iter().map(|one| (one.member_id.clone(), assignment.clone())).collect();
    let leader = driven.ask(sync(group, leaders[0], assignments));
    for ticket in tickets.into_iter().chain([leader]) {
        assert!(matches!(driven.reply(ticket), Reply::Sync(Ok(_))));
    }
}

/// Runs a case several times; of each figure the least.
fn least(mut case: impl FnMut() -> Vec<(&'static str, f64)>) {
    let mut figures = case();
    for _ in 1..RUNS {
        for (figure, (_, again)) in figures.iter_mut().zip(case()) {
            figure.1 = figure.1.min(again);
        }
    }
    for (name, figure) in figures {
        println!("  {name:<44} {figure:>12.2}");
    }
}

fn microseconds(time: Duration, count: usize) -> f64 {
    time.as_secs_f64() * 1e6 / count as f64
}

/// Many groups of one member, with offsets of ten partitions each.
fn many_groups() -> Vec<(&'static str, f64)> {
    const COMMITTED: i32 = 10;
    let before_bytes = LIVE_BYTES.load(Ordering::Relaxed);
    let mut driven = Driven::new();
    let names: Vec<Name> = (0..GROUPS).map(|number| format!("group-{number}").into()).collect();
    let members: Vec<Joined> = gather(&mut driven, &names, 1).into_iter().flatten().collect();
    let formed = std::mem::take(&mut driven.spent);
    let of_groups = LIVE_BYTES.load(Ordering::Relaxed) - before_bytes;
    let each = |driven: &mut Driven, request: &dyn Fn(&Name, &Joined) -> Request| {
        for (name, member) in names.iter().zip(&members) {
            let ticket = driven.ask(request(name, member));
            let reply = driven.reply(ticket);
            assert!(matches!(reply, Reply::Heartbeat(Ok(())) | Reply::Commit(Ok(_))), "{reply:?}");
        }
        std::mem::take(&mut driven.spent)
    };
    let committed_first = each(&mut driven, &|name, member| commit(name, member, COMMITTED, 1));
    let of_offsets = LIVE_BYTES.load(Ordering::Relaxed) - before_bytes - of_groups;
    let beaten = each(&mut driven, &|name, member| heartbeat(name, member));
    let committed = each(&mut driven, &|name, member| commit(name, member, COMMITTED, 2));
    vec![
        ("a group comes together (1 member), us", microseconds(formed, GROUPS)),
        ("a heartbeat, us", microseconds(beaten, GROUPS)),
        ("a first commit of 10 offsets, us", microseconds(committed_first, GROUPS)),
        ("a commit of 10 offsets, us", microseconds(committed, GROUPS)),
        ("memory of a group, names of the case included, bytes", of_groups as f64 / GROUPS as f64),
        ("memory of an offset, bytes", of_offsets as f64 / GROUPS as f64 / f64::from(COMMITTED)),
    ]
}

/// A classic group of many members.
fn classic_members() -> Vec<(&'static str, f64)> {
    let mut driven = Driven::new();
    let group: Name = "group".into();
    let joined = gather(&mut driven, std::slice::from_ref(&group), MEMBERS).remove(0);
    let formed = std::mem::take(&mut driven.spent);
    let (records, record_bytes) = (driven.records, driven.record_bytes);
    for one in &joined {
        let ticket = driven.ask(heartbeat(&group, one));
        assert!(matches!(driven.reply(ticket), Reply::Heartbeat(Ok(()))));
    }
    let beaten = std::mem::take(&mut driven.spent);
    vec![
        ("from the first join to the last sync, us in all", microseconds(formed, 1)),
        ("a heartbeat, us", microseconds(beaten, joined.len())),
        ("records", records as f64),
        ("their bytes", record_bytes as f64),
    ]
}

/// A member of a consumer group as a client keeps it.
#[derive(Default)]
struct Consumer {
    id: Name,
    epoch: i32,
    owned: Vec<OwnedTopic>,
    reports: bool,
}

/// One heartbeat of a consumer; whether anything has changed.
fn beat(driven: &mut Driven, group: &Name, number: u32, consumer: &mut Consumer) -> bool {
    let is_new = consumer.epoch == 0;
    let owned = (is_new || consumer.reports).then(|| {
        consumer
            .owned
            .iter()
            .map(|topic| (topic.topic_id, topic.partitions.iter().copied().collect()))
            .collect()
    });
    let ticket = driven.ask(Request::ConsumerHeartbeat(Box::new(ConsumerHeartbeat {
        group: group.clone(),
        member_id: consumer.id.clone(),
        member_epoch: consumer.epoch,
        client_id: "client".into(),
        client_host: "/127.0.0.1".into(),
        fresh_id: u128::from(number),
        rebalance_timeout_ms: is_new.then_some(300_000),
        topics: is_new.then(|| vec![TOPIC.into()]),
        owned,
        ..ConsumerHeartbeat::default()
    })));
    let Reply::ConsumerHeartbeat(Ok(answer)) = driven.reply(ticket) else { panic!("it is a member") };
    let is_changed = answer.member_epoch != consumer.epoch || answer.assignment.is_some();
    consumer.id = answer.member_id;
    consumer.epoch = answer.member_epoch;
    // What is to go is given back at once, and what comes is taken: the next heartbeat says so.
    consumer.reports = answer.assignment.is_some();
    if let Some(assignment) = answer.assignment {
        consumer.owned = assignment;
    }
    is_changed
}

/// A consumer group (KIP-848) of many members, who come one after the other and then settle.
fn consumer_members() -> Vec<(&'static str, f64)> {
    let mut driven = Driven::new();
    let group: Name = "group".into();
    let mut consumers: Vec<Consumer> = (0..MEMBERS).map(|_| Consumer::default()).collect();
    for (number, consumer) in (0..).zip(&mut consumers) {
        beat(&mut driven, &group, number, consumer);
    }
    let joined = std::mem::take(&mut driven.spent);
    let mut rounds = 0;
    loop {
        let changed = (0..)
            .zip(&mut consumers)
            .filter_map(|(number, consumer)| beat(&mut driven, &group, number, consumer).then_some(()))
            .count();
        if changed == 0 {
            break;
        }
        rounds += 1;
    }
    let settled = std::mem::take(&mut driven.spent);
    let owned: usize =
        consumers.iter().flat_map(|consumer| &consumer.owned).map(|topic| topic.partitions.len()).sum();
    assert_eq!(owned, PARTITIONS as usize, "every partition has one owner");
    let (records, record_bytes) = (driven.records, driven.record_bytes);
    for (number, consumer) in (0..).zip(&mut consumers) {
        assert!(!beat(&mut driven, &group, number, consumer));
    }
    let beaten = std::mem::take(&mut driven.spent);
    vec![
        ("a member joins, us", microseconds(joined, consumers.len())),
        ("until all have settled, us in all", microseconds(settled, 1)),
        ("heartbeats of each member until then", f64::from(rounds)),
        ("a heartbeat without a change, us", microseconds(beaten, consumers.len())),
        ("records", records as f64),
        ("their bytes", record_bytes as f64),
    ]
}

fn main() {
    println!("{GROUPS} classic groups of one member each");
    least(many_groups);
    println!("one classic group of {MEMBERS} members, {PARTITIONS} partitions");
    least(classic_members);
    println!("one consumer group (KIP-848) of {MEMBERS} members, {PARTITIONS} partitions");
    least(consumer_members);
}
