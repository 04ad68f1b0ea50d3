//! Names the commit that the tool was built from.

use std::process::Command;

fn main() {
    let git = Command::new("git").args(["rev-parse", "--short=10", "HEAD"]).output();
    let told = git.ok().filter(|output| output.status.success());
    let commit = told.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("cargo::rustc-env=IOLITE_BENCH_COMMIT={}", commit.unwrap_or_else(|| "unknown".into()));
    println!("cargo::rerun-if-changed=src");
    println!("cargo::rerun-if-changed=workloads");
}
