//! What graphs mark beside their values: blocks, restarts of the publisher, and outages: times without data, and losses.

use maud::{Markup, html};
use serde::Serialize;
use sink_sqlite::query::{LossView, MarksView, Outage};

use super::numbers;

/// Marks of each kind in one range, at most: more lines than this are a wall. What is left out is said.
pub(super) const MAX_MARKS: u32 = 500;

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

/// What happened in a range.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    /// The latest first.
    pub(super) list: Vec<Mark>,
    /// How many there are of each kind in [`MarkKind::ALL`]'s order, those that are not listed included.
    totals: [u64; 3],
}

impl Marks {
    /// From what the history says, as of `now_ms`, about a range that begins at `from_ms`.
    pub(super) fn of(view: MarksView, from_ms: u64, now_ms: u64) -> Self {
        let totals = [view.blocks.total, view.restarts.total, view.outages.total + view.losses.total];
        let mut list = Vec::new();
        for block in view.blocks.latest {
            let text = match block.height {
                0 => "block found".to_owned(),
                height => format!("block {} found", numbers::count(height.into())),
            };
            list.push(Mark { kind: MarkKind::Block, at_ms: block.found_ms, text });
        }
        for at_ms in view.restarts.latest {
            list.push(Mark { kind: MarkKind::Restart, at_ms, text: "publisher started anew".to_owned() });
        }
        // What began earlier is marked where the range begins.
        for outage in view.outages.latest {
            let at_ms = outage.from_ms.max(from_ms);
            list.push(Mark { kind: MarkKind::Outage, at_ms, text: without_data(&outage, now_ms) });
        }
        for loss in view.losses.latest {
            list.push(Mark { kind: MarkKind::Outage, at_ms: loss.from_ms.max(from_ms), text: disturbed(&loss) });
        }
        list.sort_by_key(|mark| std::cmp::Reverse(mark.at_ms));
        Self { list, totals }
    }

    /// How many there are of a kind.
    pub(super) const fn total(&self, kind: MarkKind) -> u64 {
        self.totals[kind as usize]
    }

    /// `3 blocks`, or `1,234 blocks, of which the newest 500 are marked`.
    pub(super) fn words(&self, kind: MarkKind) -> String {
        let (total, marked) = (self.total(kind), self.list.iter().filter(|mark| mark.kind == kind).count() as u64);
        let all = numbers::plural(total, kind.name());
        if marked < total { format!("{all} (the newest {} are marked)", numbers::count(marked)) } else { all }
    }

    /// The list as a table, for those who do not look at drawings.
    pub(super) fn table(&self) -> Markup {
        html! {
            div.frame tabindex="0" role="region" aria-label="Table: Marks of the graphs" data-key="marks" {
                table {
                    thead { tr { th scope="col" { "When" } th scope="col" { "What" } } }
                    tbody {
                        @for mark in &self.list {
                            tr data-key=(format!("{} {}", mark.kind.name(), mark.at_ms)) {
                                th scope="row" { (numbers::moment(mark.at_ms)) }
                                td.free { (mark.text) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn without_data(outage: &Outage, now_ms: u64) -> String {
    let length = numbers::length(outage.to_ms.unwrap_or(now_ms).saturating_sub(outage.from_ms));
    let so_far = if outage.to_ms.is_none() { " so far" } else { "" };
    let reason = if outage.had_stopped { ": the publisher had stopped" } else { "" };
    format!("no data for {length}{so_far}{reason}")
}

fn disturbed(loss: &LossView) -> String {
    let words = match loss.events {
        0 => format!("feed disturbed ({})", loss.kind),
        events => format!("{} lost ({})", numbers::plural(events, "event"), loss.kind),
    };
    match loss.to_ms.saturating_sub(loss.from_ms) {
        0 => words,
        length => format!("{words}, {}", numbers::length(length)),
    }
}

#[cfg(test)]
mod tests {
    use sink_sqlite::query::{BlockMark, LatestOf};

    use super::*;

    #[test]
    fn outages_say_how_long_and_why() {
        let outage = |to_ms, had_stopped| Outage { from_ms: 1_000, to_ms, had_stopped };
        assert_eq!(
            without_data(&outage(Some(3_601_000), true), 9_000_000),
            "no data for 1 h: the publisher had stopped"
        );
        assert_eq!(without_data(&outage(None, false), 61_000), "no data for 1 m so far");
    }

    #[test]
    fn what_is_not_marked_is_said() {
        let blocks = LatestOf { latest: vec![BlockMark { found_ms: 5, height: 7 }; 500], total: 1_234 };
        let losses = LatestOf {
            latest: vec![LossView {
                kind: "missing".to_owned(),
                from_ms: 1,
                to_ms: 4_001,
                events: 2,
                reason: String::new(),
            }],
            total: 1,
        };
        let outages = LatestOf { latest: vec![Outage { from_ms: 2, to_ms: None, had_stopped: false }], total: 1 };
        let marks = Marks::of(MarksView { blocks, outages, losses, ..MarksView::default() }, 3, 60_002);
        assert_eq!(marks.words(MarkKind::Block), "1,234 blocks (the newest 500 are marked)");
        assert_eq!(marks.words(MarkKind::Outage), "2 outages");
        let outages: Vec<(u64, &str)> = marks.list[500..].iter().map(|mark| (mark.at_ms, &*mark.text)).collect();
        assert_eq!(outages, [(3, "no data for 1 m so far"), (3, "2 events lost (missing), 4 s")]);
    }
}
