//! Contenders in turn: each that is started here is a process of its own, each round begins with another, and each turn has topics
//! of its own, and waits for the disk to have written what the turns before it left behind. What turns wrote is checked and deleted while
//! the rounds go on.

use std::time::Duration;

use super::session::Session;
use crate::cli::Flush;
use crate::target::Kind;
use crate::workload::Workload;

/// The brokers to open, and which of them each contender has: a process of its own where it is started here, since what one leaves
/// behind is not the other's; one that runs already is there once, however often it takes part.
pub fn targets<'a>(contenders: impl IntoIterator<Item = &'a Kind>) -> (Vec<Kind>, Vec<usize>) {
    let mut kinds: Vec<Kind> = Vec::new();
    let mut targets = Vec::new();
    for kind in contenders {
        let is_running = matches!(kind, Kind::Running(_));
        let known = kinds.iter().position(|other| is_running && other == kind);
        targets.push(known.unwrap_or(kinds.len()));
        if known.is_none() {
            kinds.push(kind.clone());
        }
    }
    (kinds, targets)
}

/// All rounds of these entries, in turn. False when the session is to end.
pub fn run(
    session: &mut Session,
    rounds: u32,
    settle_max: Duration,
    entries: &[(usize, String)],
) -> anyhow::Result<bool> {
    for round in 1..=rounds {
        for place in order(round, entries.len()) {
            let (entry, name) = &entries[place];
            session.begin_turn(*entry)?;
            session.settle_before(*entry, settle_max)?;
            let is_whole = session.round(*entry, &format!("{name} {round}/{rounds}"))?;
            if !is_whole || !session.end_turn(*entry) {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// In which order so many contenders take this round (the first is 1): each time another begins, so that none always
/// follows the same one.
pub fn order(round: u32, count: usize) -> impl Iterator<Item = usize> {
    let first = usize::try_from(round - 1).expect("a bounded number of rounds");
    (0..count).map(move |place| (first + place) % count)
}

/// The same load on topics that are flushed so.
pub fn flushed(workload: &Workload, flush: Flush) -> Workload {
    let mut own = workload.clone();
    if let Some(flush) = flush.config() {
        for stream in &mut own.streams {
            stream.topic_config.insert("flush.messages".into(), flush.into());
        }
    }
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_begins_with_another_contender() {
        let order = |round| order(round, 3).collect::<Vec<_>>();
        assert_eq!([order(1), order(2), order(3), order(4)], [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }

    #[test]
    fn who_is_started_here_is_started_for_itself() {
        let running = |name: &str| Kind::Running(name.to_owned());
        let contenders = [
            Kind::Iolite,
            Kind::Iolite,
            running("host:1"),
            Kind::Kafka,
            running("host:1"),
            running("host:2"),
        ];
        let (kinds, targets) = targets(&contenders);
        assert_eq!(targets, [0, 1, 2, 3, 2, 4]);
        assert_eq!(kinds.len(), 5);
    }
}
