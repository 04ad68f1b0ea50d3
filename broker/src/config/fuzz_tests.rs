//! Whatever people write, in whichever source: it is refused with words, or it is a configuration that a broker can run on.

use proptest::prelude::*;
use proptest::sample::select;

use super::table::environment_variable;
use super::tests::{load_from, machine};
use super::*;
use crate::control::store_options;

/// Configurations a test; in a fixed time, since each is a file of a few lines.
const CASES: u32 = 2_000;

/// Values at the edges of every type, and beyond.
const VALUES: &[&str] = &[
    "",
    " ",
    "0",
    "1",
    "-1",
    "2",
    "3",
    "16",
    "4095",
    "4096",
    "65535",
    "65536",
    "1000000",
    "1048576",
    "8388608",
    "67108864",
    "2147483647",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "1e9",
    "1.5",
    "0x10",
    "1KiB",
    "3MiB",
    "9999999999TiB",
    "7d",
    "5s",
    "106751991168d",
    "true",
    "FALSE",
    "auto",
    "json",
    "producer",
    "gzip",
    "zstd,lz4",
    ",",
    "a,a",
    "0-3",
    "3-0",
    "0-99999999999",
    "0,2-3",
    ":",
    ":0",
    "127.0.0.1:9092",
    "[::1]:9092",
    "PLAINTEXT://:9092",
    "localhost:99999",
    "/",
    "\u{0}",
    "\u{202e}\u{1f980}",
];

fn keys() -> Vec<&'static str> {
    definitions().iter().flat_map(|known| known.aliases.iter().copied().chain([known.key])).collect()
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![8 => select(keys()).prop_map(str::to_owned), 1 => "[a-z.]{0,30}", 1 => any::<String>()]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![6 => select(VALUES).prop_map(str::to_owned), 2 => any::<i64>().prop_map(|number| number.to_string()), 1 => any::<String>()]
}

/// A line of a file: a key and a value in some of the ways TOML has, or anything.
fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (key(), value()).prop_map(|(key, value)| format!("{key:?} = {value:?}")),
        3 => (key(), value()).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => (key(), value()).prop_map(|(key, value)| format!("{key} = [{value:?}, {value}]")),
        1 => key().prop_map(|key| format!("[{key}]")),
        1 => any::<String>(),
    ]
}

/// Takes a configuration through all that is made of it before anything starts.
fn check(loaded: Result<Invocation, String>) {
    match loaded {
        Ok(Invocation::Run(config)) => {
            let layout = config.shard_layout(&machine());
            let budget = config.memory_budget(&machine(), layout.shard_count());
            store_options(&config, 0, layout.shard_count(), &budget).assert_sane();
            assert_ne!(config.advertised(&machine(), 9092).port, 0);
            assert!(!config.describe_local().is_empty());
            assert_eq!(config.entries().count(), definitions().len());
        }
        Ok(Invocation::Print(text)) => assert!(!text.is_empty()),
        Err(told) => assert!(!told.trim().is_empty(), "a refusal has words"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_file_is_refused_or_a_broker_runs_on_it(lines in proptest::collection::vec(line(), 1..6)) {
        check(load_from(&lines.join("\n"), &[], &[]));
    }

    #[test]
    fn one_value_is_refused_or_a_broker_runs_on_it(key in select(keys()), value in value()) {
        check(load_from(&format!("{key:?} = {value:?}"), &[], &[]));
    }

    #[test]
    fn variables_and_flags_are_refused_or_a_broker_runs_on_them(
        variables in proptest::collection::vec((key(), value()), 0..4),
        settings in proptest::collection::vec((key(), value()), 0..4),
        flags in proptest::collection::vec(
            prop_oneof![select(vec!["--listen", "--cores", "--shards", "--config", "--"]).prop_map(str::to_owned), value()],
            0..3,
        ),
    ) {
        let variables: Vec<_> =
            variables.into_iter().map(|(key, value)| (environment_variable(&key), value)).collect();
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let settings: Vec<_> = settings.into_iter().map(|(key, value)| format!("--set={key}={value}")).collect();
        let flags: Vec<_> = settings.iter().chain(&flags).map(String::as_str).collect();
        check(load_from("", &variables, &flags));
    }
}
