//! Kafka's own command-line tools, as an operator runs them.

use std::fs;

use e2e::broker::{self, Broker, Options, Target, java};
use e2e::process::{self, Finished};
use e2e::{DEADLINE, unique, wire};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

fn tool(class: &str, arguments: &[&str], input: &str) -> Finished {
    let bootstrap = broker::shared().kafka().to_string();
    let mut command = java(class);
    command.args(["--bootstrap-server", &bootstrap]).args(arguments);
    let finished = process::run_with_input(class, command, input.as_bytes(), DEADLINE);
    assert!(finished.status.success(), "{class} {arguments:?}: {finished}");
    finished
}

fn topic(name: &str, partitions: i32) -> String {
    let topic = unique(&format!("tools-{name}"));
    wire::create_topic(broker::shared().kafka(), &topic, partitions, &[("retention.ms", "-1")]);
    topic
}

#[test]
fn topics_are_made_grown_described_and_deleted() {
    let topic = unique("tools-topics");
    let made = tool(
        TOPICS,
        &["--create", "--topic", &topic, "--partitions", "3", "--config", "segment.bytes=10485760"],
        "",
    );
    assert!(made.stdout.contains(&format!("Created topic {topic}.")), "{made}");
    wire::settle(broker::shared().kafka(), &topic, 3);
    tool(TOPICS, &["--alter", "--topic", &topic, "--partitions", "4"], "");
    wire::settle(broker::shared().kafka(), &topic, 4);
    let described = tool(TOPICS, &["--describe", "--topic", &topic], "").stdout.join("\n");
    for wanted in ["PartitionCount: 4", "ReplicationFactor: 1", "segment.bytes=10485760", "Partition: 3"] {
        assert!(described.contains(wanted), "{wanted} in:\n{described}");
    }
    tool(TOPICS, &["--delete", "--topic", &topic], "");
    let listed = tool(TOPICS, &["--list"], "");
    assert!(!listed.stdout.contains(&topic), "{listed}");
}

#[test]
fn the_console_producer_and_consumer_pass_keys_and_headers_on() {
    let topic = topic("console", 1);
    let input = "a:1,b:2\tkey 1\tvalue 1\na:3\tkey 2\tvalue 2\n";
    let parse = ["parse.key=true", "parse.headers=true"].map(|property| ["--property", property]).concat();
    let producer = [&["--topic", &topic, "--compression-codec", "lz4"][..], &parse].concat();
    tool("org.apache.kafka.tools.ConsoleProducer", &producer, input);
    let print = ["print.key=true", "print.headers=true", "print.offset=true", "print.partition=true"]
        .map(|property| ["--property", property])
        .concat();
    let from = ["--topic", &topic, "--partition", "0", "--offset", "earliest", "--max-messages", "2"];
    let read = tool(CONSUMER, &[&from[..], &print].concat(), "");
    let expected =
        ["Partition:0\tOffset:0\ta:1,b:2\tkey 1\tvalue 1", "Partition:0\tOffset:1\ta:3\tkey 2\tvalue 2"];
    assert_eq!(read.stdout, expected, "{read}");
    let second = ["--topic", &topic, "--partition", "0", "--offset", "1", "--max-messages", "1"];
    assert_eq!(tool(CONSUMER, &second, "").stdout, ["value 2"]);
}

#[test]
fn producer_performance_is_acknowledged_whole() {
    let topic = topic("performance", 4);
    let bootstrap = format!("bootstrap.servers={}", broker::shared().kafka());
    let mut command = java("org.apache.kafka.tools.ProducerPerformance");
    command.args([
        "--topic",
        &topic,
        "--num-records",
        "20000",
        "--record-size",
        "1000",
        "--throughput",
        "-1",
    ]);
    command.args(["--producer-props", &bootstrap, "acks=all", "compression.type=none"]);
    let finished = process::run_with_input("ProducerPerformance", command, b"", DEADLINE);
    assert!(finished.status.success(), "{finished}");
    assert!(finished.stdout.iter().any(|line| line.starts_with("20000 records sent")), "{finished}");
    assert_eq!(end_offsets(&topic).iter().sum::<i64>(), 20_000);
}

#[test]
fn the_verifiable_producer_verifies() {
    let topic = topic("verifiable", 1);
    let sent =
        tool("org.apache.kafka.tools.VerifiableProducer", &["--topic", &topic, "--max-messages", "500"], "");
    let successes = sent.stdout.iter().filter(|line| line.contains("producer_send_success")).count();
    assert_eq!(successes, 500, "{sent}");
    assert_eq!(end_offsets(&topic), [500]);
}

fn end_offsets(topic: &str) -> Vec<i64> {
    let shown = tool("org.apache.kafka.tools.GetOffsetShell", &["--topic", topic], "");
    let offset = |line: &String| line.rsplit(':').next().and_then(|offset| offset.parse().ok());
    shown.stdout.iter().map(|line| offset(line).unwrap_or_else(|| panic!("{shown}"))).collect()
}

#[test]
fn configs_are_altered_and_shown() {
    const CONFIGS: &str = "kafka.admin.ConfigCommand";
    let topic = topic("configs", 1);
    let entity = ["--entity-type", "topics", "--entity-name", &topic];
    tool(CONFIGS, &[&entity[..], &["--alter", "--add-config", "max.message.bytes=1234567"]].concat(), "");
    let shown = tool(CONFIGS, &[&entity[..], &["--describe"]].concat(), "");
    assert!(shown.stdout.join("\n").contains("max.message.bytes=1234567"), "{shown}");
    tool(CONFIGS, &[&entity[..], &["--alter", "--delete-config", "max.message.bytes"]].concat(), "");
    let shown = tool(CONFIGS, &[&entity[..], &["--describe"]].concat(), "");
    assert!(!shown.stdout.join("\n").contains("max.message.bytes"), "{shown}");
}

#[test]
fn configs_of_groups_are_altered_and_shown() {
    const CONFIGS: &str = "kafka.admin.ConfigCommand";
    let group = unique("tools-group");
    let entity = ["--entity-type", "groups", "--entity-name", &group];
    let setting = "consumer.session.timeout.ms=50000";
    tool(CONFIGS, &[&entity[..], &["--alter", "--add-config", setting]].concat(), "");
    let of_one = tool(CONFIGS, &[&entity[..], &["--describe"]].concat(), "");
    let of_all = tool(CONFIGS, &["--entity-type", "groups", "--describe"], "");
    let everything = tool(CONFIGS, &[&entity[..], &["--describe", "--all"]].concat(), "");
    let line = format!("  {setting} sensitive=false synonyms={{DYNAMIC_GROUP_CONFIG:{setting}}}");
    for shown in [&of_one, &of_all, &everything] {
        assert!(shown.stdout.contains(&line), "{shown}");
    }
    assert!(of_all.stdout.contains(&format!("Dynamic configs for group {group} are:")), "{of_all}");
    let default = "consumer.heartbeat.interval.ms=5000";
    assert!(everything.stdout.iter().any(|line| line.trim_start().starts_with(default)), "{everything}");
    tool(
        CONFIGS,
        &[&entity[..], &["--alter", "--delete-config", "consumer.session.timeout.ms"]].concat(),
        "",
    );
    let shown = tool(CONFIGS, &[&entity[..], &["--describe", "--all"]].concat(), "");
    assert!(!shown.stdout.join("\n").contains("DYNAMIC_GROUP_CONFIG"), "{shown}");
}

#[test]
fn records_are_deleted_and_log_directories_described() {
    let topic = topic("delete", 1);
    tool("org.apache.kafka.tools.ConsoleProducer", &["--topic", &topic], "1\n2\n3\n");
    let file = tempfile::NamedTempFile::new().expect("a file");
    let wanted =
        format!("{{\"partitions\":[{{\"topic\":\"{topic}\",\"partition\":0,\"offset\":2}}],\"version\":1}}");
    fs::write(file.path(), wanted).expect("a file can be written");
    let path = file.path().to_string_lossy().into_owned();
    tool("org.apache.kafka.tools.DeleteRecordsCommand", &["--offset-json-file", &path], "");
    let from = ["--topic", &topic, "--partition", "0", "--offset", "earliest", "--max-messages", "1"];
    assert_eq!(tool(CONSUMER, &from, "").stdout, ["3"]);
    let logs = tool("org.apache.kafka.tools.LogDirsCommand", &["--describe", "--topic-list", &topic], "");
    assert!(logs.stdout.iter().any(|line| line.contains(&format!("\"partition\":\"{topic}-0\""))), "{logs}");
}

#[test]
fn the_broker_tells_its_versions_and_its_cluster() {
    let versions = tool("org.apache.kafka.tools.BrokerApiVersionsCommand", &[], "").stdout.join("\n");
    for wanted in
        ["Produce(0): 0 to 13", "Fetch(1): 4 to 18", "ListOffsets(2): 1 to 1", "Metadata(3): 0 to 13"]
    {
        assert!(versions.contains(wanted), "{wanted} in:\n{versions}");
    }
    let mut command = java("org.apache.kafka.tools.ClusterTool");
    command.args(["cluster-id", "--bootstrap-server", &broker::shared().kafka().to_string()]);
    let cluster = process::run_with_input("ClusterTool", command, b"", DEADLINE);
    assert!(cluster.stdout.iter().any(|line| line.starts_with("Cluster ID: ")), "{cluster}");
}

/// Our segment files are Kafka's: its own dump tool walks them, record by record.
#[test]
fn kafkas_dump_tool_reads_the_segment_files() {
    let broker = Broker::start(Target::chosen(), &Options::default());
    let address = broker.kafka();
    wire::create_topic(address, "dumped", 1, &[("retention.ms", "-1")]);
    let mut driver = e2e::driver::Driver::start(e2e::driver::Client::Java, address);
    let mut make = e2e::records::Maker::new(11);
    for compression in ["none", "zstd"] {
        let records: Vec<_> = (0..50).map(|_| make.record(0, 1_000)).collect();
        let how = e2e::driver::Produce { compression, ..e2e::driver::Produce::default() };
        driver.produce("dumped", how, &records).expect("produced");
    }
    let topics = broker.topics_directory();
    let (status, _directory) = broker.stop();
    assert!(status.success() || Target::chosen() == Target::Kafka, "{status}");
    let log = topics.join("dumped-0/00000000000000000000.log");
    let mut dump = java("kafka.tools.DumpLogSegments");
    dump.args(["--print-data-log", "--deep-iteration", "--files"]).arg(&log);
    let dumped = process::run_with_input("DumpLogSegments", dump, b"", DEADLINE);
    assert!(dumped.status.success(), "{dumped}");
    let records = dumped.stdout.iter().filter(|line| line.starts_with("| offset: ")).count();
    assert_eq!(records, 100, "{dumped}");
    assert!(!dumped.stdout.iter().any(|line| line.contains("isvalid: false")), "{dumped}");
}
