//! `iolite produce`: each line of standard input becomes a record.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use client::Client;
use client::ProduceError;
use client::executor::{interrupt, sleep};
use client::producer::{
    Acks, DeliveredBatch, DeliveryListener, Encoding, Producer, ProducerOptions, ProducerTopic, Record,
};
use protocol::compression::Compression;
use protocol::types::PartitionIndex;
use serde::Serialize;

use crate::cluster::ClusterArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::input::{Lines, Next};
use crate::limits::INPUT_PAUSE;
use crate::output::{Output, OutputArgs, count};

/// Of `iolite produce`.
#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// The topic, which must be there.
    topic: String,
    /// What stands between key and value in a line. A line without it has no key; unless given, none has.
    #[arg(long, short, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// To this partition, rather than by key or in turn.
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// When a record counts as delivered: 0 when it is sent, 1 when the leader has it, all when all in-sync replicas have it.
    #[arg(long, value_enum, default_value_t)]
    acks: AcksArg,
    /// How batches are compressed.
    #[arg(long, value_enum, default_value_t)]
    compression: CompressionArg,
    /// In which form: Kafka's, or Iolite's own, which only brokers get that say that they take it. Consumers see no difference.
    #[arg(long, value_enum, default_value_t)]
    records: RecordsArg,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum AcksArg {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    #[default]
    #[value(name = "all", alias = "-1")]
    All,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum CompressionArg {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum RecordsArg {
    #[default]
    Kafka,
    Native,
}

impl ProduceArgs {
    fn options(&self, listener: Rc<Tally>) -> ProducerOptions {
        ProducerOptions {
            acks: match self.acks {
                AcksArg::None => Acks::None,
                AcksArg::Leader => Acks::Leader,
                AcksArg::All => Acks::All,
            },
            compression: match self.compression {
                CompressionArg::None => Compression::None,
                CompressionArg::Gzip => Compression::Gzip,
                CompressionArg::Snappy => Compression::Snappy,
                CompressionArg::Lz4 => Compression::Lz4,
                CompressionArg::Zstd => Compression::Zstd,
            },
            encoding: match self.records {
                RecordsArg::Kafka => Encoding::Kafka,
                RecordsArg::Native => Encoding::Native,
            },
            delivery_timeout: Duration::from_secs(self.cluster.timeout),
            listener: Some(listener),
            ..ProducerOptions::default()
        }
    }
}

/// What became of the records.
#[derive(Default)]
struct Tally {
    delivered: Cell<usize>,
    failed: Cell<usize>,
    /// The first reason.
    reason: RefCell<Option<ProduceError>>,
}

impl Tally {
    fn fail(&self, count: usize, reason: &ProduceError) {
        self.failed.set(self.failed.get() + count);
        self.reason.borrow_mut().get_or_insert_with(|| reason.clone());
    }

    /// What is told where records were not delivered, first of all for this reason.
    fn undelivered(&self, reason: &ProduceError, does_nobody_answer: bool) -> Failure {
        let (delivered, failed) = (self.delivered.get(), self.failed.get());
        let what = format!("{failed} of {} records were not delivered: {reason}", delivered + failed);
        match does_nobody_answer {
            true => Failure::new(Exit::Unreachable, format!("{what}; no broker answers any more")),
            false => Failure::new(Exit::Failed, what),
        }
    }
}

impl DeliveryListener for Tally {
    fn delivered(&self, batch: &DeliveredBatch<'_>) {
        match batch.outcome {
            Ok(_) => self.delivered.set(self.delivered.get() + batch.tokens.len()),
            Err(reason) => self.fail(batch.tokens.len(), reason),
        }
    }
}

/// The result, for programs.
#[derive(Debug, Serialize)]
struct Produced<'a> {
    topic: &'a str,
    records: usize,
}

/// Does what the command line says.
pub fn run(arguments: &ProduceArgs) -> Result<(), Failure> {
    interrupt::install();
    let mut output = Output::new(arguments.output);
    arguments.cluster.run(async |client| produce(&client, arguments, &mut output).await)
}

async fn produce(client: &Client, arguments: &ProduceArgs, output: &mut Output) -> Result<(), Failure> {
    let tally = Rc::new(Tally::default());
    let producer = client.producer(arguments.options(Rc::clone(&tally))).await?;
    let topic = producer.topic(&arguments.topic).await?;
    if let Some(index) = arguments.partition {
        let known = client.topic(&arguments.topic).await?;
        known.partition(PartitionIndex(index))?;
    }
    let read = send_lines(&producer, &topic, arguments, &tally).await;
    // What was taken before trouble came is delivered, counted and told.
    producer.close().await;
    let undelivered = match tally.reason.take() {
        Some(reason) => Some(tally.undelivered(&reason, does_nobody_answer(client, &reason).await)),
        None => None,
    };
    if undelivered.is_none() {
        let done = Produced { topic: &arguments.topic, records: tally.delivered.get() };
        output
            .show(&done, |done| format!("{}: produced, {}\n", done.topic, count(done.records, "record")))?;
    }
    match (undelivered, read) {
        (Some(undelivered), Err(unread)) => {
            Err(Failure::new(undelivered.exit(), format!("{undelivered}; and {unread}")))
        }
        (Some(undelivered), Ok(())) => Err(undelivered),
        (None, read) => read,
    }
}

/// Whether a batch came to nothing because no broker answers any more. A batch that expires does not say what it waited for.
async fn does_nobody_answer(client: &Client, reason: &ProduceError) -> bool {
    let has_expired = matches!(reason, ProduceError::Expired { .. });
    has_expired && client.refresh().await.is_err_and(|error| error.is_unreachable())
}

/// Until there are no more lines, Ctrl-C is pressed, or a record was not delivered.
async fn send_lines(
    producer: &Producer,
    topic: &ProducerTopic,
    arguments: &ProduceArgs,
    tally: &Tally,
) -> Result<(), Failure> {
    let mut lines = Lines::of(std::io::stdin());
    let mut has_ended = false;
    while !has_ended && !interrupt::was_asked() && tally.failed.get() == 0 {
        match lines.look()? {
            Next::Quiet => {
                sleep(INPUT_PAUSE).await;
                continue;
            }
            Next::Came => {}
            Next::Ended => has_ended = true,
        }
        while let Some(line) = lines.line() {
            let (key, value) = split(&line, arguments.key_separator.as_deref());
            let partition = arguments.partition.map(PartitionIndex);
            let record = Record { partition, key, value: Some(value), ..Record::default() };
            // The listener hears of its fate.
            if let Err(reason) = producer.send(topic, &record).await {
                tally.fail(1, &reason);
                break;
            }
        }
    }
    Ok(())
}

/// Key and value of a line.
fn split<'a>(line: &'a [u8], separator: Option<&str>) -> (Option<&'a [u8]>, &'a [u8]) {
    let Some(separator) = separator.map(str::as_bytes) else { return (None, line) };
    match line.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (Some(&line[..at]), &line[at + separator.len()..]),
        None => (None, line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_no_broker_answers_any_more_has_its_own_exit_code() {
        let tally = Tally::default();
        tally.delivered.set(3);
        let reason = ProduceError::Expired { after: Duration::from_secs(2), was_sent: false };
        tally.fail(1, &reason);
        let told = "1 of 4 records were not delivered: not delivered within 2s";
        assert_eq!(tally.undelivered(&reason, false), Failure::new(Exit::Failed, told));
        let told = format!("{told}; no broker answers any more");
        assert_eq!(tally.undelivered(&reason, true), Failure::new(Exit::Unreachable, told));
    }

    #[test]
    fn a_line_is_cut_at_the_first_separator() {
        let check = |line: &str, separator, expected: (Option<&str>, &str)| {
            let (key, value) = split(line.as_bytes(), separator);
            let expected = (expected.0.map(str::as_bytes), expected.1.as_bytes());
            assert_eq!((key, value), expected, "{line:?} at {separator:?}");
        };
        check("a:b:c", None, (None, "a:b:c"));
        check("a:b:c", Some(":"), (Some("a"), "b:c"));
        check("a::b", Some("::"), (Some("a"), "b"));
        check(":b", Some(":"), (Some(""), "b"));
        check("a:", Some(":"), (Some("a"), ""));
        check("ab", Some(":"), (None, "ab"));
        check("", Some("::"), (None, ""));
    }
}
