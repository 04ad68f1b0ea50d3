//! Brokers in turn: each round of one is followed by a round of the next, and another begins each time, so that what drifts
//! drifts for all.

use anyhow::bail;

use super::scenario::Scenario;
use super::session::{Roles, Session};
use super::{options, turns};
use crate::cli::{CompareArgs, Flush};
use crate::report::{OwnMaximum, Report};
use crate::target::Kind;
use crate::workload::Workload;

/// One that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    name: String,
    kind: Kind,
    flush: Flush,
}

/// Runs it.
pub fn run(arguments: &CompareArgs) -> anyhow::Result<Report> {
    let load = &arguments.load;
    let mut workload = options::workload(load)?;
    let parts = parts(arguments)?;
    if !arguments.own_maximum.is_empty() && workload.streams.iter().any(|stream| stream.rate.is_some()) {
        bail!(
            "--own-maximum: what workload {:?} asks for is a rate, and no maximum; go as fast as it goes (--in-flight N, or --workload \
             batched-saturated)",
            workload.name
        );
    }
    let (kinds, targets) = turns::targets(parts.iter().map(|part| &part.kind));
    let roles = arguments.scenario.prepare(&mut workload)?;
    if !roles.produce && !arguments.own_maximum.is_empty() {
        bail!("--own-maximum: nothing is produced at any rate in scenario {}", arguments.scenario.mode());
    }
    let mode = match arguments.scenario {
        Scenario::Produce => "compare".to_owned(),
        other => format!("compare-{}", other.mode()),
    };
    let mut session = Session::open(&mode, load, &kinds)?;
    let outcome = rounds(&mut session, arguments, (&workload, roles), &parts, &targets);
    session.end(outcome)
}

fn rounds(
    session: &mut Session,
    arguments: &CompareArgs,
    (workload, roles): (&Workload, Roles),
    parts: &[Part],
    targets: &[usize],
) -> anyhow::Result<()> {
    let mut contenders = Vec::new();
    for (part, target) in parts.iter().zip(targets) {
        let own = turns::flushed(workload, part.flush);
        contenders.push((session.prepare(&part.name, *target, own, roles)?, part.name.clone()));
    }
    let (rounds, settle_max) = (arguments.load.rounds, arguments.turns.settle_max);
    if !turns::run(session, rounds, settle_max, &contenders)? {
        return Ok(());
    }
    let mut percentages = arguments.own_maximum.clone();
    percentages.sort_unstable();
    percentages.dedup();
    for percent in percentages {
        let mut slower = Vec::new();
        for ((part, target), (fastest, name)) in parts.iter().zip(targets).zip(&contenders) {
            let most = session.median_rates(*fastest);
            if most.contains(&0.0) {
                session
                    .report
                    .note(format!("{name}: nothing was acknowledged as fast as it goes: it has no maximum"));
                continue;
            }
            let own = at_part_of(&turns::flushed(workload, part.flush), &most, percent);
            let name = format!("{name} at {percent} %");
            let entry = session.prepare(&name, *target, own, roles)?;
            session.set_own_maximum(entry, OwnMaximum { percent, most_per_second: most.iter().sum() });
            slower.push((entry, name));
        }
        if !turns::run(session, rounds, settle_max, &slower)? {
            return Ok(());
        }
    }
    Ok(())
}

/// The same in an open loop: each stream at so many percent of its own most.
fn at_part_of(workload: &Workload, most_per_second: &[f64], percent: u32) -> Workload {
    let mut slower = workload.clone();
    for (stream, most) in slower.streams.iter_mut().zip(most_per_second) {
        (stream.rate, stream.in_flight) = (Some(most * f64::from(percent) / 100.0), None);
    }
    slower
}

fn parts(arguments: &CompareArgs) -> anyhow::Result<Vec<Part>> {
    if let Some(peer) = &arguments.peer {
        let part = |name: &str, kind: Kind, flush| Part { name: name.to_owned(), kind, flush };
        let own = [
            part("iolite, synced", Kind::Iolite, Flush::Synced),
            part("iolite, relaxed", Kind::Iolite, Flush::Relaxed),
        ];
        let beside = match peer.as_str() {
            "kafka" => vec![
                part("kafka, synced", Kind::Kafka, Flush::Synced),
                part("kafka, relaxed", Kind::Kafka, Flush::Relaxed),
            ],
            "tansu" => vec![part("tansu, in memory", Kind::Tansu, Flush::Default)],
            other => bail!(
                "--peer {other}: kafka and tansu are started here; name a running broker with --target HOST:PORT"
            ),
        };
        return Ok(own.into_iter().chain(beside).collect());
    }
    let parts = arguments.target.iter().map(|text| part(text)).collect::<anyhow::Result<Vec<_>>>()?;
    if parts.len() < 2 {
        bail!(
            "a comparison needs two: --peer kafka, or --target twice (for example --target iolite --target iolite,relaxed)"
        );
    }
    if let Some(twice) =
        parts.iter().enumerate().find(|(at, part)| parts[..*at].iter().any(|other| other.name == part.name))
    {
        bail!("two of the targets are called {:?}; name them: --target NAME=BROKER", twice.1.name);
    }
    Ok(parts)
}

/// `[NAME=]BROKER[,FLUSH]`.
fn part(text: &str) -> anyhow::Result<Part> {
    let (name, rest) = match text.split_once('=') {
        Some((name, rest)) => (Some(name), rest),
        None => (None, text),
    };
    let (broker, flush) = match rest.split_once(',') {
        Some((broker, "synced")) => (broker, Flush::Synced),
        Some((broker, "relaxed")) => (broker, Flush::Relaxed),
        Some((broker, "default")) => (broker, Flush::Default),
        Some((_, other)) => bail!("--target {text}: {other:?} can be synced, relaxed or default"),
        None => (rest, Flush::Default),
    };
    let kind = broker_named(broker)?;
    if kind == Kind::Tansu && flush != Flush::Default {
        bail!(
            "--target {text}: tansu has its records in its memory, where they are neither synced nor relaxed"
        );
    }
    Ok(Part { name: name.unwrap_or(rest).to_owned(), kind, flush })
}

/// iolite, kafka, tansu or `HOST:PORT`.
pub fn broker_named(text: &str) -> anyhow::Result<Kind> {
    match text {
        "iolite" => Ok(Kind::Iolite),
        "kafka" => Ok(Kind::Kafka),
        "tansu" => Ok(Kind::Tansu),
        other if other.contains(':') => Ok(Kind::Running(other.to_owned())),
        other => bail!("{other:?} is no broker: it can be iolite, kafka, tansu or HOST:PORT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_has_its_part_of_its_own_most() {
        let workload = crate::workload::find("batched-saturated").expect("it is built in");
        let mut two = workload.clone();
        two.streams.push(workload.streams[0].clone());
        let slower = at_part_of(&two, &[1_000.0, 30.0], 10);
        let paces: Vec<_> = slower.streams.iter().map(|stream| (stream.rate, stream.in_flight)).collect();
        assert_eq!(paces, [(Some(100.0), None), (Some(3.0), None)]);
    }

    #[test]
    fn a_target_has_a_name_a_broker_and_a_way_to_flush() {
        let told = part("mine=host:9092,relaxed").expect("it is one");
        let expected =
            Part { name: "mine".into(), kind: Kind::Running("host:9092".into()), flush: Flush::Relaxed };
        assert_eq!(told, expected);
        assert_eq!(part("kafka").expect("it is one").name, "kafka");
        assert_eq!(part("tansu").expect("it is one").kind, Kind::Tansu);
        assert_eq!(part("iolite,synced").expect("it is one").name, "iolite,synced");
        assert!(part("iolite,sometimes").is_err());
        assert!(part("redpanda").is_err());
        assert_eq!(part("tansu,default").expect("it is one").flush, Flush::Default);
        assert!(part("tansu,synced").is_err(), "it would be called so, and is not");
        assert!(part("memory=tansu,relaxed").is_err());
    }
}
