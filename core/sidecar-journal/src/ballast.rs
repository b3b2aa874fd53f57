//! A file that holds disk space back, so that deletion and checkpoint have room when the disk is full (delivery rule
//! 20): SQLite can do neither without.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::schema::beside;

/// Written at once.
const CHUNK_BYTES: usize = 256 << 10;

#[derive(Debug)]
pub(crate) struct Ballast {
    path: PathBuf,
    bytes: u64,
}

impl Ballast {
    pub(crate) fn new(journal: &Path, bytes: u64) -> Self {
        Self { path: beside(journal, ".ballast"), bytes }
    }

    /// Whether any is wanted at all.
    pub(crate) fn is_wanted(&self) -> bool {
        self.bytes > 0
    }

    pub(crate) fn is_there(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| file.len() == self.bytes)
    }

    /// Makes the file unless it is there. A part that could be written is removed again.
    pub(crate) fn make(&self) -> io::Result<()> {
        if !self.is_wanted() || self.is_there() {
            return Ok(());
        }
        let written = self.write();
        if written.is_err() {
            self.give_up()?;
        }
        written
    }

    fn write(&self) -> io::Result<()> {
        // Not zeros: some file systems keep no blocks for those.
        let chunk: Vec<u8> = (0..CHUNK_BYTES).map(|place| (place.wrapping_mul(0x9E37_79B1) >> 13) as u8).collect();
        let mut file = File::create(&self.path)?;
        let mut left = self.bytes;
        while left > 0 {
            let part = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            file.write_all(&chunk[..part])?;
            left -= part as u64;
        }
        // Without this a file system that allocates late would promise blocks that it has not got.
        file.sync_all()
    }

    /// Removes the file.
    pub(crate) fn give_up(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
