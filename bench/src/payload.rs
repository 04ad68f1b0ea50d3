//! What records are made of: keys and values, all from a seed and none of it made while measuring.
//!
//! Values are cut one behind the other from a block of noise that is made once and shared by a thread's producers; a record
//! costs a copy and its stamp. The block is larger than any batch, so that no batch compresses by repeating itself.

use std::rc::Rc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::stamp::{STAMP_BYTES, Stamp};
use crate::workload::{Keys, Record, Skew, ValueBytes};

/// After so much the noise comes again: further than compressions of a batch look back.
const NOISE_BYTES: usize = 8 << 20;
/// Noise and zeros alternate within this many bytes, so that every value compresses alike.
const GRAIN_BYTES: usize = 64;

/// What values are cut from.
pub struct Noise(Vec<u8>);

impl Noise {
    /// For records like `record`; the same seed makes the same.
    pub fn new(record: &Record, seed: u64) -> Rc<Self> {
        let mut noise = vec![0; record.value_bytes.max() + NOISE_BYTES];
        StdRng::seed_from_u64(seed).fill(&mut noise[..]);
        let noisy_share = ((1.0 - record.compressibility) * GRAIN_BYTES as f64).round();
        let noisy_bytes = (0..GRAIN_BYTES).filter(|at| (*at as f64) < noisy_share).count();
        for grain in noise.chunks_mut(GRAIN_BYTES) {
            let from = noisy_bytes.min(grain.len());
            grain[from..].fill(0);
        }
        Rc::new(Self(noise))
    }
}

/// Makes the records of one producer.
pub struct Payload {
    record: Record,
    noise: Rc<Noise>,
    /// Where the next value is cut from.
    next: usize,
    random: StdRng,
    keys: Option<KeyPicker>,
    key: Vec<u8>,
}

/// One record's parts, borrowed from its maker.
pub struct Made<'a> {
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// How long its value is.
    pub value_bytes: usize,
}

impl Payload {
    /// A maker for records like `record`; the same seed makes the same records.
    pub fn new(record: &Record, noise: Rc<Noise>, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let next = random.random_range(0..NOISE_BYTES / GRAIN_BYTES) * GRAIN_BYTES;
        let keys = record.keys.map(KeyPicker::new);
        let key = vec![b'k'; record.keys.map_or(0, |keys| keys.bytes)];
        Self { record: record.clone(), noise, next, random, keys, key }
    }

    /// Chooses the next record: its key and how long its value is.
    pub fn choose(&mut self) -> Made<'_> {
        if let Some(keys) = &self.keys {
            let number = keys.pick(&mut self.random);
            write_key(&mut self.key, number);
        }
        let value_bytes = match self.record.value_bytes {
            ValueBytes::Fixed(bytes) => bytes,
            ValueBytes::Between { min, max } => self.random.random_range(min..=max),
        };
        Made { key: self.keys.is_some().then_some(&self.key), value_bytes }
    }

    /// Appends a value of `value_bytes` with this stamp to `buffer`.
    pub fn append_value(&mut self, value_bytes: usize, stamp: &Stamp, buffer: &mut Vec<u8>) {
        assert!(value_bytes >= STAMP_BYTES, "a checked workload leaves room for the stamp");
        let start = buffer.len();
        buffer.extend_from_slice(&self.noise.0[self.next..self.next + value_bytes]);
        self.next = (self.next + value_bytes).next_multiple_of(GRAIN_BYTES);
        if self.next >= NOISE_BYTES {
            self.next = 0;
        }
        stamp.write(&mut buffer[start..]);
    }
}

/// The number in hexadecimal fills the end of the key, behind as many `k` as there is room for.
fn write_key(key: &mut [u8], number: u32) {
    let digits = format!("{number:08x}");
    let at = key.len() - digits.len();
    key[at..].copy_from_slice(digits.as_bytes());
}

/// Draws keys as often as their skew says.
struct KeyPicker {
    count: u32,
    /// Of a skewed distribution: how often this key or one before it comes, of 1.
    cumulative: Vec<f64>,
}

impl KeyPicker {
    fn new(keys: Keys) -> Self {
        let cumulative = match keys.skew {
            Skew::Uniform => Vec::new(),
            Skew::Zipf => {
                let weights = (1..=keys.count).map(|rank| 1.0 / f64::from(rank));
                let total: f64 = weights.clone().sum();
                let add = |sum: &mut f64, weight: f64| {
                    *sum += weight / total;
                    Some(*sum)
                };
                weights.scan(0.0, add).collect()
            }
        };
        Self { count: keys.count, cumulative }
    }

    fn pick(&self, random: &mut StdRng) -> u32 {
        if self.cumulative.is_empty() {
            return random.random_range(0..self.count);
        }
        let point: f64 = random.random();
        let rank = self.cumulative.partition_point(|sum| *sum < point);
        u32::try_from(rank).unwrap_or(u32::MAX).min(self.count - 1)
    }
}

#[cfg(test)]
mod tests {
    use protocol::compression::Compression;
    use protocol::records::{BatchBuilder, BatchOptions};
    use protocol::types::Timestamp;

    use super::*;
    use crate::workload::{Spread, parse};

    fn record(text: &str) -> Record {
        let text = format!(
            "name = \"x\"\nversion = 1\ndescription = \"d\"\n[[streams]]\nname = \"s\"\nrate = 1\nrecord = {text}"
        );
        parse(&text, "test").expect("a workload").streams.remove(0).record
    }

    fn maker(record: &Record, seed: u64) -> Payload {
        Payload::new(record, Noise::new(record, 1), seed)
    }

    /// A whole batch compresses by its zeros alone.
    #[test]
    fn a_batch_compresses_as_much_as_the_workload_says() {
        for share in [0.0, 0.5] {
            let text = format!("{{ value_bytes = 1024, compressibility = {share:.1} }}");
            let mut payload = maker(&record(&text), 7);
            let values: Vec<Vec<u8>> = (0..256).map(|_| value(&mut payload)).collect();
            for compression in [Compression::Zstd, Compression::Lz4, Compression::Gzip] {
                let options = BatchOptions { compression, ..BatchOptions::default() };
                let mut batch = BatchBuilder::new(options);
                values.iter().for_each(|value| batch.append(Timestamp(0), None, Some(value), &[]));
                let left = batch.build().len() as f64 / (256 << 10) as f64;
                assert!((left - (1.0 - share)).abs() < 0.15, "{compression:?} leaves {left} for {share}");
            }
        }
    }

    fn value(payload: &mut Payload) -> Vec<u8> {
        let bytes = payload.choose().value_bytes;
        let mut value = Vec::new();
        payload.append_value(bytes, &Stamp { run: 1, worker: 2, sequence: 3, due_ns: 4 }, &mut value);
        value
    }

    #[test]
    fn the_same_seed_makes_the_same() {
        let record = record("{ value_bytes = { min = 100, max = 200 }, keys = { count = 9 } }");
        let (mut one, mut other) = (maker(&record, 5), maker(&record, 5));
        for _ in 0..100 {
            assert_eq!(value(&mut one), value(&mut other));
            assert_eq!(one.choose().key, other.choose().key);
        }
    }

    #[test]
    fn lengths_lie_in_their_range_and_values_begin_with_the_stamp() {
        let mut payload = maker(&record("{ value_bytes = { min = 24, max = 30 } }"), 1);
        for _ in 0..200 {
            let value = value(&mut payload);
            assert!((24..=30).contains(&value.len()));
            assert_eq!(Stamp::read(&value).expect("a stamp").sequence, 3);
        }
    }

    #[test]
    fn compressibility_is_the_share_of_zeros() {
        for (share, zeros) in [("0.0", 0.0), ("0.5", 0.5), ("1.0", 1.0)] {
            let mut payload =
                maker(&record(&format!("{{ value_bytes = 64024, compressibility = {share} }}")), 1);
            let value = value(&mut payload);
            let body = &value[STAMP_BYTES..];
            let found = body.iter().filter(|byte| **byte == 0).count() as f64 / body.len() as f64;
            assert!((found - zeros).abs() < 0.02, "{found} of zeros for {share}");
        }
    }

    #[test]
    fn uniform_keys_come_alike_and_skewed_ones_do_not() {
        let count = |text: &str| {
            let mut payload = maker(&record(text), 1);
            let mut counts = std::collections::BTreeMap::<Vec<u8>, u32>::new();
            for _ in 0..10_000 {
                let key = payload.choose().key.expect("a key").to_vec();
                *counts.entry(key).or_default() += 1;
            }
            counts
        };
        let uniform = count("{ keys = { count = 10, bytes = 12 } }");
        assert_eq!(uniform.len(), 10);
        assert!(uniform.values().all(|count| (800..1_200).contains(count)), "{uniform:?}");
        let skewed = count("{ keys = { count = 10, skew = \"zipf\" } }");
        let first = skewed[b"kkkkkkkk00000000".as_slice()];
        let second = skewed[b"kkkkkkkk00000001".as_slice()];
        assert!((1.7..2.4).contains(&(f64::from(first) / f64::from(second))), "{skewed:?}");
    }

    #[test]
    fn no_keys_unless_asked() {
        let record = record("{ value_bytes = 100 }");
        assert_eq!(record.spread, Spread::Sticky);
        let mut payload = maker(&record, 1);
        assert_eq!(payload.choose().key, None);
    }
}
