//! Quotes from creation to payment, exact amounts, and that they leave share counts alone.

use stats_sv2::Role;
use stats_sv2::event::{QuoteAnswered, QuoteCreated, QuoteFailed, QuotePaid, QuoteSent};
use stats_sv2::{Amount, ChannelId, DownstreamId, Event, Text, UnixMillis};

use sink_contract::SyntheticSession;

use super::{DAY, Fixture, HOUR, HOUR_START, MINUTE, hash, opened, session_ended, share};
use crate::query::{EhashOf, History, Part, QuoteFilter, QuoteKey, QuoteStage, QuoteState};

pub(super) fn created(share: u8, amount: u64, at: u64) -> Event<'static> {
    Event::QuoteCreated(QuoteCreated {
        downstream_id: DownstreamId(1),
        amount: Amount(amount),
        timestamp: UnixMillis(at),
        channel_id: ChannelId(1),
        share_hash: hash(share),
        sequence_number: u32::from(share),
    })
}

pub(super) fn sent(share: u8, amount: u64, at: u64) -> Event<'static> {
    Event::QuoteSent(QuoteSent {
        downstream_id: DownstreamId(1),
        channel_id: ChannelId(1),
        sequence_number: u32::from(share),
        amount: Amount(amount),
        timestamp: UnixMillis(at),
        share_hash: hash(share),
    })
}

pub(super) fn answered(share: u8, quote_id: &str, at: u64) -> Event<'_> {
    Event::QuoteAnswered(QuoteAnswered {
        share_hash: hash(share),
        quote_id: Text::new(quote_id).unwrap(),
        timestamp: UnixMillis(at),
    })
}

pub(super) fn failed(share: Option<u8>, at: u64) -> Event<'static> {
    Event::QuoteFailed(QuoteFailed {
        share_hash: share.map(hash),
        error_code: Text::new("timeout").unwrap(),
        error_message: Text::new("no answer in 30 s").unwrap(),
        timestamp: UnixMillis(at),
    })
}

pub(super) fn paid(quote_id: &str, amount: u64, at: u64) -> Event<'_> {
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
    assert_eq!(fixture.get::<u64>("SELECT count(*) FROM unattributed_quotes"), 1);
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

/// The state of the quote of share 1 and what was counted, after these events in one batch and, again, one by one.
#[track_caller]
fn check<const N: usize>(
    events: [&Event<'_>; N],
    state: QuoteState,
    contradictions: &[(&str, u64)],
    unknown_payments: u64,
) {
    for together in [true, false] {
        let mut fixture = Fixture::new();
        fixture.events(&[opened(1, "alice", HOUR_START)]);
        if together {
            fixture.events(&events.map(Clone::clone));
        } else {
            events.iter().for_each(|event| fixture.events(std::slice::from_ref(*event)));
        }
        let history = History::open(&fixture.path()).unwrap();
        let found = history.trace_quotes(&QuoteKey::ShareHash(hash(1)), None).unwrap().remove(0).quote;
        assert_eq!(found.state, state, "{events:?}");
        let report = history.quote_report("pool-a", HOUR, HOUR_START + HOUR).unwrap();
        for view in &report.by_state {
            let expected = u64::from(view.state == state);
            assert_eq!(view.count, expected, "{:?}", view.state);
            let ehash = if expected == 1 { found.amount.as_deref().unwrap_or("0") } else { "0" };
            assert_eq!(view.ehash, ehash, "{:?}", view.state);
        }
        let counted: Vec<_> = report.total.contradictions.iter().map(|(code, count)| (code.as_str(), *count)).collect();
        assert_eq!(counted, contradictions, "{events:?}");
        assert_eq!(report.total.unknown_payments, unknown_payments, "{events:?}");
    }
}

#[test]
fn each_order_of_the_facts_has_one_state() {
    use QuoteState::{Answered, Created, Failed, Paid, Sent};
    let t = HOUR_START;
    let (make, send, answer) = (created(1, 16, t), sent(1, 16, t + 1), answered(1, "q", t + 9));
    let (fail, pay) = (failed(Some(1), t + 5), paid("q", 16, t + 20));
    check([&make], Created, &[], 0);
    check([&make, &make, &send], Sent, &[], 0);
    // Lost facts are not invented, the later ones stand.
    check([&send], Sent, &[], 0);
    check([&answer], Answered, &[], 0);
    check([&answer, &make, &send], Answered, &[], 0);
    check([&fail, &make], Failed, &[], 0);
    // Paid before answered: the payment waits for its answer.
    check([&make, &send, &pay, &answer], Paid, &[], 0);
    check([&make, &pay], Created, &[], 1);
    check([&make, &pay, &pay, &answer], Paid, &[("paid-again", 1)], 0);
    check([&make, &answer, &pay, &paid("q", 99, t + 30)], Paid, &[("paid-again", 1)], 0);
    // An answer wins over a failure, whichever came first; the first answer wins over others.
    check([&make, &send, &fail, &answer], Answered, &[("answered-after-failure", 1)], 0);
    check([&make, &answer, &fail], Answered, &[("failed-after-answer", 1)], 0);
    check([&make, &answer, &answer], Answered, &[], 0);
    check([&make, &answer, &answered(1, "other", t + 10)], Answered, &[("answered-again", 1)], 0);
    check([&make, &answer, &pay, &fail], Paid, &[("failed-after-answer", 1)], 0);
}

#[test]
fn a_quote_whose_creation_was_lost_is_counted_by_its_sending() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), sent(1, 16, HOUR_START + 1), sent(1, 16, HOUR_START + 2)]);
    fixture.events(&[created(1, 16, HOUR_START)]);
    let history = History::open(&fixture.path()).unwrap();
    for of in [EhashOf::Identity, EhashOf::Downstream, EhashOf::Channel] {
        let views = history.ehash("pool-a", of, &Part::first(9)).unwrap();
        assert_eq!((views.len(), views[0].quotes, views[0].ehash.as_str()), (1, 1, "16"), "{of:?}");
    }
    let quote = history.quotes("pool-a", None, 1).unwrap().remove(0);
    assert_eq!((quote.identity.as_deref(), quote.sequence_number), (Some("alice"), Some(1)));
}

#[test]
fn ehash_outlives_the_session_that_earned_it() {
    let mut fixture = Fixture::new();
    fixture.events(&[opened(1, "alice", HOUR_START), created(1, 16, HOUR_START)]);
    fixture.derived(&[session_ended(HOUR_START + MINUTE)]);
    fixture.sink.connection().execute("DELETE FROM sessions", []).unwrap();
    let history = History::open(&fixture.path()).unwrap();
    for of in [EhashOf::Identity, EhashOf::Downstream, EhashOf::Channel] {
        let views = history.ehash("pool-a", of, &Part::first(9)).unwrap();
        assert_eq!((views.len(), views[0].ehash.as_str(), &views[0].session_id), (1, "16", &None), "{of:?}");
    }
}

#[test]
fn pending_quotes_end_with_their_session_and_live_on_if_told_anew() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[opened(1, "alice", t), created(1, 16, t), sent(1, 16, t), created(2, 4, t), created(3, 2, t)]);
    fixture.derived(&[session_ended(t + MINUTE)]);
    let counts = |fixture: &Fixture| {
        let report = History::open(&fixture.path()).unwrap().quote_report("pool-a", HOUR, t + HOUR).unwrap();
        let of = |state| report.by_state.iter().find(|view| view.state == state).map(|view| view.count).unwrap();
        (of(QuoteState::Sent), of(QuoteState::Answered), of(QuoteState::Abandoned), of(QuoteState::Created))
    };
    assert_eq!(counts(&fixture), (0, 0, 3, 0));
    // The rest of a session that is over leaves nothing waiting for ever.
    fixture.events(&[sent(2, 4, t + 2), created(4, 8, t + 2)]);
    assert_eq!(counts(&fixture), (0, 0, 4, 0));
    // The same program under a new session goes on with its quotes: one is answered, one is sent.
    let mut second = SyntheticSession::new("pool-a", Role::Pool, 2);
    let record = fixture.journal.append(&mut second, &[answered(1, "q", t + 2 * MINUTE), sent(3, 2, t + 2 * MINUTE)]);
    fixture.deliver(&[record]);
    assert_eq!(counts(&fixture), (1, 1, 2, 0));
    let ended = Event::SessionEnded(stats_sv2::event::SessionEnded {
        session_id: 2,
        timestamp: UnixMillis(t + 3 * MINUTE),
        outcome: stats_sv2::event::ENDED_REPLACED,
        reason: Text::new("").unwrap(),
    });
    let record = fixture.journal.append_derived(&mut second, &[ended]);
    fixture.deliver(&[record]);
    assert_eq!(counts(&fixture), (0, 1, 3, 0), "it ends with the session that took it over");
}

#[test]
fn latencies_and_failures_are_about_their_window() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[opened(1, "alice", t)]);
    for share in 0..100_u8 {
        let at = t + u64::from(share) * 10;
        let id = format!("q-{share}");
        fixture.events(&[
            created(share, 1, at),
            sent(share, 1, at + 2),
            answered(share, &id, at + 2 + u64::from(share)),
        ]);
    }
    fixture.events(&[created(200, 1, t), failed(Some(200), t + HOUR), failed(None, t + HOUR)]);
    let history = History::open(&fixture.path()).unwrap();
    let report = history.quote_report("pool-a", 2 * HOUR, t + HOUR + MINUTE).unwrap();
    let [first, second, third] = &report.window.latencies[..] else { panic!("{report:?}") };
    assert_eq!(
        (first.stage, first.count, first.p50_ms, first.max_ms),
        (QuoteStage::CreatedToSent, 100, Some(2), Some(2))
    );
    assert_eq!((second.count, second.max_ms), (100, Some(99)));
    for (found, exact) in [(second.p50_ms, 49.0), (second.p90_ms, 89.0), (second.p99_ms, 98.0)] {
        assert!((found.unwrap() as f64 / exact - 1.0).abs() <= 0.125, "{found:?} {exact}");
    }
    assert_eq!((third.count, third.p50_ms, third.max_ms), (0, None, None));
    assert_eq!((report.window.failed["timeout"], report.window.unattributed["timeout"]), (1, 1));
    let later = history.quote_report("pool-a", 30 * MINUTE, t + HOUR + MINUTE).unwrap();
    assert_eq!((later.window.latencies[1].count, later.window.failed["timeout"]), (0, 1), "minutes");
    let day = history.quote_report("pool-a", DAY, t + DAY + HOUR + MINUTE).unwrap();
    assert_eq!((day.window.latencies[1].count, day.window.failed["timeout"]), (0, 1), "hours");
    assert_eq!((day.total.latencies[1].count, day.total.failed["timeout"]), (100, 1));
}

#[test]
fn codes_from_the_network_are_bounded() {
    let mut fixture = Fixture::new();
    let codes: Vec<String> = (0..200).map(|code| format!("code-{code:03}")).collect();
    for part in codes.chunks(50) {
        let failures: Vec<_> = part
            .iter()
            .map(|code| {
                Event::QuoteFailed(QuoteFailed {
                    share_hash: None,
                    error_code: Text::new(code.as_str()).unwrap(),
                    error_message: Text::new("").unwrap(),
                    timestamp: UnixMillis(HOUR_START),
                })
            })
            .collect();
        fixture.events(&failures);
    }
    let report = History::open(&fixture.path()).unwrap().quote_report("pool-a", HOUR, HOUR_START + 1).unwrap();
    assert_eq!((report.total.unattributed.len(), report.total.unattributed["(other)"]), (65, 136));
    assert_eq!(report.total.unattributed.values().sum::<u64>(), 200);
}

#[test]
fn a_quote_is_found_by_share_hash_and_id() {
    let mut fixture = Fixture::new();
    let t = HOUR_START;
    fixture.events(&[opened(1, "alice", t), created(7, 16, t + 1), sent(7, 16, t + 2), answered(7, "q-7", t + 3)]);
    fixture.derived(&[session_ended(t + MINUTE)]);
    // Another session counts its shares from 1 again.
    let mut second = SyntheticSession::new("pool-a", Role::Pool, 2);
    let mut again = created(8, 4, t + 2 * MINUTE);
    if let Event::QuoteCreated(quote) = &mut again {
        quote.sequence_number = 7;
    }
    let record = fixture.journal.append(&mut second, &[opened(1, "bob", t + 2 * MINUTE), again, paid("q-9", 3, t)]);
    fixture.deliver(&[record]);

    let history = History::open(&fixture.path()).unwrap();
    let find = |text: &str| history.trace_quotes(&QuoteKey::parse(text).unwrap(), None).unwrap();
    for key in [hash(7).to_string(), "q-7".to_owned()] {
        let found = find(&key);
        assert_eq!((found.len(), found[0].quote.quote_id.as_deref()), (1, Some("q-7")), "{key}");
        assert_eq!((found[0].publisher.as_str(), found[0].session_id.as_str()), ("pool-a", "0000000000000001"));
        assert_eq!((found[0].channel_opened_ms, found[0].channel_closed_ms), (Some(t), Some(t + MINUTE)));
    }
    let identities: Vec<_> = find("1/1/7").into_iter().map(|trace| trace.quote.identity.unwrap()).collect();
    assert_eq!(identities, ["bob", "alice"], "one in each session, the latest first");
    assert!(find("1/2/7").is_empty() && find("q-8").is_empty());
    assert!(history.trace_quotes(&QuoteKey::QuoteId("q-7".to_owned()), Some("nobody")).is_err());
    let payment = history.unknown_payments("q-9", None).unwrap().remove(0);
    assert_eq!((payment.paid_ms, payment.amount.as_deref()), (t, Some("3")));
    assert!(QuoteKey::parse("").is_none());
    assert_eq!(QuoteKey::parse(&"g".repeat(64)), Some(QuoteKey::QuoteId("g".repeat(64))));
}

#[test]
fn pages_of_quotes_miss_none_of_the_same_moment() {
    let mut fixture = Fixture::new();
    let mut events = vec![opened(1, "alice", HOUR_START)];
    events.extend((0..50).map(|share| created(share, 1, HOUR_START + u64::from(share / 20))));
    fixture.events(&events);
    let history = History::open(&fixture.path()).unwrap();
    let (mut filter, mut seen) =
        (QuoteFilter { state: Some(QuoteState::Created), ..QuoteFilter::default() }, Vec::new());
    loop {
        let page = history.quote_page("pool-a", &filter, 7).unwrap();
        let Some(last) = page.last() else { break };
        filter.before = Some(last.place);
        seen.extend(page.into_iter().map(|quote| quote.share_hash));
    }
    assert_eq!(seen.len(), 50);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 50);
    let nobody = QuoteFilter { identity: Some("bob".to_owned()), ..QuoteFilter::default() };
    assert!(history.quote_page("pool-a", &nobody, 7).unwrap().is_empty());
}

#[test]
fn ehash_is_summed_by_identity_downstream_and_channel() {
    let mut fixture = Fixture::new();
    let (t, largest) = (HOUR_START, 1_u64 << 63);
    fixture.events(&[opened(1, "alice", t), created(1, largest, t), created(2, largest, t), created(3, 1, t)]);
    let history = History::open(&fixture.path()).unwrap();
    let exact = (2 * u128::from(largest) + 1).to_string();
    for of in [EhashOf::Identity, EhashOf::Downstream, EhashOf::Channel] {
        assert_eq!(history.ehash("pool-a", of, &Part::first(9)).unwrap()[0].ehash, exact, "{of:?}");
    }
    for view in ["ehash_by_identity", "ehash_by_downstream", "ehash_by_channel"] {
        let real: f64 = fixture.get(&format!("SELECT ehash FROM {view} WHERE publisher = 'pool-a'"));
        assert!((real / 2_f64.powi(64) - 1.0).abs() < 1e-15, "{view}: {real}");
    }
}
