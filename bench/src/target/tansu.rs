//! Starts Tansu, from crates.io at a pinned version, with its records in its memory.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::process::{Process, cache, directory_in, free_port};
use super::{LocalOptions, Target, TargetError};

/// Which version is built.
const VERSION: &str = "0.6.0";
const NAME: &str = "tansu";

/// Starts it on a free port.
pub fn start(options: &LocalOptions) -> Result<Target, TargetError> {
    let binary = binary(options.tansu_binary.as_deref())?;
    let version = version(&binary)?;
    let directory = directory_in(&options.directory)?;
    let address = free_port()?;
    let url = format!("tcp://{address}");
    let mut command = Command::new(binary);
    command.args(["broker", "--storage-engine", "memory://tansu/"]);
    command.args(["--listener-url", &url, "--advertised-listener-url", &url]);
    let began = Instant::now();
    let mut process = Process::start(command, options, directory)?;
    process.wait_for_listener(NAME, address)?;
    let mut target = Target::started(version, address, None, process, began);
    target.facts.notes.push("its records are in its memory, and an ack says that they are there".into());
    if options.limit_bytes.is_none() {
        target.facts.notes.push("nothing limits its memory: it has no setting for that".into());
    }
    Ok(target)
}

/// The one that is given, or one that cargo builds the first time.
fn binary(given: Option<&Path>) -> Result<PathBuf, TargetError> {
    let Some(given) = given else { return built() };
    let missing = || TargetError::Missing(format!("there is no {NAME} at {}", given.display()));
    given.is_file().then(|| given.to_owned()).ok_or_else(missing)
}

/// What it says it is.
fn version(binary: &Path) -> Result<String, TargetError> {
    let failed = || format!("{} can't be started", binary.display());
    let output = Command::new(binary).arg("--version").output().map_err(TargetError::io(failed()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.lines().next().filter(|_| output.status.success());
    version.map(|line| line.trim().to_owned()).ok_or_else(|| {
        TargetError::Missing(format!("{} does not tell its version ({})", binary.display(), output.status))
    })
}

fn built() -> Result<PathBuf, TargetError> {
    let root = cache().join(format!("{NAME}-{VERSION}"));
    let binary = root.join("bin").join(NAME);
    if binary.is_file() {
        return Ok(binary);
    }
    eprintln!("building {NAME} {VERSION} of crates.io into {}", root.display());
    let mut cargo = Command::new("cargo");
    cargo.args(["install", NAME, "--version", VERSION, "--locked", "--features", "dynostore", "--root"]);
    let hint = "cargo can't be run; install Rust, or name a tansu that is there (--tansu-binary PATH)";
    let output = cargo.arg(&root).output().map_err(TargetError::io(hint))?;
    if output.status.success() {
        return Ok(binary);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let reasons = said.lines().filter(|line| line.starts_with("error")).take(3).collect::<Vec<_>>();
    Err(TargetError::Missing(format!("cargo could not build {NAME}:\n{}", reasons.join("\n"))))
}
