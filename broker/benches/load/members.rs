//! One group of many members, of either protocol: how long it takes from the last join until everybody has its partitions,
//! and again when one leaves and when one joins. Heartbeats follow one another at once, so that what is measured is the
//! coordinator's share; what a client's interval adds is not in it.
//!
//! At rest, every partition has one owner. In a consumer group (KIP-848) no partition has two at any time.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::broker::Target;
use super::calls::{Answer, Calls, CoordinatorKind};
use super::classic::{self, Topic};
use super::consumer;
use super::figures::Table;
use super::groups::read_offsets;
use super::scenarios::Plan;
use super::topic;
use super::wire::Prepared;

const PARTITIONS_PER_MEMBER: usize = 10;

/// A group, as whoever runs its members sees it. A member goes by the number of its connection.
trait Group {
    /// Lets one more in.
    fn admit(&mut self, number: usize);

    /// What the member asks next; none where all has settled, or where it is no member.
    fn step(&mut self, number: usize, answer: Option<Answer>) -> Option<Prepared>;

    /// Takes a member out: what it says, and what must come of it.
    fn leave(&mut self, number: usize) -> (Prepared, fn(&Answer));

    /// Since when all have what they are to own.
    fn settled(&self) -> Option<Instant>;

    /// When the last of the new members joined.
    fn last_join(&self) -> Instant;

    /// Holds that every partition has one owner, and that members own alike.
    fn check(&self);
}

/// Runs the scenario.
pub fn members(plan: &Plan) -> Table {
    let mut table = Table::default();
    let partitions = i32::try_from(plan.members * PARTITIONS_PER_MEMBER).expect("a count");
    let topic = Topic { name: "members".into(), partitions };
    let brokers = plan.start();
    for (_, broker) in &brokers {
        topic::create(broker.address, &topic.name, partitions, &[]);
    }
    for round in 0..plan.rounds {
        for (name, broker) in &brokers {
            let mut calls = Calls::connect(broker.address, plan.members);
            let id: Rc<str> = format!("classic-{round}").into();
            let case = plan.label(&format!("a classic group of {} members", plan.members), name);
            run(
                broker,
                &mut calls,
                &mut ClassicGroup::new(&id, &topic, plan.members),
                &id,
                &case,
                &mut table,
            );
            let id: Rc<str> = format!("consumer-{round}").into();
            let case = plan.label(&format!("a consumer group (KIP-848) of {} members", plan.members), name);
            run(
                broker,
                &mut calls,
                &mut ConsumerGroup::new(&id, &topic, plan.members),
                &id,
                &case,
                &mut table,
            );
        }
    }
    table
}

fn run(
    broker: &impl Target,
    calls: &mut Calls,
    group: &mut impl Group,
    id: &str,
    case: &str,
    table: &mut Table,
) {
    calls.find_coordinators(CoordinatorKind::Group, &[id]);
    let offsets = read_offsets(calls, &[id.into()], "members");
    assert_eq!(offsets, [None], "the group is new");
    let before = broker.usage();
    let begin = Instant::now();
    (0..calls.len()).for_each(|number| group.admit(number));
    let settled = settle(calls, group);
    table.note(case, "formed ms", milliseconds(settled - begin));
    table.note(case, "last join ms", milliseconds(settled - group.last_join()));
    // The first one led a classic group until now.
    let begin = Instant::now();
    let (request, check) = group.leave(0);
    check(&calls.call(0, request));
    table.note(case, "one leaves ms", milliseconds(settle(calls, group) - begin));
    let begin = Instant::now();
    group.admit(0);
    table.note(case, "one joins ms", milliseconds(settle(calls, group) - begin));
    let after = broker.usage();
    table.note(case, "CPU ms in all", milliseconds(after.cpu - before.cpu));
    // Neither the coordinator nor the next round's group is to have them as members any longer.
    for number in 0..calls.len() {
        let (request, check) = group.leave(number);
        check(&calls.call(number, request));
    }
}

/// Runs all members until they have settled; when that was.
fn settle(calls: &mut Calls, group: &mut impl Group) -> Instant {
    calls.drive(|number, answer| group.step(number, answer));
    group.check();
    group.settled().expect("members ask on until all have settled")
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Who owns each partition.
struct Owners(Vec<Option<usize>>);

impl Owners {
    fn none(topic: &Topic) -> Self {
        Self(vec![None; usize::try_from(topic.partitions).expect("a count")])
    }

    fn take(&mut self, number: usize, partitions: &[i32]) {
        for partition in partitions {
            let owner = &mut self.0[usize::try_from(*partition).expect("a partition")];
            assert_eq!(*owner, None, "partition {partition} is given to {number} and still owned");
            *owner = Some(number);
        }
    }

    fn release(&mut self, number: usize, partitions: &[i32]) {
        for partition in partitions {
            let owner = self.0[usize::try_from(*partition).expect("a partition")].take();
            assert_eq!(owner, Some(number), "partition {partition} is let go of by its owner");
        }
    }

    fn are_complete(&self) -> bool {
        self.0.iter().all(Option::is_some)
    }

    /// Holds that every partition has an owner, and that no member owns two more than another.
    fn check(&self, members: impl Iterator<Item = usize>) {
        let ownerless = self.0.iter().position(Option::is_none);
        assert_eq!(ownerless, None, "every partition has an owner");
        let owns = |member| self.0.iter().filter(|owner| **owner == Some(member)).count();
        let counts: Vec<usize> = members.map(owns).collect();
        let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        assert_eq!(counts.iter().sum::<usize>(), self.0.len(), "owners are members");
        assert!(most <= least.map(|least| least + 1), "shares from {least:?} to {most:?}");
    }
}

struct ClassicGroup {
    id: Rc<str>,
    topic: Topic,
    members: Vec<Option<classic::Member>>,
    settled: Option<Instant>,
    last_join: Instant,
}

impl ClassicGroup {
    fn new(id: &Rc<str>, topic: &Topic, size_max: usize) -> Self {
        let members = std::iter::repeat_with(|| None).take(size_max).collect();
        let (id, topic) = (Rc::clone(id), topic.clone());
        Self { id, topic, members, settled: None, last_join: Instant::now() }
    }

    /// Everybody has an assignment of the same generation, which has as many members as there are.
    fn has_settled(&self) -> bool {
        let mut members = self.members.iter().flatten();
        let led = members.clone().find_map(|member| Some((member.led?, member.generation)));
        let Some((size, generation)) = led else { return false };
        size == members.clone().count()
            && members.all(|member| member.generation == generation && member.assignment.is_some())
    }
}

impl Group for ClassicGroup {
    fn admit(&mut self, number: usize) {
        self.settled = None;
        self.members[number] = Some(classic::Member::new(Rc::clone(&self.id), self.topic.clone()));
    }

    fn step(&mut self, number: usize, answer: Option<Answer>) -> Option<Prepared> {
        let member = self.members[number].as_mut()?;
        let Some(answer) = answer else {
            return Some(if member.has_id() { member.heartbeat() } else { member.join() });
        };
        let had_id = member.has_id();
        if let Some(request) = member.take(&answer) {
            if !had_id {
                self.last_join = Instant::now();
            }
            return Some(request);
        }
        if self.settled.is_none() && self.has_settled() {
            self.settled = Some(Instant::now());
        }
        if self.settled.is_some() {
            None
        } else {
            self.members[number].as_ref().map(classic::Member::heartbeat)
        }
    }

    fn leave(&mut self, number: usize) -> (Prepared, fn(&Answer)) {
        self.settled = None;
        let member = self.members[number].take().expect("a member leaves once");
        (member.leave(), classic::check_leave)
    }

    fn settled(&self) -> Option<Instant> {
        self.settled
    }

    fn last_join(&self) -> Instant {
        self.last_join
    }

    fn check(&self) {
        let mut owners = Owners::none(&self.topic);
        let members =
            || self.members.iter().enumerate().filter_map(|(number, each)| Some((number, each.as_ref()?)));
        for (number, member) in members() {
            owners.take(number, member.assignment.as_ref().expect("the group has settled"));
        }
        owners.check(members().map(|(number, _)| number));
    }
}

struct ConsumerGroup {
    id: Rc<str>,
    topic: Topic,
    members: Vec<Option<consumer::Member>>,
    owners: Owners,
    /// How many have been let in so far: nobody gets an id a second time.
    admitted: usize,
    settled: Option<Instant>,
    last_join: Instant,
}

impl ConsumerGroup {
    fn new(id: &Rc<str>, topic: &Topic, size_max: usize) -> Self {
        let members = std::iter::repeat_with(|| None).take(size_max).collect();
        let (id, topic, owners) = (Rc::clone(id), topic.clone(), Owners::none(topic));
        Self { id, topic, members, owners, admitted: 0, settled: None, last_join: Instant::now() }
    }

    /// Everybody has come to the group's epoch, and all partitions are owned.
    fn has_settled(&self) -> bool {
        let mut epochs = self.members.iter().flatten().map(|member| member.epoch);
        let first = epochs.next();
        epochs.all(|epoch| Some(epoch) == first) && self.owners.are_complete()
    }
}

impl Group for ConsumerGroup {
    fn admit(&mut self, number: usize) {
        self.settled = None;
        let id = format!("member-{}", self.admitted);
        self.admitted += 1;
        self.members[number] = Some(consumer::Member::new(Rc::clone(&self.id), self.topic.clone(), id));
    }

    fn step(&mut self, number: usize, answer: Option<Answer>) -> Option<Prepared> {
        let member = self.members[number].as_mut()?;
        if let Some(answer) = answer {
            let change = member.take(&answer);
            self.owners.release(number, &change.released);
            self.owners.take(number, &change.taken);
        } else if member.is_new() {
            self.last_join = Instant::now();
        }
        if self.settled.is_none() && self.has_settled() {
            self.settled = Some(Instant::now());
        }
        if self.settled.is_some() {
            None
        } else {
            self.members[number].as_mut().map(consumer::Member::heartbeat)
        }
    }

    fn leave(&mut self, number: usize) -> (Prepared, fn(&Answer)) {
        self.settled = None;
        let mut member = self.members[number].take().expect("a member leaves once");
        self.owners.release(number, &member.owned.iter().copied().collect::<Vec<_>>());
        (member.leave(), consumer::check_leave)
    }

    fn settled(&self) -> Option<Instant> {
        self.settled
    }

    fn last_join(&self) -> Instant {
        self.last_join
    }

    fn check(&self) {
        let members = self.members.iter().enumerate().filter(|(_, member)| member.is_some());
        self.owners.check(members.map(|(number, _)| number));
    }
}
