//! Whether a worker is there: by its open connections and by its last share, as of when its source was last heard.

use maud::{Markup, html};
use sink_sqlite::query::{SourceView, WorkerView};

use super::numbers;
use super::sources::health_words;

/// A worker that sent no share for so long is not called online, however open its connection is.
const SHARE_WITHIN_MS: u64 = 5 * 60_000;
/// One that is slow may take so many times what a share takes it on average: 1 of 150 waits longer.
const PATIENCE: f64 = 5.0;
/// Hashes that a share of difficulty 1 takes on average.
const HASHES_PER_DIFFICULTY: f64 = 4_294_967_296.0;

/// Whether somebody of a name is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Connected, and a share came lately.
    Online,
    /// Connected.
    Silent,
    /// Nothing is open.
    Gone,
}

/// How a source was when it was last heard, which is now if it is heard.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    at_ms: u64,
    is_stale: bool,
}

impl Heard {
    /// As of this moment.
    pub(super) fn of(source: &SourceView, now_ms: u64) -> Self {
        let is_stale = health_words(source, now_ms).0 == "is-stale";
        Self { at_ms: if is_stale { source.last_event_ms } else { now_ms }, is_stale }
    }

    /// Whether the worker is there, or was.
    pub(super) fn presence(&self, worker: &WorkerView) -> Presence {
        let declared = worker.declared_hashrate.filter(|rate| *rate > 0);
        let expected_ms = worker
            .difficulty
            .zip(declared)
            .map_or(0.0, |(difficulty, rate)| difficulty * HASHES_PER_DIFFICULTY / rate as f64 * 1000.0);
        let within_ms = SHARE_WITHIN_MS.max((expected_ms * PATIENCE) as u64);
        match worker.last_share_ms {
            _ if worker.open == 0 => Presence::Gone,
            Some(last_ms) if self.at_ms.saturating_sub(last_ms) <= within_ms => Presence::Online,
            _ => Presence::Silent,
        }
    }

    /// The presence of a worker in words.
    pub(super) fn words(&self, worker: &WorkerView) -> String {
        let what = if worker.is_miner { "connection" } else { "channel" };
        let was = if self.is_stale { "was " } else { "" };
        match (self.presence(worker), worker.open) {
            (Presence::Gone, _) => format!("{was}not connected"),
            (Presence::Silent, _) => format!("{was}connected, silent"),
            (Presence::Online, 1) => format!("{was}online"),
            (Presence::Online, open) => format!("{was}online, {}", numbers::plural(open, what)),
        }
    }

    /// How many are there, and since when that is not known any more.
    pub(super) fn summary(&self, counts: Counts) -> Markup {
        let Counts { online, silent, gone } = counts;
        html! {
            @if self.is_stale { "Unknown since " (numbers::moment(self.at_ms)) ", when there were " }
            (numbers::count(online)) " online"
            @if silent > 0 { ", " (numbers::count(silent)) " connected without a share lately" }
            ", " (numbers::count(gone)) " not connected"
        }
    }
}

/// Workers by presence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    online: u64,
    silent: u64,
    gone: u64,
}

impl Counts {
    /// Of these workers.
    pub(super) fn of<'a>(heard: &Heard, workers: impl IntoIterator<Item = &'a WorkerView>) -> Self {
        let mut counts = Self::default();
        for worker in workers {
            *match heard.presence(worker) {
                Presence::Online => &mut counts.online,
                Presence::Silent => &mut counts.silent,
                Presence::Gone => &mut counts.gone,
            } += 1;
        }
        counts
    }
}
