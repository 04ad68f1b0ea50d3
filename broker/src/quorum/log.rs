//! The log that openraft writes: entries in memory, and every change of them and of the vote in one file.
//!
//! Entries stay in memory until they are purged, which follows each snapshot: the log is bounded by what happens
//! between two snapshots. Purging rewrites the file with what is left.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogId, RaftLogReader, StorageIOError};

use super::codec::{
    PayloadError, decode_entry, decode_index, decode_log_id, decode_vote, encode_entry, encode_index,
    encode_log_id, encode_vote,
};
use super::files::Files;
use super::raft::{Entry, LogId, StorageError, Types, Vote};
use super::record::{Kind, LogError, Replayed, Tail, file_header, replay};
use super::writer::Writer;

/// The log's file.
pub(super) const LOG_FILE: &str = "log";

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// The file can't be read or written.
    #[error(transparent)]
    File(#[from] io::Error),
    /// The file is not what it should be.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record is not what it should be.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The records are sound, but don't follow from each other.
    #[error("entry {found} follows entry {last:?}")]
    Gap {
        /// The last entry before it.
        last: Option<u64>,
        /// The entry that doesn't follow.
        found: u64,
    },
}

/// What the log holds.
#[derive(Debug, Default)]
struct Content {
    vote: Option<Vote>,
    purged: Option<LogId>,
    /// Consecutive, from the one after `purged` on.
    entries: VecDeque<Entry>,
}

impl Content {
    fn last_log_id(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.log_id).or(self.purged)
    }

    fn next_index(&self) -> u64 {
        self.last_log_id().map_or(0, |id| id.index + 1)
    }

    fn first_index(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }

    fn push(&mut self, entry: Entry) -> Result<(), OpenLogError> {
        if entry.log_id.index != self.next_index() {
            let last = self.last_log_id().map(|id| id.index);
            return Err(OpenLogError::Gap { last, found: entry.log_id.index });
        }
        self.entries.push_back(entry);
        Ok(())
    }

    fn truncate(&mut self, from: u64) {
        while self.entries.back().is_some_and(|entry| entry.log_id.index >= from) {
            self.entries.pop_back();
        }
    }

    fn purge(&mut self, upto: LogId) {
        while self.entries.front().is_some_and(|entry| entry.log_id.index <= upto.index) {
            self.entries.pop_front();
        }
        self.purged = Some(upto);
    }
}

/// The log. Clones share it.
#[derive(Clone)]
pub(super) struct Log {
    content: Rc<RefCell<Content>>,
    tail: Rc<RefCell<Tail>>,
    writer: Rc<Writer>,
}

/// A log as it was found, before its writer starts.
pub(super) struct OpenedLog {
    content: Content,
    tail: Tail,
}

/// Reads the log, or makes a new one; what a crash left torn is cut off.
pub(super) fn open(files: &mut impl Files) -> Result<OpenedLog, OpenLogError> {
    let Some(file) = files.read(LOG_FILE)? else {
        let salt = rand::random();
        files.replace(LOG_FILE, &file_header(salt))?;
        return Ok(OpenedLog { content: Content::default(), tail: Tail::empty(salt) });
    };
    let Replayed { records, tail } = replay(&file)?;
    let mut content = Content::default();
    for (kind, payload) in records {
        match kind {
            Kind::Vote => content.vote = Some(decode_vote(payload)?),
            Kind::Entry => content.push(decode_entry(payload)?)?,
            Kind::Truncate => content.truncate(decode_index(payload)?),
            Kind::Purge => content.purge(decode_log_id(payload)?),
        }
    }
    if tail.size_bytes < file.len() as u64 {
        tracing::warn!(
            bytes = file.len() as u64 - tail.size_bytes,
            "the quorum's log ends in a write that was cut short; it was never acknowledged and is dropped"
        );
        files.truncate(LOG_FILE, tail.size_bytes)?;
    }
    Ok(OpenedLog { content, tail })
}

impl OpenedLog {
    pub(super) fn start(self, writer: Rc<Writer>) -> Log {
        Log { content: Rc::new(RefCell::new(self.content)), tail: Rc::new(RefCell::new(self.tail)), writer }
    }
}

impl Log {
    /// The first index that is in the log, or would be.
    pub(super) fn first_index(&self) -> u64 {
        self.content.borrow().first_index()
    }

    /// The size of the file.
    pub(super) fn size_bytes(&self) -> u64 {
        self.tail.borrow().size_bytes
    }

    /// Appends records to the file; they are synced when it returns.
    async fn write(&self, records: &[(Kind, Vec<u8>)]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let position = {
            let mut tail = self.tail.borrow_mut();
            let position = tail.size_bytes;
            for (kind, payload) in records {
                tail.push(*kind, payload, &mut bytes);
            }
            position
        };
        self.writer.write(LOG_FILE, position, bytes).await?;
        self.tail.borrow_mut().mark_synced();
        Ok(())
    }

    /// Rewrites the file with what the content is now.
    async fn rewrite(&self) -> io::Result<()> {
        let salt = rand::random();
        let mut tail = Tail::empty(salt);
        let mut bytes = file_header(salt).to_vec();
        {
            let content = self.content.borrow();
            if let Some(vote) = &content.vote {
                tail.push(Kind::Vote, &encode_vote(vote), &mut bytes);
            }
            if let Some(purged) = &content.purged {
                tail.push(Kind::Purge, &encode_log_id(purged), &mut bytes);
            }
            for entry in &content.entries {
                tail.push(Kind::Entry, &encode_entry(entry), &mut bytes);
            }
        }
        assert_eq!(tail.size_bytes, bytes.len() as u64);
        tail.mark_synced();
        *self.tail.borrow_mut() = tail;
        self.writer.replace(LOG_FILE, move || bytes).await
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let content = self.content.borrow();
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => *index + 1,
            Bound::Unbounded => 0,
        };
        let skip = usize::try_from(start.saturating_sub(content.first_index())).unwrap_or(usize::MAX);
        let entries = content.entries.iter().skip(skip);
        Ok(entries.take_while(|entry| range.contains(&entry.log_id.index)).cloned().collect())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let content = self.content.borrow();
        Ok(LogState { last_purged_log_id: content.purged, last_log_id: content.last_log_id() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.content.borrow_mut().vote = Some(*vote);
        let record = [(Kind::Vote, encode_vote(vote))];
        self.write(&record).await.map_err(|error| StorageIOError::write_vote(&error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.content.borrow().vote)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        {
            let mut content = self.content.borrow_mut();
            for entry in entries {
                records.push((Kind::Entry, encode_entry(&entry)));
                let log_id = *entry.get_log_id();
                content.push(entry).map_err(|error| StorageIOError::write_log_entry(log_id, &error))?;
            }
        }
        self.write(&records).await.map_err(|error| StorageIOError::write_logs(&error))?;
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.content.borrow_mut().truncate(log_id.index);
        let record = [(Kind::Truncate, encode_index(log_id.index))];
        self.write(&record).await.map_err(|error| StorageIOError::write_logs(&error).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.content.borrow_mut().purge(log_id);
        self.rewrite().await.map_err(|error| StorageIOError::write_logs(&error).into())
    }
}
