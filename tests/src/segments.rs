//! Segment files, as they lie in a data directory.

use std::fs;
use std::path::Path;

/// The first offset of each segment file of a partition, in order; `directory` is the partition's own.
///
/// # Panics
/// When the directory can't be read.
#[must_use]
pub fn bases(directory: &Path) -> Vec<i64> {
    let names = fs::read_dir(directory).expect("it is there").map(|entry| entry.expect("readable"));
    let names = names.map(|entry| entry.file_name().into_string().expect("a plain name"));
    let mut bases: Vec<i64> = names.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).collect();
    bases.sort_unstable();
    bases
}
