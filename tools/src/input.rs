//! Lines of standard input, without ever blocking the executor: it is read only when there is something to read.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::limits::{INPUT_BYTES, LINE_BYTES_MAX};

/// Lines as they come.
pub struct Lines<F> {
    from: F,
    cutter: Cutter,
}

/// What there is to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Some bytes have come; there may be whole lines.
    Came,
    /// Nothing now.
    Quiet,
    /// Nothing any more.
    Ended,
}

impl<F: AsFd> Lines<F> {
    /// The lines of a pipe, a file or a terminal.
    pub fn of(from: F) -> Self {
        Self { from, cutter: Cutter::default() }
    }

    /// Takes what has come, if something has.
    ///
    /// # Errors
    /// It can't be read, or a line is longer than a record may be.
    pub fn look(&mut self) -> Result<Next, Failure> {
        if !is_readable(self.from.as_fd()).map_err(unreadable)? {
            return Ok(Next::Quiet);
        }
        let mut bytes = vec![0; INPUT_BYTES];
        match nix::unistd::read(&self.from, &mut bytes) {
            Ok(0) => {
                self.cutter.end();
                Ok(Next::Ended)
            }
            Ok(count) => {
                self.cutter.take(&bytes[..count])?;
                Ok(Next::Came)
            }
            Err(Errno::EINTR | Errno::EAGAIN) => Ok(Next::Quiet),
            Err(error) => Err(unreadable(error)),
        }
    }

    /// The next whole line, without its end; the last one may have none.
    pub fn line(&mut self) -> Option<Vec<u8>> {
        self.cutter.line()
    }
}

fn unreadable(error: Errno) -> Failure {
    Failure::new(Exit::Failed, format!("can't read standard input: {}", io::Error::from(error)))
}

/// Whether a read returns at once: with bytes, or because there are no more.
fn is_readable(file: BorrowedFd<'_>) -> Result<bool, Errno> {
    let mut files = [PollFd::new(file, PollFlags::POLLIN)];
    match poll(&mut files, PollTimeout::ZERO) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Cuts bytes into lines.
#[derive(Default)]
struct Cutter {
    bytes: Vec<u8>,
    /// The next line begins here.
    start: usize,
    /// No end of a line lies between the start and here.
    searched: usize,
    has_ended: bool,
}

impl Cutter {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes.drain(..self.start);
        self.searched -= self.start;
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
        // Whole lines have been taken before more was read: all of it is one line, or the beginning of one.
        if self.bytes.len() > LINE_BYTES_MAX + INPUT_BYTES {
            let what = format!("a line of standard input is longer than {LINE_BYTES_MAX} bytes");
            return Err(Failure::new(Exit::Failed, what).or("no record can be as long"));
        }
        Ok(())
    }

    fn end(&mut self) {
        self.has_ended = true;
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let rest = &self.bytes[self.searched..];
        let line = match rest.iter().position(|byte| *byte == b'\n') {
            Some(length) => {
                let end = self.searched + length;
                let line = self.bytes[self.start..end].to_vec();
                self.start = end + 1;
                line
            }
            None if self.has_ended && self.start < self.bytes.len() => {
                let line = self.bytes[self.start..].to_vec();
                self.start = self.bytes.len();
                line
            }
            None => {
                self.searched = self.bytes.len();
                return None;
            }
        };
        self.searched = self.start;
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// All lines of what comes in these pieces.
    fn check(pieces: &[&str], expected: &[&str]) {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let mut lines = Lines::of(reader);
        let mut found = Vec::new();
        let mut take = |lines: &mut Lines<io::PipeReader>| {
            while let Some(line) = lines.line() {
                found.push(String::from_utf8(line).expect("text"));
            }
        };
        for piece in pieces {
            assert_eq!(lines.look(), Ok(Next::Quiet));
            writer.write_all(piece.as_bytes()).expect("it is read");
            assert_eq!(lines.look(), Ok(Next::Came));
            take(&mut lines);
        }
        drop(writer);
        assert_eq!(lines.look(), Ok(Next::Ended));
        take(&mut lines);
        assert_eq!(found, expected, "{pieces:?}");
    }

    #[test]
    fn lines_are_cut_wherever_the_pieces_end() {
        check(&[], &[]);
        check(&["one\ntwo\n"], &["one", "two"]);
        check(&["one\ntwo"], &["one", "two"]);
        check(&["o", "n", "e\n", "\n", "two", "\nthree"], &["one", "", "two", "three"]);
        check(&["\n\n"], &["", ""]);
    }

    #[test]
    fn a_line_without_end_is_refused_in_time() {
        let mut cutter = Cutter::default();
        let piece = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(cutter.take(&piece), Ok(()));
        assert_eq!(cutter.line(), None);
        let refused = cutter.take(&vec![b'x'; INPUT_BYTES + 1]).expect_err("too long");
        assert_eq!(refused.exit(), Exit::Failed);
    }
}
