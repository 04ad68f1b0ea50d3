//! `iolite topics`: what is done to topics. What is told of them is in `show`.

mod show;
#[cfg(test)]
mod tests;

use clap::{ArgGroup, Args, Subcommand};
use client::admin::{Admin, ConfigSource, NewTopic, TopicDescription};
use client::{At, Client, ClientError, Isolation, Partition};
use protocol::types::Offset;
use serde::Serialize;

use crate::cluster::ClusterArgs;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, OutputArgs, count};
use show::{Listed, Shown};

/// Of `iolite topics`.
#[derive(Debug, Args)]
pub struct TopicsArgs {
    #[command(subcommand)]
    command: TopicsCommand,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Subcommand)]
enum TopicsCommand {
    /// List the topics that there are.
    List {
        /// With those that the broker keeps for itself, like __consumer_offsets.
        #[arg(long)]
        internal: bool,
    },
    /// Describe topics: partitions, leaders, replicas, first and end offsets, and what was set of their configuration.
    Describe {
        /// The topics; all but the broker's own unless named.
        topics: Vec<String>,
        /// The whole configuration, with where each value comes from.
        #[arg(long)]
        configs: bool,
    },
    /// Create a topic, and wait until all of its partitions are led.
    Create(CreateArgs),
    /// Delete topics, with all of their records.
    Delete {
        /// The topics.
        #[arg(required = true)]
        topics: Vec<String>,
        /// Topics that are not there are no trouble.
        #[arg(long)]
        if_exists: bool,
    },
    /// Give a topic more partitions, or another configuration, and wait until the cluster describes it so.
    Alter(AlterArgs),
}

#[derive(Debug, Args)]
struct CreateArgs {
    /// The topic.
    topic: String,
    /// How many partitions; as many as the broker likes unless given.
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// How many replicas of each; as many as the broker likes unless given.
    #[arg(long, short, value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A value of its configuration, like retention.ms=3600000. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// A topic of this name that is there already is no trouble, and stays as it is.
    #[arg(long)]
    if_not_exists: bool,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
struct AlterArgs {
    /// The topic.
    topic: String,
    /// Grow to so many partitions in all. Keys may go to other partitions from then on, and there is no way back.
    #[arg(long, short, group = "change", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Set a value of its configuration. May be repeated.
    #[arg(long = "set", group = "change", value_name = "KEY=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Put a value of its configuration back to what holds if nobody sets it. May be repeated.
    #[arg(long = "unset", group = "change", value_name = "KEY")]
    unset: Vec<String>,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE".to_owned()),
    }
}

/// What was done to a topic, for programs.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Done<'a> {
    topic: &'a str,
    done: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<usize>,
}

/// Does what the command line says.
pub fn run(arguments: &TopicsArgs) -> Result<(), Failure> {
    let mut output = Output::new(arguments.output);
    let output = &mut output;
    arguments.cluster.run(async |client| match &arguments.command {
        TopicsCommand::List { internal } => list(&client, *internal, output).await,
        TopicsCommand::Describe { topics, configs } => describe(&client, topics, *configs, output).await,
        TopicsCommand::Create(arguments) => create(&client, arguments, output).await,
        TopicsCommand::Delete { topics, if_exists } => delete(&client, topics, *if_exists, output).await,
        TopicsCommand::Alter(arguments) => alter(&client, arguments, output).await,
    })
}

async fn list(client: &Client, with_internal: bool, output: &mut Output) -> Result<(), Failure> {
    let topics = client.admin().topics().await?;
    let listed = topics.iter().filter(|topic| with_internal || !topic.is_internal).map(Listed::of);
    output.show(&listed.collect::<Vec<_>>(), |listed| show::list(listed))
}

async fn describe(
    client: &Client,
    names: &[String],
    with_defaults: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let admin = client.admin();
    let described = match names {
        [] => admin.topics().await?.into_iter().filter(|topic| !topic.is_internal).collect(),
        names => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            admin.describe_topics(&names).await?
        }
    };
    let mut shown = Vec::new();
    for topic in &described {
        let mut configs = admin.describe_topic_configs(&topic.name).await?;
        configs.retain(|config| with_defaults || config.source == ConfigSource::Topic);
        shown.push(Shown::of(topic, &offsets(&admin, topic).await?, configs));
    }
    output.show(&shown, |shown| show::describe(shown))
}

/// The first and the end offset of every partition that has a leader to ask.
async fn offsets(
    admin: &Admin,
    topic: &TopicDescription,
) -> Result<Vec<(i32, Option<i64>, Option<i64>)>, Failure> {
    let led: Vec<i32> = topic
        .partitions
        .iter()
        .filter(|partition| partition.leader.is_some())
        .map(|partition| partition.index.get())
        .collect();
    let places: Vec<(Partition, At)> = led
        .iter()
        .flat_map(|index| [At::Earliest, At::Latest].map(|at| (Partition::new(&topic.name, *index), at)))
        .collect();
    let found = admin.offsets(&places, Isolation::ReadUncommitted).await?;
    let pairs = found.chunks_exact(2).map(|pair| (pair[0].map(Offset::get), pair[1].map(Offset::get)));
    Ok(led.into_iter().zip(pairs).map(|(index, (start, end))| (index, start, end)).collect())
}

async fn create(client: &Client, arguments: &CreateArgs, output: &mut Output) -> Result<(), Failure> {
    let name = arguments.topic.as_str();
    let configs: Vec<(&str, &str)> =
        arguments.settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let new = NewTopic {
        name,
        partition_count: arguments.partitions.unwrap_or(-1),
        replication_factor: arguments.replication_factor.unwrap_or(-1),
        configs: &configs,
    };
    let done = match client.admin().create_topics(&[new]).await {
        Ok(()) => "created",
        Err(error) if error.is_there_already() && arguments.if_not_exists => "there already",
        Err(error) if error.is_there_already() => {
            let failure = Failure::from(error);
            return Err(failure.or("--if-not-exists takes that for success"));
        }
        Err(error) => return Err(error.into()),
    };
    let partitions = client.topic(name).await?.partitions.len();
    output.show(&Done { topic: name, done, partitions: Some(partitions) }, |done| {
        format!("{}: {}, {}\n", done.topic, done.done, count(partitions, "partition"))
    })
}

async fn delete(
    client: &Client,
    names: &[String],
    if_exists: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut outcomes = Vec::new();
    let mut failed = None;
    for name in names {
        let done = match client.admin().delete_topics(&[name]).await {
            Ok(()) => "deleted",
            Err(error) if error.is_not_found() && if_exists => "not there",
            Err(error) if error.is_not_found() => {
                failed = Some(ClientError::UnknownTopic(name.clone()));
                break;
            }
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        outcomes.push(Done { topic: name, done, partitions: None });
    }
    // What is gone is told, whatever became of the others.
    output.show(&outcomes, |outcomes| {
        outcomes.iter().map(|outcome| format!("{}: {}\n", outcome.topic, outcome.done)).collect()
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

async fn alter(client: &Client, arguments: &AlterArgs, output: &mut Output) -> Result<(), Failure> {
    let name = arguments.topic.as_str();
    let set = arguments.settings.iter().map(|(key, value)| (key.as_str(), Some(value.as_str())));
    let unset = arguments.unset.iter().map(|key| (key.as_str(), None));
    let changes: Vec<(&str, Option<&str>)> = set.chain(unset).collect();
    let mut keys: Vec<&str> = changes.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Failure::new(Exit::Arguments, format!("{} is named twice", pair[0])).or("name it once"));
    }
    // A name that is not there is told as such, whichever call would have met it first.
    let partitions = client.topic(name).await?.partitions.len();
    if let Some(wanted) = arguments.partitions
        && usize::try_from(wanted).is_ok_and(|wanted| wanted <= partitions)
    {
        let what = format!("topic {name:?} has {} already", count(partitions, "partition"));
        return Err(Failure::new(Exit::Failed, what).or("name a larger number; none can be taken away"));
    }
    let admin = client.admin();
    if !changes.is_empty() {
        admin.set_topic_configs(name, &changes).await?;
    }
    if let Some(wanted) = arguments.partitions {
        admin.create_partitions(name, wanted).await?;
    }
    let partitions = match arguments.partitions {
        Some(_) => client.topic(name).await?.partitions.len(),
        None => partitions,
    };
    output.show(&Done { topic: name, done: "changed", partitions: Some(partitions) }, |done| {
        let settings = match changes.len() {
            0 => String::new(),
            changed => format!("{} of its configuration, ", count(changed, "value")),
        };
        format!("{}: changed, {settings}{}\n", done.topic, count(partitions, "partition"))
    })
}
