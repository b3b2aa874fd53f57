//! Quotes: how many stand in which state, and their lists.

use rusqlite::{Connection, params};
use serde::Serialize;
use stats_sv2::U256;

use crate::query::{History, MAX_ROWS, QueryError, source_row};
use crate::store;

impl History {
    /// Quotes of a publisher, the latest first, those noted before `before_ms`.
    pub fn quotes(&self, publisher: &str, before_ms: Option<u64>, limit: u32) -> Result<Vec<QuoteView>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        quotes(&tx, publisher, before_ms, limit.min(MAX_ROWS))
    }
}

/// A quote and its life.
#[derive(Debug, Clone, Serialize)]
pub struct QuoteView {
    /// Hash of the share, as explorers print hashes.
    pub share_hash: String,
    /// `created`, `sent`, `answered`, `failed`, `paid`, `abandoned`.
    pub state: String,
    /// Ehash, exact, as a decimal number.
    pub amount: Option<String>,
    /// Who mined the share; untrusted text.
    pub identity: Option<String>,
    /// Connection of the share.
    pub downstream_id: Option<u32>,
    /// Channel of the share.
    pub channel_id: Option<u32>,
    /// The share's number in its channel.
    pub sequence_number: Option<u32>,
    /// When it was created.
    pub created_ms: Option<u64>,
    /// When it was sent.
    pub sent_ms: Option<u64>,
    /// When it was answered.
    pub answered_ms: Option<u64>,
    /// When it failed.
    pub failed_ms: Option<u64>,
    /// When it was paid.
    pub paid_ms: Option<u64>,
    /// From sent, or else created, to the answer.
    pub latency_ms: Option<u64>,
    /// The mint's id of the quote.
    pub quote_id: Option<String>,
    /// Why it failed.
    pub error_code: Option<String>,
    /// Time of the latest of these facts; for paging.
    pub noted_ms: u64,
}

/// Quotes by state, since the history began.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct QuoteCounts {
    /// Created, not yet sent.
    pub created: u64,
    /// Sent, not yet answered.
    pub sent: u64,
    /// Answered, not yet paid.
    pub answered: u64,
    /// Ended without an answer.
    pub failed: u64,
    /// Paid.
    pub paid: u64,
    /// Left over by a session that ended.
    pub abandoned: u64,
}

pub(super) fn quote_counts(conn: &Connection, source: i64) -> Result<QuoteCounts, QueryError> {
    let mut counts = QuoteCounts::default();
    let mut rows = conn.prepare_cached("SELECT state, count FROM quote_counts WHERE source = ?1")?;
    let mut rows = rows.query([source])?;
    while let Some(row) = rows.next()? {
        let place = match row.get_ref(0)?.as_str().unwrap_or("") {
            "created" => &mut counts.created,
            "sent" => &mut counts.sent,
            "answered" => &mut counts.answered,
            "failed" => &mut counts.failed,
            "paid" => &mut counts.paid,
            _ => &mut counts.abandoned,
        };
        *place = row.get(1)?;
    }
    Ok(counts)
}

fn quotes(
    conn: &Connection,
    publisher: &str,
    before_ms: Option<u64>,
    limit: u32,
) -> Result<Vec<QuoteView>, QueryError> {
    let source = source_row(conn, publisher)?;
    let mut rows = conn.prepare_cached(
        "SELECT q.share_hash, q.state, q.amount, s.name, q.downstream_id, q.channel_id, q.sequence_number, q.created_at,
           q.sent_at, q.answered_at, q.failed_at, q.paid_at, q.quote_id, q.error_code, q.noted_at
         FROM quotes q LEFT JOIN series s ON s.id = q.identity
         WHERE q.source = ?1 AND q.noted_at < ?2 ORDER BY q.noted_at DESC, q.id DESC LIMIT ?3",
    )?;
    let before = before_ms.unwrap_or(u64::MAX >> 1).min(u64::MAX >> 1);
    let rows = rows.query_map(params![source, before, limit], |row| {
        let amount = row.get_ref(2)?.as_blob_or_null()?.map(|blob| store::ehash(Some(blob)).to_string());
        let (created_ms, sent_ms, answered_ms): (Option<u64>, Option<u64>, Option<u64>) =
            (row.get(7)?, row.get(8)?, row.get(9)?);
        Ok(QuoteView {
            share_hash: U256(row.get(0)?).to_string(),
            state: row.get(1)?,
            amount,
            identity: row.get(3)?,
            downstream_id: row.get(4)?,
            channel_id: row.get(5)?,
            sequence_number: row.get(6)?,
            created_ms,
            sent_ms,
            answered_ms,
            failed_ms: row.get(10)?,
            paid_ms: row.get(11)?,
            latency_ms: answered_ms.zip(sent_ms.or(created_ms)).map(|(end, start)| end.saturating_sub(start)),
            quote_id: row.get(12)?,
            error_code: row.get(13)?,
            noted_ms: row.get(14)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
