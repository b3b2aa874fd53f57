//! One session on its way to the sidecar: the window in memory and, with a spool, the part that lies on disk only.

use stats_sv2::session::OPEN_FINISHING;

use crate::drain::Batch;
use crate::spool::{Place, Segment, Spool, SpoolError};
use crate::window::{Window, WindowLimits};

#[derive(Debug)]
pub(crate) struct Outbox {
    pub(crate) session_id: u64,
    pub(crate) window: Window,
    /// The highest number that was given, whether in memory or on disk.
    pub(crate) last: u64,
    /// The next record to be read back from the spool; `None` while the window holds everything.
    load: Option<Place>,
    /// What an earlier run left, where this is that.
    segment: Option<Segment>,
}

/// What reading back from the spool brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Loaded {
    /// Everything before this place was acknowledged before it was read.
    pub(crate) passed: Option<Place>,
    /// Numbers are missing: the session must be opened anew from its next number.
    pub(crate) reopen: bool,
}

impl Outbox {
    /// A session of this run.
    pub(crate) fn new(session_id: u64, limits: WindowLimits) -> Self {
        Self { session_id, window: Window::new(1, limits), last: 0, load: None, segment: None }
    }

    /// What an earlier run left.
    pub(crate) fn finishing(segment: Segment, limits: WindowLimits) -> Self {
        Self {
            session_id: segment.session_id,
            window: Window::new(segment.first, limits),
            last: segment.last,
            load: Some(segment.start),
            segment: Some(segment),
        }
    }

    /// The flags of OpenStatsSession.
    pub(crate) fn open_flags(&self) -> u32 {
        if self.segment.is_some() { OPEN_FINISHING } else { 0 }
    }

    pub(crate) fn segment(&self) -> Option<Segment> {
        self.segment
    }

    /// Whether every number that was given is acknowledged.
    pub(crate) fn is_delivered(&self) -> bool {
        self.window.committed() >= self.last
    }

    /// Takes a batch into memory, if nothing before it lies on disk only and there is room.
    pub(crate) fn take(&mut self, first: u64, batch: &Batch, spool_end: Option<Place>) -> bool {
        let fits =
            self.load.is_none() && self.window.continues(first) && self.window.fits(batch.frames, batch.bytes.len());
        if fits {
            self.window.push(first, batch.frames, &batch.bytes, spool_end);
        }
        fits
    }

    /// Says that from this place on records are to be read back.
    pub(crate) fn fall_behind(&mut self, place: Place) {
        self.load.get_or_insert(place);
    }

    /// Reads records back from the spool while the window has room.
    pub(crate) fn load(&mut self, spool: &Spool) -> Result<Loaded, SpoolError> {
        let mut loaded = Loaded::default();
        while let Some(place) = self.load {
            if place >= self.segment.map_or(spool.end(), |segment| segment.end) {
                self.load = None;
                break;
            }
            // Not record by record, each of which would be read again until it fits.
            if !self.window.is_empty() && self.window.bytes_room() < self.window.chunk_bytes() {
                break;
            }
            let record = match spool.read(place) {
                Ok(Some(record)) => record,
                Ok(None) => {
                    self.load = None;
                    break;
                }
                Err(error) => {
                    self.skip_damage(spool);
                    return Err(error);
                }
            };
            if record.last() <= self.window.committed() {
                loaded.passed = Some(record.end);
                self.load = Some(record.end);
                continue;
            }
            if !self.window.continues(record.first) {
                if !self.window.is_empty() {
                    break;
                }
                // What lies between could not be written, or no longer be read.
                self.window.rewind(record.first - 1);
                loaded.reopen = true;
            }
            if !self.window.fits(record.count, record.frames.len()) {
                break;
            }
            self.window.push(record.first, record.count, &record.frames, Some(record.end));
            self.load = Some(record.end);
        }
        Ok(loaded)
    }

    /// What cannot be read is given up. Later records of this run, if any, are delivered behind the gap.
    fn skip_damage(&mut self, spool: &Spool) {
        match self.segment {
            Some(_) => {
                self.load = None;
                self.last = self.window.last();
            }
            None => self.load = Some(spool.end()),
        }
    }
}
