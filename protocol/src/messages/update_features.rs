//! UpdateFeatures (key 57): put features in force at other levels.

use protocol_derive::Message;

use crate::error::ErrorCode;

/// Puts features in force at other levels.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(request = UpdateFeatures)]
pub struct UpdateFeaturesRequest<'a> {
    /// How long the broker may take, in milliseconds.
    pub timeout_ms: i32,
    /// The features.
    pub feature_updates: Vec<FeatureUpdateKey<'a>>,
    /// Whether to check only, and do nothing.
    #[wire(versions = "1+")]
    pub validate_only: bool,
}

/// Another level for a feature.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct FeatureUpdateKey<'a> {
    /// The feature.
    pub feature: &'a str,
    /// The level.
    pub max_version_level: i16,
    /// Whether the level may go down.
    #[wire(versions = "0")]
    pub allow_downgrade: bool,
    /// Which way the level is to go: 1 up, 2 down without a loss, 3 down whatever is lost.
    #[wire(versions = "1+", default = 1)]
    pub upgrade_type: i8,
}

/// The outcome.
#[derive(Clone, Debug, PartialEq, Message)]
#[wire(response = UpdateFeatures)]
pub struct UpdateFeaturesResponse<'a> {
    /// How long the client is to hold back because of a quota, in milliseconds.
    pub throttle_time_ms: i32,
    /// The outcome of all together.
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    pub error_message: Option<&'a str>,
    /// The outcome, feature by feature.
    #[wire(versions = "0-1", ignorable)]
    pub results: Vec<UpdatableFeatureResult<'a>>,
}

/// The outcome for a feature.
#[derive(Clone, Debug, PartialEq, Message)]
pub struct UpdatableFeatureResult<'a> {
    /// The feature.
    pub feature: &'a str,
    /// The outcome.
    pub error_code: ErrorCode,
    /// What went wrong, for people; null without an error.
    pub error_message: Option<&'a str>,
}
