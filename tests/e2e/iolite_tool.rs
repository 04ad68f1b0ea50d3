//! `iolite`, the operator's tool, as an operator and as a script run it: what it prints is read and compared, and what it does
//! is looked at by others.

mod log;
mod records;
mod topics;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use e2e::DEADLINE;
use e2e::broker::{self, built_of};
use e2e::process::{Finished, run_with_input};
use serde_json::Value;

/// Exit codes of the tool.
const DONE: i32 = 0;
const FAILED: i32 = 1;
const ARGUMENTS: i32 = 2;
const UNREACHABLE: i32 = 3;
const NOT_FOUND: i32 = 4;

fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| built_of("iolite-tools", "iolite"))
}

/// Runs the tool against the broker that tests share.
fn iolite(words: &[&str], input: &[u8]) -> Finished {
    let bootstrap = broker::shared().kafka().to_string();
    let mut command = Command::new(binary());
    command.args(words).args(["--bootstrap", &bootstrap]);
    run_with_input("iolite", command, input, DEADLINE)
}

/// Runs it where it must succeed, without a word on standard error; the lines that it prints.
fn done(words: &[&str]) -> Vec<String> {
    let finished = iolite(words, b"");
    assert!(finished.status.code() == Some(DONE) && finished.stderr.is_empty(), "{words:?}: {finished}");
    finished.stdout
}

/// The same with `--json`: what it prints, read.
fn told(words: &[&str]) -> Value {
    let text = done(&[words, &["--json"]].concat()).join("\n");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}:\n{text}"))
}

/// Runs it where it must fail: with this exit code, nothing on standard output and one line that has all of these words.
fn refused(words: &[&str], code: i32, said: &[&str]) {
    assert_refused(&iolite(words, b""), words, code, said);
}

fn assert_refused(finished: &Finished, words: &[&str], code: i32, said: &[&str]) {
    assert_eq!(finished.status.code(), Some(code), "{words:?}: {finished}");
    assert!(finished.stdout.is_empty(), "{words:?}: {finished}");
    let [line] = &finished.stderr[..] else { panic!("{words:?}: one line is wanted: {finished}") };
    assert!(line.starts_with("iolite: "), "{words:?}: {line}");
    for word in said {
        assert!(line.contains(word), "{words:?}: {word:?} in {line:?}");
    }
}

#[test]
fn help_teaches_and_bad_arguments_are_told() {
    let help = |words: &[&str]| {
        let finished = run_with_input("iolite", words_only(words), b"", DEADLINE);
        assert_eq!(finished.status.code(), Some(DONE), "{finished}");
        finished.stdout.join("\n")
    };
    let top = help(&["--help"]);
    assert!(top.contains("topics") && top.contains("Exit codes: 0 done"), "{top}");
    let topics = help(&["topics", "--help"]);
    for command in ["list", "describe", "create", "delete", "alter", "--bootstrap", "--json"] {
        assert!(topics.contains(command), "{command} in {topics}");
    }
    for words in [&["topics", "alter", "x"][..], &["topics", "create", "x", "-p", "0"], &["nonsense"], &[]] {
        let finished = run_with_input("iolite", words_only(words), b"", DEADLINE);
        assert_eq!(finished.status.code(), Some(ARGUMENTS), "{words:?}: {finished}");
        assert!(finished.stdout.is_empty() && !finished.stderr.is_empty(), "{words:?}: {finished}");
    }
}

#[test]
fn a_broker_that_is_not_there_is_told_at_once() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("it is bound").to_string();
    drop(taken);
    let words = ["topics", "list", "--bootstrap", &address];
    let finished = run_with_input("iolite", words_only(&words), b"", DEADLINE);
    assert_refused(&finished, &words, UNREACHABLE, &[&address, "--bootstrap HOST:PORT"]);
    let words = ["topics", "list", "--bootstrap", "nonsense"];
    let finished = run_with_input("iolite", words_only(&words), b"", DEADLINE);
    assert_refused(&finished, &words, ARGUMENTS, &["nonsense", "host:port"]);
}

fn words_only(words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(words);
    command
}
