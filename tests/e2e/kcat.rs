//! kcat (Debian's, librdkafka 2.0.2): the oldest client in wide use, and the most talkative about what it dislikes.

use std::process::Command;

use e2e::broker::{self, Target};
use e2e::process::{self, Finished};
use e2e::{DEADLINE, unique, wire};

/// What an old librdkafka turns on only if the broker advertises exactly the old versions it knows.
const FEATURES_NEEDED: [&str; 6] =
    ["ApiVersion", "MsgVer2", "IdempotentProducer", "OffsetTime", "LZ4", "ZSTD"];

/// What marks a protocol complaint in librdkafka's debug output.
const COMPLAINTS: [&str; 9] = [
    "PROTOERR",
    "PROTOUFLOW",
    "PROTOVER",
    "CORRID",
    "parse failed",
    "parsing failed",
    "does not support",
    "Unsupported",
    "BADCRC",
];

fn kcat(arguments: &[&str], input: &str) -> Finished {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker::shared().kafka().to_string()]).args(arguments);
    let finished = process::run_with_input("kcat", command, input.as_bytes(), DEADLINE);
    assert!(finished.status.success(), "kcat {arguments:?}: {finished}");
    finished
}

fn topic(name: &str, partitions: i32) -> String {
    let topic = unique(&format!("kcat-{name}"));
    wire::create_topic(broker::shared().kafka(), &topic, partitions, &[("retention.ms", "-1")]);
    topic
}

#[test]
fn every_compression_with_keys() {
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = topic(compression, 3);
        let line = |partition: i32, index: i32| {
            format!("key-{index}:value {index} of {partition} {}", "=".repeat(200))
        };
        for partition in 0..3 {
            let lines: String = (0..50).map(|index| line(partition, index) + "\n").collect();
            let number = partition.to_string();
            kcat(
                &[
                    "-P",
                    "-t",
                    &topic,
                    "-p",
                    &number,
                    "-K",
                    ":",
                    "-z",
                    compression,
                    "-X",
                    "enable.idempotence=true",
                ],
                &lines,
            );
        }
        for partition in 0..3 {
            let number = partition.to_string();
            let read = kcat(
                &["-C", "-t", &topic, "-p", &number, "-o", "beginning", "-e", "-q", "-f", "%o %k:%s\n"],
                "",
            );
            let expected: Vec<String> =
                (0..50).map(|index| format!("{index} {}", line(partition, index))).collect();
            assert_eq!(read.stdout, expected, "{compression}, partition {partition}");
        }
    }
}

#[test]
fn nulls_headers_and_offsets() {
    let topic = topic("odd", 1);
    kcat(
        &["-P", "-t", &topic, "-p", "0", "-K", ":", "-Z", "-H", "a=1", "-H", "a=2", "-H", "empty="],
        "k:\n:v\nk:v\n",
    );
    let format = "%o|%K|%S|%h|%k|%s\n";
    let read = kcat(&["-C", "-t", &topic, "-p", "0", "-o", "beginning", "-e", "-q", "-f", format], "");
    let headers = "a=1,a=2,empty=";
    let expected =
        [format!("0|1|-1|{headers}|k|"), format!("1|-1|1|{headers}||v"), format!("2|1|1|{headers}|k|v")];
    assert_eq!(read.stdout, expected);
    let from_two = kcat(&["-C", "-t", &topic, "-p", "0", "-o", "2", "-e", "-q", "-f", "%o\n"], "");
    assert_eq!(from_two.stdout, ["2"]);
    let last = kcat(&["-C", "-t", &topic, "-p", "0", "-o", "-1", "-e", "-q", "-f", "%o\n"], "");
    assert_eq!(last.stdout, ["2"]);
    let end = kcat(&["-Q", "-t", &format!("{topic}:0:-1")], "");
    assert_eq!(end.stdout, [format!("{topic} [0] offset 3")]);
}

#[test]
fn every_acks() {
    for acks in ["0", "1", "all"] {
        let topic = topic("acks", 1);
        let lines: String = (0..100).map(|index| format!("{index}\n")).collect();
        kcat(&["-P", "-t", &topic, "-p", "0", "-X", &format!("acks={acks}")], &lines);
        let read = kcat(&["-C", "-t", &topic, "-p", "0", "-o", "beginning", "-c", "100", "-q"], "");
        assert_eq!(read.stdout, lines.lines().collect::<Vec<_>>(), "acks={acks}");
    }
}

#[test]
fn it_lists_the_broker_and_the_topic() {
    let topic = topic("list", 2);
    let listed = kcat(&["-L", "-t", &topic], "");
    let text = listed.stdout.join("\n");
    let address = broker::shared().kafka().to_string();
    assert!(text.contains(&format!("at {address}")), "{text}");
    assert!(text.contains(&format!("topic \"{topic}\" with 2 partitions")), "{text}");
}

#[test]
fn its_debug_output_shows_no_protocol_complaint() {
    let topic = topic("debug", 1);
    let debug = ["-X", "debug=all"];
    let produce = ["-P", "-t", &topic, "-p", "0", "-z", "zstd", "-X", "enable.idempotence=true"];
    let consume = ["-C", "-t", &topic, "-p", "0", "-o", "beginning", "-e"];
    // Long enough that compression pays; a batch that doesn't get smaller goes out as it is.
    let values = ["one", "two"].map(|value| value.repeat(200));
    let writer = kcat(&[&produce[..], &debug].concat(), &format!("{}\n{}\n", values[0], values[1]));
    let reader = kcat(&[&consume[..], &debug].concat(), "");
    assert_eq!(reader.stdout, values);
    for lines in [&writer.stderr, &reader.stderr] {
        for line in lines {
            // Apache Kafka answers before its transaction coordinator is up.
            if broker::shared().target() == Target::Kafka && line.contains("Coordinator load in progress") {
                continue;
            }
            let level = line.strip_prefix('%').and_then(|rest| rest.chars().next());
            assert!(level.is_none_or(|level| level == '7' || !level.is_ascii_digit()), "{line}");
            assert!(!COMPLAINTS.iter().any(|complaint| line.contains(complaint)), "{line}");
        }
        let mut features =
            lines.iter().filter_map(|line| line.split_once("Updated enabled protocol features to "));
        let (_, enabled) = features.next_back().expect("it says which features it turned on");
        for feature in FEATURES_NEEDED {
            assert!(enabled.split(',').any(|one| one == feature), "{feature} is not in {enabled}");
        }
    }
    if broker::shared().target() == Target::Iolite {
        let compressed = writer.stderr.iter().any(|line| line.contains("PRODUCE") && line.contains("zstd"));
        assert!(compressed, "the batch went out compressed");
    }
}
