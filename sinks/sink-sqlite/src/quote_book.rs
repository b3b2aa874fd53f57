//! Quotes on their way into the tables: each is read and written once in a transaction, however many of its facts come in
//! it, and its latencies, failures and state are counted with it.

use rusqlite::{Connection, OptionalExtension, Row, params};
use rustc_hash::FxHashMap;

use crate::cache::OTHER;
use crate::error::HistoryError;
use crate::latency;
use crate::quote::{Quote, QuoteNote, QuoteStage, QuoteState};
use crate::schema::{Level, QUOTE_LEVELS};
use crate::store;

/// Quotes gathered at most; more are written before the transaction ends.
const MAX_GATHERED: usize = 16_384;
/// Minutes, slots and codes gathered at most (an event stream with wild timestamps).
const MAX_SUMS: usize = 16_384;
/// Codes of one kind that a source may have; further ones are counted together.
const MAX_CODES: usize = 64;
/// Payments that wait for their answer at most; older ones give way.
const MAX_EARLY_PAYMENTS: u32 = 10_000;

type ShareHash = [u8; 32];

/// The gathered quotes and sums of a transaction. Between transactions only names of codes are left.
#[derive(Debug, Default)]
pub(crate) struct QuoteBook {
    entries: Vec<Entry>,
    by_hash: FxHashMap<(i64, ShareHash), usize>,
    /// Gathered answers by the id that the mint gave, as places in `entries`.
    by_quote_id: FxHashMap<(i64, Box<str>), Vec<usize>>,
    /// Count and longest time by minute, source, stage and slot.
    times: FxHashMap<(u64, i64, u8, u16), (u64, u64)>,
    /// By minute, source, kind, and the code's place in `codes`.
    notes: FxHashMap<(u64, i64, u8, usize), i64>,
    codes: FxHashMap<(i64, u8), Vec<Box<str>>>,
    /// Whether a source has payments that wait for their answer.
    early: FxHashMap<i64, bool>,
}

#[derive(Debug)]
struct Entry {
    source: i64,
    hash: ShareHash,
    row: Option<i64>,
    quote: Quote,
    /// State and amount that the counts know of it.
    counted: Option<(QuoteState, u64)>,
}

impl QuoteBook {
    /// Lets `change` add to what is known of a quote, and counts the stages that are complete by it.
    pub(crate) fn change<T>(
        &mut self,
        conn: &Connection,
        source: i64,
        hash: ShareHash,
        change: impl FnOnce(&mut Quote) -> T,
    ) -> Result<T, HistoryError> {
        if self.entries.len() >= MAX_GATHERED {
            self.write_quotes(conn)?;
        }
        let index = match self.by_hash.get(&(source, hash)) {
            Some(index) => *index,
            None => {
                self.entries.push(Entry::load(conn, source, hash)?);
                self.by_hash.insert((source, hash), self.entries.len() - 1);
                self.entries.len() - 1
            }
        };
        let quote = &mut self.entries[index].quote;
        let before = QuoteStage::ALL.map(|stage| quote.stage(stage).is_some());
        let was_answered = quote.quote_id.is_some();
        let result = change(quote);
        if let (false, Some(quote_id)) = (was_answered, &quote.quote_id) {
            self.by_quote_id.entry((source, quote_id.clone())).or_default().push(index);
        }
        for (stage, known) in QuoteStage::ALL.into_iter().zip(before) {
            if let Some((start, end)) = quote.stage(stage).filter(|_| !known) {
                let took = end.saturating_sub(start);
                let key = (minute_of(end), source, stage as u8, latency::slot_of(took));
                let (count, longest) = self.times.entry(key).or_default();
                *count += 1;
                *longest = took.max(*longest);
            }
        }
        Ok(result)
    }

    /// The share of the quote with this id of the mint; the first, should the mint have given an id twice.
    pub(crate) fn hash_of(
        &mut self,
        conn: &Connection,
        source: i64,
        quote_id: &str,
    ) -> Result<Option<ShareHash>, HistoryError> {
        let written: Option<(i64, ShareHash)> = conn
            .prepare_cached(
                "SELECT id, share_hash FROM quotes WHERE source = ?1 AND quote_id = ?2 ORDER BY id LIMIT 1",
            )?
            .query_row(params![source, quote_id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let gathered = self.by_quote_id.get(&(source, quote_id.into())).into_iter().flatten();
        // The order of the table, in which those without a row come behind, as they stand in the book.
        let gathered = gathered.map(|index| {
            let entry = &self.entries[*index];
            (entry.row.unwrap_or(i64::MAX), *index, entry.hash)
        });
        let all = written.map(|(row, hash)| (row, 0, hash)).into_iter().chain(gathered);
        Ok(all.min_by_key(|(row, index, _)| (*row, *index)).map(|(.., hash)| hash))
    }

    /// Counts something beside the states, or takes it back.
    pub(crate) fn note(
        &mut self,
        conn: &Connection,
        source: i64,
        kind: QuoteNote,
        code: &str,
        at: u64,
        count: i64,
    ) -> Result<(), HistoryError> {
        let codes = match self.codes.entry((source, kind as u8)) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let mut codes = conn.prepare_cached(
                    "SELECT code FROM quote_notes WHERE level = ?1 AND bucket = 0 AND source = ?2 AND kind = ?3",
                )?;
                let codes = codes
                    .query_map(params![Level::Total.index(), source, kind as u8], |row| row.get::<_, Box<str>>(0))?;
                place.insert(codes.collect::<Result<_, _>>()?)
            }
        };
        let code = if codes.len() >= MAX_CODES && !codes.iter().any(|known| **known == *code) { OTHER } else { code };
        let index = codes.iter().position(|known| **known == *code).unwrap_or_else(|| {
            codes.push(code.into());
            codes.len() - 1
        });
        *self.notes.entry((minute_of(at), source, kind as u8, index)).or_default() += count;
        Ok(())
    }

    /// Keeps a payment whose answer has not come yet. Returns whether it is new.
    pub(crate) fn keep_early(
        &mut self,
        conn: &Connection,
        source: i64,
        quote_id: &str,
        amount: u64,
        at: u64,
    ) -> Result<bool, HistoryError> {
        let new = conn
            .prepare_cached(
                "INSERT OR IGNORE INTO early_payments (source, quote_id, paid_at, amount) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![source, quote_id, at, u128::from(amount).to_be_bytes()])?;
        if new > 0 {
            conn.prepare_cached("DELETE FROM early_payments WHERE id <= ?1")?
                .execute([conn.last_insert_rowid() - i64::from(MAX_EARLY_PAYMENTS)])?;
        }
        self.early.insert(source, true);
        Ok(new > 0)
    }

    /// Takes the payment `(paid_at, amount)` that waited for this answer.
    pub(crate) fn take_early(
        &mut self,
        conn: &Connection,
        source: i64,
        quote_id: &str,
    ) -> Result<Option<(u64, u64)>, HistoryError> {
        // Almost always there is none at all, and then answers pay nothing for the question.
        let any = match self.early.get(&source) {
            Some(any) => *any,
            None => conn
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM early_payments WHERE source = ?1)")?
                .query_row([source], |row| row.get(0))?,
        };
        self.early.insert(source, any);
        if !any {
            return Ok(None);
        }
        Ok(conn
            .prepare_cached("DELETE FROM early_payments WHERE source = ?1 AND quote_id = ?2 RETURNING paid_at, amount")?
            .query_row(params![source, quote_id], |row| Ok((row.get(0)?, amount(row, 1)?.unwrap_or(0))))
            .optional()?)
    }

    /// The session's quotes that nobody will answer are abandoned.
    pub(crate) fn abandon(&mut self, conn: &Connection, session: i64, at: u64) -> Result<(), HistoryError> {
        self.write_quotes(conn)?;
        let mut counts = StateCounts::default();
        {
            let mut pending = conn.prepare_cached(
                "SELECT source, state, amount FROM quotes WHERE session = ?1 AND state IN ('created', 'sent')",
            )?;
            let mut pending = pending.query([session])?;
            while let Some(row) = pending.next()? {
                counts.abandoned(row)?;
            }
        }
        conn.prepare_cached(
            "UPDATE quotes SET state = 'abandoned', noted_at = max(noted_at, ?2)
             WHERE session = ?1 AND state IN ('created', 'sent')",
        )?
        .execute(params![session, at])?;
        counts.write(conn)
    }

    /// Whether it is time to write, to bound memory.
    pub(crate) fn is_full(&self) -> bool {
        self.times.len() + self.notes.len() >= MAX_SUMS
    }

    /// Writes everything.
    pub(crate) fn flush(&mut self, conn: &Connection, kept_since: &[u64]) -> Result<(), HistoryError> {
        self.write_quotes(conn)?;
        self.write_times(conn, kept_since)?;
        self.write_notes(conn, kept_since)
    }

    fn write_quotes(&mut self, conn: &Connection) -> Result<(), HistoryError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let mut counts = StateCounts::default();
        let mut insert = conn.prepare_cached(
            "INSERT INTO quotes (source, share_hash, session, downstream_id, channel_id, sequence_number, identity, amount,
               amount_real, state, created_at, sent_at, answered_at, failed_at, paid_at, quote_id, error_code, error_message,
               paid_amount, noted_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)",
        )?;
        let mut update = conn.prepare_cached(
            "UPDATE quotes SET session = ?3, downstream_id = ?4, channel_id = ?5, sequence_number = ?6, identity = ?7,
               amount = ?8, amount_real = ?9, state = ?10, created_at = ?11, sent_at = ?12, answered_at = ?13, failed_at = ?14,
               paid_at = ?15, quote_id = ?16, error_code = ?17, error_message = ?18, paid_amount = ?19, noted_at = ?20
             WHERE source = ?1 AND share_hash = ?2",
        )?;
        for Entry { source, hash, row, quote, counted } in &self.entries {
            let state = quote.state();
            let write = if row.is_some() { &mut update } else { &mut insert };
            write.execute(params![
                source,
                hash,
                quote.session,
                quote.ids.map(|ids| ids.0),
                quote.ids.map(|ids| ids.1),
                quote.ids.map(|ids| ids.2),
                quote.identity,
                quote.amount.map(|amount| u128::from(amount).to_be_bytes()),
                quote.amount.map(|amount| amount as f64),
                state.as_str(),
                quote.created_at,
                quote.sent_at,
                quote.answered_at,
                quote.failed_at,
                quote.paid_at,
                quote.quote_id,
                quote.error_code,
                quote.error_message,
                quote.paid_amount.map(|amount| u128::from(amount).to_be_bytes()),
                quote.noted_at
            ])?;
            if let Some((state, amount)) = counted {
                counts.add(*source, *state, -1, *amount);
            }
            counts.add(*source, state, 1, quote.amount.unwrap_or(0));
        }
        self.entries.clear();
        self.by_hash.clear();
        self.by_quote_id.clear();
        counts.write(conn)
    }

    fn write_times(&mut self, conn: &Connection, kept_since: &[u64]) -> Result<(), HistoryError> {
        let mut write = conn.prepare_cached(
            "INSERT INTO quote_times (level, bucket, source, stage, slot, count, max_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (level, bucket, source, stage, slot)
             DO UPDATE SET count = count + excluded.count, max_ms = max(max_ms, excluded.max_ms)",
        )?;
        for ((minute, source, stage, slot), (count, longest)) in self.times.drain() {
            for (level, bucket) in buckets(minute, kept_since) {
                write.execute(params![level, bucket, source, stage, slot, count, longest])?;
            }
        }
        Ok(())
    }

    fn write_notes(&mut self, conn: &Connection, kept_since: &[u64]) -> Result<(), HistoryError> {
        let mut write = conn.prepare_cached(
            "INSERT INTO quote_notes (level, bucket, source, kind, code, count) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (level, bucket, source, kind, code) DO UPDATE SET count = count + excluded.count",
        )?;
        for ((minute, source, kind, code), count) in self.notes.drain() {
            let code = self.codes.get(&(source, kind)).and_then(|codes| codes.get(code));
            for (level, bucket) in buckets(minute, kept_since) {
                write.execute(params![level, bucket, source, kind, code, count])?;
            }
        }
        Ok(())
    }
}

impl Entry {
    fn load(conn: &Connection, source: i64, hash: ShareHash) -> Result<Self, HistoryError> {
        let known = conn
            .prepare_cached(
                "SELECT id, state, session, downstream_id, channel_id, sequence_number, identity, amount, created_at, sent_at,
                   answered_at, failed_at, paid_at, quote_id, error_code, error_message, paid_amount, noted_at
                 FROM quotes WHERE source = ?1 AND share_hash = ?2",
            )?
            .query_row(params![source, hash], |row| {
                let state = state(row, 1)?;
                let ids: (Option<u32>, Option<u32>, Option<u32>) = (row.get(3)?, row.get(4)?, row.get(5)?);
                let quote = Quote {
                    session: row.get(2)?,
                    ids: ids.0.zip(ids.1).zip(ids.2).map(|((downstream, channel), number)| (downstream, channel, number)),
                    identity: row.get(6)?,
                    amount: amount(row, 7)?,
                    created_at: row.get(8)?,
                    sent_at: row.get(9)?,
                    answered_at: row.get(10)?,
                    failed_at: row.get(11)?,
                    paid_at: row.get(12)?,
                    quote_id: row.get(13)?,
                    error_code: row.get(14)?,
                    error_message: row.get(15)?,
                    paid_amount: amount(row, 16)?,
                    abandoned: state == QuoteState::Abandoned,
                    noted_at: row.get(17)?,
                };
                let counted = Some((state, quote.amount.unwrap_or(0)));
                Ok(Self { source, hash, row: row.get(0)?, quote, counted })
            })
            .optional()?;
        Ok(known.unwrap_or_else(|| Self { source, hash, row: None, quote: Quote::default(), counted: None }))
    }
}

/// How the counts of quotes by state change.
#[derive(Debug, Default)]
pub(crate) struct StateCounts {
    /// Quotes and their ehash.
    changes: FxHashMap<(i64, QuoteState), (i64, i128)>,
}

impl StateCounts {
    fn add(&mut self, source: i64, state: QuoteState, count: i64, amount: u64) {
        let (quotes, ehash) = self.changes.entry((source, state)).or_default();
        *quotes += count;
        *ehash += i128::from(count) * i128::from(amount);
    }

    /// The quote of a row `(source, state, amount)` is abandoned, if it was pending.
    pub(crate) fn abandoned(&mut self, row: &Row<'_>) -> Result<(), HistoryError> {
        let (source, state, amount) = (row.get(0)?, state(row, 1)?, amount(row, 2)?.unwrap_or(0));
        if state.is_pending() {
            self.add(source, state, -1, amount);
            self.add(source, QuoteState::Abandoned, 1, amount);
        }
        Ok(())
    }

    pub(crate) fn write(self, conn: &Connection) -> Result<(), HistoryError> {
        let mut read = conn.prepare_cached("SELECT ehash FROM quote_counts WHERE source = ?1 AND state = ?2")?;
        let mut write = conn.prepare_cached(
            "INSERT INTO quote_counts (source, state, count, ehash) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (source, state) DO UPDATE SET count = count + excluded.count, ehash = excluded.ehash",
        )?;
        for ((source, state), (count, change)) in self.changes {
            if (count, change) == (0, 0) {
                continue;
            }
            let before = read
                .query_row(params![source, state.as_str()], |row| Ok(store::ehash(row.get_ref(0)?.as_blob_or_null()?)))
                .optional()?;
            let ehash = before.unwrap_or(0).saturating_add_signed(change);
            write.execute(params![source, state.as_str(), count, ehash.to_be_bytes()])?;
        }
        // A state that a quote only passed through leaves nothing, however its facts were split over transactions.
        conn.prepare_cached("DELETE FROM quote_counts WHERE count = 0")?.execute([])?;
        Ok(())
    }
}

/// The levels and buckets that the sums of a minute go to.
fn buckets(minute: u64, kept_since: &[u64]) -> impl Iterator<Item = (usize, u64)> {
    QUOTE_LEVELS
        .into_iter()
        .map(move |level| (level.index(), level.bucket_of(minute)))
        .filter(move |(level, bucket)| *bucket >= kept_since.get(*level).copied().unwrap_or(0))
}

fn minute_of(at: u64) -> u64 {
    QUOTE_LEVELS[0].bucket_of(at)
}

fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<QuoteState> {
    // The table holds no other names; a damaged one counts as pending.
    Ok(row.get_ref(column)?.as_str().ok().and_then(QuoteState::from_name).unwrap_or(QuoteState::Created))
}

/// An amount in its 16 bytes; single ones fit 64 bits.
fn amount(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let blob = row.get_ref(column)?.as_blob_or_null()?;
    Ok(blob.map(|blob| u64::try_from(store::ehash(Some(blob))).unwrap_or(u64::MAX)))
}
