//! What the source tree promises by absence (ARCHITECTURE.md): who may not know of what.
//!
//! Files are read as text, less comments and unit tests: coarse, but nothing has to be built, and a rule fits a line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::project;

/// A file longer than this has two subjects.
const FILE_LINES_MAX: usize = 800;

/// One source file: its path in the project and its lines of code.
struct Source {
    path: String,
    text: String,
    /// Without comments, and without what is there for tests only.
    code: Vec<(usize, String)>,
}

impl Source {
    fn is_in(&self, rooms: &[&str]) -> bool {
        rooms.iter().any(|room| {
            let below = self.path.strip_prefix(room);
            below.is_some_and(|rest| rest.starts_with('/') || rest == ".rs")
        })
    }

    /// Tests and benchmarks may know what the code they try must not.
    fn is_trial(&self) -> bool {
        self.path.ends_with("tests.rs") || self.path.contains("/tests/") || self.path.contains("/benches/")
    }
}

/// Every Rust file of ours, generated ones and those of the tests crate left away.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    for room in ["protocol", "logic", "storage", "executor", "broker", "client", "bench", "tools", "sim"] {
        collect(&project().join(room), &mut found);
    }
    assert!(found.len() > 20, "the source files are found");
    found
}

fn collect(directory: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.expect("the tree is readable").path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "target" | "generated" | "fuzz") {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(read(&path));
        }
    }
}

fn read(path: &PathBuf) -> Source {
    let text = fs::read_to_string(path).expect("the file is readable");
    let mut code = Vec::new();
    let mut lines = (1..).zip(text.lines());
    while let Some((number, line)) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            let opens_module = lines.next().is_some_and(|(_, next)| next.trim().ends_with('{'));
            if opens_module {
                break;
            }
            continue;
        }
        // The module that holds the glommio disk may be named by whoever starts it.
        let line =
            line.split("//").next().unwrap_or_default().replace("storage::disk::glommio", "storage::disk");
        code.push((number, line));
    }
    let path =
        path.strip_prefix(project()).expect("the file lies in the project").to_string_lossy().into_owned();
    Source { path, text, code }
}

/// Does `line` have `word` as a whole word?
fn names(line: &str, word: &str) -> bool {
    let part_of_name = |character: char| character.is_alphanumeric() || character == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back().is_some_and(part_of_name);
        let after = line[at + word.len()..].chars().next().is_some_and(part_of_name);
        !before && !after
    })
}

/// Fails with every place where production code outside `rooms` names one of `words`.
fn only_in(rooms: &[&str], words: &[&str], files: impl Fn(&Source) -> bool) {
    let mut places = Vec::new();
    for source in
        sources().iter().filter(|source| files(source) && !source.is_trial() && !source.is_in(rooms))
    {
        for (number, line) in &source.code {
            if let Some(word) = words.iter().find(|word| names(line, word)) {
                places.push(format!("{}:{number} names {word}", source.path));
            }
        }
    }
    assert!(places.is_empty(), "only {rooms:?} may:\n{}", places.join("\n"));
}

#[test]
fn glommio_stays_in_its_rooms() {
    only_in(
        &[
            "storage/src/disk",
            "broker/src/runtime",
            "broker/src/net",
            "executor/src",
            "client/src",
            "bench/src/load",
        ],
        &["glommio"],
        |_| true,
    );
}

#[test]
fn protocol_and_logic_do_no_input_and_output_and_know_no_time_and_no_chance() {
    let worlds = [
        "tokio",
        "Instant",
        "SystemTime",
        "fs",
        "net",
        "thread",
        "rand",
        "getrandom",
        "io_uring",
        "libc",
        "nix",
    ];
    only_in(&[], &worlds, |source| {
        source.path.starts_with("protocol/src/") || source.path.starts_with("logic/src/")
    });
}

#[test]
fn tools_only_look_at_what_storage_has() {
    let mut places = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("tools/")) {
        for (number, line) in &source.code {
            let named = line.match_indices("storage::").map(|(at, word)| &line[at + word.len()..]);
            let only_looks =
                |named: &str| named.starts_with("inspect") || named.starts_with("disk::read_only");
            if named.into_iter().any(|named| !only_looks(named)) {
                places.push(format!("{}:{number}", source.path));
            }
        }
    }
    assert!(places.is_empty(), "tools know nothing else of storage:\n{}", places.join("\n"));
}

#[test]
fn kafka_error_codes_stay_in_protocol_and_the_api_files() {
    // The metrics count errors under their names and decide nothing by them; a client is told of nothing else.
    let rooms = ["protocol", "broker/src/api", "broker/src/metrics", "client", "bench/src/load"];
    only_in(&rooms, &["KafkaError", "ErrorCode"], |_| true);
}

#[test]
fn locks_stay_in_the_mesh_and_the_metrics() {
    let rooms = [
        "broker/src/runtime/mesh",
        "broker/src/metrics",
        "storage/src/disk/memory",
        "storage/src/disk/fault",
    ];
    only_in(&rooms, &["Mutex", "RwLock", "Condvar", "parking_lot"], |_| true);
}

#[test]
fn every_file_says_first_what_it_owns() {
    let silent = |source: &&Source| !source.text.starts_with("//!") && !source.is_trial();
    let paths: Vec<String> = sources().iter().filter(silent).map(|source| source.path.clone()).collect();
    assert!(paths.is_empty(), "no //! on the first line:\n{}", paths.join("\n"));
}

#[test]
fn no_file_outgrows_its_subject() {
    let long = |source: &&Source| source.text.lines().count() > FILE_LINES_MAX && !source.is_trial();
    let paths: Vec<String> = sources().iter().filter(long).map(|source| source.path.clone()).collect();
    assert!(paths.is_empty(), "more than {FILE_LINES_MAX} lines:\n{}", paths.join("\n"));
}

#[test]
fn the_map_names_paths_that_are_there() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let map = read(&root.join("ARCHITECTURE.md")).text;
    // What ends with a slash is a directory of data, or below the room that its row is about.
    let paths = map.split('`').skip(1).step_by(2).filter(|name| name.contains('/') && !name.ends_with('/'));
    let paths: Vec<&str> = paths.filter(|name| !name.contains(char::is_whitespace)).collect();
    assert!(paths.len() > 20, "{paths:?}");
    let missing: Vec<&&str> = paths.iter().filter(|path| !root.join(path).exists()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn crates_depend_downwards_only() {
    let allowed: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("protocol-derive", &[][..]),
        ("protocol", &["protocol-derive"]),
        ("logic", &["protocol"]),
        ("storage", &["protocol"]),
        ("executor", &[]),
        ("iolite-broker", &["logic", "storage", "protocol", "executor"]),
        ("iolite-client", &["protocol", "executor"]),
        ("iolite-bench", &["iolite-client", "protocol"]),
        ("iolite-tools", &["iolite-client", "protocol", "storage"]),
        ("sim", &["logic", "storage", "iolite-broker", "protocol"]),
        ("e2e", &["iolite-client"]),
    ]);
    let packages = workspace_packages();
    let ours: BTreeSet<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for package in &packages {
        let name = package["name"].as_str().expect("packages have names");
        let may =
            allowed.get(name).unwrap_or_else(|| panic!("{name} has no place in the table of crate edges"));
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let on = dependency["name"].as_str().expect("dependencies have names");
            // A dev-dependency has no kind of `null`: tests may look further than the code they test.
            let production = dependency["kind"].is_null();
            assert!(!production || !ours.contains(on) || may.contains(&on), "{name} depends on {on}");
        }
    }
}

/// The members of the workspace as `cargo metadata` tells them.
fn workspace_packages() -> Vec<serde_json::Value> {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.current_dir(project()).args(["metadata", "--no-deps", "--format-version", "1"]);
    let output = metadata.output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata speaks JSON");
    told["packages"].as_array().expect("packages").clone()
}
