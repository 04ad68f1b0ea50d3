//! The same load with compaction and retention at work, and with neither, round by round in turn: what cleaning up costs
//! those who produce.
//!
//! Each has a broker of its own: what is still in the journal when a round ends is cleaned up in a later round of the same kind, and
//! in no other. A round with neither begins when the other broker has done what the round before has left to clean up. A run in
//! which nothing was cleaned up where something should have been is partial: it compares nothing.

use anyhow::bail;

use super::session::{Roles, Session};
use super::{options, plain, turns};
use crate::cli::LoadArgs;
use crate::report::{CleanedUp, Report, Status};
use crate::target::Kind;
use crate::workload::{Stream, Workload};

const WITH: &str = "with cleanup";
const WITHOUT: &str = "without";
/// Configs of topics that keep everything.
const KEEP_ALL: [(&str, &str); 3] =
    [("cleanup.policy", "delete"), ("retention.bytes", "-1"), ("retention.ms", "-1")];
/// Of a broker that is started: it cleans up often and a little, and is seen to be done with it soon.
const SETTINGS: [(&str, &str); 2] =
    [("log.cleaner.backoff.ms", "500"), ("log.retention.check.interval.ms", "500")];

/// Runs it.
pub fn run(arguments: &LoadArgs) -> anyhow::Result<Report> {
    let mut arguments = arguments.clone();
    let workload = options::workload(&arguments)?;
    let is_cleaned =
        workload.streams.iter().any(|stream| stream.is_compacted() || is_cut_by_retention(stream));
    if !is_cleaned {
        bail!("workload {:?} has no topics to clean up; try --workload cleanup", workload.name);
    }
    let given = arguments.target.settings.clone();
    let missing = SETTINGS.iter().filter(|(key, _)| !given.iter().any(|one| one.starts_with(key)));
    arguments.target.settings.extend(missing.map(|(key, value)| format!("{key}={value}")));
    let kind = plain::kind(&arguments);
    if matches!(kind, Kind::Running(_)) {
        bail!("each kind of round needs a broker of its own, which is started here: leave out --bootstrap");
    }
    let mut session = Session::open("cleanup", &arguments, &[kind.clone(), kind])?;
    let outcome = rounds(&mut session, &arguments, &workload);
    session.end(outcome)
}

fn rounds(session: &mut Session, arguments: &LoadArgs, workload: &Workload) -> anyhow::Result<()> {
    let roles = Roles { produce: true, tail: true, drain: false };
    let without = session.prepare(WITHOUT, 0, keeping_all(workload), roles)?;
    let with = session.prepare(WITH, 1, workload.clone(), roles)?;
    for round in 1..=arguments.rounds {
        for entry in turns::order(round, 2) {
            if entry == without {
                session.settle(with)?;
            }
            let name = if entry == with { WITH } else { WITHOUT };
            if !session.round(entry, &format!("{name} {round}/{}", arguments.rounds))? {
                return Ok(());
            }
            if entry == without
                && session.last_round(without).is_some_and(|round| round.broker.has_cleaned_up())
            {
                let told = format!("round {round} without was not: the broker was still cleaning up");
                session.report.problem(Status::Partial, told);
            }
        }
    }
    session.await_cleanup(without, |_| true)?;
    session.await_cleanup(with, |done| is_all_cleaned(workload, done))
}

fn is_cut_by_retention(stream: &Stream) -> bool {
    stream.topic_config.keys().any(|name| name.starts_with("retention."))
}

/// Whether something was done of each kind of cleaning up that a workload's topics ask for.
fn is_all_cleaned(workload: &Workload, done: &CleanedUp) -> bool {
    let is_compacted = workload.streams.iter().any(Stream::is_compacted);
    let is_cut = workload.streams.iter().any(is_cut_by_retention);
    (done.compacted_bytes > 0 || !is_compacted) && (done.deleted_segments > 0 || !is_cut)
}

fn keeping_all(workload: &Workload) -> Workload {
    let mut workload = workload.clone();
    for stream in &mut workload.streams {
        for (name, value) in KEEP_ALL {
            stream.topic_config.insert(name.into(), value.into());
        }
    }
    workload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    #[test]
    fn a_run_is_whole_when_all_was_done_that_its_topics_ask_for() {
        let both = workload::find("cleanup").expect("it is built in");
        let compacted = {
            let mut workload = both.clone();
            workload.streams.retain(Stream::is_compacted);
            workload
        };
        let done = |compacted_bytes, deleted_segments| CleanedUp { compacted_bytes, deleted_segments };
        for (done, of_both, of_compacted) in [
            (done(0, 0), false, false),
            (done(1, 0), false, true),
            (done(0, 1), false, false),
            (done(1, 1), true, true),
        ] {
            assert_eq!(is_all_cleaned(&both, &done), of_both, "{done:?}");
            assert_eq!(is_all_cleaned(&compacted, &done), of_compacted, "{done:?}");
        }
    }

    #[test]
    fn the_same_load_keeps_everything() {
        let with = workload::find("cleanup").expect("it is built in");
        assert!(with.streams.iter().any(|stream| stream.is_compacted()));
        let without = keeping_all(&with);
        for (before, after) in with.streams.iter().zip(&without.streams) {
            assert!(!after.is_compacted());
            assert_eq!(after.topic_config["retention.bytes"], "-1");
            let topic_config = before.topic_config.clone();
            assert_eq!(*before, workload::Stream { topic_config, ..after.clone() }, "but for that, alike");
        }
    }
}
