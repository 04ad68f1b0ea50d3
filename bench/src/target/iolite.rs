//! Starts this project's broker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::disclosed::mebibytes;
use super::process::{Process, directory_in};
use super::{LocalOptions, Target, TargetError};

/// The broker's own default, for each shard.
const JOURNAL_BYTES: u64 = 512 << 20;
const NAME: &str = "iolite-broker";

/// Starts it on an empty directory and free ports.
pub fn start(options: &LocalOptions) -> Result<Target, TargetError> {
    let binary = binary(options.iolite_binary.as_deref())?;
    let directory = directory_in(&options.directory)?;
    let mut command = Command::new(&binary);
    // Settings of whoever runs the tool are not the broker's that is measured.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("IOLITE_")) {
        command.env_remove(name);
    }
    command.arg("--data-dir").arg(directory.path().join("data"));
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    if let Some(shards) = options.shards {
        command.args(["--shards", &shards.to_string()]);
    }
    if let Some(cores) = &options.cores {
        let cores: Vec<String> = cores.iter().map(ToString::to_string).collect();
        command.args(["--cores", &cores.join(",")]);
    }
    command.args(["--set", &format!("memory.bytes={}", options.memory_bytes)]);
    for setting in &options.settings {
        command.args(["--set", setting]);
    }
    let began = Instant::now();
    let mut process = Process::start(command, options, directory)?;
    let kafka = process.wait_for(NAME, |line| line.trim().strip_prefix("kafka ")?.trim().parse().ok())?;
    let admin = process.wait_for(NAME, |line| {
        let told = line.trim().strip_prefix("admin ")?.trim();
        Some(told.strip_prefix("http://").and_then(|address| address.trim_end_matches('/').parse().ok()))
    })?;
    let version = process.wait_for(NAME, |line| {
        let (version, _) = line.strip_prefix("iolite-broker ")?.split_once(' ')?;
        Some(format!("iolite-broker {version}"))
    })?;
    let mut target = Target::started(version, kafka, admin, process, began);
    target.journal_bytes = Some(journal_bytes(options));
    target.facts.disclosed.insert("memory.bytes".into(), mebibytes(options.memory_bytes));
    let relevant = |line: &&str| line.contains("sync") && line.contains("method");
    let process = target.process.as_ref().expect("it was just started");
    target.facts.notes.extend(process.tail().lines().filter(relevant).map(ToOwned::to_owned));
    if is_unoptimised(&binary) {
        target.facts.notes.push("a debug build of the broker: its figures mean nothing".into());
    }
    Ok(target)
}

/// The journals of all shards together, as the broker was told to make them.
fn journal_bytes(options: &LocalOptions) -> u64 {
    let set = |name: &str| {
        let value = |setting: &'_ String| -> Option<String> {
            let (key, value) = setting.split_once('=')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        };
        options.settings.iter().rev().find_map(value)
    };
    let each = set("journal.bytes").and_then(|text| bytes(&text)).unwrap_or(JOURNAL_BYTES);
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let shards = set("shards").and_then(|text| text.parse().ok());
    let shards: u64 = shards.or(options.shards.map(u64::from)).unwrap_or_else(cores);
    each.saturating_mul(shards)
}

/// `1048576` or `1MiB`, as the broker reads it.
fn bytes(text: &str) -> Option<u64> {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    let unit = units.into_iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)));
    let (number, unit) = unit.unwrap_or((text, 1));
    number.trim().parse::<u64>().ok()?.checked_mul(unit)
}

/// `--iolite-binary`, else the one beside this binary, else the one on the path.
fn binary(given: Option<&Path>) -> Result<PathBuf, TargetError> {
    if let Some(given) = given {
        let missing = || TargetError::Missing(format!("there is no broker at {}", given.display()));
        return given.is_file().then(|| given.to_owned()).ok_or_else(missing);
    }
    let own = std::env::current_exe().map_err(TargetError::io("this binary's own path"))?;
    let beside = own.with_file_name(NAME);
    if beside.is_file() {
        return Ok(beside);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        std::env::split_paths(&path).map(|directory| directory.join(NAME)).find(|file| file.is_file());
    on_path.ok_or_else(|| {
        TargetError::Missing(format!(
            "no broker was named and there is no {NAME} to start: build it (cargo build --release -p {NAME}), name it \
             (--iolite-binary PATH) or measure one that runs (--bootstrap HOST:PORT)"
        ))
    })
}

fn is_unoptimised(binary: &Path) -> bool {
    binary.parent().is_some_and(|directory| directory.ends_with("debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shard_has_a_journal_as_large_as_it_was_set() {
        let options = |shards, settings: &[&str]| LocalOptions {
            directory: std::env::temp_dir(),
            cores: None,
            shards,
            settings: settings.iter().map(ToString::to_string).collect(),
            memory_bytes: 1 << 30,
            limit_bytes: None,
            iolite_binary: None,
            kafka_jars: None,
            tansu_binary: None,
            admin: None,
        };
        assert_eq!(journal_bytes(&options(Some(3), &[])), 3 * JOURNAL_BYTES);
        assert_eq!(journal_bytes(&options(Some(2), &["journal.bytes=1", "journal.bytes=64MiB"])), 128 << 20);
        assert_eq!(journal_bytes(&options(Some(2), &["journal.bytes=8388608", "shards=5"])), 40 << 20);
        assert!(journal_bytes(&options(None, &[])) >= JOURNAL_BYTES);
    }
}
