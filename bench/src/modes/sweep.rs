//! The rate goes up step by step until rate or latency is missed, then closes in on the highest that keeps both.

use anyhow::bail;

use super::session::{Roles, Session};
use super::{compare, options, plain};
use crate::cli::SweepArgs;
use crate::limits::RATE_MAX;
use crate::report::{Report, Round, SweepStep};
use crate::target::Kind;

/// Where the workload names no rate to begin from.
const FIRST_RATE: f64 = 1_000.0;
/// Halvings between the last rate that was kept and the first that was not.
const CLOSING_STEPS: u32 = 3;

/// Runs it.
pub fn run(arguments: &SweepArgs) -> anyhow::Result<Report> {
    let workload = options::workload(&arguments.load)?;
    if !(1.01..=100.0).contains(&arguments.factor) {
        bail!("--factor {}: it can be 1.01 to 100", arguments.factor);
    }
    let first = arguments.from.or_else(|| workload.rate().map(|rate| rate / 10.0)).unwrap_or(FIRST_RATE);
    if !(first > 0.0 && first <= RATE_MAX) {
        bail!("--from {first}: it can be above 0 and up to {RATE_MAX} records a second");
    }
    let mut kinds = arguments
        .target
        .iter()
        .map(|text| compare::broker_named(text))
        .collect::<anyhow::Result<Vec<Kind>>>()?;
    if kinds.is_empty() {
        kinds.push(plain::kind(&arguments.load));
    }
    let mut session = Session::open("sweep", &arguments.load, &kinds)?;
    session.report.objective_p99_us = Some(arguments.p99_ms * 1e3);
    let roles = Roles { produce: true, tail: false, drain: false };
    let mut climb_all = || {
        for (target, kind) in kinds.iter().enumerate() {
            let name = plain::name_of(kind);
            let entry = session.prepare(&name, target, workload.clone(), roles)?;
            if !climb(&mut session, entry, &name, first, arguments)? {
                break;
            }
        }
        Ok(())
    };
    let outcome = climb_all();
    session.report.sweep.sort_by(|one, other| {
        one.contender.cmp(&other.contender).then(one.asked_per_second.total_cmp(&other.asked_per_second))
    });
    session.end(outcome)
}

/// False when the session is to end.
fn climb(
    session: &mut Session,
    entry: usize,
    name: &str,
    first: f64,
    arguments: &SweepArgs,
) -> anyhow::Result<bool> {
    let (mut kept, mut missed, mut rate) = (None, None, first);
    let mut closing = 0;
    for _ in 0..arguments.steps {
        let label = format!("{name} at {rate:.0}/s");
        session.set_rate(entry, rate);
        let goes_on = session.round(entry, &label)?;
        let Some(round) = session.last_round(entry) else { return Ok(goes_on) };
        let step = step(name, round, arguments.p99_ms * 1e3);
        let is_kept = step.is_kept;
        session.report.sweep.push(step);
        if !goes_on {
            return Ok(false);
        }
        let bound = if is_kept { &mut kept } else { &mut missed };
        *bound = Some(rate);
        rate = match (kept, missed) {
            (Some(kept), Some(missed)) if closing < CLOSING_STEPS => {
                closing += 1;
                f64::midpoint(kept, missed)
            }
            (Some(kept), None) if kept * arguments.factor <= RATE_MAX => kept * arguments.factor,
            _ => break,
        };
    }
    Ok(true)
}

fn step(name: &str, round: &Round, objective_us: f64) -> SweepStep {
    let asked = round.streams.iter().filter_map(|stream| stream.asked_per_second).sum();
    let acked = round.streams.iter().map(|stream| stream.acked_per_second).sum();
    // With several streams the slowest one counts.
    let slowest = |name: &str| {
        let values = round.streams.iter().filter_map(|stream| stream.acks.get(name));
        values.fold(None, |most: Option<f64>, value| Some(most.map_or(value, |most| most.max(value))))
    };
    let p99_us = slowest("p99");
    SweepStep {
        contender: name.to_owned(),
        asked_per_second: asked,
        acked_per_second: acked,
        p50_us: slowest("p50"),
        p99_us,
        p999_us: slowest("p99.9"),
        max_us: round.streams.iter().map(|stream| stream.acks.max_us).fold(0.0, f64::max),
        generator_busy: round.generator_busy,
        is_kept: round.missed().next().is_none() && p99_us.is_some_and(|p99| p99 <= objective_us),
    }
}
