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
    /// The sidecar was, or may have been, told that the session ends: it gets no more numbers.
    pub(crate) ended: bool,
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
        Self { session_id, window: Window::new(1, limits), last: 0, ended: false, load: None, segment: None }
    }

    /// What an earlier run left.
    pub(crate) fn finishing(segment: Segment, limits: WindowLimits) -> Self {
        Self {
            session_id: segment.session_id,
            window: Window::new(segment.first, limits),
            last: segment.last,
            ended: false,
            load: Some(segment.start),
            segment: Some(segment),
        }
    }

    /// The flags of OpenStatsSession. A session that comes back only to be ended must not displace a successor. One that
    /// cannot be ended holds the name, so that its successor replaces it and what it had open does not stay so.
    pub(crate) fn open_flags(&self) -> u32 {
        if self.is_growing() || self.is_damaged() { 0 } else { OPEN_FINISHING }
    }

    /// Whether it is not known what else the session had: its end would claim that there was nothing.
    pub(crate) fn is_damaged(&self) -> bool {
        self.segment.is_some_and(|segment| segment.damaged)
    }

    /// Whether the session can get further numbers.
    pub(crate) fn is_growing(&self) -> bool {
        self.segment.is_none() && !self.ended
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
        if self.segment.is_some() && self.load.is_none() && self.window.is_empty() && !self.is_delivered() {
            // The rest could not be read. Opening behind it tells the sidecar how much is missing.
            self.window.rewind(self.last);
            loaded.reopen = true;
        }
        Ok(loaded)
    }

    /// What cannot be read is given up. Later records of this run, if any, are delivered behind the gap.
    fn skip_damage(&mut self, spool: &Spool) {
        self.load = Some(self.segment.map_or(spool.end(), |segment| segment.end));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use stats_sv2::codec::Message;
    use stats_sv2::event::Heartbeat;
    use stats_sv2::{Event, Frames, UnixMillis};

    use super::*;

    const LIMITS: WindowLimits = WindowLimits { events: 100, bytes: 1 << 20 };
    const SESSION: u64 = 7;

    /// Frames that tell their numbers.
    fn batch(first: u64, frames: u64) -> Batch {
        let mut batch = Batch { frames, ..Batch::default() };
        for number in first..first + frames {
            Heartbeat { timestamp: UnixMillis(number), flags: 0 }.encode(&mut batch.bytes);
        }
        batch
    }

    fn append(spool: &mut Spool, first: u64, frames: u64) -> Place {
        spool.append(SESSION, first, frames, &batch(first, frames).bytes).unwrap()
    }

    /// Sends all that may be sent; the numbers.
    fn send(outbox: &mut Outbox) -> Vec<u64> {
        let mut numbers = Vec::new();
        loop {
            let frames = outbox.window.sendable(u64::MAX);
            let length = frames.len();
            if length == 0 {
                return numbers;
            }
            numbers.extend(Frames::new(frames).map(|frame| Event::decode(frame).unwrap().timestamp().unwrap().0));
            outbox.window.mark_sent(length);
        }
    }

    fn open(folder: &Path) -> Spool {
        Spool::open(&folder.join("spool"), 1 << 20, "pool").unwrap().0
    }

    #[test]
    fn what_could_not_be_written_is_a_gap_that_reopens_the_session() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path());
        let mut outbox = Outbox::new(SESSION, LIMITS);
        let start = append(&mut spool, 1, 3);
        // The numbers 4 and 5 were in memory only, and are lost from there.
        append(&mut spool, 6, 2);
        outbox.last = 7;
        outbox.fall_behind(start);
        assert_eq!(outbox.load(&spool).unwrap(), Loaded::default());
        assert_eq!(send(&mut outbox), [1, 2, 3]);
        assert!(!outbox.take(8, &batch(8, 1), None), "memory must not overtake the disk");
        outbox.window.acknowledge(3);
        assert!(outbox.load(&spool).unwrap().reopen);
        assert_eq!(outbox.window.committed() + 1, 6);
        assert_eq!(send(&mut outbox), [6, 7]);
        assert!(!outbox.is_delivered());
        outbox.window.acknowledge(7);
        assert!(outbox.is_delivered());
        outbox.load(&spool).unwrap();
        assert!(outbox.take(8, &batch(8, 1), None), "caught up");
    }

    #[test]
    fn records_that_are_durable_already_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path());
        let start = append(&mut spool, 1, 3);
        let second = append(&mut spool, 4, 3);
        append(&mut spool, 7, 3);
        let segment = Segment { session_id: SESSION, first: 1, last: 9, start, end: spool.end(), damaged: false };
        let mut outbox = Outbox::finishing(segment, LIMITS);
        outbox.window.rewind(5);
        assert_eq!(outbox.load(&spool).unwrap(), Loaded { passed: Some(second), reopen: false });
        assert_eq!(send(&mut outbox), [6, 7, 8, 9]);
    }

    #[test]
    fn damage_costs_what_lies_behind_it_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = open(folder.path());
        let start = append(&mut spool, 1, 3);
        append(&mut spool, 4, 3);
        let path = folder.path().join("spool");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();

        let segment = Segment { session_id: SESSION, first: 1, last: 6, start, end: spool.end(), damaged: false };
        let mut finishing = Outbox::finishing(segment, LIMITS);
        assert!(matches!(finishing.load(&spool), Err(SpoolError::Damaged { .. })));
        assert_eq!(send(&mut finishing), [1, 2, 3]);
        assert!(!finishing.load(&spool).unwrap().reopen);
        finishing.window.acknowledge(3);
        assert!(!finishing.is_delivered(), "the sidecar is to be told of the gap before the end");
        assert!(finishing.load(&spool).unwrap().reopen);
        assert_eq!(finishing.window.committed() + 1, 7);
        assert!(finishing.is_delivered());

        let mut own = Outbox::new(SESSION, LIMITS);
        own.last = 6;
        own.fall_behind(start);
        assert!(own.load(&spool).is_err());
        assert_eq!(send(&mut own), [1, 2, 3]);
        own.window.acknowledge(3);
        // What comes later is delivered behind the gap.
        let place = append(&mut spool, 7, 2);
        own.last = 8;
        own.fall_behind(place);
        assert!(own.load(&spool).unwrap().reopen);
        assert_eq!(send(&mut own), [7, 8]);
    }
}
