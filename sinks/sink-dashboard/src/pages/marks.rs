//! What graphs mark beside their values: blocks, restarts of the publisher, and outages.

use serde::Serialize;
use sink_sqlite::query::SourceView;

use super::numbers;
use super::range::Range;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MarkKind {
    Block,
    Restart,
    Outage,
}

impl MarkKind {
    pub(super) const ALL: [Self; 3] = [Self::Block, Self::Restart, Self::Outage];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Restart => "restart",
            Self::Outage => "outage",
        }
    }
}

/// Something that happened at a moment.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Mark {
    pub(super) kind: MarkKind,
    pub(super) at_ms: u64,
    pub(super) text: String,
}

/// What the history's short lists say about a source within a range, the latest first.
pub(super) fn marks(source: &SourceView, range: &Range) -> Vec<Mark> {
    let mut marks = Vec::new();
    for block in &source.blocks {
        let text = match block.height {
            0 => "block found".to_owned(),
            height => format!("block {} found", numbers::count(height.into())),
        };
        marks.push(Mark { kind: MarkKind::Block, at_ms: block.found_ms, text });
    }
    // The first session is the beginning, not a restart.
    for session in source.sessions.iter().take(source.sessions.len().saturating_sub(1)) {
        marks.push(Mark {
            kind: MarkKind::Restart,
            at_ms: session.started_ms,
            text: "publisher started anew".to_owned(),
        });
    }
    for loss in source.losses.iter().filter(|loss| loss.kind != "unseen") {
        let words = match loss.events {
            0 => format!("feed disturbed ({})", loss.kind),
            events => format!("{} lost ({})", numbers::plural(events, "event"), loss.kind),
        };
        let text = match loss.to_ms.saturating_sub(loss.from_ms) {
            0 => words,
            length => format!("{words}, {}", numbers::length(length)),
        };
        marks.push(Mark { kind: MarkKind::Outage, at_ms: loss.from_ms, text });
    }
    marks.retain(|mark| (range.from_ms..=range.to_ms).contains(&mark.at_ms));
    marks.sort_by_key(|mark| std::cmp::Reverse(mark.at_ms));
    marks
}
