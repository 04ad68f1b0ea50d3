//! Features that a cluster agrees on (KIP-584): which there are, and at which level each is in force.
//!
//! A level in force changes what brokers do and what they tell clients to do. An image that was never told otherwise has
//! every feature at its newest level.

/// A feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// `group.version`: 1 has consumer groups of KIP-848.
    Group,
    /// `transaction.version`: see [`protocol::types::TransactionVersion`].
    Transaction,
}

impl Feature {
    /// Every feature, in the order of names.
    pub const ALL: [Self; 2] = [Self::Group, Self::Transaction];

    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Group => "group.version",
            Self::Transaction => "transaction.version",
        }
    }

    /// The highest level; the lowest is 0, at which the feature is not there.
    #[must_use]
    pub const fn newest(self) -> i16 {
        match self {
            Self::Group => 1,
            Self::Transaction => 2,
        }
    }

    /// The feature of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|feature| feature.name() == name)
    }
}

/// The levels in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    group: i16,
    transaction: i16,
}

impl Default for Levels {
    fn default() -> Self {
        Self { group: Feature::Group.newest(), transaction: Feature::Transaction.newest() }
    }
}

impl Levels {
    /// The level of one.
    #[must_use]
    pub const fn of(&self, feature: Feature) -> i16 {
        match feature {
            Feature::Group => self.group,
            Feature::Transaction => self.transaction,
        }
    }

    /// Puts a level in force.
    ///
    /// # Panics
    /// If there is no such level: updates are checked before.
    pub(super) fn set(&mut self, feature: Feature, level: i16) {
        assert!((0..=feature.newest()).contains(&level), "{} has no level {level}", feature.name());
        match feature {
            Feature::Group => self.group = level,
            Feature::Transaction => self.transaction = level,
        }
    }
}
