//! Dead letters on the pipeline page: events that can never reach their sink, with the reason and what they say.

use maud::{Markup, html};

use super::pipeline::csv;
use super::{csv_link, numbers};
use crate::api::pipeline::DeadLetter;

/// What the journal counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kept {
    /// There now; `None` where the snapshot does not say.
    pub(super) count: Option<u64>,
    /// Their bytes.
    pub(super) bytes: Option<u64>,
    /// Gone because there were too many.
    pub(super) expired: Option<u64>,
}

/// The section of the page.
pub(super) fn section(kept: Kept, listed: &[DeadLetter], now_ms: u64) -> Markup {
    html! {
        section.section aria-labelledby="dead-letters" {
            div.section-head {
                h2 #dead-letters { "Dead letters" }
                p { "events that a sink refused for good, or that could not be read" }
                @if !listed.is_empty() { (csv_link(&csv("/api/v1/pipeline/dead_letters"), 0)) }
            }
            @match kept.count {
                None => { p.note { "Their number is " (numbers::unknown()) "." } }
                Some(0) => { p.note { "None is kept." } }
                Some(count) => {
                    @if listed.is_empty() {
                        p.notice { (numbers::plural(count, "dead letter")) " could not be read now." }
                    } @else {
                        (table(listed, now_ms))
                    }
                    (where_they_are(count, listed.len() as u64, kept.bytes))
                }
            }
            @if let Some(expired @ 1..) = kept.expired {
                p.note { (numbers::count(expired)) " older ones are gone, as there were too many (" code { "journal.dead_letter_bytes" } ")." }
            }
        }
    }
}

fn where_they_are(count: u64, listed: u64, bytes: Option<u64>) -> Markup {
    html! {
        p.note.below {
            @if listed < count { "The newest " (listed) " of " (numbers::count(count)) " are listed. " }
            code { "hashpool-sidecar journal dead-letters --path FILE" } " lists all of them, "
            @if let Some(bytes) = bytes { (numbers::bytes(bytes)) ", " }
            "with " code { "--json" } " as whole events. Nothing sends them again by itself: once the "
            "cause is mended, a sink under a new name gets every event that the journal still has, from the oldest on. What was "
            "malformed when it came is not among them."
        }
    }
}

fn table(listed: &[DeadLetter], now_ms: u64) -> Markup {
    html! {
        div.frame tabindex="0" role="region" aria-label="Table: Dead letters" {
            table {
                thead {
                    tr {
                        th scope="col" { "Received" }
                        th scope="col" { "Event" }
                        th scope="col" { "Why, and what it says" }
                    }
                }
                tbody {
                    @for letter in listed {
                        tr data-key=(format!("{} {} {} {}", letter.sink, letter.session, letter.derived, letter.sequence)) {
                            th scope="row" { (numbers::moment(letter.received_at_ms)) span.basis { (numbers::ago(letter.received_at_ms, now_ms)) } }
                            td { (letter.event.replace('_', " ")) span.basis { "at " (letter.sink) } }
                            td.free {
                                (numbers::untrusted_inline(&letter.reason))
                                span.basis {
                                    (numbers::untrusted_inline(&letter.publisher)) ", "
                                    @if letter.derived { "the sidecar's own number " } @else { "number " }
                                    (numbers::count(letter.sequence)) " of session " (letter.session)
                                }
                                details data-keep="" { summary { "Contents" } code { (numbers::untrusted_inline(&letter.contents)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(count: u64, listed: &[DeadLetter]) -> String {
        section(Kept { count: Some(count), bytes: Some(2_048), expired: Some(0) }, listed, 10_000).into_string()
    }

    #[test]
    fn a_dead_letter_says_what_it_is_and_stays_text() {
        let letter: DeadLetter = serde_json::from_str(
            r#"{"sink":"log","publisher":"pool","session":"07","sequence":8,"received_at_ms":5000,"event":"share_submitted",
                "reason":"<b>no</b>","contents":"ShareSubmitted { channel_id: 3 }"}"#,
        )
        .unwrap();
        let page = shown(70, &[letter]);
        for part in
            ["share submitted", "number 8 of session 07", "&lt;b&gt;no&lt;/b&gt;", "channel_id: 3", "newest 1 of 70"]
        {
            assert!(page.contains(part), "{part} in {page}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_none() {
        assert!(shown(0, &[]).contains("None is kept."));
        let unread = shown(3, &[]);
        for part in ["3 dead letters could not be read now.", "journal dead-letters --path FILE", "2.0 KiB"] {
            assert!(unread.contains(part), "{part} in {unread}");
        }
        let unknown = section(Kept { count: None, bytes: None, expired: None }, &[], 0).into_string();
        assert!(unknown.contains("unknown") && !unknown.contains("None"), "{unknown}");
    }
}
