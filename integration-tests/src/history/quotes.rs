//! Quotes in the SQLite history and in a log file, read from outside.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use ehash::ShareHash;

use super::History;

/// One quote as SQLite has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteRow {
    /// `created`, `sent`, `answered`, `failed`, `paid` or `abandoned`.
    pub state: String,
    /// In `HASH`.
    pub amount: u128,
    /// The mint's name for it.
    pub quote_id: Option<String>,
    /// Why it failed.
    pub error_code: Option<String>,
    /// The share's number in its channel.
    pub sequence_number: u32,
}

/// What the log file of a sidecar says about one quote: every event that came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuoteLife {
    /// Times that it was created.
    pub created: u32,
    /// Times that it was sent.
    pub sent: u32,
    /// The ids that it was answered with.
    pub answers: Vec<String>,
    /// The codes that it failed with.
    pub failures: Vec<String>,
}

impl History {
    /// All quotes of a publisher, by the hash of their share.
    ///
    /// # Errors
    /// When the tables are not there, or an amount is not in its form.
    pub fn quotes(&self, publisher: &str) -> Result<BTreeMap<ShareHash, QuoteRow>> {
        let mut statement = self.database.prepare(
            "SELECT share_hash, state, amount, quote_id, error_code, sequence_number
             FROM quotes JOIN sources ON sources.id = quotes.source WHERE publisher = ?1",
        )?;
        let mut rows = statement.query([publisher])?;
        let mut quotes = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let quote = QuoteRow {
                state: row.get(1)?,
                amount: u128::from_be_bytes(row.get(2)?),
                quote_id: row.get(3)?,
                error_code: row.get(4)?,
                sequence_number: row.get(5)?,
            };
            ensure!(
                quotes.insert(ShareHash::from_digest_bytes(row.get(0)?), quote).is_none(),
                "a share of {publisher} has two quotes"
            );
        }
        Ok(quotes)
    }

    /// Quotes by state, as the history counts them.
    ///
    /// # Errors
    /// When the tables are not there.
    pub fn quote_counts(&self, publisher: &str) -> Result<BTreeMap<String, u64>> {
        let mut statement = self.database.prepare(
            "SELECT state, count FROM quote_counts JOIN sources ON sources.id = quote_counts.source
             WHERE publisher = ?1 AND count > 0",
        )?;
        let rows = statement.query_map([publisher], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Quotes and ehash of a publisher, summed over its channels, and in the totals that retention never touches.
    ///
    /// # Errors
    /// When the tables are not there, or the two differ.
    pub fn ehash(&self, publisher: &str) -> Result<(u64, u128)> {
        let channels = self.quotes_and_ehash(
            "SELECT quotes, ehash FROM channels JOIN sources ON sources.id = channels.source WHERE publisher = ?1",
            publisher,
        )?;
        let totals = self.quotes_and_ehash(
            "SELECT quotes, ehash FROM rollup_total JOIN series ON series.id = rollup_total.series
             JOIN sources ON sources.id = series.source WHERE publisher = ?1 AND kind = 0",
            publisher,
        )?;
        ensure!(channels == totals, "quotes and ehash are {channels:?} by channel and {totals:?} in total");
        Ok(channels)
    }

    /// Codes of failures that belong to no quote.
    ///
    /// # Errors
    /// When the tables are not there.
    pub fn unattributed_quotes(&self, publisher: &str) -> Result<Vec<String>> {
        let mut statement = self.database.prepare(
            "SELECT code FROM unattributed_quotes JOIN sources ON sources.id = unattributed_quotes.source
             WHERE publisher = ?1 ORDER BY at",
        )?;
        let rows = statement.query_map([publisher], |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn quotes_and_ehash(&self, sql: &str, publisher: &str) -> Result<(u64, u128)> {
        let mut statement = self.database.prepare(sql)?;
        let mut rows = statement.query([publisher])?;
        let mut sums = (0, 0);
        while let Some(row) = rows.next()? {
            let ehash: Option<[u8; 16]> = row.get(1)?;
            sums = (sums.0 + row.get::<_, u64>(0)?, sums.1 + ehash.map_or(0, u128::from_be_bytes));
        }
        Ok(sums)
    }
}

/// What a log file says about each quote, by the hash of its share in the form of the log.
///
/// # Errors
/// When a line is no JSON object, or an event lacks its hash.
pub fn quote_lives(log: &Path) -> Result<BTreeMap<String, QuoteLife>> {
    let text = std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
    let mut lives: BTreeMap<String, QuoteLife> = BTreeMap::new();
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line)?;
        let kind = event["kind"].as_str().context("an event has a kind")?;
        if !matches!(kind, "quote_created" | "quote_sent" | "quote_answered" | "quote_failed") {
            continue;
        }
        let text = |field: &str| event[field].as_str().map(str::to_owned);
        let Some(hash) = text("share_hash") else {
            ensure!(kind == "quote_failed", "an event of a quote without hash: {line}");
            continue;
        };
        let life = lives.entry(hash).or_default();
        match kind {
            "quote_created" => life.created += 1,
            "quote_sent" => life.sent += 1,
            "quote_answered" => life.answers.push(text("quote_id").context("an answer has an id")?),
            _ => life.failures.push(text("error_code").context("a failure has a code")?),
        }
    }
    Ok(lives)
}
