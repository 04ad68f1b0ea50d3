//! The configuration of one broker: embedded defaults, then a TOML file, then the environment, then flags.
//!
//! One table ([`table`]) names every key with its type, default, bounds and words; parsing, `--help`, the reference in
//! `docs/operations.md` and what `DescribeConfigs` answers for a broker are all made from it.
//!
//! Invariants: a key that nobody knows, or a value out of its bounds, is refused with the key, the reason, the nearest
//! right name and the place where it stood; nothing is silently ignored. Nothing here opens a socket or looks at the
//! machine: what depends on the machine is computed from a [`Machine`] that the caller hands in.

mod describe;
mod error;
mod flags;
mod layout;
mod reference;
mod sources;
mod table;
mod value;

#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod tests;

pub use error::{ConfigError, ConfigErrors, Place};
pub use layout::{Machine, MemoryBudget, ShardLayout};
pub use reference::reference;
pub use table::{BrokerConfig, Definition, definitions};
pub use value::{
    AssignorList, ConfigType, CoreList, Endpoint, FullDiskChoice, Listener, LogFormat, MigrationChoice,
    SyncChoice,
};

use std::ffi::OsString;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run a broker so configured.
    Run(Box<BrokerConfig>),
    /// Print this on standard output and end.
    Print(String),
}

/// One line of `DescribeConfigs` on the broker.
#[derive(Debug)]
pub struct ConfigEntry<'a> {
    /// The key, what it means and of which type it is.
    pub definition: &'static Definition,
    /// The value as text; `None` where it is unset.
    pub value: Option<String>,
    /// Where the value came from.
    pub place: &'a Place,
}

/// Reads the configuration from the arguments (the program's name first) and the environment.
pub fn load(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Invocation, ConfigErrors> {
    let flags = match flags::parse(arguments)? {
        flags::Parsed::Print(text) => return Ok(Invocation::Print(text)),
        flags::Parsed::Flags(flags) => flags,
    };
    let environment = sources::from_environment(environment);
    let mut errors = environment.errors;
    let mut values = sources::Values::default();
    if let Some(path) = flags.config_file.or(environment.config_file) {
        values.lay_over(sources::from_file(&path, &mut errors));
    }
    values.lay_over(environment.values);
    values.lay_over(sources::from_flags(flags.given, &mut errors));
    let config = BrokerConfig::from_values(&values, &mut errors);
    if errors.is_empty() {
        config.check_relations(&mut errors);
        config.check_groups(&mut errors);
    }
    if errors.is_empty() { Ok(Invocation::Run(Box::new(config))) } else { Err(ConfigErrors(errors)) }
}
