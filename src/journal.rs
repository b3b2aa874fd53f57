//! `journal stats|check|export|dead-letters`: a journal file looked at from outside.

mod dead_letters;

use std::io::{self, BufWriter, Write};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sidecar_journal::JournalError;
use sidecar_journal::offline::{self, CheckReport, OfflineStats};

use crate::cli::{DeadLettersArgs, JournalCommand, JournalPath};
use crate::exit::{Exit, Failure, must_exist, output};

pub(crate) fn journal(command: &JournalCommand) -> Result<(), Failure> {
    let (JournalCommand::Stats { journal, .. }
    | JournalCommand::Check { journal, .. }
    | JournalCommand::Export { journal, .. }
    | JournalCommand::DeadLetters(DeadLettersArgs { journal, .. })) = command;
    must_exist(&journal.path, "name the path of [journal]; its file is there once a sidecar has run")?;
    match command {
        JournalCommand::Stats { journal, json } => stats(journal, *json),
        JournalCommand::Check { journal, json } => check(journal, *json),
        JournalCommand::Export { journal, from } => export(journal, *from),
        JournalCommand::DeadLetters(args) => dead_letters::dead_letters(args),
    }
}

fn failed(error: &JournalError) -> Failure {
    Failure::from_error(Exit::Failure, error)
}

fn stats(journal: &JournalPath, json: bool) -> Result<(), Failure> {
    let stats = offline::stats(&journal.path).map_err(|error| failed(&error))?;
    let mut out = io::stdout().lock();
    output(if json { writeln!(out, "{}", serde_json::json!(stats)) } else { write_stats(&mut out, &stats) })
}

fn write_stats(out: &mut impl Write, stats: &OfflineStats) -> io::Result<()> {
    let size = |bytes: u64| sidecar_core::ByteSize(bytes).to_string();
    writeln!(out, "journal        {}", stats.journal_id)?;
    writeln!(out, "file           {} + {} write-ahead log", size(stats.file_bytes), size(stats.wal_bytes))?;
    writeln!(out, "records        {} (offset {} to {})", stats.records, stats.first_offset, stats.head_offset)?;
    let kept = stats.cumulative_events.saturating_sub(stats.cumulative_before_tail);
    writeln!(out, "events         {kept} here, {} since the journal was made", stats.cumulative_events)?;
    writeln!(out, "sessions       {}, of them {} open", stats.sessions, stats.open_sessions)?;
    let listed = if stats.dead_letters > 0 { "; journal dead-letters lists them" } else { "" };
    writeln!(out, "dead letters   {} ({}){listed}", stats.dead_letters, size(stats.dead_letter_bytes))?;
    for cursor in &stats.cursors {
        writeln!(out, "sink {:<9} at offset {}, {} events to come", cursor.sink, cursor.offset, cursor.pending_events)?;
    }
    Ok(())
}

fn check(journal: &JournalPath, json: bool) -> Result<(), Failure> {
    let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(None, target);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes}, {eta} left") {
        bar.set_style(style);
    }
    let report = offline::check(&journal.path, &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report.map_err(|error| failed(&error))?;
    let mut out = io::stdout().lock();
    output(if json { writeln!(out, "{}", serde_json::json!(report)) } else { write_check(&mut out, &report) })?;
    if report.faults == 0 {
        return Ok(());
    }
    Err(Failure::new(Exit::Failure, format!("{} things are wrong with {}", report.faults, journal.path.display()))
        .advice("the sidecar sets a damaged journal aside when it starts, and takes over what can be read"))
}

fn write_check(out: &mut impl Write, report: &CheckReport) -> io::Result<()> {
    for finding in &report.findings {
        writeln!(out, "{finding}")?;
    }
    writeln!(out, "{} records, {} events, {} faults", report.records, report.events, report.faults)
}

fn export(journal: &JournalPath, from: u64) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    match offline::export(&journal.path, from, &mut out) {
        Ok(_) => output(out.flush()),
        // A reader that has seen enough is no failure.
        Err(JournalError::Export(error)) => output(Err(error)),
        Err(error) => Err(failed(&error)),
    }
}
