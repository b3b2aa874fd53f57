//! What can go wrong with the history file, and what the sink's driver should do about it.

use std::path::PathBuf;

use sidecar_core::SinkError;

/// A failure of the history file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// SQLite refused.
    #[error("the history database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// The file was written by a newer program.
    #[error(
        "the history has schema version {found}, this program knows versions up to {known}; use the newer program or another path"
    )]
    NewerSchema {
        /// Version in the file.
        found: usize,
        /// Newest known version.
        known: usize,
    },
    /// The file was written by an older program; a sink brings it up to date, a reader only reads.
    #[error(
        "the history has schema version {found}, this program reads version {known}; run the sidecar on it once, which brings it up to date"
    )]
    OlderSchema {
        /// Version in the file.
        found: usize,
        /// The version that is read.
        known: usize,
    },
    /// The file is an SQLite database of something else.
    #[error("the file is an SQLite database but not a history of this program; give the sink another path")]
    NotAHistory,
    /// Another process has the file.
    #[error("the history {} is in use by another process; stop that process or give the sink another path", path.display())]
    InUse {
        /// The history file.
        path: PathBuf,
    },
    /// A file operation beside SQLite failed.
    #[error("could not {what} {}", path.display())]
    File {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The sink was asked to work before it was started, or after its damaged file could not be replaced.
    #[error("the history is not open")]
    NotOpen,
}

impl HistoryError {
    /// Whether the bytes of the file itself are wrong.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Sqlite(error) => matches!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
            ),
            _ => false,
        }
    }
}

impl From<HistoryError> for SinkError {
    fn from(error: HistoryError) -> Self {
        match &error {
            HistoryError::NewerSchema { .. }
            | HistoryError::OlderSchema { .. }
            | HistoryError::NotAHistory
            | HistoryError::InUse { .. } => Self::fatal("the history cannot be opened", error),
            // Only a start opens it, and tells the driver where it stands.
            HistoryError::NotOpen => Self::fatal("the history must be started first", error),
            // A full disk, a file system that is read-only for the moment, a busy file: nothing of the transaction is
            // kept, and the same batch may come again. The same holds for whatever else SQLite may answer: an event is
            // never given up because of the state of the file.
            HistoryError::Sqlite(_) | HistoryError::File { .. } => {
                Self::transient("the history could not be written", error)
            }
        }
    }
}
