//! What the operator decides about groups.

use super::Assignor;
use crate::config::GroupTerms;

/// Which groups change their kind while they have members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// None.
    Disabled,
    /// A classic group becomes a consumer group when the first consumer joins that speaks the newer protocol.
    Upgrade,
    /// A consumer group becomes a classic one when the last such consumer has left.
    Downgrade,
    /// Both.
    Bidirectional,
}

impl MigrationPolicy {
    /// Whether a classic group may become a consumer group.
    #[must_use]
    pub const fn allows_upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    /// Whether a consumer group may become a classic one.
    #[must_use]
    pub const fn allows_downgrade(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

/// Settings of a coordinator, by Kafka's names where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`.
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`.
    pub session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`: how long the first rebalance of a group waits for more members.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`.
    pub members_max: usize,
    /// What members of consumer groups are told, and what single groups may be configured to.
    pub consumer_terms: GroupTerms,
    /// `group.consumer.assignors`: the first one is used where members ask for none. Never empty.
    pub consumer_assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`: which groups change their kind while they have members.
    pub consumer_migration: MigrationPolicy,
    /// `group.consumer.max.size`.
    pub consumer_members_max: usize,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_bytes_max: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval_ms: i64,
    /// The largest record that the log takes: key and value together.
    pub record_bytes_max: usize,
    /// Memory of one coordinator, about: past it no member joins and no offset is committed.
    pub memory_bytes_max: usize,
}

impl Default for GroupSettings {
    /// Kafka's defaults; memory for a million offsets.
    fn default() -> Self {
        Self {
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            members_max: i32::MAX.unsigned_abs() as usize,
            consumer_terms: GroupTerms::default(),
            consumer_assignors: vec![Assignor::Uniform, Assignor::Range],
            consumer_migration: MigrationPolicy::Bidirectional,
            consumer_members_max: i32::MAX.unsigned_abs() as usize,
            offset_metadata_bytes_max: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1_000,
            offsets_retention_check_interval_ms: 600_000,
            record_bytes_max: 1_000_000,
            memory_bytes_max: 256 * 1024 * 1024,
        }
    }
}
