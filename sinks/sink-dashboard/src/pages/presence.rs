//! Whether workers are there, in words: as of when their source was last heard.

use maud::{Markup, html};
use sink_sqlite::query::{Presence, SourceView};

use super::numbers;
use super::sources::health_words;

/// How a source was when it was last heard, which is now if it is heard.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    last_event_ms: u64,
    is_stale: bool,
}

impl Heard {
    /// As of this moment.
    pub(super) fn of(source: &SourceView, now_ms: u64) -> Self {
        let is_stale = health_words(source, now_ms).0 == "is-stale";
        Self { last_event_ms: source.last_event_ms, is_stale }
    }

    /// Whether a worker is there that has so much open, or was.
    pub(super) fn words(&self, presence: Presence, open: u64, is_miner: bool) -> String {
        let what = if is_miner { "connection" } else { "channel" };
        let was = if self.is_stale { "was " } else { "" };
        match (presence, open) {
            (Presence::Gone, _) => format!("{was}not connected"),
            (Presence::Silent, _) => format!("{was}connected, silent"),
            (Presence::Online, 1) => format!("{was}online"),
            (Presence::Online, open) => format!("{was}online, {}", numbers::plural(open, what)),
        }
    }

    /// How many of so many workers of a source are there, and since when that is not known any more.
    pub(super) fn summary(&self, source: &SourceView, known: u64) -> Markup {
        let (online, silent) = (source.workers_online, source.workers_silent);
        html! {
            @if self.is_stale { "Unknown since " (numbers::moment(self.last_event_ms)) ", when there were " }
            (numbers::count(online)) " online"
            @if silent > 0 { ", " (numbers::count(silent)) " connected without a share lately" }
            ", " (numbers::count(known.saturating_sub(online + silent))) " not connected"
        }
    }
}
