//! One session of a publisher: how far it was counted, what it has open, which time it let us observe.

use rustc_hash::FxHashMap;
use stats_sv2::event::{EventsDropped, GAP_MISSING, Gap, HEARTBEAT_CLOCK_STEPPED, Heartbeat, SessionStarted};
use stats_sv2::session::OPEN_FINISHING;

use crate::label;
use crate::numbers::Run;
use crate::numbers::objects::{Channel, Downstream, Miner};

/// Times before the first block of Bitcoin (3 January 2009) are no times: an unset clock must not make decades observed.
const EARLIEST_MS: u64 = 1_231_006_505_000;

/// Events that one report of a loss adds at most. Numbers on the wire may be as large as 2^63; a sum must not overflow.
const MAX_LOST: u64 = 1 << 40;

/// What is known of a session.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// Number of the last event that was counted; `None` before the first.
    pub(crate) applied: Option<u64>,
    /// The same for the sidecar's own events about the session.
    pub(crate) applied_derived: Option<u64>,
    pub(crate) ended: bool,
    announcing: bool,
    /// Number of the last announcement that began, for the mark of what it named.
    announcement: u32,
    pub(crate) downstreams: FxHashMap<u32, Downstream>,
    pub(crate) channels: FxHashMap<(u32, u32), Channel>,
    pub(crate) miners: FxHashMap<u32, Miner>,
    /// Addresses, with the announcement that named them.
    pub(crate) upstreams: FxHashMap<Box<str>, u32>,
    /// The span that consecutive numbers cover so far.
    pub(crate) observed: Option<(u64, u64)>,
    /// Where numbers began to be missing; the next event says until when.
    open_loss: Option<u64>,
    /// First and last number of the last gap that the journal told of.
    told_missing: (u64, u64),
    last_heartbeat_ms: Option<u64>,
    pub(crate) last_received_ms: u64,
}

/// How many objects are open.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OpenCounts {
    pub(crate) downstreams: usize,
    pub(crate) channels: usize,
    pub(crate) miners: usize,
    pub(crate) upstreams: usize,
}

impl Session {
    pub(crate) fn is_announcing(&self) -> bool {
        self.announcing
    }

    /// Mark for what is opened or named now.
    pub(crate) fn naming(&self) -> u32 {
        if self.announcing { self.announcement } else { 0 }
    }

    pub(crate) fn announce_begin(&mut self) {
        self.announcement += 1;
        self.announcing = true;
    }

    /// What the session had open and the announcement did not name is closed.
    pub(crate) fn announce_end(&mut self) {
        if std::mem::take(&mut self.announcing) {
            self.close_unless_named(self.announcement);
        }
    }

    /// Closes everything that the session had open (delivery rule 12).
    pub(crate) fn end(&mut self) {
        self.ended = true;
        self.announcing = false;
        self.close_unless_named(u32::MAX);
    }

    pub(crate) fn open(&self) -> OpenCounts {
        OpenCounts {
            downstreams: self.downstreams.len(),
            channels: self.channels.values().filter(|channel| channel.open).count(),
            miners: self.miners.values().filter(|miner| miner.open).count(),
            upstreams: self.upstreams.len(),
        }
    }
}

impl Run<'_> {
    /// `counts` is false in an announcement, which tells again of a session that began before.
    pub(super) fn session_started(&mut self, started: &SessionStarted<'_>, counts: bool) {
        self.source.sessions_started += u64::from(counts);
        self.source.role = started.role;
        self.source.vendor = label::of_name(started.vendor.as_str());
        // One that only delivers its rest stays ended (delivery rule 5).
        if started.flags & OPEN_FINISHING == 0 {
            self.session.ended = false;
        }
    }

    /// Consecutive numbers have come up to an event of this time: the observed span grows, or a new one begins.
    #[inline]
    pub(super) fn moment(&mut self, at: u64) {
        if at < EARLIEST_MS {
            return;
        }
        self.source.last_event_ms = self.source.last_event_ms.max(at);
        match &mut self.session.observed {
            Some((_, end)) => *end = at.max(*end),
            None => {
                self.session.observed = Some((at, at));
                if let Some(since) = self.session.open_loss.take() {
                    self.source.observed.strike(since, at.max(since));
                }
            }
        }
    }

    /// The observed span ends with the last event; what comes next begins another.
    fn end_span(&mut self) {
        if let Some((start, end)) = self.session.observed.take() {
            self.source.observed.add(start, end);
            self.session.open_loss.get_or_insert(end);
        }
        self.session.announcing = false;
    }

    pub(super) fn heartbeat(&mut self, heartbeat: &Heartbeat, at: u64) {
        let before = self.session.last_heartbeat_ms.replace(at).unwrap_or(at);
        if heartbeat.flags & HEARTBEAT_CLOCK_STEPPED != 0 && before.min(at) >= EARLIEST_MS {
            self.source.observed.strike(before.min(at), self.source.last_event_ms.max(at));
        }
    }

    pub(super) fn events_dropped(&mut self, dropped: &EventsDropped<'_>) {
        self.source.dropped += dropped.count.min(MAX_LOST);
        let end = self.record.counted_at(dropped.last_timestamp).0;
        self.source.observed.strike(dropped.first_timestamp.0.min(end), end);
    }

    /// Numbers of this session that will never come.
    pub(super) fn gap(&mut self, gap: &Gap) {
        let count = gap.last_sequence.saturating_add(1).saturating_sub(gap.first_sequence).min(MAX_LOST);
        if gap.kind == GAP_MISSING {
            self.source.gaps += 1;
            self.source.missing += count;
        } else {
            self.source.unseen += count;
        }
        self.end_span();
        self.session.told_missing = (gap.first_sequence, gap.last_sequence);
    }

    /// The numbers from `first` to `last` did not come. Those that no gap told of went past this sink.
    pub(super) fn numbers_jumped(&mut self, first: u64, last: u64) {
        let (told_first, told_last) = self.session.told_missing;
        let told = (last.min(told_last) + 1).saturating_sub(first.max(told_first));
        self.source.not_read += (last - first + 1).saturating_sub(told).min(MAX_LOST);
        self.end_span();
    }
}
