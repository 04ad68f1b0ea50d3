use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::disk::memory::{MemoryDisk, MemoryFile, block_on};
use crate::disk::{Disk, OpenMode};

fn file_with(content: &[u8]) -> MemoryFile {
    let disk = MemoryDisk::default();
    let path = Path::new("index");
    disk.set_file_content(path, content).expect("the root is there");
    block_on(disk.open(path, OpenMode::Write)).expect("it is there")
}

fn entries(count: i32) -> Vec<OffsetEntry> {
    (0..count)
        .map(|number| OffsetEntry { relative_offset: 10 * number + 9, position: 5000 * (number + 1) })
        .collect()
}

fn encoded<E: Entry>(entries: &[E]) -> Vec<u8> {
    let mut bytes = Vec::new();
    entries.iter().for_each(|entry| entry.encode(&mut bytes));
    bytes
}

#[test]
fn bytes_are_those_of_the_tables() {
    let offset = OffsetEntry { relative_offset: 0x0102_0304, position: 0x0506_0708 };
    assert_eq!(encoded(&[offset]), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(OffsetEntry::decode(&[1, 2, 3, 4, 5, 6, 7, 8]), offset);
    let time = TimeEntry { timestamp: Timestamp(0x0102_0304_0506_0708), relative_offset: 0x090a_0b0c };
    assert_eq!(encoded(&[time]), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    assert_eq!(TimeEntry::decode(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]), time);
}

#[test]
fn an_index_keeps_only_its_last_group_in_memory() {
    let all = entries(1300);
    let mut index = Index::new();
    let mut content = Vec::new();
    for (number, entry) in all.iter().enumerate() {
        index.push(*entry);
        if number % 7 == 0 {
            let write = index.plan_write().expect("there is something");
            content.truncate(usize::try_from(write.position).expect("small"));
            content.extend_from_slice(&write.bytes);
            index.finish_write(&write);
            assert!(index.tail.len() <= 512);
        }
    }
    let write = index.plan_write().expect("there is something");
    content.truncate(usize::try_from(write.position).expect("small"));
    content.extend_from_slice(&write.bytes);
    index.finish_write(&write);
    assert!(index.plan_write().is_none());
    assert_eq!(content, encoded(&all));
    assert_eq!(index.file_bytes(), 1300 * 8);

    index.unload_tail();
    assert_eq!(index.missing_tail(), Some((1024, 1300)));
    let loaded = block_on(read_entries(&file_with(&content), 1024, 1300)).expect("no faults");
    index.load_tail(loaded);
    index.push(OffsetEntry { relative_offset: 1 << 20, position: 1 << 30 });
    assert_eq!(index.count(), 1301);
}

/// The search as the segments do it: in memory first, then in the file.
fn find(index: &Index<OffsetEntry>, file: &MemoryFile, offset: i32) -> Option<OffsetEntry> {
    let condition = |entry: &OffsetEntry| entry.relative_offset <= offset;
    match index.find_last(condition) {
        Found::Entry(entry) => Some(entry),
        Found::Nothing => None,
        Found::InFile(count) => block_on(find_last_in_file(file, count, condition)).expect("no faults"),
    }
}

proptest! {
    #[test]
    fn a_search_finds_what_looking_at_each_entry_finds(
        count in 0_i32..3000,
        unwritten in 0_u32..700,
        offset in -5_i32..31_000,
        loaded: bool,
    ) {
        let all = entries(count);
        let written = u32::try_from(count).expect("positive").saturating_sub(unwritten);
        let file = file_with(&encoded(&all[..as_index(written)]));
        let index = if loaded || unwritten > 0 {
            Index::of(&all, written)
        } else {
            Index::in_file(written)
        };
        let expected = all.iter().rfind(|entry| entry.relative_offset <= offset).copied();
        prop_assert_eq!(find(&index, &file, offset), expected);
    }

    #[test]
    fn garbage_is_cut_at_the_first_disorder(content in proptest::collection::vec(any::<u8>(), 0..10_000)) {
        let (found, _) = parse_valid::<TimeEntry>(&content, |_| true);
        prop_assert!(found.windows(2).all(|pair| pair[1].follows(pair[0])));
        let bytes = encoded(&found);
        prop_assert_eq!(bytes.as_slice(), &content[..found.len() * 12]);
        let (found, rest) = parse_valid::<OffsetEntry>(&content, |entry| entry.position < 1 << 20);
        prop_assert!(found.iter().all(|entry| entry.position < 1 << 20));
        if rest == Rest::Nothing {
            prop_assert!(content[found.len() * 8..].iter().all(|&byte| byte == 0));
        }
        // And a search in it ends.
        let count = u32::try_from(content.len() / 8).expect("small");
        let file = file_with(&content);
        let _ = block_on(find_last_in_file::<OffsetEntry, _>(&file, count + 5, |entry| entry.position < 77));
    }

    #[test]
    fn padding_damage_and_excess_are_told_apart(count in 1_i32..600, padding in 0_usize..5000, keep in 0_i32..600) {
        let all = entries(count);
        let mut content = encoded(&all);
        content.resize(content.len() + padding, 0);
        prop_assert_eq!(parse_valid::<OffsetEntry>(&content, |_| true), (all.clone(), Rest::Nothing));
        let kept = as_index(u32::try_from(keep.min(count)).expect("positive"));
        let (found, rest) = parse_valid::<OffsetEntry>(&content, |entry| entry.relative_offset < 10 * keep);
        prop_assert_eq!(&found, &all[..kept]);
        prop_assert_eq!(rest, if keep < count { Rest::Excess } else { Rest::Nothing });
        content.extend_from_slice(&[0, 0, 0, 1]);
        prop_assert_eq!(parse_valid::<OffsetEntry>(&content, |_| true), (all, Rest::Damage));
    }
}

#[test]
fn an_empty_index_of_zeros_has_no_entries() {
    assert_eq!(parse_valid::<OffsetEntry>(&[0; 4096], |_| true), (Vec::new(), Rest::Nothing));
    assert_eq!(parse_valid::<TimeEntry>(&[], |_| true), (Vec::new(), Rest::Nothing));
}
