//! Names the commit that the tool was built from.

use std::path::Path;
use std::process::Command;

fn main() {
    let commit = git(&["rev-parse", "--short=10", "HEAD"]);
    println!("cargo::rustc-env=IOLITE_BENCH_COMMIT={}", commit.unwrap_or_else(|| "unknown".into()));
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=workloads");
    // It grows with each commit and checkout. Cargo would take a file that is not there for one that changes all the time.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|log| Path::new(log).exists()) {
        println!("cargo::rerun-if-changed={log}");
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
