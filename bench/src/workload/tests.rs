use super::builtin::FILES;
use super::*;

const SMALLEST: &str =
    "name = \"x\"\nversion = 1\ndescription = \"d\"\n[[streams]]\nname = \"s\"\nrate = 1\n";

/// The smallest workload with `more` behind it is refused with a message that has all of `words`.
fn refused(more: &str, words: &[&str]) {
    let error = parse(&format!("{SMALLEST}{more}"), "my.toml").expect_err("it must be refused").to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn every_file_is_in_the_binary_under_its_name() {
    for (workload, (file, _)) in all().iter().zip(FILES) {
        assert_eq!(&workload.name, file);
        assert!(!workload.description.is_empty());
    }
    let directory = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("workloads"));
    assert_eq!(directory.expect("the workloads' directory").count(), FILES.len());
}

#[test]
fn the_smallest_has_defaults() {
    let workload = parse(SMALLEST, "my.toml").expect("it is one");
    let stream = &workload.streams[0];
    assert_eq!((stream.topics, stream.partitions, stream.producers), (1, 1, 1));
    assert_eq!(stream.acks, Acks::All);
    assert_eq!(stream.record.value_bytes, ValueBytes::Fixed(1024));
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    refused("partitons = 3\n", &["my.toml", "line 7", "partitons"]);
}

#[test]
fn a_wrong_type_is_refused() {
    refused("partitions = \"three\"\n", &["my.toml", "partitions"]);
    refused("acks = \"most\"\n", &["most"]);
}

#[test]
fn values_out_of_bounds_are_refused() {
    refused("partitions = 0\n", &["stream \"s\"", "partitions is 0", "1 to"]);
    refused("topics = 70000\npartitions = 70000\n", &["topics x partitions"]);
    refused("[streams.record]\nvalue_bytes = 10\n", &["value_bytes", "24"]);
    refused("[streams.record]\nvalue_bytes = { min = 200, max = 100 }\n", &["value_bytes is 200 to 100"]);
    refused("[streams.record]\ncompressibility = 2.0\n", &["compressibility is 2"]);
    refused("[streams.record]\nkeys = { count = 0 }\n", &["keys.count is 0"]);
    refused("linger_ms = -1.0\n", &["linger_ms"]);
    refused("backlog_memories = 101\n", &["backlog_memories is 101", "0 to 100"]);
}

#[test]
fn impossible_rates_are_refused() {
    let at = |rate: &str| parse(&SMALLEST.replace("rate = 1", &format!("rate = {rate}")), "my.toml");
    for rate in ["0", "-5", "1e12", "nan", "inf"] {
        let error = at(rate).expect_err("it must be refused").to_string();
        assert!(error.contains("records a second"), "{error}");
    }
    assert!(at("0.5").is_ok());
}

#[test]
fn contradictions_are_refused() {
    refused("in_flight = 1\n", &["exclude each other"]);
    refused("idempotent = true\nacks = \"1\"\n", &["idempotent"]);
    refused("catch_up_readers = 1\n", &["backlog_bytes"]);
    refused("[[streams]]\nname = \"s\"\nrate = 1\n", &["two streams"]);
}

#[test]
fn an_unknown_name_is_told_what_is_near() {
    let error = find("small-unbatchd").expect_err("no such workload").to_string();
    assert!(error.contains("did you mean \"small-unbatched\""), "{error}");
    let error = find("nowhere/x.toml").expect_err("no such file").to_string();
    assert!(error.contains("can't be read"), "{error}");
}

#[test]
fn another_rate_keeps_the_shares() {
    let text = format!("{SMALLEST}[[streams]]\nname = \"t\"\nrate = 3\n");
    let workload = parse(&text, "my.toml").expect("it is one").paced(crate::pace::Pace::PerSecond(100.0));
    let rates: Vec<Option<f64>> = workload.streams.iter().map(|stream| stream.rate).collect();
    assert_eq!(rates, [Some(25.0), Some(75.0)]);
    assert_eq!(workload.rate(), Some(100.0));
}
