//! Workloads: what load is applied, as named, versioned TOML files. Those in `bench/workloads` are part of the binary.
//!
//! Parsing is strict: a key that is not known, a value out of bounds or two that contradict each other are refused with
//! the place and what to do. Knows nothing of brokers.

mod builtin;
mod spec;

use std::fs;
use std::path::Path;

pub use builtin::{all, named, text};
pub use spec::{Acks, Codec, Keys, Record, Skew, Spread, Stream, ValueBytes, Workload};

use crate::limits::WORKLOAD_FILE_BYTES_MAX;

/// Why a workload can't be used.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// No such name in the binary.
    #[error("there is no workload {name:?}; `iolite-bench workloads` lists all{}", hint(near.as_deref()))]
    Unknown { name: String, near: Option<String> },
    /// The file can't be read.
    #[error("the workload file {path} can't be read")]
    Unreadable { path: String, source: std::io::Error },
    /// The file is no workload.
    #[error("{path}: {message}")]
    Malformed { path: String, message: String },
    /// The values make no sense.
    #[error("workload {name:?}: {problem}")]
    Invalid { name: String, problem: String },
}

fn hint(near: Option<&str>) -> String {
    near.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default()
}

/// Finds a workload: a name, or a path to a TOML file (with a `/` or ending in `.toml`).
pub fn find(name: &str) -> Result<Workload, WorkloadError> {
    if name.contains('/') || name.ends_with(".toml") {
        return read(Path::new(name));
    }
    named(name)
}

fn read(path: &Path) -> Result<Workload, WorkloadError> {
    let shown = path.display().to_string();
    let unreadable = |source| WorkloadError::Unreadable { path: shown.clone(), source };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > WORKLOAD_FILE_BYTES_MAX {
        let message = format!("{bytes} bytes are no workload file");
        return Err(WorkloadError::Malformed { path: shown, message });
    }
    parse(&fs::read_to_string(path).map_err(unreadable)?, &shown)
}

/// Parses and checks `text`, which came from `path`.
pub fn parse(text: &str, path: &str) -> Result<Workload, WorkloadError> {
    let parsed: Result<Workload, toml::de::Error> = toml::from_str(text);
    let workload = parsed.map_err(|error| WorkloadError::Malformed {
        path: path.to_owned(),
        message: error.to_string().trim_end().to_owned(),
    })?;
    workload.check()?;
    Ok(workload)
}

#[cfg(test)]
mod tests;
