//! The same load under every choice of acks and flushing, round by round in turn, each choice with a broker of its own.

use super::session::{Roles, Session};
use super::{options, plain, turns};
use crate::cli::{Flush, TradeoffArgs};
use crate::report::Report;
use crate::workload::{Acks, Workload};

const CHOICES: [(&str, Acks, Flush); 6] = [
    ("acks all, synced", Acks::All, Flush::Synced),
    ("acks all, relaxed", Acks::All, Flush::Relaxed),
    ("acks 1, synced", Acks::Leader, Flush::Synced),
    ("acks 1, relaxed", Acks::Leader, Flush::Relaxed),
    ("acks 0, synced", Acks::None, Flush::Synced),
    ("acks 0, relaxed", Acks::None, Flush::Relaxed),
];

/// Runs it.
pub fn run(arguments: &TradeoffArgs) -> anyhow::Result<Report> {
    let workload = options::workload(&arguments.load)?;
    let kind = plain::kind(&arguments.load);
    let (kinds, targets) = turns::targets(CHOICES.iter().map(|_| &kind));
    let mut session = Session::open("tradeoff", &arguments.load, &kinds)?;
    let outcome = rounds(&mut session, arguments, &workload, &targets);
    session.end(outcome)
}

fn rounds(
    session: &mut Session,
    arguments: &TradeoffArgs,
    workload: &Workload,
    targets: &[usize],
) -> anyhow::Result<()> {
    let roles = Roles { produce: true, tail: false, drain: false };
    let mut entries = Vec::new();
    for ((name, acks, flush), target) in CHOICES.into_iter().zip(targets) {
        let mut chosen = turns::flushed(workload, flush);
        for stream in &mut chosen.streams {
            stream.acks = acks;
            stream.idempotent &= acks == Acks::All;
        }
        entries.push((session.prepare(name, *target, chosen, roles)?, name.to_owned()));
    }
    turns::run(session, arguments.load.rounds, arguments.turns.settle_max, &entries)?;
    Ok(())
}
