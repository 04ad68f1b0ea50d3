//! Reads a native body in place.
//!
//! The table is verified when it is opened; ends are checked as they are reached. A body whose every record can be read and of
//! which nothing is left over then is sound.

use flatbuffers::VerifierOptions;

use super::draft::ABSENT;
use crate::generated::records as schema;
use crate::limits::{NATIVE_BODY_SLACK_BYTES, NATIVE_TABLES_MAX};
use crate::records::{Header, Part, RecordProblem};

/// Bytes of a record's entry.
pub const RECORD_ENTRY_BYTES: usize = 24;

/// Bytes of a header's entry.
pub const HEADER_ENTRY_BYTES: usize = 8;

const _: () = assert!(size_of::<schema::Record>() == RECORD_ENTRY_BYTES);
const _: () = assert!(size_of::<schema::Header>() == HEADER_ENTRY_BYTES);

/// What is left to read of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NativeBody<'a> {
    entries: &'a [[u8; RECORD_ENTRY_BYTES]],
    content: &'a [u8],
    /// Where the next key begins.
    content_at: u32,
    headers: &'a [[u8; HEADER_ENTRY_BYTES]],
    /// The next record's first header.
    header_at: u32,
    header_content: &'a [u8],
}

/// A record's headers, read as they are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NativeHeaders<'a> {
    entries: &'a [[u8; HEADER_ENTRY_BYTES]],
    content: &'a [u8],
    /// Where the next key begins.
    at: u32,
}

impl<'a> NativeBody<'a> {
    /// Opens a decompressed body.
    pub fn open(body: &'a [u8]) -> Result<Self, RecordProblem> {
        let options = VerifierOptions {
            max_depth: NATIVE_TABLES_MAX,
            max_tables: NATIVE_TABLES_MAX,
            max_apparent_size: body.len().saturating_add(NATIVE_BODY_SLACK_BYTES),
            ..VerifierOptions::default()
        };
        let root = flatbuffers::root_with_opts::<schema::Records<'_>>(&options, body)
            .map_err(|_| RecordProblem::Body)?;
        let (entries, _) = root.records().bytes().as_chunks();
        let (headers, _) = root.headers().map_or(&[][..], |headers| headers.bytes()).as_chunks();
        Ok(Self {
            entries,
            content: root.content().bytes(),
            content_at: 0,
            headers,
            header_at: 0,
            header_content: root.header_content().map_or(&[], |content| content.bytes()),
        })
    }

    /// Bytes that belong to no record read so far.
    pub fn left(&self) -> usize {
        let headers = self.headers.len() - usize_of(self.header_at);
        let header_content = self.header_content.len() - usize_of(self.header_content_at());
        self.entries.len() * RECORD_ENTRY_BYTES
            + (self.content.len() - usize_of(self.content_at))
            + headers * HEADER_ENTRY_BYTES
            + header_content
    }

    #[inline]
    fn read(&mut self, entry: schema::Record) -> Result<Part<'a>, RecordProblem> {
        let key = cut(self.content, &mut self.content_at, entry.key_end())?;
        let value = cut(self.content, &mut self.content_at, entry.value_end())?;
        let headers = self.headers(entry.headers_end())?;
        Ok(Part {
            timestamp_delta: entry.timestamp_delta(),
            offset_delta: entry.offset_delta(),
            key,
            value,
            headers: headers.into(),
        })
    }

    #[inline]
    fn headers(&mut self, end: u32) -> Result<NativeHeaders<'a>, RecordProblem> {
        if end == self.header_at {
            return Ok(NativeHeaders { entries: &[], content: &[], at: 0 });
        }
        let at = self.header_content_at();
        let entries = self
            .headers
            .get(usize_of(self.header_at)..usize_of(end))
            .ok_or(RecordProblem::End { at: self.header_at, end })?;
        self.header_at = end;
        Ok(NativeHeaders { entries, content: self.header_content, at })
    }

    /// Where the next header's key begins, as the header before it says; no further than the content goes.
    #[inline]
    fn header_content_at(&self) -> u32 {
        let before = usize_of(self.header_at).checked_sub(1).and_then(|index| self.headers.get(index));
        let at = before.map_or(0, |entry| schema::Header(*entry).value_end() & !ABSENT);
        at.min(u32::try_from(self.header_content.len()).unwrap_or(u32::MAX))
    }
}

impl<'a> Iterator for NativeBody<'a> {
    type Item = Result<Part<'a>, RecordProblem>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (entry, rest) = self.entries.split_first()?;
        self.entries = rest;
        Some(self.read(schema::Record(*entry)))
    }
}

impl NativeHeaders<'_> {
    /// How many there are.
    pub const fn count(&self) -> usize {
        self.entries.len()
    }
}

impl<'a> Iterator for NativeHeaders<'a> {
    type Item = Result<Header<'a>, RecordProblem>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (entry, rest) = self.entries.split_first()?;
        self.entries = rest;
        let entry = schema::Header(*entry);
        let read = |at: &mut u32| {
            let key = cut(self.content, at, entry.key_end())?.ok_or(RecordProblem::Length(-1))?;
            Ok(Header { key, value: cut(self.content, at, entry.value_end())? })
        };
        Some(read(&mut self.at))
    }
}

/// The part of `content` from `at` to `end`, which is where the next one begins.
#[inline]
fn cut<'a>(content: &'a [u8], at: &mut u32, end: u32) -> Result<Option<&'a [u8]>, RecordProblem> {
    let (start, stop) = (*at, end & !ABSENT);
    let part =
        content.get(usize_of(start)..usize_of(stop)).ok_or(RecordProblem::End { at: start, end: stop })?;
    *at = stop;
    if end & ABSENT == 0 {
        return Ok(Some(part));
    }
    if part.is_empty() { Ok(None) } else { Err(RecordProblem::End { at: start, end: stop }) }
}

#[inline]
fn usize_of(position: u32) -> usize {
    usize::try_from(position).expect("an address has 32 bits at least")
}
