//! The simulated pool's mint: which shares earn ehash, and what becomes of the quotes for them.
//!
//! Quotes have a random source of their own, so that a fleet mines the same with them and without.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use ehash::{LockingKeyError, QuoteError, ShareHash, calculate_ehash_amount};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};
use stats_publisher::PAYMENT_FAILED;
use stats_sv2::event::{QuoteAnswered, QuoteCreated, QuoteFailed, QuotePaid, QuoteSent};
use stats_sv2::{Amount, ChannelId, CompactTarget, DownstreamId, Event, Text, U256, UnixMillis};

use super::share_hash::hash_like;

/// Medians and spreads of the logarithm, in seconds: until a quote is on its way, until a mint that keeps its quotes on a
/// disk has answered, and until the miner has fetched the ehash.
const SENT: (f64, f64) = (0.003, 0.5);
const ANSWERED: (f64, f64) = (0.080, 0.5);
const PAID: (f64, f64) = (20.0, 0.8);

/// Probability that a quote fails, and that one which was answered is paid, or is told not to be.
const FAILS: f64 = 0.01;
const IS_PAID: f64 = 0.7;
const PAYMENT_FAILS: f64 = 0.002;
/// How failures share themselves, in 64ths.
const FAILURES: [(u32, Failure); 3] = [(40, Failure::Mint), (54, Failure::Timeout), (64, Failure::LockingKey)];
/// How long a quote waits for the mint: the default of `quote-dispatcher`.
const TIMEOUT: Duration = Duration::from_secs(60);
/// What the simulated mint says when it refuses.
const REFUSED: (u32, &str) = (11_000, "the keyset is not active");

/// Quotes that may wait for something; a pool's dispatcher has the same limit. Beyond it a quote fails at once, and of the
/// paid ones only half as many are waited for.
const MAX_WAITING: usize = 65_536;
/// Set apart from the numbers that the miners are drawn with.
const STREAM: u64 = 1;

/// What was told about quotes so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct QuoteTotals {
    pub(crate) created: u64,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) paid: u64,
    /// Failures that name a share.
    pub(crate) failed: u64,
    /// Ehash of the quotes created.
    pub(crate) ehash: u128,
}

/// The quotes of a fleet.
#[derive(Debug)]
pub(super) struct Quotes {
    minimum_difficulty: u32,
    /// When the fleet began.
    run: UnixMillis,
    rng: ChaCha8Rng,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Keeps the order of what happens at one time.
    next_number: u64,
    totals: QuoteTotals,
}

/// An accepted share, as far as a quote needs it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    pub(super) downstream_id: DownstreamId,
    pub(super) channel_id: ChannelId,
    pub(super) sequence_number: u32,
    pub(super) hash: CompactTarget,
    /// The whole hash where something else was told of it already.
    pub(super) told_as: Option<U256>,
}

/// The next thing to happen to a quote.
#[derive(Debug)]
struct Waiting {
    /// Simulated seconds.
    at: f64,
    number: u64,
    step: Step,
    quote: Quote,
}

#[derive(Debug, Clone, Copy)]
struct Quote {
    share: Share,
    share_hash: U256,
    amount: Amount,
    /// The mint's id of it.
    id: u128,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Send,
    Answer,
    Fail(Failure),
    Pay,
    FailToPay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Mint,
    Timeout,
    LockingKey,
    QueueFull,
}

impl Quotes {
    /// Quotes for shares of at least so many bits.
    pub(super) fn new(minimum_difficulty: u32, seed: u64, run: UnixMillis) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(STREAM);
        Self {
            minimum_difficulty,
            run,
            rng,
            waiting: BinaryHeap::new(),
            next_number: 0,
            totals: QuoteTotals::default(),
        }
    }

    pub(super) fn totals(&self) -> QuoteTotals {
        self.totals
    }

    /// When the next thing happens, in simulated seconds; infinite if nothing waits.
    #[inline]
    pub(super) fn next_at(&self) -> f64 {
        self.waiting.peek().map_or(f64::INFINITY, |Reverse(next)| next.at)
    }

    /// A share was accepted at this simulated second.
    pub(super) fn accepted(
        &mut self,
        share: Share,
        now: f64,
        timestamp: UnixMillis,
        due: &mut VecDeque<Event<'static>>,
    ) {
        let share_hash = share.told_as.unwrap_or_else(|| hash_like(share.hash, self.run, &mut self.rng));
        let amount = calculate_ehash_amount(&ShareHash::from_wire(share_hash), self.minimum_difficulty);
        if amount.0 == 0 {
            return;
        }
        let Share { downstream_id, channel_id, sequence_number, .. } = share;
        due.push_back(
            QuoteCreated { downstream_id, amount, timestamp, channel_id, share_hash, sequence_number }.into(),
        );
        let quote = Quote { share, share_hash, amount, id: self.rng.random() };
        if self.waiting.len() >= MAX_WAITING {
            due.push_back(failed(&quote, Failure::QueueFull, timestamp));
            return;
        }
        match self.failure() {
            Some(Failure::LockingKey) => due.push_back(failed(&quote, Failure::LockingKey, timestamp)),
            failure => {
                let sent = self.later(now, SENT);
                self.wait(sent, Step::Send, quote);
                match failure {
                    Some(Failure::Timeout) => {
                        self.wait(now + TIMEOUT.as_secs_f64(), Step::Fail(Failure::Timeout), quote);
                    }
                    Some(failure) => {
                        let at = self.later(sent, ANSWERED);
                        self.wait(at, Step::Fail(failure), quote);
                    }
                    None => {
                        let at = self.later(sent, ANSWERED);
                        self.wait(at, Step::Answer, quote);
                    }
                }
            }
        }
    }

    /// Does what is next.
    pub(super) fn step(&mut self, timestamp: UnixMillis, due: &mut VecDeque<Event<'static>>) {
        let Some(Reverse(Waiting { at, step, quote, .. })) = self.waiting.pop() else { return };
        let Quote { share, share_hash, amount, .. } = quote;
        let Share { downstream_id, channel_id, sequence_number, .. } = share;
        due.push_back(match step {
            Step::Send => {
                QuoteSent { downstream_id, channel_id, sequence_number, amount, timestamp, share_hash }.into()
            }
            Step::Answer => {
                self.answered(at, quote);
                QuoteAnswered { share_hash, quote_id: quote.id_text(), timestamp }.into()
            }
            Step::Fail(failure) => failed(&quote, failure, timestamp),
            Step::Pay => QuotePaid { quote_id: quote.id_text(), amount, timestamp }.into(),
            Step::FailToPay => QuoteFailed {
                share_hash: None,
                error_code: Text::cut(PAYMENT_FAILED),
                error_message: Text::cut(format!("quote {}, error {}: {}", quote.id_text(), REFUSED.0, REFUSED.1)),
                timestamp,
            }
            .into(),
        });
    }

    /// Counts what is told.
    pub(super) fn told(&mut self, event: &Event<'_>) {
        let totals = &mut self.totals;
        match event {
            Event::QuoteCreated(quote) => {
                totals.created += 1;
                totals.ehash += u128::from(quote.amount.0);
            }
            Event::QuoteSent(_) => totals.sent += 1,
            Event::QuoteAnswered(_) => totals.answered += 1,
            Event::QuotePaid(_) => totals.paid += 1,
            Event::QuoteFailed(failed) if failed.share_hash.is_some() => totals.failed += 1,
            _ => {}
        }
    }

    fn answered(&mut self, now: f64, quote: Quote) {
        if self.waiting.len() >= MAX_WAITING / 2 {
            return;
        }
        let draw: f64 = self.rng.random();
        let step = if draw < PAYMENT_FAILS {
            Step::FailToPay
        } else if draw < PAYMENT_FAILS + IS_PAID {
            Step::Pay
        } else {
            return;
        };
        let at = self.later(now, PAID);
        self.wait(at, step, quote);
    }

    fn failure(&mut self) -> Option<Failure> {
        if !self.rng.random_bool(FAILS) {
            return None;
        }
        let draw = self.rng.random_range(0..64);
        FAILURES.iter().find(|(below, _)| draw < *below).map(|(_, failure)| *failure)
    }

    fn later(&mut self, now: f64, (median, spread): (f64, f64)) -> f64 {
        let wait = LogNormal::new(median.ln(), spread).expect("the spreads are constants and finite");
        now + wait.sample(&mut self.rng)
    }

    fn wait(&mut self, at: f64, step: Step, quote: Quote) {
        self.next_number += 1;
        self.waiting.push(Reverse(Waiting { at, number: self.next_number, step, quote }));
    }
}

impl QuoteTotals {
    /// Quotes that had neither an answer nor a failure.
    pub(crate) fn pending(&self) -> u64 {
        self.created.saturating_sub(self.answered + self.failed)
    }
}

impl Quote {
    /// In the form of an UUID, as mints write it.
    fn id_text(&self) -> Text<'static> {
        let hex = format!("{:032x}", self.id);
        Text::cut(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
    }
}

fn failed(quote: &Quote, failure: Failure, timestamp: UnixMillis) -> Event<'static> {
    let error = match failure {
        Failure::Mint => QuoteError::Mint { error_code: REFUSED.0, error_message: Text::cut(REFUSED.1) },
        Failure::Timeout => QuoteError::Timeout { after: TIMEOUT },
        Failure::LockingKey => QuoteError::LockingKey(LockingKeyError::Missing),
        Failure::QueueFull => QuoteError::QueueFull { limit: MAX_WAITING },
    };
    let error_message = match std::error::Error::source(&error) {
        Some(cause) => Text::cut(format!("{error}: {cause}")),
        None => Text::cut(error.to_string()),
    };
    let error_code = Text::cut(error.code());
    QuoteFailed { share_hash: Some(quote.share_hash), error_code, error_message, timestamp }.into()
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.total_cmp(&other.at).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    const MINIMUM: u32 = 40;
    const SHARES: u32 = 20_000;

    /// What is told of shares that come every 10 ms, all of them with a hash just as hard as this.
    fn told(share: CompactTarget, seed: u64) -> (Vec<Event<'static>>, QuoteTotals) {
        let mut quotes = Quotes::new(MINIMUM, seed, UnixMillis(0));
        let mut due = VecDeque::new();
        let stamp = |at: f64| UnixMillis((at * 1000.0) as u64);
        for number in 0..SHARES {
            let now = f64::from(number) * 0.01;
            while quotes.next_at() <= now {
                let at = quotes.next_at();
                quotes.step(stamp(at), &mut due);
            }
            let (downstream_id, channel_id) = (DownstreamId(1), ChannelId(1));
            let share = Share { downstream_id, channel_id, sequence_number: number, hash: share, told_as: None };
            quotes.accepted(share, now, stamp(now), &mut due);
        }
        while quotes.next_at().is_finite() {
            let at = quotes.next_at();
            quotes.step(stamp(at), &mut due);
        }
        due.iter().for_each(|event| quotes.told(event));
        (due.into(), quotes.totals())
    }

    #[test]
    fn a_share_below_the_minimum_earns_nothing() {
        // 39 zero bits, and 40.
        let (events, totals) = told(CompactTarget(0x1c00_ffff), 1);
        assert!(!events.is_empty() && totals.ehash == u128::from(SHARES), "{totals:?}");
        let (events, totals) = told(CompactTarget(0x1c01_0000), 1);
        assert!(events.is_empty() && totals == QuoteTotals::default(), "{totals:?}");
    }

    #[test]
    fn each_quote_goes_its_way_in_order_and_ends() {
        let (events, totals) = told(CompactTarget(0x1b00_ffff), 2);
        let mut way: HashMap<U256, (Vec<&str>, u64)> = HashMap::new();
        let mut ids: HashMap<String, Amount> = HashMap::new();
        let mut latencies = Vec::new();
        for event in &events {
            let name = event.kind().name();
            let at = event.timestamp().unwrap().0;
            let share_hash = match event {
                Event::QuoteCreated(quote) => {
                    assert_eq!(quote.amount, Amount(1 << 8), "48 bits are 8 above the minimum");
                    quote.share_hash
                }
                Event::QuoteSent(quote) => quote.share_hash,
                Event::QuoteAnswered(quote) => {
                    assert!(ids.insert(quote.quote_id.as_str().to_owned(), Amount(1 << 8)).is_none());
                    latencies.push(at - way[&quote.share_hash].1);
                    quote.share_hash
                }
                Event::QuoteFailed(failed) => {
                    assert_ne!(failed.error_message.as_str(), "");
                    let Some(hash) = failed.share_hash else { continue };
                    hash
                }
                Event::QuotePaid(paid) => {
                    assert_eq!(ids.remove(paid.quote_id.as_str()), Some(paid.amount), "paid once, after its answer");
                    continue;
                }
                _ => panic!("{name}"),
            };
            let steps = way.entry(share_hash).or_default();
            steps.0.push(name);
            steps.1 = at;
        }
        assert_eq!(way.len(), SHARES as usize);
        for (steps, _) in way.values() {
            let created_first = steps[0] == "quote_created";
            let whole = matches!(steps[1..], ["quote_sent", "quote_answered" | "quote_failed"] | ["quote_failed"]);
            assert!(created_first && whole, "{steps:?}");
        }
        assert_eq!(totals.pending(), 0);
        assert_eq!((totals.created, totals.ehash), (u64::from(SHARES), u128::from(SHARES) << 8));
        // 200 failures expected, 14 of standard deviation; five of them never happen by chance.
        assert!(totals.failed.abs_diff(200) < 70, "{totals:?}");
        assert!(totals.paid > totals.answered / 2 && totals.paid < totals.answered, "{totals:?}");
        latencies.sort_unstable();
        assert!(latencies[latencies.len() / 2].abs_diff(80) < 5, "{}", latencies[latencies.len() / 2]);
    }

    #[test]
    fn every_way_to_fail_has_its_code() {
        let (events, _) = told(CompactTarget(0x1b00_ffff), 3);
        let mut codes: HashMap<&str, u32> = HashMap::new();
        for event in &events {
            if let Event::QuoteFailed(failed) = event {
                *codes.entry(failed.error_code.as_str()).or_default() += 1;
            }
        }
        let mut names: Vec<_> = codes.keys().copied().collect();
        names.sort_unstable();
        assert_eq!(names, ["locking-key", "mint-error", "payment-failed", "timeout"], "{codes:?}");
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut quotes = Quotes::new(MINIMUM, 4, UnixMillis(0));
        let mut due = VecDeque::new();
        let beyond = 1_000;
        for sequence_number in 0..(MAX_WAITING + beyond) as u32 {
            let (downstream_id, channel_id) = (DownstreamId(1), ChannelId(1));
            let hash = CompactTarget(0x1b00_ffff);
            let share = Share { downstream_id, channel_id, sequence_number, hash, told_as: None };
            quotes.accepted(share, 0.0, UnixMillis(0), &mut due);
        }
        assert!(quotes.waiting.len() <= MAX_WAITING + 1, "{}", quotes.waiting.len());
        let is_full = |event: &&Event<'_>| matches!(event, Event::QuoteFailed(failed) if failed.error_code.as_str() == "queue-full");
        assert!(due.iter().filter(is_full).count() >= beyond);
    }
}
