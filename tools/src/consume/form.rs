//! How a record looks: as a line that somebody laid out, or as JSON.
//!
//! The JSON's names are an interface: a name may be added, and none is changed or taken away. Bytes that are no text are told
//! as `{"hex": "00ff"}`.

use client::consumer::Record;
use protocol::types::PartitionIndex;
use serde_json::{Value, json};

use crate::bytes_text;

/// A line, laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Topic,
    Partition,
    Offset,
    Timestamp,
    Key,
    Value,
    Headers,
}

impl Field {
    const ALL: [(&str, Self); 7] = [
        ("topic", Self::Topic),
        ("partition", Self::Partition),
        ("offset", Self::Offset),
        ("timestamp", Self::Timestamp),
        ("key", Self::Key),
        ("value", Self::Value),
        ("headers", Self::Headers),
    ];
}

/// Reads a layout: words, `{field}`, and `\t`, `\n`, `\\`, `\{` for what can't be written otherwise.
pub fn parse(text: &str) -> Result<Form, String> {
    let mut parts = Vec::new();
    let mut words = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        match next {
            '\\' => {
                let escaped = rest.chars().next();
                let meant = match escaped {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some('\\') => '\\',
                    Some('{') => '{',
                    _ => return Err("after \\ comes n, t, \\ or {".to_owned()),
                };
                words.push(meant);
                rest = &rest[1..];
            }
            '{' => {
                let (name, behind) = rest.split_once('}').ok_or("a { without its }")?;
                let found = Field::ALL.iter().find(|(known, _)| *known == name);
                let (_, field) = found.ok_or_else(|| format!("there is no {{{name}}}"))?;
                parts.push(Part::Text(std::mem::take(&mut words)));
                parts.push(Part::Field(*field));
                rest = behind;
            }
            other => words.push(other),
        }
    }
    parts.push(Part::Text(words));
    parts.retain(|part| *part != Part::Text(String::new()));
    Ok(Form { parts })
}

impl Form {
    /// The line of a record, with its end.
    pub fn line(&self, topic: &str, partition: PartitionIndex, record: &Record<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => line.extend_from_slice(text.as_bytes()),
                Part::Field(Field::Topic) => line.extend_from_slice(topic.as_bytes()),
                Part::Field(Field::Partition) => line.extend_from_slice(partition.to_string().as_bytes()),
                Part::Field(Field::Offset) => line.extend_from_slice(record.offset.to_string().as_bytes()),
                Part::Field(Field::Timestamp) => {
                    line.extend_from_slice(record.timestamp.to_string().as_bytes())
                }
                Part::Field(Field::Key) => line.extend_from_slice(record.key.unwrap_or(b"null")),
                Part::Field(Field::Value) => line.extend_from_slice(record.value.unwrap_or(b"null")),
                Part::Field(Field::Headers) => headers(record, &mut line),
            }
        }
        line.push(b'\n');
        line
    }
}

/// `key=value`, with commas between.
fn headers(record: &Record<'_>, line: &mut Vec<u8>) {
    for (place, header) in record.headers.iter().filter_map(Result::ok).enumerate() {
        if place > 0 {
            line.push(b',');
        }
        line.extend_from_slice(header.key);
        line.push(b'=');
        line.extend_from_slice(header.value.unwrap_or(b"null"));
    }
}

/// All of a record as a line of JSON.
pub fn json_line(topic: &str, partition: PartitionIndex, record: &Record<'_>) -> Vec<u8> {
    let header = |header: client::producer::Header<'_>| json!({"key": bytes_text::json(Some(header.key)), "value": bytes_text::json(header.value)});
    let headers: Vec<Value> = record.headers.iter().filter_map(Result::ok).map(header).collect();
    let all = json!({
        "topic": topic,
        "partition": partition.get(),
        "offset": record.offset.get(),
        "timestamp": record.timestamp.get(),
        "key": bytes_text::json(record.key),
        "value": bytes_text::json(record.value),
        "headers": headers,
    });
    format!("{all}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use client::consumer::{Fetched, ReadLimits};
    use client::producer::Header;
    use protocol::records::{BatchBuilder, BatchOptions};
    use protocol::types::{Offset, Timestamp};

    use super::*;

    type Fields<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [Header<'a>]);

    const HEADERS: &[Header<'_>] =
        &[Header { key: b"a", value: Some(b"1") }, Header { key: b"b", value: None }];

    /// The lines of records, laid out so.
    fn lines(records: &[Fields<'_>], each: impl Fn(&Record<'_>) -> Vec<u8>) -> Vec<String> {
        let mut builder =
            BatchBuilder::new(BatchOptions { base_offset: Offset(40), ..BatchOptions::default() });
        for (number, (key, value, headers)) in (1_000..).zip(records) {
            builder.append(Timestamp(number), *key, *value, headers);
        }
        let bytes = builder.build().into();
        let fetched = Fetched::new("t".into(), PartitionIndex(3), bytes, Offset(0), ReadLimits::default());
        let mut lines = Vec::new();
        let take = |record: &Record<'_>| {
            lines.push(String::from_utf8(each(record)).expect("the tests' records are text"));
        };
        fetched.expect("batches").for_each(take).expect("readable");
        lines
    }

    #[test]
    fn lines_are_as_they_were_laid_out() {
        let form =
            parse(r"{topic}-{partition}@{offset} {timestamp}\t{key}={value} ({headers})").expect("a layout");
        let records: [Fields<'_>; 2] = [(Some(b"k"), Some("v\u{fc}".as_bytes()), HEADERS), (None, None, &[])];
        let expected = ["t-3@40 1000\tk=v\u{fc} (a=1,b=null)\n", "t-3@41 1001\tnull=null ()\n"];
        assert_eq!(lines(&records, |record| form.line("t", PartitionIndex(3), record)), expected);
    }

    #[test]
    fn json_tells_text_from_bytes_and_from_nothing() {
        let records: [Fields<'_>; 2] = [(Some(b"\x00\xff"), Some(b"\"v\""), HEADERS), (Some(b""), None, &[])];
        let told: Vec<Value> = lines(&records, |record| json_line("t", PartitionIndex(3), record))
            .iter()
            .map(|line| serde_json::from_str(line).expect("it is JSON, on one line"))
            .collect();
        let expected = [
            json!({
                "topic": "t", "partition": 3, "offset": 40, "timestamp": 1000, "key": {"hex": "00ff"},
                "value": "\"v\"", "headers": [{"key": "a", "value": "1"}, {"key": "b", "value": null}],
            }),
            json!({
                "topic": "t", "partition": 3, "offset": 41, "timestamp": 1001, "key": "", "value": null,
                "headers": [],
            }),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn layouts_are_read() {
        let field = Part::Field;
        let words = |text: &str| Part::Text(text.to_owned());
        let check = |text: &str, parts: Vec<Part>| assert_eq!(parse(text), Ok(Form { parts }), "{text}");
        check("", vec![]);
        check("{value}", vec![field(Field::Value)]);
        check("{key}\\t{value}", vec![field(Field::Key), words("\t"), field(Field::Value)]);
        check("\\{key}\\\\ü", vec![words("{key}\\ü")]);
        for (name, known) in Field::ALL {
            check(&format!("{{{name}}}"), vec![field(known)]);
        }
        for wrong in ["{", "{keys}", "{}", "\\", "\\x", "{key"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
