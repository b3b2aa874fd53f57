//! What the mint remembers: its quotes, what is still to be told, and which rules the pool broke.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use anyhow::{Context, Result};
use ehash::{LockingKey, ParsedMintQuoteRequest, ShareHash};
use mint_quote_sv2::{MintQuoteFailure, MintQuoteNotification, MintQuoteRequest};
use stats_sv2::{Amount, ChannelId, Text};

use super::manner::Manner;

/// Violations that are kept; a pool with more is broken enough.
const MAX_VIOLATIONS: usize = 100;

/// Shares that a mint of the stories takes; a pool that goes on asks for what it did not mine.
const MAX_SHARES: usize = 1 << 20;

/// What became of a quote at the mint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuoteState {
    /// Created.
    Unpaid,
    /// Paid.
    Paid,
    /// It will not be paid.
    Failed,
}

/// A quote as the mint keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MintedQuote {
    /// The mint's name for it.
    pub quote_id: String,
    /// In `HASH`.
    pub amount: u64,
    /// Who may mint it.
    pub locking_key: LockingKey,
    /// What became of it.
    pub state: QuoteState,
}

/// What the mint has at one moment.
#[derive(Debug, Clone, Default)]
pub struct MintSnapshot {
    /// Quotes by the share that they are for.
    pub quotes: BTreeMap<ShareHash, MintedQuote>,
    /// Requests that came, repeated ones included.
    pub requests: u64,
    /// Requests for which there was a quote already.
    pub repeated: u64,
    /// Requests that were refused on command.
    pub refused: u64,
    /// Connections that were opened as the protocol asks.
    pub connections: u64,
    /// Answers that are held back.
    pub held: usize,
    /// Rules of the protocol that the pool broke, in words.
    pub violations: Vec<String>,
}

impl MintSnapshot {
    /// The sum over all quotes.
    #[must_use]
    pub fn ehash(&self) -> u128 {
        self.quotes.values().map(|quote| u128::from(quote.amount)).sum()
    }
}

/// A message about a payment, which no request asked for.
#[derive(Debug, Clone)]
pub(crate) enum Notice {
    Paid(MintQuoteNotification),
    Failed(MintQuoteFailure),
}

/// What to do with a request that was checked.
#[derive(Debug)]
pub(crate) enum Verdict {
    Treat { manner: Manner, quote_id: String },
    Refuse(String),
}

/// How far one connection has come in the order of all requests.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    seen: HashSet<ShareHash>,
    latest: u64,
}

#[derive(Debug)]
pub(crate) struct Book {
    minimum_difficulty: u32,
    manner: Manner,
    script: VecDeque<Manner>,
    state: MintSnapshot,
    held: VecDeque<(ShareHash, String)>,
    released: bool,
    notices: VecDeque<Notice>,
    /// When each share was asked for first, in the order of requests. What the harness saw outlives the mint's memory.
    first_asked: HashMap<ShareHash, u64>,
    /// Shares whose answer was written, whether or not it arrived.
    answered: HashSet<ShareHash>,
    generation: u32,
}

impl Book {
    pub(crate) fn new(minimum_difficulty: u32) -> Self {
        Self {
            minimum_difficulty,
            manner: Manner::Answer,
            script: VecDeque::new(),
            state: MintSnapshot::default(),
            held: VecDeque::new(),
            released: false,
            notices: VecDeque::new(),
            first_asked: HashMap::new(),
            answered: HashSet::new(),
            generation: 0,
        }
    }

    pub(crate) fn behave(&mut self, manner: Manner) {
        self.manner = manner;
        self.released = false;
    }

    pub(crate) fn script(&mut self, manners: impl IntoIterator<Item = Manner>) {
        self.script.extend(manners);
        self.released = false;
    }

    pub(crate) fn release(&mut self) {
        self.released = true;
    }

    pub(crate) fn forget(&mut self) {
        self.state.quotes.clear();
        self.held.clear();
        self.notices.clear();
        self.generation += 1;
    }

    pub(crate) fn snapshot(&self) -> MintSnapshot {
        MintSnapshot { held: self.held.len(), ..self.state.clone() }
    }

    pub(crate) fn opened(&mut self) {
        self.state.connections += 1;
    }

    pub(crate) fn violation(&mut self, words: String) {
        if self.state.violations.len() < MAX_VIOLATIONS {
            self.state.violations.push(words);
        }
    }

    /// Checks a request as the protocol's sections 1, 4 and 6 say, and finds or creates its quote.
    pub(crate) fn take(&mut self, message: &MintQuoteRequest, progress: &mut Progress) -> Verdict {
        self.state.requests += 1;
        let request = match ParsedMintQuoteRequest::from_message(message) {
            Ok(request) => request,
            Err(error) => {
                let words =
                    format!("a request that is none for ehash: {error}: {:?}", std::error::Error::source(&error));
                self.violation(words.clone());
                return Verdict::Refuse(words);
            }
        };
        let share = request.share_hash();
        if self.first_asked.len() >= MAX_SHARES && !self.first_asked.contains_key(&share) {
            let words = format!("more than {MAX_SHARES} shares");
            self.violation(words.clone());
            return Verdict::Refuse(words);
        }
        self.check_order(share, progress);
        let expected = amount_of(message.header_hash().0, self.minimum_difficulty);
        if request.amount() != Amount(expected) {
            let words = format!("{share} is worth {expected} HASH, not {:?}", request.amount());
            self.violation(words.clone());
            return Verdict::Refuse(words);
        }
        let known = self.state.quotes.get(&share);
        if let Some(quote) = known
            && quote.locking_key != request.locking_key()
        {
            let words = format!("{share} has a quote with another locking key");
            self.violation(words.clone());
            return Verdict::Refuse(words);
        }
        let quote_id = known.map(|quote| quote.quote_id.clone());
        if quote_id.is_some() {
            self.state.repeated += 1;
        }
        let manner = self.script.pop_front().unwrap_or_else(|| self.manner.clone());
        if manner == Manner::Refuse {
            self.state.refused += 1;
            return Verdict::Refuse("as told".to_owned());
        }
        let quote_id = quote_id.unwrap_or_else(|| self.create(&request));
        Verdict::Treat { manner, quote_id }
    }

    /// On one connection every request comes once, and what has no answer is sent again in the order of the first time.
    fn check_order(&mut self, share: ShareHash, progress: &mut Progress) {
        let next = self.first_asked.len() as u64;
        let place = *self.first_asked.entry(share).or_insert(next);
        if !progress.seen.insert(share) {
            self.violation(format!("{share} came twice on one connection"));
        } else if place < progress.latest && !self.answered.contains(&share) {
            self.violation(format!("{share} came out of order on one connection"));
        }
        progress.latest = progress.latest.max(place);
    }

    pub(crate) fn answered(&mut self, share: ShareHash) {
        self.answered.insert(share);
    }

    fn create(&mut self, request: &ParsedMintQuoteRequest) -> String {
        let number = self.state.quotes.len();
        let quote_id = format!("quote-{}-{number}", self.generation);
        let quote = MintedQuote {
            quote_id: quote_id.clone(),
            amount: request.amount().0,
            locking_key: request.locking_key(),
            state: QuoteState::Unpaid,
        };
        self.state.quotes.insert(request.share_hash(), quote);
        quote_id
    }

    pub(crate) fn hold(&mut self, share: ShareHash, quote_id: String) {
        self.held.push_back((share, quote_id));
    }

    /// An answer that was held back and may go out now.
    pub(crate) fn next_released(&mut self) -> Option<(ShareHash, String)> {
        if self.released { self.held.pop_front() } else { None }
    }

    pub(crate) fn pay(&mut self, share: ShareHash) -> Result<()> {
        let quote = self.settle(share, QuoteState::Paid)?;
        let notice = MintQuoteNotification::new(ChannelId(0), Text::cut(quote.quote_id), Amount(quote.amount))?;
        self.notices.push_back(Notice::Paid(notice));
        Ok(())
    }

    pub(crate) fn fail_payment(&mut self, share: ShareHash) -> Result<()> {
        let quote = self.settle(share, QuoteState::Failed)?;
        let words = Text::cut("the payment did not come");
        self.notices.push_back(Notice::Failed(MintQuoteFailure::new(
            ChannelId(0),
            Text::cut(quote.quote_id),
            7,
            words,
        )?));
        Ok(())
    }

    fn settle(&mut self, share: ShareHash, state: QuoteState) -> Result<MintedQuote> {
        let quote = self.state.quotes.get_mut(&share).with_context(|| format!("the mint has no quote for {share}"))?;
        quote.state = state;
        Ok(quote.clone())
    }

    pub(crate) fn next_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// The connection ended before the notice was out.
    pub(crate) fn give_back(&mut self, notice: Notice) {
        self.notices.push_front(notice);
    }
}

/// What a share is worth, from the bytes of the wire: 2^(leading zero bits - minimum), at most 2^63. Written here a
/// second time, so that an error in the product's own formula is seen.
fn amount_of(digest: [u8; 32], minimum_difficulty: u32) -> u64 {
    let mut zeros = 0;
    for byte in digest.iter().rev() {
        zeros += byte.leading_zeros();
        if *byte != 0 {
            break;
        }
    }
    if zeros < minimum_difficulty { 0 } else { 2_u64.pow((zeros - minimum_difficulty).min(63)) }
}
