//! The file that is being written: opened, locked, freed of a torn tail, appended to, cut back after a failure.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sidecar_core::Durability;
use stats_sv2::UnixMillis;

use crate::error::LogFileError;

/// Bytes read at once while looking for the last whole line.
const TAIL_CHUNK: usize = 64 << 10;

/// The open log file.
#[derive(Debug)]
pub(crate) struct OpenFile {
    file: File,
    path: PathBuf,
    /// Device and inode: whether the path still leads to this file.
    identity: (u64, u64),
    /// Bytes of whole deliveries. What lies behind them is the beginning of a failed write.
    length: u64,
    /// A failed write could not be cut off yet.
    torn: bool,
    last_written: UnixMillis,
}

/// What the path leads to, compared with the file that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followed {
    Same,
    /// Moved away or deleted by somebody: later events belong into a new file.
    Gone,
}

impl OpenFile {
    /// Opens or makes the file and its folders, takes its lock, and cuts off what a crash left half-written. Returns how
    /// many bytes that was.
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<(Self, u64), LogFileError> {
        let open_error = |source| LogFileError::Open { path: path.to_owned(), source };
        let folder = folder_of(path);
        make_folder(folder, durability)
            .map_err(|source| LogFileError::MakeFolder { path: folder.to_owned(), source })?;
        match std::fs::metadata(path) {
            // Before the open: that of a pipe would wait for its other end.
            Ok(found) if !found.is_file() => return Err(LogFileError::NotAFile { path: path.to_owned() }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(open_error(source)),
        }
        let file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(open_error)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LogFileError::InUse { path: path.to_owned() }),
            // Some network file systems know no locks; the path is still ours by configuration.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(source)) => return Err(open_error(source)),
        }
        let found = file.metadata().map_err(open_error)?;
        if !may_be_json_lines(&file, found.len()).map_err(open_error)? {
            return Err(LogFileError::NotJsonLines { path: path.to_owned() });
        }
        let length = whole_lines(&file, found.len()).map_err(open_error)?;
        let cut = found.len() - length;
        if cut > 0 {
            file.set_len(length).map_err(|source| LogFileError::Cut { path: path.to_owned(), source })?;
        }
        if durability == Durability::Power {
            sync_folder(folder).map_err(open_error)?;
        }
        let modified = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let opened = Self {
            file,
            path: path.to_owned(),
            identity: (found.dev(), found.ino()),
            length,
            torn: false,
            last_written: UnixMillis(u64::try_from(modified.as_millis()).unwrap_or(0)),
        };
        Ok((opened, cut))
    }

    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// When the latest event was written; for a file of an earlier run, when the file was changed.
    pub(crate) fn last_written(&self) -> UnixMillis {
        self.last_written
    }

    /// Looks where the path leads now. Notices also that somebody emptied the file in place.
    pub(crate) fn follow(&mut self) -> Followed {
        match std::fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == self.identity => {
                self.length = self.length.min(found.len());
                Followed::Same
            }
            _ => Followed::Gone,
        }
    }

    /// Appends what `fill` writes, all or nothing, and makes it durable.
    pub(crate) fn append<T>(
        &mut self,
        durability: Durability,
        now: UnixMillis,
        fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<T>,
    ) -> Result<T, LogFileError> {
        self.cut_failed_write()?;
        let mut file = &self.file;
        let mut written = 0;
        let outcome = fill(&mut |bytes| {
            file.write_all(bytes)?;
            written += bytes.len() as u64;
            Ok(())
        })
        .and_then(|value| {
            if durability == Durability::Power && written > 0 {
                file.sync_data()?;
            }
            Ok(value)
        });
        match outcome {
            Ok(value) => {
                self.length += written;
                self.last_written = now;
                Ok(value)
            }
            Err(source) => {
                // After a failed sync nobody knows which of the pages are on the disk: those are written again too.
                self.torn = true;
                self.cut_failed_write()?;
                Err(LogFileError::Write { path: self.path.clone(), source })
            }
        }
    }

    /// Syncs what `durability = "process"` left to the system.
    pub(crate) fn sync(&self) -> Result<(), LogFileError> {
        self.file.sync_data().map_err(|source| LogFileError::Write { path: self.path.clone(), source })
    }

    fn cut_failed_write(&mut self) -> Result<(), LogFileError> {
        if self.torn {
            self.file.set_len(self.length).map_err(|source| LogFileError::Cut { path: self.path.clone(), source })?;
            self.torn = false;
        }
        Ok(())
    }
}

/// The folder that holds a path.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes a name in a folder survive a loss of power.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn make_folder(folder: &Path, durability: Durability) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let missing: Vec<&Path> = folder.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    std::fs::create_dir_all(folder)?;
    if durability == Durability::Power {
        for made in missing {
            sync_folder(folder_of(made))?;
        }
    }
    Ok(())
}

/// Whether the file begins as ours do. A file of zeros is one whose first bytes a loss of power took.
fn may_be_json_lines(file: &File, length: u64) -> io::Result<bool> {
    let mut first = [0];
    if length > 0 {
        file.read_exact_at(&mut first, 0)?;
    }
    Ok(matches!(first[0], b'{' | 0))
}

/// How many bytes at the front are whole lines. A crash leaves a half line at the end; a loss of power may also leave
/// zeros where the file had grown and its data had not arrived, which no JSON text contains.
fn whole_lines(file: &File, length: u64) -> io::Result<u64> {
    let mut chunk = vec![0; TAIL_CHUNK];
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(TAIL_CHUNK as u64);
        // The difference is at most TAIL_CHUNK.
        let chunk = &mut chunk[..(end - start) as usize];
        file.read_exact_at(chunk, start)?;
        let intact = chunk.iter().position(|byte| *byte == 0).unwrap_or(chunk.len());
        if let Some(line_end) = chunk[..intact].iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + line_end as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}
