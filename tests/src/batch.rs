//! Record batches (magic 2) written by hand, so that any field can be wrong on purpose.
//!
//! ```text
//! at  field                  bytes      at  field                 bytes
//!  0  base offset                8      27  base timestamp            8
//!  8  batch length               4      35  max timestamp             8
//! 12  partition leader epoch     4      43  producer id               8
//! 16  magic                      1      51  producer epoch            2
//! 17  CRC-32C from 21 on         4      53  base sequence             4
//! 21  attributes                 2      57  record count              4
//! 23  last offset delta          4      61  records
//! ```

use bytes::{BufMut, Bytes};

/// The header's fields as a producer fills them; the CRC and the lengths follow from the rest.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Filled in by the broker.
    pub base_offset: i64,
    /// Compression in the low three bits.
    pub attributes: i16,
    /// 2 for this format.
    pub magic: i8,
    /// Of the first record.
    pub base_timestamp: i64,
    /// Of the latest record.
    pub max_timestamp: i64,
    /// -1 for a producer that is not idempotent.
    pub producer_id: i64,
    /// -1 likewise.
    pub producer_epoch: i16,
    /// -1 likewise.
    pub base_sequence: i32,
    /// Count less one.
    pub last_offset_delta: i32,
    /// How many records the header claims.
    pub record_count: i32,
    /// The records, framed.
    pub records: Vec<u8>,
}

impl Batch {
    /// A batch of records with these values and no keys, all of one time.
    #[must_use]
    pub fn of_values<V: AsRef<[u8]>>(timestamp: i64, values: &[V]) -> Self {
        let mut records = Vec::new();
        for (delta, value) in values.iter().enumerate() {
            put_record(&mut records, i64::try_from(delta).expect("a batch is short"), None, value.as_ref());
        }
        Self::of_records(timestamp, values.len(), records)
    }

    /// A batch of one record with a key.
    #[must_use]
    pub fn of_key(timestamp: i64, key: &[u8], value: &[u8]) -> Self {
        let mut records = Vec::new();
        put_record(&mut records, 0, Some(key), value);
        Self::of_records(timestamp, 1, records)
    }

    fn of_records(timestamp: i64, count: usize, records: Vec<u8>) -> Self {
        let count = i32::try_from(count).expect("a batch is short");
        Self {
            base_offset: 0,
            attributes: 0,
            magic: 2,
            base_timestamp: timestamp,
            max_timestamp: timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            last_offset_delta: count - 1,
            record_count: count,
            records,
        }
    }

    /// The same from an idempotent producer.
    #[must_use]
    pub fn by_producer(mut self, id: i64, epoch: i16, base_sequence: i32) -> Self {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = base_sequence;
        self
    }

    /// The same, as part of a transaction.
    #[must_use]
    pub fn in_transaction(mut self) -> Self {
        self.attributes |= 1 << 4;
        self
    }

    /// The batch as bytes, its CRC right.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(61 + self.records.len());
        bytes.put_i64(self.base_offset);
        bytes.put_i32(i32::try_from(49 + self.records.len()).expect("a batch is short"));
        bytes.put_i32(-1);
        bytes.put_i8(self.magic);
        bytes.put_u32(0);
        bytes.put_i16(self.attributes);
        bytes.put_i32(self.last_offset_delta);
        bytes.put_i64(self.base_timestamp);
        bytes.put_i64(self.max_timestamp);
        bytes.put_i64(self.producer_id);
        bytes.put_i16(self.producer_epoch);
        bytes.put_i32(self.base_sequence);
        bytes.put_i32(self.record_count);
        bytes.put_slice(&self.records);
        sign(&mut bytes);
        bytes
    }
}

/// Puts the right CRC into a batch.
pub fn sign(batch: &mut [u8]) {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[21..]);
    batch[17..21].copy_from_slice(&u32::try_from(crc).expect("a 32-bit CRC").to_be_bytes());
}

fn put_record(out: &mut Vec<u8>, offset_delta: i64, key: Option<&[u8]>, value: &[u8]) {
    let mut body = vec![0];
    put_varint(&mut body, 0);
    put_varint(&mut body, offset_delta);
    put_varint(&mut body, key.map_or(-1, |key| i64::try_from(key.len()).expect("a key is short")));
    body.put_slice(key.unwrap_or_default());
    put_varint(&mut body, i64::try_from(value.len()).expect("a value is short"));
    body.put_slice(value);
    put_varint(&mut body, 0);
    put_varint(out, i64::try_from(body.len()).expect("a record is short"));
    out.put_slice(&body);
}

/// Zigzag, seven bits a byte, lowest first.
pub fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

/// One record as a fetch brings it, found by walking the framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Where it stands in its partition.
    pub offset: i64,
    /// Its value; the tests here write no nulls.
    pub value: Bytes,
    /// The batch's producer, or -1.
    pub producer_id: i64,
}

/// Walks uncompressed batches end to end; a batch cut off at the end is left away, as Kafka's fetch may cut it.
///
/// # Panics
/// When a batch is not what the broker may send: a wrong CRC, magic or framing, offsets that do not ascend.
#[must_use]
pub fn walk(batches: &Bytes) -> Vec<Read> {
    let mut records: Vec<Read> = Vec::new();
    let mut at = 0;
    while let Some(length) = batches.get(at + 8..at + 12) {
        let length = usize::try_from(i32_at(length, 0)).expect("a batch's length is positive");
        let end = at + 12 + length;
        if end > batches.len() {
            break;
        }
        let batch = batches.slice(at..end);
        assert_eq!(batch[16], 2, "magic");
        let crc = u32::try_from(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &batch[21..]));
        assert_eq!(
            crc,
            Ok(i32_at(&batch, 17).cast_unsigned()),
            "CRC of the batch at offset {}",
            i64_at(&batch, 0)
        );
        assert_eq!(batch[22] & 7, 0, "the batch is not compressed");
        let before = records.len();
        walk_records(&batch, &mut records);
        let base = i64_at(&batch, 0);
        assert_eq!(
            i64::try_from(records.len() - before),
            Ok(i64::from(i32_at(&batch, 57))),
            "records at {base}"
        );
        assert_eq!(
            records.last().expect("a record").offset,
            base + i64::from(i32_at(&batch, 23)),
            "last of {base}"
        );
        at = end;
    }
    assert!(records.is_sorted_by(|before, after| before.offset < after.offset), "offsets ascend");
    records
}

/// How many bytes at the front of `batches` are whole batches.
#[must_use]
pub fn whole_bytes(batches: &[u8]) -> usize {
    let mut at = 0;
    while let Some(length) = batches.get(at + 8..at + 12) {
        let end = at + 12 + usize::try_from(i32_at(length, 0)).expect("a batch's length is positive");
        if end > batches.len() {
            break;
        }
        at = end;
    }
    at
}

fn walk_records(batch: &Bytes, out: &mut Vec<Read>) {
    let (base, producer_id) = (i64_at(batch, 0), i64_at(batch, 43));
    let mut at = 61;
    while at < batch.len() {
        let (length, body) = varint_at(batch, at);
        let end = body + usize::try_from(length).expect("a record's length is positive");
        let (_timestamp_delta, next) = varint_at(batch, body + 1);
        let (offset_delta, next) = varint_at(batch, next);
        let (key_length, next) = varint_at(batch, next);
        let key_end = next + usize::try_from(key_length).unwrap_or(0);
        let (value_length, value) = varint_at(batch, key_end);
        let value_end = value + usize::try_from(value_length).expect("the tests write no null values");
        out.push(Read { offset: base + offset_delta, value: batch.slice(value..value_end), producer_id });
        at = end;
    }
    assert_eq!(at, batch.len(), "the records of {base} end with their batch");
}

fn varint_at(bytes: &[u8], mut at: usize) -> (i64, usize) {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = bytes[at];
        at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return ((value >> 1).cast_signed() ^ -((value & 1).cast_signed()), at);
        }
        shift += 7;
    }
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
