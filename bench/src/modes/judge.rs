//! What a report says of its own figures: rates that were missed, a generator that was the limit, others at work on the machine.

use crate::measure::{grouped, rounded};
use crate::report::{GENERATOR_BUSY, Report, Round, Settled, Status};
use crate::target::Counters;
use crate::workload::Workload;

/// Nobody waits so long for a generator that is late by less.
const LATE_US: f64 = 1_000.0;
/// Nor where it is less than this share of the latency.
const LATE_SHARE: f64 = 0.2;
/// Of the whole machine, beyond which others disturb what is measured.
const OTHERS_SHARE: f64 = 0.1;

/// Says which rates were not reached.
pub fn rates(report: &mut Report, name: &str, round: &Round) {
    let is_busy = round.generator_busy >= GENERATOR_BUSY;
    for (stream, asked) in round.missed() {
        let limit = if is_busy { "the generator" } else { "the broker (or its acks)" };
        let told = format!(
            "{name}: {} asked for {} records/s, {} were acknowledged: {limit} was the limit",
            stream.name,
            rounded(asked),
            rounded(stream.acked_per_second)
        );
        let unsent = match stream.unsent {
            0 => String::new(),
            unsent => format!("; {} that were due never left, and have no latency", grouped(unsent)),
        };
        let told = format!("{told}{unsent}");
        miss(report, told);
    }
    for (stream, asked) in round.overrun() {
        let told = format!(
            "{name}: {} asked for {} records/s, {} were acknowledged: what was due before came in while it was measured; the rate \
             may not have been carried all the time, and costs are of more records than were asked for",
            stream.name,
            rounded(asked),
            rounded(stream.acked_per_second)
        );
        miss(report, told);
    }
}

/// A sweep looks for the rate that is missed.
fn miss(report: &mut Report, told: String) {
    if report.mode == "sweep" { report.note(told) } else { report.problem(Status::RateMissed, told) }
}

/// Says whose readers at the end of a log fell behind what came in: their latency grows as long as the round does.
pub fn readers(report: &mut Report, name: &str, round: &Round, workload: &Workload) {
    let is_busy = round.generator_busy >= GENERATOR_BUSY;
    for (stream, wanted) in round.fallen_behind(workload) {
        let limit = if is_busy { "the generator" } else { "the broker" };
        let told = format!(
            "{name}: readers of {} fell behind: {} records/s of {} that came in for them were read; {limit} was the limit",
            stream.name,
            rounded(stream.read_per_second),
            rounded(wanted)
        );
        // Only where reading is what is measured.
        if report.mode == "consume-tail" {
            report.problem(Status::RateMissed, told)
        } else {
            report.note(told)
        }
    }
}

/// Says when what a broker tells of itself was not to be had at one of a round's ends. Metrics that are another broker's, with
/// other names, were read all the same.
pub fn broker_side(report: &mut Report, name: &str, before: &Counters, after: &Counters) {
    let ends = [(before, "before"), (after, "after")];
    for (_, end) in ends.iter().filter(|(counters, _)| counters.is_unread) {
        report.note(format!(
            "{name}: its metrics could not be read {end} a round, which lacks the broker's side"
        ));
    }
}

/// Says how much of the figures is the generator's.
pub fn generator(report: &mut Report, name: &str, rounds: &[Round]) {
    let busy = rounds.iter().map(|round| round.generator_busy).fold(0.0, f64::max);
    if busy >= GENERATOR_BUSY {
        report.note(format!(
            "{name}: the generator, not the broker, was the limit: its thread was busy {:.0} % of the time; give the load \
             more cores (--load-cores)",
            busy * 100.0
        ));
    }
    let streams = rounds.iter().flat_map(|round| &round.streams);
    let late = streams.filter_map(|stream| {
        let late = stream.lateness.get("p99")?;
        let share = late / stream.acks.get("p99")?;
        (late > LATE_US && share > LATE_SHARE).then_some((stream, late))
    });
    if let Some((stream, late)) = late.max_by(|one, other| one.1.total_cmp(&other.1)) {
        report.note(format!(
            "{name}: in the worst round, records of {} were handed on up to {:.1} ms late (p99): that part of their \
             latency is the generator's, or back-pressure",
            stream.name,
            late / 1e3
        ));
    }
}

/// Says when somebody else was at work on the machine, or on the one that it is a part of.
pub fn others(report: &mut Report, name: &str, rounds: &[Round]) {
    let cores = report.machine.cores as f64;
    let share = |round: &Round, seconds: f64| seconds / (round.seconds.max(1e-9) * cores);
    let stolen = rounds.iter().map(|round| share(round, round.stolen_seconds)).fold(0.0, f64::max);
    if stolen > OTHERS_SHARE {
        report.note(format!(
            "{name}: the host took {:.0} % of the machine away in the worst round: its figures are disturbed",
            stolen * 100.0
        ));
    }
    let others = |round: &Round| Some(share(round, round.others_busy_seconds?));
    let most = rounds.iter().filter_map(others).fold(0.0, f64::max);
    if most > OTHERS_SHARE {
        report.note(format!(
            "{name}: others than this broker and the generator kept {:.0} % of the machine busy in the worst round: its figures \
             are disturbed",
            most * 100.0
        ));
    }
}

/// Says how the disk came to rest between turns, and where it did not. Only where all brokers were started here is it their disk
/// that was watched, and their page cache that was written to it first.
pub fn settling(report: &mut Report, is_all_started: bool) {
    let rounds = report.contenders.iter().flat_map(|contender| &contender.rounds);
    let settled: Vec<Settled> = rounds.filter_map(|round| round.settled).collect();
    let longest = settled.iter().map(|settled| settled.seconds).fold(0.0, f64::max);
    let restless = settled.iter().filter(|settled| !settled.is_quiet).count();
    let turns = settled.len();
    if turns == 0 {
        return;
    }
    let quiet = match is_all_started {
        true => "nobody paid for another's writes",
        false => {
            "of a broker that ran already nothing was written to its disk first, and only this machine's disks were watched"
        }
    };
    report.note(match restless {
        0 => format!("before each of {turns} turns the disk was quiet, after {longest:.1} s at most: {quiet}"),
        _ => format!(
            "before {restless} of {turns} turns the disk was not quiet, although {longest:.1} s were waited: those turns may have \
             paid for the writes of others"
        ),
    });
}

#[cfg(test)]
mod tests;
