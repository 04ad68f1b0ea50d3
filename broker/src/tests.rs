//! What is declared is used: no configuration key without a reader, no figure that nobody feeds, no API whose errors are
//! not counted. Judged by the sources, since the compiler can't.

use std::fs;
use std::path::Path;

use crate::config::definitions;
use crate::metrics::{Count, Gauge, Stage};

/// All sources below a folder of this crate that are not tests, end to end.
fn sources(folder: &str) -> String {
    let mut all = String::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder), &mut all);
    all
}

fn gather(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry of it").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        if path.is_dir() {
            gather(&path, all);
        } else if !matches!(name, "tests.rs" | "testing.rs") {
            all.push_str(&fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn every_key_of_the_configuration_has_a_reader() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/table.rs");
    let table = fs::read_to_string(table).expect("the table");
    let readers = sources("").replace(&table, "");
    for definition in definitions() {
        let Some((_, rest)) = table.split_once(&format!("\"{}\"", definition.key)) else {
            // Topics inherit it: it is read where a topic's config is put together, in `logic`.
            assert!(logic::config::broker::definition(definition.key).is_ok(), "{}", definition.key);
            continue;
        };
        let (_, field) = rest.split_once("=> ").expect("a key has a field");
        let (field, _) = field.split_once(':').expect("a field has a type");
        let is_read = readers.contains(&format!(".{field}"));
        assert!(is_read, "{} is declared, and nobody reads it", definition.key);
    }
}

#[test]
fn every_figure_is_fed() {
    let all = sources("");
    let counts = Count::ALL.iter().map(|count| format!("Count::{count:?}"));
    let gauges = Gauge::ALL.iter().map(|gauge| format!("Gauge::{gauge:?}"));
    let stages = Stage::ALL.iter().map(|stage| format!("Stage::{stage:?}"));
    for figure in counts.chain(gauges).chain(stages) {
        let is_fed = all.match_indices(&figure).any(|(at, _)| {
            let rest = &all[at + figure.len()..];
            !rest.starts_with(|next: char| next.is_alphanumeric())
        });
        assert!(is_fed, "{figure} is declared, and nobody feeds it");
    }
}

#[test]
fn every_api_counts_the_errors_that_it_tells() {
    let handlers = sources("api");
    for api in crate::api::OFFERED {
        let counts = ["told", "told_of"].map(|told| format!("{told}(ApiKey::{api:?},"));
        assert!(counts.iter().any(|told| handlers.contains(told)), "{api} tells errors that nobody counts");
    }
}
