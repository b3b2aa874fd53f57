//! `journal dead-letters`: events that can never reach their sink, as a table or as JSON lines.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sidecar_core::event_json::write_event_json;
use sidecar_core::{EventKind, Record, RecordKind};
use sidecar_journal::{DeadLetter, JournalError, KeptLetter, offline};
use stats_sv2::{Role, UnixMillis, read_frame};

use crate::cli::DeadLettersArgs;
use crate::exit::{Failure, output};
use crate::report::{table, untrusted};

/// Letters in the table unless it is asked for more.
const USUAL_LETTERS: u64 = 50;
/// Characters of a reason in the table; the JSON has it whole.
const MAX_REASON: usize = 160;

pub(super) fn dead_letters(args: &DeadLettersArgs) -> Result<(), Failure> {
    let written = if args.json { write_lines(args) } else { write_table(args) };
    match written {
        // A reader that has seen enough is no failure.
        Err(JournalError::Export(error)) => output(Err(error)),
        Err(error) => Err(super::failed(&error)),
        Ok(()) => Ok(()),
    }
}

fn write_lines(args: &DeadLettersArgs) -> Result<(), JournalError> {
    let mut out = BufWriter::new(io::stdout().lock());
    let limit = args.limit.unwrap_or(u64::MAX);
    offline::dead_letters(&args.journal.path, args.sink.as_deref(), limit, &mut |kept| {
        writeln!(out, "{}", line_of(kept))
    })?;
    out.flush().map_err(JournalError::Export)
}

fn write_table(args: &DeadLettersArgs) -> Result<(), JournalError> {
    let (path, sink) = (&args.journal.path, args.sink.as_deref());
    let limit = args.limit.unwrap_or(USUAL_LETTERS);
    let mut rows = Vec::new();
    // One more tells whether there are more.
    offline::dead_letters(path, sink, limit.saturating_add(1), &mut |KeptLetter { letter, .. }| {
        rows.push(row_of(&letter));
        Ok(())
    })?;
    if rows.is_empty() {
        return write_none(path, sink);
    }
    let more = rows.len() as u64 > limit;
    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let mut out = io::stdout().lock();
    let header = ["received", "sink", "event", "publisher", "reason"];
    writeln!(out, "{}", table(&header, rows, &[])).map_err(JournalError::Export)?;
    if more {
        writeln!(out, "these are the newest {limit}; --limit shows more, --json all").map_err(JournalError::Export)?;
    }
    Ok(())
}

/// A sink of this name may have none, or the name may be wrong: what there is tells which.
fn write_none(path: &Path, sink: Option<&str>) -> Result<(), JournalError> {
    let said = match (sink, offline::sinks_with_dead_letters(path)?) {
        (Some(sink), others) if !others.is_empty() => {
            format!("no dead letters of {}; there are some of {}", untrusted(sink), others.join(", "))
        }
        _ => "no dead letters".to_owned(),
    };
    writeln!(io::stdout().lock(), "{said}").map_err(JournalError::Export)
}

fn row_of(letter: &DeadLetter) -> Vec<String> {
    let when = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(letter.received_at.0));
    let when = when.map_or_else(String::new, |when| humantime::format_rfc3339_seconds(when).to_string());
    let mut reason = untrusted(&letter.reason);
    if let Some((end, _)) = reason.char_indices().nth(MAX_REASON) {
        reason.truncate(end);
        reason.push('…');
    }
    vec![when, letter.sink.clone(), kind(letter).to_owned(), untrusted(&letter.id.publisher), reason]
}

/// Which event it is, as far as its frame says.
fn kind(letter: &DeadLetter) -> &'static str {
    let frame = read_frame(&letter.frame).ok().flatten();
    frame.map_or("unknown", |frame| EventKind::from_type(frame.msg_type).name())
}

/// The letter with its event in the form of a journal's export, which lacks the event's own fields where the frame cannot
/// be read, and with the frame.
fn line_of(KeptLetter { letter, role }: KeptLetter) -> Value {
    let mut event = event_of(&letter, role).unwrap_or_else(|| {
        json!({
            "kind": kind(&letter),
            "publisher": &*letter.id.publisher,
            "session": format!("{:016x}", letter.id.session_id),
            "sequence": letter.id.sequence,
            "received_at": letter.received_at.0,
        })
    });
    event["role"] = role.map_or(Value::Null, |role| role.name().into());
    event["derived"] = letter.id.derived.into();
    let frame: String = letter.frame.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "sink": letter.sink, "reason": letter.reason, "event": event, "frame": frame })
}

fn event_of(letter: &DeadLetter, role: Option<Role>) -> Option<Value> {
    let record = Record {
        offset: 0,
        kind: if letter.id.derived { RecordKind::Derived } else { RecordKind::Events },
        publisher: letter.id.publisher.clone(),
        // The caller says so if it is not known.
        role: role.unwrap_or(Role::Relay),
        session_id: letter.id.session_id,
        finishing: false,
        first_sequence: letter.id.sequence,
        count: 1,
        received_at: UnixMillis(letter.received_at.0),
        cumulative_events: 0,
        frames: letter.frame.clone(),
    };
    let mut json = Vec::new();
    write_event_json(&record.envelopes().next()?, &mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

#[cfg(test)]
mod tests {
    use sidecar_core::StableId;
    use stats_sv2::event::DownstreamDisconnected;
    use stats_sv2::{DownstreamId, Event, Text};

    use super::*;

    fn letter(frame: Vec<u8>) -> DeadLetter {
        DeadLetter {
            sink: "history".to_owned(),
            id: StableId { publisher: "pool\u{202e}".into(), session_id: 0xab, derived: false, sequence: 7 },
            received_at: UnixMillis(1_700_000_000_000),
            reason: format!("no\n{}", "x".repeat(500)),
            frame: frame.into(),
        }
    }

    #[test]
    fn a_row_is_one_line_and_its_reason_short() {
        let row = row_of(&letter(Vec::new()));
        assert_eq!(row[..4], ["2023-11-14T22:13:20Z", "history", "unknown", "pool\u{fffd}"]);
        assert!(row[4].starts_with("no\u{fffd}x") && row[4].ends_with("x…"), "{}", row[4]);
        assert_eq!(row[4].chars().count(), MAX_REASON + 1);
    }

    #[test]
    fn a_line_has_the_whole_event_and_what_cannot_be_read_is_not_made_up() {
        let mut frame = Vec::new();
        let timestamp = UnixMillis(9);
        let reason = Text::cut("bye");
        Event::DownstreamDisconnected(DownstreamDisconnected { downstream_id: DownstreamId(3), timestamp, reason })
            .encode(&mut frame);
        let line = line_of(KeptLetter { letter: letter(frame.clone()), role: Some(Role::Pool) });
        let event = &line["event"];
        assert_eq!((&event["kind"], &event["reason"]), (&"downstream_disconnected".into(), &"bye".into()));
        assert_eq!((&event["role"], &event["sequence"], &event["derived"]), (&"pool".into(), &7.into(), &false.into()));
        assert_eq!(line["reason"].as_str().map(str::len), Some(503));
        assert_eq!(line["frame"].as_str().map(str::len), Some(frame.len() * 2));

        // Whole as a frame, too short as an event.
        frame[3] -= 1;
        frame.pop();
        let line = line_of(KeptLetter { letter: letter(frame), role: None });
        let event = &line["event"];
        assert_eq!((&event["kind"], &event["role"]), (&"downstream_disconnected".into(), &Value::Null));
        assert_eq!((event.get("downstream_id"), &event["session"]), (None, &"00000000000000ab".into()));
    }
}
