//! Where values come from: each source becomes a map from key to text and place, laid over the one before it.

use super::error::{ConfigError, Place};
use super::table::{Definition, definitions, environment_variable};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value as it was given, not read yet.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) place: Place,
}

/// What is given for each key.
#[derive(Debug, Default)]
pub(super) struct Values(BTreeMap<&'static str, Given>);

impl Values {
    pub(super) fn get(&self, key: &str) -> Option<&Given> {
        self.0.get(key)
    }

    /// What `upper` gives hides what this gives.
    pub(super) fn lay_over(&mut self, upper: Self) {
        self.0.extend(upper.0);
    }

    /// Takes a value under a key as a user wrote it.
    fn insert(&mut self, key: &str, given: Given, errors: &mut Vec<ConfigError>) {
        let Some(definition) = find(key) else {
            errors.push(unknown(key, given.place));
            return;
        };
        if let Some(earlier) = self.0.get(definition.key) {
            let reason = format!("given twice, first at {}", earlier.place);
            errors.push(ConfigError { place: given.place, key: Some(key.to_owned()), reason });
            return;
        }
        self.0.insert(definition.key, given);
    }
}

fn find(key: &str) -> Option<&'static Definition> {
    definitions().iter().find(|definition| definition.key == key || definition.aliases.contains(&key))
}

/// Keys of Kafka's that mean nothing here, and what to do instead.
const FOREIGN: [(&str, &str); 14] = [
    ("num.network.threads", "there are no network threads; set shards"),
    ("num.io.threads", "there are no I/O threads; set shards"),
    ("num.replica.fetchers", "there are no fetcher threads; leave it out"),
    ("num.recovery.threads.per.data.dir", "each shard recovers its own partitions; leave it out"),
    ("background.threads", "each shard does its own background work; leave it out"),
    ("queued.max.requests", "requests are bounded by bytes; set queued.max.request.bytes"),
    ("process.roles", "every broker is a controller too; leave it out"),
    ("controller.quorum.voters", "a single broker needs no quorum settings; leave it out"),
    ("controller.listener.names", "a single broker needs no quorum settings; leave it out"),
    ("zookeeper.connect", "there is no ZooKeeper; leave it out"),
    ("listener.security.protocol.map", "PLAINTEXT is the only security protocol yet; leave it out"),
    ("inter.broker.listener.name", "a single broker talks to no other; leave it out"),
    ("log.preallocate", "segments are always preallocated; leave it out"),
    ("log.message.format.version", "records always have format v2; leave it out"),
];

fn unknown(key: &str, place: Place) -> ConfigError {
    let foreign = FOREIGN.iter().find(|(name, _)| *name == key);
    let reason = match foreign {
        Some((_, remedy)) => format!("not supported: {remedy}"),
        None => match nearest(key) {
            Some(name) => format!("unknown key; did you mean {name}?"),
            None => "unknown key; --help lists all of them".to_owned(),
        },
    };
    ConfigError { place, key: Some(key.to_owned()), reason }
}

/// The known key most like what was written, if any is like it at all.
fn nearest(key: &str) -> Option<&'static str> {
    const LIKENESS_MIN: f64 = 0.8;
    let names = definitions()
        .iter()
        .flat_map(|definition| std::iter::once(definition.key).chain(definition.aliases.iter().copied()));
    let ranked = names.map(|name| (strsim::jaro_winkler(key, name), name));
    let (likeness, name) = ranked.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
    (likeness >= LIKENESS_MIN).then_some(name)
}

/// Reads a TOML file; keys may be written flat, quoted or as tables.
pub(super) fn from_file(path: &Path, errors: &mut Vec<ConfigError>) -> Values {
    let mut values = Values::default();
    let at = |line| Place::File(path.to_owned(), line);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let reason = format!("can't be read: {error}");
            errors.push(ConfigError { place: at(0), key: None, reason });
            return values;
        }
    };
    match DeTable::parse(&text) {
        Ok(table) => from_table("", table.get_ref(), &text, path, &mut values, errors),
        Err(error) => {
            let line = error.span().map_or(0, |span| line_of(&text, span.start));
            let reason = format!("not TOML: {}", error.message().lines().collect::<Vec<_>>().join("; "));
            errors.push(ConfigError { place: at(line), key: None, reason });
        }
    }
    values
}

/// `toml` bounds how deep tables nest, so this recursion is bounded too.
fn from_table(
    prefix: &str,
    table: &DeTable<'_>,
    text: &str,
    path: &Path,
    values: &mut Values,
    errors: &mut Vec<ConfigError>,
) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let place = Place::File(path.to_owned(), line_of(text, name.span().start));
        if let DeValue::Table(inner) = value.get_ref() {
            from_table(&format!("{key}."), inner, text, path, values, errors);
            continue;
        }
        match scalar(value) {
            Ok(text) => values.insert(&key, Given { text, place }, errors),
            Err(reason) => errors.push(ConfigError { place, key: Some(key), reason }),
        }
    }
}

/// A value's text, whatever its TOML type; an array is its elements with commas between.
fn scalar(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.trim().to_owned()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().to_owned()),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            parsed.map(|number| number.to_string()).map_err(|error| error.to_string())
        }
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Array(values) => {
            let texts = values.iter().map(scalar).collect::<Result<Vec<_>, _>>()?;
            Ok(texts.join(","))
        }
        other => Err(format!("a {} can't be a value here", other.type_str())),
    }
}

fn line_of(text: &str, position: usize) -> usize {
    1 + text.bytes().take(position).filter(|byte| *byte == b'\n').count()
}

/// What the environment gives.
#[derive(Debug, Default)]
pub(super) struct FromEnvironment {
    pub(super) values: Values,
    pub(super) config_file: Option<PathBuf>,
    pub(super) errors: Vec<ConfigError>,
}

pub(super) const PREFIX: &str = "IOLITE_";
pub(super) const CONFIG_FILE_VARIABLE: &str = "IOLITE_CONFIG";

/// Reads `IOLITE_...` variables.
pub(super) fn from_environment(
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> FromEnvironment {
    let mut read = FromEnvironment::default();
    let named = environment.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
    for (name, value) in named.filter(|(name, _)| name.starts_with(PREFIX) && !is_service_link(name)) {
        let place = Place::Environment(name.clone());
        if name == CONFIG_FILE_VARIABLE {
            read.config_file = Some(value.into());
            continue;
        }
        let Ok(text) = value.into_string() else {
            read.errors.push(ConfigError { place, key: None, reason: "not UTF-8".to_owned() });
            continue;
        };
        match key_of_variable(&name) {
            Some(key) => {
                let given = Given { text: text.trim().to_owned(), place };
                read.values.insert(key, given, &mut read.errors);
            }
            None => read.errors.push(unknown_variable(&name, place)),
        }
    }
    read
}

/// Kubernetes puts variables such as `IOLITE_PORT_9092_TCP_ADDR` and `IOLITE_SERVICE_HOST` into every container beside
/// a service named iolite; they aren't meant for us.
fn is_service_link(name: &str) -> bool {
    let link_port =
        name.split("_PORT_").nth(1).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    link_port || name.ends_with("_PORT") || name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT")
}

fn key_of_variable(name: &str) -> Option<&'static str> {
    let names = definitions()
        .iter()
        .flat_map(|definition| std::iter::once(definition.key).chain(definition.aliases.iter().copied()));
    names.into_iter().find(|key| environment_variable(key) == name)
}

fn unknown_variable(name: &str, place: Place) -> ConfigError {
    let key = name.trim_start_matches(PREFIX).to_ascii_lowercase().replace('_', ".");
    let mut error = unknown(&key, place);
    if let Some(key) = nearest(&key) {
        error.reason = format!("unknown key; did you mean {}?", environment_variable(key));
    }
    error
}

/// Takes what flags give: `(place, key, text)`.
pub(super) fn from_flags(given: Vec<(Place, String, String)>, errors: &mut Vec<ConfigError>) -> Values {
    let mut values = Values::default();
    for (place, key, text) in given {
        values.insert(&key, Given { text, place }, errors);
    }
    values
}
