//! The table of definitions in words: for `--help`, and as Markdown for `docs/operations.md`.

use super::table::{Definition, definitions};
use super::value::ConfigType;
use std::fmt::Write;

/// Every key as Markdown tables, one for each section.
#[must_use]
pub fn reference() -> String {
    let mut text = String::new();
    for (section, keys) in sections() {
        let gap = if text.is_empty() { "" } else { "\n" };
        let header = "| key | default | type | what it does |\n| --- | --- | --- | --- |";
        writeln!(text, "{gap}### {section}\n\n{header}").expect("a String takes all");
        for definition in keys {
            writeln!(text, "{}", row(definition)).expect("a String takes all");
        }
    }
    text
}

/// The sections in the order of their first keys, each with its keys.
fn sections() -> Vec<(&'static str, Vec<&'static Definition>)> {
    let mut sections: Vec<(&str, Vec<&Definition>)> = Vec::new();
    for definition in definitions() {
        match sections.iter_mut().find(|(section, _)| *section == definition.section) {
            Some((_, keys)) => keys.push(definition),
            None => sections.push((definition.section, vec![definition])),
        }
    }
    sections
}

fn row(definition: &Definition) -> String {
    let names = std::iter::once(definition.key).chain(definition.aliases.iter().copied());
    let mut names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    if let Some((flag, _)) = definition.flag {
        names.push(format!("`--{flag}`"));
    }
    let default = match definition.default {
        "" => String::new(),
        default => format!("`{default}`"),
    };
    let words = definition.words.trim().replace('|', "\\|");
    format!("| {} | {default} | {} | {words} |", names.join(", "), type_name(definition))
}

fn type_name(definition: &Definition) -> &'static str {
    match definition.config_type() {
        ConfigType::Boolean => "boolean",
        ConfigType::String => "string",
        ConfigType::Int => "int",
        ConfigType::Long => "long",
        ConfigType::Double => "double",
        ConfigType::List => "list",
    }
}

/// Every key with its default and first sentence.
pub(super) fn keys_for_help() -> String {
    let mut text = "Every key may stand in the file, in the environment (log.segment.bytes as \
         IOLITE_LOG_SEGMENT_BYTES), or follow --set.\n\
         Flags win over the environment, the environment over the file.\n"
        .to_owned();
    for (section, keys) in sections() {
        writeln!(text, "\n{section}:").expect("a String takes all");
        for definition in keys {
            let default = if definition.default.is_empty() { "unset" } else { definition.default };
            let words = definition.words.trim();
            writeln!(text, "  {} = {default}\n      {words}", definition.key).expect("a String takes all");
        }
    }
    text
}
