//! A language for tests: one line drives one replica of a small cluster and prints one line.
//!
//! ```text
//!  at MS                                   the clock
//!  B leads E of B,B isr B,B [min N] [relaxed]     elected, and its epoch made durable
//!  B elected E of B,B isr B,B [min N] [relaxed]   elected only;  B durable E
//!  B follows L in E                        L may be `-`
//!  B append N none|one|all                 B sealed O   B synced O   B start O
//!  B settles with L                        asks for epoch ends and cuts until it is settled
//!  B copies L to O                         batches with their epochs, synced at once
//!  B hears F                               the leader is told what the follower vouches for
//!  B told L                                the follower is told what is committed
//!  B isr B,B of B,B   B plan LAG   B refused
//!  B fetch O [epoch E] [last E]            B latest   B end-of E   B delete O|all
//!  B restarts at O                         what recovery found; what lay past O is lost
//!  B is                                    its state
//! ```

use super::*;
use protocol::types::{BrokerId, LeaderEpoch, Offset, Timestamp};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Runs `script` and compares what it prints.
#[track_caller]
pub(super) fn check(script: &str, expected: &str) {
    let trim = |text: &str| {
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
    };
    let mut cluster = Cluster::default();
    let mut printed = String::new();
    for line in trim(script).lines() {
        let output = cluster.run(line);
        if !output.is_empty() {
            writeln!(printed, "{output}").expect("a string takes everything");
        }
    }
    assert_eq!(trim(&printed), trim(expected), "\nprinted:\n{printed}");
}

#[derive(Default)]
struct Cluster {
    now: Timestamp,
    replicas: BTreeMap<i32, Replica>,
}

fn number(word: &str) -> i64 {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn small(word: &str) -> i32 {
    i32::try_from(number(word)).expect("a small number")
}

fn epoch(word: &str) -> LeaderEpoch {
    LeaderEpoch(small(word))
}

fn brokers(word: &str) -> Vec<BrokerId> {
    word.split(',').map(|id| BrokerId(small(id))).collect()
}

fn after<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    let place = words.iter().position(|word| *word == name)?;
    Some(words[place + 1])
}

fn moved(advance: Advance, replica: &Replica) -> String {
    let mut text = String::new();
    if advance.acked {
        write!(text, " acked {}", replica.acked_end()).expect("a string takes everything");
    }
    if advance.committed {
        write!(text, " committed {}", replica.high_watermark()).expect("a string takes everything");
    }
    if advance.readable {
        write!(text, " readable {}", replica.readable_end()).expect("a string takes everything");
    }
    if text.is_empty() { " nothing moved".into() } else { text }
}

impl Cluster {
    fn run(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words[0] == "at" {
            self.now = Timestamp(number(words[1]));
            return String::new();
        }
        let id = small(words[0]);
        let mut replica = self.replicas.remove(&id).unwrap_or_else(|| empty(BrokerId(id)));
        let output = match self.apply(&mut replica, &words[1..]) {
            Ok(output) if output.is_empty() => output,
            Ok(output) => format!("{id}: {}", output.trim()),
            Err(error) => format!("{id}: refused: {error}"),
        };
        self.replicas.insert(id, replica);
        output
    }

    fn other(&self, word: &str) -> &Replica {
        &self.replicas[&small(word)]
    }

    fn apply(&self, replica: &mut Replica, words: &[&str]) -> Result<String, ReplicaError> {
        match words[0] {
            "leads" | "elected" => self.elect(replica, words),
            "durable" => {
                replica.on_epoch_durable(epoch(words[1]));
                Ok(String::new())
            }
            "follows" => {
                let leader = Some(words[1]).filter(|word| *word != "-").map(|word| BrokerId(small(word)));
                let ack_policy = AckPolicy::WhenSynced;
                replica.become_follower(FollowerSettings { epoch: epoch(words[3]), leader, ack_policy })?;
                Ok(String::new())
            }
            "append" => append(replica, words),
            "sealed" => {
                let advance = replica.on_sealed(Offset(number(words[1])));
                Ok(moved(advance, replica))
            }
            "synced" => {
                let advance = replica.on_synced(Offset(number(words[1])));
                Ok(moved(advance, replica))
            }
            "start" => {
                let advance = replica.on_log_start(Offset(number(words[1])));
                Ok(moved(advance, replica))
            }
            "relaxed" => {
                let advance = replica.on_settings(AckPolicy::WhenAppended, 1);
                Ok(moved(advance, replica))
            }
            "strict" => {
                let advance = replica.on_settings(AckPolicy::WhenSynced, 1);
                Ok(moved(advance, replica))
            }
            "settles" => settles(replica, self.other(words[2])),
            "copies" => copies(replica, self.other(words[1]), Offset(number(words[3]))),
            "hears" => {
                let Some((end, epoch)) = self.other(words[1]).report() else {
                    return Ok("nothing to hear".into());
                };
                let advance = replica.on_follower_acked(self.now, BrokerId(small(words[1])), end, epoch)?;
                Ok(moved(advance, replica))
            }
            "told" => {
                let leader = self.other(words[1]);
                let advance = replica.on_leader_committed(leader.leader_epoch(), leader.high_watermark())?;
                Ok(moved(advance, replica))
            }
            "isr" => {
                let (all, isr) = (brokers(words[3]), brokers(words[1]));
                let advance = replica.on_isr_changed(self.now, replica.leader_epoch(), &all, &isr)?;
                Ok(moved(advance, replica))
            }
            "refused" => {
                let advance = replica.on_isr_refused(replica.leader_epoch())?;
                Ok(moved(advance, replica))
            }
            "plan" => Ok(plan(replica.plan_isr(self.now, number(words[1])))),
            "restarts" => {
                *replica = restarted(replica, Offset(number(words[2])));
                Ok(String::new())
            }
            _ => question(replica, words),
        }
    }

    fn elect(&self, replica: &mut Replica, words: &[&str]) -> Result<String, ReplicaError> {
        let ack_policy =
            if words.contains(&"relaxed") { AckPolicy::WhenAppended } else { AckPolicy::WhenSynced };
        let settings = LeaderSettings {
            epoch: epoch(words[1]),
            replicas: &brokers(after(words, "of").expect("of")),
            isr: &brokers(after(words, "isr").expect("isr")),
            min_insync_replicas: after(words, "min").map_or(1, |word| small(word).unsigned_abs() as usize),
            ack_policy,
        };
        let advance = replica.become_leader(self.now, &settings)?;
        if words[0] == "leads" {
            replica.on_epoch_durable(settings.epoch);
        }
        Ok(moved(advance, replica))
    }
}

fn empty(local: BrokerId) -> Replica {
    let zero = Offset(0);
    Replica::new(
        local,
        Recovered { log_start: zero, log_end: zero, high_watermark: zero, epochs: EpochHistory::default() },
    )
}

fn append(replica: &mut Replica, words: &[&str]) -> Result<String, ReplicaError> {
    let acks = match words[2] {
        "none" => Acks::None,
        "one" => Acks::Leader,
        "all" => Acks::All,
        other => panic!("not acks: {other}"),
    };
    replica.check_append(acks)?;
    let appended = replica.append(small(words[1]).unsigned_abs());
    let (base, epoch) = (appended.base_offset, appended.leader_epoch);
    Ok(format!("at {base} in {epoch}{}", moved(appended.advance, replica)))
}

fn settles(replica: &mut Replica, leader: &Replica) -> Result<String, ReplicaError> {
    let mut text = String::new();
    for _ in 0..100 {
        let answer = leader.epoch_end(replica.leader_epoch(), replica.divergence_question())?;
        match replica.settle(leader.leader_epoch(), answer)? {
            Divergence::Settled { end } if end == replica.log_end() => return Ok(text + " settled"),
            Divergence::Settled { end } => {
                replica.on_truncated(end, true);
                return Ok(format!("{text} cut at {end} settled"));
            }
            Divergence::AskAgain { end } => {
                replica.on_truncated(end, false);
                write!(text, " cut at {end}").expect("a string takes everything");
            }
            Divergence::Restart { at } => {
                replica.on_restarted_at(at);
                return Ok(format!("{text} restarted at {at}"));
            }
            Divergence::Unknown => return Ok(text + " unknown to the leader"),
        }
    }
    panic!("does not settle");
}

fn copies(replica: &mut Replica, leader: &Replica, end: Offset) -> Result<String, ReplicaError> {
    let mut text = String::new();
    while replica.log_end() < end {
        let from = replica.log_end();
        let batch_epoch = leader.epochs().epoch_at(from).expect("an epoch for each offset");
        let _ = replica.append_replicated(leader.leader_epoch(), from, 1, batch_epoch)?;
        let advance = replica.on_synced(replica.log_end());
        text = moved(advance, replica);
    }
    Ok(text)
}

fn restarted(replica: &Replica, end: Offset) -> Replica {
    let mut epochs = replica.epochs().clone();
    epochs.truncate(end.plus(1));
    let high_watermark = replica.log_start();
    let log_start = replica.log_start();
    Replica::new(replica.local, Recovered { log_start, log_end: end, high_watermark, epochs })
}

fn plan(change: Option<IsrChange>) -> String {
    let Some(change) = change else { return "no change".into() };
    let isr: Vec<String> = change.isr.iter().map(ToString::to_string).collect();
    format!("proposes {} in {}", isr.join(","), change.leader_epoch)
}

fn question(replica: &Replica, words: &[&str]) -> Result<String, ReplicaError> {
    let wanted = |name: &str| after(words, name).map_or(LeaderEpoch::UNKNOWN, epoch);
    match words[0] {
        "fetch" => {
            Ok(match replica.check_fetch(Offset(number(words[1])), wanted("epoch"), wanted("last"))? {
                FetchCheck::Read(at) => {
                    format!("reads {} to {}, hw {}", at.from, at.limit, at.high_watermark)
                }
                FetchCheck::Diverging(at) => format!("diverges: {} ends at {}", at.epoch, at.end),
            })
        }
        "latest" => Ok(format!("latest {}", replica.latest_offset(LeaderEpoch::UNKNOWN)?)),
        "end-of" => Ok(match replica.epoch_end(LeaderEpoch::UNKNOWN, epoch(words[1]))? {
            Some(found) => format!("{} ends at {}", found.epoch, found.end),
            None => "unknown".into(),
        }),
        "delete" => {
            let wish = (words[1] != "all").then(|| Offset(number(words[1])));
            Ok(format!("start at {}", replica.check_delete_records(wish)?))
        }
        "is" => {
            let epochs: Vec<String> =
                replica.epochs().entries().iter().map(|at| format!("{}@{}", at.epoch, at.start)).collect();
            let (start, end) = (replica.log_start(), replica.log_end());
            let (synced, committed) = (replica.synced_end(), replica.high_watermark());
            Ok(format!("{start}..{end} synced {synced} hw {committed} epochs {}", epochs.join(" ")))
        }
        other => panic!("not a command: {other}"),
    }
}
