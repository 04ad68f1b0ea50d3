//! What is done with a broker under a workload: which of the workload's producers and readers take part.

use anyhow::bail;
use clap::ValueEnum;

use super::session::Roles;
use crate::workload::Workload;

/// What a run drains unless the workload says so.
const BACKLOG_BYTES: u64 = 512 << 20;

/// Who takes part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Producers alone.
    #[default]
    Produce,
    /// Readers of a backlog alone.
    Consume,
    /// Readers at the end of a log, beside the producers that they need: what they read is what it is about.
    #[value(skip)]
    Tail,
    /// Producers, and at least one group that follows each stream.
    EndToEnd,
    /// All that the workload has at the same time: producers, groups that follow, readers that catch up.
    Mixed,
}

impl Scenario {
    /// The mode that does this with one broker.
    pub fn mode(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Consume => "consume",
            Self::Tail => "consume-tail",
            Self::EndToEnd => "end-to-end",
            Self::Mixed => "mixed",
        }
    }

    /// Gives a workload the readers that this takes.
    ///
    /// # Errors
    /// In words, where it has none, and only its author can say which.
    pub fn prepare(self, workload: &mut Workload) -> anyhow::Result<Roles> {
        match self {
            Self::Produce => Ok(Roles { produce: true, tail: false, drain: false }),
            Self::Consume => {
                for stream in workload.streams.iter_mut().filter(|stream| stream.backlog_bytes == 0) {
                    stream.backlog_bytes = BACKLOG_BYTES;
                }
                Ok(Roles { produce: false, tail: false, drain: true })
            }
            Self::Tail | Self::EndToEnd => {
                workload.streams.iter_mut().for_each(|stream| stream.groups = stream.groups.max(1));
                Ok(Roles { produce: true, tail: true, drain: false })
            }
            Self::Mixed => {
                if workload.streams.iter().all(|stream| stream.groups == 0 && stream.catch_up_readers == 0) {
                    bail!(
                        "workload {:?} has no readers to mix with its producers; try --workload catch-up-under-load",
                        workload.name
                    );
                }
                Ok(Roles { produce: true, tail: true, drain: true })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    #[test]
    fn each_gives_a_workload_the_readers_that_it_takes() {
        let mut plain = workload::find("batched-saturated").expect("it is built in");
        plain.streams[0].groups = 0;
        let readers = |scenario: Scenario| {
            let mut workload = plain.clone();
            scenario
                .prepare(&mut workload)
                .map(|roles| (roles, workload.streams[0].groups, workload.streams[0].backlog_bytes))
        };
        let roles = |produce, tail, drain| Roles { produce, tail, drain };
        assert_eq!(readers(Scenario::Produce).expect("it can"), (roles(true, false, false), 0, 0));
        assert_eq!(
            readers(Scenario::Consume).expect("it can"),
            (roles(false, false, true), 0, BACKLOG_BYTES)
        );
        assert_eq!(readers(Scenario::EndToEnd).expect("it can"), (roles(true, true, false), 1, 0));
        assert!(readers(Scenario::Mixed).is_err_and(|error| error.to_string().contains("has no readers")));
    }
}
