//! Kafka's numbers for where a config's value comes from.

use logic::config::Source;

/// The number of a source.
pub fn source(source: Source) -> i8 {
    match source {
        Source::DynamicTopic => 1,
        Source::DynamicBroker => 2,
        Source::DynamicDefault => 3,
        Source::File => 4,
        Source::Default => 5,
    }
}
