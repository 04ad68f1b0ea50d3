//! Kafka's clients read what was written natively, and see exactly that.

use std::process::Command;

use client::protocol::compression::Compression;
use e2e::broker;
use e2e::driver::{Client, Driver, Produce};
use e2e::process;
use e2e::records::{Maker, Record, awkward};
use e2e::wire::{self, Connection};
use e2e::{DEADLINE, unique};

use super::{TIMESTAMP, write};
use crate::suite::{assert_same, placed, wanted};

fn topic(name: &str) -> (String, Connection) {
    let topic = unique(&format!("native-{name}"));
    wire::create_topic(broker::shared().kafka(), &topic, 1, &[("retention.ms", "-1")]);
    (topic, Connection::open(broker::shared().kafka()))
}

/// Every shape of record that there is: nulls, nothing, headers that repeat, times that go back; and some everyday ones.
fn every_shape() -> Vec<Record> {
    let mut records = awkward(Client::Java);
    let mut make = Maker::new(1);
    records.extend((0..30).map(|_| make.record(0, 3000)));
    records
}

fn reads_every_compression(client: Client) {
    let mut driver = Driver::start(client, broker::shared().kafka());
    for name in client.compressions() {
        let (topic, mut connection) = topic(name);
        let compression = Compression::ALL.into_iter().find(|codec| codec.name() == *name);
        let records = every_shape();
        write(&mut connection, &topic, compression.expect("a codec of Kafka's"), &records);
        let expected = placed(&records);
        let read = driver.consume(&topic, &wanted(&expected)).expect("what was written can be read");
        assert_same(name, client, &expected, &read);
    }
}

/// One after the other in one partition, and read from any offset.
fn reads_both_formats_in_turn(client: Client) {
    let mut driver = Driver::start(client, broker::shared().kafka());
    let (topic, mut connection) = topic("mixed");
    let mut make = Maker::new(2);
    let records: Vec<Record> = (0..40).map(|_| make.record(0, 200)).collect();
    for (index, some) in records.chunks(5).enumerate() {
        if index % 2 == 0 {
            write(&mut connection, &topic, Compression::None, some);
        } else {
            driver.produce(&topic, Produce::default(), some).expect("produced");
        }
    }
    let expected = placed(&records);
    for from in [0, 2, 13, 38] {
        let offset = i64::try_from(from).expect("a small number");
        let read = driver.consume(&topic, &[(0, offset, 40 - from)]).expect("read");
        assert_same(&format!("from {from}"), client, &expected[from..], &read);
    }
}

macro_rules! every_client {
    ($($module:ident $client:ident)*) => {
        mod clients {
            $(
                mod $module {
                    use e2e::driver::Client;

                    #[test]
                    fn reads_every_compression() {
                        super::super::reads_every_compression(Client::$client);
                    }

                    #[test]
                    fn reads_both_formats_in_turn() {
                        super::super::reads_both_formats_in_turn(Client::$client);
                    }
                }
            )*
        }
    };
}

every_client! { confluent Confluent kafka_python KafkaPython kafkajs KafkaJs franz_go FranzGo java Java }

/// Records that a line of text can show.
fn shown_in_a_line() -> Vec<Record> {
    let null_value = Record { value: None, ..Record::new(0, "").key("gone") };
    let mut records = vec![
        Record::new(0, "plain").key("k"),
        Record::new(0, "").key("empty value"),
        Record::new(0, "no key"),
        Record::new(0, "empty key").key(""),
        null_value,
        Record::new(0, "v").key("twice").header("h", Some(b"1")).header("h", Some(b"2")),
    ];
    for (record, timestamp) in records.iter_mut().zip(TIMESTAMP..) {
        record.timestamp = Some(timestamp);
    }
    records
}

mod kcat {
    use super::*;

    #[test]
    fn reads_keys_values_nulls_headers_and_times() {
        for compression in Compression::ALL {
            let (topic, mut connection) = topic("kcat");
            write(&mut connection, &topic, compression, &shown_in_a_line());
            let mut command = Command::new("kcat");
            command.args(["-b", &broker::shared().kafka().to_string(), "-C", "-t", &topic, "-p", "0"]);
            command.args([
                "-X",
                "check.crcs=true",
                "-o",
                "beginning",
                "-e",
                "-q",
                "-f",
                "%o|%T|%K|%S|%h|%k|%s\n",
            ]);
            let read = process::run_with_input("kcat", command, b"", DEADLINE);
            assert!(read.status.success(), "{read}");
            let time = |index: i64| TIMESTAMP + index;
            let expected = [
                format!("0|{}|1|5||k|plain", time(0)),
                format!("1|{}|11|0||empty value|", time(1)),
                format!("2|{}|-1|6|||no key", time(2)),
                format!("3|{}|0|9|||empty key", time(3)),
                format!("4|{}|4|-1||gone|", time(4)),
                format!("5|{}|5|1|h=1,h=2|twice|v", time(5)),
            ];
            assert_eq!(read.stdout, expected, "{compression}");
        }
    }
}

mod tools {
    use super::*;

    #[test]
    fn the_console_consumer_reads_them() {
        let (topic, mut connection) = topic("console");
        write(&mut connection, &topic, Compression::Zstd, &shown_in_a_line());
        let mut command = broker::java("org.apache.kafka.tools.consumer.ConsoleConsumer");
        command.args(["--bootstrap-server", &broker::shared().kafka().to_string(), "--topic", &topic]);
        command.args(["--from-beginning", "--max-messages", "6"]);
        for property in ["print.key=true", "print.headers=true", "print.timestamp=true", "null.literal=NULL"]
        {
            command.args(["--property", property]);
        }
        let read = process::run_with_input("ConsoleConsumer", command, b"", DEADLINE);
        assert!(read.status.success(), "{read}");
        let time = |index: i64| format!("CreateTime:{}", TIMESTAMP + index);
        let expected = [
            format!("{}\tNO_HEADERS\tk\tplain", time(0)),
            // The tab behind it goes with the end of the line.
            format!("{}\tNO_HEADERS\tempty value", time(1)),
            format!("{}\tNO_HEADERS\tNULL\tno key", time(2)),
            format!("{}\tNO_HEADERS\t\tempty key", time(3)),
            format!("{}\tNO_HEADERS\tgone\tNULL", time(4)),
            format!("{}\th:1,h:2\ttwice\tv", time(5)),
        ];
        assert_eq!(read.stdout, expected, "{read}");
    }
}
