//! What every record carries at the front of its value, so that a run can check its own records and measure by one clock.
//!
//! ```text
//! offset  bytes  field      big endian
//! 0       4      run        which run wrote it: a random number
//! 4       4      worker     which producer of the run
//! 8       8      sequence   which record of that producer in that partition, from 0
//! 16      8      due        when it was due, in nanoseconds since the run's start
//! ```

/// Bytes of a stamp: no value is shorter.
pub const STAMP_BYTES: usize = 24;

/// The front of a record's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which run.
    pub run: u32,
    /// Which producer of it.
    pub worker: u32,
    /// Which record of the producer's in its partition.
    pub sequence: u64,
    /// Nanoseconds since the run's start.
    pub due_ns: u64,
}

impl Stamp {
    /// Writes it to the front of `value`.
    pub fn write(&self, value: &mut [u8]) {
        value[0..4].copy_from_slice(&self.run.to_be_bytes());
        value[4..8].copy_from_slice(&self.worker.to_be_bytes());
        value[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        value[16..24].copy_from_slice(&self.due_ns.to_be_bytes());
    }

    /// Reads it; none where the value is too short to have one.
    pub fn read(value: &[u8]) -> Option<Self> {
        let (front, _) = value.split_first_chunk::<STAMP_BYTES>()?;
        let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|index| front[at + index]));
        let long = |at: usize| u64::from_be_bytes(std::array::from_fn(|index| front[at + index]));
        Some(Self { run: word(0), worker: word(4), sequence: long(8), due_ns: long(16) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lies_as_the_table_says() {
        let stamp = Stamp { run: 0x0102_0304, worker: 5, sequence: 6, due_ns: 0x0708 };
        let mut value = [0xff; STAMP_BYTES + 1];
        stamp.write(&mut value);
        let expected = [1, 2, 3, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 7, 8, 0xff];
        assert_eq!(value, expected);
        assert_eq!(Stamp::read(&value), Some(stamp));
        assert_eq!(Stamp::read(&value[..STAMP_BYTES - 1]), None);
    }
}
