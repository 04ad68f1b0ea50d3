//! What `__consumer_offsets` holds of groups, as Kafka's dump tool decodes it.

use std::path::PathBuf;

use e2e::DEADLINE;
use e2e::broker::java;
use e2e::process;
use serde_json::Value;

/// A record about a group.
pub struct GroupRecord {
    /// Milliseconds since 1970 by the broker's clock.
    pub at_ms: u64,
    /// What it is about, by Kafka's numbers: 1 is a committed offset, 2 a classic group, 3 and more are KIP-848's.
    pub kind: u16,
    /// The group and, for some kinds, the member or what else in it.
    pub about: Value,
    /// With its `version` and `data`; none takes away what was there.
    pub value: Option<Value>,
}

/// The records in some segments of a broker that has stopped, one segment after the other. Markers of transactions are left out.
pub fn decoded(segments: &[PathBuf]) -> Vec<GroupRecord> {
    let files: Vec<&str> = segments.iter().map(|path| path.to_str().expect("plain names")).collect();
    let mut dump = java("kafka.tools.DumpLogSegments");
    dump.args(["--offsets-decoder", "--files", &files.join(",")]);
    let shown = process::run_with_input("DumpLogSegments", dump, b"", DEADLINE);
    assert!(shown.status.success(), "{shown}");
    shown
        .stdout
        .iter()
        .filter(|line| line.starts_with("| offset: "))
        .filter_map(|line| parsed(line))
        .collect()
}

/// `| offset: 1 CreateTime: 2 keySize: 3 ... key: {...} payload: {...}`, whose payload is `<DELETE>` where there is none.
fn parsed(line: &str) -> Option<GroupRecord> {
    if line.contains(" endTxnMarker: ") {
        return None;
    }
    let (head, record) = line.split_once(" key: ").unwrap_or_else(|| panic!("no key: {line}"));
    let (key, value) = record.split_once(" payload: ").unwrap_or_else(|| panic!("no value: {line}"));
    let json = |text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {line}"));
    let mut key: Value = json(key);
    let value = (value != "<DELETE>").then(|| json(value));
    let at = head.split_once(" CreateTime: ").and_then(|(_, rest)| rest.split(' ').next());
    let at_ms = at.and_then(|at| at.parse().ok()).unwrap_or_else(|| panic!("no time: {line}"));
    let kind = key["type"].as_str().and_then(|kind| kind.parse().ok());
    let kind = kind.unwrap_or_else(|| panic!("no type: {line}"));
    Some(GroupRecord { at_ms, kind, about: key["data"].take(), value })
}
