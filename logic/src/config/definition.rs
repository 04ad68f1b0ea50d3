//! One config's definition, the check of a value against it, and what can be wrong with a change.
//!
//! Messages follow Kafka's wording, because people and scripts search for them.

use std::fmt;

use crate::limits::CONFIG_VALUE_BYTES_MAX;

/// The type of a value, as DescribeConfigs tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A 32-bit integer.
    Int,
    /// A 64-bit integer.
    Long,
    /// A number with a fraction.
    Double,
    /// Text.
    String,
    /// Text, comma separated.
    List,
    /// Text that is never shown.
    Password,
}

impl Kind {
    /// Kafka's name of the type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::Int => "INT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::String => "STRING",
            Self::List => "LIST",
            Self::Password => "PASSWORD",
        }
    }
}

/// Which values are right, beyond the type.
#[derive(Clone, Copy, Debug)]
pub enum Valid {
    /// Every value of the type.
    Any,
    /// An integer not below this.
    AtLeast(i64),
    /// An integer from the first to the second, both included.
    Between(i64, i64),
    /// An integer between the two, or the last one.
    BetweenOr(i64, i64, i64),
    /// One of these words; of a list, each element.
    OneOf(&'static [&'static str]),
    /// Whatever the function finds nothing wrong with.
    Checked(fn(&str) -> Result<(), String>),
}

/// Whether and where a broker config can be changed while the broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Only by a restart with another file or flag.
    ReadOnly,
    /// For one broker.
    PerBroker,
    /// For one broker or for the whole cluster.
    ClusterWide,
}

/// Everything there is to know of one config.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Kafka's name where Kafka has one.
    pub name: &'static str,
    /// The type.
    pub kind: Kind,
    /// The built-in default; `None` where unset means something of its own.
    pub default: Option<&'static str>,
    /// Which values are right.
    pub valid: Valid,
    /// Whether it can be changed at run time. Topic configs always can.
    pub update: Update,
    /// What it does, in a sentence or two.
    pub documentation: &'static str,
}

/// A change of one config in an incremental alteration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets the value.
    Set,
    /// Returns to what holds without it.
    Delete,
    /// Adds elements to a list.
    Append,
    /// Takes elements out of a list.
    Subtract,
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        })
    }
}

/// Why a config was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No config has this name.
    #[error("Unknown {of} config name: {name}{}", nearest_hint(*nearest))]
    Unknown {
        /// `topic`, `broker` or `group`.
        of: &'static str,
        /// The name as it came.
        name: String,
        /// The right name that looks most like it.
        nearest: Option<&'static str>,
    },
    /// Kafka has it, this broker doesn't (yet).
    #[error("Config {name} is not supported by this broker: {reason}")]
    Unsupported {
        /// The name.
        name: String,
        /// Why, and what to do instead.
        reason: &'static str,
    },
    /// The value can't be.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Invalid {
        /// The config.
        name: String,
        /// The value as it came.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value is needed and there is none.
    #[error("Null value not supported for configuration {name}")]
    MissingValue {
        /// The config.
        name: String,
    },
    /// The broker config can change by a restart only.
    #[error("Cannot update these configs dynamically: [{name}]")]
    ReadOnly {
        /// The config.
        name: String,
    },
    /// The broker config can be set for single brokers only.
    #[error("Cannot update these configs at default cluster level, broker id must be specified: [{name}]")]
    PerBrokerOnly {
        /// The config.
        name: String,
    },
    /// Append and subtract work on lists.
    #[error("Can't {operation} to key {name} because its type is not LIST.")]
    NotList {
        /// What was asked.
        operation: Operation,
        /// The config.
        name: String,
    },
    /// What would hold then is not what the broker, or another config, allows.
    #[error("{name} must be {relation} {bound}")]
    OutOfBounds {
        /// The config.
        name: &'static str,
        /// Which relation doesn't hold.
        relation: &'static str,
        /// To which config.
        bound: &'static str,
    },
    /// The value is longer than what is kept.
    #[error(
        "The configuration value cannot be added because it exceeds the maximum value size of \
         {CONFIG_VALUE_BYTES_MAX} bytes."
    )]
    TooLong {
        /// The config.
        name: String,
    },
}

fn nearest_hint(nearest: Option<&'static str>) -> String {
    nearest.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

impl Definition {
    /// Whether the value must not be shown.
    #[must_use]
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.kind, Kind::Password)
    }

    /// Checks a value against type and rule.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] or [`ConfigError::TooLong`].
    pub fn check(&self, value: &str) -> Result<(), ConfigError> {
        if value.len() > CONFIG_VALUE_BYTES_MAX {
            return Err(ConfigError::TooLong { name: self.name.to_owned() });
        }
        self.check_reason(value.trim()).map_err(|reason| ConfigError::Invalid {
            name: self.name.to_owned(),
            value: value.to_owned(),
            reason,
        })
    }

    fn check_reason(&self, value: &str) -> Result<(), String> {
        match self.kind {
            Kind::Boolean => match parse_boolean(value) {
                Some(_) => Ok(()),
                None => Err("Expected value to be either true or false".to_owned()),
            },
            Kind::Int | Kind::Long => {
                let parsed = match self.kind {
                    Kind::Int => value.parse::<i32>().ok().map(i64::from),
                    _ => value.parse::<i64>().ok(),
                };
                let number = parsed.ok_or_else(|| format!("Not a number of type {}", self.kind.name()))?;
                self.check_number(number)
            }
            Kind::Double => match value.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(()),
                _ => Err(format!("Not a number of type {}", self.kind.name())),
            },
            Kind::String | Kind::Password => self.check_word(value),
            Kind::List => list_elements(value).try_for_each(|element| self.check_word(element)),
        }
        .and_then(|()| match self.valid {
            Valid::Checked(check) => check(value),
            _ => Ok(()),
        })
    }

    fn check_number(&self, number: i64) -> Result<(), String> {
        match self.valid {
            Valid::AtLeast(least) if number < least => Err(format!("Value must be at least {least}")),
            Valid::Between(least, _) if number < least => Err(format!("Value must be at least {least}")),
            Valid::Between(_, most) if number > most => Err(format!("Value must be no more than {most}")),
            Valid::BetweenOr(least, most, other) if (number < least || number > most) && number != other => {
                Err(format!("Value must be between {least} and {most} or equal to {other}"))
            }
            _ => Ok(()),
        }
    }

    fn check_word(&self, word: &str) -> Result<(), String> {
        match self.valid {
            Valid::OneOf(words) if !words.contains(&word) => {
                Err(format!("String must be one of: {}", words.join(", ")))
            }
            _ => Ok(()),
        }
    }
}

/// Kafka's booleans: any case.
pub(super) fn parse_boolean(value: &str) -> Option<bool> {
    if value.eq_ignore_ascii_case("true") {
        Some(true)
    } else if value.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// The elements of a list value, trimmed; an empty value has none.
pub(crate) fn list_elements(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|element| !element.is_empty())
}

/// The name in a table that looks most like `name`, if one looks like it at all.
pub(super) fn nearest(name: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    const LIKENESS_MIN: f64 = 0.75;
    names
        .map(|candidate| (strsim::normalized_damerau_levenshtein(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}
