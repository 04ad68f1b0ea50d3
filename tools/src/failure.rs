//! Why a command did not do what was asked, and what to do about it: one line.

use std::fmt;
use std::io;

use client::ClientError;

use crate::exit::Exit;

/// Why a command ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Who read what is printed has gone (`| head`): no trouble, and nothing more to do.
    Unread,
    /// Trouble.
    Trouble {
        /// What the process ends with.
        exit: Exit,
        /// What is wrong.
        what: String,
        /// What to do about it, where there is something to say.
        remedy: Option<String>,
    },
}

impl Failure {
    /// Trouble that nobody has a remedy for.
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self::Trouble { exit, what: what.into(), remedy: None }
    }

    /// The same with something to do about it.
    #[must_use]
    pub fn or(self, remedy: impl Into<String>) -> Self {
        match self {
            Self::Unread => Self::Unread,
            Self::Trouble { exit, what, .. } => Self::Trouble { exit, what, remedy: Some(remedy.into()) },
        }
    }

    /// What the process ends with.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        match self {
            Self::Unread => Exit::Done,
            Self::Trouble { exit, .. } => *exit,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread => formatter.write_str("nobody reads on"),
            Self::Trouble { what, remedy: None, .. } => formatter.write_str(what),
            Self::Trouble { what, remedy: Some(remedy), .. } => write!(formatter, "{what}: {remedy}"),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let what = error.to_string();
        if error.is_unreachable() {
            Self::new(Exit::Unreachable, what).or("start it, or name another one with --bootstrap HOST:PORT")
        } else if error.is_not_found() {
            Self::new(Exit::NotFound, what).or("`iolite topics list` shows what there is")
        } else if matches!(error, ClientError::Address(_) | ClientError::NoBootstrap) {
            Self::new(Exit::Arguments, what)
        } else {
            Self::new(Exit::Failed, what)
        }
    }
}

/// Of standard output; other files' errors need to be told of which.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unread,
            _ => Self::new(Exit::Failed, format!("can't print: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: ClientError, exit: Exit, line: &str) {
        let failure = Failure::from(error);
        assert_eq!((failure.exit(), failure.to_string().as_str()), (exit, line));
    }

    #[test]
    fn what_a_client_says_gets_an_exit_code_and_a_remedy() {
        check(
            ClientError::UnknownTopic("t".to_owned()),
            Exit::NotFound,
            "there is no topic \"t\": `iolite topics list` shows what there is",
        );
        check(
            ClientError::NoBroker(client::ConnectionError::Closed),
            Exit::Unreachable,
            "no broker can be reached; the last one tried: the connection was closed: start it, or name another one with \
             --bootstrap HOST:PORT",
        );
        check(
            ClientError::Address("x".to_owned()),
            Exit::Arguments,
            "\"x\" is not an address: it must be host:port",
        );
        check(ClientError::TooManyTopics(3), Exit::Failed, "a client keeps at most 3 topics in mind");
    }

    #[test]
    fn that_nobody_reads_on_is_no_trouble() {
        let gone = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((gone.exit(), gone.or("anything")), (Exit::Done, Failure::Unread));
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(full.exit(), Exit::Failed);
    }
}
