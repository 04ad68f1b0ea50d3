//! Modes with one broker and one workload.

use anyhow::bail;

use super::options;
use super::session::{Roles, Session};
use crate::cli::{ConsumeArgs, LoadArgs};
use crate::report::Report;
use crate::target::Kind;
use crate::workload::Workload;

/// What a consume run drains unless told otherwise.
const BACKLOG_BYTES: u64 = 512 << 20;

/// The broker that the command line names, or one of our own.
pub fn kind(arguments: &LoadArgs) -> Kind {
    arguments.target.bootstrap.clone().map_or(Kind::Iolite, Kind::Running)
}

/// The name of a broker in a report.
pub fn name_of(kind: &Kind) -> String {
    match kind {
        Kind::Iolite => "iolite".to_owned(),
        Kind::Kafka => "kafka".to_owned(),
        Kind::Tansu => "tansu".to_owned(),
        Kind::Running(bootstrap) => bootstrap.clone(),
    }
}

/// Producers alone.
pub fn produce(arguments: &LoadArgs) -> anyhow::Result<Report> {
    let workload = options::workload(arguments)?;
    run("produce", arguments, workload, Roles { produce: true, tail: false, drain: false })
}

/// Readers of a backlog alone; or readers at the end of a log, beside the producers that they need.
pub fn consume(arguments: &ConsumeArgs) -> anyhow::Result<Report> {
    let ConsumeArgs { load: arguments, tail } = arguments;
    let mut workload = options::workload(arguments)?;
    if *tail {
        for stream in &mut workload.streams {
            stream.groups = stream.groups.max(1);
        }
        return run("consume-tail", arguments, workload, Roles { produce: true, tail: true, drain: false });
    }
    for stream in &mut workload.streams {
        if stream.backlog_bytes == 0 {
            stream.backlog_bytes = BACKLOG_BYTES;
        }
    }
    run("consume", arguments, workload, Roles { produce: false, tail: false, drain: true })
}

/// Producers, and at least one group that follows each stream.
pub fn end_to_end(arguments: &LoadArgs) -> anyhow::Result<Report> {
    let mut workload = options::workload(arguments)?;
    for stream in &mut workload.streams {
        stream.groups = stream.groups.max(1);
    }
    run("end-to-end", arguments, workload, Roles { produce: true, tail: true, drain: false })
}

/// Everything at once.
pub fn mixed(arguments: &LoadArgs) -> anyhow::Result<Report> {
    let workload = options::workload(arguments)?;
    if workload.streams.iter().all(|stream| stream.groups == 0 && stream.catch_up_readers == 0) {
        bail!(
            "workload {:?} has no readers to mix with its producers; try --workload catch-up-under-load",
            workload.name
        );
    }
    run("mixed", arguments, workload, Roles { produce: true, tail: true, drain: true })
}

fn run(mode: &str, arguments: &LoadArgs, workload: Workload, roles: Roles) -> anyhow::Result<Report> {
    let kind = kind(arguments);
    let name = name_of(&kind);
    let mut session = Session::open(mode, arguments, &[kind])?;
    let outcome = rounds(&mut session, mode, &name, arguments.rounds, workload, roles);
    session.end(outcome)
}

fn rounds(
    session: &mut Session,
    mode: &str,
    name: &str,
    rounds: u32,
    workload: Workload,
    roles: Roles,
) -> anyhow::Result<()> {
    let entry = session.prepare(name, 0, workload, roles)?;
    for round in 1..=rounds {
        if !session.round(entry, &format!("{mode} {round}/{rounds}"))? {
            break;
        }
    }
    Ok(())
}
