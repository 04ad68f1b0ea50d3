//! Consumers of both protocols in one consumer group that join, leave, die and are slow at random, while topics come.

use super::script::{Script, short};
use super::*;
use crate::group::kind::Group;
use proptest::prelude::*;
use protocol::types::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

const TOPICS: [&str; 3] = ["t", "u", "v"];

/// A consumer as it sees itself.
#[derive(Clone, Debug, Default)]
struct Consumer {
    /// Its member's id; none if it is in no group, as far as it knows.
    id: Option<String>,
    /// The epoch, or the generation.
    epoch: i32,
    owned: BTreeSet<String>,
    /// What it was last told to own.
    told: BTreeSet<String>,
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize, u8),
    /// A heartbeat that tells what the consumer owns.
    Beat(usize),
    /// One that tells nothing.
    Short(usize),
    /// The consumer does as it was told.
    Obey(usize),
    Leave(usize),
    /// A join by the classic protocol: of one that gives everything back before, or of one that reads on.
    ClassicJoin(usize, bool),
    /// It fetches its assignment, and does as it is told.
    ClassicSync(usize),
    ClassicBeat(usize),
    Grow(usize),
    Wait(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let consumer = 0..4_usize;
    prop_oneof![
        4 => (consumer.clone(), 1..10_u8).prop_map(|(consumer, reads)| Step::Join(consumer, reads)),
        6 => consumer.clone().prop_map(Step::Beat),
        2 => consumer.clone().prop_map(Step::Short),
        6 => consumer.clone().prop_map(Step::Obey),
        1 => consumer.clone().prop_map(Step::Leave),
        3 => (consumer.clone(), any::<bool>()).prop_map(|(consumer, stops)| Step::ClassicJoin(consumer, stops)),
        4 => consumer.clone().prop_map(Step::ClassicSync),
        2 => consumer.clone().prop_map(Step::ClassicBeat),
        1 => (0..3_usize).prop_map(Step::Grow),
        3 => (1..20_000_i64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

fn listed(places: &BTreeSet<String>) -> String {
    if places.is_empty() { "-".to_owned() } else { places.iter().cloned().collect::<Vec<_>>().join(",") }
}

struct World {
    run: Script,
    consumers: Vec<Consumer>,
    sizes: BTreeMap<&'static str, i32>,
}

impl World {
    fn new() -> Self {
        // The group stays what it is: there is one member here that only knows the newer protocol, at some time or other.
        let consumer_migration = MigrationPolicy::Upgrade;
        let mut run = Script::new(GroupSettings { consumer_migration, ..GroupSettings::default() });
        run.run("topic t 2");
        Self { run, consumers: vec![Consumer::default(); 4], sizes: BTreeMap::from([("t", 2)]) }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Join(consumer, reads) => {
                let wants = if reads < 8 {
                    let names = TOPICS.iter().enumerate().filter(|(index, _)| reads & (1 << index) != 0);
                    format!("topics={}", names.map(|(_, name)| *name).collect::<Vec<_>>().join(","))
                } else {
                    "regex=[tu]".to_owned()
                };
                let id = Some(format!("m{consumer}"));
                self.consumers[consumer] = Consumer { id, ..Consumer::default() };
                self.beat(consumer, &format!("0 {wants}"));
            }
            Step::Beat(consumer) => {
                let Consumer { epoch, owned, .. } = &self.consumers[consumer];
                let what = format!("{} owned={}", epoch.max(&1), listed(owned));
                self.beat(consumer, &what);
            }
            Step::Short(consumer) => {
                let epoch = self.consumers[consumer].epoch.max(1);
                self.beat(consumer, &epoch.to_string());
            }
            Step::Obey(consumer) => {
                let consumer = &mut self.consumers[consumer];
                consumer.owned = consumer.told.clone();
            }
            Step::Leave(consumer) => self.beat(consumer, "-1"),
            Step::ClassicJoin(consumer, stops) => self.classic_join(consumer, stops),
            Step::ClassicSync(consumer) => {
                let answer = self.classic(consumer, "sync");
                if let Some(list) = answer.as_deref().and_then(|answer| answer.strip_prefix("assigned")) {
                    let places = list.trim().split(',').filter(|place| !place.is_empty());
                    self.consumers[consumer].owned = places.map(str::to_owned).collect();
                }
            }
            Step::ClassicBeat(consumer) => drop(self.classic(consumer, "beat")),
            Step::Grow(topic) => {
                let size = self.sizes.entry(TOPICS[topic]).or_insert(0);
                if *size < 8 {
                    *size += 1;
                    let line = format!("topic {} {size}", TOPICS[topic]);
                    self.run.run(&line);
                }
            }
            Step::Wait(ms) => {
                let until = Timestamp(self.run.now.get() + ms);
                self.run.pass_time(until);
            }
            Step::Restart => {
                self.run.run("restart");
            }
        }
    }

    /// A consumer that is not in the group by the newer protocol joins by the classic one, if it is a consumer group: what
    /// happens in a classic one is another model's.
    fn classic_join(&mut self, consumer: usize, stops: bool) {
        let group = self.run.coordinator.groups.get("g").map(|entry| &entry.group);
        let is_of_consumers = matches!(group, Some(Group::Consumer(group)) if !group.is_empty());
        if !is_of_consumers {
            return;
        }
        let known = &mut self.consumers[consumer];
        if known.id.as_ref().is_none_or(|id| !id.contains('#')) {
            *known = Consumer::default();
        }
        if stops {
            known.owned.clear();
        }
        let id = known.id.clone().unwrap_or_else(|| format!("m{consumer}"));
        let owned = listed(&known.owned);
        let answer = self.run.run(&format!("1 join g {id} range version=0 meta=t,u,v owned={owned}"));
        let words: Vec<&str> = answer.split_whitespace().collect();
        let known = &mut self.consumers[consumer];
        match words.as_slice() {
            ["1*", id, "joined", "generation", generation, ..] => {
                known.id = Some((*id).to_owned());
                known.epoch = generation.parse().expect("a generation");
            }
            other => panic!("a join is taken or refused when committed: {other:?}"),
        }
    }

    /// A request by a classic member, if the consumer is one. What it is told, unless it is out.
    fn classic(&mut self, consumer: usize, request: &str) -> Option<String> {
        let Consumer { id, epoch, .. } = &self.consumers[consumer];
        let id = id.clone().filter(|id| id.contains('#'))?;
        let answer = self.run.run(&format!("1 {request} g {id} {epoch}"));
        let (_, told) = answer.trim_end().split_once(' ').expect("an answer");
        if ["UnknownMember", "IllegalGeneration"].contains(&told) {
            self.consumers[consumer] = Consumer::default();
            return None;
        }
        Some(told.to_owned())
    }

    fn beat(&mut self, consumer: usize, what: &str) {
        let answer = self.run.run(&format!("1 member g m{consumer} {what}"));
        let told = answer.trim().strip_prefix("1* ").expect("answered when committed");
        let known = &mut self.consumers[consumer];
        let Some(told) = told.strip_prefix(&format!("m{consumer} epoch ")) else {
            *known = Consumer::default();
            return;
        };
        let (epoch, owns) =
            told.split_once(" owns").map_or((told, None), |(epoch, list)| (epoch, Some(list)));
        known.epoch = epoch.parse().expect("an epoch");
        if known.epoch < 0 {
            *known = Consumer::default();
        } else if let Some(list) = owns {
            known.told = list.split_whitespace().map(str::to_owned).collect();
        }
    }

    /// Nobody owns what another owns, as far as they are in the group; the log holds all of it.
    fn check(&mut self) {
        let replayed = self.run.replayed();
        let live = &self.run.coordinator;
        assert!(live.groups.keys().eq(replayed.groups.keys()));
        for (id, entry) in &live.groups {
            let (Group::Consumer(ours), Group::Consumer(theirs)) = (&entry.group, &replayed.groups[id].group)
            else {
                panic!("both are consumer groups");
            };
            assert_eq!(ours.picture(), theirs.picture());
            let described = ours.describe(&live.settings, &live.image);
            let mut owners: BTreeMap<String, String> = BTreeMap::new();
            for member in &described.members {
                let id = short(&member.member_id);
                let Some(consumer) = self.consumers.iter().find(|known| known.id.as_ref() == Some(&id))
                else {
                    continue;
                };
                for partition in &consumer.owned {
                    let before = owners.insert(partition.clone(), member.member_id.to_string());
                    assert_eq!(before, None, "{partition} has two owners: {:?}", self.consumers);
                }
            }
        }
        assert_eq!(live.memory_bytes(), replayed.memory_bytes());
    }

    /// Whoever was in the group is out; then all join, one of them by the newer protocol, so many by the classic one.
    fn settle(&mut self, classic_count: usize) {
        self.step(&Step::Wait(100_000));
        for consumer in (0..self.consumers.len()).rev() {
            if consumer < classic_count {
                self.consumers[consumer] = Consumer::default();
                self.step(&Step::ClassicJoin(consumer, true));
                self.step(&Step::ClassicSync(consumer));
            } else {
                self.step(&Step::Join(consumer, 7));
            }
        }
        for round in 0..12 {
            for consumer in 0..self.consumers.len() {
                if consumer >= classic_count {
                    self.step(&Step::Obey(consumer));
                    self.step(&Step::Beat(consumer));
                } else if self.classic(consumer, "beat").as_deref() == Some("RebalanceInProgress") {
                    self.step(&Step::ClassicJoin(consumer, round % 2 == 0));
                    self.step(&Step::ClassicSync(consumer));
                }
                self.check();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn consumers_settle_and_never_share(
        steps in proptest::collection::vec(step(), 1..60),
        classic_count in 0..4_usize,
    ) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.settle(classic_count);
        let Group::Consumer(group) = &world.run.coordinator.groups["g"].group else { panic!("of consumers") };
        prop_assert_eq!(group.list().state, "Stable");
        let owned: BTreeSet<_> = world.consumers.iter().flat_map(|consumer| consumer.owned.clone()).collect();
        prop_assert_eq!(i32::try_from(owned.len()).expect("small"), world.sizes.values().sum::<i32>());
        let loads: Vec<usize> = world.consumers.iter().map(|consumer| consumer.owned.len()).collect();
        let (least, most) = (loads.iter().min(), loads.iter().max());
        prop_assert!(most.expect("four") - least.expect("four") <= 1, "{:?}", loads);
        world.step(&Step::Wait(100_000));
        let now = world.run.now;
        let live = &mut world.run.coordinator;
        let _ = live.resign(now);
        prop_assert_eq!(live.timers.len(), 1, "the retention's alone");
    }
}
