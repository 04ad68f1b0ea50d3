//! Records as the tests write and compare them, made from a seed.

use std::fmt;

use client::producer::Header;
use rand::rngs::SmallRng;
use rand::{Rng, RngCore, SeedableRng};
use serde_json::{Value, json};

use crate::driver::Client;

/// One record. After reading, `offset` is set; before writing, it is not looked at.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Which partition it is for.
    pub partition: i32,
    /// Where it stands there.
    pub offset: i64,
    /// Milliseconds; none lets the client choose.
    pub timestamp: Option<i64>,
    /// The key; none is Kafka's null.
    pub key: Option<Vec<u8>>,
    /// The value; none is Kafka's null.
    pub value: Option<Vec<u8>>,
    /// In order, duplicates allowed.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    /// A record with a value and nothing else.
    #[must_use]
    pub fn new(partition: i32, value: impl Into<Vec<u8>>) -> Self {
        let value = Some(value.into());
        Self { partition, offset: -1, timestamp: None, key: None, value, headers: Vec::new() }
    }

    /// The same with a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same with a timestamp.
    #[must_use]
    pub fn at(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// The same with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }

    /// Its headers as our own client and codec take them.
    #[must_use]
    pub fn borrowed_headers(&self) -> Vec<Header<'_>> {
        let headers = self.headers.iter();
        headers.map(|(name, value)| Header { key: name.as_bytes(), value: value.as_deref() }).collect()
    }

    /// As the drivers take it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let headers: Vec<Value> =
            self.headers.iter().map(|(name, value)| json!([name, hex_or_null(value.as_deref())])).collect();
        json!({
            "p": self.partition,
            "t": self.timestamp,
            "k": hex_or_null(self.key.as_deref()),
            "v": hex_or_null(self.value.as_deref()),
            "h": headers,
        })
    }

    /// As the drivers give it.
    ///
    /// # Panics
    /// When a driver breaks its protocol.
    #[must_use]
    pub fn from_json(value: &Value) -> Self {
        let header =
            |pair: &Value| (pair[0].as_str().expect("a header's name").to_owned(), bytes_or_null(&pair[1]));
        Self {
            partition: i32::try_from(value["p"].as_i64().expect("a partition")).expect("a partition"),
            offset: value["o"].as_i64().expect("an offset"),
            timestamp: value["t"].as_i64(),
            key: bytes_or_null(&value["k"]),
            value: bytes_or_null(&value["v"]),
            headers: value["h"].as_array().expect("headers").iter().map(header).collect(),
        }
    }
}

/// Short for people: contents past some bytes are only counted.
impl fmt::Debug for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: &Option<Vec<u8>>| match bytes {
            None => "null".to_owned(),
            Some(bytes) if bytes.len() <= 32 => format!("\"{}\"", bytes.escape_ascii()),
            Some(bytes) => format!("\"{}...\" ({} B)", bytes[..16].escape_ascii(), bytes.len()),
        };
        let (key, value) = (shown(&self.key), shown(&self.value));
        write!(formatter, "{}@{} t={:?} k={key} v={value}", self.partition, self.offset, self.timestamp)?;
        self.headers.iter().try_for_each(|(name, value)| write!(formatter, " {name}:{}", shown(value)))
    }
}

/// A source of records.
pub struct Maker {
    random: SmallRng,
    /// The timestamp that the next record gets.
    pub next_timestamp: i64,
}

impl Maker {
    /// Starts from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: SmallRng::seed_from_u64(seed), next_timestamp: 1_700_000_000_000 }
    }

    /// `size` bytes of which about half compress away.
    pub fn bytes(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = vec![b'='; size];
        for piece in bytes.chunks_mut(64) {
            let half = piece.len().div_ceil(2);
            self.random.fill_bytes(&mut piece[..half]);
        }
        bytes
    }

    /// An everyday record: key, value of up to `size_max`, a header now and then, a timestamp of its own.
    pub fn record(&mut self, partition: i32, size_max: usize) -> Record {
        let size = self.random.random_range(1..=size_max);
        let key_size = self.random.random_range(1..24);
        self.next_timestamp += self.random.random_range(0..5);
        let mut record =
            Record::new(partition, self.bytes(size)).key(self.bytes(key_size)).at(self.next_timestamp);
        if self.random.random_ratio(1, 4) {
            let value = self.bytes(9);
            record = record.header("trace", Some(&value));
        }
        record
    }
}

/// Every shape of record that a client is known to stumble over, as far as `writer` can write it.
#[must_use]
pub fn awkward(writer: Client) -> Vec<Record> {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let mut records = vec![
        Record::new(0, "value only"),
        Record::new(0, "").key("empty value"),
        Record::new(0, "empty key").key(""),
        Record::new(0, "").key(""),
        Record::new(0, "one header").header("h", Some(b"1")),
        Record::new(0, "empty header value").header("h", Some(b"")),
        Record::new(0, "null header value").header("h", None),
        Record::new(0, "the same header three times")
            .header("d", Some(b"1"))
            .header("d", Some(b"2"))
            .header("d", Some(b"1")),
        Record::new(0, "a header's name in four-byte UTF-8").header("\u{1F9ED} Größe", Some(&all_bytes)),
        Record::new(0, "many headers"),
        Record::new(0, all_bytes.clone()).key(all_bytes),
        Record::new(0, "oldest").at(1),
        Record::new(0, "same time").at(1_700_000_000_000),
        Record::new(0, "same time").at(1_700_000_000_000),
        Record::new(0, "earlier than the one before").at(1_600_000_000_000),
    ];
    for index in 0..100 {
        records[9].headers.push((format!("h{index}"), Some(vec![b'x'; index])));
    }
    let null_value = Record { value: None, ..Record::new(0, "").key("null value") };
    let null_both = Record { value: None, ..Record::new(0, "") };
    records.extend([null_value, null_both]);
    if !writer.writes_empty_records() {
        records.retain(|record| record.key.is_some() || record.value.is_some());
    }
    if !writer.writes_null_headers() {
        records.iter_mut().flat_map(|record| &mut record.headers).for_each(|(_, value)| {
            value.get_or_insert_default();
        });
    }
    for (index, record) in records.iter_mut().enumerate() {
        let filler = 1_650_000_000_000 + i64::try_from(index).expect("a few records");
        record.timestamp.get_or_insert(filler);
    }
    records
}

fn hex_or_null(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| Value::String(to_hex(bytes)))
}

fn bytes_or_null(value: &Value) -> Option<Vec<u8>> {
    value.as_str().map(from_hex)
}

/// Lower-case hexadecimal.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// What [`to_hex`] made.
///
/// # Panics
/// When it is not that.
#[must_use]
pub fn from_hex(text: &str) -> Vec<u8> {
    let nibble = |digit: u8| {
        u8::try_from(char::from(digit).to_digit(16).expect("a hexadecimal digit")).expect("below 16")
    };
    assert!(text.len().is_multiple_of(2), "a hexadecimal byte has two digits");
    text.as_bytes().chunks_exact(2).map(|pair| (nibble(pair[0]) << 4) | nibble(pair[1])).collect()
}
