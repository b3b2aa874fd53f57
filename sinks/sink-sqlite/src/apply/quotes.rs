//! The life of a quote: created for a share, sent to the mint, answered or failed, paid. Share and quote are joined by
//! the share's ids, quote and answer by the share's hash, payment by the mint's id of the quote (delivery rule 34).
//!
//! Each fact may come again, late, or without the ones before it: its first telling counts, what follows from it is in
//! [`Quote::state`], and what contradicts it is counted.

use rusqlite::params;
use stats_sv2::event::{QuoteAnswered, QuoteCreated, QuoteFailed, QuotePaid, QuoteSent};
use stats_sv2::{Amount, U256};

use crate::apply::Run;
use crate::error::HistoryError;
use crate::quote::{Quote, QuoteNote, ShareIds};

/// Failures without a quote of their own that are kept with their words at most; older ones give way.
const MAX_UNATTRIBUTED: u32 = 10_000;

/// A second answer with another id.
const ANSWERED_AGAIN: &str = "answered-again";
/// An answer to a quote that had failed: it stands.
const ANSWERED_AFTER_FAILURE: &str = "answered-after-failure";
/// A failure of a quote that was answered: the answer stands.
const FAILED_AFTER_ANSWER: &str = "failed-after-answer";
/// A second failure with another code.
const FAILED_AGAIN: &str = "failed-again";
/// A second payment of a quote.
const PAID_AGAIN: &str = "paid-again";

impl Run<'_> {
    pub(super) fn quote_created(&mut self, quote: &QuoteCreated, at: u64) -> Result<(), HistoryError> {
        let ids = (quote.downstream_id.0, quote.channel_id.0, quote.sequence_number);
        self.quote_of_share(quote.share_hash, ids, quote.amount, at, |known| {
            known.created_at.get_or_insert(at);
        })
    }

    pub(super) fn quote_sent(&mut self, quote: &QuoteSent, at: u64) -> Result<(), HistoryError> {
        let ids = (quote.downstream_id.0, quote.channel_id.0, quote.sequence_number);
        self.quote_of_share(quote.share_hash, ids, quote.amount, at, |known| {
            known.sent_at.get_or_insert(at);
        })
    }

    /// A fact that names the share. The quote and its ehash are counted by the first of them, which is the creation unless
    /// that was lost.
    fn quote_of_share(
        &mut self,
        share_hash: U256,
        ids: ShareIds,
        amount: Amount,
        at: u64,
        fact: impl FnOnce(&mut Quote),
    ) -> Result<(), HistoryError> {
        let index = self.channel_of_share(ids.0, ids.1, at)?;
        let identity = self.session.workers[index as usize].identity.id;
        let session = self.session.row;
        let is_over = self.session.ended || self.record.finishing;
        let is_new = self.quotes.change(self.conn, self.source.row, share_hash.0, |quote| {
            // A running session that goes on with an abandoned quote takes it over, since its own end must end it.
            if quote.ids.is_none() || (quote.abandoned && !is_over) {
                quote.abandoned = is_over;
                quote.session = session;
                quote.ids = Some(ids);
                quote.identity = Some(identity);
            }
            quote.noted_at = quote.noted_at.max(at);
            fact(quote);
            let is_new = quote.amount.is_none();
            quote.amount.get_or_insert(amount.0);
            is_new
        })?;
        if !is_new {
            return Ok(());
        }
        let ehash = u128::from(amount.0);
        let counts = &mut self.session.touch(index).counts;
        counts.quotes += 1;
        counts.ehash = counts.ehash.saturating_add(ehash);
        // Only quotes and ehash: creating a quote never changes a share count.
        self.add_to_buckets(index, at, |sums, _| {
            sums.quotes += 1;
            sums.ehash = sums.ehash.saturating_add(ehash);
        })
    }

    pub(super) fn quote_answered(&mut self, answer: &QuoteAnswered<'_>, at: u64) -> Result<(), HistoryError> {
        let (source, quote_id) = (self.source.row, answer.quote_id.as_str());
        let (is_first, contradiction) = self.change_quote(answer.share_hash, at, |quote| {
            match &quote.quote_id {
                // The first answer wins (delivery rule 32).
                Some(known) => return (false, (**known != *quote_id).then_some(ANSWERED_AGAIN)),
                None => quote.quote_id = Some(quote_id.into()),
            }
            quote.answered_at = Some(at);
            (true, quote.failed_at.is_some().then_some(ANSWERED_AFTER_FAILURE))
        })?;
        if is_first && let Some((paid_at, amount)) = self.quotes.take_early(self.conn, source, quote_id)? {
            self.quotes.note(self.conn, source, QuoteNote::UnknownPayment, "", paid_at, -1)?;
            self.change_quote(answer.share_hash, paid_at, |quote| pay(quote, amount, paid_at))?;
        }
        self.contradiction(contradiction, at)
    }

    pub(super) fn quote_failed(&mut self, failure: &QuoteFailed<'_>, at: u64) -> Result<(), HistoryError> {
        let (code, message) = (failure.error_code.as_str(), failure.error_message.as_str());
        let Some(share_hash) = failure.share_hash else {
            return self.unattributed(code, message, at);
        };
        let (is_first, contradiction) = self.change_quote(share_hash, at, |quote| {
            if let Some(known) = &quote.error_code {
                return (false, (**known != *code).then_some(FAILED_AGAIN));
            }
            quote.failed_at = Some(at);
            quote.error_code = Some(code.into());
            quote.error_message = Some(message.into());
            (true, quote.answered_at.is_some().then_some(FAILED_AFTER_ANSWER))
        })?;
        if is_first {
            self.quotes.note(self.conn, self.source.row, QuoteNote::Failed, code, at, 1)?;
        }
        self.contradiction(contradiction, at)
    }

    pub(super) fn quote_paid(&mut self, payment: &QuotePaid<'_>, at: u64) -> Result<(), HistoryError> {
        let (source, quote_id, amount) = (self.source.row, payment.quote_id.as_str(), payment.amount.0);
        let is_first = match self.quotes.hash_of(self.conn, source, quote_id)? {
            Some(share_hash) => self.change_quote(U256(share_hash), at, |quote| pay(quote, amount, at))?,
            // The answer may still come: with the rest of an older session, after this one told of the payment.
            None => {
                let is_new = self.quotes.keep_early(self.conn, source, quote_id, amount, at)?;
                if is_new {
                    self.quotes.note(self.conn, source, QuoteNote::UnknownPayment, "", at, 1)?;
                }
                is_new
            }
        };
        self.contradiction((!is_first).then_some(PAID_AGAIN), at)
    }

    /// A fact that does not name the share's ids, of a quote that may not be known yet.
    fn change_quote<T>(
        &mut self,
        share_hash: U256,
        at: u64,
        change: impl FnOnce(&mut Quote) -> T,
    ) -> Result<T, HistoryError> {
        let session = self.session.row;
        self.quotes.change(self.conn, self.source.row, share_hash.0, |quote| {
            if quote.session == 0 {
                quote.session = session;
            }
            quote.noted_at = quote.noted_at.max(at);
            change(quote)
        })
    }

    fn contradiction(&mut self, code: Option<&str>, at: u64) -> Result<(), HistoryError> {
        match code {
            Some(code) => self.quotes.note(self.conn, self.source.row, QuoteNote::Contradiction, code, at, 1),
            None => Ok(()),
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
        self.quotes.note(self.conn, self.source.row, QuoteNote::Unattributed, code, at, 1)
    }
}

/// The first payment counts.
fn pay(quote: &mut Quote, amount: u64, at: u64) -> bool {
    let is_first = quote.paid_at.is_none();
    if is_first {
        quote.paid_at = Some(at);
        quote.paid_amount = Some(amount);
    }
    is_first
}
