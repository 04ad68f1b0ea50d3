//! The states of a transactional id, by Kafka's numbers and names.

/// Where a transactional id stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransactionState {
    /// No transaction yet since the producer was initialised.
    Empty,
    /// A transaction is open.
    Ongoing,
    /// It is committed: markers are being written.
    PrepareCommit,
    /// It is aborted: markers are being written.
    PrepareAbort,
    /// It was committed, and all markers are written.
    CompleteCommit,
    /// It was aborted, and all markers are written.
    CompleteAbort,
}

impl TransactionState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    /// The number that records carry. Kafka's numbers 6 and 7 are of states that no record is written in.
    #[must_use]
    pub const fn number(self) -> i8 {
        match self {
            Self::Empty => 0,
            Self::Ongoing => 1,
            Self::PrepareCommit => 2,
            Self::PrepareAbort => 3,
            Self::CompleteCommit => 4,
            Self::CompleteAbort => 5,
        }
    }

    /// The state of a record's number.
    #[must_use]
    pub fn from_number(number: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// The name that clients are told.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    /// The state of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether markers are being written.
    #[must_use]
    pub const fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }

    /// Whether an id that is not used may be forgotten.
    #[must_use]
    pub const fn may_expire(self) -> bool {
        matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }

    /// Whether a transaction may go from this state to `next`. Kafka's table (`TransactionState.validPreviousStates`);
    /// its `PrepareEpochFence` is a step inside of one transition here.
    #[must_use]
    pub const fn leads_to(self, next: Self) -> bool {
        match next {
            Self::Empty => self.may_expire(),
            Self::Ongoing => self.may_expire() || matches!(self, Self::Ongoing),
            Self::PrepareCommit => matches!(self, Self::Ongoing),
            // With KIP-890 also without a transaction: a client that does not know whether it had begun one.
            Self::PrepareAbort => self.may_expire() || matches!(self, Self::Ongoing),
            Self::CompleteCommit => matches!(self, Self::PrepareCommit),
            Self::CompleteAbort => matches!(self, Self::PrepareAbort),
        }
    }
}
