//! What can go wrong with the journal as a whole, with opening a session, and with appending a run.

use std::io;
use std::path::PathBuf;

/// The journal cannot do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another process has the journal open.
    #[error("journal {} is in use by another process; stop it, or give this one a path of its own", path.display())]
    InUse {
        /// The journal file.
        path: PathBuf,
    },
    /// The file was written by a newer version.
    #[error("journal {} has schema version {found}, this program knows up to {known}; run the newer program", path.display())]
    NewerSchema {
        /// The journal file.
        path: PathBuf,
        /// Version in the file.
        found: i64,
        /// Newest version known.
        known: i64,
    },
    /// The file is a database of something else.
    #[error("{} is an SQLite database, but no journal; give the journal a path of its own", path.display())]
    NotAJournal {
        /// The file.
        path: PathBuf,
    },
    /// A file operation failed.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried, as a verb.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// SQLite refused.
    #[error("cannot {what}")]
    Sqlite {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The writer thread could not be started.
    #[error("cannot start the journal's writer thread")]
    Thread(#[source] io::Error),
    /// The journal is closed or closing.
    #[error("the journal is closed")]
    Closed,
    /// The deadline passed before everything that waited was committed.
    #[error("{events} events were not committed before the deadline; they were not acknowledged")]
    NotFlushed {
        /// Events that waited.
        events: u64,
    },
    /// No such session is known.
    #[error("publisher {publisher} has no session {session_id:016x}")]
    UnknownSession {
        /// Name of the publisher.
        publisher: String,
        /// The session.
        session_id: u64,
    },
    /// What was handed in cannot be stored.
    #[error("{what}")]
    Refused {
        /// What is wrong with it.
        what: String,
    },
    /// Whoever receives an export failed.
    #[error("cannot write the export")]
    Export(#[source] io::Error),
}

impl JournalError {
    /// Turns an SQLite error into "cannot `what`".
    pub(crate) fn sqlite(what: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sqlite { what, source }
    }

    /// Turns a file error into "cannot `what` path".
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }
}

/// A session cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// As many sessions as the journal carries are open already.
    #[error("{limit} sessions are open")]
    TooManySessions {
        /// The limit.
        limit: usize,
    },
    /// The first sequence is 0, or a number is beyond the protocol's range.
    #[error("first sequence {first_sequence} is out of range")]
    BadSequence {
        /// What the publisher said.
        first_sequence: u64,
    },
    /// The journal is closed or closing.
    #[error("the journal is closed")]
    Closed,
}

/// A run cannot be appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// A newer connection of the same session took over, or the session ended.
    #[error("a newer connection of this session has taken over")]
    Retired,
    /// The run begins after the next expected number.
    #[error("run begins at {first_sequence}, expected is {expected} at most")]
    BeyondNext {
        /// First number of the run.
        first_sequence: u64,
        /// The next number that was never handed over.
        expected: u64,
    },
    /// The run is too large, empty, or its frames are fewer than it says.
    #[error("run {what}")]
    BadRun {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The journal is closed or closing.
    #[error("the journal is closed")]
    Closed,
}
