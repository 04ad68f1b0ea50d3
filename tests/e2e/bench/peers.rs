//! Beside Apache Kafka and its own load generator, as `tests/clients/install` lays them out.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn kafka_and_iolite_take_turns_synced_and_relaxed() {
    let jars = jars();
    let words = [
        "--peer",
        "kafka",
        "--kafka-jars",
        &jars,
        "--rounds",
        "1",
        "--rate",
        "100",
        "--memory-mib",
        "512",
        "--settle-max",
        "2s",
    ];
    let outcome = bench("compare", &words);
    outcome.assert_fine();
    outcome.says("against Apache Kafka");
    outcome.says("beside iolite, synced");
    let report = outcome.report();
    let contenders = report["contenders"].as_array().expect("a list");
    assert_eq!(contenders.len(), 4);
    for contender in contenders {
        let checked = contender["checked"].as_str().expect("words");
        assert!(checked.contains("read back and checked"), "{checked}");
        let given =
            |name: &str| contender["facts"]["disclosed"][name].as_str().unwrap_or_default().to_owned();
        assert!(!given("Max open files").is_empty() && !given("Max locked memory").is_empty(), "{contender}");
        if contender["name"].as_str().is_some_and(|name| name.starts_with("kafka")) {
            assert!(given("java").contains(" version \""), "{}", contender["facts"]);
            let flags = given("JVM flags");
            assert!(flags.contains("-XX:MaxHeapSize=536870912") && flags.contains("-XX:+UseG1GC"), "{flags}");
        } else {
            assert_eq!(given("memory.bytes"), "512 MiB");
            for budget in ["memory of requests", "memory of replies", "journal"] {
                assert!(
                    given(budget).ends_with(" MiB") && !given(budget).starts_with("0 "),
                    "{}",
                    contender["facts"]
                );
            }
        }
    }
}

fn jars() -> String {
    e2e::project().join("tests/clients/java/target/lib").display().to_string()
}

/// A script that starts brokers, which would refuse the tests' own settings.
fn command_of(script: &Path) -> Command {
    let mut command = Command::new(script);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("IOLITE_")) {
        command.env_remove(name);
    }
    command
}

fn script() -> String {
    e2e::project().join("bench/peers/producer-performance").display().to_string()
}

#[test]
fn the_jars_are_where_they_are_said_to_be() {
    let directory = new_directory();
    let ask = |jars: &str| {
        run("iolite-bench", command(&directory, &["kafka-jars", "--kafka-jars", jars]), DEADLINE)
    };
    let (status, lines) = ask(&jars());
    assert_eq!((status.code(), lines), (Some(0), vec![jars()]));
    let (status, lines) = ask(&directory.path().display().to_string());
    assert_eq!(status.code(), Some(UNREACHABLE));
    assert!(lines.join("\n").contains("there are no jars in"), "{lines:?}");
}

/// The percentages of a verdict are those of the figures beside them, and the words are theirs. How alike two load generators
/// are on this machine, under test, is the machine's.
#[test]
fn producer_performance_is_held_against_ours() {
    let directory = new_directory();
    let binaries = directory.path().join("binaries");
    fs::create_dir(&binaries).expect("the directory is writable");
    for (binary, name) in [(tool(), "iolite-bench"), (iolite_binary(), "iolite-broker")] {
        symlink(binary, binaries.join(name)).expect("the directory is writable");
    }
    let mut performance = command_of(Path::new(&script()));
    performance
        .current_dir(directory.path())
        .arg("--binaries")
        .arg(&binaries)
        .args(["--kafka-jars", &jars()]);
    performance.args(["--rounds", "1", "--seconds", "2", "--rate", "200", "--out", "kept/here"]);
    let (status, lines) = run("producer-performance", performance, DEADLINE);
    let told = lines.join("\n");
    let mut agrees = true;
    for workload in ["producer-performance-1kib", "producer-performance-100b"] {
        assert!(told.contains(&format!("{workload}: medians of 1 round")), "{told}");
        let kept = directory.path().join(format!("kept/here/{workload}-1.json"));
        assert!(kept.is_file(), "{} is not there: {told}", kept.display());
    }
    let compared: Vec<Vec<&str>> = lines
        .iter()
        .filter(|line| line.contains(" %  "))
        .map(|line| line.split_whitespace().filter(|word| *word != "ms").collect())
        .collect();
    for title in ["  records/s ", "  mean ms ", "  p50 ms ", "  p99 ms "] {
        assert_eq!(
            lines.iter().filter(|line| line.starts_with(title)).count(),
            2,
            "{title:?} of both: {told}"
        );
    }
    let rates = compared.iter().filter(|words| words[0] == "records/s").count();
    assert_eq!(rates, 2, "whatever else is too short to be compared: {told}");
    for words in compared {
        let number = |at: usize| words[at].replace(',', "").parse::<f64>().expect("a number");
        let percent = 100.0 * (number(2) / number(1) - 1.0);
        // They are shown with two digits.
        assert!((percent - number(3)).abs() <= 1.0 + percent.abs() / 50.0, "{words:?}");
        let word = if number(3).abs() <= 10.0 { "agrees" } else { "differs:" };
        assert_eq!(words[5], word, "{words:?}");
        agrees &= words[0] != "records/s" || word == "agrees";
    }
    assert_eq!(status.code(), Some(i32::from(!agrees)), "{told}");
}

/// Two comparisons of the suite, each with a second of every contender: at saturation, and at a hundredth of what Kafka reached there.
#[test]
fn the_suite_compares_and_shows_all_on_one_page() {
    let directory = new_directory();
    let binaries = directory.path().join("binaries");
    fs::create_dir(&binaries).expect("the directory is writable");
    // The tool starts the broker that lies beside it, and would look through a link.
    for (binary, name) in [(tool(), "iolite-bench"), (iolite_binary(), "iolite-broker")] {
        fs::copy(binary, binaries.join(name)).expect("the directory is writable");
    }
    let out = directory.path().join("suite");
    let mut suite = command_of(&e2e::project().join("bench/peers/suite"));
    suite.arg(&out).env("TMPDIR", directory.path()).env("BENCH", binaries.join("iolite-bench"));
    suite.env("KAFKA_JARS", jars()).envs([("ROUNDS", "1"), ("SECONDS_EACH", "1"), ("WARM_UP", "1")]);
    suite.envs([
        ("SATURATED", "small-unbatched-saturated"),
        ("OWN_MAXIMUM", ""),
        ("SAME_RATES", "1"),
        ("SETTLE_MAX", "2s"),
    ]);
    for part in ["RATED", "MIXED", "DRAINED", "UNPINNED", "PERFORMANCE"] {
        suite.env(part, "");
    }
    let (status, lines) = run("suite", suite, 2 * DEADLINE);
    let told = lines.join("\n");
    assert!(status.success(), "{told}");
    for name in ["small-unbatched-saturated", "small-unbatched-saturated-1-percent"] {
        assert!(out.join(name).with_extension("json").is_file(), "{name}: {told}");
    }
    assert!(told.contains("contenders reached as much"), "{told}");
    assert!(out.join("all.html").is_file(), "{told}");
}

/// Runs `check`, in Python, with the script's own functions.
fn with_script(check: &str) {
    let load = format!(
        "import importlib.machinery, importlib.util\n\
         loader = importlib.machinery.SourceFileLoader('script', {:?})\n\
         script = importlib.util.module_from_spec(importlib.util.spec_from_loader('script', loader))\n\
         loader.exec_module(script)\n{check}",
        script()
    );
    let mut python = Command::new("python3");
    python.env("PYTHONDONTWRITEBYTECODE", "1").args(["-c", &load]);
    let (status, lines) = run("python3", python, DEADLINE);
    assert!(status.success(), "{}", lines.join("\n"));
}

#[test]
fn load_generators_agree_within_ten_percent_or_it_is_said_why_not() {
    with_script(
        r#"
def told(rate, p99):
    return {"records_per_second": rate, "mean_ms": None, "p50_ms": 2.0, "p99_ms": p99}
lines, agrees = script.verdict("w", [told(1000, 10)] * 3, [told(1100, 9), told(1090, 9), told(5000, 9)])
text = "\n".join(lines)
assert agrees, text
assert "+10.0 %  agrees within 10 %" in text and "-10.0 %  agrees within 10 %" in text, text
assert "mean ms    not compared: the rounds are too short for that" in text, text
lines, agrees = script.verdict("w", [told(1000, 10)], [told(1000, 5)])
text = "\n".join(lines)
assert agrees and "-50.0 %  differs: as the mean; and ProducerPerformance has no warm-up" in text, text
lines, agrees = script.verdict("w", [told(1000, 10)], [told(880, 10)])
assert not agrees and "-12.0 %  differs: and should not" in "\n".join(lines), lines
quick = {"records_per_second": 1000, "mean_ms": 0.4, "p50_ms": 0.0, "p99_ms": 1.0}
lines, agrees = script.verdict("w", [quick], [dict(quick, p50_ms=0.3)])
text = "\n".join(lines)
assert agrees and "p50 ms     not compared: ProducerPerformance's is below its resolution of 1 ms" in text, text
assert "too short" not in text, text
"#,
    );
}

#[test]
fn the_first_seconds_of_a_jvm_are_no_part_of_its_mean() {
    with_script(
        r#"
found = script.theirs_of([
    "SLF4J: something",
    "100 records sent, 20.0 records/sec (0.02 MB/sec), 90.0 ms avg latency, 400.0 ms max latency.",
    "300 records sent, 60.0 records/sec (0.06 MB/sec), 2.0 ms avg latency, 30.0 ms max latency.",
    "100 records sent, 20.0 records/sec (0.02 MB/sec), 4.0 ms avg latency, 30.0 ms max latency.",
    "500 records sent, 33.3 records/sec (0.03 MB/sec), 20.00 ms avg latency, 400.00 ms max latency, 3 ms 50th, 9 ms 95th, 11 ms 99th, 12 ms 99.9th.",
])
assert found == {"records_per_second": 33.3, "mean_ms": 2.5, "p50_ms": 3.0, "p99_ms": 11.0}, found
"#,
    );
}
