//! What the process ends with, so that scripts can tell one trouble from another.
//!
//! Invariants: a number is never given a second meaning; `docs/operations.md` carries the same table (tested).

use std::process::ExitCode;

/// The exit codes of `iolite`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// What was asked is done.
    Done,
    /// It is not.
    Failed,
    /// The command line makes no sense.
    Arguments,
    /// No broker answers.
    Unreachable,
    /// What was named is not there.
    NotFound,
    /// What is on the disk is damaged.
    Damaged,
}

impl Exit {
    /// Every code, in the order of the numbers.
    #[cfg(test)]
    const ALL: [Self; 6] =
        [Self::Done, Self::Failed, Self::Arguments, Self::Unreachable, Self::NotFound, Self::Damaged];

    /// The number that the parent process sees.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Arguments => 2,
            Self::Unreachable => 3,
            Self::NotFound => 4,
            Self::Damaged => 5,
        }
    }

    /// What it means.
    #[cfg(test)]
    const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "the broker or the system refused; standard error says what",
            Self::Arguments => "wrong arguments",
            Self::Unreachable => "no broker answers",
            Self::NotFound => "the topic, partition or directory that was named is not there",
            Self::Damaged => "what is on the disk is damaged",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.number().into()
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn the_documentation_lists_every_code_as_it_is() {
        let documentation = include_str!("../../docs/operations.md");
        let rows = Exit::ALL.iter().map(|exit| format!("| {} | {} |\n", exit.number(), exit.meaning()));
        let rows: String = rows.collect();
        assert!(documentation.contains(&rows), "docs/operations.md lacks exactly these rows:\n{rows}");
    }

    #[test]
    fn every_trouble_has_a_number_of_its_own() {
        assert!(Exit::ALL.is_sorted_by(|one, other| one.number() < other.number()));
    }
}
