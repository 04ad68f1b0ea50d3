//! Kafka's numbers for what configs belong to, where their values come from and of which type they are.

use logic::config::{Kind, Operation, Source};

/// What configs can belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    /// A topic.
    Topic,
    /// A broker; an empty name means every broker.
    Broker,
    /// A broker's loggers.
    BrokerLogger,
    /// A subscription to clients' metrics.
    ClientMetrics,
    /// A group.
    Group,
}

impl ResourceKind {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Topic, Self::Broker, Self::BrokerLogger, Self::ClientMetrics, Self::Group];

    /// The kind of a number.
    pub fn from_code(code: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// The number of a kind.
    pub const fn code(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::BrokerLogger => 8,
            Self::ClientMetrics => 16,
            Self::Group => 32,
        }
    }

    /// Kafka's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Topic => "TOPIC",
            Self::Broker => "BROKER",
            Self::BrokerLogger => "BROKER_LOGGER",
            Self::ClientMetrics => "CLIENT_METRICS",
            Self::Group => "GROUP",
        }
    }
}

/// The number of a source.
pub fn source(source: Source) -> i8 {
    match source {
        Source::DynamicTopic => 1,
        Source::DynamicBroker => 2,
        Source::DynamicDefault => 3,
        Source::File => 4,
        Source::Default => 5,
        Source::DynamicGroup => 8,
    }
}

/// The number of a type.
pub fn kind(kind: Kind) -> i8 {
    match kind {
        Kind::Boolean => 1,
        Kind::String => 2,
        Kind::Int => 3,
        Kind::Long => 5,
        Kind::Double => 6,
        Kind::List => 7,
        Kind::Password => 9,
    }
}

/// What an incremental change does.
pub fn operation(code: i8) -> Option<Operation> {
    match code {
        0 => Some(Operation::Set),
        1 => Some(Operation::Delete),
        2 => Some(Operation::Append),
        3 => Some(Operation::Subtract),
        _ => None,
    }
}
