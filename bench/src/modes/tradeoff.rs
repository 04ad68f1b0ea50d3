//! The same load under every choice of acks and flushing, round by round in turn.

use super::session::{Roles, Session};
use super::{in_turn, options, plain};
use crate::cli::{Flush, LoadArgs};
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
pub fn run(arguments: &LoadArgs) -> anyhow::Result<Report> {
    let workload = options::workload(arguments)?;
    let mut session = Session::open("tradeoff", arguments, &[plain::kind(arguments)])?;
    let outcome = rounds(&mut session, arguments, &workload);
    session.end(outcome)
}

fn rounds(session: &mut Session, arguments: &LoadArgs, workload: &Workload) -> anyhow::Result<()> {
    let roles = Roles { produce: true, tail: false, drain: false };
    for (name, acks, flush) in CHOICES {
        let mut chosen = workload.clone();
        for stream in &mut chosen.streams {
            stream.acks = acks;
            stream.idempotent &= acks == Acks::All;
            let config = flush.config().expect("each choice says how it flushes");
            stream.topic_config.insert("flush.messages".into(), config.into());
        }
        session.prepare(name, 0, chosen, roles)?;
    }
    for round in 1..=arguments.rounds {
        for entry in in_turn(round, CHOICES.len()) {
            let label = format!("{} {round}/{}", CHOICES[entry].0, arguments.rounds);
            if !session.round(entry, &label)? {
                return Ok(());
            }
        }
    }
    Ok(())
}
