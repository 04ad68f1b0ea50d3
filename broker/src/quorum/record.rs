//! The quorum's log file, byte by byte. Pure: bytes in, records out.
//!
//! The file is a header and records end to end, each padded to eight bytes with zeros.
//!
//! | offset | bytes | file header |
//! | --- | --- | --- |
//! | 0 | 8 | `IOLITEQL` |
//! | 8 | 2 | format version |
//! | 10 | 2 | zero |
//! | 12 | 4 | salt: random; every checksum starts from it, so that no payload can pass for a record |
//!
//! | offset | bytes | record |
//! | --- | --- | --- |
//! | 0 | 4 | `IOqr` |
//! | 4 | 4 | checksum of the bytes from 8 to the end of the payload |
//! | 8 | 4 | bytes of the payload |
//! | 12 | 1 | kind |
//! | 13 | 3 | zero |
//! | 16 | 8 | sequence: 1 for the file's first record, then one more each |
//! | 24 | 8 | highest sequence known to be synced when this was written |
//! | 32 | 4 | checksum of the record before it; the salt for the first |
//! | 36 | 4 | zero |
//! | 40 | | payload |
//!
//! Integers are little-endian, checksums CRC-32. The records form a chain: sequence and checksum of the one before
//! must fit.
//!
//! **Torn or rotten.** Where the chain ends before the file does, the rest is a write that a crash cut short (several
//! records may be one write, and any part of it may be missing): it was never acknowledged and is dropped. But if
//! a record further on says that the first bad one was synced, then what was acknowledged is damaged, and the log
//! is refused.

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A vote.
    Vote,
    /// An entry of the log.
    Entry,
    /// Entries from an index on are void.
    Truncate,
    /// Entries up to a log id are in the snapshot and gone from here.
    Purge,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Vote => 1,
            Self::Entry => 2,
            Self::Truncate => 3,
            Self::Purge => 4,
        }
    }

    const fn of_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Vote),
            2 => Some(Self::Entry),
            3 => Some(Self::Truncate),
            4 => Some(Self::Purge),
            _ => None,
        }
    }
}

/// Why a log file can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// None of ours.
    #[error("it is not a log of the metadata quorum")]
    Foreign,
    /// A version that this code can't read.
    #[error("its format is version {found}; this broker reads version {VERSION}")]
    Version {
        /// The file's.
        found: u16,
    },
    /// A kind of record that this version doesn't know.
    #[error("the record at byte {position} is of kind {kind}, which this broker doesn't know")]
    UnknownKind {
        /// Where.
        position: u64,
        /// The kind.
        kind: u8,
    },
    /// A record that was acknowledged is damaged.
    #[error("the record at byte {position} is damaged although it was synced")]
    Rotten {
        /// Where.
        position: u64,
    },
}

const MAGIC: [u8; 8] = *b"IOLITEQL";
const VERSION: u16 = 1;
/// Bytes before the first record.
pub const FILE_HEADER_BYTES: usize = 16;

const RECORD_MAGIC: [u8; 4] = *b"IOqr";
const CRC: usize = 4;
const LENGTH: usize = CRC + 4;
const KIND: usize = LENGTH + 4;
const SEQUENCE: usize = KIND + 4;
const SYNCED: usize = SEQUENCE + 8;
const PREVIOUS: usize = SYNCED + 8;
const PAYLOAD: usize = PREVIOUS + 8;
const ALIGNMENT: usize = 8;
const _: () = assert!(PAYLOAD == 40);
const _: () = assert!(PAYLOAD.is_multiple_of(ALIGNMENT));
const _: () = assert!(FILE_HEADER_BYTES.is_multiple_of(ALIGNMENT));

/// Bytes of one record's payload: a command is a request of a client, which is far below.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// The end of a log: what the next record ties on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The size of the file up to here.
    pub size_bytes: u64,
    /// The sequence of the last record; 0 for none.
    sequence: u64,
    /// The highest sequence that is synced.
    synced: u64,
    /// The checksum of the last record.
    crc: u32,
    /// The file's.
    salt: u32,
}

impl Tail {
    /// The end of a file without records.
    #[must_use]
    pub const fn empty(salt: u32) -> Self {
        Self { size_bytes: FILE_HEADER_BYTES as u64, sequence: 0, synced: 0, crc: salt, salt }
    }

    /// Everything up to here is on stable media.
    pub const fn mark_synced(&mut self) {
        self.synced = self.sequence;
    }

    /// Appends a record's bytes to `out` and moves past it.
    ///
    /// # Panics
    /// If the payload is longer than [`PAYLOAD_BYTES_MAX`].
    pub fn push(&mut self, kind: Kind, payload: &[u8], out: &mut Vec<u8>) {
        assert!(payload.len() <= PAYLOAD_BYTES_MAX);
        let length = u32::try_from(payload.len()).expect("the limit fits");
        let start = out.len();
        self.sequence += 1;
        out.extend_from_slice(&RECORD_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&[kind.byte(), 0, 0, 0]);
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.synced.to_le_bytes());
        out.extend_from_slice(&self.crc.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(payload);
        self.crc = checksum(self.salt, &out[start + LENGTH..]);
        out[start + CRC..start + LENGTH].copy_from_slice(&self.crc.to_le_bytes());
        out.resize(start + (out.len() - start).next_multiple_of(ALIGNMENT), 0);
        self.size_bytes += (out.len() - start) as u64;
    }
}

fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

/// The header of a new file.
#[must_use]
pub fn file_header(salt: u32) -> [u8; FILE_HEADER_BYTES] {
    let mut header = [0; FILE_HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_le_bytes());
    header[12..].copy_from_slice(&salt.to_le_bytes());
    header
}

/// What a file holds.
#[derive(Debug)]
pub struct Replayed<'a> {
    /// The records in order: kind and payload.
    pub records: Vec<(Kind, &'a [u8])>,
    /// The end they leave; where it lies before the end of the file, the rest is torn.
    pub tail: Tail,
}

/// Reads a whole file.
///
/// # Errors
/// [`LogError`].
pub fn replay(file: &[u8]) -> Result<Replayed<'_>, LogError> {
    let header = file.get(..FILE_HEADER_BYTES).ok_or(LogError::Foreign)?;
    if header[..8] != MAGIC {
        return Err(LogError::Foreign);
    }
    let found = u16::from_le_bytes([header[8], header[9]]);
    if found != VERSION {
        return Err(LogError::Version { found });
    }
    let salt = u32::from_le_bytes(header[12..].try_into().expect("four bytes"));
    let mut records = Vec::new();
    let mut tail = Tail::empty(salt);
    let mut rest = &file[FILE_HEADER_BYTES..];
    while let Some(record) = Record::parse(salt, rest) {
        if record.sequence != tail.sequence + 1 || record.previous != tail.crc {
            break;
        }
        let Some(kind) = Kind::of_byte(record.kind) else {
            return Err(LogError::UnknownKind { position: tail.size_bytes, kind: record.kind });
        };
        records.push((kind, record.payload));
        rest = &rest[record.bytes..];
        tail.sequence = record.sequence;
        tail.crc = record.crc;
        tail.size_bytes += record.bytes as u64;
    }
    if was_synced(salt, rest, tail.sequence + 1) {
        return Err(LogError::Rotten { position: tail.size_bytes });
    }
    tail.mark_synced();
    Ok(Replayed { records, tail })
}

/// Whether any sound record in `rest` says that the record with this sequence was synced.
fn was_synced(salt: u32, rest: &[u8], sequence: u64) -> bool {
    (0..rest.len())
        .step_by(ALIGNMENT)
        .filter_map(|position| Record::parse(salt, &rest[position..]))
        .any(|record| record.synced >= sequence)
}

/// A record whose own checksum holds.
struct Record<'a> {
    kind: u8,
    sequence: u64,
    synced: u64,
    previous: u32,
    crc: u32,
    payload: &'a [u8],
    bytes: usize,
}

impl<'a> Record<'a> {
    fn parse(salt: u32, bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.get(..PAYLOAD)?;
        if header[..CRC] != RECORD_MAGIC {
            return None;
        }
        let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
        let length = usize::try_from(u32_at(LENGTH)).ok().filter(|length| *length <= PAYLOAD_BYTES_MAX)?;
        let whole = bytes.get(..PAYLOAD + length)?;
        let padded = bytes.get(..whole.len().next_multiple_of(ALIGNMENT))?;
        let crc = u32_at(CRC);
        if crc != checksum(salt, &whole[LENGTH..]) || padded[whole.len()..].iter().any(|byte| *byte != 0) {
            return None;
        }
        Some(Self {
            kind: header[KIND],
            sequence: u64_at(SEQUENCE),
            synced: u64_at(SYNCED),
            previous: u32_at(PREVIOUS),
            crc,
            payload: &whole[PAYLOAD..],
            bytes: padded.len(),
        })
    }
}
