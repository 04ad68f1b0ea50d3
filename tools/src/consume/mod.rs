//! `iolite consume`: prints what is in a topic, and what comes. Where it begins is in `from`, how records look in `form`.

mod form;
mod from;

use std::collections::BTreeMap;
use std::time::Instant;

use clap::Args;
use client::executor::interrupt;
use client::{At, Client, ConsumerOptions, Fetched, Isolation, Partition};
use protocol::types::Offset;

use crate::cluster::ClusterArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::limits::INTERRUPT_PAUSE;
use crate::output::{Output, OutputArgs};
use form::Form;
use from::Beginning;

/// Of `iolite consume`.
#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// The topic.
    topic: String,
    /// Where to begin: earliest, latest, an offset, a time like 2026-01-31T12:00:00Z, or so long ago (90s, 15m, 2h, 7d).
    #[arg(long, short, value_parser = from::parse, default_value = "earliest")]
    from: Beginning,
    /// Only these partitions.
    #[arg(long, short, value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// End after so many records.
    #[arg(long, short = 'n')]
    count: Option<u64>,
    /// End where the topic ends now, rather than wait for more.
    #[arg(long, short = 'e')]
    until_end: bool,
    /// Leave out what transactions wrote that are open or were aborted.
    #[arg(long)]
    committed: bool,
    /// How a record looks: {topic} {partition} {offset} {timestamp} {key} {value} {headers}, \t, \n; a newline follows. What is
    /// not there is null. With --json, all of it comes as one line of JSON.
    #[arg(long, value_parser = form::parse, default_value = "{value}", conflicts_with = "json")]
    format: Form,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Does what the command line says.
pub fn run(arguments: &ConsumeArgs) -> Result<(), Failure> {
    interrupt::install();
    let mut output = Output::new(arguments.output);
    arguments.cluster.run(async |client| consume(&client, arguments, &mut output).await)
}

async fn consume(client: &Client, arguments: &ConsumeArgs, output: &mut Output) -> Result<(), Failure> {
    if arguments.count == Some(0) {
        return Ok(());
    }
    let topic = client.topic(&arguments.topic).await?;
    let partitions: Vec<Partition> = match &arguments.partition[..] {
        [] => topic.partitions.iter().map(|one| Partition::new(&arguments.topic, one.index.get())).collect(),
        chosen => chosen.iter().map(|index| Partition::new(&arguments.topic, *index)).collect(),
    };
    let isolation = if arguments.committed { Isolation::ReadCommitted } else { Isolation::ReadUncommitted };
    let start = arguments.from.start(std::time::SystemTime::now());
    let consumer = client.consumer(ConsumerOptions { isolation, ..ConsumerOptions::default() });
    // The end is looked at before the start: what comes in between is not waited for.
    let mut ends = match arguments.until_end {
        true => Some(ends(client, &partitions, isolation).await?),
        false => None,
    };
    let starts: Vec<_> = partitions.iter().map(|partition| (partition.clone(), start)).collect();
    consumer.assign(&starts).await?;
    let mut left = arguments.count;
    let mut heard_at = Instant::now();
    loop {
        if let Some(ends) = &mut ends {
            for (partition, position) in consumer.positions() {
                ends.retain(|open, end| *open != partition || position < *end);
            }
            if ends.is_empty() {
                return Ok(());
            }
        }
        if interrupt::was_asked() {
            return Ok(());
        }
        let Some(fetched) = consumer.next_before(Instant::now() + INTERRUPT_PAUSE).await else {
            // Consumers ask again for ever. Who waits for what is there already is told when nobody answers.
            if ends.is_some() && heard_at.elapsed() >= arguments.cluster.timeout() {
                self::ends(client, &partitions, isolation).await?;
                heard_at = Instant::now();
            }
            continue;
        };
        heard_at = Instant::now();
        let fetched = fetched.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        print(&fetched, arguments, &mut left, ends.as_ref(), output)?;
        if left == Some(0) {
            return Ok(());
        }
    }
}

/// Where partitions end now, less those that are empty.
async fn ends(
    client: &Client,
    partitions: &[Partition],
    isolation: Isolation,
) -> Result<BTreeMap<Partition, Offset>, Failure> {
    let wanted: Vec<(Partition, At)> =
        partitions.iter().map(|partition| (partition.clone(), At::Latest)).collect();
    let found = client.admin().offsets(&wanted, isolation).await?;
    let known = partitions.iter().cloned().zip(found);
    Ok(known.filter_map(|(partition, end)| Some((partition, end.filter(|end| *end > Offset(0))?))).collect())
}

/// Prints records, but no more than are left, and none past the end that was asked for.
fn print(
    fetched: &Fetched,
    arguments: &ConsumeArgs,
    left: &mut Option<u64>,
    ends: Option<&BTreeMap<Partition, Offset>>,
    output: &mut Output,
) -> Result<(), Failure> {
    let partition = fetched.partition();
    let unreadable = |error: client::error::FetchedError| {
        let what = format!("partition {partition} of topic {:?}: {error}", arguments.topic);
        Failure::new(Exit::Failed, what)
    };
    let end = match ends {
        Some(ends) => {
            ends.get(&Partition::new(&arguments.topic, partition.get())).copied().unwrap_or(Offset(0))
        }
        None => Offset(i64::MAX),
    };
    for batch in fetched.batches() {
        for record in batch.map_err(unreadable)?.records() {
            let record = record.map_err(unreadable)?;
            if record.offset >= end || *left == Some(0) {
                return output.flush();
            }
            let line = match arguments.output.json {
                true => form::json_line(&arguments.topic, partition, &record),
                false => arguments.format.line(&arguments.topic, partition, &record),
            };
            output.write_all(&line)?;
            if let Some(left) = left {
                *left -= 1;
            }
        }
    }
    output.flush()
}
