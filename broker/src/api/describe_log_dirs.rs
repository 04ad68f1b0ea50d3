//! DescribeLogDirs (key 35): the data directory, the partitions in it and their sizes, and the space of its volume.
//!
//! A size is that of a partition's batches, wherever they are: a part of them may still be in the journal alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use logic::metadata::{Image, Topic};
use nix::sys::statvfs::statvfs;
use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::describe_log_dirs::{
    DescribableLogDirTopic, DescribeLogDirsPartition, DescribeLogDirsRequest, DescribeLogDirsResponse,
    DescribeLogDirsResult, DescribeLogDirsTopic,
};
use protocol::types::{PartitionIndex, PartitionKey};

use super::errors::told;
use super::reply::Reply;
use super::scatter::scatter;
use crate::shard::Shard;
use crate::shard::messages::{Answer, Question};

/// The space of a volume.
#[derive(Clone, Copy)]
struct Space {
    total_bytes: i64,
    usable_bytes: i64,
}

/// The sizes of a topic's partitions.
type Sizes<'a> = BTreeMap<&'a str, Vec<(PartitionIndex, u64)>>;

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &DescribeLogDirsRequest<'_>, reply: Reply) {
    let image = shard.image();
    let asked = asked(&image, request.topics.as_deref());
    let keys = asked.iter().map(|(topic, partition)| {
        let key = PartitionKey { topic_id: topic.id, partition: *partition };
        (key, key)
    });
    let sizes = scatter(shard, keys, Question::Sizes, |answer| match answer {
        Answer::Sizes(sizes) => sizes,
        _ => unreachable!("sizes are answered by sizes"),
    })
    .await;
    let mut found = Sizes::new();
    for ((topic, partition), size) in asked.iter().zip(sizes) {
        // What was deleted meanwhile has no size and no line.
        if let Some(size) = size {
            found.entry(&topic.name).or_default().push((*partition, size));
        }
    }
    let directory = &shard.config.data_directory;
    reply.send(&response(&directory.to_string_lossy(), space(directory), &found));
}

/// The partitions asked for that exist; all where none are named.
fn asked<'a>(
    image: &'a Image,
    topics: Option<&[DescribableLogDirTopic<'_>]>,
) -> Vec<(&'a Topic, PartitionIndex)> {
    let Some(topics) = topics else {
        let all =
            |topic: &'a Topic| (0..topic.partition_count()).map(move |index| (topic, PartitionIndex(index)));
        return image.topics().flat_map(|topic| all(topic)).collect();
    };
    let mut asked = Vec::new();
    for named in topics {
        let Some(topic) = image.topic(named.topic) else { continue };
        let mut partitions = named.partitions.clone();
        partitions.retain(|partition| topic.partition(*partition).is_some());
        asked.extend(partitions.into_iter().map(|partition| (&**topic, partition)));
    }
    // A partition that is named twice is one.
    asked.sort_unstable_by_key(|(topic, partition)| (topic.id, *partition));
    asked.dedup_by_key(|(topic, partition)| (topic.id, *partition));
    asked
}

/// The space of the directory's volume: the kernel answers from memory.
fn space(directory: &Path) -> Result<Space, KafkaError> {
    let found = statvfs(directory).map_err(|error| {
        tracing::warn!(directory = %directory.display(), %error, "the volume's space is not known");
        KafkaError::KafkaStorageError
    })?;
    let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(found.fragment_size())).unwrap_or(i64::MAX);
    Ok(Space { total_bytes: bytes(found.blocks()), usable_bytes: bytes(found.blocks_available()) })
}

fn response<'a>(
    directory: &'a str,
    space: Result<Space, KafkaError>,
    found: &Sizes<'a>,
) -> DescribeLogDirsResponse<'a> {
    let error = space.err().unwrap_or(KafkaError::None);
    let space = space.unwrap_or(Space { total_bytes: -1, usable_bytes: -1 });
    let topics = found.iter().filter(|_| error == KafkaError::None).map(|(name, partitions)| {
        DescribeLogDirsTopic { name, partitions: partitions.iter().copied().map(partition).collect() }
    });
    DescribeLogDirsResponse {
        throttle_time_ms: 0,
        error_code: ErrorCode::NONE,
        results: vec![DescribeLogDirsResult {
            error_code: told(ApiKey::DescribeLogDirs, error),
            log_dir: directory,
            topics: topics.collect(),
            total_bytes: space.total_bytes,
            usable_bytes: space.usable_bytes,
            is_cordoned: false,
        }],
    }
}

fn partition((partition_index, size): (PartitionIndex, u64)) -> DescribeLogDirsPartition {
    DescribeLogDirsPartition {
        partition_index,
        partition_size: i64::try_from(size).unwrap_or(i64::MAX),
        offset_lag: 0,
        is_future_key: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::testing::{in_every_version, make_topic, one_broker};

    fn names(image: &Image, topics: Option<&[(&'static str, &[i32])]>) -> Vec<String> {
        let topics: Option<Vec<DescribableLogDirTopic<'_>>> = topics.map(|topics| {
            let topic = |(topic, partitions): &(&'static str, &[i32])| DescribableLogDirTopic {
                topic,
                partitions: partitions.iter().copied().map(PartitionIndex).collect(),
            };
            topics.iter().map(topic).collect()
        });
        let asked = asked(image, topics.as_deref());
        asked.iter().map(|(topic, partition)| format!("{}-{partition}", topic.name)).collect()
    }

    #[test]
    fn all_or_those_named_as_far_as_they_exist() {
        let mut image = one_broker();
        make_topic(&mut image, "one", 1, 2);
        make_topic(&mut image, "two", 2, 1);
        assert_eq!(names(&image, None), ["one-0", "one-1", "two-0"]);
        assert_eq!(names(&image, Some(&[])), [""; 0]);
        assert_eq!(names(&image, Some(&[("one", &[1, 7, -1, 1]), ("none", &[0])])), ["one-1"]);
    }

    #[test]
    fn the_volume_has_space() {
        let space = space(&std::env::temp_dir()).expect("there is a directory for temporary files");
        assert!(space.total_bytes >= space.usable_bytes);
        assert!(space.total_bytes > 0);
        assert_eq!(super::space(Path::new("/no/such/directory")).err(), Some(KafkaError::KafkaStorageError));
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let found = Sizes::from([("one", vec![(PartitionIndex(0), 42), (PartitionIndex(1), 0)])]);
        let space = Ok(Space { total_bytes: 1_000, usable_bytes: 10 });
        in_every_version!(
            DescribeLogDirsResponse<'_>,
            |_version| response("/data", space, &found),
            |version, read| {
                let [result] = read.results.as_slice() else { panic!("one directory: {read:?}") };
                assert_eq!((result.log_dir, result.topics[0].name), ("/data", "one"));
                let sizes: Vec<i64> =
                    result.topics[0].partitions.iter().map(|partition| partition.partition_size).collect();
                assert_eq!(sizes, [42, 0]);
                assert_eq!(result.total_bytes, if version >= 4 { 1_000 } else { -1 });
            }
        );
        let failed = Err(KafkaError::KafkaStorageError);
        in_every_version!(
            DescribeLogDirsResponse<'_>,
            |_version| response("/data", failed, &found),
            |_version, read| {
                assert_eq!(read.results[0].error_code, KafkaError::KafkaStorageError.into());
                assert!(read.results[0].topics.is_empty());
            }
        );
    }
}
