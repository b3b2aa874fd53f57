//! Which source a page is about, and how the sources are.

use maud::{Markup, html};
use mining_stats::reading::STALE_AFTER_MS;
use sink_sqlite::query::{GroupView, Overview, SourceView};

use super::address::Address;
use super::{csv_link, numbers};
use crate::api::range::{Claim, usual};

/// How a source is, in words and as a class name.
pub(super) fn health_words(source: &SourceView, now_ms: u64) -> (&'static str, String) {
    let silent_ms = now_ms.saturating_sub(source.last_event_ms);
    let ended = source.sessions.first().and_then(|session| session.ended_ms.zip(session.outcome));
    match ended {
        Some((_, outcome)) => ("is-stale", format!("ended ({outcome}), silent for {}", numbers::length(silent_ms))),
        None if silent_ms > STALE_AFTER_MS => ("is-stale", format!("stale for {}", numbers::length(silent_ms))),
        None => ("is-live", "live".to_owned()),
    }
}

/// How a source is.
pub(super) fn health(source: &SourceView, now_ms: u64) -> Markup {
    let (class, words) = health_words(source, now_ms);
    html! { span class=(format!("health {class}")) { (words) } }
}

/// Workers online; of a source that is not heard, as many as were.
pub(super) fn online(source: &SourceView, now_ms: u64) -> Markup {
    let stale = health_words(source, now_ms).0 == "is-stale";
    let count = numbers::count(source.workers_online);
    html! {
        @if stale { span.reading.is-stale { "was " (count) } } @else { (count) }
    }
}

/// The source of this name, or the one that the API takes as well.
pub(super) fn choose<'a>(overview: &'a Overview, wanted: Option<&str>) -> Option<&'a SourceView> {
    match wanted {
        Some(wanted) => overview.sources.iter().find(|source| source.publisher == wanted),
        None => usual(&overview.sources, Claim::of),
    }
}

/// Whether a source is about SV1 miners, as a translator is. Where it tells of channels too, it is about those, as the live
/// stream has it.
pub(super) fn is_miner_side(source: &SourceView) -> bool {
    source.channels.is_none() && (source.miners.is_some() || source.role == "proxy")
}

/// The shares that a source is about: those over its channels, or else those of its miners.
pub(super) fn group(source: &SourceView) -> Option<&GroupView> {
    source.channels.as_ref().or(source.miners.as_ref())
}

/// All sources with their health, first on the first page.
pub(super) fn table(overview: &Overview, chosen: Option<&SourceView>) -> Markup {
    let now_ms = overview.now_ms;
    // By name: the order of the latest events changes with every look.
    let mut sources: Vec<&SourceView> = overview.sources.iter().collect();
    sources.sort_by_key(|source| &source.publisher);
    html! {
        div.frame tabindex="0" role="region" aria-label="Table: Sources" data-sources="" {
            table {
                thead {
                    tr {
                        th scope="col" { "Source" }
                        th scope="col" { "State" }
                        th.number scope="col" { "Workers online" }
                        th.wide scope="col" { "Last event" }
                        th.wide scope="col" { "Program" }
                        th.wide scope="col" { "Session since" }
                        th scope="col" { "Events lost" }
                    }
                }
                tbody {
                    @for source in sources {
                        @let is_chosen = chosen.is_some_and(|chosen| chosen.publisher == source.publisher);
                        tr data-key=(source.publisher) class=[is_chosen.then_some("is-chosen")] {
                            th scope="row" {
                                a.name href=(Address::new("/").with("source", source.publisher.as_str()).text())
                                    aria-current=[is_chosen.then_some("true")] { (numbers::untrusted(&source.publisher)) }
                                span.basis { (source.role) }
                            }
                            td { (health(source, now_ms)) }
                            td.number data-online="" { (online(source, now_ms)) }
                            td.wide { (numbers::ago(source.last_event_ms, now_ms)) }
                            td.wide { (numbers::untrusted(&source.vendor)) }
                            td.wide {
                                @match source.sessions.first() {
                                    Some(session) => { (numbers::moment(session.started_ms)) }
                                    None => { (numbers::unknown()) }
                                }
                            }
                            td { (lost(source)) }
                        }
                    }
                }
            }
        }
        p.note.below {
            @let (listed, known) = (overview.sources.len() as u64, overview.sources_total);
            @if known > listed {
                (listed) " of " (numbers::count(known)) " sources are listed, the most recently heard ones. "
            } @else {
                (numbers::plural(known, "source")) ". "
            }
            (csv_link(&Address::new("/api/v1/sources").with("format", "csv"), known))
        }
    }
}

/// What is known to be lost of a source.
pub(super) fn lost(source: &SourceView) -> Markup {
    html! {
        @match source.events_dropped.saturating_add(source.events_missing) {
            0 => { "none" }
            lost => {
                span.health.is-lossy { (numbers::count(lost)) }
                span.basis {
                    (numbers::count(source.events_dropped)) " dropped by it, " (numbers::count(source.events_missing)) " missing"
                }
            }
        }
    }
}
