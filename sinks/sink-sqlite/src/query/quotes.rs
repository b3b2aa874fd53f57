//! Quotes: how many stand in which state, their ehash, latencies and failures, and their lists.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use mining_stats::Tier;
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};
use stats_sv2::U256;

use crate::kept::Kept;
use crate::latency::Latencies;
use crate::query::part::{Bounded, Part};
use crate::query::{History, MAX_ROWS, QueryError, source_row};
use crate::quote::{QuoteNote, QuoteStage, QuoteState};
use crate::schema::Level;
use crate::store;

/// Windows up to this long are read minute by minute, longer ones hour by hour.
const MINUTES_UP_TO_MS: u64 = 6 * 3_600_000;

impl History {
    /// The latest quotes of a publisher, those noted before `before_ms`.
    pub fn quotes(&self, publisher: &str, before_ms: Option<u64>, limit: u32) -> Result<Vec<QuoteView>, QueryError> {
        let before = before_ms.map(|noted_ms| QuotePlace { noted_ms, number: 0 });
        self.quote_page(publisher, &QuoteFilter { before, ..QuoteFilter::default() }, limit)
    }

    /// Quotes of a publisher that meet the filter, the latest first.
    pub fn quote_page(&self, publisher: &str, filter: &QuoteFilter, limit: u32) -> Result<Vec<QuoteView>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let source = source_row(&tx, publisher)?;
        let place = filter.before.unwrap_or(QuotePlace { noted_ms: u64::MAX, number: u64::MAX });
        let mut rows = tx.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM quotes q LEFT JOIN series s ON s.id = q.identity
             WHERE q.source = ?1 AND (q.noted_at, q.id) < (?2, ?3)
               AND (?4 IS NULL OR q.state = ?4) AND (?5 IS NULL OR s.name = ?5)
             ORDER BY q.noted_at DESC, q.id DESC LIMIT ?6"
        ))?;
        let state = filter.state.map(QuoteState::as_str);
        let limit = limit.min(MAX_ROWS + 1);
        let rows = rows.query_map(
            params![source, Bounded(place.noted_ms), Bounded(place.number), state, filter.identity, limit],
            QuoteView::from_row,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// What became of a publisher's quotes: by state since the history began, and their latencies and failures over the
    /// last `window_ms` and since the history began.
    pub fn quote_report(&self, publisher: &str, window_ms: u64, now_ms: u64) -> Result<QuoteReport, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let source = source_row(&tx, publisher)?;
        let kept = Kept::load(&tx)?;
        let start = now_ms.saturating_sub(window_ms);
        let minutes = Level::Tier(Tier::OneMinute);
        let has_minutes = window_ms <= MINUTES_UP_TO_MS && kept.since(Tier::OneMinute) <= minutes.bucket_of(start);
        let level = if has_minutes { minutes } else { Level::Tier(Tier::OneHour) };
        Ok(QuoteReport {
            by_state: by_state(&tx, source)?,
            window: QuoteFlow::read(&tx, source, level, level.bucket_of(start))?,
            total: QuoteFlow::read(&tx, source, Level::Total, 0)?,
        })
    }

    /// Whose shares gave how much ehash, the most first.
    pub fn ehash(&self, publisher: &str, of: EhashOf, part: &Part<EhashPlace>) -> Result<Vec<EhashView>, QueryError> {
        let tx = self.conn.unchecked_transaction()?;
        let source = source_row(&tx, publisher)?;
        // As blobs of one length, most significant byte first, amounts compare as numbers do. Of equal ones the older comes
        // first: a name would be told by a place that is made of it.
        let sql = match of {
            EhashOf::Identity => {
                "SELECT * FROM (
                   SELECT s.name, NULL, NULL, NULL, t.quotes, coalesce(t.ehash, zeroblob(16)) AS amount, s.id AS number
                   FROM rollup_total t JOIN series s ON s.id = t.series
                   WHERE t.bucket = 0 AND s.source = ?1 AND s.kind = 1 AND t.quotes > 0)
                 WHERE ?2 IS NULL OR amount < ?2 OR (amount = ?2 AND number > ?3)
                 ORDER BY amount DESC, number LIMIT ?4 OFFSET ?5"
            }
            EhashOf::Channel => {
                "SELECT * FROM (
                   SELECT s.name, n.session_id, c.downstream_id, c.channel_id, c.quotes,
                     coalesce(c.ehash, zeroblob(16)) AS amount, c.id AS number
                   FROM channels c JOIN series s ON s.id = c.identity LEFT JOIN sessions n ON n.id = c.session
                   WHERE c.source = ?1 AND c.quotes > 0)
                 WHERE ?2 IS NULL OR amount < ?2 OR (amount = ?2 AND number > ?3)
                 ORDER BY amount DESC, number LIMIT ?4 OFFSET ?5"
            }
            EhashOf::Downstream => return by_downstream(&tx, source, part),
        };
        let (amount, number) = part.after.map(|place| (place.ehash.to_be_bytes(), Bounded(place.number))).unzip();
        let mut rows = tx.prepare_cached(sql)?;
        let rows = rows.query_map(params![source, amount, number, part.limit(), part.skip()], EhashView::from_row)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

/// Which quotes a list is about.
#[derive(Debug, Clone, Default)]
pub struct QuoteFilter {
    /// Only those that stand there.
    pub state: Option<QuoteState>,
    /// Only those for shares of this user_identity.
    pub identity: Option<String>,
    /// Only those behind this one in the list: the next page.
    pub before: Option<QuotePlace>,
}

/// A quote's place in the list of all, for paging.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuotePlace {
    /// Time of the latest of its facts.
    pub noted_ms: u64,
    /// Its number in the file.
    pub number: u64,
}

/// A quote and its life.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuoteView {
    /// Hash of the share, as explorers print hashes.
    pub share_hash: String,
    /// Where it stands.
    pub state: QuoteState,
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
    /// The mint's id of the quote; untrusted text.
    pub quote_id: Option<String>,
    /// Why it failed, in a word.
    pub error_code: Option<String>,
    /// Why it failed, in a sentence; untrusted text.
    pub error_message: Option<String>,
    /// What was paid, exact, as a decimal number.
    pub paid_amount: Option<String>,
    /// Time of the latest of these facts.
    pub noted_ms: u64,
    /// Its place in the list of all quotes, for paging.
    pub place: QuotePlace,
}

/// Quotes by state, since the history began.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuoteCounts {
    /// Created, not yet sent.
    pub created: u64,
    /// Sent, not yet answered.
    pub sent: u64,
    /// Answered, not yet paid.
    pub answered: u64,
    /// Failed.
    pub failed: u64,
    /// Paid.
    pub paid: u64,
    /// Never answered before their session ended.
    pub abandoned: u64,
}

/// What became of a publisher's quotes.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuoteReport {
    /// Where the quotes stand that were made since the history began, in the order of [`QuoteState::ALL`].
    pub by_state: Vec<StateView>,
    /// What happened in the window.
    pub window: QuoteFlow,
    /// What happened since the history began.
    pub total: QuoteFlow,
}

/// The quotes in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StateView {
    /// The state.
    pub state: QuoteState,
    /// How many.
    pub count: u64,
    /// Their ehash, exact, as a decimal number.
    pub ehash: String,
}

/// What happened to quotes in a span of time.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuoteFlow {
    /// Where the span begins: at the start of a bucket; 0 where it is the whole history.
    pub from_ms: u64,
    /// How long each stage of their life took, in the order of [`QuoteStage::ALL`].
    pub latencies: Vec<LatencyView>,
    /// Failures of quotes by code, those included whose quote was answered all the same.
    pub failed: BTreeMap<String, u64>,
    /// Failures that name no share, by code.
    pub unattributed: BTreeMap<String, u64>,
    /// Payments of quotes whose answer is not known.
    pub unknown_payments: u64,
    /// Facts that contradict others, by what they are: `answered-again`, `answered-after-failure`, `failed-after-answer`,
    /// `failed-again`, `paid-again`.
    pub contradictions: BTreeMap<String, u64>,
}

/// How long a stage took. The percentiles are known to an eighth, the maximum exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LatencyView {
    /// The stage.
    pub stage: QuoteStage,
    /// Quotes that went through it.
    pub count: u64,
    /// Half of them took at most this long.
    pub p50_ms: Option<u64>,
    /// Nine of ten took at most this long.
    pub p90_ms: Option<u64>,
    /// 99 of 100 took at most this long.
    pub p99_ms: Option<u64>,
    /// The longest.
    pub max_ms: Option<u64>,
}

/// What ehash is summed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EhashOf {
    /// user_identity, over all its connections.
    Identity,
    /// A downstream connection of a session.
    Downstream,
    /// A channel of a session.
    Channel,
}

/// Ehash of somebody's shares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EhashView {
    /// The user_identity, unless it is about a connection; untrusted text.
    pub identity: Option<String>,
    /// The session of the connection, as 16 hexadecimal digits.
    pub session_id: Option<String>,
    /// The connection.
    pub downstream_id: Option<u32>,
    /// The channel.
    pub channel_id: Option<u32>,
    /// Quotes created.
    pub quotes: u64,
    /// Their ehash, exact, as a decimal number.
    pub ehash: String,
    /// Its place in the list.
    #[serde(skip)]
    pub place: EhashPlace,
}

/// A row's place in the list of who has how much ehash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EhashPlace {
    /// How much it is.
    pub ehash: u128,
    /// The number in the file of the identity or channel, or that of the session of a downstream.
    pub number: u64,
    /// The downstream, or 0.
    pub downstream_id: u32,
}

/// What [`QuoteView::from_row`] reads.
pub(super) const COLUMNS: &str = "q.share_hash, q.state, q.amount, s.name, q.downstream_id, q.channel_id, q.sequence_number, \
    q.created_at, q.sent_at, q.answered_at, q.failed_at, q.paid_at, q.quote_id, q.error_code, q.error_message, \
    q.paid_amount, q.noted_at, q.id";

impl QuoteView {
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let amount = |column: usize| -> rusqlite::Result<Option<String>> {
            Ok(row.get_ref(column)?.as_blob_or_null()?.map(|blob| store::ehash(Some(blob)).to_string()))
        };
        let (created_ms, sent_ms, answered_ms): (Option<u64>, Option<u64>, Option<u64>) =
            (row.get(7)?, row.get(8)?, row.get(9)?);
        Ok(Self {
            share_hash: U256(row.get(0)?).to_string(),
            state: QuoteState::from_name(row.get_ref(1)?.as_str()?).unwrap_or(QuoteState::Created),
            amount: amount(2)?,
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
            error_message: row.get(14)?,
            paid_amount: amount(15)?,
            noted_ms: row.get(16)?,
            place: QuotePlace { noted_ms: row.get(16)?, number: row.get(17)? },
        })
    }
}

impl EhashView {
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            identity: row.get(0)?,
            session_id: row.get::<_, Option<u64>>(1)?.map(|id| format!("{id:016x}")),
            downstream_id: row.get(2)?,
            channel_id: row.get(3)?,
            quotes: row.get(4)?,
            ehash: ehash(row, 5)?.to_string(),
            place: EhashPlace { ehash: ehash(row, 5)?, number: row.get(6)?, downstream_id: 0 },
        })
    }
}

impl QuoteFlow {
    /// From the buckets of a level from `from` on.
    fn read(conn: &Connection, source: i64, level: Level, from_ms: u64) -> Result<Self, QueryError> {
        let mut stages = QuoteStage::ALL.map(|stage| (stage, Latencies::default()));
        let mut times = conn.prepare_cached(
            "SELECT stage, slot, sum(count), max(max_ms) FROM quote_times
             WHERE level = ?1 AND bucket >= ?2 AND source = ?3 GROUP BY stage, slot ORDER BY stage, slot",
        )?;
        let mut times = times.query(params![level.index(), from_ms, source])?;
        while let Some(row) = times.next()? {
            let Some((_, latencies)) = stages.get_mut(row.get::<_, usize>(0)?) else { continue };
            latencies.slots.push((row.get(1)?, row.get(2)?));
            latencies.max_ms = latencies.max_ms.max(row.get(3)?);
        }
        let mut flow = Self {
            from_ms,
            latencies: stages.iter().map(|(stage, latencies)| LatencyView::of(*stage, latencies)).collect(),
            failed: BTreeMap::new(),
            unattributed: BTreeMap::new(),
            unknown_payments: 0,
            contradictions: BTreeMap::new(),
        };
        let mut notes = conn.prepare_cached(
            "SELECT kind, code, sum(count) FROM quote_notes
             WHERE level = ?1 AND bucket >= ?2 AND source = ?3 GROUP BY kind, code HAVING sum(count) > 0",
        )?;
        let mut notes = notes.query(params![level.index(), from_ms, source])?;
        while let Some(row) = notes.next()? {
            let (kind, code, count): (u8, String, u64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let by_code = match kind {
                kind if kind == QuoteNote::Failed as u8 => &mut flow.failed,
                kind if kind == QuoteNote::Unattributed as u8 => &mut flow.unattributed,
                kind if kind == QuoteNote::Contradiction as u8 => &mut flow.contradictions,
                _ => {
                    flow.unknown_payments += count;
                    continue;
                }
            };
            by_code.insert(code, count);
        }
        Ok(flow)
    }
}

impl LatencyView {
    fn of(stage: QuoteStage, latencies: &Latencies) -> Self {
        let count = latencies.count();
        Self {
            stage,
            count,
            p50_ms: latencies.percentile(0.5),
            p90_ms: latencies.percentile(0.9),
            p99_ms: latencies.percentile(0.99),
            max_ms: (count > 0).then_some(latencies.max_ms),
        }
    }
}

pub(super) fn quote_counts(conn: &Connection, source: i64) -> Result<QuoteCounts, QueryError> {
    let mut counts = QuoteCounts::default();
    for StateView { state, count, .. } in by_state(conn, source)? {
        *match state {
            QuoteState::Created => &mut counts.created,
            QuoteState::Sent => &mut counts.sent,
            QuoteState::Answered => &mut counts.answered,
            QuoteState::Failed => &mut counts.failed,
            QuoteState::Paid => &mut counts.paid,
            QuoteState::Abandoned => &mut counts.abandoned,
        } = count;
    }
    Ok(counts)
}

fn by_state(conn: &Connection, source: i64) -> Result<Vec<StateView>, QueryError> {
    let mut states = QuoteState::ALL.map(|state| StateView { state, count: 0, ehash: 0.to_string() });
    let mut rows = conn.prepare_cached("SELECT state, count, ehash FROM quote_counts WHERE source = ?1")?;
    let rows = rows.query_map([source], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, ehash(row, 2)?)))?;
    for row in rows {
        let (name, count, ehash) = row?;
        if let Some(view) = states.iter_mut().find(|view| view.state.as_str() == name) {
            view.count = count;
            view.ehash = ehash.to_string();
        }
    }
    Ok(states.into())
}

fn ehash(row: &Row<'_>, column: usize) -> rusqlite::Result<u128> {
    Ok(store::ehash(row.get_ref(column)?.as_blob_or_null()?))
}

/// Sums of 128 bits are made here: the reader's SQLite has no such numbers.
fn by_downstream(conn: &Connection, source: i64, part: &Part<EhashPlace>) -> Result<Vec<EhashView>, QueryError> {
    let mut sums: BTreeMap<(u64, u32), (u64, u128)> = BTreeMap::new();
    let mut rows = conn.prepare_cached(
        "SELECT session, downstream_id, quotes, ehash FROM channels WHERE source = ?1 AND quotes > 0",
    )?;
    let rows =
        rows.query_map([source], |row| Ok(((row.get(0)?, row.get(1)?), row.get::<_, u64>(2)?, ehash(row, 3)?)))?;
    for row in rows {
        let (connection, quotes, ehash) = row?;
        let sum = sums.entry(connection).or_default();
        sum.0 += quotes;
        sum.1 = sum.1.saturating_add(ehash);
    }
    let order = |place: &EhashPlace| (Reverse(place.ehash), place.number, place.downstream_id);
    let mut sums: Vec<_> = sums
        .into_iter()
        .map(|((number, downstream_id), (quotes, ehash))| (EhashPlace { ehash, number, downstream_id }, quotes))
        .filter(|(place, _)| part.after.is_none_or(|after| order(place) > order(&after)))
        .collect();
    sums.sort_by_key(|(place, _)| order(place));
    let mut session = conn.prepare_cached("SELECT session_id FROM sessions WHERE id = ?1")?;
    let part = sums.into_iter().skip(part.skip as usize).take(part.limit() as usize);
    part.map(|(place, quotes)| {
        // Sessions are given up before the channels of theirs.
        let session_id: Option<u64> = session.query_row([place.number], |row| row.get(0)).optional()?;
        Ok(EhashView {
            identity: None,
            session_id: session_id.map(|id| format!("{id:016x}")),
            downstream_id: Some(place.downstream_id),
            channel_id: None,
            quotes,
            ehash: place.ehash.to_string(),
            place,
        })
    })
    .collect()
}
