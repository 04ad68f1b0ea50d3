//! A file that is written as a whole, and proves it: a header over a body.
//!
//! | offset | bytes | what |
//! | --- | --- | --- |
//! | 0 | 8 | magic: which kind of file |
//! | 8 | 2 | format version |
//! | 10 | 2 | zero |
//! | 12 | 4 | CRC-32 of the bytes from 16 on |
//! | 16 | 8 | bytes of the body |
//! | 24 | | the body, to the end of the file |
//!
//! Integers are little-endian.

/// A kind of sealed file.
#[derive(Clone, Copy, Debug)]
pub struct Seal {
    /// The first bytes.
    pub magic: [u8; 8],
    /// The version that this code writes, and the newest that it reads.
    pub version: u16,
}

/// Why a file is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Another kind of file, or none of ours.
    #[error("it is not a file of this kind")]
    Foreign,
    /// A version that this code can't read.
    #[error("its format is version {found}; this broker reads version {readable}")]
    Version {
        /// The file's.
        found: u16,
        /// Ours.
        readable: u16,
    },
    /// The sum doesn't match.
    #[error("it is damaged: length or checksum don't match")]
    Damaged,
}

const VERSION: usize = 8;
const ZERO: usize = VERSION + 2;
const CRC: usize = ZERO + 2;
const LENGTH: usize = CRC + 4;
/// Bytes before the body.
pub const HEADER_BYTES: usize = LENGTH + 8;
const _: () = assert!(HEADER_BYTES == 24);

/// The whole file for a body.
#[must_use]
pub fn seal(kind: Seal, body: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(HEADER_BYTES + body.len());
    file.extend_from_slice(&kind.magic);
    file.extend_from_slice(&kind.version.to_le_bytes());
    file.extend_from_slice(&[0; CRC - ZERO + 4]);
    file.extend_from_slice(&(body.len() as u64).to_le_bytes());
    file.extend_from_slice(body);
    let crc = crc32fast::hash(&file[LENGTH..]);
    file[CRC..LENGTH].copy_from_slice(&crc.to_le_bytes());
    file
}

/// The body of a whole file.
///
/// # Errors
/// [`SealError`].
pub fn unseal(kind: Seal, file: &[u8]) -> Result<&[u8], SealError> {
    let (header, body) = file.split_at_checked(HEADER_BYTES).ok_or(SealError::Foreign)?;
    if header[..VERSION] != kind.magic {
        return Err(SealError::Foreign);
    }
    let found = u16::from_le_bytes([header[VERSION], header[VERSION + 1]]);
    if found != kind.version {
        return Err(SealError::Version { found, readable: kind.version });
    }
    let crc = u32::from_le_bytes(header[CRC..LENGTH].try_into().expect("four bytes"));
    let length = u64::from_le_bytes(header[LENGTH..].try_into().expect("eight bytes"));
    let zero = header[ZERO..CRC] == [0; CRC - ZERO];
    if !zero || length != body.len() as u64 || crc != crc32fast::hash(&file[LENGTH..]) {
        return Err(SealError::Damaged);
    }
    Ok(body)
}
