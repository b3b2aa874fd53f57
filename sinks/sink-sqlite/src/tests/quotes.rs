//! Quotes from creation to payment, exact amounts, and that they leave share counts alone.

use stats_sv2::event::{QuoteAnswered, QuoteCreated, QuoteFailed, QuotePaid, QuoteSent};
use stats_sv2::{Amount, ChannelId, DownstreamId, Event, Text, UnixMillis};

use super::{Fixture, HOUR_START, MINUTE, hash, opened, session_ended, share};
use crate::query::History;

fn created(share: u8, amount: u64, at: u64) -> Event<'static> {
    Event::QuoteCreated(QuoteCreated {
        downstream_id: DownstreamId(1),
        amount: Amount(amount),
        timestamp: UnixMillis(at),
        channel_id: ChannelId(1),
        share_hash: hash(share),
        sequence_number: u32::from(share),
    })
}

fn sent(share: u8, amount: u64, at: u64) -> Event<'static> {
    Event::QuoteSent(QuoteSent {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(1),
        sequence_number: u32::from(share),
        amount: Amount(amount),
        timestamp: UnixMillis(at),
        share_hash: hash(share),
    })
}

fn answered(share: u8, quote_id: &str, at: u64) -> Event<'_> {
    Event::QuoteAnswered(QuoteAnswered {
        share_hash: hash(share),
        quote_id: Text::new(quote_id).unwrap(),
        timestamp: UnixMillis(at),
    })
}

fn failed(share: Option<u8>, at: u64) -> Event<'static> {
    Event::QuoteFailed(QuoteFailed {
        share_hash: share.map(hash),
        error_code: Text::new("timeout").unwrap(),
        error_message: Text::new("no answer in 30 s").unwrap(),
        timestamp: UnixMillis(at),
    })
}

fn paid(quote_id: &str, amount: u64, at: u64) -> Event<'_> {
    Event::QuotePaid(QuotePaid {
        quote_id: Text::new(quote_id).unwrap(),
        amount: Amount(amount),
        timestamp: UnixMillis(at),
    })
}

#[test]
fn a_quote_is_followed_from_share_to_payment() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[opened(1, "alice", t), share(1, t), created(1, 16, t + 1), sent(1, 16, t + 2)]);
    fixture.events(&[answered(1, "q-1", t + 250), answered(1, "q-other", t + 300)]);
    fixture.events(&[paid("q-1", 16, t + MINUTE), paid("q-unknown", 1, t + MINUTE)]);
    fixture.events(&[created(2, 4, t + 3), sent(2, 4, t + 4), failed(Some(2), t + 30_000), failed(None, t + 30_001)]);
    fixture.events(&[created(3, 1, t + 5)]);
    fixture.derived(&[session_ended(t + 2 * MINUTE)]);

    let history = History::open(&fixture.path()).unwrap();
    let quotes = history.quotes("pool-a", None, 10).unwrap();
    let states: Vec<_> = quotes.iter().map(|quote| (quote.share_hash[..2].to_owned(), quote.state.as_str())).collect();
    assert_eq!(states, [("03".to_owned(), "abandoned"), ("01".to_owned(), "paid"), ("02".to_owned(), "failed")]);
    let first = &quotes[1];
    assert_eq!(first.quote_id.as_deref(), Some("q-1"), "the first answer wins");
    assert_eq!(
        (first.latency_ms, first.sequence_number, first.identity.as_deref()),
        (Some(248), Some(1), Some("alice"))
    );
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM unattributed_quotes"), 2);
    let overview = history.overview(t + 3 * MINUTE).unwrap();
    assert_eq!((overview.sources[0].quotes.paid, overview.sources[0].quotes.failed), (1, 1));
}

#[test]
fn creating_a_quote_never_changes_a_share_count() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[
        opened(1, "alice", t),
        share(1, t),
        created(1, 16, t + 1),
        created(1, 16, t + 2),
        sent(1, 16, t + 3),
    ]);
    for (level, bucket) in [("total", 0), ("1h", t), ("1m", t)] {
        assert_eq!(fixture.bucket(level, 1, "alice", bucket).0, 1, "{level}");
        assert_eq!(
            fixture.get::<u64>(&format!("SELECT max(quotes) FROM rollup_{level}")),
            1,
            "told twice, created once"
        );
    }
    assert_eq!(fixture.get::<u64>("SELECT accepted FROM channels"), 1);
}

#[test]
fn ehash_sums_are_exact_beyond_64_bits() {
    let mut fixture = Fixture::new();
    let (t, largest) = (HOUR_START, 1_u64 << 63);
    fixture.events(&[opened(1, "alice", t)]);
    for share in 0..5 {
        // One transaction each, so that the sums are made in the table.
        fixture.events(&[created(share, largest, t + u64::from(share))]);
    }
    fixture.events(&[created(9, 1, t)]);
    let exact = 5 * u128::from(largest) + 1;
    for table in ["rollup_total WHERE series = 1", "rollup_1h WHERE series = 1", "channels"] {
        let blob: Vec<u8> = fixture.get(&format!("SELECT ehash FROM {table}"));
        assert_eq!(u128::from_be_bytes(blob.try_into().unwrap()), exact, "{table}");
    }
    let history = History::open(&fixture.path()).unwrap();
    let totals = history.workers("pool-a", MINUTE, t + MINUTE, None, 9).unwrap().remove(0).totals;
    assert_eq!(totals.ehash, exact.to_string());
    // The view of the original design gives numbers.
    assert_eq!(fixture.get::<f64>("SELECT max(amount) FROM quote_history"), largest as f64);
    assert_eq!(
        fixture.get::<u64>("SELECT count(*) FROM quote_history WHERE downstream_id = 1 AND publisher = 'pool-a'"),
        6
    );
}

#[test]
fn facts_of_a_quote_may_come_in_any_order() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[opened(1, "alice", t), answered(1, "q-1", t + 9), sent(1, 16, t + 5), created(1, 16, t + 1)]);
    let quote = History::open(&fixture.path()).unwrap().quotes("pool-a", None, 1).unwrap().remove(0);
    assert_eq!((quote.state.as_str(), quote.created_ms, quote.latency_ms), ("answered", Some(t + 1), Some(4)));
    assert_eq!(fixture.get::<u64>("SELECT max(quotes) FROM rollup_total"), 1);
}
