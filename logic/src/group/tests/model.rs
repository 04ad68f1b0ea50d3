//! Clients that join, leave, die and are slow at random: what must hold whatever they do.

use super::script::{Logged, Script, short};
use super::*;
use crate::group::coordinator::Entry;
use crate::group::kind::Group;
use proptest::prelude::*;
use protocol::coordinator::{GroupMetadataValue, Key, Value};
use protocol::types::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

const GROUPS: [&str; 2] = ["g", "h"];

/// A client as it sees itself.
#[derive(Clone, Debug, Default)]
struct Client {
    id: String,
    generation: i32,
    leads: Vec<String>,
    stage: Stage,
}

/// How far a client has come, as it sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Out,
    Joined,
    Assigned,
}

/// One step: which client does what.
#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    Sync(usize),
    Beat(usize),
    Leave(usize),
    Commit(usize),
    Transact(usize),
    Marker(bool),
    Delete,
    Wait(i64),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..6_usize;
    prop_oneof![
        6 => client.clone().prop_map(Step::Join),
        6 => client.clone().prop_map(Step::Sync),
        4 => client.clone().prop_map(Step::Beat),
        1 => client.clone().prop_map(Step::Leave),
        2 => client.clone().prop_map(Step::Commit),
        1 => client.prop_map(Step::Transact),
        1 => any::<bool>().prop_map(Step::Marker),
        1 => Just(Step::Delete),
        4 => (1..20_000_i64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

struct World {
    run: Script,
    clients: Vec<Client>,
    ticket: u64,
    asked: BTreeMap<u64, usize>,
    /// The newest generation seen in the log, by group; it begins anew when the group is deleted.
    generations: BTreeMap<String, i32>,
    checked: usize,
}

/// Clients 0 to 2 are in g, the others in h; 2 and 5 are static members.
fn group_of(client: usize) -> &'static str {
    GROUPS[client / 3]
}

impl World {
    fn new() -> Self {
        Self {
            run: Script::new(GroupSettings::default()),
            clients: vec![Client::default(); 6],
            ticket: 0,
            asked: BTreeMap::new(),
            generations: BTreeMap::new(),
            checked: 0,
        }
    }

    fn ask(&mut self, client: usize, request: &str) {
        self.ticket += 1;
        self.asked.insert(self.ticket, client);
        let output = self.run.run(&format!("{} {request}", self.ticket));
        self.hear(&output);
    }

    fn id(&self, client: usize) -> String {
        match self.clients[client].id.as_str() {
            "" => format!("c{client}"),
            id => id.to_owned(),
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Join(client) if client % 3 == 2 => {
                self.ask(client, &format!("join {} c{client} range,rr static=s{client}", group_of(client)));
            }
            Step::Join(client) => {
                let id = self.id(client);
                self.ask(client, &format!("join {} {id} range,rr meta=t", group_of(client)));
            }
            Step::Sync(client) => {
                let Client { id, generation, leads, .. } = self.clients[client].clone();
                let assigned: Vec<String> =
                    leads.iter().map(|id| format!("{id}={id}@{generation}")).collect();
                let id = if id.is_empty() { "-" } else { &id };
                self.ask(
                    client,
                    &format!("sync {} {id} {generation} {}", group_of(client), assigned.join(" ")),
                );
            }
            Step::Beat(client) => {
                let (id, generation) = (self.id(client), self.clients[client].generation);
                self.ask(client, &format!("beat {} {id} {generation}", group_of(client)));
            }
            Step::Leave(client) => {
                self.ask(client, &format!("leave {} {}", group_of(client), self.id(client)))
            }
            Step::Commit(client) => {
                let (id, generation) = (self.id(client), self.clients[client].generation);
                let offset = self.ticket;
                self.ask(
                    client,
                    &format!("commit {} {id} {generation} t/{client}={offset}", group_of(client)),
                );
                self.ask(client, &format!("commit {} - -1 u/0={offset}", group_of(client)));
            }
            Step::Transact(client) => {
                let offset = self.ticket;
                self.ask(client, &format!("txn {client} {} - -1 t/0={offset}", group_of(client)));
            }
            Step::Marker(is_committed) => {
                let outcome = if is_committed { "commit" } else { "abort" };
                for producer in 0..3 {
                    let _ = self.run.run(&format!("marker {producer} {outcome}"));
                }
            }
            Step::Delete => self.ask(0, "delete g"),
            Step::Wait(ms) => {
                let until = Timestamp(self.run.now.get() + ms);
                let output = self.run.pass_time(until);
                self.hear(&output);
            }
            Step::Restart => {
                let output = self.run.run("restart");
                self.hear(&output);
                assert_eq!(self.run.waiting_count(), 0, "a restart answers everybody");
            }
        }
        self.check();
    }

    /// What the answers say, and to whom.
    fn hear(&mut self, output: &str) {
        for line in output.lines().filter(|line| !line.starts_with("log")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ticket = words[0].trim_end_matches('*').parse().expect("a ticket");
            let asked = self.asked.remove(&ticket).expect("a ticket is answered once");
            let client = &mut self.clients[asked];
            match words[1] {
                "MemberIdRequired" => words[2].clone_into(&mut client.id),
                "UnknownMember" | "FencedInstance" => *client = Client::default(),
                "RebalanceInProgress" | "IllegalGeneration" | "NotCoordinator" => client.stage = Stage::Out,
                "assigned" => {
                    let expected = format!("{}@{}", client.id, client.generation);
                    let got = words.get(2).copied().unwrap_or("");
                    // A static member that was restarted has the assignment of its former self.
                    assert!(got.is_empty() || got == expected || asked % 3 == 2, "{line}: {client:?}");
                    client.stage = Stage::Assigned;
                }
                id if words.get(2) == Some(&"joined") => {
                    id.clone_into(&mut client.id);
                    client.generation = words[4].parse().expect("a generation");
                    let members = words.iter().skip_while(|word| **word != "of").nth(1);
                    client.leads =
                        members.map(|ids| ids.split(',').map(str::to_owned).collect()).unwrap_or_default();
                    client.stage = Stage::Joined;
                }
                _ => {}
            }
        }
    }

    fn check(&mut self) {
        for logged in &self.run.log[self.checked..] {
            let Logged::Record(_, record) = logged else { continue };
            let Key::ClassicGroup { group } = Key::decode(&record.key).expect("a key") else { continue };
            let Some(value) = &record.value else {
                self.generations.remove(group);
                continue;
            };
            let value = GroupMetadataValue::decode(value).expect("a group");
            let before = self.generations.insert(group.to_owned(), value.generation).unwrap_or(0);
            assert!(before <= value.generation, "generations of {group} only grow");
            for member in &value.members {
                let told = String::from_utf8_lossy(member.assignment);
                let owner = told.split('@').next().expect("there is one");
                let is_own = owner.is_empty() || owner == short(member.member_id) || owner.starts_with('s');
                assert!(is_own, "{told} went to {}", short(member.member_id));
            }
        }
        self.checked = self.run.log.len();
    }

    /// The log holds all offsets, all groups, and each group as it was when it was last stable or empty.
    fn check_replay(&self) {
        let (live, replayed) = (&self.run.coordinator, self.run.replayed());
        assert!(live.groups.keys().eq(replayed.groups.keys()));
        assert_eq!(live.pending, replayed.pending);
        for (id, entry) in &live.groups {
            let (ours, theirs) = (entry, &replayed.groups[id]);
            assert_eq!(ours.offsets.fetch_all(true), theirs.offsets.fetch_all(true));
            assert_eq!(ours.offsets.memory_bytes(), theirs.offsets.memory_bytes());
            let (ours, theirs) = (described(ours), described(theirs));
            if ours.state == "Stable" || ours.state == "Empty" {
                assert_eq!(ours.members, theirs.members, "{id}");
                assert_eq!((ours.state, ours.protocol), (theirs.state, theirs.protocol), "{id}");
            }
        }
        assert!(live.memory_bytes() >= live.groups.values().map(Entry::memory_bytes).sum());
    }

    /// Everybody behaves from now on.
    fn settle(&mut self) {
        for _ in 0..80 {
            for client in 0..self.clients.len() {
                if self.asked.values().any(|asked| *asked == client) {
                    continue;
                }
                self.step(&match self.clients[client].stage {
                    Stage::Out => Step::Join(client),
                    Stage::Joined => Step::Sync(client),
                    Stage::Assigned => Step::Beat(client),
                });
            }
            self.step(&Step::Wait(1_500));
        }
    }

    /// Every group is stable, each of its clients has an assignment, and those of one generation differ.
    fn check_settled(&self) {
        for client in &self.clients {
            assert_eq!(client.stage, Stage::Assigned, "{:?}", self.clients);
        }
        for group in GROUPS {
            let described = described(&self.run.coordinator.groups[group]);
            assert_eq!((described.state, described.members.len()), ("Stable", 3), "{described:?}");
            let assignments: BTreeSet<_> =
                described.members.iter().map(|member| member.assignment.clone()).collect();
            assert_eq!(assignments.len(), 3, "{described:?}");
        }
    }
}

fn described(entry: &Entry) -> DescribedGroup {
    match &entry.group {
        Group::Classic(group) => group.describe(),
        Group::Consumer(_) => panic!("every group is a classic one"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn groups_keep_their_promises(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check_replay();
        }
        world.step(&Step::Wait(400_000));
        prop_assert!(world.asked.is_empty(), "nobody waits for ever: {:?}", world.asked);
        world.settle();
        world.check_settled();
        world.check_replay();
        world.step(&Step::Wait(400_000));
        for entry in world.run.coordinator.groups.values() {
            prop_assert!(entry.group.list().state == "Empty", "nobody was heard of for long");
        }
        let now = world.run.now;
        let live = &mut world.run.coordinator;
        let _ = live.resign(now);
        prop_assert_eq!(live.timers.len(), 1, "the retention's alone");
    }
}
