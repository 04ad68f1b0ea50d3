//! The cluster under load, by way of the native client: topics that are made and deleted, offsets that are looked for.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use client::executor::interrupt;
use client::protocol::error::KafkaError;
use client::{Admin, At, Client, ClientOptions, ConnectionOptions, Isolation, NewTopic, Partition, executor};
use protocol::types::PartitionIndex;

use super::thread::LoadError;

/// How long an answer may take, and how long a call is tried again: new topics may take as long until they are served.
const CALL_TIME_MAX: Duration = Duration::from_secs(60);
/// The pause after a first failure, which is what most new topics begin with.
const RETRY_BACKOFF: Duration = Duration::from_millis(20);
/// Between two looks at whether somebody asked to end.
const INTERRUPT_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Where a stream's partitions are, numbered through: topic by topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// `host:port` of a broker to begin at.
    pub bootstrap: String,
    pub topics: Vec<String>,
    /// Of each topic.
    pub partitions: u32,
}

/// Runs what needs connections, on this thread, outside of any load.
pub fn block_on<T>(future: impl Future<Output = Result<T, LoadError>>) -> Result<T, LoadError> {
    let ran = executor::run(None, || future);
    ran.map_err(|error| LoadError(format!("no io_uring executor: {error}")))?
}

/// Waits for `future`, but not longer than nobody asks to end.
pub async fn unless_interrupted<T>(
    future: impl Future<Output = Result<T, LoadError>>,
) -> Result<T, LoadError> {
    let mut future = pin!(future);
    loop {
        let look_at = Instant::now() + INTERRUPT_LOOK_INTERVAL;
        match executor::before(look_at, future.as_mut()).await {
            Some(outcome) => return outcome,
            None if interrupt::was_asked() => return Err(LoadError("interrupted".into())),
            None => {}
        }
    }
}

/// A client of the cluster. With acks 0 its connections take no more than `unsent_bytes_max` before the socket has.
pub async fn connect(bootstrap: &str, unsent_bytes_max: Option<usize>) -> Result<Client, LoadError> {
    let connection = ConnectionOptions::default();
    let connection = ConnectionOptions {
        client_id: "iolite-bench".to_owned(),
        request_timeout: CALL_TIME_MAX,
        unsent_bytes_max: unsent_bytes_max.unwrap_or(connection.unsent_bytes_max),
        ..connection
    };
    let options = ClientOptions {
        connection,
        retry_backoff: RETRY_BACKOFF,
        call_timeout: CALL_TIME_MAX,
        ..ClientOptions::new([bootstrap])
    };
    Ok(Client::connect(options).await?)
}

impl Layout {
    /// How many partitions there are in all.
    pub fn count(&self) -> usize {
        self.topics.len() * self.per_topic()
    }

    fn per_topic(&self) -> usize {
        usize::try_from(self.partitions).expect("a bounded number of partitions")
    }

    /// The number of a partition.
    pub fn position(&self, topic: &str, index: PartitionIndex) -> Option<usize> {
        let topic = self.topics.iter().position(|name| name == topic)?;
        let index = usize::try_from(index.0).ok().filter(|index| *index < self.per_topic())?;
        Some(topic * self.per_topic() + index)
    }

    /// The partition of a number: which of the topics, and its index there.
    pub fn place(&self, position: usize) -> (usize, PartitionIndex) {
        let index = i32::try_from(position % self.per_topic()).expect("a bounded number of partitions");
        (position / self.per_topic(), PartitionIndex(index))
    }

    /// The partition of a number, by name.
    pub fn partition(&self, position: usize) -> Partition {
        let (topic, index) = self.place(position);
        Partition { topic: self.topics[topic].clone(), index }
    }

    /// An offset of each partition.
    pub async fn offsets(&self, admin: &Admin, at: At) -> Result<Vec<i64>, LoadError> {
        let wanted: Vec<(Partition, At)> = (0..self.count()).map(|one| (self.partition(one), at)).collect();
        let found = admin.offsets(&wanted, Isolation::ReadUncommitted).await?;
        Ok(found.into_iter().map(|offset| offset.map_or(-1, |offset| offset.0)).collect())
    }
}

/// Makes topics and waits until every partition has a leader that answers.
pub async fn create_topics(
    bootstrap: String,
    topics: Vec<String>,
    partitions: u32,
    configs: &BTreeMap<String, String>,
) -> Result<Layout, LoadError> {
    let layout = Layout { bootstrap, topics, partitions };
    let admin = connect(&layout.bootstrap, None).await?.admin();
    let configs: Vec<(&str, &str)> =
        configs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let partition_count = i32::try_from(partitions).expect("a checked number of partitions");
    let new = |name| NewTopic { configs: &configs, ..NewTopic::new(name, partition_count) };
    let new: Vec<NewTopic<'_>> = layout.topics.iter().map(|name| new(name)).collect();
    unless_interrupted(async {
        admin.create_topics(&new).await?;
        layout.offsets(&admin, At::Latest).await
    })
    .await?;
    Ok(layout)
}

/// Deletes topics of a broker that goes on after the run.
pub async fn delete_topics(bootstrap: String, names: &[String]) -> Result<(), LoadError> {
    let admin = connect(&bootstrap, None).await?.admin();
    for name in names {
        match admin.delete_topics(&[name]).await {
            // One that was refused when it was to be made is not there.
            Err(error) if error.kafka() == Some(KafkaError::UnknownTopicOrPartition) => {}
            outcome => outcome?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_numbered_topic_by_topic() {
        let topics = vec!["a".to_owned(), "b".to_owned()];
        let layout = Layout { bootstrap: String::new(), topics, partitions: 3 };
        assert_eq!(layout.count(), 6);
        for position in 0..layout.count() {
            let Partition { topic, index } = layout.partition(position);
            assert_eq!(layout.position(&topic, index), Some(position));
        }
        assert_eq!(layout.partition(4), Partition::new("b", 1));
        assert_eq!(layout.position("b", PartitionIndex(3)), None);
        assert_eq!(layout.position("c", PartitionIndex(0)), None);
    }
}
