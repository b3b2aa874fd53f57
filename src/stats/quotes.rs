//! Quotes for people: what became of all of them, and one followed from its share to its payment.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

use sink_sqlite::query::{EhashView, LatencyView, QuoteReport, QuoteStage, QuoteTrace, UnknownPayment};

use crate::report::{table, untrusted};

pub(super) fn write_report(out: &mut impl Write, report: &QuoteReport, window: Duration) -> io::Result<()> {
    let by_state: Vec<_> = report.by_state.iter().filter(|state| state.count > 0).collect();
    let flow = &report.window;
    if by_state.is_empty() && report.total.unattributed.is_empty() && report.total.unknown_payments == 0 {
        return Ok(());
    }
    writeln!(out, "  quotes: {}", by_state.iter().map(|state| state.count).sum::<u64>())?;
    let rows = by_state.iter().map(|state| {
        vec![format!("  {}", state.state.as_str()), state.count.to_string(), format!("{} ehash", state.ehash)]
    });
    writeln!(out, "{}", table(&["  state", "quotes", "worth"], rows.collect(), &[1, 2]))?;
    let latencies: Vec<_> = flow.latencies.iter().filter(|latency| latency.count > 0).collect();
    let over = humantime::format_duration(window);
    if latencies.is_empty() {
        writeln!(out, "  no quote went on in the last {over}")?;
    } else {
        let stage = format!("  latency over {over}");
        let header = [&*stage, "quotes", "median", "90 %", "99 %", "longest"];
        let rows = latencies.iter().map(|latency| latency_row(latency)).collect();
        writeln!(out, "{}", table(&header, rows, &[1, 2, 3, 4, 5]))?;
    }
    write_counts(out, "failed", &flow.failed, &report.total.failed)?;
    write_counts(out, "failures that name no share", &flow.unattributed, &report.total.unattributed)?;
    write_counts(out, "contradictions", &flow.contradictions, &report.total.contradictions)?;
    if report.total.unknown_payments > 0 {
        writeln!(out, "  payments of unknown quotes: {}", report.total.unknown_payments)?;
    }
    Ok(())
}

fn write_counts(
    out: &mut impl Write,
    what: &str,
    window: &BTreeMap<String, u64>,
    total: &BTreeMap<String, u64>,
) -> io::Result<()> {
    for (code, count) in total {
        let recent = window.get(code).copied().unwrap_or(0);
        writeln!(out, "  {what}: {count} {}, {recent} of them in the window", untrusted(code))?;
    }
    Ok(())
}

fn latency_row(latency: &LatencyView) -> Vec<String> {
    let name = match latency.stage {
        QuoteStage::CreatedToSent => "created to sent",
        QuoteStage::SentToAnswered => "sent to answered",
        QuoteStage::AnsweredToPaid => "answered to paid",
    };
    let mut row = vec![format!("  {name}"), latency.count.to_string()];
    row.extend(
        [latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.max_ms].map(|ms| ms.map_or(String::new(), span)),
    );
    row
}

pub(super) fn write_top(out: &mut impl Write, identities: &[EhashView], most: usize) -> io::Result<()> {
    if identities.is_empty() {
        return Ok(());
    }
    let rows = identities.iter().take(most).map(|view| {
        let name = view.identity.as_deref().unwrap_or_default();
        vec![format!("  {}", untrusted(name)), view.ehash.clone(), view.quotes.to_string()]
    });
    writeln!(out, "{}", table(&["  most ehash", "ehash", "quotes"], rows.collect(), &[1, 2]))?;
    let hidden = identities.len().saturating_sub(most);
    if hidden > 0 {
        writeln!(out, "  {hidden} more have ehash; --json has them")?;
    }
    Ok(())
}

pub(super) fn write_traces(out: &mut impl Write, traces: &[QuoteTrace], payments: &[UnknownPayment]) -> io::Result<()> {
    for trace in traces {
        write_trace(out, trace)?;
    }
    for payment in payments {
        let amount = payment.amount.as_deref().unwrap_or("an unknown amount of");
        let (publisher, at) = (untrusted(&payment.publisher), time(payment.paid_ms));
        writeln!(out, "{publisher} told at {at} that {amount} ehash was paid, but of no quote with this id")?;
    }
    Ok(())
}

fn write_trace(out: &mut impl Write, trace: &QuoteTrace) -> io::Result<()> {
    let quote = &trace.quote;
    let number = |number: Option<u32>| number.map_or("?".to_owned(), |number| number.to_string());
    let text = |text: Option<&str>| untrusted(text.unwrap_or("?"));
    writeln!(out, "share     {}", quote.share_hash)?;
    writeln!(
        out,
        "          downstream {}, channel {}, sequence number {}, session {} of {}",
        number(quote.downstream_id),
        number(quote.channel_id),
        number(quote.sequence_number),
        trace.session_id,
        untrusted(&trace.publisher)
    )?;
    let from: Vec<_> =
        [trace.address.as_deref(), trace.program.as_deref()].into_iter().flatten().map(untrusted).collect();
    let from = if from.is_empty() { String::new() } else { format!(" from {}", from.join(", ")) };
    writeln!(out, "          mined by {}{from}", text(quote.identity.as_deref()))?;
    writeln!(out, "state     {}, {} ehash", quote.state.as_str(), text(quote.amount.as_deref()))?;
    let mut before = None;
    for (what, at, more) in [
        ("created", quote.created_ms, None),
        ("sent", quote.sent_ms, None),
        ("answered", quote.answered_ms, quote.quote_id.as_ref().map(|id| format!("quote id {}", untrusted(id)))),
        (
            "failed",
            quote.failed_ms,
            quote
                .error_code
                .as_deref()
                .map(|code| format!("{}: {}", untrusted(code), text(quote.error_message.as_deref()))),
        ),
        ("paid", quote.paid_ms, quote.paid_amount.as_ref().map(|amount| format!("{amount} ehash"))),
    ] {
        let Some(at) = at else { continue };
        let took = before.map_or(String::new(), |before: u64| format!(", {} later", span(at.saturating_sub(before))));
        let more = more.map_or(String::new(), |more| format!(", {more}"));
        writeln!(out, "{what:<9} {}{took}{more}", time(at))?;
        before = Some(at);
    }
    writeln!(out)
}

fn span(ms: u64) -> String {
    if ms == 0 { "< 1ms".to_owned() } else { humantime::format_duration(Duration::from_millis(ms)).to_string() }
}

fn time(ms: u64) -> String {
    // Publishers are untrusted: a time beyond the calendar is shown as the number that it is.
    match UNIX_EPOCH.checked_add(Duration::from_millis(ms)) {
        Some(time) if ms < LAST_CALENDAR_MS => humantime::format_rfc3339_millis(time).to_string(),
        _ => format!("{ms} ms"),
    }
}

/// The end of the year 9999, after which the calendar's text has no form.
const LAST_CALENDAR_MS: u64 = 253_402_300_800_000;
