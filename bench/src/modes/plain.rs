//! Modes with one broker and one workload.

use super::options;
use super::scenario::Scenario;
use super::session::{Roles, Session};
use crate::cli::{ConsumeArgs, LoadArgs};
use crate::report::Report;
use crate::target::Kind;
use crate::workload::Workload;

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

/// Readers of a backlog; or, with `--tail`, at the end of a log.
pub fn consume(arguments: &ConsumeArgs) -> anyhow::Result<Report> {
    run(if arguments.tail { Scenario::Tail } else { Scenario::Consume }, &arguments.load)
}

/// One scenario, round by round.
pub fn run(scenario: Scenario, arguments: &LoadArgs) -> anyhow::Result<Report> {
    let mut workload = options::workload(arguments)?;
    let roles = scenario.prepare(&mut workload)?;
    let kind = kind(arguments);
    let name = name_of(&kind);
    let mut session = Session::open(scenario.mode(), arguments, &[kind])?;
    let outcome = rounds(&mut session, scenario.mode(), &name, arguments.rounds, workload, roles);
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
