//! A quote followed: from the share over the answer to the payment, found by any of the three (delivery rule 34).

use std::fmt;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use stats_sv2::U256;

use crate::query::quotes::{COLUMNS, QuoteView};
use crate::query::{History, QueryError, source_row};
use crate::store;

/// Answers to one question at most: numbers of shares come again, in later sessions and after 2^32 shares.
const MAX_TRACES: u32 = 100;

/// Sessions of a publisher that are searched for a share, the latest first.
const MAX_SESSIONS: u32 = 1_000;

/// By what a quote is found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuoteKey {
    /// The hash of its share.
    ShareHash(U256),
    /// The mint's id of it.
    QuoteId(String),
    /// Its share, in any session.
    Share {
        /// The connection.
        downstream_id: u32,
        /// The channel.
        channel_id: u32,
        /// The share's number in the channel.
        sequence_number: u32,
    },
}

impl QuoteKey {
    /// From text: 64 hexadecimal digits are a share's hash as explorers print it, three numbers like `7/1/4711` are a share
    /// (downstream, channel, sequence number), anything else is the mint's id. `None` for an empty text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return None;
        }
        let mut hash = [0_u8; 32];
        if hex_digits(text, &mut hash) {
            return Some(Self::ShareHash(U256(hash)));
        }
        let numbers: Result<Vec<u32>, _> = text.split('/').map(str::parse).collect();
        Some(match numbers.as_deref() {
            Ok([downstream_id, channel_id, sequence_number]) => Self::Share {
                downstream_id: *downstream_id,
                channel_id: *channel_id,
                sequence_number: *sequence_number,
            },
            _ => Self::QuoteId(text.to_owned()),
        })
    }
}

/// Reads exactly 64 digits, the most significant first, into bytes that have it last.
fn hex_digits(text: &str, bytes: &mut [u8; 32]) -> bool {
    text.len() == 64
        && text.bytes().enumerate().all(|(place, digit)| {
            let byte = &mut bytes[31 - place / 2];
            char::from(digit).to_digit(16).is_some_and(|value| {
                *byte = *byte << 4 | value as u8;
                true
            })
        })
}

/// A quote with where its share came from.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuoteTrace {
    /// The publisher that told of it.
    pub publisher: String,
    /// The session that told of it, as 16 hexadecimal digits.
    pub session_id: String,
    /// Address of the connection, where known; untrusted text.
    pub address: Option<String>,
    /// Vendor and firmware of the connection, where known; untrusted text.
    pub program: Option<String>,
    /// When the channel was opened.
    pub channel_opened_ms: Option<u64>,
    /// When it was closed.
    pub channel_closed_ms: Option<u64>,
    /// The quote and its life.
    pub quote: QuoteView,
}

/// A payment of a quote whose answer is not known.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UnknownPayment {
    /// The publisher that told of it.
    pub publisher: String,
    /// When it was paid.
    pub paid_ms: u64,
    /// What was paid, exact, as a decimal number, where known.
    pub amount: Option<String>,
}

impl History {
    /// The quotes that this key may mean, the latest first; of one publisher, or of all.
    pub fn trace_quotes(&self, key: &QuoteKey, publisher: Option<&str>) -> Result<Vec<QuoteTrace>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let mut found = Vec::new();
        for source in sources(&tx, publisher)? {
            match key {
                QuoteKey::ShareHash(hash) => {
                    found.extend(rows(&tx, "source = ?1 AND share_hash = ?2", params![source, hash.0])?);
                }
                QuoteKey::QuoteId(id) => found.extend(rows(&tx, "source = ?1 AND quote_id = ?2", params![source, id])?),
                QuoteKey::Share { downstream_id, channel_id, sequence_number } => {
                    for session in latest_sessions(&tx, source)? {
                        found.extend(rows(
                            &tx,
                            "session = ?1 AND downstream_id = ?2 AND channel_id = ?3 AND sequence_number = ?4",
                            params![session, downstream_id, channel_id, sequence_number],
                        )?);
                        if found.len() >= MAX_TRACES as usize {
                            break;
                        }
                    }
                }
            }
        }
        let mut traces = found.into_iter().map(|row| trace(&tx, row)).collect::<Result<Vec<_>, _>>()?;
        traces.sort_by_key(|trace| std::cmp::Reverse((trace.quote.place.noted_ms, trace.quote.place.number)));
        traces.truncate(MAX_TRACES as usize);
        Ok(traces)
    }

    /// Payments that were told for this id of the mint while no quote has it.
    pub fn unknown_payments(&self, quote_id: &str, publisher: Option<&str>) -> Result<Vec<UnknownPayment>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let mut payments = Vec::new();
        for source in sources(&tx, publisher)? {
            let payment = tx
                .prepare_cached(
                    "SELECT o.publisher, p.paid_at, p.amount FROM early_payments p JOIN sources o ON o.id = p.source
                     WHERE p.source = ?1 AND p.quote_id = ?2",
                )?
                .query_row(params![source, quote_id], |row| {
                    let amount = row.get_ref(2)?.as_blob_or_null()?.map(|blob| store::ehash(Some(blob)).to_string());
                    Ok(UnknownPayment { publisher: row.get(0)?, paid_ms: row.get(1)?, amount })
                })
                .optional()?;
            payments.extend(payment);
        }
        Ok(payments)
    }
}

/// As the key is written on a command line.
impl fmt::Display for QuoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShareHash(hash) => hash.fmt(f),
            Self::QuoteId(id) => f.write_str(id),
            Self::Share { downstream_id, channel_id, sequence_number } => {
                write!(f, "{downstream_id}/{channel_id}/{sequence_number}")
            }
        }
    }
}

fn sources(conn: &Connection, publisher: Option<&str>) -> Result<Vec<i64>, QueryError> {
    if let Some(publisher) = publisher {
        return Ok(vec![source_row(conn, publisher)?]);
    }
    let mut rows = conn.prepare_cached("SELECT id FROM sources ORDER BY last_event_at DESC, id")?;
    let rows = rows.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn latest_sessions(conn: &Connection, source: i64) -> Result<Vec<i64>, QueryError> {
    let mut rows = conn.prepare_cached("SELECT id FROM sessions WHERE source = ?1 ORDER BY id DESC LIMIT ?2")?;
    let rows = rows.query_map(params![source, MAX_SESSIONS], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn rows(conn: &Connection, condition: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Vec<i64>, QueryError> {
    let sql = format!("SELECT id FROM quotes WHERE {condition} ORDER BY id DESC LIMIT {MAX_TRACES}");
    let mut rows = conn.prepare_cached(&sql)?;
    let rows = rows.query_map(values, |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn trace(conn: &Connection, row: i64) -> Result<QuoteTrace, QueryError> {
    let (publisher, session, session_id, quote): (String, i64, Option<u64>, QuoteView) = conn
        .prepare_cached(&format!(
            "SELECT {COLUMNS}, o.publisher, q.session, n.session_id FROM quotes q JOIN sources o ON o.id = q.source
               LEFT JOIN series s ON s.id = q.identity LEFT JOIN sessions n ON n.id = q.session WHERE q.id = ?1"
        ))?
        .query_row([row], |row| {
            Ok((row.get("publisher")?, row.get("session")?, row.get("session_id")?, QuoteView::from_row(row)?))
        })?;
    // Ids may be used again in a session: the channel and the connection that were open when the quote was made.
    let at = quote.created_ms.or(quote.sent_ms).unwrap_or(quote.noted_ms);
    let channel: Option<(u64, Option<u64>)> = conn
        .prepare_cached(
            "SELECT opened_at, closed_at FROM channels WHERE session = ?1 AND downstream_id = ?2 AND channel_id = ?3
             ORDER BY opened_at <= ?4 DESC, id DESC LIMIT 1",
        )?
        .query_row(params![session, quote.downstream_id, quote.channel_id, at], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let downstream: Option<(String, String)> = conn
        .prepare_cached(
            "SELECT address, trim(vendor || ' ' || firmware) FROM downstreams WHERE session = ?1 AND downstream_id = ?2
             ORDER BY connected_at <= ?3 DESC, id DESC LIMIT 1",
        )?
        .query_row(params![session, quote.downstream_id, at], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (address, program) = downstream.unzip();
    Ok(QuoteTrace {
        publisher,
        session_id: session_id.map(|id| format!("{id:016x}")).unwrap_or_default(),
        address: address.filter(|text| !text.is_empty()),
        program: program.filter(|text| !text.is_empty()),
        channel_opened_ms: channel.map(|(opened, _)| opened),
        channel_closed_ms: channel.and_then(|(_, closed)| closed),
        quote,
    })
}
