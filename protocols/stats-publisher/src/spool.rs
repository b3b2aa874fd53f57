//! The spool: a plain file that holds what is not acknowledged yet, so that a killed process loses nothing that reached
//! it. A list of session segments, the oldest first: those of earlier runs are finished in order, the present run
//! writes behind them.
//!
//! *Reached the spool* means: the drain has taken the event from the queue (within 10 ms, 50 ms after idleness) and
//! handed it to the operating system with `write`. That survives the death of the process by any signal; a power
//! failure of the host may cost what the system had not written yet, which then is cut as a torn tail.
//!
//! Places in the spool are counted from the first byte ever written by this process, so that they stay valid when the
//! acknowledged front of the file is reclaimed.

mod record;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use record::{MAGIC, RECORD_HEADER, RecordHeader, expected_header_len, file_header, read_file_header};

/// The acknowledged front is reclaimed by copying what follows it, so not before it has this size.
const RECLAIM_BYTES: u64 = 4 << 20;

/// A place in the spool.
pub(crate) type Place = u64;

/// Why the spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// Another process, or another publisher of this one, uses the file.
    #[error("spool file {} is in use by another publisher: give each its own", path.display())]
    InUse {
        /// The spool file.
        path: PathBuf,
    },
    /// The file holds events of a publisher with another name.
    #[error(
        "spool file {} holds events of publisher {found:?}, not of {expected:?}: start once under the old name to deliver \
         them, or move the file away", path.display()
    )]
    OtherPublisher {
        /// The spool file.
        path: PathBuf,
        /// Whose events it holds.
        found: String,
        /// Who opens it.
        expected: String,
    },
    /// The file is no spool; it is left as it is.
    #[error("file {} is not a spool: name another, or move it away", path.display())]
    NotASpool {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("cannot {what} spool file {}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The spool file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A record that was whole when it was written, or when the file was opened, no longer is.
    #[error("spool file {} is damaged at byte {at}", path.display())]
    Damaged {
        /// The spool file.
        path: PathBuf,
        /// Where in the file.
        at: u64,
    },
}

/// What an earlier run left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) session_id: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) start: Place,
    pub(crate) end: Place,
    /// Damage follows: the session may have had further numbers, how many is not known.
    pub(crate) damaged: bool,
}

/// One batch as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) session_id: u64,
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) frames: Vec<u8>,
    /// Where the next record starts.
    pub(crate) end: Place,
}

impl Record {
    pub(crate) fn last(&self) -> u64 {
        self.first + self.count - 1
    }
}

#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
    file: File,
    /// Held as long as the spool is open. A file of its own, since reclaiming replaces the spool file.
    _lock: File,
    max_bytes: u64,
    header_len: u64,
    publisher: String,
    /// The place of the first record in the file.
    base: Place,
    /// Everything before this place is acknowledged.
    released: Place,
    end: Place,
    /// Whether an append failed and its rest could not be cut off.
    torn: bool,
}

impl Spool {
    /// Opens or makes the file, cuts a torn tail, and returns the segments that earlier runs left, the oldest first.
    pub(crate) fn open(path: &Path, max_bytes: u64, publisher: &str) -> Result<(Self, VecDeque<Segment>), SpoolError> {
        let error = |what, source| SpoolError::Io { what, path: path.to_owned(), source };
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(with_suffix(path, ".lock"))
            .map_err(|source| error("make the lock of", source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpoolError::InUse { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(error("lock", source)),
        }
        // Left behind by a process that was killed while it reclaimed; the spool itself is whole.
        match std::fs::remove_file(with_suffix(path, ".new")) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(error("remove what was left beside", source));
            }
            _ => {}
        }
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(|source| error("open", source))?;
        let header = file_header(publisher);
        let mut start = Vec::new();
        (&mut file).take(MAX_FILE_HEADER).read_to_end(&mut start).map_err(|source| error("read", source))?;
        let mut spool = Self {
            path: path.to_owned(),
            file,
            _lock: lock,
            max_bytes,
            header_len: header.len() as u64,
            publisher: publisher.to_owned(),
            base: 0,
            released: 0,
            end: 0,
            torn: false,
        };
        match read_file_header(&start) {
            Some((found, header_len)) => {
                spool.header_len = header_len as u64;
                let segments = spool.scan()?;
                if found != publisher {
                    if !segments.is_empty() {
                        return Err(SpoolError::OtherPublisher { path: spool.path, found, expected: publisher.into() });
                    }
                    spool.start_over()?;
                }
                Ok((spool, segments))
            }
            None if !MAGIC.starts_with(&start[..start.len().min(MAGIC.len())]) => {
                Err(SpoolError::NotASpool { path: spool.path })
            }
            // A new file, or one whose making was cut short.
            None if start.len() < expected_header_len(&start) => {
                spool.start_over()?;
                Ok((spool, VecDeque::new()))
            }
            None => Err(SpoolError::Damaged { path: spool.path, at: 0 }),
        }
    }

    /// Whether a record with so many bytes of frames may be appended.
    pub(crate) fn has_room(&self, frames: usize) -> bool {
        self.file_len() + RECORD_HEADER as u64 + frames as u64 <= self.max_bytes
    }

    /// Bytes of the file.
    pub(crate) fn file_len(&self) -> u64 {
        self.header_len + (self.end - self.base)
    }

    /// The place behind the last record.
    pub(crate) fn end(&self) -> Place {
        self.end
    }

    /// Appends a record and returns its place. On an error the spool is as it was before.
    pub(crate) fn append(
        &mut self,
        session_id: u64,
        first: u64,
        count: u64,
        frames: &[u8],
    ) -> Result<Place, SpoolError> {
        let count = u32::try_from(count).expect("a batch is bounded by its bytes");
        if self.torn {
            self.cut_tail()?;
        }
        let header = RecordHeader::encode(session_id, first, count, frames);
        let place = self.end;
        let at = self.physical(place);
        let written = self.file.seek(SeekFrom::Start(at)).and_then(|_| {
            // Header and frames in two writes: a crash in between leaves a torn tail, which is what a crash inside one
            // write would leave.
            self.file.write_all(&header)?;
            self.file.write_all(frames)
        });
        if let Err(source) = written {
            self.torn = true;
            // If this fails too it is tried again before the next append; the tail is never read before.
            self.cut_tail().ok();
            return Err(self.io("append to", source));
        }
        self.end += (RECORD_HEADER + frames.len()) as u64;
        Ok(place)
    }

    /// Reads the record at a place; `None` at the end.
    pub(crate) fn read(&self, place: Place) -> Result<Option<Record>, SpoolError> {
        if place >= self.end {
            return Ok(None);
        }
        let at = self.physical(place);
        let damaged = || SpoolError::Damaged { path: self.path.clone(), at };
        let mut header_bytes = [0; RECORD_HEADER];
        let classify = |source: io::Error| match source.kind() {
            io::ErrorKind::UnexpectedEof => damaged(),
            _ => self.io("read", source),
        };
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut header_bytes)).map_err(classify)?;
        let header = RecordHeader::decode(&header_bytes).ok_or_else(damaged)?;
        let mut frames = vec![0; header.length as usize];
        file.read_exact(&mut frames).map_err(classify)?;
        if !header.agrees(&header_bytes, &frames) {
            return Err(damaged());
        }
        let end = place + (RECORD_HEADER + frames.len()) as u64;
        Ok(Some(Record {
            session_id: header.session_id,
            first: header.first,
            count: u64::from(header.count),
            frames,
            end,
        }))
    }

    /// Says that everything before `place` is acknowledged, and reclaims it where that is worth the copy: at once when
    /// nothing is left, else when it is as large as what is left or a quarter of the limit.
    pub(crate) fn release(&mut self, place: Place) -> Result<(), SpoolError> {
        self.released = self.released.max(place.min(self.end));
        let (dead, live) = (self.released - self.base, self.end - self.released);
        if live == 0 && dead > 0 {
            return self.start_over();
        }
        if dead >= RECLAIM_BYTES.min(self.max_bytes / 4) && dead >= live.min(self.max_bytes / 4) {
            return self.rewrite(|session_id| session_id);
        }
        Ok(())
    }

    /// Puts the records of one session under another.
    pub(crate) fn rename_session(&mut self, from: u64, to: u64) -> Result<(), SpoolError> {
        self.rewrite(|session_id| if session_id == from { to } else { session_id })
    }

    /// Empties the file. For use when everything in it is acknowledged.
    pub(crate) fn start_over(&mut self) -> Result<(), SpoolError> {
        let header = file_header(&self.publisher);
        let emptied =
            self.file.set_len(0).and_then(|()| self.file.rewind()).and_then(|()| self.file.write_all(&header));
        emptied.map_err(|source| self.io("empty", source))?;
        self.header_len = header.len() as u64;
        self.base = self.end;
        self.released = self.end;
        self.torn = false;
        Ok(())
    }

    /// Copies what is not acknowledged to a new file, which takes the place of the old one in one step.
    fn rewrite(&mut self, session: impl Fn(u64) -> u64) -> Result<(), SpoolError> {
        let new_path = with_suffix(&self.path, ".new");
        let header = file_header(&self.publisher);
        let mut new = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&new_path)
            .and_then(|mut new| new.write_all(&header).map(|()| new))
            .map_err(|source| self.io("make a new", source))?;
        let mut place = self.released;
        while let Some(record) = self.read(place)? {
            let count = record.count as u32;
            let header = RecordHeader::encode(session(record.session_id), record.first, count, &record.frames);
            new.write_all(&header)
                .and_then(|()| new.write_all(&record.frames))
                .map_err(|source| self.io("copy", source))?;
            place = record.end;
        }
        std::fs::rename(&new_path, &self.path).map_err(|source| self.io("replace", source))?;
        self.file = new;
        self.header_len = header.len() as u64;
        self.base = self.released;
        self.torn = false;
        Ok(())
    }

    /// Walks over all records, cuts the file behind the last whole one, and groups them by session.
    fn scan(&mut self) -> Result<VecDeque<Segment>, SpoolError> {
        let file_len = self.file.metadata().map_err(|source| self.io("read", source))?.len();
        self.end = file_len.saturating_sub(self.header_len);
        let mut segments: VecDeque<Segment> = VecDeque::new();
        let mut place = 0;
        loop {
            let record = match self.read(place) {
                Ok(Some(record)) => record,
                Ok(None) | Err(SpoolError::Damaged { .. }) => break,
                Err(error) => return Err(error),
            };
            match segments.back_mut() {
                Some(segment) if segment.session_id == record.session_id && segment.last + 1 == record.first => {
                    segment.last = record.last();
                    segment.end = record.end;
                }
                _ => segments.push_back(Segment {
                    session_id: record.session_id,
                    first: record.first,
                    last: record.last(),
                    start: place,
                    end: record.end,
                    damaged: false,
                }),
            }
            place = record.end;
        }
        if place < self.end {
            let (path, bytes) = (self.path.display(), self.end - place);
            if self.is_torn(place)? {
                tracing::warn!(%path, bytes, "cut the torn tail of the spool");
            } else {
                tracing::error!(%path, bytes, "the spool is damaged; what lay behind the damage is lost");
                if let Some(segment) = segments.back_mut() {
                    segment.damaged = true;
                }
            }
            self.end = place;
            self.cut_tail()?;
        }
        Ok(segments)
    }

    /// Whether the file ends before the record at a place does. Such a record was never sent.
    fn is_torn(&self, place: Place) -> Result<bool, SpoolError> {
        let left = self.end - place;
        if left < RECORD_HEADER as u64 {
            return Ok(true);
        }
        let mut header = [0; RECORD_HEADER];
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.physical(place)))
            .and_then(|_| file.read_exact(&mut header))
            .map_err(|source| self.io("read", source))?;
        let header = RecordHeader::decode(&header);
        Ok(header.is_some_and(|header| left < RECORD_HEADER as u64 + u64::from(header.length)))
    }

    fn cut_tail(&mut self) -> Result<(), SpoolError> {
        self.file.set_len(self.physical(self.end)).map_err(|source| self.io("cut", source))?;
        self.torn = false;
        Ok(())
    }

    fn physical(&self, place: Place) -> u64 {
        debug_assert!(place >= self.base, "a released place is not read again");
        self.header_len + (place - self.base)
    }

    fn io(&self, what: &'static str, source: io::Error) -> SpoolError {
        SpoolError::Io { what, path: self.path.clone(), source }
    }
}

/// Enough for the longest header.
const MAX_FILE_HEADER: u64 = (MAGIC.len() + 1 + 255 + 4) as u64;

const _: () = assert!(crate::window::CHUNK_BYTES <= record::MAX_FRAMES, "a batch is one record");

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests;
