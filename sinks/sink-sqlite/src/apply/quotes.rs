//! The life of a quote: created for a share, sent to the mint, answered or failed, paid. Share and quote are joined by
//! the share's ids, quote and answer by the share's hash, payment by the mint's id of the quote (delivery rule 34).

use rusqlite::{OptionalExtension, params};
use stats_sv2::Amount;
use stats_sv2::event::{QuoteAnswered, QuoteCreated, QuoteFailed, QuotePaid, QuoteSent};

use crate::apply::Run;
use crate::error::HistoryError;

/// Failures without a quote of their own at most; older ones give way.
const MAX_UNATTRIBUTED: u32 = 10_000;

/// An amount as it is kept.
fn blob(amount: Amount) -> [u8; 16] {
    u128::from(amount.0).to_be_bytes()
}

impl Run<'_> {
    pub(super) fn quote_created(&mut self, quote: &QuoteCreated, at: u64) -> Result<(), HistoryError> {
        let index = self.channel_of_share(quote.downstream_id.0, quote.channel_id.0, at)?;
        let identity = self.session.workers[index as usize].identity;
        // The same quote may be told again by another session of the publisher: it was created once. An answer that came
        // first, because the creation was late, keeps its state.
        let new = self
            .conn
            .prepare_cached(
                "INSERT INTO quotes (source, share_hash, session, downstream_id, channel_id, sequence_number, identity, amount,
                   amount_real, state, created_at, noted_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'created', ?10, ?10)
                 ON CONFLICT (source, share_hash) DO UPDATE SET session = excluded.session,
                   downstream_id = excluded.downstream_id, channel_id = excluded.channel_id,
                   sequence_number = excluded.sequence_number, identity = excluded.identity, amount = excluded.amount,
                   amount_real = excluded.amount_real, created_at = excluded.created_at
                 WHERE created_at IS NULL",
            )?
            .execute(params![
                self.source.row,
                quote.share_hash.0,
                self.session.row,
                quote.downstream_id.0,
                quote.channel_id.0,
                quote.sequence_number,
                identity.id,
                blob(quote.amount),
                quote.amount.0 as f64,
                at
            ])?;
        if new == 0 {
            return Ok(());
        }
        let amount = u128::from(quote.amount.0);
        let counts = &mut self.session.touch(index).counts;
        counts.quotes += 1;
        counts.ehash = counts.ehash.saturating_add(amount);
        // Only quotes and ehash: creating a quote never changes a share count.
        self.add_to_buckets(index, at, |sums, _| {
            sums.quotes += 1;
            sums.ehash = sums.ehash.saturating_add(amount);
        })
    }

    pub(super) fn quote_sent(&mut self, quote: &QuoteSent, at: u64) -> Result<(), HistoryError> {
        self.conn
            .prepare_cached(
                "INSERT INTO quotes (source, share_hash, session, downstream_id, channel_id, sequence_number, amount, amount_real,
                   state, sent_at, noted_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'sent', ?9, ?9)
                 ON CONFLICT (source, share_hash) DO UPDATE SET sent_at = coalesce(sent_at, excluded.sent_at),
                   noted_at = max(noted_at, excluded.noted_at), state = iif(state IN ('created', 'abandoned'), 'sent', state)",
            )?
            .execute(params![
                self.source.row,
                quote.share_hash.0,
                self.session.row,
                quote.downstream_id.0,
                quote.channel_id.0,
                quote.sequence_number,
                blob(quote.amount),
                quote.amount.0 as f64,
                at
            ])?;
        Ok(())
    }

    pub(super) fn quote_answered(&mut self, quote: &QuoteAnswered<'_>, at: u64) -> Result<(), HistoryError> {
        // The first answer wins (delivery rule 32).
        self.conn
            .prepare_cached(
                "INSERT INTO quotes (source, share_hash, session, state, answered_at, quote_id, noted_at)
                 VALUES (?1, ?2, ?3, 'answered', ?4, ?5, ?4)
                 ON CONFLICT (source, share_hash) DO UPDATE SET answered_at = excluded.answered_at, quote_id = excluded.quote_id,
                   noted_at = max(noted_at, excluded.noted_at), state = iif(state = 'paid', state, 'answered')
                 WHERE answered_at IS NULL",
            )?
            .execute(params![self.source.row, quote.share_hash.0, self.session.row, at, quote.quote_id.as_str()])?;
        Ok(())
    }

    pub(super) fn quote_failed(&mut self, quote: &QuoteFailed<'_>, at: u64) -> Result<(), HistoryError> {
        let (code, message) = (quote.error_code.as_str(), quote.error_message.as_str());
        let Some(share_hash) = quote.share_hash else {
            return self.unattributed(code, message, at);
        };
        self.conn
            .prepare_cached(
                "INSERT INTO quotes (source, share_hash, session, state, failed_at, error_code, error_message, noted_at)
                 VALUES (?1, ?2, ?3, 'failed', ?4, ?5, ?6, ?4)
                 ON CONFLICT (source, share_hash) DO UPDATE SET failed_at = excluded.failed_at, error_code = excluded.error_code,
                   error_message = excluded.error_message, noted_at = max(noted_at, excluded.noted_at),
                   state = iif(state IN ('answered', 'paid'), state, 'failed')",
            )?
            .execute(params![self.source.row, share_hash.0, self.session.row, at, code, message])?;
        Ok(())
    }

    pub(super) fn quote_paid(&mut self, quote: &QuotePaid<'_>, at: u64) -> Result<(), HistoryError> {
        let paid = self
            .conn
            .prepare_cached(
                "UPDATE quotes SET state = 'paid', paid_at = coalesce(paid_at, ?3), paid_amount = coalesce(paid_amount, ?4),
                   noted_at = max(noted_at, ?3) WHERE source = ?1 AND quote_id = ?2 RETURNING id",
            )?
            .query_row(params![self.source.row, quote.quote_id.as_str(), at, blob(quote.amount)], |_| Ok(()))
            .optional()?;
        match paid {
            Some(()) => Ok(()),
            None => self.unattributed("paid-unknown-quote", quote.quote_id.as_str(), at),
        }
    }

    fn unattributed(&mut self, code: &str, message: &str, at: u64) -> Result<(), HistoryError> {
        self.conn
            .prepare_cached("INSERT INTO unattributed_quotes (source, at, code, message) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![self.source.row, at, code, message])?;
        let row = self.conn.last_insert_rowid();
        self.conn
            .prepare_cached("DELETE FROM unattributed_quotes WHERE rowid <= ?1")?
            .execute([row - i64::from(MAX_UNATTRIBUTED)])?;
        Ok(())
    }
}
