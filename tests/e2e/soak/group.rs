//! One group of the soak: its members, alive and dead, and what they did.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use e2e::process::Process;
use e2e::{DEADLINE, cache, project};
use nix::sys::signal::Signal;
use rand::Rng;
use rand::rngs::SmallRng;
use serde_json::{Map, Value, json};

use super::departures::{SESSION_MS, cut, departures};
use super::judge::{Ownership, Span, shared};
use super::{INPUT, PARTITIONS};
use crate::group_records::GroupRecord;

/// How many members there are at a time.
const MEMBERS_MAX: usize = 3;
/// `FENCED` of `soak_member.py`.
const FENCED: i32 = 3;
/// How long somebody who is stuck has to say where.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// By which protocol the members share.
#[derive(Clone, Copy, Debug)]
pub enum Sharing {
    /// The classic protocol; everybody gives everything away first.
    Eager,
    /// The classic protocol; only what moves is given away.
    Cooperative,
    /// KIP-848: the broker assigns.
    Served,
}

/// What the members do with what they read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// They note it, and commit afterwards.
    Read,
    /// They write it to a topic and commit both in a transaction.
    Copy,
}

/// What happened to members.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub joined: usize,
    pub left: usize,
    pub killed: usize,
    /// Ended by themselves, since another one had taken their place.
    pub fenced: usize,
}

pub struct Group {
    pub name: &'static str,
    sharing: Sharing,
    pub work: Work,
    broker: SocketAddr,
    directory: PathBuf,
    slots: [Option<Process>; MEMBERS_MAX],
    past: Vec<Vec<Span>>,
    pub counts: Counts,
}

impl Group {
    pub fn new(
        name: &'static str,
        sharing: Sharing,
        work: Work,
        broker: SocketAddr,
        directory: &Path,
    ) -> Self {
        let directory = directory.to_owned();
        let slots = [const { None }; MEMBERS_MAX];
        Self { name, sharing, work, broker, directory, slots, past: Vec::new(), counts: Counts::default() }
    }

    /// Where copies go.
    pub fn output(&self) -> String {
        format!("copies-{}", self.name)
    }

    fn config(&self) -> Value {
        let mut config = Map::new();
        let mut set = |key: &str, value: Value| drop(config.insert(key.to_owned(), value));
        set("group.id", json!(self.name));
        if let Sharing::Served = self.sharing {
            set("group.protocol", json!("consumer"));
            return Value::Object(config);
        }
        let strategy = if let Sharing::Eager = self.sharing { "range" } else { "cooperative-sticky" };
        set("partition.assignment.strategy", json!(strategy));
        set("session.timeout.ms", json!(SESSION_MS));
        set("heartbeat.interval.ms", json!(500));
        Value::Object(config)
    }

    fn start(&mut self, slot: usize) {
        let number = self.counts.joined;
        let mut command = Command::new(cache().join("venv/bin/python"));
        command.arg(project().join("tests/clients/python/soak_member.py"));
        command.args([&self.broker.to_string(), &self.config().to_string(), INPUT]);
        command.arg(self.directory.join(format!("{}-{number}", self.name)));
        if self.work == Work::Copy {
            // Whoever comes to a slot fences who was there before; the other slots wait for a dead one's time to be up.
            command.args([self.output(), format!("{}-{slot}", self.name)]);
        }
        self.slots[slot] = Some(Process::start(&format!("{} {number}", self.name), command));
        self.counts.joined += 1;
    }

    fn leave(&mut self, slot: usize) {
        let Some(mut member) = self.slots[slot].take() else { return };
        member.signal(Signal::SIGTERM);
        if !member.ends_within(DEADLINE) {
            // It says where it is stuck.
            member.signal(Signal::SIGUSR1);
        }
        let status = member.wait(LAST_WORDS);
        // It may have been fenced just then, or told before it could hear.
        let is_clean =
            status.success() || status.code() == Some(FENCED) || status.signal() == Some(libc::SIGTERM);
        assert!(is_clean, "{status}: {}", member.last_lines());
        self.counts.left += 1;
        self.past.push(Ownership::read(&member.lines()).into_spans());
    }

    fn kill(&mut self, slot: usize) {
        let Some(member) = self.slots[slot].take() else { return };
        let killed_ns = now_ns();
        member.signal(Signal::SIGKILL);
        assert!(member.ends_within(DEADLINE), "nobody survives that");
        self.counts.killed += 1;
        let mut ownership = Ownership::read(&member.lines());
        ownership.end_all(killed_ns, false);
        self.past.push(ownership.into_spans());
    }

    /// Takes away who has ended by itself.
    fn bury(&mut self) {
        for slot in &mut self.slots {
            let Some(status) = slot.as_mut().and_then(Process::ended) else { continue };
            let member = slot.take().expect("just seen");
            assert_eq!(status.code(), Some(FENCED), "{}", member.last_lines());
            println!("{}: a member ended: {}", self.name, member.lines().last().map_or("", String::as_str));
            self.counts.fenced += 1;
            self.past.push(Ownership::read(&member.lines()).into_spans());
        }
    }

    /// A member comes, goes or dies.
    pub fn change(&mut self, random: &mut SmallRng) {
        self.bury();
        let slot = random.random_range(0..MEMBERS_MAX);
        match (self.slots[slot].is_some(), random.random_ratio(1, 2)) {
            (false, _) => self.start(slot),
            (true, false) => self.leave(slot),
            (true, true) => self.kill(slot),
        }
    }

    /// Sees to it that there is somebody.
    pub fn staff(&mut self) {
        self.bury();
        if self.slots.iter().all(Option::is_none) {
            self.start(0);
        }
    }

    /// What each member owns, where they own everything together and nothing twice.
    pub fn settled(&mut self) -> Option<Vec<BTreeSet<i32>>> {
        self.staff();
        let members = self.slots.iter().flatten();
        let owned: Vec<_> = members.map(|member| Ownership::read(&member.lines()).owned()).collect();
        let count: usize = owned.iter().map(BTreeSet::len).sum();
        let all: BTreeSet<i32> = owned.iter().flatten().copied().collect();
        let is_complete = all == (0..PARTITIONS).collect();
        let is_disjoint = count == all.len();
        let is_fair = owned.iter().all(|own| !own.is_empty());
        (is_complete && is_disjoint && is_fair).then_some(owned)
    }

    /// How often each value was read until now, by all members that ever were.
    pub fn values(&self) -> BTreeMap<u64, usize> {
        let mut values = BTreeMap::new();
        for number in 0..self.counts.joined {
            let file = self.directory.join(format!("{}-{number}", self.name));
            // One that died before it read anything has none.
            let text = fs::read_to_string(file).unwrap_or_default();
            for line in text.split_inclusive('\n') {
                // The last line of one that was killed may be cut off: that value was not committed.
                if let Some(line) = line.strip_suffix('\n') {
                    *values.entry(line.parse().expect("a number")).or_default() += 1;
                }
            }
        }
        values
    }

    /// Lets all members leave.
    pub fn end(&mut self) {
        self.bury();
        (0..MEMBERS_MAX).for_each(|slot| self.leave(slot));
    }

    /// Checks that no partition ever had two owners. `records` is what the group kept of itself, `started_ns` when brokers were
    /// started: where none was killed, nobody is put out unknowingly.
    pub fn check_owners(&mut self, records: &[GroupRecord], started_ns: &[u64]) {
        if started_ns.len() > 1 {
            let unknowing = cut(&mut self.past, &departures(records, self.name), started_ns);
            println!("{:>20}: {unknowing} times put out unknowingly", self.name);
        }
        let twice = shared(&self.past);
        assert!(twice.is_none(), "{}: two owners at a time: {twice:?}", self.name);
    }

    /// What the members that live say, for people.
    pub fn last_lines(&self) -> String {
        self.slots.iter().flatten().map(|member| member.last_lines()).collect()
    }
}

/// The clock that members stamp what they say with, and brokers their records.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_nanos()).expect("before 2554")
}
