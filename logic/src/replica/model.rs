//! Three replicas with real logs, driven at random: crashes, elections, zombies, lost news.
//!
//! What must hold after every step:
//!
//! - what any replica has believed to be committed stays, at its offset, in the log of every later leader;
//! - two logs that have a record of the same epoch at the same offset have the same record there;
//! - a replica's offsets are those of its log.
//!
//! Elections are clean (the leader comes from the in-sync replicas) and acks wait for the sync, so nothing may be lost.

use super::*;
use proptest::prelude::*;
use protocol::types::{BrokerId, LeaderEpoch, Offset, Timestamp};
use std::collections::BTreeSet;

const NODES: usize = 3;
const LAG_MS_MAX: i64 = 50;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    epoch: LeaderEpoch,
    id: u64,
}

struct Node {
    replica: Replica,
    log: Vec<Entry>,
    /// Epochs whose start its journal has.
    durable: BTreeSet<LeaderEpoch>,
}

struct Metadata {
    epoch: LeaderEpoch,
    leader: usize,
    isr: Vec<usize>,
}

struct Cluster {
    now: i64,
    nodes: Vec<Node>,
    metadata: Metadata,
    committed: Vec<Entry>,
    next_id: u64,
}

#[derive(Clone, Debug)]
enum Event {
    Append(usize),
    Sync(usize, i64),
    Copy(usize),
    Settle(usize),
    Report(usize),
    TellCommitted(usize),
    Learn(usize),
    EpochDurable(usize),
    Plan(usize),
    Elect(usize),
    Crash(usize),
    Elapse(i64),
}

fn event() -> impl Strategy<Value = Event> {
    let node = || 0..NODES;
    prop_oneof![
        6 => node().prop_map(Event::Append),
        6 => (node(), 1..4_i64).prop_map(|(node, count)| Event::Sync(node, count)),
        8 => node().prop_map(Event::Copy),
        4 => node().prop_map(Event::Settle),
        6 => node().prop_map(Event::Report),
        2 => node().prop_map(Event::TellCommitted),
        5 => node().prop_map(Event::Learn),
        4 => node().prop_map(Event::EpochDurable),
        5 => node().prop_map(Event::Plan),
        1 => node().prop_map(Event::Elect),
        1 => node().prop_map(Event::Crash),
        2 => (0..80_i64).prop_map(Event::Elapse),
    ]
}

fn broker(node: usize) -> BrokerId {
    BrokerId(i32::try_from(node).expect("few nodes"))
}

fn node_of(broker: BrokerId) -> usize {
    usize::try_from(broker.get()).expect("not negative")
}

fn index(offset: Offset) -> usize {
    usize::try_from(offset.get()).expect("not negative")
}

impl Cluster {
    fn new(min_insync_replicas: usize) -> Self {
        let zero = Offset(0);
        let node = |place| {
            let epochs = EpochHistory::default();
            let recovered = Recovered { log_start: zero, log_end: zero, high_watermark: zero, epochs };
            let mut replica = Replica::new(broker(place), recovered);
            let _ = replica.on_settings(AckPolicy::WhenSynced, min_insync_replicas);
            Node { replica, log: Vec::new(), durable: BTreeSet::new() }
        };
        let metadata = Metadata { epoch: LeaderEpoch(0), leader: 0, isr: (0..NODES).collect() };
        Self { now: 0, nodes: (0..NODES).map(node).collect(), metadata, committed: Vec::new(), next_id: 0 }
    }

    fn run(&mut self, event: &Event) {
        match *event {
            Event::Append(node) => self.append(node),
            Event::Sync(node, count) => {
                let replica = &mut self.nodes[node].replica;
                let end = replica.synced_end().plus(count).min(replica.log_end());
                let _ = replica.on_synced(end);
            }
            Event::Copy(node) => self.copy(node),
            Event::Settle(node) => self.settle(node),
            Event::Report(node) => self.report(node),
            Event::TellCommitted(node) => self.tell_committed(node),
            Event::Learn(node) => self.learn(node),
            Event::EpochDurable(node) => {
                let Node { replica, durable, .. } = &mut self.nodes[node];
                if replica.role() == Role::Leader {
                    // The journal syncs in order: what was appended before the epoch's start is on stable media too.
                    let _ = replica.on_synced(replica.synced_end().max(replica.epoch_start()));
                    replica.on_epoch_durable(replica.leader_epoch());
                    durable.insert(replica.leader_epoch());
                }
            }
            Event::Plan(node) => self.plan(node),
            Event::Elect(choice) => {
                self.metadata.leader = self.metadata.isr[choice % self.metadata.isr.len()];
                self.metadata.epoch = LeaderEpoch(self.metadata.epoch.get() + 1);
            }
            Event::Crash(node) => self.crash(node),
            Event::Elapse(elapsed) => self.now += elapsed,
        }
        self.check();
    }

    fn append(&mut self, node: usize) {
        let Node { replica, log, .. } = &mut self.nodes[node];
        if replica.check_append(Acks::All).is_ok() {
            let appended = replica.append(1);
            assert_eq!(index(appended.base_offset), log.len());
            log.push(Entry { epoch: appended.leader_epoch, id: self.next_id });
            self.next_id += 1;
        }
    }

    /// The leader that a follower follows, if that one leads in the same epoch.
    fn leader_of(&self, node: usize) -> Option<usize> {
        let replica = &self.nodes[node].replica;
        let Role::Follower { leader: Some(leader) } = replica.role() else { return None };
        let other = &self.nodes[node_of(leader)].replica;
        (other.role() == Role::Leader && other.leader_epoch() == replica.leader_epoch())
            .then_some(node_of(leader))
    }

    fn copy(&mut self, node: usize) {
        let Some(leader) = self.leader_of(node) else { return };
        let end = self.nodes[node].log.len();
        let Some(entry) = self.nodes[leader].log.get(end).copied() else { return };
        let Node { replica, log, .. } = &mut self.nodes[node];
        let base_offset = replica.log_end();
        match replica.append_replicated(replica.leader_epoch(), base_offset, 1, entry.epoch) {
            Ok(_) => log.push(entry),
            Err(error) => assert_eq!(error, ReplicaError::NotSettled),
        }
    }

    fn settle(&mut self, node: usize) {
        let Some(leader) = self.leader_of(node) else { return };
        let epoch = self.nodes[node].replica.leader_epoch();
        let asked = self.nodes[node].replica.divergence_question();
        let answer = match self.nodes[leader].replica.epoch_end(epoch, asked) {
            Ok(answer) => answer,
            Err(error) => {
                assert_eq!(error, ReplicaError::EpochNotDurable { epoch });
                return;
            }
        };
        let Node { replica, log, .. } = &mut self.nodes[node];
        if replica.report().is_some() {
            return;
        }
        match replica.settle(epoch, answer).expect("it follows in this epoch") {
            Divergence::Settled { end } => {
                log.truncate(index(end));
                replica.on_truncated(end, true);
            }
            Divergence::AskAgain { end } => {
                log.truncate(index(end));
                replica.on_truncated(end, false);
            }
            other @ (Divergence::Restart { .. } | Divergence::Unknown) => panic!("{other:?}"),
        }
    }

    fn report(&mut self, node: usize) {
        let Some(leader) = self.leader_of(node) else { return };
        if let Some((end, epoch)) = self.nodes[node].replica.report() {
            let now = Timestamp(self.now);
            let advance = self.nodes[leader].replica.on_follower_acked(now, broker(node), end, epoch);
            let _ = advance.expect("a report of this leadership");
        }
    }

    fn tell_committed(&mut self, node: usize) {
        let Some(leader) = self.leader_of(node) else { return };
        let high_watermark = self.nodes[leader].replica.high_watermark();
        let replica = &mut self.nodes[node].replica;
        match replica.on_leader_committed(replica.leader_epoch(), high_watermark) {
            Ok(_) => {}
            Err(error) => assert_eq!(error, ReplicaError::NotSettled),
        }
    }

    /// The metadata's news reach a node: they may be many elections later.
    fn learn(&mut self, node: usize) {
        let Metadata { epoch, leader, ref isr } = self.metadata;
        let now = Timestamp(self.now);
        let all: Vec<BrokerId> = (0..NODES).map(broker).collect();
        let isr: Vec<BrokerId> = isr.iter().copied().map(broker).collect();
        let replica = &mut self.nodes[node].replica;
        if leader != node {
            let ack_policy = AckPolicy::WhenSynced;
            let settings = FollowerSettings { epoch, leader: Some(broker(leader)), ack_policy };
            replica.become_follower(settings).expect("no older news come after newer ones");
        } else if replica.role() == Role::Leader && replica.leader_epoch() == epoch {
            let _ = replica.on_isr_changed(now, epoch, &all, &isr).expect("news of this leadership");
        } else {
            let settings = LeaderSettings {
                epoch,
                replicas: &all,
                isr: &isr,
                min_insync_replicas: replica.min_insync_replicas,
                ack_policy: AckPolicy::WhenSynced,
            };
            match replica.become_leader(now, &settings) {
                Ok(_) => {}
                // It led in this epoch before it crashed: it needs another election.
                Err(error) => assert_eq!(error, ReplicaError::FencedEpoch { current: epoch }),
            }
        }
    }

    fn plan(&mut self, node: usize) {
        let now = Timestamp(self.now);
        let Some(change) = self.nodes[node].replica.plan_isr(now, LAG_MS_MAX) else { return };
        if change.leader_epoch == self.metadata.epoch {
            assert_eq!(self.metadata.leader, node);
            self.metadata.isr = change.isr.into_iter().map(node_of).collect();
        }
    }

    /// What was not synced is lost.
    fn crash(&mut self, node: usize) {
        let Node { replica, log, durable } = &mut self.nodes[node];
        let log_end = replica.synced_end();
        log.truncate(index(log_end));
        let kept = replica.epochs().entries().iter().copied();
        let kept = kept.filter(|entry| entry.start < log_end || durable.contains(&entry.epoch));
        let epochs = EpochHistory::new(kept.filter(|entry| entry.start <= log_end));
        let min_insync_replicas = replica.min_insync_replicas;
        let recovered = Recovered { log_start: Offset(0), log_end, high_watermark: Offset(0), epochs };
        *replica = Replica::new(broker(node), recovered);
        let _ = replica.on_settings(AckPolicy::WhenSynced, min_insync_replicas);
    }

    fn check(&mut self) {
        for node in &self.nodes {
            assert_eq!(index(node.replica.log_end()), node.log.len());
            for (offset, entry) in node.log[..index(node.replica.high_watermark())].iter().enumerate() {
                match self.committed.get(offset) {
                    Some(committed) => assert_eq!(committed, entry, "at {offset}"),
                    None => self.committed.push(*entry),
                }
            }
            for (offset, entry) in (0..).zip(&node.log) {
                assert_eq!(node.replica.epochs().epoch_at(Offset(offset)), Some(entry.epoch));
            }
        }
        for node in &self.nodes {
            let leads = node.replica.role() == Role::Leader;
            if leads && node.replica.leader_epoch() == self.metadata.epoch {
                assert!(node.log.starts_with(&self.committed), "a leader without what was committed");
            }
            for other in &self.nodes {
                let pairs = node.log.iter().zip(&other.log);
                assert!(pairs.into_iter().all(|(one, two)| one.epoch != two.epoch || one == two));
            }
        }
    }

    /// When all is well for a while, everything that the leader has is committed on all.
    fn heal(&mut self) {
        self.run(&Event::Elect(0));
        let leader = self.metadata.leader;
        for _ in 0..4 {
            for node in 0..NODES {
                self.run(&Event::Learn(node));
                self.run(&Event::EpochDurable(node));
            }
            self.run(&Event::Append(leader));
            self.run(&Event::Sync(leader, i64::MAX / 2));
            for node in 0..NODES {
                // Each question is about an older epoch, and there are not more epochs than events.
                for _ in 0..=self.metadata.epoch.get() {
                    self.run(&Event::Settle(node));
                }
                for _ in 0..self.nodes[leader].log.len() {
                    self.run(&Event::Copy(node));
                }
                self.run(&Event::Sync(node, i64::MAX / 2));
                self.run(&Event::Report(node));
            }
            self.run(&Event::Plan(leader));
        }
        for node in 0..NODES {
            self.run(&Event::Learn(node));
            self.run(&Event::TellCommitted(node));
            assert_eq!(self.nodes[node].log, self.nodes[leader].log);
            assert_eq!(self.nodes[node].replica.high_watermark(), self.nodes[leader].replica.log_end());
        }
        assert_eq!(self.metadata.isr.len(), NODES);
        assert_eq!(self.committed, self.nodes[leader].log);
    }
}

proptest! {
    #[test]
    fn what_was_committed_survives(
        min_insync_replicas in 1..=NODES,
        events in prop::collection::vec(event(), 1..400),
    ) {
        let mut cluster = Cluster::new(min_insync_replicas);
        for node in 0..NODES {
            cluster.run(&Event::Learn(node));
        }
        for event in &events {
            cluster.run(event);
        }
        cluster.heal();
    }
}
