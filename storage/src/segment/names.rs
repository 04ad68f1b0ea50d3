//! The names of directories and files, Kafka's own, and the file that says whose directory it is.
//!
//! | name | what |
//! | --- | --- |
//! | `topics/<topic>-<partition>/` | a partition's directory |
//! | `<base offset, 20 digits>.log` | a segment |
//! | `<base offset, 20 digits>.index` | its offset index |
//! | `<base offset, 20 digits>.timeindex` | its time index |
//! | `<base offset, 20 digits>.log.cleaned`, `.index.cleaned`, `.timeindex.cleaned` | a segment that is being compacted |
//! | `<base offset, 20 digits>-<end offset, 20 digits>.swap` | a compacted segment that takes the place of all between |
//! | `cleaner-offset` | up to where the partition is compacted |
//! | `partition.metadata` | two lines: `version: 0` and `topic_id: <URL-safe base64 of the id>` |
//! | `topics/~<topic id>-<partition>/` | a directory on its way out; `~` is in no topic's name |

use std::path::{Path, PathBuf};

use protocol::types::{Offset, PartitionIndex, PartitionKey, TopicId};
use protocol::uuid;

/// The directory that all partitions' directories are in.
pub const TOPICS_DIRECTORY: &str = "topics";

/// The file that tells which topic a directory belongs to.
pub(super) const IDENTITY_FILE: &str = "partition.metadata";

/// The file that tells up to where a partition is compacted.
pub(super) const CLEANED_FILE: &str = "cleaner-offset";

const CLEANED_SUFFIX: &str = ".cleaned";
const SWAP_SUFFIX: &str = ".swap";
const OFFSET_DIGITS: usize = 20;
const RETIRED_PREFIX: char = '~';

/// The three files of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum FileKind {
    Log,
    OffsetIndex,
    TimeIndex,
}

impl FileKind {
    pub(super) const ALL: [Self; 3] = [Self::Log, Self::OffsetIndex, Self::TimeIndex];
    pub(super) const INDEXES: [Self; 2] = [Self::OffsetIndex, Self::TimeIndex];

    fn suffix(self) -> &'static str {
        match self {
            Self::Log => ".log",
            Self::OffsetIndex => ".index",
            Self::TimeIndex => ".timeindex",
        }
    }
}

/// The directory of a partition, below the data directory.
#[must_use]
pub fn partition_directory(topic_name: &str, partition: PartitionIndex) -> PathBuf {
    Path::new(TOPICS_DIRECTORY).join(format!("{topic_name}-{partition}"))
}

/// The directory of a partition that is being deleted.
pub(super) fn retired_directory(key: PartitionKey) -> PathBuf {
    Path::new(TOPICS_DIRECTORY).join(format!("{RETIRED_PREFIX}{key}"))
}

/// Whether a name in the topics' directory is that of a deleted partition.
pub(super) fn is_retired(name: &str) -> bool {
    name.starts_with(RETIRED_PREFIX)
}

pub(super) fn file_name(base: Offset, kind: FileKind) -> String {
    assert!(base.get() >= 0);
    format!("{base:0>width$}{suffix}", base = base.get(), width = OFFSET_DIGITS, suffix = kind.suffix())
}

/// The segment and kind of a file; none for any other file.
pub(super) fn parse_file_name(name: &str) -> Option<(Offset, FileKind)> {
    let digits = name.get(..OFFSET_DIGITS)?;
    let kind = FileKind::ALL.into_iter().find(|kind| kind.suffix() == &name[OFFSET_DIGITS..])?;
    Some((parse_offset(digits)?, kind))
}

/// The name of a file of a segment that is being compacted.
pub(super) fn cleaned_name(base: Offset, kind: FileKind) -> String {
    file_name(base, kind) + CLEANED_SUFFIX
}

/// Whether a name is that of a file of a segment that was being compacted.
pub(super) fn is_cleaned(name: &str) -> bool {
    name.strip_suffix(CLEANED_SUFFIX).is_some_and(|name| parse_file_name(name).is_some())
}

/// The name of a compacted segment until it has taken the place of all segments between two offsets.
pub(super) fn swap_name(base: Offset, end: Offset) -> String {
    assert!(base.get() >= 0);
    assert!(end > base);
    format!("{:0>OFFSET_DIGITS$}-{:0>OFFSET_DIGITS$}{SWAP_SUFFIX}", base.get(), end.get())
}

/// The offsets in such a name.
pub(super) fn parse_swap_name(name: &str) -> Option<(Offset, Offset)> {
    let (base, end) = name.strip_suffix(SWAP_SUFFIX)?.split_once('-')?;
    let (base, end) = (parse_offset(base)?, parse_offset(end)?);
    (base < end).then_some((base, end))
}

fn parse_offset(digits: &str) -> Option<Offset> {
    let is_one = digits.len() == OFFSET_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_one).map(Offset)
}

/// The content of the identity file.
pub(super) fn identity_content(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {}\n", topic_id.text())
}

/// The topic that an identity file names; none where it can't be read.
pub(super) fn parse_identity(content: &[u8]) -> Option<TopicId> {
    let text = std::str::from_utf8(content).ok()?;
    let mut lines = text.lines();
    let version = lines.next()?.strip_prefix("version: ")?;
    let id = lines.next()?.strip_prefix("topic_id: ")?;
    if version != "0" { None } else { uuid::parse(id).map(TopicId) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_kafkas() {
        assert_eq!(file_name(Offset(170_210), FileKind::Log), "00000000000000170210.log");
        assert_eq!(file_name(Offset(0), FileKind::TimeIndex), "00000000000000000000.timeindex");
        assert_eq!(file_name(Offset(i64::MAX), FileKind::OffsetIndex), "09223372036854775807.index");
        assert_eq!(partition_directory("my.topic", PartitionIndex(7)), Path::new("topics/my.topic-7"));
    }

    #[test]
    fn only_segment_files_are_parsed() {
        for base in [0, 5, i64::MAX] {
            for kind in FileKind::ALL {
                assert_eq!(parse_file_name(&file_name(Offset(base), kind)), Some((Offset(base), kind)));
            }
        }
        for name in [
            "",
            ".log",
            "1.log",
            "00000000000000000000.txt",
            "0000000000000000000x.log",
            "+0000000000000000001.log",
            "99999999999999999999.log",
            "00000000000000000000.log.tmp",
            "0000000000000000000\u{fc}.log",
            IDENTITY_FILE,
        ] {
            assert_eq!(parse_file_name(name), None, "{name}");
        }
    }

    #[test]
    fn names_of_compacted_segments_are_told_apart() {
        for (base, end) in [(0, 1), (7, 4_000_000_000), (1, i64::MAX)] {
            let name = swap_name(Offset(base), Offset(end));
            assert_eq!(parse_swap_name(&name), Some((Offset(base), Offset(end))));
            assert_eq!(parse_file_name(&name), None);
            assert!(!is_cleaned(&name));
        }
        for kind in FileKind::ALL {
            let name = cleaned_name(Offset(5), kind);
            assert!(is_cleaned(&name));
            assert_eq!((parse_file_name(&name), parse_swap_name(&name)), (None, None));
            assert!(!is_cleaned(&file_name(Offset(5), kind)));
        }
        let zero = "00000000000000000000";
        for name in [format!("{zero}-{zero}.swap"), format!("{zero}.swap"), "1-2.swap".to_owned()] {
            assert_eq!(parse_swap_name(&name), None, "{name}");
        }
    }

    #[test]
    fn identity_is_readable_by_kafka() {
        let id = TopicId(*b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff");
        assert_eq!(identity_content(id), "version: 0\ntopic_id: ABEiM0RVZneImaq7zN3u_w\n");
    }

    proptest! {
        #[test]
        fn identities_round_trip(id: [u8; 16]) {
            let id = TopicId(id);
            prop_assert_eq!(parse_identity(identity_content(id).as_bytes()), Some(id));
        }

        #[test]
        fn garbage_is_no_identity(content: Vec<u8>) {
            prop_assert_eq!(parse_identity(&content), None);
        }
    }
}
