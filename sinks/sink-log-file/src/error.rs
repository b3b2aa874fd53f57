//! What can fail at a log file, and whether trying again can help.

use std::io;
use std::path::PathBuf;

use sidecar_core::SinkError;

/// A failure at the log file or its folder.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogFileError {
    /// The folder of the file could not be made.
    #[error("cannot make the folder {}", path.display())]
    MakeFolder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file could not be opened, read or locked.
    #[error("cannot open the log file {}; check its path and that this user may write it", path.display())]
    Open {
        /// The file, or the folder that it would be made in.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has the file open as its log.
    #[error("another process writes the log file {}; stop it or choose another path", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The path leads to a folder, a device or a pipe.
    #[error("{} is not a regular file; choose another path", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file holds something else, which appending and cutting would damage.
    #[error("{} holds something else than JSON lines; choose another path or move it away", path.display())]
    NotJsonLines {
        /// The file.
        path: PathBuf,
    },
    /// Events could not be written or synced; what was begun is cut off again.
    #[error("cannot write to the log file {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The beginning of a failed write could not be cut off.
    #[error("cannot cut off what a failed write left in the log file {}", path.display())]
    Cut {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The full file could not be moved aside.
    #[error("cannot rotate the log file {}", path.display())]
    Rotate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl LogFileError {
    fn cause(&self) -> Option<&io::Error> {
        match self {
            Self::MakeFolder { source, .. }
            | Self::Open { source, .. }
            | Self::Write { source, .. }
            | Self::Cut { source, .. }
            | Self::Rotate { source, .. } => Some(source),
            Self::InUse { .. } | Self::NotAFile { .. } | Self::NotJsonLines { .. } => None,
        }
    }

    /// Whether nothing but a change by a person can help. A full disk or a file in use may pass by themselves.
    fn needs_a_person(&self) -> bool {
        match self {
            Self::NotAFile { .. } | Self::NotJsonLines { .. } => true,
            _ => self.cause().is_some_and(|source| {
                matches!(
                    source.kind(),
                    io::ErrorKind::PermissionDenied
                        | io::ErrorKind::ReadOnlyFilesystem
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::IsADirectory
                        | io::ErrorKind::InvalidInput
                        | io::ErrorKind::InvalidFilename
                )
            }),
        }
    }
}

impl From<LogFileError> for SinkError {
    fn from(error: LogFileError) -> Self {
        let what = error.to_string();
        let fatal = error.needs_a_person();
        let source = match error {
            LogFileError::MakeFolder { source, .. }
            | LogFileError::Open { source, .. }
            | LogFileError::Write { source, .. }
            | LogFileError::Cut { source, .. }
            | LogFileError::Rotate { source, .. } => Some(source.into()),
            LogFileError::InUse { .. } | LogFileError::NotAFile { .. } | LogFileError::NotJsonLines { .. } => None,
        };
        if fatal { Self::Fatal { what, source } } else { Self::Transient { what, source } }
    }
}
