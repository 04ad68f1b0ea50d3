//! Consumers of KIP-848 that join, leave, die and are slow at random, while topics come and go.

use super::script::Script;
use super::*;
use crate::group::kind::Group;
use proptest::prelude::*;
use protocol::types::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

const TOPICS: [&str; 3] = ["t", "u", "v"];

/// A consumer as it sees itself.
#[derive(Clone, Debug, Default)]
struct Consumer {
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
        1 => (0..3_usize).prop_map(Step::Grow),
        3 => (1..20_000_i64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

struct World {
    run: Script,
    consumers: Vec<Consumer>,
    sizes: BTreeMap<&'static str, i32>,
}

impl World {
    fn new() -> Self {
        let mut run = Script::new(GroupSettings::default());
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
                self.consumers[consumer] = Consumer::default();
                self.beat(consumer, &format!("0 {wants}"));
            }
            Step::Beat(consumer) => {
                let Consumer { epoch, owned, .. } = self.consumers[consumer].clone();
                let list: Vec<String> = owned.into_iter().collect();
                let list = if list.is_empty() { "-".to_owned() } else { list.join(",") };
                self.beat(consumer, &format!("{} owned={list}", epoch.max(1)));
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
                let number: usize = member.member_id[1..].parse().expect("a number");
                let consumer = &self.consumers[number];
                for partition in &consumer.owned {
                    let before = owners.insert(partition.clone(), member.member_id.to_string());
                    assert_eq!(before, None, "{partition} has two owners: {:?}", self.consumers);
                }
            }
        }
        assert_eq!(live.memory_bytes(), replayed.memory_bytes());
    }

    fn settle(&mut self) {
        for consumer in 0..self.consumers.len() {
            self.step(&Step::Join(consumer, 7));
        }
        for _ in 0..12 {
            for consumer in 0..self.consumers.len() {
                self.step(&Step::Obey(consumer));
                self.step(&Step::Beat(consumer));
                self.check();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn consumers_settle_and_never_share(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.settle();
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
