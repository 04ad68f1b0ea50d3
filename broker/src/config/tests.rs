//! Each case is one line: what stands where, and what comes of it.

use super::*;
use std::io::Write;
use std::time::Duration;

/// Loads with a file of these lines (none: no file), variables and flags.
pub(super) fn load_from(
    file: &str,
    environment: &[(&str, &str)],
    flags: &[&str],
) -> Result<Invocation, String> {
    let mut arguments: Vec<OsString> = vec!["iolite-broker".into()];
    let mut written = tempfile::Builder::new().prefix("broker").suffix(".toml").tempfile().unwrap();
    if !file.is_empty() {
        written.write_all(file.as_bytes()).unwrap();
        arguments.extend(["--config".into(), written.path().into()]);
    }
    arguments.extend(flags.iter().map(Into::into));
    let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
    let path = written.path().display().to_string();
    load(arguments, environment).map_err(|errors| errors.to_string().replace(&path, "broker.toml"))
}

fn config_from(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> BrokerConfig {
    match load_from(file, environment, flags) {
        Ok(Invocation::Run(config)) => *config,
        other => panic!("no configuration: {other:?}"),
    }
}

/// The value of one key and where it came from.
fn check(file: &str, environment: &[(&str, &str)], flags: &[&str], key: &str, expected: &str) {
    let config = config_from(file, environment, flags);
    let entry = config.entry(key).expect("a key of the table");
    let source = match entry.place {
        Place::Default => "default",
        Place::File(_, line) => &format!("line {line}"),
        Place::Environment(name) | Place::Flag(name) => name,
    };
    assert_eq!(format!("{} ({source})", entry.value.as_deref().unwrap_or("unset")), expected, "{key}");
}

fn check_refused(file: &str, environment: &[(&str, &str)], flags: &[&str], expected: &str) {
    match load_from(file, environment, flags) {
        Err(error) => assert_eq!(error, expected),
        Ok(_) => panic!("taken: {file:?} {environment:?} {flags:?}"),
    }
}

#[test]
fn what_members_are_told_is_within_what_it_may_be() {
    check_refused(
        "group.consumer.session.timeout.ms = 44999",
        &[],
        &[],
        "broker.toml:1: group.consumer.session.timeout.ms: 44999 is not within group.consumer.min.session.timeout.ms (45000) \
         and group.consumer.max.session.timeout.ms (60000)",
    );
    check_refused(
        "group.consumer.max.heartbeat.interval.ms = 45000",
        &[],
        &["--set", "group.consumer.heartbeat.interval.ms=45000"],
        "flag --set: group.consumer.heartbeat.interval.ms: must be less than group.consumer.session.timeout.ms (45000)",
    );
    check(
        "",
        &[],
        &["--set", "group.consumer.assignors=range, uniform"],
        "group.consumer.assignors",
        "range,uniform (--set)",
    );
    let named_twice = "flag --set: group.consumer.assignors: range is named twice in \"range,range\"";
    check_refused("", &[], &["--set", "group.consumer.assignors=range,range"], named_twice);
}

#[test]
fn the_upper_source_wins() {
    let file = "log.segment.bytes = 2000000";
    let variable = [("IOLITE_LOG_SEGMENT_BYTES", "3000000")];
    let flag = ["--set", "log.segment.bytes=4000000"];
    check("", &[], &[], "log.segment.bytes", "1073741824 (default)");
    check(file, &[], &[], "log.segment.bytes", "2000000 (line 1)");
    check(file, &variable, &[], "log.segment.bytes", "3000000 (IOLITE_LOG_SEGMENT_BYTES)");
    check(file, &variable, &flag, "log.segment.bytes", "4000000 (--set)");
}

#[test]
fn keys_are_written_flat_quoted_or_as_tables() {
    check("log.segment.bytes = 2000000", &[], &[], "log.segment.bytes", "2000000 (line 1)");
    check("\"log.segment.bytes\" = 2000000", &[], &[], "log.segment.bytes", "2000000 (line 1)");
    check("[log]\nsegment.bytes = 2000000", &[], &[], "log.segment.bytes", "2000000 (line 2)");
    check("[log.segment]\n# so large\nbytes = 2000000", &[], &[], "log.segment.bytes", "2000000 (line 3)");
    check("[log]\nsegment = { bytes = 2000000 }", &[], &[], "log.segment.bytes", "2000000 (line 2)");
}

#[test]
fn values_are_read_from_what_people_write() {
    check("log.segment.bytes = '2MiB'", &[], &[], "log.segment.bytes", "2097152 (line 1)");
    check("log.segment.bytes = 0x200000", &[], &[], "log.segment.bytes", "2097152 (line 1)");
    check("log.segment.bytes = 2_000_000", &[], &[], "log.segment.bytes", "2000000 (line 1)");
    check("log.retention.ms = '7d'", &[], &[], "log.retention.ms", "604800000 (line 1)");
    check("log.retention.ms = -1", &[], &[], "log.retention.ms", "-1 (line 1)");
    check("connections.max.idle.ms = '30 s'", &[], &[], "connections.max.idle.ms", "30000 (line 1)");
    check("auto.create.topics.enable = false", &[], &[], "auto.create.topics.enable", "false (line 1)");
    check("cores = [0, '2-3']", &[], &[], "cores", "0,2,3 (line 1)");
    check("cores = 1", &[], &[], "cores", "1 (line 1)");
    check("listeners = 'PLAINTEXT://:9093'", &[], &[], "listeners", "PLAINTEXT://:9093 (line 1)");
    check("listeners = ['[::1]:9093']", &[], &[], "listeners", "PLAINTEXT://[::1]:9093 (line 1)");
    check("", &[("IOLITE_LOG_RETENTION_MS", "")], &[], "log.retention.ms", "unset (IOLITE_LOG_RETENTION_MS)");
    check("", &[("IOLITE_ADMIN_LISTENER", "")], &[], "admin.listener", "unset (IOLITE_ADMIN_LISTENER)");
}

#[test]
fn everyday_keys_have_flags() {
    check("", &[], &["--data-dir", "/srv/iolite"], "log.dirs", "/srv/iolite (--data-dir)");
    check("", &[], &["--listen", "localhost:0"], "listeners", "PLAINTEXT://localhost:0 (--listen)");
    check(
        "",
        &[],
        &["--advertise", "broker-1:9092"],
        "advertised.listeners",
        "PLAINTEXT://broker-1:9092 (--advertise)",
    );
    check("", &[], &["--admin=127.0.0.1:0"], "admin.listener", "127.0.0.1:0 (--admin)");
    check("", &[], &["--shards", "4"], "shards", "4 (--shards)");
    check("", &[], &["--cores", "0,2-3"], "cores", "0,2,3 (--cores)");
    check("", &[], &["--log-format", "json"], "logging.format", "json (--log-format)");
    check("", &[], &["--log-level", "debug"], "logging.level", "debug (--log-level)");
}

#[test]
fn kafka_s_other_names_are_known() {
    check("log.dir = '/srv/a'", &[], &[], "log.dirs", "/srv/a (line 1)");
    check("broker.id = 7", &[], &[], "node.id", "7 (line 1)");
    check("", &[("IOLITE_BROKER_ID", "7")], &[], "node.id", "7 (IOLITE_BROKER_ID)");
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_right_one() {
    check_refused(
        "\nlog.segment.byte = 1",
        &[],
        &[],
        "broker.toml:2: log.segment.byte: unknown key; did you mean log.segment.bytes?",
    );
    check_refused(
        "",
        &[("IOLITE_LOG_SEGMENTS_BYTES", "1")],
        &[],
        "environment IOLITE_LOG_SEGMENTS_BYTES: log.segments.bytes: unknown key; \
         did you mean IOLITE_LOG_SEGMENT_BYTES?",
    );
    check_refused(
        "",
        &[],
        &["--set", "num.partition=3"],
        "flag --set: num.partition: unknown key; did you mean num.partitions?",
    );
    check_refused("", &[], &["--set", "zzz=1"], "flag --set: zzz: unknown key; --help lists all of them");
    check_refused(
        "",
        &[],
        &["--set", "num.io.threads=8"],
        "flag --set: num.io.threads: not supported: there are no I/O threads; set shards",
    );
    check_refused(
        "",
        &[],
        &["--lissten", "x:1"],
        "flag (command line): unexpected argument '--lissten' found; \
         a similar argument exists: '--listen'",
    );
}

#[test]
fn a_wrong_value_is_refused_with_the_reason() {
    let refused = |file, reason: &str| check_refused(file, &[], &[], &format!("broker.toml:1: {reason}"));
    refused("shards = 'many'", "shards: \"many\" is not a whole number");
    refused("shards = 0", "shards: 0 is too low: at least 1");
    refused("shards = 2000", "shards: 2000 is too high: at most 1024");
    refused("shards = 1.5", "shards: a float can't be a value here");
    refused("shards.count = 1", "shards.count: unknown key; did you mean shards?");
    refused(
        "log.segment.bytes = '1 megabyte'",
        "log.segment.bytes: \"1 megabyte\" is not a number of bytes such as 1048576 or 1MiB",
    );
    refused(
        "log.roll.ms = '9999999999999d'",
        "log.roll.ms: \"9999999999999d\" is not a number of milliseconds such as 5000 or 5s",
    );
    refused(
        "compression.type = 'zip'",
        "compression.type: \"zip\": String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer",
    );
    refused("logging.format = 'xml'", "logging.format: \"xml\" is not one of text, json");
    refused(
        "log.cleanup.policy = 'compress'",
        "log.cleanup.policy: \"compress\": String must be one of: compact, delete",
    );
    refused("delete.topic.enable = 1", "delete.topic.enable: \"1\" is neither true nor false");
    refused("listeners = '9092'", "listeners: \"9092\" is not HOST:PORT (such as 127.0.0.1:9092)");
    refused("listeners = 'a:99999'", "listeners: \"99999\" is not a port: 0 to 65535");
    refused(
        "listeners = '::1:9092'",
        "listeners: \"::1\" is not a host (an IPv6 address stands in brackets: [::1]:9092)",
    );
    refused(
        "listeners = 'SSL://a:1'",
        "listeners: SSL is not supported: PLAINTEXT is the only security protocol yet",
    );
    refused("listeners = ['a:1', 'b:2']", "listeners: one listener only is supported");
    refused("log.dirs = '/a,/b'", "log.dirs: one directory only; a comma isn't allowed in its name");
    refused("cores = '3-1'", "cores: \"3-1\" is not a list of cores such as 0,2-3");
    refused("cores = '0-99999999'", "cores: \"0-99999999\" is not a list of cores such as 0,2-3");
    refused("cores = '0,0'", "cores: core 0 is named twice in \"0,0\"");
    refused("shards =", "not TOML: string values must be quoted, expected literal string");
}

#[test]
fn every_mistake_is_told_at_once() {
    check_refused(
        "shards = 0\nnum.partition = 3",
        &[("IOLITE_CORES", "x")],
        &["--set", "nonsense"],
        "flag --set: \"nonsense\" is not KEY=VALUE",
    );
    let told = load_from("shards = 0\nnum.partition = 3", &[("IOLITE_CORES", "x")], &[]).unwrap_err();
    let places: Vec<_> = told.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(places, ["broker.toml:2", "broker.toml:1", "environment IOLITE_CORES"]);
}

#[test]
fn a_key_given_twice_in_one_source_is_refused() {
    check_refused(
        "log.dir = 'a'\nlog.dirs = 'b'",
        &[],
        &[],
        "broker.toml:2: log.dirs: given twice, first at broker.toml:1",
    );
    check_refused(
        "",
        &[],
        &["--data-dir", "a", "--set", "log.dirs=b"],
        "flag --set: log.dirs: given twice, first at flag --data-dir",
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    check_refused(
        "",
        &[],
        &["--config", "/nonexistent/iolite.toml"],
        "/nonexistent/iolite.toml: can't be read: No such file or directory (os error 2)",
    );
    check_refused(
        "",
        &[("IOLITE_CONFIG", "/nonexistent/other.toml")],
        &[],
        "/nonexistent/other.toml: can't be read: No such file or directory (os error 2)",
    );
}

#[test]
fn variables_that_kubernetes_makes_of_a_service_are_no_keys() {
    let links = [
        ("IOLITE_SERVICE_HOST", "10.0.0.1"),
        ("IOLITE_SERVICE_PORT_KAFKA", "9092"),
        ("IOLITE_PORT", "tcp://10.0.0.1:9092"),
        ("IOLITE_PORT_9092_TCP_ADDR", "10.0.0.1"),
        ("IOLITE_BROKER_PORT_9092_TCP", "tcp://10.0.0.1:9092"),
    ];
    check("", &links, &[], "listeners", "PLAINTEXT://127.0.0.1:9092 (default)");
}

#[test]
fn keys_that_contradict_each_other_are_refused() {
    let refused = |flags: &[&str], reason: &str| {
        let flags: Vec<_> = flags.iter().flat_map(|flag| ["--set", flag]).collect();
        check_refused("", &[], &flags, reason);
    };
    refused(
        &["message.max.bytes=33554433"],
        "flag --set: message.max.bytes: a batch must fit half a journal file: \
         at most 33554432, or raise journal.file.bytes",
    );
    refused(
        &["socket.request.max.bytes=100000"],
        "default: message.max.bytes: a batch must fit a request: \
         set socket.request.max.bytes to more than 1048588",
    );
    refused(
        &["journal.bytes=64MiB"],
        "default: journal.file.bytes: a journal has at least 4 files: at most 16777216, or raise journal.bytes",
    );
    refused(&["journal.file.bytes=8388609"], "flag --set: journal.file.bytes: must be a multiple of 4096");
    refused(
        &["journal.frame.max.bytes=5MiB", "journal.file.bytes=8MiB"],
        "flag --set: journal.frame.max.bytes: a journal write must fit half a journal file: \
         at most 4194304, or raise journal.file.bytes",
    );
    refused(
        &["advertised.listeners=0.0.0.0:9092"],
        "flag --set: advertised.listeners: no client can connect to it: name a host or address",
    );
    refused(
        &["memory.bytes=64MiB", "memory.tail.bytes=65MiB"],
        "flag --set: memory.bytes: its parts alone are 68157440: raise it or lower them",
    );
}

pub(super) fn machine() -> Machine {
    Machine { cores: vec![2, 3, 5, 7], parallelism: 4, memory_bytes: 8 << 30, host_name: "oak".to_owned() }
}

#[test]
fn shards_spread_over_cores() {
    let check = |flags: &[&str], parallelism, expected: &[usize]| {
        let machine = Machine { parallelism, ..machine() };
        assert_eq!(config_from("", &[], flags).shard_layout(&machine).core_of_shard, expected, "{flags:?}");
    };
    check(&[], 4, &[2, 3, 5, 7]);
    check(&[], 2, &[2, 3]);
    check(&["--shards", "1"], 4, &[2]);
    check(&["--shards", "6"], 4, &[2, 3, 5, 7, 2, 3]);
    check(&["--cores", "0-1"], 4, &[0, 1]);
    check(&["--cores", "0-2"], 1, &[0, 1, 2]);
    check(&["--cores", "5", "--shards", "2"], 4, &[5, 5]);
}

#[test]
fn memory_is_divided_among_shards_and_purposes() {
    let budget = |flags: &[&str], shards| {
        let flags: Vec<_> = flags.iter().flat_map(|flag| ["--set", flag]).collect();
        config_from("", &[], &flags).memory_budget(&machine(), shards)
    };
    assert_eq!(budget(&[], 1).total_bytes, 2 << 30, "at most 2 GiB a shard");
    assert_eq!(budget(&[], 4).total_bytes, 1 << 30, "half of the machine");
    assert_eq!(budget(&["memory.bytes=256MiB"], 2).total_bytes, 128 << 20);
    assert_eq!(budget(&["memory.bytes=256MiB"], 2).requests_bytes, 32 << 20);
    assert_eq!(budget(&["memory.bytes=256MiB"], 2).tail_bytes, 48 << 20);
    assert_eq!(budget(&["memory.bytes=256MiB"], 2).replies_bytes, 16 << 20);
    assert_eq!(budget(&["memory.bytes=256MiB"], 2).producers_bytes, 16 << 20);
    assert_eq!(budget(&["memory.tail.bytes=100MiB"], 2).tail_bytes, 50 << 20);
}

#[test]
fn clients_are_told_an_address_they_can_reach() {
    let check = |flags: &[&str], expected: &str| {
        assert_eq!(config_from("", &[], flags).advertised(&machine(), 4711).to_string(), expected);
    };
    check(&[], "127.0.0.1:4711");
    check(&["--listen", "10.1.2.3:0"], "10.1.2.3:4711");
    check(&["--listen", "0.0.0.0:9092"], "oak:4711");
    check(&["--listen", ":9092"], "oak:4711");
    check(&["--advertise", "outside:19092"], "outside:19092");
    check(&["--advertise", "outside:0"], "outside:4711");
}

#[test]
fn defaults_hold_together() {
    let config = config_from("", &[], &[]);
    assert_eq!(config.connections_max_idle, Duration::from_secs(600));
    assert_eq!(BrokerConfig::embedded().entries().count(), definitions().len());
}

#[test]
fn every_value_is_read_back_as_it_is_shown() {
    let config = BrokerConfig::embedded();
    for entry in config.entries() {
        let Some(value) = entry.value else { continue };
        let key = entry.definition.key;
        let given = format!("{key}={value}");
        let again = config_from("", &[], &["--set", &given]);
        assert_eq!(again.entry(key).unwrap().value.as_deref(), Some(value.as_str()), "{key}");
    }
}

/// TOML can't hold both `a = 1` and `a.b = 1`, nor the environment both `a.b` and `a-b`.
#[test]
fn every_key_can_be_written_in_every_source() {
    let names: Vec<_> = definitions()
        .iter()
        .flat_map(|definition| std::iter::once(definition.key).chain(definition.aliases.iter().copied()))
        .collect();
    for (index, name) in names.iter().enumerate() {
        for other in &names[index + 1..] {
            assert!(!other.starts_with(&format!("{name}.")), "{name} and {other}");
            assert!(!name.starts_with(&format!("{other}.")), "{name} and {other}");
            assert_ne!(table::environment_variable(name), table::environment_variable(other));
        }
    }
}

#[test]
fn help_shows_every_key_with_its_default() {
    let Ok(Invocation::Print(help)) = load_from("", &[], &["--help"]) else { panic!("no help") };
    for definition in definitions() {
        let default = if definition.default.is_empty() { "unset" } else { definition.default };
        assert!(help.contains(&format!("  {} = {default}\n", definition.key)), "{}", definition.key);
    }
    let Ok(Invocation::Print(version)) = load_from("", &[], &["--version"]) else { panic!("no version") };
    assert_eq!(version.trim(), format!("iolite-broker {}", env!("CARGO_PKG_VERSION")));
}

/// A key with a field here and a place in logic's table means the same in both.
#[test]
fn the_two_tables_agree() {
    let config = BrokerConfig::embedded();
    for other in logic::config::broker::DEFINITIONS {
        let entry = config.entry(other.name).expect("every key of logic's is a key");
        assert_eq!(entry.value.as_deref(), other.default, "{}", other.name);
        assert_eq!(
            format!("{:?}", entry.definition.config_type()),
            format!("{:?}", other.kind),
            "{}",
            other.name
        );
    }
}

#[test]
fn topics_inherit_what_was_set_and_nothing_else() {
    let config =
        config_from("log.segment.bytes = '2MiB'\nshards = 1\nnode.id = 3\nlog.retention.ms = ''", &[], &[]);
    let layer: Vec<_> = config.layer().iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(layer, ["log.segment.bytes=2097152", "node.id=3"]);
}

/// `iolite-broker --print-config-reference` makes the part below the mark.
#[test]
fn the_documentation_lists_every_key_as_it_is() {
    let documentation = include_str!("../../../docs/configuration.md");
    let (_, listed) = documentation.split_once("<!-- reference -->\n").expect("a mark");
    assert_eq!(listed, reference(), "print it again into docs/configuration.md");
}
